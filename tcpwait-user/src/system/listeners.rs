//! Looks up who holds listeners: the process that is known for one may have ended, or have given it away.
//! When that is to be done is decided elsewhere.

use std::collections::HashMap;

use tcpwait_wire::wire::{FLAG_HEIR, Head, Kind, Owner};
use zerocopy::IntoBytes;

use super::{
    netns::Identity,
    owners::Owners,
    processes,
    seed::{self, NO_TASK, Seeded},
    sock_diag::Asked,
};
use crate::{select::Pick, tcp::State};

const LISTENING: Asked = Asked { states: 1 << State::Listen as u8, ..Asked::EVERYTHING };

/// Writes an [`Owner`] for each of these listeners (by cookie, with the process that is known for it) that is still there: that process, if it
/// still holds it, else the one that does; none where the process has ended and nobody is found. Where it lives and nobody is found there is no record. `sink` gets one whole record per call.
pub fn find(known: &HashMap<u64, u32>, only: &Pick<Identity>, now_ns: impl Fn() -> u64, mut sink: impl FnMut(&[u8])) {
    let mut inodes = HashMap::new();
    for ns in seed::wanted(only, &mut Seeded::default()) {
        let sockets = seed::list(&ns, only, LISTENING).sockets;
        inodes.extend(
            sockets
                .iter()
                .filter(|socket| known.contains_key(&socket.cookie))
                .map(|socket| (socket.cookie, socket.inode)),
        );
    }
    let owners = Owners::find(&inodes.values().copied().filter(|inode| *inode != 0).collect());
    for (cookie, inode) in inodes {
        let same = known.get(&cookie).and_then(|pid| owners.holder(inode, *pid));
        let found = same.or_else(|| owners.of_listener(inode, &[])).copied();
        // A listener below Multipath TCP has no file of its own: that nobody is found says nothing as long as the process that is known lives.
        if found.is_none() && known.get(&cookie).is_some_and(|pid| !processes::has_ended(*pid)) {
            continue;
        }
        let task = found.unwrap_or(NO_TASK);
        let head = Head {
            time_ns: now_ns(),
            len: size_of::<Owner>() as u16,
            kind: Kind::Owner as u8,
            flags: FLAG_HEIR,
            cpu: 0,
            thread: 0,
        };
        sink(Owner { head, cookie, task }.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::TcpListener;

    use tcpwait_wire::wire::Owner;
    use zerocopy::FromBytes;

    use super::find;
    use crate::system::{netns, sock_diag};

    /// The process that is known holds it, or another does.
    #[test]
    fn of_a_listener_of_this_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut cookie = 0;
        sock_diag::tcp_sockets_of(super::LISTENING, |socket| {
            if socket.lport == port {
                cookie = socket.cookie;
            }
        })
        .unwrap();
        let only = vec![netns::here(netns::resolve("/proc/self/ns/net").unwrap())].into();
        for known in [std::process::id(), u32::MAX] {
            let mut found = Vec::new();
            find(&[(cookie, known)].into(), &only, || 7, |bytes| found.push(Owner::read_from_bytes(bytes).unwrap()));
            assert_eq!(
                found.iter().map(|owner| (owner.cookie, owner.task.pid)).collect::<Vec<_>>(),
                [(cookie, std::process::id())]
            );
        }
        drop(listener);
        find(&[(cookie, 1)].into(), &only, || 7, |_| unreachable!("it is gone"));
    }
}
