//! The settings that decide which local ports connect() may take, as one network namespace has them now, and what follows from
//! them for a port. Knows no socket and reads no file.

use std::{net::IpAddr, ops::RangeInclusive};

/// How old a TIME_WAIT must be before connect() may take it, up to 6.13: `tcp_twsk_unique` compares whole seconds, so it is more than
/// one second and at most two.
const WHOLE_SECONDS_NS: (u64, u64) = (1_000_000_000, 2_000_000_000);

/// The settings of one network namespace. `None` is what could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSettings {
    /// `net.ipv4.ip_local_port_range`, which is IPv6's too.
    pub range: Option<RangeInclusive<u16>>,
    /// `net.ipv4.ip_local_reserved_ports`: those that connect() and bind() to port 0 pass over.
    pub reserved: Vec<RangeInclusive<u16>>,
    /// `net.ipv4.tcp_tw_reuse`: 0 off, 1 on, 2 where an end is loopback.
    pub tw_reuse: Option<u8>,
    /// `net.ipv4.tcp_tw_reuse_delay` in milliseconds; `None` before 6.14, which has none.
    pub tw_reuse_delay_ms: Option<u32>,
    /// `net.ipv4.tcp_timestamps`: 0 off.
    pub timestamps: Option<u8>,
}

impl PortSettings {
    /// Takes over a setting, if it is one of these: its name as sysctl(8) has it, and what `/proc/sys` says.
    pub fn set(&mut self, name: &str, value: &str) {
        match name {
            "net.ipv4.ip_local_port_range" => self.range = parse_range(value),
            "net.ipv4.ip_local_reserved_ports" => self.reserved = parse_ports(value),
            "net.ipv4.tcp_tw_reuse" => self.tw_reuse = value.trim().parse().ok(),
            "net.ipv4.tcp_tw_reuse_delay" => self.tw_reuse_delay_ms = value.trim().parse().ok(),
            "net.ipv4.tcp_timestamps" => self.timestamps = value.trim().parse().ok(),
            _ => {}
        }
    }

    /// How many ports connect() may take: the range less what is reserved in it.
    pub fn size(&self) -> Option<u64> {
        Some(self.range.as_ref()?.len() as u64 - self.reserved_in_range()?)
    }

    /// How many ports connect() may take, less those that it passes over since they are a server's or bind() gave them to a socket
    /// (`__inet_hash_connect`: the bind bucket's `fastreuse` or `fastreuseport` is not negative, 5.15 to 7.3). Each port must come once.
    pub fn available(&self, closed: impl IntoIterator<Item = u16>) -> Option<u64> {
        let closed = closed.into_iter().filter(|port| self.has(*port) == Some(true)).count() as u64;
        Some(self.size()?.saturating_sub(closed))
    }

    /// How many ports of the range are reserved. That is asked for each destination of each report: it goes over what is reserved, not over the ports.
    pub fn reserved_in_range(&self) -> Option<u64> {
        let range = self.range.as_ref()?;
        let mut reserved: Vec<&RangeInclusive<u16>> = self.reserved.iter().collect();
        // The kernel prints them in order, and none twice.
        reserved.sort_unstable_by_key(|reserved| *reserved.start());
        let (mut next, mut count) = (u64::from(*range.start()), 0);
        for part in reserved {
            let (low, high) = (u64::from(*part.start()).max(next), u64::from((*part.end()).min(*range.end())));
            if low <= high {
                count += high + 1 - low;
                next = high + 1;
            }
        }
        Some(count)
    }

    /// Whether connect() takes this port by itself.
    pub fn has(&self, port: u16) -> Option<bool> {
        Some(self.range.as_ref()?.contains(&port) && !self.is_reserved(port))
    }

    fn is_reserved(&self, port: u16) -> bool {
        self.reserved.iter().any(|reserved| reserved.contains(&port))
    }

    /// Whether `tcp_tw_reuse` lets connect() take a TIME_WAIT between these addresses, timestamps and age permitting
    /// (`tcp_twsk_unique`). A socket bound to the interface `lo` counts as loopback there too; whether one is, is not known here.
    pub fn reuses(&self, laddr: IpAddr, raddr: IpAddr) -> Option<bool> {
        self.tw_reuse.map(|mode| match mode {
            0 => false,
            2 => laddr.is_loopback() || raddr.is_loopback(),
            _ => true,
        })
    }

