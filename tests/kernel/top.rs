//! `tcpwait top` on a terminal: what it shows of the running kernel, that a terminal that nobody reads costs nothing, and that the terminal is what it was
//! however it ends.

use std::{
    fs::{self, File},
    io::{Read, Write},
    num::NonZero,
    os::{fd::AsRawFd, unix::process::CommandExt},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::{
    libc,
    pty::{Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, Termios, tcgetattr},
    },
    unistd::Pid,
};
use socket2::Socket;
use tcpwait::top::terminal::ScreenTerminal;

use crate::{
    V4,
    bursts::allow_descriptors,
    guest, netns,
    tracer::{SOON, START, command},
    traffic::{self, until},
};

/// The first argument of a process that takes the terminal and panics.
pub const ROLE: &str = "panic-on-a-terminal";

/// Plays it.
pub fn panic_on_a_terminal() {
    let _terminal = ScreenTerminal::take().unwrap();
    panic!("as it was told to");
}

const SIZE: Winsize = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };

/// A terminal with a program on it.
struct Terminal {
    /// Where it is read and typed; `None` once it is closed.
    master: Option<File>,
    /// Keeps it open, and tells its state.
    slave: File,
    child: Child,
    screen: Arc<Mutex<vt100::Parser>>,
    reads: Arc<AtomicBool>,
    before: Termios,
}

impl Terminal {
    /// Starts `tcpwait top` on this thread's namespace.
    fn top(more: &[&str]) -> Self {
        let netns = netns::inode().to_string();
        let mut arguments = vec!["top", "--netns", &netns];
        arguments.extend(more);
        let terminal = Self::start(command(arguments));
        terminal.wait_for("LIVE", START);
        terminal
    }

