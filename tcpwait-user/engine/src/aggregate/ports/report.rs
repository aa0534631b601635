//! What `tcpwait ports` says: plain numbers, already counted, for a view to show. Times are nanoseconds of `CLOCK_MONOTONIC`.

use std::net::IpAddr;

use serde::Serialize;

use super::{
    advice::PortAdvice,
    failures::{Failed, Process},
    forecast::Forecast,
    pace::Rates,
    settings::PortSettings,
    states::PortStates,
};
use crate::{
    ledger::Ledger,
    tcp::{Flow, Interface, NetnsId},
};

/// What connect() looks for a free port towards: an unbound socket's source address is chosen by route before its port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortDestination {
    /// The network namespace.
    pub netns: NetnsId,
    /// Number of the interface, or L3 master device, that the sockets are bound to; 0 for none. connect() finds a port free that
    /// the same addresses have on another (`__inet_check_established`).
    pub bound_dev_if: u32,
    /// Source address.
    pub laddr: IpAddr,
    /// Destination address.
    pub raddr: IpAddr,
    /// Destination port.
    pub rport: u16,
}

impl PortDestination {
    /// Where a connection with these addresses goes to.
    pub fn of(flow: &Flow) -> Self {
        let Flow { netns, bound_dev_if, laddr, raddr, rport, .. } = *flow;
        Self { netns, bound_dev_if, laddr, raddr, rport }
    }

    /// The interface that the sockets are bound to, if they are to one.
    pub fn interface(&self) -> Option<Interface> {
        (self.bound_dev_if != 0).then_some(Interface { netns: self.netns, index: self.bound_dev_if })
    }
}

/// How ports towards all destinations stand.
#[derive(Clone, Debug)]
pub struct PortsReport {
    /// When tracing began.
    pub begin_ns: u64,
    /// Now.
    pub end_ns: u64,
    /// Whether it is the last.
    pub is_final: bool,
    /// Whether anything was traced: else rates, failures and whose TIME_WAITs those are is not known.
    pub traced: bool,
    /// The namespaces of the rows, by inode, with their settings; `None` where those could not be read.
    pub namespaces: Vec<(NetnsId, Option<PortSettings>)>,
    /// The first destinations: those that are full, those that will be soonest, then by how full they are.
    pub rows: Vec<PortRow>,
    /// All others.
    pub others: Others,
    /// Source addresses from which bind() took ports for sockets that connected; `None` in a listing, which does not tell, or where
    /// only some destinations are looked at.
    pub bound: Option<Vec<Bound>>,
    /// Connections of which nobody knows which side made them, and which may hold a port of the range: they are in no row.
    pub unknown: u64,
    /// Calls that failed before they had a destination.
    pub binds: Vec<BindFailure>,
    /// Whether all that is counted since the start is at least: events were lost.
    pub at_least: bool,
    /// What was lost, since the start.
    pub ledger: Ledger,
}

/// One destination.
#[derive(Clone, Debug)]
pub struct PortRow {
    /// The destination.
    pub destination: PortDestination,
    /// Ports in use, of the range.
    pub in_use: u64,
    /// Of those, by state.
    pub states: PortStates,
    /// Ports in use that connect() does not take by itself: bound by hand, outside of the range.
    pub outside: u64,
    /// Ports connect() may take; `None` where the range is not known.
    pub size: Option<u64>,
    /// Which of those in TIME_WAIT connect() could take now.
    pub reusable: Reusable,
    /// Ports of the size that bind() gave to sockets with other destinations: they are closed to a connect() that chooses its port. At least,
    /// where connections are older than the trace; `None` in a listing, or where only some destinations are looked at.
    pub bound_elsewhere: Option<u64>,
    /// Share of the size that connect() cannot take now, 0 to 1: in use and not known to be reusable, or bound elsewhere.
    pub share: Option<f64>,
    /// How fast ports are taken and given back.
    pub rates: Option<Rates>,
    /// How long ports were held that came free since the start: from connect() to the end, of TIME_WAIT where there was one.
    pub held: Mean,
    /// How long one that comes to TIME_WAIT is taken to be in connect()'s way.
    pub wait_ns: u64,
    /// How many ports it takes at the present rate: those not in TIME_WAIT, and for each connect() a second that gets a port and comes
    /// to TIME_WAIT, or finds none, one for as long as that is in the way.
    pub needed: Option<f64>,
    /// What becomes of it.
    pub forecast: Option<Forecast>,
    /// Whether the forecast takes TIME_WAITs to be in the way that may be reusable: whether they have timestamps is not known.
    pub reuse_unknown: bool,
    /// Whether connect() fails although much of the range is free: the socket has a range of its own (`IP_LOCAL_PORT_RANGE`), or
    /// ports are held by sockets that bind() gave them to.
    pub fails_early: bool,
    /// Who has most of the ports, as far as owners are known; where none is, for whom connect() fails most.
    pub holder: Option<TopHolder>,
    /// What failed since the start.
    pub failures: Vec<Failed>,
    /// What would help, and what would not; `None` where nothing is wrong.
    pub advice: Option<PortAdvice>,
}

