//! How the sockets of a namespace are read for findings: one by one, and not kept, as there may be a million; what they mean is decided elsewhere.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::{
    socket::{Listener, Owner, SurveyedSocket},
    sockets::{DestinationUse, Sockets},
    stuck::Stuck,
    unclosed::{self, InCloseWait},
};
use crate::{
    aggregate::ports::settings::PortSettings,
    origin::{Origin, OriginListing},
    tcp::{Flow, NetnsId, State},
};

/// Destinations that are kept for the findings, those with the most ports.
const DESTINATIONS: usize = 10;

/// Interface number, local address, remote address and port.
type Towards = (u32, IpAddr, IpAddr, u16);

/// All sockets are of one namespace; which one makes no difference.
const SAME: NetnsId = NetnsId::new(0, 0);

/// One segment that is lost is sent again once.
const SENT_AGAIN: u8 = 2;

/// What is remembered of the first reading.
#[derive(Clone, Debug, Default)]
pub struct Before {
    close_wait: HashSet<u64>,
    closing: HashSet<u64>,
    half_closed: HashSet<u64>,
    full: HashSet<u64>,
}

impl Before {
    /// One socket of the first reading.
    pub fn add(&mut self, socket: &SurveyedSocket) {
        match socket.state {
            State::CloseWait => self.close_wait.insert(socket.cookie),
            State::FinWait1 | State::Closing | State::LastAck => self.closing.insert(socket.cookie),
            State::FinWait2 if !socket.mini => self.half_closed.insert(socket.cookie),
            State::Listen if socket.receive_queue > socket.send_queue => self.full.insert(socket.cookie),
            _ => false,
        };
    }
}

/// What sockets are held against.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// Which ports connect() may choose.
    pub ports: PortSettings,
    /// A TIME_WAIT with more milliseconds left is younger than the delay of `tcp_tw_reuse`.
    pub young_ms: u64,
    /// An orphan's FIN_WAIT2 with less left has waited for some seconds.
    pub stale_ms: u64,
    /// Milliseconds between the two readings, at least.
    pub window_ms: u64,
}

/// Ports in use towards a destination.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    used: u64,
    established: u64,
    time_wait: u64,
    young: u64,
}

/// Of a port so many connections are enough to tell who accepts them.
const ACCEPTED: usize = 64;

/// The second reading as it goes on. Listeners have to be told before connections, as the kernel does (`inet_diag_dump_icsk`).
#[derive(Debug, Default)]
pub struct Survey {
    before: Before,
    bounds: Bounds,
    census: OriginListing,
    /// Ports of the range that are a server's.
    served: HashSet<u16>,
    /// Connections of which only the whole listing tells which side made them.
    undecided: Vec<(Flow, Use)>,
    /// Ports that are listened on.
    listening: HashSet<u16>,
    listeners: Vec<Listener>,
    /// Connections that came through listeners.
    accepted: HashMap<u16, Vec<u32>>,
    syn_recv: HashMap<(IpAddr, u16), u64>,
    destinations: HashMap<Towards, Use>,
    /// Number and name.
    interfaces: Vec<(u32, String)>,
    unclosed: Vec<InCloseWait>,
    stuck: Stuck,
    sockets: Sockets,
}

impl Survey {
    /// Begins the second reading.
    pub fn new(before: Before, bounds: Bounds) -> Self {
        Self { before, bounds, ..Self::default() }
    }

    /// The network interfaces that there are: number and name.
    pub fn name_interfaces(&mut self, interfaces: Vec<(u32, String)>) {
        self.interfaces = interfaces;
    }

