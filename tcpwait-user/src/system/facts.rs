//! Reads what the doctor judges, in every network namespace twice: counters and piles of sockets at both readings, settings
//! and all sockets at the second. Judges nothing.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    time::Instant,
};

use nix::libc::AF_INET;

use super::{
    counters,
    netns::{self, Netns},
    owners::Owners,
    sock_diag::{DiagQuery, DiagSocket, tcp_sockets_of, time_wait_has_own_length},
    sysctl,
};
use crate::{
    doctor::{
        facts::{Counters, Facts, Namespace},
        settings,
        socket::{Owner, SurveyedSocket},
        survey::{Before, Bounds, Survey},
    },
    select::Pick,
    tcp::{
        DIAG_TIMER_KEEPALIVE, DIAG_TIMER_PROBE, DIAG_TIMER_RETRANSMIT, DIAG_TIMER_TIME_WAIT, State, TIMEWAIT_LEN_MS,
    },
};

/// How old a TIME_WAIT has to be for connect() (6.14 on: `tcp_tw_reuse_delay`; before, the next second).
const REUSE_DELAY_MS: u64 = 1000;

/// A peer that closes does so within a round trip, and a lost FIN is sent again within seconds.
const STALE_MS: u64 = 5000;

/// The first reading of the namespaces.
pub struct First {
    namespaces: Vec<(Netns, Before, CountersRead)>,
    unreadable: Vec<(String, String)>,
}

/// Counters, and when they were read.
struct CountersRead {
    at: Instant,
    counters: Counters,
}

impl CountersRead {
    fn now() -> Self {
        Self { at: Instant::now(), counters: counters::read() }
    }
}

/// Reads every network namespace, or those whose inode numbers `only` selects, for the first time.
pub fn first(only: &Pick<u32>) -> First {
    let mut read = First { namespaces: Vec::new(), unreadable: Vec::new() };
    // Listing sockets takes its time where there are many, wherever they are (`inet_diag_dump_icsk` walks the table that
    // namespaces share), so counters are read after them here, and before them at the second reading.
    let mut piles = Vec::new();
    if only.is_empty()
        && let Err(e) = std::fs::metadata(netns::OWN)
    {
        read.unreadable
            .push(("this process's own network namespace".to_owned(), format!("cannot be found: {e}; mount /proc")));
    }
    for ns in netns::all().into_iter().filter(|ns| only.admits(|inode| *inode == ns.inode)) {
        match netns::inside(&ns, piled) {
            Ok(before) => piles.push((ns, before)),
            Err(why) => {
                read.unreadable.push((ns.to_string(), format!("the namespace cannot be entered: {why}; run as root")))
            }
        }
    }
    for (ns, before) in piles {
        match netns::inside(&ns, CountersRead::now) {
            Ok(reading) => read.namespaces.push((ns, before, reading)),
            Err(why) => read.unreadable.push(gone(&ns, &why)),
        }
    }
    read
}

fn piled() -> Before {
    let mut piles = Before::default();
    if !counters::tell_of_no_socket(&counters::read()) {
        // The second reading says why where this fails.
        let piles_up =
            [State::CloseWait, State::Listen, State::FinWait1, State::FinWait2, State::Closing, State::LastAck];
        let states = piles_up.into_iter().fold(0, |states, state| states | 1 << state as u8);
        let _ = tcp_sockets_of(DiagQuery { states, ..DiagQuery::EVERYTHING }, |found| {
            if let Some(socket) = socket(&found, true) {
                piles.add(&socket);
            }
        });
    }
    piles
}

fn gone(ns: &Netns, why: &std::io::Error) -> (String, String) {
    (ns.to_string(), format!("the namespace went away: {why}"))
}

