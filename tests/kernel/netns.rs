//! Network namespaces: every test is a thread in one of its own, which dies with the thread.
//!
//! They exist before the first test starts, so that one tracer can be told of all of them. A test's thread has its file
//! descriptors for itself as well.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::{
        fd::AsRawFd,
        unix::{fs::MetadataExt, process::CommandExt},
    },
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    sync::{Mutex, OnceLock, PoisonError, mpsc},
    thread,
};

use libtest_mimic::{Failed, Trial};
use nix::{
    libc,
    sched::{CloneFlags, unshare},
};

use crate::{
    actor::Cast,
    turns::{self, Share},
};

static HOME: OnceLock<File> = OnceLock::new();
static WAITING: Mutex<Vec<mpsc::Sender<()>>> = Mutex::new(Vec::new());
static WATCHED: Mutex<Vec<(&str, Option<u32>)>> = Mutex::new(Vec::new());

/// A test in a namespace of its own that the shared tracer watches.
pub fn watched(name: &'static str, story: fn()) -> Trial {
    let (trial, inode) = place(name, Share::Core, story);
    WATCHED.lock().unwrap().push((name, inode));
    trial
}

/// A test in a namespace of its own that starts tracers of its own.
pub fn isolated(name: &'static str, story: fn()) -> Trial {
    place(name, Share::Core, story).0
}

/// The same for one that takes all of the machine for a while.
pub fn demanding(name: &'static str, story: fn()) -> Trial {
    place(name, Share::Machine, story).0
}

fn place(name: &'static str, share: Share, story: fn()) -> (Trial, Option<u32>) {
    let mut waiting = WAITING.lock().unwrap();
    // Its turn comes in the order in which the tests are listed.
    let number = waiting.len();
    let (go, wait) = mpsc::channel::<()>();
    let (ready, created) = mpsc::channel();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Else whatever another test starts would have a copy of each socket here for a moment, and might be the one
        // that closes it.
        unshare(CloneFlags::CLONE_FILES).unwrap();
        let place = enter_new();
        // lsns and the like look at processes, not at their threads: somebody has to live here.
        let _resident = place.map(|_| Cast::named("resident").start());
        ready.send(place).unwrap();
        wait.recv().unwrap();
        let _turn = turns::take(number, share);
        catch_unwind(AssertUnwindSafe(story)).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        })
    });
    let thread = thread.unwrap();
    // A test that is filtered out waits to the end: a namespace that the shared tracer is told of has to exist.
    waiting.push(go.clone());
    let inode = created.recv().ok().flatten();
    let trial = Trial::test(name, move || {
        go.send(()).unwrap();
        thread.join().unwrap().map_err(Failed::from)
    });
    (trial, inode)
}

/// Every namespace that the shared tracer watches.
pub fn watched_ones() -> Vec<u32> {
    WATCHED.lock().unwrap().iter().filter_map(|(_, inode)| *inode).collect()
}

/// Whether the shared tracer watches this test.
pub fn is_watched(test: &str) -> bool {
    WATCHED.lock().unwrap().iter().any(|(name, _)| *name == test)
}

/// Moves this thread to a new namespace with loopback up. `None` without the right to.
pub fn enter_new() -> Option<u32> {
    unshare(CloneFlags::CLONE_NEWNET).ok()?;
    loopback_up();
    Some(inode())
}

/// The namespace of this thread.
pub fn inode() -> u32 {
    fs::metadata("/proc/thread-self/ns/net").unwrap().ino().try_into().unwrap()
}

/// Opens the namespace that the tests were started in.
pub fn remember_home() {
    HOME.set(File::open("/proc/self/ns/net").unwrap()).unwrap();
}

/// A descriptor of the namespace the tests were started in.
fn home() -> i32 {
    HOME.get().unwrap().as_raw_fd()
}

/// Does something in the namespace that the tests were started in.
pub fn at_home<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let home = home();
    let there = thread::spawn(move || {
        // SAFETY: setns is a system call without any state in this process but the thread's namespace.
        assert_eq!(unsafe { libc::setns(home, libc::CLONE_NEWNET) }, 0);
        what()
    });
    there.join().unwrap()
}

/// Has a program run in the namespace that the tests were started in.
pub fn runs_at_home(program: &mut Command) {
    let home = home();
    // SAFETY: setns is a system call without any state in this process.
    unsafe {
        program.pre_exec(move || {
            if libc::setns(home, libc::CLONE_NEWNET) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Sets a sysctl below `net` of this thread's namespace.
pub fn sysctl(name: &str, value: &str) {
    fs::write(format!("/proc/sys/net/{name}"), value).unwrap_or_else(|e| panic!("{name} = {value}: {e}"));
}

/// Does something while a sysctl below `net.ipv4` that is the whole machine's, and is seen in its first namespace only, has another value.
/// One at a time: what a second one found there would not be what to put back.
pub fn with_machines_sysctl(name: &str, value: &str, work: impl FnOnce()) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let set = |value: String| {
        let file = format!("/proc/sys/net/ipv4/{name}");
        at_home(move || {
            let before = fs::read_to_string(&file).unwrap();
            fs::write(&file, value).unwrap();
            before
        })
    };
    let before = set(value.to_owned());
    work();
    set(before);
}

/// A counter of this thread's namespace, as `nstat` calls it without the prefix `TcpExt`.
pub fn tcp_ext(name: &str) -> u64 {
    counter("netstat", "TcpExt:", name).unwrap_or_else(|| panic!("this kernel has no {name}"))
}

/// The same, where only some kernels count it.
pub fn tcp_ext_if_any(name: &str) -> Option<u64> {
    counter("netstat", "TcpExt:", name)
}

/// Segments that TCP has begun to deal with in this thread's namespace, of both address families.
pub fn segments_in() -> u64 {
    counter("snmp", "Tcp:", "InSegs").unwrap()
}

/// A counter of this thread's namespace, as `nstat` calls it without the prefix `Tcp`.
pub fn tcp(name: &str) -> u64 {
    counter("snmp", "Tcp:", name).unwrap_or_else(|| panic!("this kernel has no {name}"))
}

/// Mini-sockets in this thread's namespace.
pub fn time_waits() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/sockstat").unwrap();
    let tcp = text.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap();
    let mut words = tcp.split_whitespace().skip_while(|word| *word != "tw");
    words.nth(1).unwrap().parse().unwrap()
}

fn counter(file: &str, group: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
    let mut rows = text.lines().filter_map(|line| line.strip_prefix(group));
    let names = rows.next().unwrap().split_whitespace();
    let values = rows.next().unwrap().split_whitespace();
    let counters: HashMap<&str, &str> = names.zip(values).collect();
    Some(counters.get(name)?.parse().unwrap())
}

fn loopback_up() {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // SAFETY: ifreq is plain data, for which zeroes are a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request is a whole ifreq that lives until the call returns.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) };
    assert_eq!(done, 0, "lo up: {}", std::io::Error::last_os_error());
}
