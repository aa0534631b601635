//! What a report on ports says in words: how a destination stands, what failed, and what is in no row.

use super::{
    super::{
        ViewContext,
        key::comm_of,
        units::{count, counted, duration, known, percent, rate},
    },
    address::{from, source, to},
    remedies::risk,
};
use crate::{
    aggregate::ports::{
        advice::{Help, PortCause},
        failures::{About, Failed, Process},
        forecast::Forecast,
        range_advice,
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
        return format!("{place}ip_local_port_range and tcp_tw_reuse: unknown");
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

/// How a destination stands that needs it said; and whose it is, and what failed.
pub fn of(
    row: &PortRow,
    report: &PortsReport,
    context: ViewContext<'_>,
    clock: &dyn Fn(u64) -> String,
) -> (String, Vec<String>) {
    let mut sentences: Vec<String> = who(row).into_iter().collect();
    sentences.extend(row.failures.iter().map(|failed| failure(failed, report.at_least, clock)));
    if row.advice.as_ref().is_some_and(|advice| advice.cause == PortCause::Closing) {
        sentences.push(
            "This side has closed these connections; the peer or a firewall does not acknowledge the FIN.".to_owned(),
        );
    }
    if row.fails_early {
        sentences.push(
            "connect() fails although ports of the range are free: the sockets have a range of their own (IP_LOCAL_PORT_RANGE), or bind() gave \
             these ports to sockets that are not connected"
                .to_owned(),
        );
    }
    if row.reuse_unknown {
        sentences.push(
            "unknown: whether connect() may reuse the TIME_WAITs from before tcpwait started; the forecast assumes that it may not"
                .to_owned(),
        );
    }
    (stands(row, report.ledger.now_unsure, context), sentences)
}

/// `10.0.0.1 to 10.0.0.2:80 will be full in 41s: 12 of 20 ports are in use, 11 of them in TIME_WAIT.`
fn stands(row: &PortRow, unsure: bool, context: ViewContext<'_>) -> String {
    let from = format!("{} to {}", from(&row.destination, context), to(&row.destination));
    let verdict = match row.forecast {
        Some(Forecast::Full { .. }) => "is FULL".to_owned(),
        Some(Forecast::FullIn { in_ns }) => format!("will be full in {}", span(in_ns)),
        Some(Forecast::Steady { share, .. }) => format!("stays at {}", percent(Some(share))),
        Some(Forecast::Idle) => "has no new connections".to_owned(),
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
            "; connect() cannot take {} more, which bind() gave to sockets with other destinations",
            count(elsewhere)
        ));
    }
    if row.reusable.now > 0 {
        let ports = counted(row.reusable.now, "port", "ports");
        text.push_str(&format!("; connect() may reuse {ports} in TIME_WAIT now"));
    }
    if let Some(Forecast::Full { next_free_ns: Some(ns) }) = row.forecast {
        text.push_str(&format!("; the next port is free within {}", span(ns)));
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
    let Some(rates) = rates else { return Some(format!("Process: {by}.")) };
    let held = match row.held.mean_ns {
        Some(ns) => format!("; a port was in use for {}", duration(Some(ns))),
        None if rates.waits_per_s > 0.0 => format!(", and each keeps its port for {}", duration(Some(row.wait_ns))),
        None => String::new(),
    };
    let waits = match rates.waits_per_s {
        0.0 => String::new(),
        waits => format!("; {}/s entered TIME_WAIT", rate(Some(waits))),
    };
    let failed = match rates.failed_per_s {
        0.0 => String::new(),
        failed => format!("; {} calls/s{} found no port", rate(Some(failed)), callers(row)),
    };
    let with_failed = if rates.failed_per_s > 0.0 { "With the calls that failed, this rate" } else { "This rate" };
    let needed = row
        .needed
        .map_or_else(String::new, |needed| format!(" {with_failed} needs {} ports.", count(needed.ceil() as u64)));
    let (window, least) = (span(rates.window_ns), if rates.at_least { "at least " } else { "" });
    let opened = match (rates.taken_per_s, holder) {
        // Who has ports has not opened what failed.
        (0.0, Some(_)) if !rates.at_least => {
            format!("{by} has ports there, and opened no connection in the last {window}")
        }
        (0.0, None) if !rates.at_least => format!("no connection was opened in the last {window}"),
        (taken, _) => format!("{by} opened {least}{} connections/s in the last {window}", rate(Some(taken))),
    };
    Some(format!("{opened}{failed}{waits}{held}.{needed}"))
}

/// ` of mobile-gw[21697]`: who found no port, where that was one process, or several of one name.
fn callers(row: &PortRow) -> String {
    let mut callers = row.failures.iter().filter(|failed| failed.about() == About::Ports).map(|failed| failed.process);
    let first = callers.next().flatten();
    match first {
        Some(caller) if callers.all(|other| other.map(|other| other.comm) == Some(caller.comm)) => {
            format!(" of {}", process(&caller))
        }
        _ => String::new(),
    }
}

fn failure(failed: &Failed, at_least: bool, clock: &dyn Fn(u64) -> String) -> String {
    let by = failed.process.as_ref().map_or_else(|| "unknown processes".to_owned(), process);
    let (first, last) = (clock(failed.first_ns), clock(failed.last_ns));
    let when = if first == last { format!("at {first}") } else { format!("from {first} to {last}") };
    let least = if at_least { "at least " } else { "" };
    format!("{least}{} failed for {by}, {when}: {}.", counted(failed.count, "call", "calls"), why(failed.why))
}

/// bind() or listen() that failed, which has no destination.
pub fn bind(bind: &BindFailure, at_least: bool, context: ViewContext<'_>) -> String {
    let least = if at_least { "at least " } else { "" };
    let port = bind.lport.map_or_else(|| "any".to_owned(), |port| port.to_string());
    let by = bind.failed.process.as_ref().map_or_else(|| "unknown processes".to_owned(), process);
    format!(
        "bind() to {} port {port} failed {least}{} for {by}: {}",
        plain::column(&context.names.address(bind.laddr, bind.interface)),
        counted(bind.failed.count, "time", "times"),
        why(bind.failed.why)
    )
}

fn why(why: Why) -> &'static str {
    match why {
        Why::NoFreePort => "connect() found no free port (EADDRNOTAVAIL)",
        Why::PortTaken => "the port that the socket is bound to is in use (EADDRNOTAVAIL)",
        Why::Refused => "connect() was refused (ECONNREFUSED)",
        Why::TimedOut => "connect() was not answered (ETIMEDOUT)",
        Why::Unreachable => "connect() found the peer unreachable",
        Why::GivenUp => "closed before connect() was answered",
        Why::SoftError => {
            "closed by the process after an ICMP error that did not end connect(), e.g. of this machine's own firewall"
        }
        Why::PortHeld => "another socket has the port (EADDRINUSE)",
        Why::RangeFull => {
            "no port of the range is free (EADDRINUSE); with IP_BIND_ADDRESS_NO_PORT connect() chooses, and can share ports"
        }
        Why::NeverSent => {
            "closed before the first write; with TCP Fast Open no SYN is sent until then, and no call failed"
        }
        Why::NoRoute => "there is no route (ENETUNREACH, EHOSTUNREACH)",
        Why::NotAllowed => "this machine does not allow it (EACCES, EPERM)",
        Why::NoAddress => "no interface here has the address (EADDRNOTAVAIL)",
        Why::NoMemory => "the kernel had no memory for it (ENOBUFS)",
        Why::Invalid => "the address is not valid for the socket (EINVAL)",
        Why::NotTold => "a port was found, and then the call failed without a SYN",
        Why::PortSearch => "one port after the other is in use (EADDRINUSE): a search for a free port",
        Why::Destroyed => "the socket was destroyed (ss -K)",
        Why::Other => "it failed for another reason",
    }
}