    fn start(mut command: Command) -> Self {
        let pty = openpty(&SIZE, None).unwrap();
        let (master, slave) = (File::from(pty.master), File::from(pty.slave));
        let before = tcgetattr(&slave).unwrap();
        let stdio = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(stdio()).stdout(stdio()).stderr(stdio()).env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
        // SAFETY: both are system calls that change the new process only; standard input is the terminal by then.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        let [rows, columns] = [SIZE.ws_row, SIZE.ws_col].map(|size| NonZero::new(size).unwrap());
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let reads = Arc::new(AtomicBool::new(true));
        let (shown, on, mut from) = (Arc::clone(&screen), Arc::clone(&reads), master.try_clone().unwrap());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                if !on.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                }
                let Ok(read @ 1..) = from.read(&mut bytes) else { return };
                shown.lock().unwrap().process(&bytes[..read]);
            }
        });
        Self { master: Some(master), slave, child, screen, reads, before }
    }

    fn send(&self, keys: &str) {
        self.master.as_ref().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    fn contents(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until this is on the screen.
    fn wait_for(&self, text: &str, bound: Duration) {
        self.wait_until(text, bound, |shown| shown.contains(text));
    }

    fn wait_until(&self, what: &str, bound: Duration, is_it: impl Fn(&str) -> bool) {
        let begun = std::time::Instant::now();
        while !is_it(&self.contents()) {
            assert!(begun.elapsed() < bound, "not within {bound:?}: {what}\n{}", self.contents());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Its exit code, and that the terminal is what it was.
    fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        until("it ends", SOON, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.is_as_before();
        status.unwrap().code()
    }

    fn is_as_before(&self) {
        until("the terminal is what it was", SOON, || {
            let screen = self.screen.lock().unwrap();
            !screen.screen().alternate_screen()
                && !screen.screen().hide_cursor()
                && tcgetattr(&self.slave).unwrap() == self.before
        });
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The reader ends with the terminal.
        self.reads.store(true, Ordering::SeqCst);
    }
}

/// Connections that end in TIME_WAIT here, as the server closes first.
fn time_waits(connections: usize) -> Vec<Socket> {
    let listener = traffic::listen(V4);
    let mut kept = Vec::new();
    for _ in 0..connections {
        let client = traffic::connect(traffic::address(&listener));
        let server = traffic::accept(&listener);
        let pair = traffic::Pair { listener: listener.try_clone().unwrap(), client, server };
        kept.push(pair.close_server_first());
    }
    kept
}

/// The first number after a name at the beginning of a line.
fn now(shown: &str, name: &str) -> Option<u64> {
    let line = shown.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.replace(',', "").parse().ok()
}

/// The screen shows what the kernel has, and each tab comes by its key.
pub fn shows_the_kernel() {
    const CONNECTIONS: usize = 25;
    let mut terminal = Terminal::top(&[]);
    let kept = time_waits(CONNECTIONS);
    let there = |shown: &str| now(shown, "TIME_WAIT ") == Some(netns::time_waits());
    terminal.wait_until("as many TIME_WAITs as the kernel has", SOON, there);
    assert_eq!(netns::time_waits(), CONNECTIONS as u64);
    terminal.wait_for("lost: nothing", SOON);
    terminal.send("2");
    terminal.wait_for("[2 Connections]", SOON);
    // The other ends have ended.
    terminal.wait_for("LAST_ACK", SOON);
    terminal.send("j\r");
    terminal.wait_for("HOW EXACT", SOON);
    terminal.send("\x1b");
    terminal.wait_until("the list is back", SOON, |shown| !shown.contains("HOW EXACT"));
    terminal.send("3");
    terminal.wait_for("TIME LEFT", SOON);
    terminal.send("4");
    terminal.wait_for("[4 Ports]", SOON);
    terminal.send("5");
    terminal.wait_for("[5 Opening]", SOON);
    terminal.send(" ");
    terminal.wait_for("PAUSED", SOON);
    // The counting goes on.
    terminal.wait_until("newer reports are counted", SOON, |shown| {
        !shown.contains("PAUSED, 0 newer") && !shown.contains("PAUSED, 1 newer")
    });
    terminal.send(" 1");
    terminal.wait_for("LIVE", SOON);
    terminal.send("?");
    terminal.wait_for("The columns of Overview", SOON);
    terminal.send("q");
    terminal.send("b");
    terminal.wait_for("grouped by process", SOON);
    terminal.wait_until("the groups have another column", SOON, |shown| {
        shown.lines().any(|line| line.trim_start().starts_with("PROCESS"))
    });
    terminal.send("q");
    assert_eq!(terminal.ended(), Some(0));
    drop(kept);
}

/// A way to end it.
type End = fn(&Terminal);

/// However it ends, the terminal is what it was.
pub fn gives_the_terminal_back() {
    let ends: [(&str, End); 5] = [
        ("q", |terminal| terminal.send("q")),
        ("Ctrl-C", |terminal| terminal.send("\x03")),
        ("SIGTERM", |terminal| terminal.signal(Signal::SIGTERM)),
        ("SIGINT", |terminal| terminal.signal(Signal::SIGINT)),
        ("Q", |terminal| terminal.send("Q")),
    ];
    for (how, end) in guest::some_of(&ends) {
        let mut terminal = Terminal::top(&[]);
        let raw = tcgetattr(&terminal.slave).unwrap();
        assert!(!raw.local_flags.contains(LocalFlags::ICANON), "{how}");
        end(&terminal);
        assert_eq!(terminal.ended(), Some(0), "{how}: {}", terminal.contents());
        assert_eq!(terminal.contents().contains("[1 Overview]"), *how == "Q", "only Q leaves the screen standing");
    }
}

/// So it is with a recording, which nothing traces meanwhile.
pub fn a_recording_ends_at_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("incident.tcpwait");
    std::fs::write(&recording, include_bytes!("../fixtures/incident.tcpwait")).unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut terminal = Terminal::start(command(["top", "--from", recording.to_str().unwrap()]));
        terminal.wait_for("[1 Overview]", START);
        let raw = tcgetattr(&terminal.slave).unwrap();
        assert!(!raw.local_flags.contains(LocalFlags::ICANON), "{signal}");
        terminal.signal(signal);
        assert_eq!(terminal.ended(), Some(0), "{signal}: {}", terminal.contents());
    }
}

/// A panic, too.
pub fn a_panic_gives_the_terminal_back() {
    let mut command = Command::new("/proc/self/exe");
    command.arg(ROLE);
    let mut terminal = Terminal::start(command);
    assert_ne!(terminal.ended(), Some(0));
    terminal.wait_for("as it was told to", SOON);
}

/// Ctrl-Z stops it with the terminal as it was, and `fg` brings it back.
pub fn stops_and_goes_on() {
    let netns = netns::inode().to_string();
    let program = env!("CARGO_BIN_EXE_tcpwait");
    let script = format!("{program} top --netns {netns}; echo it stopped; read line; fg; echo it ended $?");
    let mut shell = Command::new("sh");
    // With job control.
    shell.args(["-m", "-c", &script]);
    let mut terminal = Terminal::start(shell);
    terminal.wait_for("LIVE", START);
    terminal.send("\x1a");
    terminal.wait_for("it stopped", SOON);
    assert!(!terminal.screen.lock().unwrap().screen().alternate_screen());
    assert!(tcgetattr(&terminal.slave).unwrap().local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO));
    terminal.send("\n");
    terminal.wait_for("LIVE", SOON);
    assert!(!tcgetattr(&terminal.slave).unwrap().local_flags.contains(LocalFlags::ICANON));
    terminal.send("q");
    terminal.wait_for("it ended 0", SOON);
    assert_eq!(terminal.ended(), Some(0));
}

