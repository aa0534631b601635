//! `tcpwait trace --json`, and `--raw --json`.

use super::{
    shared::{
        addresses, damage, detail, errno, interface, ip_family, netns, owner, reason, restart_causes, state, timing,
        why,
    },
    value::{
        Property, Schema, address, address_or_null, always, count, either, list, ns, object, schema_key, shared,
        sometimes, text, time, true_only, whether, word,
    },
};
use crate::{lifecycle::Call, tcp::State, view::failure::event};

/// A line of `tcpwait trace --json`.
pub fn trace() -> Schema {
    either(
        "A line: a step of a connection, a call that failed, or the end of a recording that is not whole.",
        [
            shared("", "transition", transition),
            shared("", "failed-call", failed_call),
            shared("", "recording-damaged", || damage(super::TRACE)),
        ],
    )
}

/// A line of `tcpwait trace --raw --json`.
pub fn raw() -> Schema {
    either(
        "A line: a record of a hook, or the end of a recording that is not whole.",
        [shared("", "record", record), shared("", "recording-damaged", || damage(super::RAW))],
    )
}

/// What names the line and the connection.
fn begin() -> [Property; 3] {
    [
        schema_key(super::TRACE),
        always(
            "time",
            time("When. A step that was inferred has the inferred time, so lines are not always in order of time")
                .or_null(),
        ),
        always(
            "id",
            text("The socket cookie in hex, as `ss -e` prints it after `sk:`; null where the socket had none.")
                .or_null(),
        ),
    ]
}

/// Errors of a socket.
fn soft_errno() -> Property {
    sometimes(
        "soft_errno",
        errno(
            "Name of an error that the kernel noted and did not end the connection for (sk_err_soft), as EHOSTUNREACH.",
        ),
    )
}

fn transition() -> Schema {
    let by = object(
        "The process that did it, in a call of its own.",
        [always("pid", count("Its process id.")), always("comm", text("Its name."))],
    );
    let mut keys = Vec::from(begin());
    keys.extend(addresses());
    keys.push(ip_family());
    keys.extend(owner());
    keys.extend([
        always("from", state("The state left; null where what came before was not seen.").or_null()),
        always("to", state("The state entered.")),
        always("dwell_ns", ns("Time spent in `from`; null where it is not known").or_null()),
        sometimes("dwell_at_least_ns", ns("Where dwell_ns is null: at least so long was spent in `from`")),
        always(
            "timing",
            timing("How exactly dwell_ns is known. exact: both ends were seen. jiffy: one end follows from a timer. unknown: one end was not seen."),
        ),
        sometimes("reason", reason("Why it ended: on steps to CLOSE, and on the step that leaves TIME_WAIT.")),
        sometimes("detail", detail("How it ended, in detail.")),
        sometimes("errno", errno("Name of the socket's error (sk_err) when it ended, as its process gets it, as ECONNRESET.")),
        soft_errno(),
        sometimes("by", by),
        sometimes("restarts", count("On the step that leaves TIME_WAIT: how often late segments restarted its timer.")),
        sometimes("restart_causes", restart_causes("How many restarts there were, by cause.")),
        sometimes("retransmits", count("How often segments were retransmitted in the connection's life so far.")),
        sometimes("predates", true_only("The connection is from before tcpwait started.")),
    ]);
    object("A step of a connection.", keys)
}

