//! Where the load runs: a network namespace that ends with the process, and a core for each thread.

use std::fs;
use std::io;
use std::sync::LazyLock;

use anyhow::{Context as _, Result};
use nix::libc;
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

/// More than any load leaves behind. Beyond the limit a connection skips TIME_WAIT (`TCPTimeWaitOverflow`), and would be cheaper.
const MOST_TIME_WAITS: &str = "4000000";

mod ioctl {
    nix::ioctl_write_ptr_bad!(set_interface_flags, nix::libc::SIOCSIFFLAGS, nix::libc::ifreq);
}

/// Enters a network namespace of its own, with loopback up.
pub fn enter() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace (needs root)")?;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).context("making a socket to set lo up with")?;
    // SAFETY: all zeros is a valid ifreq: no name, no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the descriptor is open and the pointer is to a whole ifreq.
    unsafe { ioctl::set_interface_flags(std::os::fd::AsRawFd::as_raw_fd(&socket), &request) }
        .context("setting lo up in the new network namespace")?;
    let limit = "/proc/sys/net/ipv4/tcp_max_tw_buckets";
    fs::write(limit, MOST_TIME_WAITS).with_context(|| format!("writing {MOST_TIME_WAITS} to {limit}"))
}

/// Keeps the calling thread, and those that it starts, on one core, counted from the last: the first has most of the machine's
/// interrupts.
pub fn keep_to_core(index: u16) -> Result<()> {
    let core = core(index);
    let mut set = CpuSet::new();
    set.set(core).with_context(|| format!("naming core {core}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("keeping to core {core}"))
}

/// The core of this index.
pub fn core(index: u16) -> usize {
    let cores = cores();
    cores.iter().rev().nth(usize::from(index) % cores.len().max(1)).copied().unwrap_or_default()
}

/// Those that this program was given: of the thread that asks first, which is kept to none yet.
pub fn cores() -> &'static [usize] {
    static CORES: LazyLock<Vec<usize>> = LazyLock::new(|| {
        let given = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        (0..CpuSet::count()).filter(|core| given.is_set(*core).unwrap_or_default()).collect()
    });
    &CORES
}

/// Sockets in TIME_WAIT in this namespace.
pub fn time_waits() -> io::Result<Option<u64>> {
    let text = fs::read_to_string("/proc/self/net/sockstat")?;
    let mut words = text.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default().split_whitespace();
    Ok(words.find(|word| *word == "tw").and_then(|_| words.next()).and_then(|count| count.parse().ok()))
}

/// A counter of this namespace, from /proc/net/snmp or a file laid out like it.
pub fn counter(file: &str, protocol: &str, name: &str) -> io::Result<Option<u64>> {
    let text = fs::read_to_string(format!("/proc/self/net/{file}"))?;
    let mut rows = text.lines().filter_map(|line| line.split_once(": ")).filter(|(row, _)| *row == protocol);
    let (names, values) = (rows.next().map(|(_, names)| names), rows.next().map(|(_, values)| values));
    let column = names.and_then(|names| names.split(' ').position(|column| column == name));
    Ok(column.zip(values).and_then(|(column, values)| values.split(' ').nth(column)?.parse().ok()))
}
