//! Calls that fail: from the hooks' records to a [`Failure`], which waits for what the call gives back, or for the next port that the same
//! socket tries.

use std::{collections::VecDeque, slice, sync::Arc};

use hashbrown::{HashMap, HashSet};
use nix::errno::Errno;

use super::{
    Update,
    common::Common,
    effort::room,
    failure::{Call, Failure, PortHolders, Search, Why},
};
use crate::{
    event::{PortRefused, StateChange, Task},
    tcp::{Flow, State},
};

/// `EADDRNOTAVAIL` of a connect() comes before the first SYN, in the same call: this long after at most, however busy the machine.
const SAME_CALL_NS: u64 = 1_000_000_000;

/// How long a failure waits for what its call gives back, and a refused bind() for the next port that the same socket tries.
const PATIENCE_NS: u64 = 100_000_000;

/// How long a refused bind() waits for what is looked up of the listener that holds the port: whose it is now.
const LOOK_UP_NS: u64 = 300_000_000;

/// A socket that tries one port after the other is told of after this time at the latest.
const SEARCH_NS: u64 = 1_000_000_000;

/// So many ports that are refused one after the other are told of as one. Fewer are a server's, mostly, which tries each with another socket: those may have the
/// same place in memory one after the other, so that nothing tells them apart, and each of its ports has a holder to be named.
const SEARCH: usize = 8;

/// Answers to connect() that are remembered until the call gives them back, too.
const ANSWERS: usize = 1024;

/// What was asked for when a socket entered SYN_SENT.
pub(super) struct ConnectCall {
    pub(super) flow: Flow,
    /// Its port was that of a former connection.
    pub(super) old_port: bool,
}

/// What is known of the end of SYN_SENT beside the event.
pub(super) struct SynSentEnd {
    pub(super) destroyed: bool,
    /// An error that the kernel noted; 0 is none.
    pub(super) soft_errno: u16,
    /// The process asked for it, and was told.
    pub(super) asked: bool,
}

/// Calls that fail, as long as they wait for the rest of it.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// A connect() that failed within the call, by cookie: why, is what the call gives back.
    connects: HashMap<u64, Failure>,
    /// Refused bind() calls, by process and socket: the same socket may try the next port. There is one at least.
    binds: HashMap<(u32, u32), Vec<Failure>>,
    /// Of those, the ones that a listener is to blame for, as long as nobody has looked up whose it is.
    unanswered: HashSet<(u32, u32)>,
    /// Answers to a SYN, by cookie and errno, that a call which waits for them gives back again.
    answered: VecDeque<(u64, u16)>,
}

impl Calls {
    /// It was looked up whose the listener is that failures were told to be the doing of; it may be another's than was known.
    pub(super) fn inherited(&mut self, former: Option<&Arc<Task>>, owner: Option<&Arc<Task>>) {
        for (key, failures) in &mut self.binds {
            let holders = failures.iter_mut().filter_map(|failure| failure.holders.as_mut());
            for holder in holders.flat_map(|holders| &mut holders.sockets) {
                if holder.state == State::Listen && holder.owner.as_ref() == former {
                    holder.owner = owner.cloned();
                    self.unanswered.remove(key);
                }
            }
        }
    }

    /// What it costs to look for those that waited long enough.
    pub(super) fn room(&self) -> usize {
        room(&self.connects) + room(&self.binds)
    }

    /// A connect() came to nothing: it left SYN_SENT for CLOSE.
    pub(super) fn connect_failed(
        &mut self,
        time_ns: u64,
        (ConnectCall { flow: asked, old_port }, found): (ConnectCall, SynSentEnd),
        since_ns: Option<u64>,
        change: &StateChange,
        owner: Option<Arc<Task>>,
        out: &mut Vec<Update>,
    ) {
        let in_the_call = change.by_call
            && change.unsent
            && change.err == 0
            && !change.deferred
            && since_ns.is_none_or(|since_ns| time_ns.saturating_sub(since_ns) < SAME_CALL_NS);
        // What __inet_hash_connect found stays (inet_sport), whatever came of it.
        let found_one = asked.lport == 0 && change.flow.lport != 0;
        let (why, errno) = match () {
            _ if change.err == 0 && change.deferred => (Why::NeverSent, 0),
            // __inet_hash_connect and __inet_check_established leave no sk_err, nor does what comes after them.
            _ if in_the_call && found_one && change.returns && !old_port => (Why::NotTold, 0),
            _ if in_the_call && asked.lport == 0 => (Why::NoFreePort, Errno::EADDRNOTAVAIL as u16),
            _ if in_the_call => (Why::PortTaken, Errno::EADDRNOTAVAIL as u16),
            _ if change.err == 0 && found.asked && found.soft_errno != 0 => {
                (answered(found.soft_errno), found.soft_errno)
            }
            _ if change.err == 0 && found.soft_errno != 0 => (Why::SoftError, 0),
            _ if change.err == 0 => (Why::GivenUp, 0),
            _ if found.destroyed => (Why::Destroyed, change.err),
            _ => (answered(change.err), change.err),
        };
        let lport = if why == Why::NoFreePort { 0 } else { change.flow.lport };
        let failure = Failure {
            time_ns,
            id: change.cookie,
            flow: Flow { lport, ..change.flow },
            call: Call::Connect,
            errno,
            soft_errno: if why == Why::SoftError { found.soft_errno } else { 0 },
            why,
            owner,
            // An error comes after a SYN, which is not there any more when it has purged the queue (tcp_reset, tcp_write_err).
            retransmits: change.retransmits.filter(|_| !change.unsent || change.err != 0),
            holders: None,
            search: None,
            v6only: change.v6only,
        };
        if in_the_call && change.returns {
            self.connects.insert(change.cookie, failure);
            return;
        }
        if change.returns && change.err != 0 {
            self.answered.truncate(ANSWERS - 1);
            self.answered.push_front((change.cookie, change.err));
        }
        out.push(Update::Failed(Box::new(failure)));
    }

