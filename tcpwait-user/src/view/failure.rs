//! Calls that failed, in words. The lines and JSON objects that carry them are in `text.rs` and `json.rs`.

use std::net::{IpAddr, Ipv4Addr};

use nix::errno::Errno;

use crate::{
    lifecycle::{Call, Failure, PortHolder, PortHolders, Why},
    plain,
    tcp::State,
};

/// What happened, as text and JSON name it.
pub fn event(call: Call) -> &'static str {
    match call {
        Call::Connect => "connect-failed",
        Call::Bind => "bind-failed",
        Call::Listen => "listen-failed",
    }
}

/// The errno's name; `None` where there is none.
pub fn errno(errno: u16) -> Option<String> {
    (errno != 0).then(|| format!("{:?}", Errno::from_raw(errno.into())))
}

/// The reason in few words, of many failures at once.
pub fn short(why: Why) -> &'static str {
    match why {
        Why::NoFreePort => "no port of ip_local_port_range is free for this destination",
        Why::PortTaken => "the source port is in use for this destination",
        Why::Refused => "nobody listens there, or a firewall rejects it",
        Why::TimedOut => "no SYN-ACK came",
        Why::Unreachable => "an ICMP error, or no answer to ARP",
        Why::GivenUp => "the process closed the socket before it was connected",
        Why::SoftError => {
            "the process closed the socket after an ICMP error that did not end connect(), e.g. of this machine's own firewall"
        }
        Why::RangeFull => "no port of the range is free",
        Why::PortHeld => "another socket has the port",
        Why::NeverSent => "closed before the first write; with TCP Fast Open no SYN is sent until then",
        Why::NoRoute => "this machine has no route to it",
        Why::NotAllowed => "this machine does not allow it",
        Why::NoAddress => "no interface here has the address",
        Why::NoMemory => "the kernel had no memory for it",
        Why::Invalid => "the address is not valid here, the socket is bound already, or the route is a blackhole",
        Why::NotTold => "a port was found; a route, a policy or a lack of memory ended the call",
        Why::PortSearch => "one port after the other is in use: a search for a free one, or a server with many ports",
        Why::Destroyed => "the socket was destroyed (ss -K)",
        Why::Other => "the kernel gave no other reason",
    }
}

/// The reason in words.
pub fn words(failure: &Failure) -> String {
    let flow = &failure.flow;
    let to = std::net::SocketAddr::new(flow.raddr, flow.rport);
    let why = match failure.why {
        Why::NoFreePort => format!(
            "no port of the range is free from {} to {to}: each is in use, bound by a socket, or reserved (ip_local_reserved_ports)",
            flow.laddr
        ),
        Why::PortTaken => {
            format!("the source port {} is in use for {to}, by a connection or what is left of one in TIME_WAIT", flow.lport)
        }
        Why::Refused => {
            "nobody listens there, or a firewall rejects it: an RST or an ICMP error answered the SYN".to_owned()
        }
        Why::TimedOut => format!("no SYN-ACK came{}", sent(failure)),
        Why::Unreachable => "an ICMP error came back, or ARP got no answer".to_owned(),
        Why::GivenUp => format!("closed by the process before it was connected{}", sent(failure)),
        Why::SoftError => soft_error(failure),
        Why::RangeFull => "no port of the range is free; if the socket is for connect(), set IP_BIND_ADDRESS_NO_PORT: connect() then chooses \
                           the port, and can share it between destinations"
            .to_owned(),
        Why::PortHeld => held(failure),
        Why::NeverSent => "closed by the process before its first write; with TCP_FASTOPEN_CONNECT no SYN is sent until then, and no \
                           call failed"
            .to_owned(),
        Why::NoRoute => no_route(failure),
        Why::NotAllowed => not_allowed(failure),
        Why::NoAddress if failure.call == Call::Connect => {
            format!("no interface here has an address from which {} can be reached", flow.raddr)
        }
        Why::NoAddress => format!("no interface of this network namespace has the address {}", flow.laddr),
        Why::NoMemory => "the kernel had no memory for it; nothing was sent".to_owned(),
        Why::Invalid => invalid(failure),
        Why::NotTold => format!(
            "port {} was found, and nothing was sent to {to}: a route, a policy or a lack of memory ended the call (unknown which)",
            flow.lport
        ),
        Why::PortSearch => searched(failure),
        Why::Destroyed => "the socket was destroyed (ss -K); its line to CLOSE shows by which process".to_owned(),
        Why::Other => "the kernel gave no other reason".to_owned(),
    };
    match errno(failure.errno) {
        Some(errno) => format!("{errno}: {why}"),
        None => why,
    }
}

fn sent(failure: &Failure) -> String {
    match failure.retransmits {
        Some(again) => format!(", after {} SYN{}", u32::from(again) + 1, if again == 0 { "" } else { "s" }),
        None => String::new(),
    }
}

