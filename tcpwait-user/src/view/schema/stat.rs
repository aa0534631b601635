//! `tcpwait stat --json`.

use super::{
    handshakes::{connects, failures, syn_recv},
    shared::{age, call, detail, dwell, errno, group_by, group_key, ledger, netns, restart_causes, state, why},
    value::{
        Property, Schema, address, always, count, list, map, map_of_all, map_of_some, ns, object, per_s, schema_key,
        share, shared, signed, sometimes, text, time, whether, word, words,
    },
};
use crate::{
    aggregate::{SteadyVerdict, by::GroupBy, findings::StatFinding},
    lifecycle::{Detail, Reason},
    tcp::State,
};

/// A report of `tcpwait stat --json`.
pub fn stat() -> Schema {
    object(
        "A report on an interval, or with `final` on the whole time. Counts are of the interval unless something else is said.",
        [
            schema_key(super::STAT),
            always("time", time("End of what is reported on").or_null()),
            always("begin", time("Beginning of what is reported on").or_null()),
            always("interval_ns", ns("The time between them")),
            always("final", whether("Whether this is the last report.")),
            always("sample", sample()),
            always("findings", list("What stands out, worst first.", finding())),
            always(
                "waiting",
                list(
                    "Sockets there are now that wait for somebody, by state, service and network namespace, the most first.",
                    waiting(),
                ),
            ),
            always("states", map_of_all("Every state.", State::ALL.map(State::name), state_counts())),
            always("time_wait", time_wait()),
            always(
                "exits",
                map_of_all("How TIME_WAIT was left, by reason.", Reason::OF_TIME_WAIT.map(Reason::name), exit()),
            ),
            always(
                "orphan_exits",
                map_of_some(
                    "How FIN_WAIT2 of connections without a process ended without TIME_WAIT: sockets by reason.",
                    Reason::ALL.map(Reason::name),
                    count(""),
                ),
            ),
            always("syn_recv", syn_recv("Passive connections in SYN_RECV.")),
            always("half_open", syn_recv("The same as syn_recv, under its former name; it goes away with stat/2.")),
            always("ends", map_of_some("Steps to CLOSE, by reason.", Reason::ALL.map(Reason::name), end_in_all())),
            always("failures", failures()),
            always("connects", connects()),
            always("transitions", list("Steps between states.", transition())),
            always("by", group_by("What the groups are by.")),
            always("namespaces", map("Name of each network namespace by its inode.", text(""))),
            always("groups", list("The first groups; then all others as one.", group())),
            always(
                "groups_folded",
                count("Since the start: groups given up beyond 1,000; their counts are in the others."),
            ),
            always("ledger", ledger("What was seen and what was lost, since the start.")),
            always("audit", audit()),
        ],
    )
}

/// Which numbers are estimates.
fn sample() -> Schema {
    object(
        "Of how many connections one was followed. While that is not all of them, what is counted of connections is multiplied and an estimate: `groups`, `waiting`, \
         findings about sockets, `now` of states but LISTEN, `exits`, `orphan_exits`, `syn_recv`, `ends`, `connects`, `count` of transitions, `time_wait`, and `entered` and \
         `left` where `estimate` says so. Times, quantiles and the number of times are of the connections that were followed. Exact stay `kernel` of transitions, \
         `entered` and `left` without `estimate`, `failures`, `ledger.states_seen`, `ledger.minis_entered` and `ledger.lost`.",
        [
            always("one_in", count("At the end: 1 connection in so many; 1 is all of them.")),
            always("most", count("The most in the time of the report; 1: nothing is an estimate.")),
        ],
    )
}

fn finding() -> Schema {
    object(
        "Something that stands out. What does not apply is null.",
        [
            always("finding", word("What it is.", StatFinding::NAMES)),
            always("count", count("Sockets, calls or packets that it is about.")),
            always(
                "growth",
                signed("How many more than at the beginning of the interval; below 0 where fewer.").or_null(),
            ),
            always("state", state("State of the sockets.").or_null()),
            always("process", text("Whose they are: who has more than half of those whose owner is known.").or_null()),
            always(
                "service",
                text("Where: the end that is listened on; of ports and connect() the destination.").or_null(),
            ),
            always("netns", netns().or_null()),
            always("call", call("Of call-failed: the call.").or_null()),
            always("why", why("Of call-failed: why.").or_null()),
            always("errno", errno("Of call-failed: name of the error.").or_null()),
            always("oldest_ns", ns("How long the oldest has been in its state").or_null()),
            always("available", count("Of ports: how many connect() may take.").or_null()),
            always("in_ns", ns("Of ports: time until none is left, at the rate of the interval").or_null()),
            always("text", text("In words. May change.")),
        ],
    )
}

