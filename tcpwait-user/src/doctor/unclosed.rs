//! Who keeps sockets in CLOSE_WAIT: a process that has accepted or made them, or the listener that has not accepted them yet.

use std::{collections::HashMap, net::IpAddr};

use super::socket::{Listener, Owner};

/// Who keeps sockets in CLOSE_WAIT.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Keeper {
    /// A process that has accepted or made them, as far as that may be known.
    Process(Option<Owner>),
    /// Nobody has accepted them: they wait in the queue of the listener here.
    Queue((IpAddr, u16)),
    /// They have no file, and no listener's queue has them: TCP connections below a Multipath TCP one, or the kernel's own.
    Nobody,
}

/// Sockets in CLOSE_WAIT that were there at both readings, with nothing to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclosed {
    /// Who keeps them.
    pub keeper: Keeper,
    /// Of those that wait in a listener's queue: the listener.
    pub listener: Option<Listener>,
    /// How many.
    pub stuck: u64,
    /// Of these such with something unread, be it only the end of the stream.
    pub unread: u64,
    /// For how many milliseconds the oldest of them has been in CLOSE_WAIT at least.
    pub oldest_ms: u64,
}

/// A socket that stays in CLOSE_WAIT.
#[derive(Clone, Copy, Debug)]
pub(super) struct InCloseWait {
    pub(super) local: (IpAddr, u16),
    pub(super) inode: u32,
    pub(super) unread: bool,
    pub(super) age_ms: u64,
}

/// Those that stay, by who keeps them, the most first.
pub(super) fn by_keeper<'a>(
    stay: &[InCloseWait],
    listener_of: impl Fn((IpAddr, u16)) -> Option<&'a Listener>,
    owner: &impl Fn(u32, &[u32]) -> Option<Owner>,
) -> Vec<Unclosed> {
    let mut unclosed: HashMap<Keeper, (u64, u64, u64, Option<&Listener>)> = HashMap::new();
    for stuck in stay {
        // accept() gives a connection its file (`sock_graft`).
        let listener = listener_of(stuck.local).filter(|listener| stuck.inode == 0 && listener.waiting > 0);
        let keeper = match listener {
            Some(listener) => Keeper::Queue(listener.local),
            None if stuck.inode == 0 => Keeper::Nobody,
            None => Keeper::Process(owner(stuck.inode, &[])),
        };
        let (count, with_unread, oldest_ms, _) = unclosed.entry(keeper).or_insert((0, 0, 0, listener));
        *count += 1;
        *oldest_ms = stuck.age_ms.max(*oldest_ms);
        *with_unread += u64::from(stuck.unread);
    }
    let mut unclosed: Vec<_> = unclosed
        .into_iter()
        .map(|(keeper, (stuck, unread, oldest_ms, listener))| Unclosed {
            keeper,
            listener: listener.cloned(),
            stuck,
            unread,
            oldest_ms,
        })
        .collect();
    unclosed.sort_by(|a, b| b.stuck.cmp(&a.stuck).then_with(|| a.keeper.cmp(&b.keeper)));
    unclosed
}
