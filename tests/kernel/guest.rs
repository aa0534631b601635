//! The first process of a virtual machine, which `cargo xtask vm` boots with these tests as its init.
//!
//! It runs one program or several, hands on what they say over the second serial port, a line at a time, and switches the machine off.
//! If it panics, so does the kernel, which `cargo xtask vm` takes for the crash it is; its words are on the console.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    os::fd::AsRawFd,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    libc,
    mount::{MsFlags, mount},
    sys::{
        signal::{Signal, kill},
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};
use serde::Deserialize;

/// What is to be done here. No other machine has this file.
const PLAN: &str = "/tcpwait-guest.json";

/// How often this process says that the machine lives. `cargo xtask vm` counts these: it is how it knows the time here.
const HEARTBEAT: Duration = Duration::from_secs(5);

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// For what the program says. The console of an Arm machine is a port of another kind.
const OUTPUT: &str = if cfg!(target_arch = "x86_64") { "/dev/ttyS1" } else { "/dev/ttyS0" };

/// For what is in `/out` at the end.
const BULK: &str = if cfg!(target_arch = "x86_64") { "/dev/ttyS2" } else { "/dev/ttyS1" };

#[derive(Deserialize)]
struct Plan {
    /// Each with its arguments, to be run one after the other.
    programs: Vec<Vec<String>>,
    environment: HashMap<String, String>,
    modules: Vec<String>,
}

/// Whether this is the first process of a virtual machine of ours, and not of a container, say.
pub fn is_this() -> bool {
    std::process::id() == 1 && Path::new(PLAN).exists()
}

/// Whether these tests run in one.
pub fn is_where_we_are() -> bool {
    std::env::var_os("TCPWAIT_TIME").is_some()
}

/// What is tried of cases that no kernel tells apart: how the tool ends, say. A start takes a guest ten seconds, so one is tried there.
pub fn some_of<T>(cases: &[T]) -> &[T] {
    if is_where_we_are() { cases.split_at(1).0 } else { cases }
}

/// Whether time here is what the machine has executed, so that waiting costs nothing: `cargo xtask vm` says so.
pub fn time_is_warped() -> bool {
    std::env::var_os("TCPWAIT_TIME").is_some_and(|time| time == "warp")
}

/// How many tests run at a time on an emulated CPU, which is slow: those that run leave each other more of it. Where time is
/// warped, waiting costs nothing. `None`: this is no guest.
pub fn tests_at_once() -> Option<usize> {
    std::env::var_os("TCPWAIT_TIME").map(|_| if time_is_warped() { 8 } else { 16 })
}

/// How many connections a test makes that wants many: an emulated CPU takes some hundred times as long for each.
pub fn many(connections: u32) -> u32 {
    if time_is_warped() { connections / 4 } else { connections }
}

/// All that such a process does.
pub fn live() -> ! {
    mount_all();
    fs::write("/proc/sys/kernel/hostname", "guest").unwrap();
    let plan: Plan = serde_json::from_slice(&fs::read(PLAN).unwrap()).unwrap();
    for module in &plan.modules {
        run("insmod", &[module]);
    }
    run("ifconfig", &["lo", "up"]);
    run("stty", &["-F", OUTPUT, "raw", "-echo"]);
    run("stty", &["-F", BULK, "raw", "-echo"]);
    let port = Arc::new(Mutex::new(OpenOptions::new().write(true).open(OUTPUT).unwrap()));
    let beats = port.clone();
    thread::spawn(move || {
        loop {
            thread::sleep(HEARTBEAT);
            beats.lock().unwrap().write_all(b"=alive\n").unwrap();
        }
    });

    // The first that does not end well decides.
    let mut code = 0;
    for program in &plan.programs {
        let ended = perform(program, &plan, &port);
        code = if code == 0 { ended } else { code };
    }
    if fs::read_dir("/out").unwrap().next().is_some() {
        run("tar", &["-c", "-C", "/out", "-f", BULK, "."]);
        drain(&OpenOptions::new().write(true).open(BULK).unwrap());
    }
    let mut port = port.lock().unwrap();
    port.write_all(format!("=end {code}\n").as_bytes()).unwrap();
    drain(&port);
    switch_off();
    panic!("this is not QEMU");
}

