//! `tcpwait states --json`.

use super::{
    shared::{age, group_by, group_key},
    value::{Schema, always, count, list, map_of_some, ns, object, schema_key, share, time, whether},
};
use crate::tcp::State;

/// A report of `tcpwait states --json`.
pub fn states() -> Schema {
    object(
        "A report: sockets by state, as they were listed one after the other.",
        [
            schema_key(super::STATES),
            always("time", time("When the reading began")),
            always("sockets", count("All sockets that are counted.")),
            always(
                "states",
                map_of_some("Sockets by state: every state that was asked for.", State::ALL.map(State::name), state()),
            ),
            always("fin_wait2_minis", count("Of FIN_WAIT2, the orphans: connections that no process holds any more.")),
            always("time_wait_left", left()),
            always("by", group_by("What the groups are by; empty without --by.")),
            always("groups", list("The first groups, most sockets first; then all others as one.", group())),
            always("namespaces", namespaces()),
            always("not_counted", count("Sockets of a family or in a state that is not known.")),
            always(
                "older_than_ns",
                ns("With --older-than: only sockets that have been in their state longer are counted; else null")
                    .or_null(),
            ),
            always(
                "age_unknown",
                count("With --older-than: sockets of whose age nothing is known; else null.").or_null(),
            ),
            always("owners", owners().or_null()),
        ],
    )
}

fn state() -> Schema {
    object(
        "Sockets in one state. All null for CLOSE, which the kernel does not list.",
        [
            always("sockets", count("How many they are.").or_null()),
            always("ipv4", count("Of those, IPv4, also where an IPv6 socket carries it.").or_null()),
            always("ipv6", count("Of those, IPv6.").or_null()),
            always("share", share("Their part of all sockets").or_null()),
            always("age", age("How long they have been in it.")),
        ],
    )
}

fn left() -> Schema {
    let within = object(
        "Those that end within some time, with those that end earlier.",
        [always("within_ns", ns("The time")), always("count", count("How many end within it."))],
    );
    object(
        "Time to the nominal end of the sockets in TIME_WAIT. Null where there are none.",
        [
            always("min_ns", ns("The shortest").or_null()),
            always("p50_ns", ns("The median").or_null()),
            always("max_ns", ns("The longest").or_null()),
            always("within", list("How many end within some times.", within)),
            always("over", count("Sockets beyond their nominal end, which wait for the timer.")),
        ],
    )
}

fn group() -> Schema {
    object(
        "A group, or all others together.",
        [
            always("key", group_key(&[])),
            always("groups", count("How many groups this is.")),
            always("sockets", count("How many sockets.")),
            always(
                "states",
                map_of_some(
                    "The same by state: each state in which any group has one.",
                    State::ALL.map(State::name),
                    count(""),
                ),
            ),
            always(
                "oldest_at_least_ns",
                ns("How long the oldest has been in its state, at least; null where that is not known").or_null(),
            ),
        ],
    )
}

fn namespaces() -> Schema {
    object(
        "Network namespaces.",
        [
            always("read", count("Those that were read.")),
            always("unreadable", count("Those that were not read to their end.")),
            always("unseen", whether("Whether there are processes whose namespace may not be seen.")),
            always("inconsistent", count("Of those read, how many changed while they were listed.")),
        ],
    )
}

fn owners() -> Schema {
    object(
        "Sockets without a known process; null where nobody asked for processes.",
        [
            always("none", count("Sockets that no process has.")),
            always("none_time_wait", count("Of those, sockets in TIME_WAIT.")),
            always("unknown", count("Sockets whose process is not known.")),
            always("shared", count("Of those, sockets that several processes have.")),
        ],
    )
}