    /// One socket.
    pub fn add(&mut self, socket: &SurveyedSocket) {
        match socket.state {
            State::Listen => return self.listener(socket),
            State::TimeWait if socket.mini => self.sockets.time_wait += 1,
            State::FinWait2 if socket.mini => {
                self.sockets.orphaned_fin_wait2 += 1;
                self.sockets.stale_fin_wait2 += u64::from(socket.left_ms < self.bounds.stale_ms);
            }
            State::FinWait2 if self.before.half_closed.contains(&socket.cookie) => {
                self.stuck.half_closed(socket, self.bounds.window_ms);
            }
            State::FinWait1 | State::Closing | State::LastAck => self.closing(socket),
            State::CloseWait => {
                self.sockets.close_wait += 1;
                // One that still sends may be answering a client that has said all it had to say.
                if socket.send_queue == 0 && self.before.close_wait.contains(&socket.cookie) {
                    let SurveyedSocket { local, inode, receive_queue, .. } = *socket;
                    let age_ms = socket.age_ms(self.bounds.window_ms);
                    self.unclosed.push(InCloseWait { local, inode, unread: receive_queue > 0, age_ms });
                }
            }
            State::SynRecv => *self.syn_recv.entry(socket.local).or_default() += 1,
            _ => {}
        }
        if socket.inode != 0 && self.listening.contains(&socket.local.1) {
            let accepted = self.accepted.entry(socket.local.1).or_default();
            if accepted.len() < ACCEPTED {
                accepted.push(socket.inode);
            }
        }
        if socket.remote.1 == 0 {
            return;
        }
        let ((laddr, lport), (raddr, rport)) = (socket.local, socket.remote);
        let flow = Flow { netns: SAME, bound_dev_if: socket.bound_dev_if, laddr, raddr, lport, rport };
        let waits = socket.mini && socket.state == State::TimeWait;
        let young = waits && socket.left_ms > self.bounds.young_ms;
        let established = u64::from(socket.state == State::Established);
        let mine = Use { used: 1, established, time_wait: u64::from(waits), young: u64::from(young) };
        match self.census.connection(&flow) {
            Some(origin) => self.ports(&flow, mine, origin),
            None => self.undecided.push((flow, mine)),
        }
    }

    fn ports(&mut self, flow: &Flow, mine: Use, origin: Origin) {
        if self.bounds.ports.has(flow.lport) != Some(true) {
            return;
        }
        match origin {
            Origin::Here => {
                let all = self.destinations.entry((flow.bound_dev_if, flow.laddr, flow.raddr, flow.rport)).or_default();
                all.used += mine.used;
                all.established += mine.established;
                all.time_wait += mine.time_wait;
                all.young += mine.young;
            }
            Origin::There => drop(self.served.insert(flow.lport)),
            Origin::Unknown(_) => {}
        }
    }

    /// It was there already at the first reading, and `tcp_retransmit_timer` runs for it, or `tcp_probe_timer` where the FIN could not be sent:
    /// as the peer's window is closed ([`Stuck::closing`]), or as sending it fails.
    fn closing(&mut self, socket: &SurveyedSocket) {
        if !self.before.closing.contains(&socket.cookie) {
            return;
        }
        if self.stuck.closing(socket) {
            return;
        }
        let all = &mut self.sockets.unacknowledged;
        if socket.probes > 0 && socket.send_queue == 1 {
            all.unsent += 1;
        }
        if socket.retransmits < SENT_AGAIN {
            return;
        }
        match socket.state {
            State::LastAck => all.last_ack += 1,
            _ => all.fin_wait1 += 1,
        }
        all.fin_only += u64::from(socket.send_queue == 1);
    }

    fn listener(&mut self, socket: &SurveyedSocket) {
        self.census.listener(&Flow {
            netns: SAME,
            bound_dev_if: socket.bound_dev_if,
            laddr: socket.local.0,
            raddr: socket.remote.0,
            lport: socket.local.1,
            rport: socket.remote.1,
        });
        self.listening.insert(socket.local.1);
        if self.bounds.ports.has(socket.local.1) == Some(true) {
            self.served.insert(socket.local.1);
        }
        let (waiting, backlog) = (socket.receive_queue, socket.send_queue);
        let found = Listener { local: socket.local, waiting, backlog, owner: None, inode: socket.inode };
        if found.is_full() && self.before.full.contains(&socket.cookie) {
            self.sockets.full_listeners.push(found.clone());
        }
        let share = |listener: &Listener| u64::from(listener.waiting) * 1000 / (u64::from(listener.backlog) + 1);
        if waiting > 0 && self.sockets.fullest_listener.as_ref().is_none_or(|fullest| share(&found) > share(fullest)) {
            self.sockets.fullest_listener = Some(found.clone());
        }
        self.listeners.push(found);
    }

