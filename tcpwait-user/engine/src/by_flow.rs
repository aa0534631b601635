//! A map by the addresses of connections, for a million of them. Those of IPv4 have a key of 22 bytes; with the room that IPv6 takes it would be 48.

use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr},
};

use crate::{
    compact::CompactMap,
    tcp::{Flow, NetnsId},
};

/// A map from [`Flow`] to `V`.
#[derive(Debug)]
pub struct ByFlow<V> {
    v4: CompactMap<V4Flow, V>,
    others: CompactMap<Flow, V>,
}

/// The same as a [`Flow`] whose addresses are both of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct V4Flow {
    netns: NetnsId,
    /// As bytes: a number of 4 would have all of it begin at a multiple of 4, and be longer.
    bound_dev_if: [u8; 4],
    laddr: Ipv4Addr,
    raddr: Ipv4Addr,
    lport: u16,
    rport: u16,
}

impl V4Flow {
    fn of(flow: &Flow) -> Option<Self> {
        let Flow { netns, bound_dev_if, laddr, raddr, lport, rport } = *flow;
        let (IpAddr::V4(laddr), IpAddr::V4(raddr)) = (laddr, raddr) else { return None };
        Some(Self { netns, bound_dev_if: bound_dev_if.to_ne_bytes(), laddr, raddr, lport, rport })
    }

    fn flow(&self) -> Flow {
        let Self { netns, bound_dev_if, laddr, raddr, lport, rport } = *self;
        Flow {
            netns,
            bound_dev_if: u32::from_ne_bytes(bound_dev_if),
            laddr: laddr.into(),
            raddr: raddr.into(),
            lport,
            rport,
        }
    }
}

impl Hash for V4Flow {
    fn hash<H: Hasher>(&self, to: &mut H) {
        self.flow().hash(to);
    }
}

impl<V> Default for ByFlow<V> {
    fn default() -> Self {
        Self { v4: CompactMap::default(), others: CompactMap::default() }
    }
}

impl<V> ByFlow<V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.v4.len() + self.others.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.others.is_empty()
    }

    /// What it costs to go through all entries.
    pub fn room(&self) -> usize {
        self.v4.room() + self.others.room()
    }

    /// The value of a connection.
    pub fn get(&self, flow: &Flow) -> Option<&V> {
        match V4Flow::of(flow) {
            Some(flow) => self.v4.get(&flow),
            None => self.others.get(flow),
        }
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, flow: &Flow) -> Option<&mut V> {
        match V4Flow::of(flow) {
            Some(flow) => self.v4.get_mut(&flow),
            None => self.others.get_mut(flow),
        }
    }

    /// Adds an entry; returns the value that it replaces.
    pub fn insert(&mut self, flow: Flow, value: V) -> Option<V> {
        match V4Flow::of(&flow) {
            Some(flow) => self.v4.insert(flow, value),
            None => self.others.insert(flow, value),
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, flow: &Flow) -> Option<V> {
        match V4Flow::of(flow) {
            Some(flow) => self.v4.remove(&flow),
            None => self.others.remove(flow),
        }
    }

    /// Every entry, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (Flow, &V)> {
        let v4 = self.v4.iter().map(|(flow, value)| (flow.flow(), value));
        v4.chain(self.others.iter().map(|(flow, value)| (*flow, value)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{
        collections::HashSet,
        net::{IpAddr, Ipv4Addr, Ipv6Addr},
    };

    use super::{ByFlow, V4Flow};
    use crate::tcp::{Flow, NetnsId};

    #[test]
    fn a_key_of_ipv4_is_as_long_as_its_parts() {
        assert_eq!(size_of::<V4Flow>(), 22);
    }

    /// Flows that differ in one part each, of IPv4, of IPv6, and mixed.
    fn flows() -> Vec<Flow> {
        let v4 = [[10, 0, 0, 1], [10, 0, 0, 2]].map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
        let v6 = [1, 2].map(|last| IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)));
        // As an address of IPv6 it is another than as one of IPv4, whoever made it so.
        let mapped = IpAddr::from(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
        let mut flows = Vec::new();
        for (laddr, raddr) in [(v4[0], v4[1]), (v4[1], v4[0]), (v6[0], v6[1]), (v4[0], v6[0]), (mapped, mapped)] {
            let flow = Flow { netns: NetnsId::new(1, 1), bound_dev_if: 0, laddr, raddr, lport: 0x1234, rport: 0x3412 };
            flows.extend([
                flow,
                Flow { netns: NetnsId::new(1, 2), ..flow },
                Flow { netns: NetnsId::new(2, 1), ..flow },
                Flow { bound_dev_if: u32::MAX, ..flow },
                Flow { lport: 0x3412, rport: 0x1234, ..flow },
            ]);
        }
        flows
    }

    #[test]
    fn flows_are_told_apart_and_come_back_whole() {
        let flows = flows();
        let mut map = ByFlow::default();
        for (number, flow) in flows.iter().enumerate() {
            assert_eq!(map.insert(*flow, number), None);
        }
        assert_eq!((map.len(), map.iter().count()), (flows.len(), flows.len()));
        let back: HashSet<Flow> = map.iter().map(|(flow, _)| flow).collect();
        assert_eq!(back, flows.iter().copied().collect());
        for (number, flow) in flows.iter().enumerate() {
            assert_eq!(map.get(flow), Some(&number));
            *map.get_mut(flow).unwrap() += 100;
            assert_eq!(map.insert(*flow, number + 200), Some(number + 100));
            assert_eq!(map.remove(flow), Some(number + 200));
            assert_eq!(map.get(flow), None);
            assert_eq!(map.remove(flow), None);
        }
        assert!(map.is_empty());
    }
}