/// Runs a program and returns its exit code, as a shell would.
fn perform(program: &[String], plan: &Plan, port: &Arc<Mutex<File>>) -> i32 {
    let (program, arguments) = program.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", PATH).env("HOME", "/root").envs(&plan.environment).current_dir("/root");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => {
            port.lock().unwrap().write_all(format!("2cannot run {program}: {e}\n").as_bytes()).unwrap();
            return 127;
        }
    };
    let readers = [
        hand_on(b'1', child.stdout.take().unwrap(), port.clone()),
        hand_on(b'2', child.stderr.take().unwrap(), port.clone()),
    ];
    let program = Pid::from_raw(child.id().try_into().unwrap());
    let code = loop {
        // Whoever loses its parent becomes a child of this process.
        match waitpid(None, None).unwrap() {
            WaitStatus::Exited(pid, code) if pid == program => break code,
            WaitStatus::Signaled(pid, signal, _) if pid == program => break 128 + signal as i32,
            _ => {}
        }
    };
    // What it left behind may still hold its stdout.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    for reader in readers {
        reader.join().unwrap();
    }
    code
}

fn hand_on(kind: u8, from: impl Read + Send + 'static, port: Arc<Mutex<File>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = vec![kind];
        while from.read_until(b'\n', &mut line).unwrap() > 0 {
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            port.lock().unwrap().write_all(&line).unwrap();
            line.truncate(1);
        }
    })
}

fn mount_all() {
    // /tmp and the rest are in memory anyway, and programs of ours may be in /tmp.
    let mounts = [
        ("devtmpfs", "/dev"),
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("cgroup2", "/sys/fs/cgroup"),
        ("bpf", "/sys/fs/bpf"),
        ("debugfs", "/sys/kernel/debug"),
        ("tracefs", "/sys/kernel/tracing"),
        // Terminals.
        ("devpts", "/dev/pts"),
    ];
    for (kind, place) in mounts {
        // devtmpfs has no folder for it.
        let _ = std::fs::create_dir(place);
        mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)
            .unwrap_or_else(|e| panic!("mount {kind} at {place}: {e}"));
    }
}

/// Runs a small tool. One that fails has said why on the console: what it was for will be missed where it is needed.
fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(Path::new("/bin").join(program)).args(arguments).status();
    if !status.as_ref().is_ok_and(|status| status.success()) {
        eprintln!("{program} {}: {status:?}", arguments.join(" "));
    }
}

/// Waits until all has been sent.
fn drain(port: &File) {
    // SAFETY: a system call on an open descriptor, without any state in this process.
    let drained = unsafe { libc::tcdrain(port.as_raw_fd()) };
    assert_eq!(drained, 0, "{}", std::io::Error::last_os_error());
}

/// Writes to the port that ends QEMU. What is written decides its exit code.
#[cfg(target_arch = "x86_64")]
fn switch_off() {
    const PORT: u16 = 0xf4;
    const ENDED: u8 = 0x10;
    // SAFETY: the first process of a virtual machine may use its ports; nobody else needs this one.
    unsafe {
        assert_eq!(libc::iopl(3), 0, "{}", std::io::Error::last_os_error());
        std::arch::asm!("out dx, al", in("dx") PORT, in("al") ENDED, options(nomem, nostack, preserves_flags));
    }
}

/// The instruction by which an Arm program calls its debugger, which QEMU is here: SYS_EXIT_EXTENDED, with QEMU's exit code.
/// A machine that crashes, or is switched off in any other way, ends QEMU with 0.
#[cfg(target_arch = "aarch64")]
fn switch_off() {
    const EXIT_EXTENDED: u64 = 0x20;
    const APPLICATION_EXIT: u64 = 0x20026;
    // As on x86, where it is made of what is written to the port.
    const ENDED: u64 = 33;
    let reason = [APPLICATION_EXIT, ENDED];
    // SAFETY: QEMU reads the two words, and does not return; elsewhere the instruction is undefined and ends this process.
    unsafe {
        std::arch::asm!("hlt #0xf000", in("x0") EXIT_EXTENDED, in("x1") reason.as_ptr(), options(nostack, readonly));
    }
}
