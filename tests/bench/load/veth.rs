//! Two network namespaces with a pair of devices between them, each of whose receive work is on the core of its side: without that the
//! sender's core would do it (`netif_rx` queues on the core that it is called on, unless receive packet steering says another).

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

/// The server's addresses begin here: a /16, each of which has all of the client's ports to itself.
pub const SERVED: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 0);

/// How long that may take. Whoever sends too soon sends again after a second.
const LINKING: Duration = Duration::from_millis(500);

/// A side: its device, and its own address on it.
#[derive(Clone, Copy)]
pub struct Device {
    name: &'static str,
    address: &'static str,
}

/// The side that serves.
pub const SERVER: Device = Device { name: "server", address: "10.65.0.1" };
/// The other.
pub const CLIENT: Device = Device { name: "client", address: "10.65.0.2" };

/// The path of the calling thread's namespace.
pub fn here() -> String {
    format!("/proc/{}/task/{}/ns/net", std::process::id(), gettid())
}

/// Makes both devices; this one stays in the calling thread's namespace, the other goes to that of the path.
pub fn join(mine: Device, other: Device, there: &str) -> Result<()> {
    ip(&["link", "add", mine.name, "type", "veth", "peer", "name", other.name])?;
    ip(&["link", "set", other.name, "netns", there])
}

/// Brings up the calling thread's device, and has this core receive what comes in on it.
pub fn bring_up(mine: Device, core: usize) -> Result<()> {
    steer(mine, core)?;
    // No IPv6, which would speak of itself; a kernel without it has no such file.
    let silent = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", mine.name);
    if Path::new(&silent).exists() {
        fs::write(&silent, "1").with_context(|| format!("writing 1 to {silent}"))?;
    }
    ip(&["address", "add", &format!("{}/24", mine.address), "dev", mine.name])?;
    ip(&["link", "set", mine.name, "up"])?;
    let served = format!("{SERVED}/16");
    match mine.name == SERVER.name {
        true => ip(&["route", "add", "local", &served, "dev", "lo"]),
        false => ip(&["route", "add", &served, "via", SERVER.address]),
    }
}

/// Once both devices are up: the kernel takes note of a link in its own time, and drops what is sent before.
pub fn linked(mine: Device) {
    let state = format!("/sys/class/net/{}/operstate", mine.name);
    let begin = Instant::now();
    while fs::read_to_string(&state).is_ok_and(|state| state.trim_end() != "up") && begin.elapsed() < LINKING {
        thread::sleep(Duration::from_millis(1));
    }
}

/// A sysfs shows the devices of the namespace in which it was mounted: it takes one of this thread's own.
fn steer(mine: Device, core: usize) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace (needs root)")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("making mounts private")?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).context("mounting the namespace's sysfs")?;
    let file = format!("/sys/class/net/{}/queues/rx-0/rps_cpus", mine.name);
    let cores = mask(core);
    fs::write(&file, &cores).with_context(|| format!("writing {cores} to {file} (needs a kernel with CONFIG_RPS)"))
}

/// A set of one core as the kernel reads it: hexadecimal words of 32 bits, the highest first.
fn mask(core: usize) -> String {
    format!("{:x}{}", 1_u32 << (core % 32), ",00000000".repeat(core / 32))
}

fn ip(arguments: &[impl AsRef<OsStr>]) -> Result<()> {
    let said = Command::new("ip").args(arguments).output().context("cannot run ip: install iproute2")?;
    if !said.status.success() {
        let arguments = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect::<Vec<_>>();
        bail!("`ip {}`: {}", arguments.join(" "), String::from_utf8_lossy(&said.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn a_core_as_a_mask() {
        assert_eq!([0, 1, 31, 32, 65].map(mask), ["1", "2", "80000000", "1,00000000", "2,00000000,00000000"]);
    }
}
