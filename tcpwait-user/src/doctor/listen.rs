//! Connections on their way in, and attempts that fail: the accept queue, the queue of SYNs, SYN cookies.

use super::{
    facts::Namespace,
    finding::{
        Evidence, Finding,
        Severity::{Note, Now},
    },
    settings,
    socket::{Listener, Owner},
};

const SOMAXCONN: &str = "net.core.somaxconn";
const SYN_BACKLOG: &str = "net.ipv4.tcp_max_syn_backlog";
const SYNCOOKIES: &str = "net.ipv4.tcp_syncookies";
const ABORT: &str = "net.ipv4.tcp_abort_on_overflow";

const OVERFLOWS: &str = "TcpExtListenOverflows";
const DROPS: &str = "TcpExtListenDrops";
const COOKIES: &str = "TcpExtTCPReqQFullDoCookies";
const DROPPED: &str = "TcpExtTCPReqQFullDrop";

/// So many failed attempts in so short a time are no accident.
const MANY: u64 = 10;

/// `nginx[4711]`, `nginx[4711] +3` where one of four is meant.
pub fn process(owner: Option<&Owner>) -> String {
    let name = |owner: &Owner| match owner.others {
        0 => format!("{}[{}]", owner.comm, owner.pid),
        others => format!("{}[{}] +{others}", owner.comm, owner.pid),
    };
    owner.map_or_else(|| "its process".to_owned(), name)
}

/// `tcp_conn_request` and `tcp_v4_syn_recv_sock` drop what finds the accept queue full.
pub fn accept_queue(ns: &Namespace) -> Option<Finding> {
    let full = ns.sockets.as_ref().and_then(|sockets| sockets.full_listeners.first());
    let severity = if full.is_some() { Now } else { ns.when(&[OVERFLOWS])? };
    let resets = ns.settings.number(ABORT) == Some(1);
    let answer = if resets { "answered with RST" } else { "dropped" };
    let what = match (full, severity) {
        (Some(listener), _) => format!(
            "the accept queue of {} is full: {} accepts too slowly, or not at all, and further connections are {answer}",
            std::net::SocketAddr::from(listener.local),
            process(listener.owner.as_ref())
        ),
        (None, Now) => format!(
            "an accept queue overflows: its process accepts too slowly, or not at all, and connections are {answer}"
        ),
        (None, _) => format!(
            "an accept queue overflowed: its process accepted too slowly, or not at all, and connections were {answer}"
        ),
    };
    let fullest = full.or_else(|| ns.sockets.as_ref()?.fullest_listener.as_ref());
    let finding = Finding::new("accept-queue-full", severity, what)
        .known_by(ns.counted(&[OVERFLOWS, DROPS]))
        .known_by(fullest.into_iter().flat_map(queue))
        .known_by(ns.set(&[SOMAXCONN]))
        .known_by(if resets { ns.set(&[ABORT]) } else { Vec::new() });
    let finding = finding.change(
        "have the process accept() sooner: more workers, or less work between two accept(); if it accepts none at all (Recv-Q does not fall), see where it hangs",
        "none for the kernel",
    );
    Some(backlog(ns, full, finding).in_vain("tcp_max_syn_backlog: it does not limit the accept queue"))
}

/// The accept queue of a listener.
pub fn queue(listener: &Listener) -> [Evidence; 2] {
    let at = std::net::SocketAddr::from(listener.local);
    [
        Evidence::gauge(format!("Recv-Q of the listener on {at}"), listener.waiting.into()),
        Evidence::gauge("its Send-Q, the backlog", listener.backlog.into()),
    ]
}

/// `listen()` takes the smaller of its argument and somaxconn (`__sys_listen`).
fn backlog(ns: &Namespace, full: Option<&Listener>, finding: Finding) -> Finding {
    let risk = "more clients wait longer before they learn that the service is slow";
    let most = ns.settings.number(SOMAXCONN);
    match full {
        Some(listener) if most.is_some_and(|most| i64::from(listener.backlog) < most) => finding.change(
            format!(
                "raise the backlog that {} passes to listen(): it is {}, and {SOMAXCONN} would allow {}",
                process(listener.owner.as_ref()),
                listener.backlog,
                most.unwrap_or_default()
            ),
            risk,
        ),
        _ => finding.change(
            format!(
                "raise {SOMAXCONN} and the backlog that the process passes to listen(): the smaller one counts, from the next listen() on"
            ),
            risk,
        ),
    }
}

