//! Reads the settings that decide which local ports connect() may take, one network namespace after the other: `/proc/sys/net` is
//! that of whoever opens it. What they mean for a port is decided elsewhere.

use std::{fs, io};

use super::netns::{self, Netns};
use crate::aggregate::ports::settings::{Settings, parse_ports, parse_range};

/// Reads the settings of the network namespaces with these inode numbers; those that are not there, or may not be entered, are
/// left out.
pub fn read(wanted: &[u32]) -> Vec<(u32, Settings)> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let there = netns::all();
    there.iter().filter(|ns| wanted.contains(&ns.inode)).filter_map(|ns| Some((ns.inode, read_one(ns).ok()?))).collect()
}

fn read_one(ns: &Netns) -> io::Result<Settings> {
    netns::inside(ns, || {
        let sysctl = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok();
        fn number<T: std::str::FromStr>(text: Option<String>) -> Option<T> {
            text?.trim().parse().ok()
        }
        Settings {
            range: sysctl("ip_local_port_range").as_deref().and_then(parse_range),
            reserved: sysctl("ip_local_reserved_ports").as_deref().map(parse_ports).unwrap_or_default(),
            tw_reuse: number(sysctl("tcp_tw_reuse")),
            tw_reuse_delay_ms: number(sysctl("tcp_tw_reuse_delay")),
            timestamps: number(sysctl("tcp_timestamps")),
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn this_namespace_can_be_read() {
        let own = netns::resolve("/proc/self/ns/net").unwrap();
        let read = read(&[own]);
        assert_eq!(read.len(), 1);
        assert!(read.iter().all(|(inode, settings)| *inode == own && settings.size() > Some(0)), "{read:?}");
        assert!(read.iter().all(|(_, settings)| settings.tw_reuse.is_some()), "{read:?}");
    }
}
