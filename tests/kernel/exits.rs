//! How the program ends: what it says, and with which code.

use std::{
    fs,
    net::Shutdown,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    V4, netns,
    tracer::{Reading, SOON, START, Tracer, command},
    traffic::{self, Pair, until},
    withheld,
};

/// It is stopped while far more goes on than its ring buffer holds.
pub fn fail_on_loss() {
    const CONNECTIONS: usize = 6_000;
    let arguments = ["--raw", "--ring-buffer", "1", "--fail-on-loss"];
    let tracer = Tracer::here(&arguments);
    let counted = || netns::tcp_ext("TW") + netns::tcp_ext("TWKilled");
    let before = counted();
    let listener = traffic::listen(V4);
    tracer.wait_for_output();
    tracer.freeze();
    for _ in 0..CONNECTIONS {
        let client = traffic::connect(traffic::address(&listener));
        let server = traffic::accept(&listener);
        // No orphans: each mini-socket's timer then starts once.
        client.shutdown(Shutdown::Write).unwrap();
        traffic::read_end(&server);
        drop(server);
        traffic::read_end(&client);
    }
    let entered = counted() - before;
    tracer.signal(Signal::SIGINT);
    tracer.signal(Signal::SIGCONT);
    let ended = tracer.end(SOON);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("a larger --ring-buffer helps"), "{ended:?}");

    let shown = |hook: &str| {
        let hook = format!(r#""hook":"{hook}""#);
        // Connections in SYN_RECV have a timer too.
        let is_it =
            |line: &&String| line.contains(&hook) && (!line.contains(r#""to":"SYN_RECV""#) || !hook.contains("timer"));
        u64::try_from(ended.stdout.iter().filter(is_it).count()).unwrap()
    };
    let lost_states = ended.number_before(" state changes (ring buffer full)");
    let lost_beginnings = ended.number_before(" beginnings or restarts of timewait sockets");
    let withheld = ended.number_before(" events withheld");
    assert!(lost_states > 0 && lost_beginnings > 0, "{ended:?}");
    let begun = shown("timer_start");
    // Each end changes state five times, and the listener began to listen. A birth is told with what follows it, and a hand-over with
    // the mini-socket's beginning, if that was told.
    let states = shown("inet_sock_set_state") + lost_states;
    let changes = u64::try_from(CONNECTIONS * 9 + 1).unwrap() - begun;
    assert!(
        states <= changes && states + withheld + withheld::of(changes) >= changes,
        "{states} of {changes}: {ended:?}"
    );
    let beginnings = begun + lost_beginnings;
    assert!(
        beginnings <= entered && beginnings + withheld::of(entered) >= entered,
        "{beginnings} of {entered}: {ended:?}"
    );
}

/// `| head -1`.
pub fn broken_pipe() {
    let netns = netns::inode().to_string();
    for json in [true, false] {
        let mut arguments = vec!["trace", "--netns", &netns];
        arguments.extend(json.then_some("--json"));
        let head = Reading { at_most: 1, ..Reading::default() };
        let mut tracer = Tracer::spawn_reading(command(arguments), head);
        tracer.wait_until_tracing();
        until("it ends", SOON, || {
            drop(Pair::on(V4).close_client_first());
            tracer.has_ended()
        });
        let ended = tracer.end(SOON);
        assert_eq!((ended.code, ended.stdout.len()), (Some(0), 1), "{ended:?}");
        // A kernel that lacks a hook is told of before the greeting.
        let last = ended.stderr.lines().last().unwrap();
        assert!(last.starts_with("Tracing"), "nothing after the greeting: {ended:?}");
    }
}

/// One clear sentence.
pub fn not_root() {
    const NOBODY: u32 = 65_534;
    let (_place, copy) = copy_for_all();
    for arguments in [&["trace"][..], &["record", "-o", "/dev/null"]] {
        let mut tcpwait = Command::new(&copy);
        tcpwait.args(arguments).current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        tcpwait.uid(NOBODY).gid(NOBODY);
        let ended = Tracer::spawn(tcpwait).end(SOON);
        assert_eq!((ended.code, ended.stdout.len()), (Some(1), 0), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(ended.stderr.contains("root") && ended.stderr.contains("sudo"), "{ended:?}");
    }
}

/// The program where everybody can run it, wherever it was built.
pub fn copy_for_all() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = place.path().join("tcpwait");
    // Not by this process: a test beside this one may fork while the copy is open for writing, and what is cannot be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_tcpwait")).arg(&copy).status().unwrap();
    assert!(copied.success());
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    (place, copy)
}

/// It ends by itself, or when it is told to.
pub fn duration() {
    let tracer = Tracer::here(&["--duration", "1.5"]);
    let begun = Instant::now();
    let ended = tracer.end(START);
    ended.expect_clean();
    assert!(begun.elapsed() > Duration::from_millis(1000), "{:?}", begun.elapsed());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let tracer = Tracer::here(&[]);
        tracer.signal(signal);
        tracer.end(SOON).expect_clean();
    }
}
