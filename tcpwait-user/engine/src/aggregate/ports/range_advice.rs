//! Whether `ip_local_port_range` may be wider, to what, and at what risk: the same for `ports` and `doctor`.

/// Below are most ports that services listen on.
const WIDE: (u16, u16) = (10_240, 65_535);

/// What is wrong with it.
pub const RISK: &str =
    "connect() may take a service's port before the service starts: put such ports into ip_local_reserved_ports";

/// How many ports the wider range has; `None` where this one is about as wide.
pub fn widest(low: u16, high: u16) -> Option<u64> {
    let ports = |low: u16, high: u16| u64::from(high.saturating_sub(low)) + 1;
    let widest = ports(WIDE.0, WIDE.1);
    // A little more would not be worth the risk.
    (ports(low, high) * 10 < widest * 9).then_some(widest)
}

/// The change in words.
pub fn change(low: u16, high: u16, widest: u64) -> String {
    let (from, to) = WIDE;
    format!("set net.ipv4.ip_local_port_range to \"{from} {to}\" (now \"{low} {high}\"): {widest} ports")
}

#[cfg(test)]
mod tests {
    use super::{change, widest};

    #[test]
    fn a_range_that_is_wide_stays() {
        assert_eq!(widest(32_768, 60_999), Some(55_296));
        assert_eq!([widest(10_240, 65_535), widest(1_024, 65_535), widest(11_000, 65_535)], [None; 3]);
        assert!(change(32_768, 60_999, 55_296).contains("\"10240 65535\" (now \"32768 60999\"): 55296 ports"));
    }
}
