//! Users who are not root but have the capabilities that docs/needs.md names: what goes with them, what without one, and what the exporter keeps.

use std::{fs, net::Shutdown, os::unix::process::CommandExt as _, process::Command};

use caps::{CapSet, Capability, CapsHashSet};
use nix::{
    sys::prctl,
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

use socket2::Socket;

use crate::{
    V4,
    actor::Cast,
    netns,
    tracer::{SOON, Seen, Tracer, at_home, here},
    traffic::{self, in_time, until},
};

const NEEDED: [Capability; 3] = [Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_SYSLOG];
const MORE: [Capability; 4] =
    [Capability::CAP_SYS_ADMIN, Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH, Capability::CAP_NET_ADMIN];

/// What the tracing process of the exporter may keep.
const KEPT: [Capability; 4] =
    [Capability::CAP_SYS_ADMIN, Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH, Capability::CAP_BPF];

/// The user "nobody" with these capabilities; the command goes where `command` goes.
fn nobody(mut command: Command, with: &[Capability]) -> Command {
    let with: CapsHashSet = with.iter().copied().collect();
    let become_nobody = move || {
        let refused = |_| std::io::Error::other("a capability that cannot be set");
        prctl::set_keepcaps(true)?;
        setgroups(&[])?;
        setresgid(Gid::from_raw(65_534), Gid::from_raw(65_534), Gid::from_raw(65_534))?;
        setresuid(Uid::from_raw(65_534), Uid::from_raw(65_534), Uid::from_raw(65_534))?;
        for set in [CapSet::Effective, CapSet::Inheritable] {
            caps::set(None, set, &with).map_err(refused)?;
        }
        caps::set(None, CapSet::Ambient, &with).map_err(refused)?;
        Ok(())
    };
    // SAFETY: system calls, and some small memory, between fork and exec of a process whose other threads hold no lock that these take: the allocator
    // of the C library may be used there (glibc's fork resets it).
    unsafe { command.pre_exec(become_nobody) };
    command
}

/// A copy of the program where everybody finds it.
fn program() -> (tempfile::TempDir, std::path::PathBuf) {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("tcpwait");
    fs::copy(env!("CARGO_BIN_EXE_tcpwait"), &program).unwrap();
    for path in [folder.path(), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    (folder, program)
}

/// With all of them, it sees what root sees: other users' sockets from before, in other namespaces.
pub fn all() {
    let mut server = Cast::named("older-server").start();
    let address = server.does(&format!("listen {V4}:0")).parse().unwrap();
    let mut clients: Vec<Socket> = Vec::new();
    for _ in 0..200 {
        clients.push(traffic::connect(address));
        server.does("accept-and-hold");
    }
    let (_folder, program) = program();
    let netns = netns::inode().to_string();
    let with: Vec<Capability> = NEEDED.into_iter().chain(MORE).collect();
    let tracer = Tracer::spawn(nobody(at_home(here(&program, ["trace", "--json", "--netns", &netns])), &with));
    tracer.wait_until_tracing();
    let seen = Seen::through(tracer);
    // They are listed while tracing goes on already.
    in_time("an owner that only /proc knows", SOON, || {
        let client = clients.pop().expect("sock_diag is read by now");
        client.shutdown(Shutdown::Write).unwrap();
        let line = seen.wait_for_step((address, traffic::address(&client)), "ESTABLISHED>CLOSE_WAIT", SOON);
        line.predates && line.pid == Some(server.pid())
    });
    let tracer = seen.into_tracer();
    assert!(!tracer.said().contains("without CAP_"), "{}", tracer.said());
    assert_eq!(tracer.stop().code, Some(0));
}

/// With the three alone it traces, and says what it does not see.
pub fn the_needed_three() {
    let (_folder, program) = program();
    let tracer = Tracer::spawn(nobody(here(&program, ["trace", "--json"]), &NEEDED));
    tracer.wait_until_tracing();
    let seen = Seen::through(tracer);
    let pair = traffic::Pair::on(V4);
    let ends = pair.ends();
    drop(pair.close_client_first());
    let line = seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
    assert_eq!((line.pid, line.predates), (Some(std::process::id()), false), "{line:?}");
    let tracer = seen.into_tracer();
    for capability in MORE {
        assert!(tracer.said().contains(&format!("without {capability}, ")), "{capability}: {}", tracer.said());
    }
    assert_eq!(tracer.stop().code, Some(0));
}

/// Without one of the three it ends at once, and names it; but for CAP_SYSLOG where the kernel shows its addresses to all.
pub fn one_is_missing() {
    let (_folder, program) = program();
    for missing in NEEDED {
        let with: Vec<Capability> = NEEDED.into_iter().filter(|capability| *capability != missing).collect();
        let ended = Tracer::spawn(nobody(here(&program, ["trace", "--duration", "0.01"]), &with)).end(SOON);
        let is_named = ended.stderr.contains(&missing.to_string()) && ended.code == Some(1);
        let is_open = missing == Capability::CAP_SYSLOG && ended.code == Some(0);
        assert!(is_named || is_open, "without {missing}: {ended:?}");
    }
}

/// The exporter's tracing process keeps what it takes to look at older sockets and new namespaces, in each of its threads; and can still do that.
pub fn of_the_exporter() {
    let netns = netns::inode().to_string();
    for user in ["root", "nobody"] {
        let (_folder, program) = program();
        let command = at_home(here(&program, ["export", "--listen", "127.0.0.1:0", "--netns", &netns]));
        let with: Vec<Capability> = NEEDED.into_iter().chain(MORE).collect();
        let command = if user == "root" { command } else { nobody(command, &with) };
        let tracer = Tracer::spawn(command);
        tracer.wait_until_it_says("Serving metrics on http://");
        let may_keep = KEPT.iter().fold(0, |all, capability| all | capability.bitmask());
        // It says so, and gives up its rights then.
        until("it has given up its rights", SOON, || {
            let tasks = fs::read_dir(format!("/proc/{}/task", tracer.pid())).unwrap();
            let statuses = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
            statuses.into_iter().all(|status| has_at_most(&status, may_keep))
        });
        let status = fs::read_to_string(format!("/proc/{}/status", tracer.pid())).unwrap();
        assert!(status.lines().any(|line| line.replace('\t', "") == "NoNewPrivs:1"), "{status}");
        assert_eq!(tracer.stop().code, Some(0));
    }
}

/// Whether what `/proc/PID/status` shows of a thread's capabilities is among these, bit for bit.
fn has_at_most(status: &str, may: u64) -> bool {
    ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"].into_iter().all(|set| {
        let line = status.lines().find_map(|line| line.strip_prefix(set)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap() & !may == 0
    })
}
