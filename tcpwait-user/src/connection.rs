//! The name of a connection: short, for maps that hold a million of them. Knows nothing of what happens to it.

use std::net::IpAddr;

use crate::tcp::Flow;

/// A connection's name: the socket cookie, the local port and a digest of the rest. One socket may be connected again while its
/// former connection is in TIME_WAIT, so the cookie is not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    id: u64,
    /// Of the remote end and the namespace.
    digest: u32,
    lport: u16,
}

impl Name {
    /// The connection of the socket with this cookie and these addresses.
    pub fn of(id: u64, flow: &Flow) -> Self {
        Self { id, digest: digest(flow), lport: flow.lport }
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
    let rest = u64::from(flow.netns) << 16 | u64::from(flow.rport);
    let folded = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let address = folded(address as u64 ^ KEYS.0, (address >> 64) as u64 ^ KEYS.1);
    folded(address ^ KEYS.1, rest ^ KEYS.0) as u32
}
