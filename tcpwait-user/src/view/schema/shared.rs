//! What several documents have: addresses, the owner, times, losses.

use super::value::{
    Property, Schema, address, always, count, family, map_of_some, ns, object, shared, sometimes, text, true_only,
    whether, word, words,
};
use crate::{
    aggregate::by::GroupBy,
    ledger::CutBy,
    lifecycle::{Call, Detail, Reason, RestartCause, Timing, Why},
    tcp::State,
};

/// A state.
pub fn state(meaning: &'static str) -> Schema {
    word(meaning, State::ALL.map(State::name))
}

/// Why something ended.
pub fn reason(meaning: &'static str) -> Schema {
    word(meaning, Reason::ALL.map(Reason::name))
}

/// How it ended.
pub fn detail(meaning: &'static str) -> Schema {
    word(meaning, Detail::ALL.map(Detail::name))
}

/// Why a call failed.
pub fn why(meaning: &'static str) -> Schema {
    word(meaning, Why::ALL.map(Why::name))
}

/// A call.
pub fn call(meaning: &'static str) -> Schema {
    word(meaning, [Call::Connect, Call::Bind, Call::Listen].map(Call::name))
}

/// How exactly a time is known.
pub fn timing(meaning: &'static str) -> Schema {
    word(meaning, words([Timing::Exact, Timing::Jiffy, Timing::Unknown]))
}

/// How often TIME_WAIT's timer was restarted, by cause.
pub fn restart_causes(meaning: &'static str) -> Schema {
    map_of_some(meaning, RestartCause::ALL.map(RestartCause::name), count(""))
}

/// The inode of a network namespace.
pub fn netns() -> Schema {
    count("Inode of the network namespace, as `readlink /proc/PID/ns/net` shows it.")
}

/// The interface that a socket is bound to.
pub fn interface() -> Property {
    sometimes(
        "interface",
        text(
            "Name of the interface or VRF that the socket is bound to, or `if7` where only its number is known. Left out where it is bound to none.",
        ),
    )
}

/// An errno's name; which there are depends on the kernel.
pub fn errno(meaning: &'static str) -> Schema {
    text(meaning)
}

/// The addresses of a connection.
pub fn addresses() -> Vec<Property> {
    vec![
        always("netns", netns()),
        interface(),
        always("laddr", address("Local address.")),
        always("lport", count("Local port; null while the socket has none.").or_null()),
        always("raddr", address("Remote address.")),
        always("rport", count("Remote port; null while the socket has none, and for a listener.").or_null()),
    ]
}

/// The version of IP.
pub fn ip_family() -> Property {
    always("family", family("Version of IP. IPv4 carried by an IPv6 socket is 4."))
}

/// The process that has the socket.
pub fn owner() -> Vec<Property> {
    vec![
        always(
            "pid",
            count("The owner's process id in the initial PID namespace; null where it is not known.").or_null(),
        ),
        always("comm", text("Name of the owner's main thread; null where it is not known.").or_null()),
        always("uid", count("The owner's real user id; null where it is not known.").or_null()),
        always(
            "cgroup",
            text("The owner's cgroup, as a path below the cgroup-v2 mount; null where it is not known.").or_null(),
        ),
        always("pod", pod().or_null()),
        always("container", container().or_null()),
    ]
}

fn pod() -> Schema {
    text(
        "The owner's pod in Kubernetes as `NAMESPACE/NAME`, its UID where the name is not known; null where it is in none, or that is not known.",
    )
}

fn container() -> Schema {
    text(
        "The owner's container in that pod, the first 12 digits of its id where its name is not known; null where it is in none, or that is not known.",
    )
}

/// Times that were measured.
pub fn dwell(meaning: &'static str) -> Schema {
    shared(meaning, "dwell", || {
        object(
            "Times spent in a state, by those that left it and whose time is known. Null where count is 0.",
            [
                always("count", count("How many times are known.")),
                always("inferred", count("Of those, how many are right to a jiffy only.")),
                always("sum_ns", ns("Their sum, exact")),
                always("mean_ns", ns("Their mean").or_null()),
                always("min_ns", ns("The shortest, exact").or_null()),
                always("p50_ns", ns("The median, within 1 %").or_null()),
                always("p90_ns", ns("90 % are not longer; within 1 %").or_null()),
                always("p99_ns", ns("99 % are not longer; within 1 %").or_null()),
                always("max_ns", ns("The longest, exact").or_null()),
            ],
        )
    })
}

/// Ages of sockets.
pub fn age(meaning: &'static str) -> Schema {
    shared(meaning, "age", || {
        object(
            "How long sockets have been in a state that they are in now. Null where nothing is known. Where at_least is above 0, the ages are at least.",
            [
                always("oldest_ns", ns("The greatest age, exact").or_null()),
                always("p50_ns", ns("The median, within 1 %").or_null()),
                always("p90_ns", ns("90 % are not older; within 1 %").or_null()),
                always("known", count("Sockets that were seen to enter the state.")),
                always("at_least", count("Sockets from before tcpwait started, which count with what is certain.")),
            ],
        )
    })
}

/// What groups are by.
pub fn group_by(meaning: &'static str) -> Schema {
    super::value::list(meaning, word("", GroupBy::ALL.map(GroupBy::name)))
}

