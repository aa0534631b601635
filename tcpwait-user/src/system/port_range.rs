//! Reads the settings that decide which local ports connect() may take, one network namespace after the other: `/proc/sys/net` is
//! that of whoever opens it. What they mean for a port is decided elsewhere.

use std::{fs, io};

use super::netns::{self, Netns};
use crate::{
    aggregate::ports::settings::{PortSettings, parse_ports, parse_range},
    tcp::NetnsId,
};

/// Reads the settings of these network namespaces; those that are not there, or may not be entered, are left out.
pub fn read(wanted: &[NetnsId]) -> Vec<(NetnsId, PortSettings)> {
    if wanted.is_empty() { Vec::new() } else { read_of(&netns::all(), wanted) }
}

/// The same, of those that are known to be there.
pub fn read_of(there: &[Netns], wanted: &[NetnsId]) -> Vec<(NetnsId, PortSettings)> {
    let is_wanted = |ns: &&Netns| wanted.iter().any(|wanted| wanted.inode() == ns.inode);
    let read = there.iter().filter(is_wanted).filter_map(|ns| read_one(ns).ok());
    // A recording's, or that of a kernel without cookies, is known by its number alone.
    read.filter_map(|(id, settings)| {
        let is_it = |wanted: &&NetnsId| **wanted == id || **wanted == NetnsId::new(id.inode(), 0);
        wanted.iter().find(is_it).map(|wanted| (*wanted, settings))
    })
    .collect()
}

fn read_one(ns: &Netns) -> io::Result<(NetnsId, PortSettings)> {
    netns::inside(ns, || {
        let sysctl = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok();
        fn number<T: std::str::FromStr>(text: Option<String>) -> Option<T> {
            text?.trim().parse().ok()
        }
        let settings = PortSettings {
            range: sysctl("ip_local_port_range").as_deref().and_then(parse_range),
            reserved: sysctl("ip_local_reserved_ports").as_deref().map(parse_ports).unwrap_or_default(),
            tw_reuse: number(sysctl("tcp_tw_reuse")),
            tw_reuse_delay_ms: number(sysctl("tcp_tw_reuse_delay")),
            timestamps: number(sysctl("tcp_timestamps")),
        };
        (netns::here(ns.inode).id(), settings)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn this_namespace_can_be_read() {
        let own = netns::here(netns::resolve("/proc/self/ns/net").unwrap()).id();
        let read = read(&[own]);
        assert_eq!(read.len(), 1);
        assert!(read.iter().all(|(netns, settings)| *netns == own && settings.size() > Some(0)), "{read:?}");
        assert!(read.iter().all(|(_, settings)| settings.tw_reuse.is_some()), "{read:?}");
    }
}
