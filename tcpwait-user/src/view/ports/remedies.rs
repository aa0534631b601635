//! What would help against a lack of ports, at what risk, and what would not, in words.

use super::super::units::{count, duration};
use crate::aggregate::ports::{
    advice::{Help, NoHelp, PortAdvice},
    range_advice,
    report::PortRow,
};

/// What would help, and what would not.
pub fn advice(advice: &PortAdvice, row: &PortRow) -> Vec<String> {
    let change = |help: &Help| format!("change: {}. Risk: {}", words(help, row), risk(help));
    let mut lines: Vec<String> = advice.help.iter().map(change).collect();
    let others: Vec<&str> = advice.no_help.iter().map(not).collect();
    if !others.is_empty() {
        lines.push(format!("will not help: {}", others.join("; ")));
    }
    lines
}

/// What a change may cost.
pub fn risk(help: &Help) -> &'static str {
    const NAT: &str = "a NAT in between that still has the old connection may drop the new one";
    match help {
        Help::KeepOpen => "a firewall or NAT in between may drop idle connections",
        Help::PeerClosesFirst => "the peer then has the TIME_WAITs",
        Help::TwReuse { timestamps_off: true, .. } => {
            "12 bytes in each segment; a NAT in between that still has the old connection may drop the new one"
        }
        Help::TwReuse { .. } | Help::LowerReuseDelay { .. } => NAT,
        Help::WiderRange { .. } => range_advice::RISK,
        Help::FewerReserved { .. } => "connect() may take the port of a service before the service starts",
        Help::FinTimeout => "a peer that is slow to close gets an RST for its FIN or its data",
        Help::FewerOpen => "requests may wait for a free connection",
        Help::BindNoPort => "getsockname() shows no port before connect()",
        Help::GiveUpEarlier => "connects to a slow peer fail",
        Help::MoreAddresses | Help::CloseWhatIsClosed | Help::LetFinThrough => "none",
    }
}

fn words(help: &Help, row: &PortRow) -> String {
    match help {
        Help::KeepOpen => "keep connections open and reuse them (keep-alive, a pool)".to_owned(),
        Help::PeerClosesFirst => {
            "let the peer close first: its TIME_WAIT uses no port of this side"
                .to_owned()
        }
        Help::TwReuse { now, after_ms, timestamps_off, have_timestamps } => {
            let covers = if *now == 2 { ", loopback only" } else { "" };
            let on = if *timestamps_off { " and net.ipv4.tcp_timestamps=1 (now 0)" } else { "" };
            let caveat = match (timestamps_off, have_timestamps) {
                (false, Some(true)) => "",
                _ => ", if the peer uses timestamps, too",
            };
            format!(
                "set net.ipv4.tcp_tw_reuse=1 (now {now}{covers}){on}: connect() may then reuse a port in TIME_WAIT after {}{caveat}",
                duration(Some(after_ms.saturating_mul(1_000_000)))
            )
        }
        Help::LowerReuseDelay { now_ms } => {
            format!("lower net.ipv4.tcp_tw_reuse_delay (now {now_ms} ms): tcp_tw_reuse is on already")
        }
        Help::WiderRange { low, high, widest } => range_advice::change(*low, *high, *widest),
        Help::FewerReserved { reserved } => {
            format!("shorten net.ipv4.ip_local_reserved_ports: it takes {} ports of the range", count(*reserved))
        }
        Help::MoreAddresses => format!(
            "more source addresses, or more addresses or ports of the peer: each combination has {}",
            row.size.map_or_else(|| "the whole range".to_owned(), |size| format!("{} ports", count(size)))
        ),
        Help::FinTimeout => "lower net.ipv4.tcp_fin_timeout: it ends FIN_WAIT2 of closed sockets".to_owned(),
        Help::CloseWhatIsClosed => {
            "have the process close connections that the peer has closed: CLOSE_WAIT has no timeout".to_owned()
        }
        Help::FewerOpen => "open fewer connections at a time, or close unused ones".to_owned(),
        Help::LetFinThrough => "find what drops the FIN or its ACK: a firewall, a NAT that has dropped the connection, or the peer is gone; until then \
            net.ipv4.tcp_orphan_retries limits how often the FIN is sent"
            .to_owned(),
        Help::BindNoPort => {
            "set IP_BIND_ADDRESS_NO_PORT on sockets that bind() an address only, and close bound sockets that are not used".to_owned()
        }
        Help::GiveUpEarlier => {
            "give up earlier: a timeout of the program's own, or a lower net.ipv4.tcp_syn_retries"
                .to_owned()
        }
    }
}

fn not(no_help: &NoHelp) -> &'static str {
    match no_help {
        NoHelp::FinTimeout => "tcp_fin_timeout (only for FIN_WAIT2; the 60 s of TIME_WAIT are fixed in the kernel)",
        NoHelp::MaxTwBuckets => {
            "a lower tcp_max_tw_buckets (it skips TIME_WAIT, and its protection against old segments, of all connections)"
        }
        NoHelp::TwRecycle => "tcp_tw_recycle (removed in Linux 4.12)",
        NoHelp::ReuseAddr => "SO_REUSEADDR (only for bind())",
        NoHelp::TwReuseIsOn => "tcp_tw_reuse (on already for these ports)",
        NoHelp::TwReuseWithoutTimestamps => "tcp_tw_reuse (the peer does not use timestamps)",
        NoHelp::TwReuse => "tcp_tw_reuse (only for TIME_WAIT)",
    }
}