    /// The listener that a connection with this local end came through: the one of its address before that of all.
    fn listener_of(&self, local: (IpAddr, u16)) -> Option<&Listener> {
        let of_port = || self.listeners.iter().filter(|listener| listener.local.1 == local.1);
        let of_all = |address: IpAddr| address.is_unspecified() && (address.is_ipv6() || local.0.is_ipv4());
        of_port()
            .find(|listener| listener.local.0 == local.0)
            .or_else(|| of_port().find(|listener| of_all(listener.local.0)))
    }

    /// The files whose holders [`finish`](Self::finish) asks for.
    pub fn inodes(&self) -> HashSet<u32> {
        let listeners = self.listeners.iter().map(|listener| listener.inode);
        let accepted = self.accepted.values().flatten().copied();
        self.unclosed
            .iter()
            .map(|socket| socket.inode)
            .chain(self.stuck.inodes())
            .chain(listeners)
            .chain(accepted)
            .filter(|inode| *inode != 0)
            .collect()
    }

    /// What came of it. `owner` tells who holds a file, and acts for it: of a listener, one that holds such connections as well.
    pub fn finish(mut self, owner: impl Fn(u32, &[u32]) -> Option<Owner>) -> Sockets {
        for listener in &mut self.listeners {
            let accepted = self.accepted.get(&listener.local.1).map_or(&[][..], Vec::as_slice);
            listener.owner = owner(listener.inode, accepted);
        }
        for (flow, mine) in std::mem::take(&mut self.undecided) {
            let origin = self.census.origin(&flow);
            self.ports(&flow, mine, origin);
        }
        let mut destinations: Vec<DestinationUse> = std::mem::take(&mut self.destinations)
            .into_iter()
            .map(|((bound_dev_if, laddr, raddr, rport), Use { used, established, time_wait, young })| DestinationUse {
                interface: (bound_dev_if != 0).then(|| {
                    let named = self.interfaces.iter().find(|(index, _)| *index == bound_dev_if);
                    named.map_or_else(|| format!("if{bound_dev_if}"), |(_, name)| name.clone())
                }),
                laddr,
                remote: (raddr, rport),
                used,
                established,
                time_wait,
                young,
            })
            .collect();
        destinations.sort_by(|a, b| {
            let place = |d: &DestinationUse| (d.laddr, d.remote, d.interface.clone());
            b.used.cmp(&a.used).then_with(|| place(a).cmp(&place(b)))
        });
        destinations.truncate(DESTINATIONS);
        let mut full_of_syns: Vec<(Listener, u64)> = self
            .syn_recv
            .iter()
            .filter_map(|(local, count)| Some((self.listener_of(*local)?.clone(), *count)))
            .collect();
        full_of_syns.sort_by_key(|(listener, count)| (std::cmp::Reverse(*count), listener.local));
        let most_syns = full_of_syns.first().cloned();
        full_of_syns.retain(|(listener, count)| *count >= u64::from(listener.backlog));
        let unclosed = unclosed::by_keeper(&self.unclosed, |local| self.listener_of(local), &owner);
        let (half_closed, blocked) = self.stuck.finish(|inode| owner(inode, &[]));
        let listeners = self.listeners;
        let known = |found: &mut Listener| {
            found.owner = listeners.iter().find(|listener| listener.inode == found.inode).and_then(|l| l.owner.clone());
        };
        self.sockets.full_listeners.iter_mut().chain(&mut self.sockets.fullest_listener).for_each(known);
        Sockets {
            destinations,
            unclosed,
            half_closed,
            blocked,
            full_of_syns,
            most_syns,
            served: self.served.len() as u64,
            ..self.sockets
        }
    }
}