    /// bind(), listen() or connect() gave back an error. `holders` looks up who holds the port, which is asked for where somebody does.
    pub(super) fn gave_back(
        &mut self,
        common: &mut Common,
        time_ns: u64,
        refused: &PortRefused,
        holders: impl FnOnce(&mut Common) -> PortHolders,
        out: &mut Vec<Update>,
    ) {
        match refused.call {
            Call::Connect => self.connect_gave_back(common, time_ns, refused, out),
            Call::Bind | Call::Listen => self.port_refused(common, time_ns, refused, holders, out),
        }
    }

    /// What connect() gave back: why it left SYN_SENT within the call, or why it never came there.
    fn connect_gave_back(&mut self, common: &mut Common, time_ns: u64, refused: &PortRefused, out: &mut Vec<Update>) {
        if let Some(mut failure) = self.connects.remove(&refused.cookie) {
            failure.errno = refused.errno;
            failure.why = match Errno::from_raw(refused.errno.into()) {
                Errno::EADDRNOTAVAIL if matches!(failure.why, Why::NoFreePort | Why::PortTaken) => failure.why,
                // The port that it seemed to have was an old one.
                Errno::EADDRNOTAVAIL => Why::NoFreePort,
                errno => in_the_kernel(errno),
            };
            out.push(Update::Failed(Box::new(failure)));
            return;
        }
        // An answer to the SYN ended SYN_SENT, and was told of then.
        let answer = (refused.cookie, refused.errno);
        if let Some(at) = self.answered.iter().position(|answered| *answered == answer) {
            self.answered.remove(at);
            return;
        }
        let failure = Self::refusal(common, time_ns, refused, in_the_kernel(Errno::from_raw(refused.errno.into())));
        out.push(Update::Failed(Box::new(failure)));
    }

    fn port_refused(
        &mut self,
        common: &mut Common,
        time_ns: u64,
        refused: &PortRefused,
        holders: impl FnOnce(&mut Common) -> PortHolders,
        out: &mut Vec<Update>,
    ) {
        let port = refused.flow.lport;
        let errno = Errno::from_raw(refused.errno.into());
        let why = match errno {
            Errno::EADDRINUSE if port == 0 => Why::RangeFull,
            Errno::EADDRINUSE => Why::PortHeld,
            errno => in_the_kernel(errno),
        };
        let key = refused.task.as_ref().zip(refused.socket).map(|(task, socket)| (task.pid, socket));
        let key = key.filter(|_| why == Why::PortHeld && refused.call == Call::Bind);
        let held = key.and_then(|key| self.binds.get_mut(&key));
        let held = held.filter(|held| are_followed_by(held, time_ns, &refused.flow));
        if let Some([first, rest @ ..]) = held.as_deref().map(Vec::as_slice)
            && (first.search.is_some() || rest.len() + 2 >= SEARCH)
        {
            let mut search = first.clone();
            rest.iter().for_each(|failure| search.searched(failure.time_ns, failure.flow.lport));
            search.searched(time_ns, port);
            if let Some(held) = held {
                *held = vec![search];
            }
            return;
        }
        let follows = held.is_some();
        let mut failure = Self::refusal(common, time_ns, refused, why);
        if why == Why::PortHeld {
            failure.holders = Some(holders(common));
        }
        let Some(key) = key else { return out.push(Update::Failed(Box::new(failure))) };
        let holders = failure.holders.iter().flat_map(|holders| &holders.sockets);
        match holders.into_iter().any(|holder| holder.state == State::Listen && holder.owner.is_some()) {
            true => drop(self.unanswered.insert(key)),
            false if !follows => drop(self.unanswered.remove(&key)),
            false => {}
        }
        if follows && let Some(held) = self.binds.get_mut(&key) {
            return held.push(failure);
        }
        // The same port once more, or much later.
        let former = self.binds.insert(key, vec![failure]);
        out.extend(former.into_iter().flatten().map(|former| Update::Failed(Box::new(former))));
    }

