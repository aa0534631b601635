//! `tcpwait ports --json`.

use super::{
    shared::{call, errno, interface, ledger, netns, why},
    value::{
        Property, Schema, address, always, change_per_s, count, either, list, ms, ns, number, object, pair, per_s,
        schema_key, share, shared, text, time, whether, word, words,
    },
};
use crate::aggregate::ports::advice::{NoHelp, PortCause};

/// A report of `tcpwait ports --json`.
pub fn ports() -> Schema {
    object(
        "A report: local ports in use, by destination.",
        [
            schema_key(super::PORTS),
            always("time", time("Now").or_null()),
            always("begin", time("When tracing began; null without").or_null()),
            always("final", whether("Whether this is the last report.")),
            always("traced", whether("Whether there was tracing, or a recording.")),
            always("namespaces", list("The network namespaces of the destinations, with their settings.", namespace())),
            always("destinations", list("Those first that are full or will be soonest.", destination())),
            always("others", others()),
            always(
                "bound",
                list(
                    "Ports that bind() gave to sockets which then connected, by source address; null without tracing.",
                    bound(),
                )
                .or_null(),
            ),
            always("unknown", count("Connections of which it is not known which side made them; they are in no row.")),
            always("bind_failures", list("bind() and listen() that failed, since the start.", bind_failure())),
            always(
                "at_least",
                whether("Whether events were lost since the start, so that counts of failures are at least."),
            ),
            always("ledger", ledger("What was seen and what was lost; null without tracing.").or_null()),
        ],
    )
}

fn namespace() -> Schema {
    object(
        "A network namespace. Settings are null where they could not be read, as from a recording of an older version.",
        [
            always("netns", netns()),
            always("ip_local_port_range", pair("The lowest and the highest port.", count("")).or_null()),
            always("ports", count("Ports of the range that are not reserved.").or_null()),
            always("tcp_tw_reuse", count("The setting.").or_null()),
            always("tcp_tw_reuse_delay_ms", ms("The setting; null before Linux 6.14").or_null()),
            always("tcp_timestamps", count("The setting.").or_null()),
        ],
    )
}

fn destination() -> Schema {
    let reusable = object(
        "TIME_WAITs by whether a connect() that chooses its port could take them.",
        [
            always("now", count("It could now.")),
            always("not", count("It could not.")),
            always(
                "unknown",
                count("It is not known, mostly as it is not known whether the connection had timestamps."),
            ),
        ],
    );
    let held = object(
        "Since the start: how long ports were held that came free.",
        [always("count", count("How many.")), always("mean_ns", ns("Mean time; null where count is 0").or_null())],
    );
    object(
        "What connect() looks for a free port towards.",
        [
            always("netns", netns()),
            interface(),
            always("laddr", address("Source address.")),
            always("raddr", address("Destination address.")),
            always("rport", count("Destination port.")),
            always("in_use", count("Ports of the range in use towards it.")),
            always("states", states()),
            always("outside_range", count("Ports in use that are not of the range.")),
            always(
                "bound_elsewhere",
                count("Ports that bind() gave to sockets with other destinations; null without tracing.").or_null(),
            ),
            always("ports", count("Ports that connect() may take; null where the settings are not known.").or_null()),
            always(
                "share",
                share("Part of these that is in use and not known to be reusable, or bound elsewhere").or_null(),
            ),
            always("reusable", reusable),
            always("rates", rates("Null without tracing.").or_null()),
            always("held", held),
            always(
                "needed",
                number("Ports that it takes at these rates; null where nobody connects, or the rates are at least.")
                    .or_null(),
            ),
            always("forecast", forecast("When the ports run out; null where that is not known.").or_null()),
            always(
                "reuse_unknown",
                whether("Whether the forecast takes TIME_WAITs to be in the way that may be reusable."),
            ),
            always("fails_early", whether("Whether connect() fails although more than a tenth is free.")),
            always("process", process().or_null()),
            always("failures", list("Since the start: calls that failed; null without tracing.", failure()).or_null()),
            always("advice", advice().or_null()),
        ],
    )
}

fn states() -> Schema {
    object(
        "Ports by the state of their connection.",
        [
            always("connecting", count("SYN_SENT.")),
            always("established", count("ESTABLISHED.")),
            always("close_wait", count("CLOSE_WAIT.")),
            always("closing", count("FIN_WAIT1, CLOSING, LAST_ACK.")),
            always("fin_wait2", count("FIN_WAIT2.")),
            always("time_wait", count("TIME_WAIT.")),
        ],
    )
}

fn rates(meaning: &'static str) -> Schema {
    shared(meaning, "rates", || {
        object(
            "Rates.",
            [
                always("connects", per_s("Connects that got a port")),
                always("time_waits", per_s("Connections that entered TIME_WAIT")),
                always("ended", per_s("Connections that ended without it")),
                always(
                    "growth",
                    change_per_s(
                        "Change of all that is not in TIME_WAIT; 0 where it may be chance; null where events were lost",
                    )
                    .or_null(),
                ),
                always("failed", per_s("Connects that found no free port")),
                always("at_least", whether("Whether events were lost, so that there may have been more.")),
                always("over_ns", ns("How long this was measured")),
                always("time_wait_ns", ns("How long a TIME_WAIT is taken to be in connect()'s way")),
            ],
        )
    })
}