    /// The age in nanoseconds at which a TIME_WAIT may be taken: certainly not below the first, certainly above the second.
    pub fn reuse_age_ns(&self) -> (u64, u64) {
        self.tw_reuse_delay_ms.map_or(WHOLE_SECONDS_NS, |ms| (u64::from(ms) * 1_000_000, u64::from(ms) * 1_000_000))
    }
}

/// Two numbers, as `32768` and `60999`, with a blank between them: `ip_local_port_range`.
pub fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ends = text.split_whitespace().map(str::parse);
    let (low, high) = (ends.next()?.ok()?, ends.next()?.ok()?);
    (low <= high).then_some(low..=high)
}

/// `8080,9000-9010`, as `proc_do_large_bitmap` prints it; empty for none: `ip_local_reserved_ports`.
pub fn parse_ports(text: &str) -> Vec<RangeInclusive<u16>> {
    text.trim()
        .split(',')
        .filter_map(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            Some(low.parse().ok()?..=high.parse().ok()?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::{PortSettings, parse_ports, parse_range};

    fn settings() -> PortSettings {
        PortSettings {
            range: Some(32768..=32787),
            reserved: vec![32770..=32772, 8080..=8080, 32787..=40000],
            tw_reuse: Some(2),
            ..PortSettings::default()
        }
    }

    #[test]
    fn the_range_is_less_what_is_reserved_in_it() {
        assert_eq!(settings().size(), Some(16));
        let has = |port| settings().has(port);
        assert_eq!(
            (has(32768), has(32770), has(32787), has(8080)),
            (Some(true), Some(false), Some(false), Some(false))
        );
        assert_eq!((PortSettings::default().size(), PortSettings::default().has(1)), (None, None));
        assert_eq!(
            (settings().available([32768, 32770, 8080]), PortSettings::default().available([1])),
            (Some(15), None)
        );
        // Both ends of what there is.
        let all = PortSettings { range: Some(1..=65535), ..PortSettings::default() };
        assert_eq!(all.size(), Some(65535));
        let none = PortSettings { reserved: vec![0..=65535], ..all };
        assert_eq!((none.size(), none.reserved_in_range()), (Some(0), Some(65535)));
    }

    #[test]
    fn what_is_reserved_is_counted_as_if_each_port_were_asked() {
        let range = 32768..=32787;
        for reserved in [
            vec![],
            vec![32787..=32787],
            vec![32768..=32768, 32770..=32770],
            vec![1..=32767, 32788..=65535],
            vec![0..=40000],
            // Not as the kernel has them.
            vec![32775..=32780, 32770..=32776, 32771..=32772],
            vec![std::ops::RangeInclusive::new(32780, 32770)],
        ] {
            let settings = PortSettings { range: Some(range.clone()), reserved, ..PortSettings::default() };
            let each = range.clone().filter(|port| settings.has(*port) == Some(false)).count() as u64;
            assert_eq!(settings.reserved_in_range(), Some(each), "{:?}", settings.reserved);
        }
    }

    #[test]
    fn reuse_follows_the_mode_and_the_addresses() {
        let reuses = |mode, laddr: &str, raddr: &str| {
            PortSettings { tw_reuse: mode, ..settings() }.reuses(laddr.parse().unwrap(), raddr.parse().unwrap())
        };
        assert_eq!(reuses(Some(2), "127.0.0.1", "127.0.0.9"), Some(true));
        assert_eq!(reuses(Some(2), "::1", "::1"), Some(true));
        assert_eq!(reuses(Some(2), "10.0.0.1", "10.0.0.2"), Some(false));
        assert_eq!(reuses(Some(1), "10.0.0.1", "10.0.0.2"), Some(true));
        assert_eq!(reuses(Some(0), "127.0.0.1", "127.0.0.1"), Some(false));
        assert_eq!(reuses(None, "127.0.0.1", "127.0.0.1"), None);
        assert_eq!(settings().reuse_age_ns(), (1_000_000_000, 2_000_000_000));
        let delay = PortSettings { tw_reuse_delay_ms: Some(250), ..settings() };
        assert_eq!(delay.reuse_age_ns(), (250_000_000, 250_000_000));
    }

    #[test]
    fn what_the_kernel_prints_is_understood() {
        assert_eq!(parse_range("32768\t60999\n"), Some(32768..=60999));
        for odd in ["", "1", "5 4", "a b", "1 70000"] {
            assert_eq!(parse_range(odd), None, "{odd}");
        }
        assert_eq!(parse_ports("\n"), []);
        assert_eq!(parse_ports("8080,9000-9010\n"), [8080..=8080, 9000..=9010]);
    }
}
