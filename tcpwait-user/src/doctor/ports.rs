//! Ephemeral ports: whether connect() will run out of them towards some address and port, and whether TIME_WAIT is why.

use super::{
    facts::Namespace,
    finding::{
        Evidence, Finding,
        Severity::{Note, Now},
    },
    sockets::DestinationUse,
};
use crate::aggregate::ports::{
    range_advice,
    settings::{PortSettings, parse_ports, parse_range},
};

const RANGE: &str = "net.ipv4.ip_local_port_range";
const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";
const REUSE: &str = "net.ipv4.tcp_tw_reuse";
const TIMESTAMPS: &str = "net.ipv4.tcp_timestamps";

/// A share of the ports that is near all of them, in percent.
const NEAR: u64 = 80;

/// The ephemeral ports, first and last.
fn range(ns: &Namespace) -> Option<(u16, u16)> {
    let (low, high) = ns.settings.get(RANGE)?.split_once(' ')?;
    Some((low.parse().ok()?, high.parse().ok()?))
}

/// Which ports connect() may choose, as far as the settings say.
pub fn choice(ns: &Namespace) -> PortSettings {
    PortSettings {
        range: ns.settings.get(RANGE).and_then(parse_range),
        reserved: ns.settings.get(RESERVED).map(parse_ports).unwrap_or_default(),
        ..PortSettings::default()
    }
}

/// How many ports connect() may choose: the range without those reserved and those that are a server's, as `tcpwait ports` counts.
pub fn available(ns: &Namespace) -> Option<u64> {
    // Without a listing nobody knows which are a server's: at most.
    Some(choice(ns).size()?.saturating_sub(ns.sockets.as_ref().map_or(0, |sockets| sockets.served)))
}

/// Whether connect() takes over a TIME_WAIT towards that destination (`tcp_twsk_unique`); the peer must use timestamps as well.
fn reuse_works(ns: &Namespace, destination: &DestinationUse) -> bool {
    let allowed = match ns.settings.number(REUSE) {
        Some(1) => true,
        Some(2) => destination.is_loopback(),
        _ => false,
    };
    allowed && ns.settings.number(TIMESTAMPS).is_some_and(|timestamps| timestamps > 0)
}

/// Nearly all ports towards a destination are taken, by what connect() may not take over: the worst destinations, at most so many.
pub fn exhausted(ns: &Namespace) -> Vec<Finding> {
    const MOST: usize = 5;
    let Some((available, sockets)) = available(ns).zip(ns.sockets.as_ref()) else { return Vec::new() };
    let blocked = |destination: &DestinationUse| match reuse_works(ns, destination) {
        true => destination.used - (destination.time_wait - destination.young),
        false => destination.used,
    };
    let taken = sockets.destinations.iter().map(|destination| (destination, blocked(destination)));
    let mut near: Vec<_> = taken.filter(|(_, taken)| *taken > 0 && taken * 100 >= available * NEAR).collect();
    near.sort_by_key(|(_, taken)| std::cmp::Reverse(*taken));
    near.iter().take(MOST).map(|(destination, taken)| towards(ns, destination, *taken, available)).collect()
}

fn towards(ns: &Namespace, worst: &DestinationUse, taken: u64, available: u64) -> Finding {
    let (address, port) = worst.remote;
    let to = std::net::SocketAddr::new(address, port);
    let verdict = if taken >= available { "has run out" } else { "is about to run out" };
    let what = format!(
        "connect() from {} to {to} {verdict} of local ports (EADDRNOTAVAIL): {taken} of {available} are in use, {} of them by TIME_WAIT",
        from(worst),
        worst.time_wait
    );
    let finding = Finding::new("ports-exhausted", Now, what)
        .known_by([Evidence::gauge(format!("ports in use to {to}"), worst.used)])
        .known_by([Evidence::gauge("of these in ESTABLISHED", worst.established)])
        .known_by([Evidence::gauge("of these in TIME_WAIT", worst.time_wait)])
        .known_by(ns.set(&[RANGE, RESERVED, REUSE, TIMESTAMPS]));
    cures(ns, worst, finding)
}

/// `10.0.0.1`, `fe80::1%eth0`.
fn from(destination: &DestinationUse) -> String {
    match &destination.interface {
        Some(interface) => format!("{}%{interface}", destination.laddr),
        None => destination.laddr.to_string(),
    }
}

fn cures(ns: &Namespace, worst: &DestinationUse, finding: Finding) -> Finding {
    let waits = worst.time_wait > worst.used / 2;
    let timestamps = ns.settings.number(TIMESTAMPS).is_some_and(|timestamps| timestamps > 0);
    let reuses = reuse_works(ns, worst);
    let (low, high) = range(ns).unwrap_or_default();
    let widest = range_advice::widest(low, high);
    let open = worst.established > worst.used / 2;
    let finding = finding
        .change_if(
            open,
            "open fewer connections at a time, or close those that are not used: `tcpwait ports 5` shows which process has them",
            "a connection that was closed has to be made again",
        )
        .change_if(
            !open,
            "keep connections open and reuse them (keep-alive, a pool): `tcpwait ports 5` shows which process opens them",
            "a firewall or NAT in between may drop idle connections",
        )
        .change_if(
            waits && !reuses && timestamps,
            format!("set {REUSE} to 1: connect() then reuses a port that has been in TIME_WAIT for more than a second"),
            "both sides need timestamps (RFC 7323, RFC 6191); a NAT in between that still has the old connection may drop the new one",
        )
        .change_if(
            waits && !timestamps,
            format!("set {TIMESTAMPS} to 1, and {REUSE} to 1: connect() cannot reuse a port in TIME_WAIT without timestamps"),
            "12 bytes in each segment; a NAT in between that still has the old connection may drop the new one",
        )
        .change_if(widest.is_some(), range_advice::change(low, high, widest.unwrap_or_default()), range_advice::RISK)
        .change("more source addresses, or more addresses or ports of the peer: each combination has all the ports", "none");
    if worst.time_wait == 0 {
        return finding;
    }
    finding
        .in_vain(format!("tcp_fin_timeout: TIME_WAIT takes {}", ns.time_wait_length()))
        .in_vain("tcp_max_tw_buckets: a lower limit skips TIME_WAIT, and its protection against old segments")
        .in_vain("tcp_tw_recycle: removed in Linux 4.12; it broke clients behind NAT")
}

/// `tcp_twsk_unique` asks for the timestamp of the old connection.
pub fn reuse_without_timestamps(ns: &Namespace) -> Option<Finding> {
    if ns.settings.number(TIMESTAMPS)? != 0 || ns.settings.number(REUSE)? == 0 {
        return None;
    }
    let what = "tcp_timestamps is 0, so tcp_tw_reuse has no effect: connect() reuses a port in TIME_WAIT by its timestamp only. PAWS, \
        which rejects old segments of fast connections, is off as well";
    Some(Finding::new("reuse-without-timestamps", Note, what).known_by(ns.set(&[TIMESTAMPS, REUSE])))
}
