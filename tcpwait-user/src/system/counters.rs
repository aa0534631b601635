//! Reads the kernel's counters of TCP and of connection tracking, all of them, by name, in the calling thread's network
//! namespace. What they count is not known here.

use std::fs;

use crate::doctor::{MINIS, ORPHANS, facts::Counters};

const IN_USE_4: &str = "sockstat TCP inuse";
const IN_USE_6: &str = "sockstat TCP6 inuse";

/// The counters. A file that is not there, or may not be read, adds none.
pub fn read() -> Counters {
    let mut counters = Counters::default();
    let file = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    pairs(&file("snmp"), "Tcp", &mut counters);
    pairs(&file("netstat"), "TcpExt", &mut counters);
    sockstat(&file("sockstat"), "TCP", &mut counters);
    match fs::read_to_string("/proc/thread-self/net/sockstat6") {
        Ok(text) => sockstat(&text, "TCP6", &mut counters),
        // Without IPv6 in the kernel there is no such file, and no such socket.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            counters.0.insert(IN_USE_6.to_owned(), 0);
        }
        Err(_) => {}
    }
    per_cpu(&file("stat/nf_conntrack"), "nf_conntrack", &mut counters);
    counters
}

/// A line of names, then one of values, each after `group:` (`snmp_seq_show`, `netstat_seq_show`). `MaxConn` may be -1.
fn pairs(text: &str, group: &str, counters: &mut Counters) {
    let mut rows = text.lines().filter_map(|line| line.strip_prefix(group)?.strip_prefix(':'));
    let (Some(names), Some(values)) = (rows.next(), rows.next()) else { return };
    for (name, value) in names.split_ascii_whitespace().zip(values.split_ascii_whitespace()) {
        if let Ok(value) = value.parse() {
            counters.0.insert(format!("{group}{name}"), value);
        }
    }
}

/// Whether these are the counters of a namespace without any socket of TCP. `inuse` counts full sockets, of one family each.
pub fn tell_of_no_socket(counters: &Counters) -> bool {
    [IN_USE_4, IN_USE_6, MINIS].iter().all(|name| counters.get(name) == Some(0))
}

/// The same, and that there is no request socket either: those are in no such count, and may outlive their listener by half a minute, but
/// there is none where no segment ever came.
pub fn tell_of_no_segment(counters: &Counters) -> bool {
    tell_of_no_socket(counters) && counters.get("TcpInSegs") == Some(0)
}

/// The line `TCP:` or `TCP6:`, of names each before its value (`sockstat_seq_show`, `sockstat6_seq_show`).
fn sockstat(text: &str, family: &str, counters: &mut Counters) {
    let line = text.lines().find_map(|line| line.strip_prefix(family)?.strip_prefix(':'));
    let Some(line) = line else { return };
    let in_use = format!("sockstat {family} inuse");
    for (name, as_named) in [("orphan", ORPHANS), ("tw", MINIS), ("inuse", in_use.as_str())] {
        let value = line.split_ascii_whitespace().skip_while(|word| *word != name).nth(1);
        if let Some(value) = value.and_then(|value| value.parse().ok()) {
            counters.0.insert(as_named.to_owned(), value);
        }
    }
}

/// A line of names, then one of hexadecimal values for each CPU (`ct_cpu_seq_show`).
fn per_cpu(text: &str, group: &str, counters: &mut Counters) {
    let mut rows = text.lines();
    let Some(names) = rows.next() else { return };
    for row in rows {
        for (name, value) in names.split_ascii_whitespace().zip(row.split_ascii_whitespace()) {
            if let Ok(value) = u64::from_str_radix(value, 16) {
                *counters.0.entry(format!("{group} {name}")).or_default() += value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format() {
        let mut counters = Counters::default();
        pairs("Ip: A\nIp: 9\nTcp: RtoMin MaxConn ActiveOpens\nTcp: 200 -1 7\nTcpExt: TW\n", "Tcp", &mut counters);
        pairs("TcpExt: SyncookiesSent TW\nTcpExt: 1 22\nIpExt: TW\nIpExt: 4\n", "TcpExt", &mut counters);
        sockstat("sockets: used 9\nTCP: inuse 5 orphan 3 tw 12 alloc 7 mem 1\nTCP6: inuse 1\n", "TCP", &mut counters);
        per_cpu("entries drop\n0000000a 0000000f\n0000000a 00000001\n", "nf_conntrack", &mut counters);
        let get = |name: &str| counters.get(name);
        assert_eq!((get("TcpActiveOpens"), get("TcpMaxConn"), get("TcpTW")), (Some(7), None, None));
        assert_eq!((get("TcpExtTW"), get("TcpExtSyncookiesSent")), (Some(22), Some(1)));
        assert_eq!((get(ORPHANS), get(MINIS)), (Some(3), Some(12)));
        assert_eq!(get("nf_conntrack drop"), Some(16));
        assert!(!tell_of_no_socket(&counters) && !tell_of_no_socket(&Counters::default()));
        for odd in ["", "\n", "TcpExt:", "TcpExt: TW\n", "TCP: tw", "TCP: orphan x tw", "a b\n1\nx y\n"] {
            pairs(odd, "TcpExt", &mut counters);
            sockstat(odd, "TCP", &mut counters);
            per_cpu(odd, "odd", &mut counters);
        }
    }

    #[test]
    fn no_socket_only_where_all_say_so() {
        let counters = |inuse, inuse6, tw, segments| {
            let mut counters = Counters::default();
            let values = [(IN_USE_4, inuse), (IN_USE_6, inuse6), (MINIS, tw), ("TcpInSegs", segments)];
            counters.0.extend(
                values.into_iter().filter_map(|(name, value): (&str, Option<u64>)| Some((name.to_owned(), value?))),
            );
            counters
        };
        let (none, one) = (Some(0), Some(1));
        assert!(tell_of_no_segment(&counters(none, none, none, none)));
        for doubt in [one, None] {
            assert!(!tell_of_no_socket(&counters(doubt, none, none, none)));
            assert!(!tell_of_no_socket(&counters(none, doubt, none, none)));
            assert!(!tell_of_no_socket(&counters(none, none, doubt, none)));
            assert!(!tell_of_no_segment(&counters(none, none, none, doubt)));
        }
        let _listener = std::net::TcpListener::bind("127.0.0.1:0");
        assert!(!tell_of_no_socket(&read()));
    }

    #[test]
    fn of_this_kernel() {
        let counters = read();
        assert!(["TcpActiveOpens", "TcpExtTCPTimeWaitOverflow", MINIS].iter().all(|name| counters.get(name).is_some()));
    }
}