/// Reads them for the second time.
pub fn second(first: First) -> Facts {
    let mut facts = Facts { unreadable: first.unreadable, ..Facts::default() };
    let mut counted = Vec::new();
    for (ns, before, earlier) in first.namespaces {
        match netns::inside(&ns, CountersRead::now) {
            Ok(later) => counted.push((ns, before, earlier, later)),
            Err(why) => facts.unreadable.push(gone(&ns, &why)),
        }
    }
    let mut surveys = Vec::new();
    for (ns, before, earlier, later) in counted {
        match netns::inside(&ns, || described(&ns, before, earlier, later)) {
            Ok((namespace, survey)) => {
                facts.namespaces.push(namespace);
                surveys.push(survey);
            }
            Err(why) => facts.unreadable.push(gone(&ns, &why)),
        }
    }
    let inodes: HashSet<u32> = surveys.iter().flatten().flat_map(Survey::inodes).filter(|inode| *inode != 0).collect();
    let owners = Owners::find(&inodes);
    let owner = |inode: u32, accepted: &[u32]| {
        let acting = owners.acting(inode, accepted)?;
        let task = acting.task;
        let name = task.comm.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Owner { pid: task.pid, comm: String::from_utf8_lossy(name).into_owned(), others: acting.others as u64 })
    };
    for (namespace, survey) in facts.namespaces.iter_mut().zip(surveys) {
        namespace.sockets = survey.map(|survey| survey.finish(owner));
    }
    facts.configured = sysctl::configured(Path::new("/"), &settings::names().collect());
    facts
}

fn described(ns: &Netns, before: Before, earlier: CountersRead, later: CountersRead) -> (Namespace, Option<Survey>) {
    let mut namespace = Namespace {
        inode: ns.inode,
        name: ns.to_string(),
        settings: sysctl::settings(settings::names()),
        window_ns: u64::try_from(later.at.duration_since(earlier.at).as_nanos()).unwrap_or(u64::MAX),
        earlier: earlier.counters,
        later: later.counters,
        sockets: None,
        not_known: Vec::new(),
    };
    let number = |name| namespace.settings.number(name).and_then(|number| u64::try_from(number).ok());
    let length =
        number("net.ipv4.tcp_tw_timeout").map_or(u64::from(TIMEWAIT_LEN_MS), |seconds| seconds.saturating_mul(1000));
    let delay = number("net.ipv4.tcp_tw_reuse_delay").unwrap_or(REUSE_DELAY_MS);
    let fin_timeout =
        number("net.ipv4.tcp_fin_timeout").map_or(u64::from(TIMEWAIT_LEN_MS), |seconds| seconds.saturating_mul(1000));
    let bounds = Bounds {
        ports: crate::doctor::ephemeral(&namespace),
        young_ms: length.saturating_sub(delay),
        window_ms: namespace.window_ns / 1_000_000,
        stale_ms: fin_timeout.saturating_sub(STALE_MS.min(fin_timeout / 2)),
    };
    let mut survey = Survey::new(before, bounds);
    if counters::tell_of_no_socket(&namespace.later) {
        return (namespace, Some(survey));
    }
    survey.name_interfaces(netns::interfaces());
    let own_length = time_wait_has_own_length();
    let listed = tcp_sockets_of(DiagQuery { info: true, ..DiagQuery::EVERYTHING }, |found| {
        if let Some(socket) = socket(&found, own_length) {
            survey.add(&socket);
        }
    });
    match listed {
        Ok(_) => (namespace, Some(survey)),
        Err(why) => {
            namespace.not_known.push(why.to_string());
            (namespace, None)
        }
    }
}

/// `None` for a state that this tool does not know.
fn socket(found: &DiagSocket, own_length: bool) -> Option<SurveyedSocket> {
    let address = |bytes: [u8; 16]| match (i32::from(found.family), bytes) {
        (AF_INET, [a, b, c, d, ..]) => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        // A connection of IPv4 through a socket of IPv6 shares its ports.
        _ => Ipv6Addr::from(bytes).to_canonical(),
    };
    Some(SurveyedSocket {
        state: State::from_kernel(found.state)?,
        mini: found.timer == DIAG_TIMER_TIME_WAIT,
        bound_dev_if: found.ifindex,
        local: (address(found.laddr), found.lport),
        remote: (address(found.raddr), found.rport),
        left_ms: found.expires_ms.into(),
        receive_queue: found.receive_queue,
        send_queue: found.send_queue,
        retransmits: if found.timer == DIAG_TIMER_RETRANSMIT { found.retransmits } else { 0 },
        probes: if found.timer == DIAG_TIMER_PROBE { found.retransmits } else { 0 },
        probing: found.timer == DIAG_TIMER_PROBE,
        keepalive: found.timer == DIAG_TIMER_KEEPALIVE,
        received_ms: found.info.map(|info| info.data_received_ms),
        window: found.info.and_then(|info| info.send_window),
        at_least_ms: found.at_least_ms(own_length),
        cookie: found.cookie,
        inode: found.inode,
    })
}
