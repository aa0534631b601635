//! A CPU is taken offline: the kernel moves its timers to another one, and nothing has happened to the connections that they belong to.

use std::{
    fs,
    net::Shutdown,
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    V4, V6, guest,
    hand::Hand,
    netns,
    syn_recv::ends::expect_end,
    tracer::{A_MINUTE, Reading, SOON, Seen, Tracer, command},
    traffic::{self, FIN_WAIT2, until, wheel_bucket},
};

const CONNECTIONS: usize = 1000;

/// The CPU that goes. The first often may not.
const CPU: usize = 1;
const SWITCH: &str = "/sys/devices/system/cpu/cpu1/online";

/// Puts the CPU back, whatever becomes of the test.
struct Offline;

impl Offline {
    fn take() -> Self {
        fs::write(SWITCH, "0").unwrap_or_else(|e| panic!("taking CPU {CPU} offline: {e}"));
        Self
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, "1");
    }
}

pub fn its_timers_move() {
    if let Some(why) = why_not() {
        println!("offline::its_timers_move: not run, {why}");
        return;
    }
    netns::sysctl("ipv4/tcp_synack_retries", "3");
    let netns = netns::inode().to_string();
    let trace = ["trace", "--json", "--netns", &netns];
    let moved = Reading { keep: |line| line.contains(r#""timer_start(rearm)""#), ..Reading::default() };
    let raw = Tracer::spawn_reading(command([&trace[..], &["--raw"]].concat()), moved);
    raw.wait_until_tracing();
    let seen = Seen::through(Tracer::start(&trace));

    let everywhere = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let mut there = CpuSet::new();
    there.set(CPU).unwrap();
    sched_setaffinity(Pid::from_raw(0), &there).unwrap();
    let listeners = [V4, V6].map(traffic::listen);
    let before = netns::tcp_ext("TW") + netns::tcp_ext("TWKilled");
    let begun = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let listener = &listeners[number % 2];
            let client = traffic::connect(traffic::address(listener));
            let server = traffic::accept(listener);
            client.shutdown(Shutdown::Write).unwrap();
            traffic::read_end(&server);
            until("FIN_WAIT2", SOON, || traffic::state(&client) == FIN_WAIT2);
            client
        })
        .collect();
    let all = u64::try_from(CONNECTIONS).unwrap();
    let counted = || netns::tcp_ext("TW") + netns::tcp_ext("TWKilled") - before;
    let now = || format!("{} TIME_WAITs now, {} begun in {:?}", netns::time_waits(), counted(), begun.elapsed());
    let end = Instant::now() + SOON;
    while netns::time_waits() != all {
        assert!(Instant::now() < end, "{all} TIME_WAITs: {}", now());
        traffic::hold(Duration::from_millis(10));
    }
    println!("offline: {}", now());
    let syn_recv = Hand::syn_recv(traffic::address(&listeners[0]));
    sched_setaffinity(Pid::from_raw(0), &everywhere).unwrap();

    drop(Offline::take());
    until("the CPU is back", SOON, || fs::read_to_string(SWITCH).unwrap().trim() == "1");
    assert_eq!(netns::time_waits(), all, "no TIME_WAIT minds");

    expect_end(&seen, &syn_recv, "timeout", 3, None);
    drop((clients, listeners));
    let enough = || seen.lines().iter().filter(|line| line.step() == "TIME_WAIT>CLOSE").count() >= CONNECTIONS;
    until("every end", A_MINUTE, || {
        traffic::hold(Duration::from_millis(50));
        enough()
    });
    let raw = raw.stop();
    // Softirqs may run on the other CPU at times, for some.
    assert!(raw.stdout.len() > CONNECTIONS / 2, "the timers of {} TIME_WAITs moved", raw.stdout.len());

    let ended = seen.into_tracer().stop();
    ended.expect_clean();
    let lines = ended.lines();
    let entered = lines.iter().filter(|line| line.to == "TIME_WAIT").count();
    assert_eq!(entered, CONNECTIONS, "a move is no entry: {ended:?}");
    let ends: Vec<_> = lines.iter().filter(|line| line.step() == "TIME_WAIT>CLOSE").collect();
    assert_eq!(ends.len(), CONNECTIONS, "{ended:?}");
    for end in ends {
        let how = (end.reason.as_deref(), end.restarts, &end.by, end.timing.as_str());
        assert_eq!(how, (Some("expired"), Some(0), &None, "exact"), "{end:?}");
        let minute = Duration::from_secs(60);
        // The wheel of the other CPU may be less than a bucket ahead of where it was.
        assert!(end.dwell() >= minute && end.dwell() <= minute + wheel_bucket() + Duration::from_secs(1), "{end:?}");
    }
}

/// Only in a guest: on a machine that others use, what is bound to a CPU is not bound to it any more once it has been offline.
fn why_not() -> Option<String> {
    if guest::tests_at_once().is_none() {
        return Some("as a CPU of this machine would be taken offline: `cargo xtask vm --profile smp offline` does that to a guest".to_owned());
    }
    if !Path::new(SWITCH).exists() {
        return Some(format!("there is no {SWITCH}: one CPU, or one that may not go"));
    }
    None
}
