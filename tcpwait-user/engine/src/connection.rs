//! The name of a connection: short, for maps that hold a million of them, and the map by it. Knows nothing of what happens to it.

use std::{
    hash::{BuildHasher, Hash, Hasher},
    net::IpAddr,
};

use hashbrown::DefaultHashBuilder;

use crate::{compact::CompactMap, tcp::Flow};

/// A map by connections. Those with neighbouring cookies lie side by side, since they come and go together.
pub type ByName<V> = CompactMap<Name, V, Neighbours>;

/// A connection's name: the socket cookie, the local port and a digest of the rest. One socket may be connected again while its
/// former connection is in TIME_WAIT, so the cookie is not enough.
#[derive(Clone, Copy, Debug, Eq)]
pub struct Name {
    id: u64,
    /// Of the remote end and the namespace.
    digest: u32,
    lport: u16,
    /// The interface that it is bound to, its number cut short. A socket may be bound to another in the middle of its connection, so this
    /// counts only where there is no cookie.
    interface: u16,
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.digest, self.lport) == (other.id, other.digest, other.lport)
            && (self.id != 0 || self.interface == other.interface)
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, to: &mut H) {
        to.write_u64(self.id);
        to.write_u32(self.digest);
        to.write_u16(self.lport);
    }
}

impl Name {
    /// The connection of the socket with this cookie and these addresses.
    pub fn of(id: u64, flow: &Flow) -> Self {
        Self { id, digest: digest(flow), lport: flow.lport, interface: flow.bound_dev_if as u16 }
    }

    /// The same before its port was chosen.
    pub fn portless(self) -> Self {
        Self { lport: 0, ..self }
    }

    /// The same before its cookie was known.
    pub fn anonymous(self) -> Self {
        Self { id: 0, ..self }
    }

    /// Whether its port or its cookie is not known yet.
    pub fn is_provisional(self) -> bool {
        self.id == 0 || self.lport == 0
    }
}

/// Always the same, so that the same records give the same report. It need not withstand anybody: whoever makes two of them alike
/// gains nothing, as the cookies differ, which are the kernel's.
fn digest(flow: &Flow) -> u32 {
    // Odd numbers without a pattern: the fractions of the golden ratio and of the square root of 2.
    const KEYS: (u64, u64) = (0x9e37_79b9_7f4a_7c15, 0x6a09_e667_f3bc_c909);
    let address = match flow.raddr {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let (inode, generation) = (u64::from(flow.netns.inode()), u64::from(flow.netns.generation()));
    let rest = inode << 32 | generation << 16 | u64::from(flow.rport);
    let folded = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let address = folded(address as u64 ^ KEYS.0, (address >> 64) as u64 ^ KEYS.1);
    folded(address ^ KEYS.1, rest ^ KEYS.0) as u32
}

/// As many cookies in a row share a place of the hash table: 16 of its 4-byte entries are a line of the cache.
const ROW: u64 = 16;

/// Hashes [`Name`]s by their cookie: rows of cookies go here and there, the cookies of a row side by side. A table of a million
/// connections does not fit into the cache, and else every connection would be looked for in a part of it that is not there.
#[derive(Clone, Debug, Default)]
pub struct Neighbours(DefaultHashBuilder);

impl BuildHasher for Neighbours {
    type Hasher = NameHasher;

    fn build_hasher(&self) -> NameHasher {
        NameHasher { rows: self.0.build_hasher(), id: 0 }
    }
}

/// Takes in a [`Name`]: its cookie first, and the rest where there is none.
pub struct NameHasher {
    rows: <DefaultHashBuilder as BuildHasher>::Hasher,
    id: u64,
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.rows.write(bytes);
    }

    fn write_u64(&mut self, id: u64) {
        self.id = id;
        self.rows.write_u64(id / ROW);
    }

    fn write_u32(&mut self, digest: u32) {
        if self.id == 0 {
            self.rows.write_u32(digest);
        }
    }

    fn write_u16(&mut self, lport: u16) {
        if self.id == 0 {
            self.rows.write_u16(lport);
        }
    }

    fn finish(&self) -> u64 {
        let (row, place) = (self.rows.finish(), self.id % ROW);
        if self.id == 0 {
            return row;
        }
        // The table takes the place from the lowest bits, and tells entries apart by the highest 7.
        (row - row % ROW + place) ^ place << 60
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        hash::BuildHasher,
        net::{IpAddr, Ipv4Addr},
    };

    use super::{Name, Neighbours};
    use crate::tcp::{Flow, NetnsId};

    fn flow(peer: u32, bound_dev_if: u32) -> Flow {
        let address = |bits| IpAddr::V4(Ipv4Addr::from_bits(bits));
        let netns = NetnsId::new(1, 1);
        Flow { netns, bound_dev_if, laddr: address(1), raddr: address(peer), lport: 80, rport: 4000 }
    }

    fn name(id: u64, peer: u32) -> Name {
        Name::of(id, &flow(peer, 0))
    }

    #[test]
    fn an_interface_tells_apart_what_has_no_cookie() {
        let on = |id, interface| Name::of(id, &flow(7, interface));
        assert_ne!(on(0, 2), on(0, 3));
        assert_ne!(on(5, 2).anonymous(), on(5, 3).anonymous());
        // A socket with a cookie stays the same when it is bound to another interface.
        assert_eq!(on(5, 2), on(5, 3));
        // Nor is a namespace the same as another that had its inode number.
        let later = Flow { netns: NetnsId::new(1, 2), ..flow(7, 0) };
        assert_ne!(Name::of(5, &later), on(5, 0));
    }

    #[test]
    fn neighbours_are_side_by_side_and_told_apart() {
        let hasher = Neighbours::default();
        let hashes: Vec<u64> = (32..48).map(|id| hasher.hash_one(name(id, 7))).collect();
        let rows: HashSet<u64> = hashes.iter().map(|hash| (hash / 16) << 8).collect();
        assert_eq!(rows.len(), 1, "{hashes:x?}");
        let (places, tags): (HashSet<u64>, HashSet<u64>) = hashes.iter().map(|hash| (hash % 16, hash >> 57)).unzip();
        assert_eq!((places.len(), tags.len()), (16, 16), "{hashes:x?}");
    }

    #[test]
    fn those_without_a_cookie_go_everywhere() {
        let hasher = Neighbours::default();
        let hashes: HashSet<u64> = (0..10_000).map(|peer| hasher.hash_one(name(0, peer)) % 65_536).collect();
        // 10,000 of 65,536 by chance: 9,274.
        assert!(hashes.len() > 9_000, "{}", hashes.len());
    }

    #[test]
    fn peers_are_told_apart() {
        let names: HashSet<Name> = (0..10_000).map(|peer| name(0, peer)).collect();
        assert_eq!(names.len(), 10_000);
    }
}