fn waiting() -> Schema {
    object(
        "Sockets of one state, service and network namespace.",
        [
            always("state", state("Their state.")),
            always("service", text("The end that is listened on; null where it is not known.").or_null()),
            always("netns", netns()),
            always("now", count("How many there are.")),
            always(
                "growth",
                signed("How many more than at the beginning of the interval; below 0 where fewer.").or_null(),
            ),
            always(
                "unanswered",
                count("Of SYN_SENT: those without an answer for a second or longer; else null.").or_null(),
            ),
            always("oldest_ns", ns("How long the oldest has been in its state").or_null()),
            always("oldest_exact", whether("Whether that is exact; else it is at least so long.")),
            always("process", text("Who has more than half of them.").or_null()),
            always("process_has_all", whether("Whether that process has all of them.").or_null()),
        ],
    )
}

fn state_counts() -> Schema {
    object(
        "One state.",
        [
            always(
                "now",
                count("Sockets in it now; null for CLOSE, and for SYN_SENT while not all connections are followed.")
                    .or_null(),
            ),
            always("entered", count("How many entered it.")),
            always("left", count("How many left it.")),
            always("at_least", whether("Whether one of these may be more, as events were lost.")),
            always(
                "estimate",
                whether("Whether one of these is an estimate, as only some connections were followed (`sample`)."),
            ),
            always("dwell", dwell("Times spent in it.")),
            always("age", age("How long those that are in it have been.")),
        ],
    )
}

fn time_wait() -> Schema {
    let made = object(
        "Timewait sockets there are now, by the side that opened the connection.",
        [
            always("here", count("This machine: each holds a local port.")),
            always("accepted", count("The peer: none holds a local port.")),
            always("unknown", count("Not known: from before tcpwait started.")),
        ],
    );
    object(
        "TIME_WAIT.",
        [
            always("entered_per_s", per_s("Sockets that entered it; null for an interval without length").or_null()),
            always("left_per_s", per_s("Sockets that left it; null for an interval without length").or_null()),
            always("restarts", count("How often late segments restarted the timer of those that left.")),
            always("restart_causes", restart_causes("The same by cause.")),
            always("overflows", count("How often it was not entered, as tcp_max_tw_buckets was reached.")),
            always("made", made),
            always("closed_first", closed_first()),
            always("hz", count("The kernel's tick rate; null until its records have shown it.").or_null()),
            always("histogram", histogram()),
            always("steady", steady()),
        ],
    )
}

fn closed_first() -> Schema {
    shared("Closed connections by who sent the first FIN.", "closed-first", || {
        object(
            "Closed connections by who sent the first FIN.",
            [
                always("this_side", count("This side.")),
                always("peer", count("The peer.")),
                always("both", count("Both at once.")),
                always("neither", count("Nobody: it ended in ESTABLISHED, without a FIN.")),
            ],
        )
    })
}

fn histogram() -> Schema {
    let bucket = object(
        "A bucket.",
        [
            always("from_ns", ns("Its lower bound")),
            always("to_ns", ns("Its upper bound, which is not in it; null for the last").or_null()),
            always("count", count("Times in it.")),
            always("normal", whether("Whether a natural end may lie in it.")),
        ],
    );
    object(
        "Times spent in TIME_WAIT.",
        [
            always("buckets", list("Ascending. Empty ones are left out unless they are normal.", bucket)),
            always("normal_from_ns", ns("A natural end comes no earlier")),
            always("normal_to_ns", ns("A natural end comes no later; null until HZ is known").or_null()),
            always("early", count("Timers that ran out more than 0.25 s earlier, without having been restarted.")),
            always("late", count("Timers that ran out more than 0.25 s later, without having been restarted.")),
        ],
    )
}

fn steady() -> Schema {
    let verdicts =
        [SteadyVerdict::Fits, SteadyVerdict::More, SteadyVerdict::Fewer, SteadyVerdict::TooEarly, SteadyVerdict::Lost];
    object(
        "Little's law: whether there are as many sockets as rate and time say.",
        [
            always("rate_per_s", per_s("Entries over the last 65 s").or_null()),
            always(
                "mean_dwell_ns",
                ns("Mean time spent in TIME_WAIT, of those that entered more than 65 s ago; null where none has left")
                    .or_null(),
            ),
            always("expected", count("Their product.").or_null()),
            always("if_all_stay", count("How many there would be if each stayed 60 s.").or_null()),
            always("now", count("How many there are.")),
            always(
                "verdict",
                word(
                    "fits: within 10 % or ten sockets. more, fewer: there are more or fewer. too-early: in the first 65 s. lost: for 65 s after events were lost.",
                    words(verdicts),
                ),
            ),
        ],
    )
}

fn exit() -> Schema {
    object(
        "One reason.",
        [
            always("count", count("How many left for it.")),
            always("per_s", per_s("The same as a rate; null for an interval without length").or_null()),
            always("dwell", dwell("Times spent in TIME_WAIT.")),
        ],
    )
}

