//! Reads the kernel's counters of TCP and of connection tracking, all of them, by name, in the calling thread's network
//! namespace. What they count is not known here.

use std::fs;

use crate::doctor::{MINIS, ORPHANS, facts::Counters};

/// The counters. A file that is not there, or may not be read, adds none.
pub fn read() -> Counters {
    let mut counters = Counters::default();
    let file = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    pairs(&file("snmp"), "Tcp", &mut counters);
    pairs(&file("netstat"), "TcpExt", &mut counters);
    sockstat(&file("sockstat"), "TCP", &mut counters);
    sockstat(&file("sockstat6"), "TCP6", &mut counters);
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
    ["sockstat TCP inuse", "sockstat TCP6 inuse", MINIS].iter().all(|name| counters.get(name) == Some(0))
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
    fn of_this_kernel() {
        let counters = read();
        assert!(["TcpActiveOpens", "TcpExtTCPTimeWaitOverflow", MINIS].iter().all(|name| counters.get(name).is_some()));
    }
}
