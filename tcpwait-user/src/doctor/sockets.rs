//! The sockets of a namespace as far as findings need them: how many ports a destination uses, how full listeners are, who
//! does not close. Sockets are told one by one and not kept, as there may be a million; what they mean is decided elsewhere.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use crate::tcp::State;

/// Destinations that are kept for the findings, those with the most ports.
const DESTINATIONS: usize = 10;

/// Interface number, local address, remote address and port.
type Towards = (u32, IpAddr, IpAddr, u16);

/// One socket.
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    /// Its state; of a mini-socket its substate.
    pub state: State,
    /// Whether it is a mini-socket: in TIME_WAIT, or in FIN_WAIT2 and held by nobody.
    pub mini: bool,
    /// Number of the interface, or L3 master device, that it is bound to; 0 for none.
    pub bound_dev_if: u32,
    /// Local address and port.
    pub local: (IpAddr, u16),
    /// Remote address and port.
    pub remote: (IpAddr, u16),
    /// Milliseconds that a mini-socket has left.
    pub left_ms: u64,
    /// `Recv-Q`.
    pub receive_queue: u32,
    /// `Send-Q`.
    pub send_queue: u32,
    /// The socket cookie.
    pub cookie: u64,
    /// Inode number of the socket's file.
    pub inode: u32,
}

/// Who holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub comm: String,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub local: (IpAddr, u16),
    /// Connections that wait for accept().
    pub waiting: u32,
    /// How many may wait; one more does not fit (`sk_acceptq_is_full`).
    pub backlog: u32,
    /// Who holds it, as far as that may be known.
    pub owner: Option<Owner>,
    /// Its file.
    pub inode: u32,
}

impl Listener {
    /// Whether the next connection is dropped.
    pub fn is_full(&self) -> bool {
        self.waiting > self.backlog
    }
}

/// The use of local ports towards one address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The name of the interface that the sockets are bound to, if they are to one: another has ports of its own.
    pub interface: Option<String>,
    /// The local address.
    pub laddr: IpAddr,
    /// The remote address and port.
    pub remote: (IpAddr, u16),
    /// Local ports within `ip_local_port_range` that are taken.
    pub used: u64,
    /// Of these by sockets in TIME_WAIT.
    pub time_wait: u64,
    /// Of these by ones that are younger than the delay of `tcp_tw_reuse`.
    pub young: u64,
}

impl Destination {
    /// Whether `tcp_tw_reuse` = 2 applies (`tcp_twsk_unique`; sockets bound to `lo` are not known here).
    pub fn is_loopback(&self) -> bool {
        self.laddr.is_loopback() || self.remote.0.is_loopback()
    }
}

/// A process with sockets in CLOSE_WAIT that were there at both readings, with nothing to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclosed {
    /// The process, as far as that may be known.
    pub owner: Option<Owner>,
    /// How many.
    pub stuck: u64,
    /// Of these such with something unread, be it only the end of the stream.
    pub unread: u64,
}

/// What is known of the sockets.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    /// In TIME_WAIT.
    pub time_wait: u64,
    /// In FIN_WAIT2 and held by nobody.
    pub orphaned_fin_wait2: u64,
    /// In CLOSE_WAIT.
    pub close_wait: u64,
    /// The destinations with the most ports taken, the most first.
    pub destinations: Vec<Destination>,
    /// Listeners that were full at both readings.
    pub full_listeners: Vec<Listener>,
    /// The listener with the most connections waiting, for its share of the backlog.
    pub fullest_listener: Option<Listener>,
    /// CLOSE_WAIT by process, the most first.
    pub unclosed: Vec<Unclosed>,
}

/// What is remembered of the first reading.
#[derive(Clone, Debug, Default)]
pub struct Before {
    close_wait: HashSet<u64>,
    full: HashSet<u64>,
}

impl Before {
    /// One socket of the first reading.
    pub fn add(&mut self, socket: &Socket) {
        match socket.state {
            State::CloseWait => self.close_wait.insert(socket.cookie),
            State::Listen if socket.receive_queue > socket.send_queue => self.full.insert(socket.cookie),
            _ => false,
        };
    }
}

/// The second reading as it goes on. Listeners have to be told before connections, as the kernel does (`inet_diag_dump_icsk`).
#[derive(Debug, Default)]
pub struct Survey {
    before: Before,
    /// `ip_local_port_range`.
    ports: Option<(u16, u16)>,
    /// A TIME_WAIT with more left is younger than the delay of `tcp_tw_reuse`.
    young_ms: u64,
    listening: HashSet<u16>,
    destinations: HashMap<Towards, (u64, u64, u64)>,
    /// Number and name.
    interfaces: Vec<(u32, String)>,
    stuck: Vec<(u32, bool)>,
    sockets: Sockets,
}

