//! What the words of the page mean: who reads it need not know the tool.

use maud::{Markup, html};

/// What the words of the page mean.
const WORDS: [(&str, &str); 36] = [
    (
        "TIME_WAIT",
        "The side that closes a connection first keeps it for a minute, so that late segments of it do no harm. It costs little memory; of a connection that was made here it holds the local port.",
    ),
    (
        "2·MSL",
        "Twice the longest time that a segment lives in the network, by the RFC: how long TIME_WAIT is to take. Linux takes 60 s, whatever the settings.",
    ),
    ("entered, left", "How many came to a state, and how many went. Now: how many there are when the recording ends."),
    ("mini-socket", "What the kernel keeps of a connection in TIME_WAIT, or in FIN_WAIT2 once no process holds it."),
    ("request socket", "What the kernel keeps of a connection from others before the handshake is over."),
    ("orphan", "A connection that no process holds any more: it was closed, and the kernel brings it to its end."),
    ("at least, >", "Not all was seen, by a loss or because it was there before: the number is this or more."),
    (
        "~",
        "An estimate: a time that is right to a tick or two of the kernel's clock, or a number of which one connection in so many was told of.",
    ),
    ("-", "It is not known, or there is none that it could be of."),
    ("expired", "TIME_WAIT, or an orphan's FIN_WAIT2, lasted as long as it was to."),
    (
        "reused-by-connect, reused-by-syn",
        "A new connection took the port before TIME_WAIT was over: one made here, or one from the peer.",
    ),
    (
        "closed",
        "The last ACK came: the normal end. In brackets: this side ended it, and nothing had to be sent for that.",
    ),
    ("reset, reset-sent", "An RST ended it: the peer's, or this side's."),
    ("linger-0", "The process closed it with SO_LINGER of 0 seconds: an RST instead of a FIN."),
    (
        "unread-data, data-after-close",
        "The process closed it before it had read all that came; or data came after that. The kernel answers with an RST.",
    ),
    ("timed-out", "A timer of the kernel gave it up. In brackets: which."),
    ("keepalive, user-timeout", "Keepalive probes had no answer, or what was sent had none for TCP_USER_TIMEOUT."),
    ("out-of-memory, too-many-orphans", "The kernel would not keep it: tcp_mem, or tcp_max_orphans, was reached."),
    (
        "disconnect, multipath",
        "The process called connect() with AF_UNSPEC, or Multipath TCP closed this part of a connection.",
    ),
    ("linger", "With TCP_LINGER2 below 0 an orphan does not wait for the peer's FIN."),
    ("timeout, no-data", "The client's ACK did not come, or no data with it, where TCP_DEFER_ACCEPT waits for some."),
    ("retransmissions", "The peer acknowledged nothing of what was sent again and again."),
    ("zero-window", "The peer's window stayed closed."),
    ("fin-wait-2", "An orphan waited for the peer's FIN as long as tcp_fin_timeout lets it."),
    ("listener-closed", "The listener was closed before a process accepted the connection."),
    ("accept-queue-full", "The client's ACK came, and the accept queue was full."),
    ("unreachable", "An ICMP error came back."),
    ("destroyed", "`ss -K` or a BPF program destroyed it."),
    ("netns", "Its network namespace went away."),
    ("overflow", "tcp_max_tw_buckets was reached: no TIME_WAIT."),
    ("repair", "TCP_REPAIR took the socket out of the connection, as checkpoints of processes do."),
    ("failed", "The call that began it failed; that has a line of its own."),
    ("unknown", "More than one thing leaves these traces."),
    ("given-up", "The process closed the socket before connect() was through."),
    ("soft-error", "The same, after an ICMP error that does not end connect()."),
    (
        "SO_REUSEADDR, SO_REUSEPORT",
        "What a process sets on a socket so that bind() takes a port that others have: in TIME_WAIT, or with the same option.",
    ),
];

/// The words and their meanings.
pub fn glossary() -> Markup {
    html! { dl { @for (word, meaning) in WORDS { dt { (word) } dd { (meaning) } } } }
}

#[cfg(test)]
mod tests {
    use super::WORDS;
    use crate::lifecycle::{Detail, Reason};

    #[test]
    fn has_every_reason() {
        let words: Vec<&str> = WORDS.iter().flat_map(|(words, _)| words.split(", ")).collect();
        let names = Reason::ALL.map(Reason::name).into_iter().chain(Detail::ALL.map(Detail::name));
        let missing: Vec<&str> = names.filter(|name| !words.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