/// An ICMP error that comes while connect() holds the socket ends nothing (`tcp_v4_err`, `tcp_v6_err`). Who asks by SO_ERROR is told, and that is another line.
fn soft_error(failure: &Failure) -> String {
    format!(
        "closed by the process before it was connected{}; {} had come before, which does not end connect(): an ICMP error, e.g. of this machine's own \
         firewall (`nft list ruleset`), or a lost route",
        sent(failure),
        errno(failure.soft_errno).unwrap_or_else(|| "an error".to_owned()),
    )
}

/// `tcp_v4_connect` and `tcp_v6_connect` give back ENETUNREACH for what is no host's address, too, and to a socket that may not use IPv4.
fn no_route(failure: &Failure) -> String {
    /// A network has 4 addresses at least, and in the last of them these bits are 1.
    const BROADCAST: u8 = 0b11;
    let to = failure.flow.raddr;
    match to {
        _ if to.is_multicast() || to == IpAddr::V4(Ipv4Addr::BROADCAST) => {
            format!("{to} is a multicast or broadcast address: TCP connects to none")
        }
        IpAddr::V4(_) if failure.v6only == Some(true) => {
            format!("the socket has IPV6_V6ONLY, and {to} is an IPv4 address")
        }
        IpAddr::V4(v4) if failure.errno == Errno::ENETUNREACH as u16 && v4.octets()[3] & BROADCAST == BROADCAST => {
            format!(
                "this machine has no route to {to}, or it is a network's broadcast address; `ip route get {to}` shows which"
            )
        }
        _ => format!("this machine has no route to {to}; `ip route get {to}` shows what it has"),
    }
}

/// What EINVAL can mean: `tcp_v6_connect` and `__inet6_bind` ask for the interface of a link-local address, `__mkroute_output` lets no loopback address
/// out.
fn invalid(failure: &Failure) -> String {
    let (flow, connects) = (&failure.flow, failure.call == Call::Connect);
    let asked = if connects { flow.raddr } else { flow.laddr };
    match asked {
        IpAddr::V6(v6) if v6.is_unicast_link_local() && flow.bound_dev_if == 0 => {
            format!("{asked} is a link-local address, and the call does not say of which interface (`{asked}%eth0`)")
        }
        _ if connects && flow.laddr.is_loopback() && !asked.is_loopback() && !asked.is_unspecified() => {
            format!("the socket is bound to {}, which reaches this machine only, not {asked}", flow.laddr)
        }
        _ if connects => format!("the address is not valid for the socket, or a blackhole route leads to {asked}"),
        _ => "the socket is bound already, or the address is not valid for it".to_owned(),
    }
}

fn not_allowed(failure: &Failure) -> String {
    let port = failure.flow.lport;
    match (failure.call, Errno::from_raw(failure.errno.into())) {
        (Call::Connect, Errno::EKEYREJECTED) => "the socket has no TCP-AO key for this peer".to_owned(),
        (Call::Connect, Errno::EPERM) => "a cgroup's BPF program or a security module forbids it".to_owned(),
        (Call::Connect, _) => {
            format!(
                "a prohibiting route or a security module forbids it; `ip route get {}` shows the route",
                failure.flow.raddr
            )
        }
        (_, Errno::EPERM) => "a cgroup's BPF program, a security module or seccomp forbids it".to_owned(),
        _ => format!(
            "port {port} is below net.ipv4.ip_unprivileged_port_start and the process has no CAP_NET_BIND_SERVICE, or a security module \
             forbids it"
        ),
    }
}

fn searched(failure: &Failure) -> String {
    let Some(search) = &failure.search else { return short(failure.why).to_owned() };
    format!(
        "{} ports between {} and {} were tried one after the other and are in use: a search for a free port, as by bindresvport(), or a server with many ports",
        search.refused, search.lowest, search.highest
    )
}

/// Of a call that found its port held: by whom, and what helps.
pub fn held(failure: &Failure) -> String {
    let port = failure.flow.lport;
    let Some(holders) = failure.holders.as_ref().filter(|holders| !holders.sockets.is_empty()) else {
        return format!(
            "port {port} is in use by a socket that neither listens nor is connected, or by one that is not traced"
        );
    };
    let who: Vec<String> = holders.sockets.iter().map(|holder| holder_words(holder, failure.time_ns)).collect();
    format!("port {port} is in use by {}; {}", who.join(", and by "), advice(port, holders))
}