fn failed_call() -> Schema {
    let search = object(
        "Of port-search: the search for a free port, as one line.",
        [
            always("lowest", count("The lowest port that was asked for.")),
            always("highest", count("The highest port that was asked for.")),
            always("refused", count("How many calls were refused.")),
        ],
    );
    let reuseaddr = object(
        "Of port-held: what SO_REUSEADDR does about it.",
        [
            always("set", whether("Whether the socket that asked has SO_REUSEADDR; null where it is not known.").or_null()),
            always(
                "would_do",
                whether("Whether SO_REUSEADDR on both sides would have let the call through; null where no holder is known.").or_null(),
            ),
        ],
    );
    let mut keys = Vec::from(begin());
    keys.push(always(
        "event",
        word("What this line is: the call that failed.", [Call::Connect, Call::Bind, Call::Listen].map(event)),
    ));
    keys.extend([
        always("netns", netns()),
        interface(),
        ip_family(),
        always("laddr", address("The local address that was asked for.")),
        always("lport", count("The local port that was asked for; null for any.").or_null()),
        always("raddr", address_or_null("Of connect: the remote address that was asked for; else null.")),
        always("rport", count("Of connect: the remote port that was asked for; else null.").or_null()),
    ]);
    keys.extend(owner());
    keys.extend([
        always("errno", errno("Name of the error that the call gave back, as EADDRINUSE; null where no call failed, or no hook told it.").or_null()),
        soft_errno(),
        always("why", why("Why it failed.")),
        always("words", text("The same in words, with what to do about it. May change.")),
        sometimes("retransmits", count("Of connect: how often the SYN was retransmitted.")),
        sometimes("search", search),
        sometimes("holders", list("Of port-held: who holds the port, of the sockets that are followed.", holder())),
        sometimes("reuseaddr", reuseaddr),
    ]);
    object("A call that failed.", keys)
}

fn holder() -> Schema {
    object(
        "Sockets of one process in one state.",
        [
            always("state", state("Their state.")),
            always("count", count("How many they are.")),
            always("pid", count("Their process; null where it is not known.").or_null()),
            always("comm", text("Its name; null where it is not known.").or_null()),
            always(
                "reuseaddr",
                whether("Whether they have SO_REUSEADDR; null where that is not known or differs.").or_null(),
            ),
            always(
                "made_here",
                whether("Whether connect() on this machine made them; null where their beginning was not seen.")
                    .or_null(),
            ),
            always(
                "first_end_in_ns",
                ns("Of TIME_WAIT: time until the first of them ends; null where it is not known").or_null(),
            ),
            always(
                "last_end_in_ns",
                ns("Of TIME_WAIT: time until the last of them ends; null where it is not known").or_null(),
            ),
        ],
    )
}

/// What `hook` can be in a line of `--raw`.
const HOOKS: [&str; 11] = [
    "inet_sock_set_state",
    "timer_start",
    "timer_start(rearm)",
    "timer_cancel",
    "timer_expire_entry",
    "tcp_timewait_state_process",
    "kfree_skb",
    "sock_diag",
    Call::Connect.name(),
    Call::Bind.name(),
    Call::Listen.name(),
];

fn record() -> Schema {
    let [_, _, id] = begin();
    let mut keys = vec![
        schema_key(super::RAW),
        always("time", time("When").or_null()),
        always("cpu", count("The CPU on which it happened.")),
        always(
            "hook",
            word(
                "The tracepoint or function. sock_diag: a socket that was there before tcpwait. connect, bind, listen: a call that failed.",
                HOOKS,
            ),
        ),
        id,
    ];
    keys.extend(addresses());
    keys.extend([
        sometimes("from", state("The state left; of full sockets only.")),
        always("to", word("The state entered; of a timewait socket its substate.", State::ALL.map(State::name))),
        always("address", text("Of the object in the kernel, in hex; `-` where there is none.")),
        sometimes("expires", count("When the timer runs out, in jiffies.")),
        sometimes("jiffies", count("The kernel's clock, in jiffies.")),
        sometimes("pid", count("The task that holds the socket; of timer_cancel the task on the CPU.")),
        sometimes("comm", text("Its name.")),
        sometimes("stack", list("The kernel's stack, innermost first.", text("An address, in hex."))),
        sometimes("segment", segment()),
        sometimes("retransmits", count("How often segments were retransmitted so far.")),
        sometimes("errno", count("Of a call that failed: its errno, as a number.")),
    ]);
    object("A record of a hook.", keys)
}

fn segment() -> Schema {
    object(
        "A segment that came to a timewait socket.",
        [
            always("flags", text("Those of SYN, FIN, RST and ACK that it has, with commas between.")),
            always("seq", count("Its sequence number.")),
            always("len", count("Bytes of data.")),
            always("timestamp", count("Its timestamp (TSval); null without.").or_null()),
            always("rcv_nxt", count("The sequence number that the socket waits for.")),
            always("ts_recent", count("The latest timestamp that the socket knows; null without.").or_null()),
            always(
                "verdict",
                count("What the kernel made of it (enum tcp_tw_status); null where the hook does not tell.").or_null(),
            ),
        ],
    )
}
