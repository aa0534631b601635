//! Lists the sockets of every network namespace there is, several namespaces at a time, for a tally of them.
//! What is counted, and how it is shown, is decided elsewhere.

use std::{
    fs,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tcpwait_wire::wire;

use super::{
    netns::{self, Netns},
    sock_diag::{self, Asked, DiagSocket, Dump},
};
use crate::{
    select::{Criteria, Family},
    states::{Socket, Tally, report::Extent},
    tcp::{Flow, State},
};

/// The timer that sock_diag shows of a mini-socket (`inet_twsk_diag_fill`).
const TIMEWAIT_TIMER: u8 = 3;
/// Sockets taken to the tally at a time: one by one would have threads wait for each other.
const BATCH: usize = 512;

/// How one network namespace was read: the sockets that make no sense, and how it ended.
type Outcome = (u64, Result<Dump, String>);

/// What the threads share.
struct Shared<'a> {
    tally: &'a mut Tally,
    /// By the place of the namespace.
    outcomes: Vec<(usize, Outcome)>,
}

/// Reads the wanted network namespaces into the tally, and says how far that went.
///
/// Needs no privilege for the namespace this process is in, and `CAP_SYS_ADMIN` for the others. What was read of a namespace counts
/// even if its end was not reached.
pub fn read(tally: &mut Tally) -> Extent {
    let criteria = tally.wanted().criteria.clone();
    let (namespaces, mut extent) = wanted(&criteria);
    let mut outcomes = read_all(&namespaces, &criteria, tally);
    outcomes.sort_unstable_by_key(|(place, _)| *place);
    for (ns, (_, (odd, outcome))) in namespaces.iter().zip(outcomes) {
        extent.odd += odd;
        match outcome {
            Ok(dump) => {
                extent.namespaces += 1;
                extent.inconsistent += u32::from(dump.inconsistent);
            }
            Err(reason) => extent.cannot(format!("network namespace {ns}: {reason}")),
        }
    }
    extent
}

/// The namespaces to read, and what is known of those that cannot be.
fn wanted(criteria: &Criteria) -> (Vec<Netns>, Extent) {
    let mut extent = Extent::default();
    let netns::Survey { mut namespaces, unseen } = netns::survey();
    if criteria.netns.is_empty() {
        extent.unseen = unseen;
        if let Err(error) = fs::metadata(netns::OWN) {
            extent.cannot(format!("this process's own network namespace: {}: {error}; mount /proc", netns::OWN));
        }
    } else {
        namespaces.retain(|ns| criteria.netns.contains(&ns.inode));
        for inode in criteria.netns.iter().filter(|inode| !namespaces.iter().any(|ns| ns.inode == **inode)) {
            extent.cannot(format!(
                "network namespace net:[{inode}]: no process's main thread is in it and no mount keeps it"
            ));
        }
    }
    (namespaces, extent)
}

/// The kernel's tables are shared by all namespaces, so each listing passes by every socket of the machine: the CPUs share that.
fn read_all(namespaces: &[Netns], criteria: &Criteria, tally: &mut Tally) -> Vec<(usize, Outcome)> {
    let shared = Mutex::new(Shared { tally, outcomes: Vec::new() });
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(ns) = namespaces.get(place) else { break };
            let outcome = list(ns, criteria, &shared);
            lock(&shared).outcomes.push((place, outcome));
        }
    };
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 1..cpus.min(namespaces.len()) {
            // Where there can be no more threads, this one does it.
            let _ = thread::Builder::new().name("listing".to_owned()).spawn_scoped(scope, work);
        }
        work();
    });
    shared.into_inner().unwrap_or_else(PoisonError::into_inner).outcomes
}

fn lock<'a, 'b>(shared: &'a Mutex<Shared<'b>>) -> MutexGuard<'a, Shared<'b>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn list(ns: &Netns, criteria: &Criteria, shared: &Mutex<Shared<'_>>) -> Outcome {
    let mut odd = 0;
    let inside = || {
        if lock(shared).tally.wanted().needs_listeners() {
            let listening = Asked { states: bit(State::Listen), ..Asked::EVERYTHING };
            sock_diag::tcp_sockets_of(listening, |socket| lock(shared).tally.listener(ns.inode, socket.lport))?;
        }
        let mut batch = Vec::with_capacity(BATCH);
        let read = sock_diag::tcp_sockets_of(asked(criteria), |socket| match of(&socket, ns.inode) {
            // It was none of those listed when the kernel looked for them: it has been closed since.
            Some(Socket { state: State::Close, .. }) => {}
            Some(socket) => {
                batch.push(socket);
                if batch.len() == BATCH {
                    count(&mut batch, shared);
                }
            }
            None => odd += 1,
        });
        count(&mut batch, shared);
        read
    };
    let outcome = match netns::inside(ns, inside) {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(error) => Err(format!("cannot enter it: {error}; run as root (CAP_SYS_ADMIN)")),
    };
    (odd, outcome)
}

fn count(batch: &mut Vec<Socket>, shared: &Mutex<Shared<'_>>) {
    let mut shared = lock(shared);
    batch.drain(..).for_each(|socket| shared.tally.socket(&socket));
}

/// What the kernel can leave out by itself.
fn asked(criteria: &Criteria) -> Asked {
    Asked {
        v4: criteria.family != Some(Family::V6),
        // Sockets of AF_INET6 may have IPv4 connections.
        v6: true,
        states: match criteria.states.is_empty() {
            true => Asked::EVERYTHING.states,
            false => criteria.states.iter().fold(0, |states, state| states | bit(*state)),
        },
    }
}

fn bit(state: State) -> u32 {
    1 << state as u8
}

/// `None` for a family or a state that is not known.
fn of(socket: &DiagSocket, netns: u32) -> Option<Socket> {
    let flow = Flow::from_wire(&wire::Flow {
        laddr: socket.laddr,
        raddr: socket.raddr,
        netns,
        lport: socket.lport,
        rport: socket.rport,
        family: socket.family.into(),
        reserved: [0; 3],
    })?;
    let inode = (socket.inode != 0).then_some(socket.inode);
    Some(Socket {
        flow,
        state: State::from_kernel(socket.state)?,
        mini_left_ms: (socket.timer == TIMEWAIT_TIMER).then_some(socket.expires_ms),
        // Without a file the kernel says 0, which would be root.
        uid: inode.map(|_| socket.uid),
        inode,
    })
}