/// How a source address stands from which bind() takes ports, where that needs saying.
pub fn bound(row: &Bound, context: ViewContext<'_>) -> Option<Vec<String>> {
    let verdict = match row.forecast {
        Some(Forecast::Full { .. }) => "are all in use".to_owned(),
        Some(Forecast::FullIn { in_ns }) => format!("will all be in use in {}", span(in_ns)),
        _ if row.share.is_some_and(|share| share >= 0.5) => "are mostly in use".to_owned(),
        _ => return None,
    };
    let least = if row.unknown > 0 { "at least " } else { "" };
    let by = row.holder.as_ref().map_or_else(String::new, |holder| {
        let mostly = if holder.ports == row.bound { "" } else { "mostly " };
        format!(", {mostly}to {}", process(&holder.process))
    });
    let what = format!(
        "The ports of {} {verdict}: {} of {}, {least}{} of them given by bind(){by}. A port that bind() gives is in use for all destinations.",
        source(&row.source, context),
        count(row.in_use),
        known(row.size),
        count(row.bound)
    );
    Some(vec![
        what,
        format!(
            "change: set IP_BIND_ADDRESS_NO_PORT on sockets that bind() an address only: connect() then chooses the port, and can share it between \
             destinations. Risk: {}",
            risk(&Help::BindNoPort)
        ),
        "change: more source addresses. Risk: none".to_owned(),
        format!("change: a wider net.ipv4.ip_local_port_range. Risk: {}", range_advice::RISK),
    ])
}

/// What a selection leaves out.
pub fn selected(report: &PortsReport) -> Option<String> {
    (report.traced && report.bound.is_none()).then(|| {
        "unknown with -D, --laddr, --raddr, -4 or -6: ports that bind() took for other destinations, which connect() cannot take either"
            .to_owned()
    })
}

/// Connections that are in no row.
pub fn unknown(report: &PortsReport) -> Option<String> {
    let (noun, is, them) = match report.unknown {
        1 => ("connection", "is", "it"),
        _ => ("connections", "are", "them"),
    };
    let older = if report.traced { " from before tcpwait started" } else { "" };
    (report.unknown > 0).then(|| {
        format!(
            "{} {noun}{older} {is} in no row: nothing shows which side made {them}. No process listens on the local port now (a server may have ended), and too \
             few connections have the same destination to be certainly a client's",
            count(report.unknown)
        )
    })
}

/// Ports that are held without being of the range.
pub fn outside(report: &PortsReport) -> Option<String> {
    let outside = report.rows.iter().map(|row| row.outside).sum::<u64>() + report.others.outside;
    (outside > 0).then(|| {
        format!(
            "{} in use outside of ip_local_port_range: from bind(), or from a range of the socket's own",
            counted(outside, "port", "ports")
        )
    })
}