/// A group's key; `implied`: what groups are by whatever was asked for.
pub fn group_key(implied: &[GroupBy]) -> Schema {
    let value = |by: GroupBy| match by {
        GroupBy::Service => {
            text("The end that was listened on: `ADDR:PORT` of a connection made here, `:PORT` of one accepted here.")
        }
        GroupBy::Process => text("The owner's name."),
        GroupBy::Pid => count("The owner's process id."),
        GroupBy::Remote => text("The remote address, with `%INTERFACE` where the socket is bound to one."),
        GroupBy::RemotePort => count("The remote port."),
        GroupBy::LocalPort => count("The local port."),
        GroupBy::Pair => text("Remote address and port."),
        GroupBy::Uid => count("The owner's user id."),
        GroupBy::Cgroup => text("The owner's cgroup."),
        GroupBy::Pod => pod(),
        GroupBy::Netns => netns(),
    };
    let key = |by| if implied.contains(&by) { always } else { sometimes };
    let keys = GroupBy::ALL.into_iter().flat_map(|by| {
        let of_pod = (by == GroupBy::Pod).then(|| sometimes("container", container().or_null()));
        [key(by)(by.name(), value(by).or_null())].into_iter().chain(of_pod)
    });
    object("One value for each of `by`; null in it is not known. Null itself is all other groups together.", keys)
        .or_null()
}

/// Where a recording can be read no further.
pub fn cut() -> Schema {
    let whys = [CutBy::EndsEarly, CutBy::Damaged, CutBy::RecordLength(0), CutBy::Unreadable(0)];
    object(
        "Where a recording stops before its end; null where it does not.",
        [
            always("at_byte", count("The place in the file, in bytes.")),
            always(
                "why",
                word(
                    "ends-early: the file is cut short. damaged: a checksum or the compression says so. record-length: a record claims a length that none has. unreadable: the file cannot be read there.",
                    whys.map(|why| why.name()),
                ),
            ),
        ],
    )
    .or_null()
}

/// The last line where something is wrong with a recording.
pub fn damage(schema: &'static str) -> Schema {
    object(
        "The last line, where something is wrong with the recording.",
        [
            super::value::schema_key(schema),
            always("event", word("What this line is.", ["recording-damaged"])),
            always("lossy", true_only("Something is missing.")),
            always("cut", cut()),
            always(
                "impossible_times",
                count("Times that cannot be: records that were left out for that, and the header's own."),
            ),
        ],
    )
}

/// What was seen, and what was lost.
pub fn ledger(meaning: &'static str) -> Schema {
    shared(meaning, "ledger", || {
        object(
            "What was seen since the start, and what was lost, by cause. Null where the kernel does not tell.",
            [
                always("states_seen", count("State changes that the BPF programs counted.").or_null()),
                always("minis_entered", count("Timewait sockets that the BPF programs saw begin.").or_null()),
                always("filtered", count("Events of connections that were filtered out in the kernel.").or_null()),
                always(
                    "older_than_trace",
                    count("Sockets from before tcpwait started; null until they have been listed.").or_null(),
                ),
                always("older_minis", count("Of those, timewait sockets.").or_null()),
                always(
                    "left_out",
                    count("Records left out on purpose, as only some connections are followed (`sample` of a report)."),
                ),
                always(
                    "followed_in_part",
                    count(
                        "Connections, at most, that were followed in part since it changed of how many one is followed.",
                    ),
                ),
                always("undecided", count("Connections not shown, as nothing said whether they were wanted.")),
                always(
                    "now_unsure",
                    whether(
                        "Events were lost, or connections left out, a moment ago, so what is there now may be more or less than is said.",
                    ),
                ),
                always("lost", lost()),
                always("cut", cut()),
                always("lossy", whether("Whether anything was lost.")),
            ],
        )
    })
}

fn lost() -> Schema {
    let kinds = object(
        "Records that did not fit into the ring buffer, by kind.",
        [
            always("states", count("State changes.")),
            always("beginnings", count("Beginnings and restarts of timewait sockets.")),
            always("ends", count("Ends of timewait sockets.")),
            always("segments", count("Segments that came to timewait sockets.")),
            always("owners", count("Owners.")),
            always("requests", count("Beginnings, repetitions and ends of request sockets.")),
            always("failures", count("Calls that failed.")),
        ],
    );
    object(
        "What was lost, by cause.",
        [
            always("ring_buffer", kinds.or_null()),
            always(
                "recursion",
                count("Events that the kernel withheld from a hook that was active on that CPU already, of hooks whose every event tells of a connection.").or_null(),
            ),
            always("recursion_by_hook", super::value::map("The same of all hooks, by hook; those that have any.", count("")).or_null()),
            always("unread", count("Records that were written and never read.")),
            always("unreadable", count("Reads of kernel memory that failed.")),
            always("undecodable", count("Records that could not be decoded.")),
            always("impossible_times", count("Of a recording: records left out as their times cannot be, and its header's.")),
            always("unmatched_ends", count("Ends of timewait sockets whose beginning was not seen.")),
            always("unmatched_beginnings", count("Beginnings of timewait sockets under addresses whose former one was not seen to end.")),
            always("gaps", count("State changes that do not continue the state known.")),
            always("unmatched_requests", count("Connections in SYN_RECV whose beginning or end was not seen.")),
            always("unmatched_overdue", count("Connections whose end was not seen and must have come.")),
        ],
    )
}