/// What bind() looks for a free port at: it finds one free that the same address has on another interface (`inet_csk_bind_conflict`), but for
/// a socket that is bound to none all of them count, and for all others what is bound to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// The network namespace.
    pub netns: NetnsId,
    /// Number of the interface, or L3 master device, that the sockets are bound to; 0 for none.
    pub bound_dev_if: u32,
    /// Source address.
    pub laddr: IpAddr,
}

impl Source {
    /// Where those who go to this destination come from.
    pub fn of(destination: &PortDestination) -> Self {
        let PortDestination { netns, bound_dev_if, laddr, .. } = *destination;
        Self { netns, bound_dev_if, laddr }
    }

    /// The interface that the sockets are bound to, if they are to one.
    pub fn interface(&self) -> Option<Interface> {
        (self.bound_dev_if != 0).then_some(Interface { netns: self.netns, index: self.bound_dev_if })
    }
}

/// A source address from which bind() took ports for sockets that then connected, each for all destinations.
#[derive(Clone, Debug)]
pub struct Bound {
    /// Where they are.
    pub source: Source,
    /// Ports of the range that bind() gave: at least, where there are unknown ones.
    pub bound: u64,
    /// Ports of the range that connect() chose here: bind() to this address does not give them either.
    pub by_connect: u64,
    /// Ports of the range of outgoing connections that are older than the trace: bound or not.
    pub unknown: u64,
    /// All three: each port once.
    pub in_use: u64,
    /// Of those in use, the ones that only a TIME_WAIT holds.
    pub time_wait: u64,
    /// Ports that bind() may give, as connect() may take; `None` where the range is not known.
    pub size: Option<u64>,
    /// Share of the size in use, 0 to 1.
    pub share: Option<f64>,
    /// How fast bind() takes ports and gets them back.
    pub rates: Option<Rates>,
    /// What becomes of it.
    pub forecast: Option<Forecast>,
    /// Who has most of those that bind() gave.
    pub holder: Option<TopHolder>,
}

/// TIME_WAITs by whether an unbound connect() could take them now (`tcp_twsk_unique`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reusable {
    /// It could.
    pub now: u64,
    /// It could not: `tcp_tw_reuse` does not let it, the connection had no timestamps, or it is too young.
    pub not: u64,
    /// Not known: mostly whether the connection had timestamps, where it is older than the trace.
    pub unknown: u64,
}

/// A mean of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mean {
    /// Of how many.
    pub count: u64,
    /// Nanoseconds; `None` of none.
    pub mean_ns: Option<u64>,
}

/// Who has most of the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopHolder {
    /// The process.
    pub process: Process,
    /// How many of the ports are its.
    pub ports: u64,
    /// Of how many ports the owner is known.
    pub known: u64,
}

/// All destinations that are not shown by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Others {
    /// How many.
    pub destinations: u64,
    /// Ports of the range in use towards them.
    pub in_use: u64,
    /// Of those in TIME_WAIT.
    pub time_wait: u64,
    /// Of those in FIN_WAIT2.
    pub fin_wait2: u64,
    /// Ports in use outside of the range.
    pub outside: u64,
    /// connect() that failed for want of a port, since the start.
    pub failed: u64,
}

/// bind() or listen() that failed in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindFailure {
    /// The network namespace.
    pub netns: NetnsId,
    /// The interface that the socket is bound to, if it is to one.
    pub interface: Option<Interface>,
    /// The address asked for.
    pub laddr: IpAddr,
    /// The port asked for; `None`: any.
    pub lport: Option<u16>,
    /// How often, why and for whom.
    pub failed: Failed,
}
