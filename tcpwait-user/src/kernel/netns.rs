//! What tells one network namespace from all others: the kernel's own number for it, which no other gets before the machine reboots.

use nix::{
    getsockopt_impl, libc,
    sys::socket::{AddressFamily, GetSockOpt, SockFlag, SockType, socket},
};

use crate::tcp::NetnsId;

/// What tells a namespace from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its inode number.
    pub inode: u32,
    /// Its cookie; 0 where the kernel tells none: then whichever has that number.
    pub cookie: u64,
}

impl Identity {
    /// As connections have it.
    pub fn id(self) -> NetnsId {
        NetnsId::new(self.inode, self.cookie)
    }

    /// Whether both are the same namespace, as far as that is known.
    pub fn is(self, other: Self) -> bool {
        self.inode == other.inode && (self.cookie == other.cookie || self.cookie == 0 || other.cookie == 0)
    }
}

/// SO_NETNS_COOKIE of socket(7).
#[derive(Clone, Copy, Debug)]
struct NetnsCookie;
getsockopt_impl!(NetnsCookie, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, u64, nix::sys::socket::sockopt::GetStruct<u64>);

/// The cookie of the calling thread's namespace; `None` before Linux 5.14.
pub fn cookie() -> Option<u64> {
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).ok()?;
    NetnsCookie.get(&socket).ok()
}

/// The calling thread's namespace, which has this inode number.
pub fn here(inode: u32) -> Identity {
    Identity { inode, cookie: cookie().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::Identity;

    #[test]
    fn a_number_that_another_has_got_is_not_the_same_namespace() {
        let (one, other, unknown) = (1, 2, 0);
        let of = |cookie| Identity { inode: 7, cookie };
        assert!(of(one).is(of(one)) && of(one).is(of(unknown)) && !of(one).is(of(other)));
        assert!(!of(one).is(Identity { inode: 8, cookie: one }));
    }
}
