//! Tells a network namespace in which there can be no TCP socket, from counters that are read in microseconds. A listing takes
//! milliseconds, as the tables it goes through are those of the whole machine. Where there is any doubt, there may be sockets.

use std::fs;

/// Whether there is no TCP socket in the calling thread's namespace that sock_diag would list.
///
/// Full sockets and mini-sockets are in `/proc/net/sockstat{,6}`. Request sockets are not, and may outlive their listener by half
/// a minute; there is none where no segment ever came (`InSegs`).
pub fn is_this() -> bool {
    let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
    let (Ok(sockstat), Ok(snmp)) = (read("sockstat"), read("snmp")) else { return false };
    // Without IPv6 in the kernel there is no such file.
    let sockstat6 = match read("sockstat6") {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(_) => return false,
    };
    says(&sockstat, sockstat6.as_deref(), &snmp)
}

fn says(sockstat: &str, sockstat6: Option<&str>, snmp: &str) -> bool {
    number(sockstat, "TCP:", "inuse") == Some(0)
        && number(sockstat, "TCP:", "tw") == Some(0)
        && sockstat6.is_none_or(|text| number(text, "TCP6:", "inuse") == Some(0))
        && in_segs(snmp) == Some(0)
}

/// The number after a word in a line of sockstat.
fn number(sockstat: &str, line: &str, word: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|text| text.strip_prefix(line))?;
    line.split_ascii_whitespace().skip_while(|other| *other != word).nth(1)?.parse().ok()
}

/// Segments that came: in `/proc/net/snmp`, a line of names and then one of values.
fn in_segs(snmp: &str) -> Option<u64> {
    let mut rows = snmp.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let at = rows.next()?.split_ascii_whitespace().position(|name| name == "InSegs")?;
    rows.next()?.split_ascii_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{is_this, says};

    const SOCKSTAT: &str = "sockets: used 3\nTCP: inuse 0 orphan 0 tw 0 alloc 7 mem 0\nUDP: inuse 2 mem 0\n";
    const SOCKSTAT6: &str = "TCP6: inuse 0\nUDP6: inuse 4\n";
    const SNMP: &str = "Tcp: RtoMin InSegs OutSegs\nTcp: 200 0 1\nUdp: InSegs\nUdp: 9\n";

    #[test]
    fn only_where_all_say_so() {
        assert!(says(SOCKSTAT, Some(SOCKSTAT6), SNMP) && says(SOCKSTAT, None, SNMP));
        for sockstat in
            [SOCKSTAT.replace("TCP: inuse 0", "TCP: inuse 1"), SOCKSTAT.replace("tw 0", "tw 1"), String::new()]
        {
            assert!(!says(&sockstat, Some(SOCKSTAT6), SNMP), "{sockstat}");
        }
        for sockstat6 in [SOCKSTAT6.replace("TCP6: inuse 0", "TCP6: inuse 1"), String::new()] {
            assert!(!says(SOCKSTAT, Some(&sockstat6), SNMP), "{sockstat6}");
        }
        for snmp in [SNMP.replace("200 0", "200 1"), "Tcp: RtoMin\nTcp: 1\n".to_owned(), String::new()] {
            assert!(!says(SOCKSTAT, Some(SOCKSTAT6), &snmp), "{snmp}");
        }
    }

    #[test]
    fn not_where_there_is_a_socket() {
        let _listener = std::net::TcpListener::bind("127.0.0.1:0");
        assert!(!is_this());
    }
}
