//! Names for numbers that a record carries: cgroup paths by id, interfaces. Filled from the records themselves.

use std::{borrow::Cow, net::IpAddr};

use hashbrown::HashMap;

use crate::tcp::Interface;

/// What is known of names.
#[derive(Debug, Default)]
pub struct Names {
    cgroups: HashMap<u64, String>,
    interfaces: HashMap<Interface, String>,
}

impl Names {
    /// Remembers a cgroup's path.
    pub fn learn_cgroup(&mut self, id: u64, path: &str) {
        self.cgroups.insert(id, path.to_owned());
    }

    /// Remembers an interface's name.
    pub fn learn_interface(&mut self, interface: Interface, name: &str) {
        self.interfaces.insert(interface, name.to_owned());
    }

    /// An interface's name; `if7` where only its number is known, as ip(8) has it.
    pub fn interface(&self, interface: Interface) -> Cow<'_, str> {
        match self.interfaces.get(&interface) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("if{}", interface.index)),
        }
    }

    /// An address and the interface that its socket is bound to, as ss(8) has them: `10.0.0.1`, `fe80::1%eth0`.
    pub fn address(&self, address: IpAddr, interface: Option<Interface>) -> String {
        match interface {
            Some(interface) => format!("{address}%{}", self.interface(interface)),
            None => address.to_string(),
        }
    }

    /// The same with a port: `10.0.0.1:80`, `[fe80::1]%eth0:80`.
    pub fn endpoint(&self, address: IpAddr, port: u16, interface: Option<Interface>) -> String {
        match (address, interface) {
            (IpAddr::V6(address), Some(interface)) => format!("[{address}]%{}:{port}", self.interface(interface)),
            (IpAddr::V4(address), Some(interface)) => format!("{address}%{}:{port}", self.interface(interface)),
            (address, None) => std::net::SocketAddr::new(address, port).to_string(),
        }
    }

    /// Path of a cgroup below the cgroup-v2 mount.
    pub fn cgroup(&self, id: u64) -> Option<&str> {
        self.cgroups.get(&id).map(String::as_str)
    }
}