impl Survey {
    /// Begins the second reading. `ports`: the ephemeral ones; `young_ms`: what a TIME_WAIT that is too young has left at least.
    pub fn new(before: Before, ports: Option<(u16, u16)>, young_ms: u64) -> Self {
        Self { before, ports, young_ms, ..Self::default() }
    }

    /// The network interfaces that there are: number and name.
    pub fn name_interfaces(&mut self, interfaces: Vec<(u32, String)>) {
        self.interfaces = interfaces;
    }

    /// One socket.
    pub fn add(&mut self, socket: &Socket) {
        match socket.state {
            State::Listen => return self.listener(socket),
            State::TimeWait if socket.mini => self.sockets.time_wait += 1,
            State::FinWait2 if socket.mini => self.sockets.orphaned_fin_wait2 += 1,
            State::CloseWait => {
                self.sockets.close_wait += 1;
                // One that still sends may be answering a client that has said all it had to say.
                if socket.send_queue == 0 && self.before.close_wait.contains(&socket.cookie) {
                    self.stuck.push((socket.inode, socket.receive_queue > 0));
                }
            }
            _ => {}
        }
        // A port that is listened on is a server's, whatever the range.
        let ephemeral = self.ports.is_some_and(|(low, high)| (low..=high).contains(&socket.local.1));
        if ephemeral && socket.remote.1 != 0 && !self.listening.contains(&socket.local.1) {
            let key = (socket.bound_dev_if, socket.local.0, socket.remote.0, socket.remote.1);
            let (used, time_wait, young) = self.destinations.entry(key).or_default();
            let waits = socket.mini && socket.state == State::TimeWait;
            *used += 1;
            *time_wait += u64::from(waits);
            *young += u64::from(waits && socket.left_ms > self.young_ms);
        }
    }

    fn listener(&mut self, socket: &Socket) {
        self.listening.insert(socket.local.1);
        let (waiting, backlog) = (socket.receive_queue, socket.send_queue);
        let found = Listener { local: socket.local, waiting, backlog, owner: None, inode: socket.inode };
        if found.is_full() && self.before.full.contains(&socket.cookie) {
            self.sockets.full_listeners.push(found.clone());
        }
        let share = |listener: &Listener| u64::from(listener.waiting) * 1000 / (u64::from(listener.backlog) + 1);
        if waiting > 0 && self.sockets.fullest_listener.as_ref().is_none_or(|fullest| share(&found) > share(fullest)) {
            self.sockets.fullest_listener = Some(found);
        }
    }

    /// The files whose holders [`finish`](Self::finish) asks for.
    pub fn inodes(&self) -> HashSet<u32> {
        let listeners = self.sockets.full_listeners.iter().chain(&self.sockets.fullest_listener).map(|l| l.inode);
        self.stuck.iter().map(|(inode, _)| *inode).chain(listeners).collect()
    }

    /// What came of it. `owner` tells who holds a file.
    pub fn finish(mut self, owner: impl Fn(u32) -> Option<Owner>) -> Sockets {
        let mut destinations: Vec<Destination> = self
            .destinations
            .into_iter()
            .map(|((bound_dev_if, laddr, raddr, rport), (used, time_wait, young))| Destination {
                interface: (bound_dev_if != 0).then(|| {
                    let named = self.interfaces.iter().find(|(index, _)| *index == bound_dev_if);
                    named.map_or_else(|| format!("if{bound_dev_if}"), |(_, name)| name.clone())
                }),
                laddr,
                remote: (raddr, rport),
                used,
                time_wait,
                young,
            })
            .collect();
        destinations.sort_by(|a, b| {
            let place = |d: &Destination| (d.laddr, d.remote, d.interface.clone());
            b.used.cmp(&a.used).then_with(|| place(a).cmp(&place(b)))
        });
        destinations.truncate(DESTINATIONS);
        let mut unclosed: HashMap<Option<Owner>, (u64, u64)> = HashMap::new();
        for (inode, unread) in self.stuck {
            let (stuck, with_unread) = unclosed.entry(owner(inode)).or_default();
            *stuck += 1;
            *with_unread += u64::from(unread);
        }
        let unclosed = unclosed.into_iter().map(|(owner, (stuck, unread))| Unclosed { owner, stuck, unread });
        let mut unclosed: Vec<_> = unclosed.collect();
        unclosed.sort_by(|a, b| b.stuck.cmp(&a.stuck).then_with(|| a.owner.cmp(&b.owner)));
        for listener in self.sockets.full_listeners.iter_mut().chain(&mut self.sockets.fullest_listener) {
            listener.owner = owner(listener.inode);
        }
        Sockets { destinations, unclosed, ..self.sockets }
    }
}