/// `tcp_conn_request` with as many connections in SYN_RECV as the backlog of the listener.
pub fn syn_queue(ns: &Namespace) -> Option<Finding> {
    let mode = ns.settings.number(SYNCOOKIES);
    // With 2 every SYN is counted as a cookie for a full queue (tcp_syn_flood_action).
    let counters: &[&str] = if mode == Some(2) { &[DROPPED] } else { &[DROPPED, COOKIES] };
    let severity = ns.when(counters)?;
    let full = ns.sockets.as_ref().and_then(|sockets| sockets.full_of_syns.first()).filter(|_| severity == Now);
    let queue = match full {
        Some((listener, _)) => {
            let at = std::net::SocketAddr::from(listener.local);
            format!("the SYN queue of {at}, of {},", process(listener.owner.as_ref()))
        }
        None => "a SYN queue".to_owned(),
    };
    let dropped = if severity == Now { ns.grown(DROPPED) } else { ns.total(DROPPED) }.unwrap_or(0) > 0;
    let (is, are) = if severity == Now { ("is", "are") } else { ("was", "were") };
    let what = match dropped {
        true => format!(
            "SYNs {are} dropped: {queue} {is} full and SYN cookies {are} off; the backlog of listen() sets its length"
        ),
        false => format!(
            "SYN cookies {are} sent: {queue} {is} full; the backlog of listen() sets its length. A SYN flood, or more clients than the backlog \
             allows for"
        ),
    };
    let finding = Finding::new("syn-queue-full", severity, what)
        .known_by(ns.counted(counters))
        .known_by(full.into_iter().flat_map(|(listener, count)| {
            let at = std::net::SocketAddr::from(listener.local);
            [
                Evidence::gauge(format!("connections in SYN_RECV of the listener on {at}"), *count),
                Evidence::gauge("its Send-Q, the backlog", listener.backlog.into()),
            ]
        }))
        .known_by(ns.counted(&["TcpExtSyncookiesSent", "TcpExtSyncookiesRecv", "TcpExtSyncookiesFailed"]))
        .known_by(ns.set(&[SYNCOOKIES, SOMAXCONN]));
    let finding = finding
        .change_if(
            dropped && mode == Some(0),
            format!("set {SYNCOOKIES} to 1: clients can then connect during a flood"),
            "connections from cookies lack window scaling and SACK if the client has no timestamps",
        )
        .change(
            "if cookies come back (SyncookiesRecv), the clients are real: raise the backlog of listen() and somaxconn; the smaller counts",
            "320 bytes for each connection in SYN_RECV",
        );
    Some(match mode {
        Some(0) | None => finding,
        _ => finding.in_vain(format!("{SYN_BACKLOG}: it has no effect while {SYNCOOKIES} is not 0")),
    })
}

/// Without SYN cookies the last quarter of `tcp_max_syn_backlog` is for clients that the machine knows (`tcp_conn_request`, `tcp_peer_is_proven`,
/// 5.15 to 7.3). Nothing but ListenDrops counts that, which counts much else: so only where a listener is seen to have so many.
pub fn syn_backlog(ns: &Namespace) -> Option<Finding> {
    let most = ns.settings.number(SYN_BACKLOG)?;
    let elsewhere = ns.grown_any(&[OVERFLOWS, DROPPED]);
    if ns.settings.number(SYNCOOKIES)? != 0 || ns.grown(DROPS)? <= elsewhere {
        return None;
    }
    let (listener, count) = ns.sockets.as_ref()?.most_syns.as_ref()?;
    if most - i64::try_from(*count).ok()? >= most >> 2 {
        return None;
    }
    let at = std::net::SocketAddr::from(listener.local);
    let what = format!(
        "SYNs are dropped: {at}, of {}, has {count} connections in SYN_RECV, SYN cookies are off, and from three quarters of {SYN_BACKLOG} \
         on only known clients can connect: a SYN flood, or more clients than it allows",
        process(listener.owner.as_ref())
    );
    let finding = Finding::new("syn-backlog-short", Now, what)
        .known_by(ns.counted(&[DROPS, OVERFLOWS, DROPPED]))
        .known_by([Evidence::gauge(format!("connections in SYN_RECV of the listener on {at}"), *count)])
        .known_by(ns.set(&[SYN_BACKLOG, SYNCOOKIES]));
    Some(
        finding
            .change(
                format!("set {SYNCOOKIES} to 1: clients can then connect during a flood"),
                "connections from cookies lack window scaling and SACK if the client has no timestamps",
            )
            .change(
                format!("or raise {SYN_BACKLOG}; beyond the backlog of listen() it has no effect"),
                "320 bytes for each connection in SYN_RECV",
            ),
    )
}