fn holder_words(holder: &PortHolder, now_ns: u64) -> String {
    let who = holder.owner.as_ref().map(|task| format!("{}/{}", task.pid, plain::column(&task.comm())));
    let count = holder.count;
    if holder.state != State::TimeWait {
        let who = who.unwrap_or_else(|| "an unknown process".to_owned());
        return if count == 1 {
            format!("{who} in {}", holder.state)
        } else {
            format!("{count} in {} of {who}", holder.state)
        };
    }
    let who = who.map_or_else(|| "of an unknown process".to_owned(), |who| format!("left by {who}"));
    let seconds = |ns: u64| ns.saturating_sub(now_ns).div_ceil(1_000_000_000);
    let end = match holder.end_ns {
        Some((first, _)) if count == 1 => format!(", which ends in {} s", seconds(first)),
        Some((first, last)) => {
            format!(", of which the oldest ends in {} s and the last in {} s", seconds(first), seconds(last))
        }
        None => String::new(),
    };
    format!("{count} in TIME_WAIT {who}{end}")
}

fn advice(port: u16, holders: &PortHolders) -> String {
    if holders.sockets.iter().any(|holder| holder.made_here == Some(true)) && holders.reuseaddr_would_do == Some(true) {
        return format!(
            "connect() took it from the ephemeral ports: add {port} to net.ipv4.ip_local_reserved_ports to reserve it for the server"
        );
    }
    let listens = holders.sockets.iter().any(|holder| holder.state == State::Listen);
    if listens && holders.of_another_user {
        return "SO_REUSEPORT shares a port only among sockets of one user".to_owned();
    }
    if holders.reuseaddr_would_do != Some(true) {
        return "SO_REUSEADDR does not help against a listener".to_owned();
    }
    let has = |has: Option<bool>| match has {
        Some(true) => "has it",
        Some(false) => "does not have it",
        None => "may or may not have it",
    };
    let theirs = holders.sockets.iter().map(|holder| holder.reuseaddr);
    let theirs = theirs.reduce(|one, other| if one == other { one } else { None }).flatten();
    let theirs = match theirs {
        Some(true) => "the others have it",
        Some(false) => "the others do not",
        None => "unknown for the others",
    };
    format!(
        "with SO_REUSEADDR on both sockets the call would succeed: this socket {}, {theirs}",
        has(holders.has_reuseaddr)
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use nix::errno::Errno;

    use super::words;
    use crate::{
        lifecycle::{Call, Failure, Why},
        tcp::{Flow, NetnsId},
    };

    /// One errno has several causes, and the addresses tell some of them apart.
    #[test]
    fn what_the_addresses_tell() {
        let said = |(call, why, errno): (Call, Why, Errno),
                    laddr: &str,
                    raddr: &str,
                    bound_dev_if: u32,
                    v6only: Option<bool>| {
            let (laddr, raddr) = (laddr.parse().unwrap(), raddr.parse().unwrap());
            words(&Failure {
                time_ns: 0,
                id: 0,
                flow: Flow { netns: NetnsId::new(1, 0), bound_dev_if, laddr, raddr, lport: 0, rport: 80 },
                call,
                errno: errno as u16,
                why,
                owner: None,
                retransmits: None,
                soft_errno: 0,
                holders: None,
                search: None,
                v6only,
            })
        };
        let no_route = (Call::Connect, Why::NoRoute, Errno::ENETUNREACH);
        let invalid = (Call::Connect, Why::Invalid, Errno::EINVAL);
        let bind = (Call::Bind, Why::Invalid, Errno::EINVAL);
        for (call, laddr, raddr, interface, v6only, word) in [
            (no_route, "0.0.0.0", "192.0.2.1", 0, None, "has no route to 192.0.2.1;"),
            (no_route, "0.0.0.0", "192.0.2.255", 0, None, "or it is a network's broadcast address"),
            (no_route, "0.0.0.0", "255.255.255.255", 0, None, "TCP connects to none"),
            (no_route, "::", "ff02::1", 2, Some(true), "TCP connects to none"),
            (no_route, "::", "192.0.2.1", 0, Some(true), "the socket has IPV6_V6ONLY"),
            (no_route, "::", "192.0.2.1", 0, Some(false), "has no route to 192.0.2.1;"),
            (
                (Call::Connect, Why::NoRoute, Errno::EHOSTUNREACH),
                "0.0.0.0",
                "192.0.2.255",
                0,
                None,
                "has no route to 192.0.2.255;",
            ),
            (invalid, "0.0.0.0", "192.0.2.1", 0, None, "blackhole"),
            (invalid, "127.0.0.1", "192.0.2.1", 0, None, "bound to 127.0.0.1"),
            (invalid, "::", "fe80::1", 0, None, "link-local"),
            (invalid, "::", "fe80::1", 2, None, "blackhole"),
            (bind, "fe80::1", "::", 0, None, "link-local"),
            (bind, "192.0.2.1", "0.0.0.0", 0, None, "bound already"),
        ] {
            let said = said(call, laddr, raddr, interface, v6only);
            assert!(said.contains(word), "{said:?} has no {word:?}");
        }
    }
}
