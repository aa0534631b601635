//! Connections within a machine: both of their ends are told of, and each is counted.

use std::net::IpAddr;

use hashbrown::HashSet;

use crate::tcp::Flow;

/// Connections that have ended and whose other end may be here, too.
const MAX_HALVES: usize = 65_536;

/// Which ends of connections have ended alone so far, and how many connections ended at both.
#[derive(Debug, Default)]
pub(super) struct BothEnds {
    halves: HashSet<[(IpAddr, u16); 2]>,
    count: u64,
}

impl BothEnds {
    /// An end is over, which stands for so many.
    pub(super) fn ended(&mut self, flow: &Flow, n: u64) {
        let (here, there) = ((flow.laddr, flow.lport), (flow.raddr, flow.rport));
        if self.halves.remove(&[there, here]) {
            self.count += n;
            return;
        }
        // One end follows the other at once: those that have waited for long are of other machines.
        if self.halves.len() >= MAX_HALVES {
            self.halves.clear();
        }
        self.halves.insert([here, there]);
    }

    /// Of how many both were over.
    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::tcp::NetnsId;

    #[test]
    fn both_ends_of_one_connection_are_found() {
        let flow = |lport, rport| Flow {
            netns: NetnsId::new(1, 1),
            bound_dev_if: 0,
            laddr: Ipv4Addr::LOCALHOST.into(),
            raddr: Ipv4Addr::LOCALHOST.into(),
            lport,
            rport,
        };
        let mut ends = BothEnds::default();
        [(80, 5000), (80, 5001), (5000, 80), (80, 5000)].into_iter().for_each(|(l, r)| ends.ended(&flow(l, r), 1));
        assert_eq!(ends.count(), 1, "the last is another connection, whose other end is not over");
    }
}