fn forecast(meaning: &'static str) -> Schema {
    shared(meaning, "forecast", || {
        either(
            "What becomes of the ports at these rates.",
            [
                object(
                    "",
                    [
                        always("kind", word("None is free.", ["full"])),
                        always(
                            "next_free_ns",
                            ns("Time until the next comes free; null where that is not known").or_null(),
                        ),
                    ],
                ),
                object(
                    "",
                    [always("kind", word("None will be free.", ["full-in"])), always("in_ns", ns("Time until then"))],
                ),
                object(
                    "",
                    [
                        always("kind", word("Some stay free.", ["steady"])),
                        always("ports", number("How many are held then.")),
                        always("share", share("Their part of all")),
                    ],
                ),
                object("", [always("kind", word("Nobody connects.", ["idle"]))]),
            ],
        )
    })
}

fn process() -> Schema {
    shared("The process that has most of the ports; null where none is known.", "process", || {
        object(
            "A process.",
            [
                always("comm", text("Its name.")),
                always("pid", count("Its id; null where several have that name.").or_null()),
                always("ports", count("How many of the ports it has.")),
                always("known", count("Of how many ports the process is known.")),
            ],
        )
    })
}

fn failed() -> Vec<Property> {
    vec![
        always("call", call("The call.")),
        always("why", why("Why.")),
        always("errno", errno("Name of the error; null where no call gave one.").or_null()),
        always("count", count("How often.")),
        always("comm", text("The caller's name; null beyond 16 callers, or where it is not known.").or_null()),
        always("pid", count("The caller's process id; null where several have that name.").or_null()),
        always("first", time("The first time").or_null()),
        always("last", time("The last time").or_null()),
    ]
}

fn failure() -> Schema {
    object("Calls that failed for one reason and one caller.", failed())
}

fn bind_failure() -> Schema {
    let place = [
        always("netns", netns()),
        interface(),
        always("laddr", address("The local address that was asked for.")),
        always("lport", count("The local port that was asked for; null for any.").or_null()),
    ];
    object("Calls that failed in one place for one reason and one caller.", place.into_iter().chain(failed()))
}

fn others() -> Schema {
    object(
        "All other destinations together.",
        [
            always("destinations", count("How many they are.")),
            always("in_use", count("Ports of the range in use towards them.")),
            always("time_wait", count("Of those, in TIME_WAIT.")),
            always("fin_wait2", count("Of those, in FIN_WAIT2.")),
            always("outside", count("Ports in use that are not of the range.")),
            always("failed", count("Since the start: connects that found no free port.")),
        ],
    )
}

fn bound() -> Schema {
    object(
        "Ports that are taken for all destinations, of one source address.",
        [
            always("netns", netns()),
            interface(),
            always("laddr", address("Source address.")),
            always("bound", count("Ports of the range that bind() gave.")),
            always("by_connect", count("Ports of the range that connect() chose.")),
            always("unknown", count("Ports of outgoing connections from before tcpwait started, which may be either.")),
            always("in_use", count("All of these, each port once.")),
            always("time_wait", count("Of those, ports that only a TIME_WAIT holds.")),
            always("ports", count("Ports that bind() may give; null where the settings are not known.").or_null()),
            always("share", share("Part of these that is in use").or_null()),
            always("rates", rates("As of a destination.").or_null()),
            always("forecast", forecast("When the ports run out; null where that is not known.").or_null()),
            always("process", process().or_null()),
        ],
    )
}

fn advice() -> Schema {
    use NoHelp::{FinTimeout, MaxTwBuckets, ReuseAddr, TwRecycle, TwReuse, TwReuseIsOn, TwReuseWithoutTimestamps};
    use PortCause::{Bound, CloseWait, Closing, Connecting, Elsewhere, FinWait2, Open, TimeWait};
    let causes = [TimeWait, Open, CloseWait, Connecting, FinWait2, Closing, Bound, Elsewhere];
    let vain = [FinTimeout, MaxTwBuckets, TwRecycle, ReuseAddr, TwReuseIsOn, TwReuseWithoutTimestamps, TwReuse];
    object(
        "What to do where it is full, will be, or holds half; else null.",
        [
            always("cause", word("What holds most of the ports.", words(causes))),
            always("help", list("What helps, best first.", help())),
            always("no_help", list("What would not help.", word("", words(vain)))),
        ],
    )
}

fn help() -> Schema {
    let what = |words: &[&str]| always("what", word("What to do.", words.iter().copied()));
    let simple = [
        "keep-open",
        "peer-closes-first",
        "more-addresses",
        "fin-timeout",
        "close-what-is-closed",
        "fewer-open",
        "let-fin-through",
        "bind-no-port",
        "give-up-earlier",
    ];
    either(
        "Something to do, with numbers of its own.",
        [
            object("", [what(&simple)]),
            object(
                "Set tcp_tw_reuse to 1.",
                [
                    what(&["tw-reuse"]),
                    always("now", count("What it is now.")),
                    always("after_ms", ms("Time after which connect() may take a TIME_WAIT then, at most")),
                    always("timestamps_off", whether("Whether tcp_timestamps must be turned on too.")),
                    always(
                        "have_timestamps",
                        whether("Whether any TIME_WAIT is known to have timestamps; null where it is not known.")
                            .or_null(),
                    ),
                ],
            ),
            object(
                "Set tcp_tw_reuse_delay lower.",
                [what(&["lower-reuse-delay"]), always("now_ms", ms("What it is now"))],
            ),
            object(
                "Set ip_local_port_range wider.",
                [
                    what(&["wider-range"]),
                    always("low", count("Its first port now.")),
                    always("high", count("Its last port now.")),
                    always("widest", count("How many ports the advised range has.")),
                ],
            ),
            object(
                "Reserve fewer ports.",
                [what(&["fewer-reserved"]), always("reserved", count("How many of the range are reserved."))],
            ),
        ],
    )
}
