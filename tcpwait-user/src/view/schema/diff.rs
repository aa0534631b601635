//! `tcpwait diff --json`.

use super::value::{Schema, always, count, list, ns, number, object, schema_key, text, time, whether, word};
use crate::{
    diff::verdict::DiffVerdict,
    view::diff::{json::kind_name, words::KINDS},
};

/// What `tcpwait diff --json` says.
pub fn diff() -> Schema {
    object(
        "Two recordings compared.",
        [
            schema_key(super::DIFF),
            always("confidence", number("How sure the intervals are, 0 to 1.")),
            always("before", origin()),
            always("after", origin()),
            always(
                "unlike",
                list("How the recordings themselves are not alike, a sentence each.", text("A sentence.")),
            ),
            always("both_ends_before", count("Connections that ended of which both ends count, before.")),
            always("both_ends_after", count("And after.")),
            always("differences", count("Rows that differ by more than chance.")),
            always("compared", count("All rows.")),
            always("counts", list("What was counted.", counted())),
            always("sockets", list("How many sockets there were.", sockets())),
            always("durations", list("How long things took, where that is known in both.", durations())),
            always(
                "settings",
                list("Settings that are not the same; null where a recording has none.", setting()).or_null(),
            ),
        ],
    )
}

fn origin() -> Schema {
    object(
        "A recording.",
        [
            always("file", text("Its name.")),
            always("kernel", text("The kernel's release.")),
            always("machine", text("The machine's architecture.")),
            always("hz", count("The kernel's ticks a second; null where they are not known.").or_null()),
            always("tcpwait", text("The version of tcpwait that made it.")),
            always("begin", time("When what is compared of it begins").or_null()),
            always("length_ns", ns("How long what is compared of it is")),
            always(
                "time_wait_ends_length_ns",
                ns("How long the part of that is of which ends of TIME_WAIT are compared"),
            ),
            always("lost", count("Events that were lost: its counts are then at least.")),
        ],
    )
}

fn verdict() -> Schema {
    word(
        "What the two sides say together: up or down by more than chance; new or gone; changed with the load alone; on one side only and too little to \
         be sure; the same, from -33 % to +50 %; unknown, and why.",
        DiffVerdict::NAMES,
    )
}

fn kind() -> Schema {
    word("Where a difference belongs; null of what is none.", KINDS.map(kind_name)).or_null()
}

fn ratio(of: &'static str) -> Schema {
    object(
        of,
        [
            always("ratio", number("After through before.")),
            always("low", number("The lower end of its interval.")),
            always("high", number("The upper end of its interval.")),
        ],
    )
    .or_null()
}

fn counted() -> Schema {
    let side = || {
        object(
            "One side.",
            [
                always("count", count("How many; at least, where events were lost.")),
                always("per_s", number("How many a second; null of no time.").or_null()),
                always(
                    "per_1000",
                    number("How many for a thousand of what per_1000_of says; null where there are none.").or_null(),
                ),
            ],
        )
    };
    object(
        "Something that was counted.",
        [
            always("name", text("What, as --fail-if has it.")),
            always("of", text("Whose: a group, or what failed; null: all.").or_null()),
            always("verdict", verdict()),
            always("kind", kind()),
            always("more_is_worse", whether("Whether more of it is worse; else neither is.")),
            always(
                "per_1000_of",
                word(
                    "What it is held against as load differs; null of the load itself.",
                    ["connections-ended", "time-wait-left"],
                )
                .or_null(),
            ),
            always("before", side()),
            always("after", side()),
            always("rate", ratio("The rates a second; null where there is none on one side, or no interval.")),
            always("share", ratio("The shares of a thousand; null likewise.")),
        ],
    )
}

fn sockets() -> Schema {
    let side = || {
        object(
            "One side.",
            [
                always("mean", number("The mean by time, of TIME_WAIT from 65 s on; null of no time.").or_null()),
                always("max", count("The most at once.")),
                always("end", count("How many there were at the end.")),
            ],
        )
    };
    object(
        "Sockets in a state.",
        [
            always("name", text("What, as --fail-if has it.")),
            always("of", text("Whose: a group, looked at once a second or less; null: all, at each step.").or_null()),
            always("verdict", verdict()),
            always("kind", kind()),
            always("more_is_worse", whether("Whether more of it is worse; else neither is.")),
            always("before", side()),
            always("after", side()),
            always("ratio", ratio("The means; null where there is none on one side, or no interval.")),
        ],
    )
}

fn durations() -> Schema {
    let time = || {
        object(
            "The time, and its interval.",
            [
                always("ns", ns("The time")),
                always("low_ns", ns("The lower end of its interval; null where too little is known").or_null()),
                always("high_ns", ns("The upper end; null likewise").or_null()),
                always("at_least", whether("Whether it falls among those still there: it is longer.")),
            ],
        )
        .or_null()
    };
    let quantile = object(
        "A quantile.",
        [
            always("percent", count("So many percent took no longer.")),
            always("verdict", verdict()),
            always("kind", kind()),
            always("before", time()),
            always("after", time()),
        ],
    );
    object(
        "How long something took.",
        [
            always(
                "name",
                text("The state, as --fail-if has it; of SYN_SENT and SYN_RECV until the connection was made."),
            ),
            always("of", text("Whose: a group; null: all.").or_null()),
            always("more_is_worse", whether("Whether longer is worse; else neither is.")),
            always("count_before", count("How many are known before.")),
            always("count_after", count("And after.")),
            always("still_before", count("How many were still in the state at the end of what is compared, before.")),
            always("still_after", count("And after.")),
            always("quantiles", list("Quantiles.", quantile)),
        ],
    )
}

fn setting() -> Schema {
    object(
        "A setting that is not the same.",
        [
            always("netns", text("The network namespace.")),
            always("name", text("Its name, as sysctl(8) has it; or that the namespace itself is there.")),
            always("before", text("Before; null where it was not there.").or_null()),
            always("after", text("After.").or_null()),
        ],
    )
}