/// For tests of the network, not for production (ip-sysctl.rst).
pub fn cookies_always(ns: &Namespace) -> Option<Finding> {
    if ns.settings.number(SYNCOOKIES)? != 2 {
        return None;
    }
    let what = "tcp_syncookies is 2: every SYN is answered with a cookie, even if the queue has room, and clients without timestamps \
        lose window scaling and SACK";
    Some(Finding::new("syncookies-always", Note, what).known_by(ns.set(&[SYNCOOKIES])))
}

/// `tcp_conn_request` looks at it only with syncookies off (5.15 to 7.3).
pub fn syn_backlog_without_say(ns: &Namespace) -> Option<Finding> {
    let (value, default) = (ns.settings.get(SYN_BACKLOG)?, settings::default(ns, SYN_BACKLOG)?);
    if value == default || ns.settings.number(SYNCOOKIES)? == 0 {
        return None;
    }
    let what = format!(
        "tcp_max_syn_backlog was changed from {default} and has no effect: with tcp_syncookies not 0 the SYN queue is as long as the backlog of \
         listen(), at most somaxconn"
    );
    Some(Finding::new("syn-backlog-without-say", Note, what).known_by(ns.set(&[SYN_BACKLOG, SYNCOOKIES, SOMAXCONN])))
}

const EMBRYONIC: &str = "TcpExtEmbryonicRsts";

/// How many connections in SYN_RECV were reset by their clients: `tcp_check_req` met an RST. With `tcp_abort_on_overflow` it counts what this
/// side resets for a full accept queue as well, as it counts it in ListenOverflows (`tcp_v4_syn_recv_sock`).
fn reset_by_clients(ns: &Namespace) -> Option<u64> {
    let ours = match ns.settings.number(ABORT) {
        Some(0) => 0,
        _ => ns.grown(OVERFLOWS).unwrap_or(0),
    };
    Some(ns.grown(EMBRYONIC)?.saturating_sub(ours))
}

/// A client does not complete what it began.
pub fn embryonic(ns: &Namespace) -> Option<Finding> {
    if reset_by_clients(ns)? < MANY {
        return None;
    }
    let what = "connections in SYN_RECV are reset by their clients: incomplete health checks of a load balancer, a scan, or SYNs with \
        forged source addresses";
    Some(Finding::new("syn-recv-resets", Note, what).known_by(ns.counted(&[EMBRYONIC, "TcpPassiveOpens"])))
}

/// connect() that fails.
pub fn attempts(ns: &Namespace) -> Option<Finding> {
    let failed = failed_attempts(ns)?.saturating_sub(reset_by_clients(ns).unwrap_or(0));
    let tried = ns.grown("TcpActiveOpens")?;
    if failed < MANY || failed * 10 < tried {
        return None;
    }
    let what = "connects of this machine fail: refused, or no answer. `tcpwait trace --state SYN_SENT` shows which";
    Some(Finding::new("attempts-fail", Note, what).known_by(ns.counted(&[
        "TcpAttemptFails",
        "TcpActiveOpens",
        "TcpExtTCPAbortOnTimeout",
    ])))
}

/// How many connect() failed, refused or given up: AttemptFails counts connections in SYN_RECV that were reset, too.
pub fn failed_attempts(ns: &Namespace) -> Option<u64> {
    Some(ns.grown("TcpAttemptFails")?.saturating_sub(ns.grown("TcpExtEmbryonicRsts").unwrap_or(0)))
}
