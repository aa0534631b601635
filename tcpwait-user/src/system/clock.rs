//! The clocks that records are stamped by. The kernel side reads `CLOCK_MONOTONIC` as the kernel counts it (`bpf_ktime_get_ns`); in a time namespace
//! (time_namespaces(7)) a process gets another one, which is off by what was set for it. What user space writes must be of the same clock.

use std::{fs, sync::OnceLock};

use nix::time::{ClockId, clock_gettime};

const NS: i128 = 1_000_000_000;

/// Nanoseconds of `CLOCK_MONOTONIC`, as the kernel side has them.
pub fn monotonic_ns() -> u64 {
    static OFFSET_NS: OnceLock<i128> = OnceLock::new();
    let offset_ns = OFFSET_NS.get_or_init(own_offset_ns);
    u64::try_from(clock_ns(ClockId::CLOCK_MONOTONIC) - offset_ns).unwrap_or_default()
}

/// Nanoseconds of `CLOCK_REALTIME`, which is the same in every namespace.
pub fn realtime_ns() -> u64 {
    u64::try_from(clock_ns(ClockId::CLOCK_REALTIME)).unwrap_or_default()
}

fn clock_ns(clock: ClockId) -> i128 {
    clock_gettime(clock).map_or(0, |time| i128::from(time.tv_sec()) * NS + i128::from(time.tv_nsec()))
}

/// By how much this process's clock is ahead of the kernel's.
fn own_offset_ns() -> i128 {
    let namespace = |name| fs::read_link(format!("/proc/self/ns/{name}")).ok();
    // The file tells of the namespace that children get (`proc_timens_show_offsets`), which mostly is the process's own.
    if namespace("time") != namespace("time_for_children") {
        return 0;
    }
    parse(&fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default()).unwrap_or_default()
}

/// Lines as `monotonic      86400         0`: seconds, and nanoseconds that are never less than 0 (`show_offset` of kernel/time/namespace.c).
fn parse(offsets: &str) -> Option<i128> {
    let line = offsets
        .lines()
        .map(str::split_whitespace)
        .find_map(|mut words| (words.next()? == "monotonic").then_some(words));
    let numbers: Vec<i128> = line?.map_while(|word| word.parse().ok()).collect();
    match numbers.as_slice() {
        [seconds, ns] => seconds.checked_mul(NS)?.checked_add(*ns),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{monotonic_ns, parse};

    #[test]
    fn a_namespace_tells_its_offset() {
        let told = "monotonic       86400         0\nboottime            7         0\n";
        assert_eq!(parse(told), Some(86_400_000_000_000));
        assert_eq!(parse("boottime 0 0\nmonotonic -2 500000000\n"), Some(-1_500_000_000));
        for none in ["", "monotonic", "monotonic 1", "monotonic x 0", "boottime 1 1"] {
            assert_eq!(parse(none), None);
        }
    }

    #[test]
    fn it_goes_on() {
        let first = monotonic_ns();
        assert!(first > 0 && monotonic_ns() >= first);
    }
}