/// The terminal is closed, as by a window or a connection that ends: it ends too, also where it was started to ignore SIGHUP.
pub fn ends_with_its_terminal() {
    for ignores in [false, true] {
        let netns = netns::inode().to_string();
        let mut top = command(["top", "--netns", &netns]);
        if ignores {
            // SAFETY: signal is a system call that changes the new process only.
            unsafe {
                top.pre_exec(|| {
                    libc::signal(libc::SIGHUP, libc::SIG_IGN);
                    Ok(())
                });
            }
        }
        let mut terminal = Terminal::start(top);
        terminal.wait_for("LIVE", START);
        // The last that holds the other side: the reader holds one, which it lets go when it is told to read again.
        hang_up(&terminal);
        drop(terminal.master.take());
        until("it ends", SOON, || terminal.child.try_wait().unwrap().is_some());
    }
}

/// As a line that is cut: TIOCVHANGUP is what init does to a terminal.
fn hang_up(terminal: &Terminal) {
    // SAFETY: an ioctl without an argument.
    let done = unsafe { libc::ioctl(terminal.slave.as_raw_fd(), 0x5437, 0) };
    assert_eq!(done, 0, "TIOCVHANGUP: {}", std::io::Error::last_os_error());
}

/// Nobody reads the terminal while connections come and go: nothing is lost, and the screen is right as soon as somebody reads again.
pub fn nobody_reads_the_terminal() {
    const CONNECTIONS: usize = 3_000;
    allow_descriptors(4 * CONNECTIONS);
    let mut terminal = Terminal::top(&["0.25"]);
    terminal.reads.store(false, Ordering::SeqCst);
    let pid = terminal.child.id();
    // Everything is drawn anew until no more fits.
    until("the screen's thread waits for the terminal", SOON, || {
        terminal.send("\x0c");
        match is_writing(pid) {
            Some(is_writing) => is_writing,
            None => {
                println!("whether it waits cannot be told here: /proc/PID/syscall cannot be read");
                true
            }
        }
    });
    let kept = time_waits(CONNECTIONS);
    assert!(is_writing(pid) != Some(false), "it still waits");
    terminal.reads.store(true, Ordering::SeqCst);
    // Of one screen: it is drawn anew again and again, and empty in between.
    let there = |shown: &str| now(shown, "TIME_WAIT ") == Some(netns::time_waits()) && shown.contains("lost: nothing");
    terminal.wait_until("as many TIME_WAITs as the kernel has, and nothing lost", SOON, there);
    // The reports that were made meanwhile are there.
    terminal.send("{");
    terminal.wait_for("PAUSED, 1", SOON);
    terminal.send("q");
    assert_eq!(terminal.ended(), Some(0));
    drop(kept);
}

/// Nobody ever reads it again: SIGTERM ends it all the same.
pub fn ends_although_nobody_reads() {
    let mut terminal = Terminal::top(&["0.25"]);
    terminal.reads.store(false, Ordering::SeqCst);
    let pid = terminal.child.id();
    until("the screen's thread waits for the terminal", SOON, || {
        terminal.send("\x0c");
        is_writing(pid).unwrap_or(true)
    });
    terminal.signal(Signal::SIGTERM);
    until("it ends", SOON, || terminal.child.try_wait().unwrap().is_some());
    assert!(tcgetattr(&terminal.slave).unwrap() == terminal.before, "lines are lines again");
}

/// Whether the screen's thread is in write(2); `None` where that cannot be told.
fn is_writing(pid: u32) -> Option<bool> {
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let path = task.ok()?.path();
        if fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "screen") {
            let call = fs::read_to_string(path.join("syscall")).ok()?;
            return Some(call.split(' ').next() == Some(&libc::SYS_write.to_string()));
        }
    }
    Some(false)
}