    fn refusal(common: &mut Common, time_ns: u64, refused: &PortRefused, why: Why) -> Failure {
        Failure {
            time_ns,
            id: refused.cookie,
            flow: refused.flow,
            call: refused.call,
            errno: refused.errno,
            soft_errno: 0,
            why,
            owner: refused.task.as_ref().map(|task| common.share(task)),
            retransmits: None,
            holders: None,
            search: None,
            v6only: refused.v6only,
        }
    }

    /// Failures that waited long enough, the oldest first.
    pub(super) fn flush(&mut self, now_ns: u64, out: &mut Vec<Update>) {
        let Self { connects, binds, unanswered, .. } = self;
        let is_over = |failures: &[Failure], patience_ns: u64| {
            let since_ns = |ns: u64| now_ns.saturating_sub(ns);
            failures.last().is_none_or(|last| since_ns(last.last_ns()) >= patience_ns)
                || failures.first().is_none_or(|first| since_ns(first.time_ns) >= SEARCH_NS)
        };
        let is_over_bind = |key: &(u32, u32), failures: &mut Vec<Failure>| {
            let looked_up = failures.iter().any(|failure| failure.search.is_some()) || !unanswered.contains(key);
            is_over(failures, if looked_up { PATIENCE_NS } else { LOOK_UP_NS })
        };
        let connects = connects.extract_if(|_, failure| is_over(slice::from_ref(failure), PATIENCE_NS));
        let connects = connects.map(|(_, failure)| failure);
        let binds_over = binds.extract_if(is_over_bind).flat_map(|(_, failures)| failures);
        let mut over: Vec<Failure> = connects.chain(binds_over).collect();
        unanswered.retain(|key| binds.contains_key(key));
        over.sort_by_key(|failure| (failure.time_ns, failure.id));
        out.extend(over.into_iter().map(|failure| Update::Failed(Box::new(failure))));
    }
}

/// Whether the same socket goes on to another port here, as one does that searches for a free one.
fn are_followed_by(held: &[Failure], time_ns: u64, asked: &Flow) -> bool {
    let [first, ..] = held else { return false };
    let same_place = (first.flow.netns, first.flow.laddr) == (asked.netns, asked.laddr);
    let tried = held.iter().any(|failure| match &failure.search {
        Some(search) => (search.lowest..=search.highest).contains(&asked.lport),
        None => failure.flow.lport == asked.lport,
    });
    let is_soon = held.last().is_some_and(|last| time_ns.saturating_sub(last.last_ns()) < PATIENCE_NS);
    same_place && !tried && is_soon
}

impl Failure {
    /// When the last of its calls was.
    fn last_ns(&self) -> u64 {
        self.search.map_or(self.time_ns, |search| search.last_ns)
    }

    fn searched(&mut self, time_ns: u64, port: u16) {
        let first = Search { lowest: self.flow.lport, highest: self.flow.lport, refused: 1, last_ns: self.time_ns };
        let mut search = self.search.unwrap_or(first);
        search.lowest = search.lowest.min(port);
        search.highest = search.highest.max(port);
        search.refused += 1;
        search.last_ns = time_ns;
        self.search = Some(search);
        self.why = Why::PortSearch;
        self.flow.lport = 0;
        self.holders = None;
    }
}

/// Why a connect() failed after its SYN, by the errno. All but the first two are an ICMP error's, or ARP's (`icmp_err_convert`, `tab_unreach` of net/ipv6/icmp.c).
fn answered(errno: u16) -> Why {
    match Errno::from_raw(errno.into()) {
        Errno::ECONNREFUSED => Why::Refused,
        Errno::ETIMEDOUT => Why::TimedOut,
        Errno::EHOSTUNREACH
        | Errno::ENETUNREACH
        | Errno::EHOSTDOWN
        | Errno::ENONET
        | Errno::ENOPROTOOPT
        | Errno::EOPNOTSUPP
        | Errno::EPROTO
        | Errno::EACCES => Why::Unreachable,
        _ => Why::Other,
    }
}

/// Why a call failed before anything was sent, by its errno, other than for the want of a port.
fn in_the_kernel(errno: Errno) -> Why {
    match errno {
        Errno::ENETUNREACH | Errno::EHOSTUNREACH => Why::NoRoute,
        Errno::EACCES | Errno::EPERM | Errno::EKEYREJECTED => Why::NotAllowed,
        Errno::EADDRNOTAVAIL => Why::NoAddress,
        Errno::ENOBUFS | Errno::ENOMEM => Why::NoMemory,
        Errno::EINVAL => Why::Invalid,
        _ => Why::Other,
    }
}
