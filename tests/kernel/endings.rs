//! It ends whenever it is told to, whoever reads what it writes, and leaves behind what it says it does.

use std::{
    fs,
    io::{PipeReader, Write},
    os::{fd::AsFd, unix::fs::PermissionsExt, unix::process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    V4,
    actor::Cast,
    guest, netns,
    tracer::{SOON, START, Tracer, command},
    traffic::{self, Pair, until},
};

/// A tcpwait whose standard output is a pipe that is full, and that nobody reads.
struct Unread {
    child: Child,
    _reader: PipeReader,
    place: tempfile::TempDir,
}

/// tcpwait as a terminal starts it: whoever started the tests may ignore SIGHUP, as nohup(1) does, and what is ignored stays so.
fn heeding(arguments: &[&str]) -> Command {
    let mut tcpwait = command(arguments);
    // SAFETY: signal() is a system call, and changes nothing of this process.
    unsafe {
        tcpwait.pre_exec(|| {
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
            Ok(())
        });
    }
    tcpwait
}

impl Unread {
    fn start(arguments: &[&str]) -> Self {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let flags = OFlag::from_bits_truncate(fcntl(writer.as_fd(), FcntlArg::F_GETFL).unwrap());
        fcntl(writer.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
        while writer.write(&[b'x'; 4096]).is_ok() {}
        fcntl(writer.as_fd(), FcntlArg::F_SETFL(flags)).unwrap();
        let place = tempfile::tempdir().unwrap();
        let said = fs::File::create(place.path().join("stderr")).unwrap();
        let child = heeding(arguments).stdout(writer).stderr(said).spawn().unwrap();
        Self { child, _reader: reader, place }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.place.path().join("stderr")).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    fn code(&mut self) -> Option<i32> {
        let mut code = None;
        until("it ends", SOON, || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Signals and the duration end it although nobody reads, and it says that lines were not written.
pub fn nobody_reads() {
    let netns = netns::inode().to_string();
    let traced = |verb: &'static [&'static str], signal| ([verb, &["--netns", &netns]].concat(), signal);
    let ends = [
        traced(&["trace"], Some(Signal::SIGINT)),
        traced(&["trace", "--json"], Some(Signal::SIGHUP)),
        traced(&["stat", "1"], Some(Signal::SIGTERM)),
        traced(&["ports", "1"], Some(Signal::SIGINT)),
        traced(&["trace", "--duration", "1"], None),
    ];
    for (arguments, signal) in guest::some_of(&ends) {
        let mut unread = Unread::start(arguments);
        until("it traces", START, || unread.said().contains("Tracing"));
        drop(Pair::on(V4).close_client_first());
        if let Some(signal) = signal {
            unread.signal(*signal);
        }
        assert_eq!(unread.code(), Some(0), "{arguments:?}: {}", unread.said());
        assert!(unread.said().contains("lines were not written"), "{arguments:?}: {}", unread.said());
    }
    let mut unread = Unread::start(&["trace", "--fail-on-loss", "--netns", &netns]);
    until("it traces", START, || unread.said().contains("Tracing"));
    unread.signal(Signal::SIGINT);
    assert_eq!(unread.code(), Some(3), "its first line was not written: {}", unread.said());
    let mut unread = Unread::start(&["states", "1"]);
    // It has no greeting, and says nothing before it is asked to end.
    until("it waits for signals", START, || {
        let tasks = fs::read_dir(format!("/proc/{}/task", unread.child.id())).unwrap();
        tasks.flatten().any(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm == "signals\n"))
    });
    unread.signal(Signal::SIGTERM);
    assert_eq!(unread.code(), Some(0), "{}", unread.said());
}

/// A signal ends the doctor's wait, and it reports; the next one ends it at once, though nobody reads its report.
pub fn the_doctor_is_hurried() {
    let netns = netns::inode().to_string();
    let arguments = ["doctor", "--seconds", "1000", "--netns", &netns];
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let doctor = Tracer::spawn(heeding(&arguments));
        doctor.wait_until_it_says("Reading");
        doctor.signal(signal);
        let ended = doctor.end(SOON);
        assert!(ended.code == Some(0) && !ended.stdout.is_empty(), "{signal}: {ended:?}");
    }
    let mut unread = Unread::start(&arguments);
    until("it waits", START, || unread.said().contains("Reading"));
    let mut code = None;
    until("another signal ends it", SOON, || {
        unread.signal(Signal::SIGTERM);
        code = unread.child.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(143), "{}", unread.said());
}

/// A full disk is an error, whenever it shows.
pub fn a_full_disk() {
    let netns = netns::inode().to_string();
    for verb in guest::some_of(&[&["record", "-o", "/dev/full"][..], &["trace"], &["stat"], &["stat", "0.2"]]) {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let arguments = [*verb, &["--duration", "0.5", "--netns", &netns]].concat();
        let ended = command(arguments).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.code() == Some(1) && said.contains("No space left on device"), "{verb:?}: {said}");
    }
}

/// Whoever has read enough ends it, though nothing happens that it could write.
pub fn reader_goes() {
    let netns = netns::inode().to_string();
    let mut child = command(["trace", "--json", "--netns", &netns]).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// A terminal that goes away ends it as SIGTERM does, but not one that was started by nohup(1).
pub fn hangs_up() {
    let place = tempfile::tempdir().unwrap();
    let netns = netns::inode().to_string();
    for ignored in [false, true] {
        let file = place.path().join(ignored.to_string());
        let mut recorder = heeding(&["record", "-o", file.to_str().unwrap(), "--netns", &netns]);
        if ignored {
            // SAFETY: signal() is a system call, and changes nothing of this process.
            unsafe {
                recorder.pre_exec(|| {
                    libc::signal(libc::SIGHUP, libc::SIG_IGN);
                    Ok(())
                });
            }
        }
        let recorder = Tracer::spawn(recorder);
        recorder.wait_until_tracing();
        drop(Pair::on(V4).close_client_first());
        recorder.signal(Signal::SIGHUP);
        if ignored {
            recorder.signal(Signal::SIGTERM);
        }
        let ended = recorder.end(SOON);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let replayed = Tracer::spawn(command(["trace", "--from", file.to_str().unwrap()])).end(SOON);
        assert!(replayed.code == Some(0) && !replayed.stderr.contains("cut short"), "{replayed:?}");
    }
}

/// A recording is for root alone, takes an older one's place when it has begun, and standard output is a place as well.
pub fn new_recording() {
    let place = tempfile::tempdir().unwrap();
    let (file, link) = (place.path().join("file"), place.path().join("link"));
    fs::write(&file, "something of value").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let record = |more: &[&str]| {
        let arguments = [&["record", "--duration", "0.1", "-o", link.to_str().unwrap()], more].concat();
        Tracer::spawn(command(arguments)).end(START)
    };
    let refused = record(&["--netns", "no-such-namespace"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "something of value");
    let netns = netns::inode().to_string();
    let recorded = record(&["--netns", &netns]);
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read(&file).unwrap().starts_with(b"tcpwait\n"));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "nothing else is left there");

    let to_stdout = command(["record", "-o", "-", "--duration", "0.1", "--netns", &netns]).output().unwrap();
    assert!(to_stdout.status.success(), "{}", String::from_utf8_lossy(&to_stdout.stderr));
    fs::write(&file, to_stdout.stdout).unwrap();
    let mut from_stdin = command(["trace", "--from", "-"]);
    from_stdin.stdin(fs::File::open(&file).unwrap());
    let replayed = Tracer::spawn(from_stdin).end(SOON);
    assert!(replayed.code == Some(0) && !replayed.stderr.contains("cut short"), "{replayed:?}");
}

/// What a filter of the kernel side leaves out is in no record, of whatever kind, and neither are the names of whose it is.
pub fn a_filter_holds_for_every_record() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("idle.tcpwait");
    let resident =
        std::thread::spawn(|| netns::enter_new().map(|_| Cast::named("idle").start())).join().unwrap().unwrap();
    let idle = resident.pid().to_string();
    let recorder = Tracer::spawn(command(["record", "-o", file.to_str().unwrap(), "--netns", &idle]));
    recorder.wait_until_tracing();
    let mut neighbour = Cast::named("the-neighbour").start();
    let listener = traffic::listen(V4);
    let at = traffic::address(&listener);
    for _ in 0..20 {
        neighbour.does(&format!("connect {at}"));
        let server = traffic::accept(&listener);
        neighbour.does("write");
        let _ = std::io::Read::read(&mut (&server), &mut [0; 1]).unwrap();
        neighbour.does("close");
        // The port is taken, and nobody listens there.
        assert_eq!(neighbour.does(&format!("bind {at}")), "EADDRINUSE");
        assert_eq!(neighbour.does(&format!("try-connect {V4}:1")), "ECONNREFUSED");
    }
    let ended = recorder.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut reader = tcpwait::recording::Reader::open(&file).unwrap();
    let named = |bytes: &[u8]| bytes.windows(b"the-neighbour".len()).any(|window| window == b"the-neighbour");
    let mut records = 0;
    while let Some(record) = reader.next_record() {
        assert!(!named(record), "kind {}", record[0]);
        records += 1;
    }
    assert!(records > 0);
}

/// The command ends with tcpwait, and the next run takes away the cgroup that is left.
pub fn killed_beside_its_command() {
    let arguments = ["stat", "--", "sleep", "1000"];
    let tcpwait = Tracer::start(&arguments);
    let cgroup = format!("tcpwait-{}", tcpwait.pid());
    let mut sleeps = None;
    until("the command runs", SOON, || {
        sleeps = children_of(tcpwait.pid()).into_iter().find(|pid| comm(*pid) == "sleep");
        sleeps.is_some()
    });
    let place = cgroup_of(sleeps.unwrap());
    assert!(place.ends_with(&cgroup), "{place}");
    tcpwait.signal(Signal::SIGKILL);
    until("the command ends", SOON, || !Path::new(&format!("/proc/{}/fd/0", sleeps.unwrap())).exists());
    drop(tcpwait);
    let mount = fs::read_to_string("/proc/mounts").unwrap();
    let mount = mount.lines().find_map(|line| line.split(' ').nth(1).filter(|_| line.contains(" cgroup2 "))).unwrap();
    let left = format!("{mount}{place}");
    assert!(Path::new(&left).exists(), "{left}");
    let next = Tracer::spawn(command(["stat", "--", "true"])).end(START);
    assert_eq!(next.code, Some(0), "{next:?}");
    assert!(!Path::new(&left).exists(), "{left}");
}

/// A command that ignores what it is told does not keep tcpwait.
pub fn a_command_that_goes_on() {
    let tcpwait = Tracer::start(&[
        "stat",
        "--",
        "sh",
        "-c",
        "trap '' TERM; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 1; done",
    ]);
    until("the command runs", SOON, || children_of(tcpwait.pid()).into_iter().any(|pid| !children_of(pid).is_empty()));
    tcpwait.signal(Signal::SIGTERM);
    // Its output is the command's, too, which goes on.
    let ended = until_gone(tcpwait.pid());
    assert!(ended, "it waits for its command");
    drop(tcpwait);
}

fn until_gone(pid: u32) -> bool {
    let mut gone = false;
    until("it ends", SOON, || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        gone = stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'));
        gone
    });
    gone
}

