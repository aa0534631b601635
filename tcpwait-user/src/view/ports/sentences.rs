//! What a report on ports says in words: how a destination stands, what failed, what would help and what would not.

use super::{
    super::{
        ViewContext,
        key::comm_of,
        units::{count, duration, known, percent, rate},
    },
    address::{from, source, to},
};
use crate::{
    aggregate::ports::{
        advice::{Help, NoHelp, PortAdvice, PortCause},
        failures::{Failed, Process},
        forecast::Forecast,
        report::{BindFailure, Bound, PortRow, PortsReport},
        settings::PortSettings,
    },
    lifecycle::Why,
    plain,
    tcp::NetnsId,
};

/// `full in 41s`, `steady at 63%`.
pub fn forecast(forecast: Option<&Forecast>) -> String {
    match forecast {
        None => "-".to_owned(),
        Some(Forecast::Full { .. }) => "full".to_owned(),
        Some(Forecast::FullIn { in_ns }) => format!("full in {}", span(*in_ns)),
        Some(Forecast::Steady { share, .. }) => format!("steady at {}", percent(Some(*share))),
        Some(Forecast::Idle) => "idle".to_owned(),
    }
}

/// A time ahead, which nobody knows to the millisecond: `41s`, `12m`, `5h`, `3d`.
fn span(ns: u64) -> String {
    let seconds = (ns + 500_000_000) / 1_000_000_000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `nginx(812)`, or `curl` where several had that name.
pub fn process(process: &Process) -> String {
    let comm = plain::column(&comm_of(process.comm));
    process.pid.map_or_else(|| comm.clone(), |pid| format!("{comm}({pid})"))
}

/// What the settings of a namespace are.
pub fn settings(
    (netns, settings): &(NetnsId, Option<PortSettings>),
    several: bool,
    context: ViewContext<'_>,
) -> String {
    let place = if several { format!("{}: ", plain::column(&context.names.netns(*netns))) } else { String::new() };
    let Some(settings) = settings else {
        return format!("{place}ip_local_port_range and tcp_tw_reuse are not known");
    };
    let PortSettings { range, tw_reuse, tw_reuse_delay_ms, timestamps, .. } = settings;
    let range = range.as_ref().map_or_else(
        || "-".to_owned(),
        |range| {
            let reserved = settings.reserved_in_range().filter(|reserved| *reserved > 0);
            let less = reserved.map_or_else(String::new, |reserved| format!(" less {} reserved", count(reserved)));
            format!("{}-{} ({} ports{less})", range.start(), range.end(), count(range.len() as u64))
        },
    );
    let reuse = match tw_reuse {
        None => "-".to_owned(),
        Some(2) => "2 (loopback only)".to_owned(),
        Some(mode) => mode.to_string(),
    };
    let delay = tw_reuse_delay_ms.map_or_else(String::new, |ms| format!(", tcp_tw_reuse_delay {ms} ms"));
    format!(
        "{place}ip_local_port_range {range}, tcp_tw_reuse {reuse}{delay}, tcp_timestamps {}",
        known(timestamps.map(u64::from))
    )
}

/// How a destination stands that needs it said: whose it is, and what failed.
pub fn of(row: &PortRow, report: &PortsReport, context: ViewContext<'_>, clock: &dyn Fn(u64) -> String) -> Vec<String> {
    let mut sentences = vec![stands(row, report.ledger.now_unsure, context)];
    sentences.extend(who(row));
    sentences.extend(row.failures.iter().map(|failed| failure(failed, report.at_least, clock)));
    if row.advice.as_ref().is_some_and(|advice| advice.cause == PortCause::Closing) {
        sentences
            .push("This side has closed them, and the peer or a firewall does not acknowledge the FIN.".to_owned());
    }
    if row.fails_early {
        sentences.push(
            "connect() fails although these connections leave ports of the range free: the sockets have a range of their own (IP_LOCAL_PORT_RANGE), \
             or bind() gave those ports to sockets that are not connected"
                .to_owned(),
        );
    }
    if row.reuse_unknown {
        sentences.push(
            "which TIME_WAITs connect() may reuse is not known of those older than the trace; the forecast takes them to be in the way"
                .to_owned(),
        );
    }
    sentences
}

/// What would help, and what would not.
pub fn advice(advice: &PortAdvice, row: &PortRow) -> [String; 2] {
    let helps: Vec<String> = advice.help.iter().map(|help| words(help, row)).collect();
    let others: Vec<&str> = advice.no_help.iter().map(not).collect();
    [format!("Helps: {}.", helps.join("; ")), format!("Does not help: {}.", others.join("; "))]
}

/// `10.0.0.1 to 10.0.0.2:80 will be full in 41s: 12 of 20 ports are in use, 11 of them in TIME_WAIT.`
fn stands(row: &PortRow, unsure: bool, context: ViewContext<'_>) -> String {
    let from = format!("{} to {}", from(&row.destination, context), to(&row.destination));
    let verdict = match row.forecast {
        Some(Forecast::Full { .. }) => "is FULL".to_owned(),
        Some(Forecast::FullIn { in_ns }) => format!("will be full in {}", span(in_ns)),
        Some(Forecast::Steady { share, .. }) => format!("stays at {}", percent(Some(share))),
        Some(Forecast::Idle) => "is not connected to any more".to_owned(),
        None => {
            row.share.map_or_else(|| "has no estimate".to_owned(), |share| format!("is at {}", percent(Some(share))))
        }
    };
    let cause = row.advice.as_ref().map(|advice| advice.cause);
    let states = &row.states;
    let (most, state) = match cause {
        Some(PortCause::Open) => (states.established, "ESTABLISHED"),
        Some(PortCause::CloseWait) => (states.close_wait, "CLOSE_WAIT"),
        Some(PortCause::Connecting) => (states.connecting, "SYN_SENT"),
        Some(PortCause::FinWait2) => (states.fin_wait2, "FIN_WAIT2"),
        Some(PortCause::Closing) => (states.closing, "FIN_WAIT1, CLOSING or LAST_ACK"),
        Some(PortCause::TimeWait | PortCause::Elsewhere | PortCause::Bound) | None => (states.time_wait, "TIME_WAIT"),
    };
    let mut text = format!(
        "{from} {verdict}: {}{} ports are {}in use, {} of them in {state}",
        count(row.in_use),
        row.size.map_or_else(String::new, |size| format!(" of {}", count(size))),
        if unsure { "known to be " } else { "" },
        count(most)
    );
    if let Some(elsewhere @ 1..) = row.bound_elsewhere {
        text.push_str(&format!(
            "; {} more are closed to it, which bind() gave to sockets with other destinations",
            count(elsewhere)
        ));
    }
    if row.reusable.now > 0 {
        text.push_str(&format!(", of which connect() could take {} now", count(row.reusable.now)));
    }
    if let Some(Forecast::Full { next_free_ns: Some(ns) }) = row.forecast {
        text.push_str(&format!("; the next comes free within {}", span(ns)));
    }
    text + "."
}

fn who(row: &PortRow) -> Option<String> {
    let holder = row.holder.as_ref();
    let rates = row.rates.filter(|rates| rates.taken_per_s + rates.failed_per_s > 0.0);
    if holder.is_none() && rates.is_none() {
        return None;
    }
    let by = holder.map_or_else(
        || "an unknown process".to_owned(),
        |holder| match holder.ports == holder.known {
            true => process(&holder.process),
            false => {
                format!("mostly {} ({} of {})", process(&holder.process), count(holder.ports), count(holder.known))
            }
        },
    );
    let Some(rates) = rates else { return Some(format!("{by} holds them.")) };
    let held = match row.held.mean_ns {
        Some(ns) => format!("; a port was held for {}", duration(Some(ns))),
        None if rates.waits_per_s > 0.0 => format!(", where each holds its port for {}", duration(Some(row.wait_ns))),
        None => String::new(),
    };
    let waits = match rates.waits_per_s {
        0.0 => String::new(),
        waits => format!("; {}/s enter TIME_WAIT", rate(Some(waits))),
    };
    let failed = match rates.failed_per_s {
        0.0 => String::new(),
        failed => format!(", and {}/s find no port", rate(Some(failed))),
    };
    let needed = row
        .needed
        .map_or_else(String::new, |needed| format!(" At this rate {} ports are needed.", count(needed.ceil() as u64)));
    Some(format!(
        "{by} opens {least}{}/s over the last {}{failed}{waits}{held}.{needed}",
        rate(Some(rates.taken_per_s)),
        span(rates.window_ns),
        least = if rates.at_least { "at least " } else { "" },
    ))
}

fn failure(failed: &Failed, at_least: bool, clock: &dyn Fn(u64) -> String) -> String {
    let by = failed.process.as_ref().map_or_else(|| "unknown processes".to_owned(), process);
    let (first, last) = (clock(failed.first_ns), clock(failed.last_ns));
    let when = if first == last { format!("at {first}") } else { format!("from {first} to {last}") };
    let least = if at_least { "at least " } else { "" };
    format!("Failed {least}{}x for {by}, {when}: {}.", count(failed.count), why(failed.why))
}

/// bind() or listen() that failed, which has no destination.
pub fn bind(bind: &BindFailure, at_least: bool, context: ViewContext<'_>) -> String {
    let least = if at_least { "at least " } else { "" };
    let port = bind.lport.map_or_else(|| "any".to_owned(), |port| port.to_string());
    let by = bind.failed.process.as_ref().map_or_else(|| "unknown processes".to_owned(), process);
    format!(
        "bind() to {} port {port} failed {least}{}x for {by}: {}",
        plain::column(&context.names.address(bind.laddr, bind.interface)),
        count(bind.failed.count),
        why(bind.failed.why)
    )
}

fn why(why: Why) -> &'static str {
    match why {
        Why::NoFreePort => "connect() found no free port (EADDRNOTAVAIL)",
        Why::PortTaken => "the port that connect() was bound to is taken (EADDRNOTAVAIL)",
        Why::Refused => "connect() was refused (ECONNREFUSED)",
        Why::TimedOut => "connect() was not answered (ETIMEDOUT)",
        Why::Unreachable => "connect() found the peer unreachable",
        Why::GivenUp => "closed before connect() was answered",
        Why::SoftError => "closed after an ICMP error that the kernel only noted, as of this machine's own firewall",
        Why::PortHeld => "somebody holds the port (EADDRINUSE)",
        Why::RangeFull => {
            "no port of the range is free (EADDRINUSE); IP_BIND_ADDRESS_NO_PORT leaves the choice to connect(), which shares ports"
        }
        Why::NeverSent => "closed before the first write, which TCP Fast Open's SYN waits for; no call failed",
        Why::NoRoute => "there is no route (ENETUNREACH, EHOSTUNREACH)",
        Why::NotAllowed => "this machine does not allow it (EACCES, EPERM)",
        Why::NoAddress => "no interface here has the address (EADDRNOTAVAIL)",
        Why::NoMemory => "the kernel had no memory for it (ENOBUFS)",
        Why::Invalid => "the address or the socket does not fit (EINVAL)",
        Why::NotTold => "a port was found, and then the call failed without a SYN",
        Why::PortSearch => "one port after the other is held (EADDRINUSE): a search for a free one",
        Why::Destroyed => "somebody destroyed it",
        Why::Other => "it failed for another reason",
    }
}

