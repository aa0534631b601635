//! Of `tcpwait stat --json`: connections in SYN_RECV, calls that failed, connects whose SYN was sent again.

use super::{
    shared::{call, dwell, errno, interface, why},
    value::{Property, Schema, address, always, count, list, map_of_all, map_of_some, object, shared, text, whether},
};
use crate::{aggregate::unfollowed, lifecycle::Reason};

/// Connections in SYN_RECV.
pub fn syn_recv(meaning: &'static str) -> Schema {
    shared(meaning, "syn-recv", || {
        let outcome = object(
            "One outcome.",
            [always("count", count("How many.")), always("dwell", dwell("Times spent in SYN_RECV."))],
        );
        let outcomes = Reason::OF_SYN_RECV.map(Reason::name).into_iter().chain(["established"]);
        object(
            "Passive connections that left SYN_RECV.",
            [
                always("outcomes", map_of_all("What became of them.", outcomes, outcome)),
                always("retransmits", count("SYN-ACKs that were sent again.")),
                always("retransmitted", count("For how many connections.")),
                always(
                    "without_request",
                    count("Connections made without a request socket: SYN cookies, TCP Fast Open."),
                ),
                always(
                    "kernel",
                    map_of_some(
                        "What the kernel alone counts, since the start; empty until it was read twice.",
                        unfollowed::COUNTERS,
                        count(""),
                    ),
                ),
            ],
        )
    })
}

/// Calls that failed.
pub fn failures() -> Schema {
    let row = object(
        "Calls that failed in one way.",
        [
            always("call", call("The call.")),
            always("why", why("Why.")),
            always("errno", errno("Name of the error; null where no call gave one.").or_null()),
            always("comm", text("The caller's name; null where it is not known.").or_null()),
            interface(),
            always("addr", address("Of connect the remote address, else the local one.")),
            always("port", count("Of connect the remote port, else the local one; 0 is any.")),
            always("count", count("How often.")),
        ],
    );
    object(
        "Calls that failed.",
        [
            always("total", count("All of them.")),
            always(
                "partial",
                whether(
                    "Whether no hook tells of calls that fail before anything is sent (bind(), listen(), connect() before its SYN): they are not among these.",
                ),
            ),
            always("rows", list("The most frequent, first.", row)),
            always("others", count("Those that no row is of.")),
        ],
    )
}

fn counts() -> [Property; 6] {
    [
        always("left", count("Connects that left SYN_SENT, those that failed included.")),
        always("established", count("Those that became connections.")),
        always("syn_retransmits", count("SYNs that were sent again.")),
        always("retransmitted", count("For how many connects.")),
        always("soft_errors", count("Those that their process closed after an error that the kernel only noted.")),
        always("dwell", dwell("Time in SYN_SENT of those that were made after their SYN was sent again.")),
    ]
}

/// Connects.
pub fn connects() -> Schema {
    let to = [interface(), always("addr", address("The remote address.")), always("port", count("The remote port."))];
    let destination = object("Connects to one destination.", to.into_iter().chain(counts()));
    let more = [
        always(
            "destinations",
            list("The same by destination, those first whose SYNs were sent again most.", destination),
        ),
        always("others", count("`retransmitted` of the destinations that no row is of.")),
    ];
    object("Connects.", counts().into_iter().chain(more))
}