fn comm(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn children_of(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    children.flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

fn cgroup_of(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
}

/// A container of 64 MiB is enough.
pub fn in_little_memory() {
    const LIMIT: &str = "67108864";
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let mount = mounts.lines().find_map(|line| line.split(' ').nth(1).filter(|_| line.contains(" cgroup2 "))).unwrap();
    let place = Path::new(mount).join(format!("little-{}", std::process::id()));
    // Elsewhere the controller may belong to another hierarchy.
    let controllers = fs::read_to_string(Path::new(mount).join("cgroup.controllers")).unwrap();
    if !controllers.split_whitespace().any(|controller| controller == "memory") {
        println!("endings: this machine's cgroup2 has no memory controller");
        return;
    }
    fs::write(Path::new(mount).join("cgroup.subtree_control"), "+memory").unwrap();
    fs::create_dir(&place).unwrap();
    fs::write(place.join("memory.max"), LIMIT).unwrap();
    let netns = netns::inode().to_string();
    let mut tcpwait = command(["stat", "--ring-buffer", "1", "--duration", "0.5", "--netns", &netns]);
    let procs = place.join("cgroup.procs");
    // SAFETY: a file is opened and written, with a path that was made before.
    unsafe {
        tcpwait.pre_exec(move || fs::write(&procs, "0"));
    }
    let ended = Tracer::spawn(tcpwait).end(START);
    let events = fs::read_to_string(place.join("memory.events")).unwrap();
    let peak = fs::read_to_string(place.join("memory.peak")).unwrap_or_default();
    fs::remove_dir(&place).unwrap();
    assert!(ended.code == Some(0) && events.contains("oom_kill 0"), "{ended:?} {events}");
    println!("endings: at most {} bytes, files that were read included", peak.trim());
}

/// Without root the capabilities that the README names are enough; one less, and the message names it; in a user namespace none is.
pub fn capabilities() {
    const BPF: u32 = 39;
    const PERFMON: u32 = 38;
    const SYSLOG: u32 = 34;
    let (_place, copy) = crate::exits::copy_for_all();
    let netns = netns::inode().to_string();
    let start = |capabilities: &'static [u32]| {
        let mut tcpwait = Command::new(&copy);
        tcpwait.args(["trace", "--json", "--duration", "1.5", "--netns", &netns]).current_dir("/");
        tcpwait.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: system calls that change this child only.
        unsafe {
            tcpwait.pre_exec(move || become_nobody_with(capabilities));
        }
        Tracer::spawn(tcpwait)
    };
    let tracer = start(&[BPF, PERFMON, SYSLOG]);
    tracer.wait_until_tracing();
    let pair = Pair::on(V4);
    let ended = tracer.end(START);
    drop(pair);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.lines().iter().any(|line| line.step() == "SYN_SENT>ESTABLISHED"), "{ended:?}");
    for without in ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_NET_ADMIN"] {
        assert!(ended.stderr.contains(&format!("without {without}, ")), "{ended:?}");
    }
    for (has, named) in [
        (&[BPF, SYSLOG][..], "CAP_PERFMON"),
        (&[PERFMON, SYSLOG], "CAP_BPF"),
        (&[], "CAP_BPF, CAP_PERFMON, CAP_SYSLOG"),
    ] {
        let ended = start(has).end(SOON);
        assert!(ended.code == Some(1) && ended.stderr.contains(named), "{ended:?}");
    }

    let mut tcpwait = command(["trace", "--duration", "1"]);
    // SAFETY: a system call that changes this child only.
    unsafe {
        tcpwait.pre_exec(|| Ok(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)?));
    }
    match tcpwait.spawn() {
        Ok(child) => {
            let ended = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(ended.status.code() == Some(1) && said.contains("user namespace"), "{said}");
        }
        Err(e) => println!("endings: this machine makes no user namespaces: {e}"),
    }
}

/// As setpriv(1) does it: capabilities survive the change of user, and exec() if they are ambient.
fn become_nobody_with(capabilities: &[u32]) -> std::io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    const NOBODY: u32 = 65_534;
    let check = |result: libc::c_long| if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) };
    let mut sets = [[0u32; 3]; 2];
    for bit in capabilities {
        sets[*bit as usize / 32].iter_mut().for_each(|set| *set |= 1 << (bit % 32));
    }
    let header = Header { version: VERSION_3, pid: 0 };
    // SAFETY: system calls with arguments of the layout that capset(2) and prctl(2) say.
    unsafe {
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0).into())?;
        check(libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY))?;
        check(libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY))?;
        check(libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()))?;
        for bit in capabilities {
            check(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, *bit, 0, 0).into())?;
        }
    }
    Ok(())
}