fn words(help: &Help, row: &PortRow) -> String {
    match help {
        Help::KeepOpen => "keep connections open and use them again (a pool, keep-alive)".to_owned(),
        Help::PeerClosesFirst => {
            "let the peer close first: whoever closes first enters TIME_WAIT, which uses no local port on the peer"
                .to_owned()
        }
        Help::TwReuse { now, after_ms, timestamps_off, have_timestamps } => {
            let covers = if *now == 2 { ", which covers loopback only" } else { "" };
            let on = if *timestamps_off { " and net.ipv4.tcp_timestamps=1 (now 0)" } else { "" };
            let caveat = match (timestamps_off, have_timestamps) {
                (false, Some(true)) => "",
                _ => ", if the peer has timestamps on, too",
            };
            format!(
                "net.ipv4.tcp_tw_reuse=1 (now {now}{covers}){on}: connect() may take a TIME_WAIT after {}{caveat}",
                duration(Some(after_ms.saturating_mul(1_000_000)))
            )
        }
        Help::LowerReuseDelay { now_ms } => {
            format!("a shorter net.ipv4.tcp_tw_reuse_delay (now {now_ms} ms), as reuse is on already")
        }
        Help::WiderRange { low, high, widest } => format!(
            "net.ipv4.ip_local_port_range=\"1024 65535\" (now \"{low} {high}\"): {} ports, of which those that servers use must go to \
             ip_local_reserved_ports",
            count(*widest)
        ),
        Help::FewerReserved { reserved } => {
            format!("a shorter net.ipv4.ip_local_reserved_ports: it takes {} ports of the range", count(*reserved))
        }
        Help::MoreAddresses => format!(
            "more source addresses, or more addresses or ports of the peer: each combination has {} of its own",
            row.size.map_or_else(|| "the whole range".to_owned(), |size| format!("{} ports", count(size)))
        ),
        Help::FinTimeout => "a shorter net.ipv4.tcp_fin_timeout: it ends FIN_WAIT2 of what was closed here".to_owned(),
        Help::CloseWhatIsClosed => {
            "the process closing what its peer has closed: nothing else ends CLOSE_WAIT".to_owned()
        }
        Help::FewerOpen => "fewer connections at a time, or closing those that are not used".to_owned(),
        Help::LetFinThrough => "whatever between here and the peer drops the FIN or its acknowledgement (a firewall, a NAT that has forgotten the \
            connection), or the peer itself, answering again; until then net.ipv4.tcp_orphan_retries says how often the FIN is sent"
            .to_owned(),
        Help::BindNoPort => {
            "IP_BIND_ADDRESS_NO_PORT on sockets that bind() an address only, and closing those that are bound and not used".to_owned()
        }
        Help::GiveUpEarlier => {
            "a peer that answers, or giving up earlier (a timeout of the program's own, net.ipv4.tcp_syn_retries)"
                .to_owned()
        }
    }
}