/// Ends for one reason. What a group has of times is less.
fn end(per_s: Option<Property>, times: Schema) -> Schema {
    let shared_time = object(
        "A time that many share, which is likely a timeout.",
        [
            always("from", word("The state left; unknown where that was not seen.", states_left())),
            sometimes("detail", detail("How they ended.")),
            always("ns", ns("The time")),
            always("count", count("How many share it, at least.")),
        ],
    );
    let mut keys = vec![always("count", count("How many ended for it."))];
    keys.extend(per_s);
    keys.extend([
        always(
            "from",
            map_of_some("The same by the state left; unknown where that was not seen.", states_left(), count("")),
        ),
        always("details", map_of_some("The same by detail.", Detail::ALL.map(Detail::name), count(""))),
        always("dwell", times),
        always("shared", list("Times that many share, from a second on.", shared_time)),
    ]);
    object("One reason.", keys)
}

fn states_left() -> impl Iterator<Item = &'static str> {
    State::ALL.map(State::name).into_iter().chain(["unknown"])
}

fn end_in_all() -> Schema {
    let rate = per_s("The same as a rate. Left out for an interval without length");
    end(Some(sometimes("per_s", rate)), dwell("Times spent in the state left."))
}

fn end_in_group() -> Schema {
    let times = object(
        "Times spent in the state left.",
        [
            always("count", count("How many times are known.")),
            always("mean_ns", ns("Their mean; null where count is 0").or_null()),
            always("min_ns", ns("The shortest; null where count is 0").or_null()),
            always("max_ns", ns("The longest; null where count is 0").or_null()),
        ],
    );
    end(None, times)
}

fn transition() -> Schema {
    object(
        "Steps from one state to another.",
        [
            always("from", state("The state left; null where what came before was not seen.").or_null()),
            always("to", state("The state entered.")),
            always("count", count("Steps that were seen.")),
            always(
                "kernel",
                count("Steps that the BPF programs counted, whatever was lost; null where they cannot tell.").or_null(),
            ),
        ],
    )
}

fn group() -> Schema {
    let peer = object(
        "The remote address with most entries.",
        [
            always("addr", address("The address.")),
            always("entered", count("How many entered, at least.")),
            always("only", whether("Whether there is no other address.")),
        ],
    );
    object(
        "A group, or all others together. Counts are of TIME_WAIT.",
        [
            always("key", group_key(&[GroupBy::Netns])),
            always("groups", count("How many groups this is.")),
            always("now", count("Sockets in TIME_WAIT now.")),
            always("entered", count("How many entered it.")),
            always("share", share("Their part of all that entered it; null when none did").or_null()),
            always("per_s", per_s("Entries; null for an interval without length").or_null()),
            always("left", count("How many left it.")),
            always("exits", map_of_some("The same by reason.", Reason::ALL.map(Reason::name), count(""))),
            always("closed_first", closed_first()),
            always(
                "ends",
                map_of_some(
                    "How its connections ended once they had been made, by reason.",
                    Reason::ALL.map(Reason::name),
                    end_in_group(),
                ),
            ),
            always("top_peer", peer.or_null()),
            always("dwell", dwell("Times spent in TIME_WAIT.")),
        ],
    )
}

/// What is compared, and with what of the kernel: as `checks` has them.
const CHECKED: [&str; 14] = [
    "entries",
    "expired",
    "reused_by_connect",
    "overflows",
    "passive_opens",
    "active_opens",
    "attempt_fails",
    "estab_resets",
    "abort_on_data",
    "abort_on_close",
    "abort_on_memory",
    "abort_on_timeout",
    "abort_on_linger",
    "resets_sent",
];

fn audit() -> Schema {
    let check = object(
        "One count beside the kernel's.",
        [
            always("what", word("What is counted.", CHECKED.into_iter().chain(["now"]))),
            always("counter", text("What the kernel calls it.")),
            always("seen_min", count("What was seen by then, at least.")),
            always(
                "seen_max",
                count("What was seen by then, at most; null where the kernel counts more than what is followed.")
                    .or_null(),
            ),
            always("kernel", count("What the kernel says.")),
            always("off_by", count("By how much they differ.")),
            always("explained", whether("Whether the difference is no more than what is known to be lost.")),
        ],
    );
    object(
        "The counts beside the kernel's own, since the start.",
        [
            always("time", time("When they were compared; null where they were not").or_null()),
            always("why_not", text("Why nothing was compared, in words; null where something was.").or_null()),
            always("namespaces", count("Network namespaces that were compared.")),
            always("unread", count("Network namespaces that could not be read.")),
            always("agrees", whether("Whether all agree; null where nothing was compared.").or_null()),
            always("checks", list("The comparisons.", check)),
        ],
    )
}