fn not(no_help: &NoHelp) -> &'static str {
    match no_help {
        NoHelp::FinTimeout => "tcp_fin_timeout (it is about FIN_WAIT2; the 60 s of TIME_WAIT are fixed in the kernel)",
        NoHelp::MaxTwBuckets => {
            "a lower tcp_max_tw_buckets (it drops TIME_WAIT's protection against late segments, of all connections)"
        }
        NoHelp::TwRecycle => "tcp_tw_recycle (gone since Linux 4.12)",
        NoHelp::ReuseAddr => "SO_REUSEADDR (connect() does not ask for it)",
        NoHelp::TwReuseIsOn => "tcp_tw_reuse (it lets connect() take these already)",
        NoHelp::TwReuseWithoutTimestamps => "tcp_tw_reuse (these connections have no timestamps: the peer's are off)",
        NoHelp::TwReuse => "tcp_tw_reuse (it is about TIME_WAIT)",
    }
}

/// How a source address stands from which bind() takes ports, where that needs saying.
pub fn bound(row: &Bound, context: ViewContext<'_>) -> Option<String> {
    let verdict = match row.forecast {
        Some(Forecast::Full { .. }) => "are all taken".to_owned(),
        Some(Forecast::FullIn { in_ns }) => format!("will all be taken in {}", span(in_ns)),
        _ if row.share.is_some_and(|share| share >= 0.5) => "are mostly taken".to_owned(),
        _ => return None,
    };
    let least = if row.unknown > 0 { "at least " } else { "" };
    let by = row.holder.as_ref().map_or_else(String::new, |holder| {
        let mostly = if holder.ports == row.bound { "" } else { "mostly " };
        format!(", {mostly}to {}", process(&holder.process))
    });
    Some(format!(
        "The ports of {} {verdict}: {} of {} are in use, {least}{} of them given by bind(){by}. A port that bind() gives is taken for all \
         destinations. Helps: IP_BIND_ADDRESS_NO_PORT on sockets that bind() an address only, which leaves the choice to connect(); \
         more source addresses; a wider net.ipv4.ip_local_port_range.",
        source(&row.source, context),
        count(row.in_use),
        known(row.size),
        count(row.bound)
    ))
}

/// What a selection leaves out.
pub fn selected(report: &PortsReport) -> Option<String> {
    (report.traced && report.bound.is_none()).then(|| {
        "not known of a selection: which ports bind() took for other destinations; they are closed to connect() as well. Without -D, --laddr, \
         --raddr, -4 and -6 it is said"
            .to_owned()
    })
}

/// Connections that are in no row.
pub fn unknown(report: &PortsReport) -> Option<String> {
    let (is, them) = if report.unknown == 1 { ("connection is", "it") } else { ("connections are", "them") };
    let older = if report.traced { "older than the trace, and " } else { "in no row: " };
    (report.unknown > 0).then(|| {
        format!(
            "{} {is} {older}nothing says which side made {them}. Nobody listens on the local port now, as when a server has ended, and too few \
             go to the same place to be a client's for certain",
            count(report.unknown)
        )
    })
}

/// Ports that are held without being of the range.
pub fn outside(report: &PortsReport) -> Option<String> {
    let outside = report.rows.iter().map(|row| row.outside).sum::<u64>() + report.others.outside;
    (outside > 0).then(|| {
        format!("outside of the range: {} ports in use, given by bind() or a range of the socket's own", count(outside))
    })
}
