//! Mini-sockets that all end at once: a bucket of the timer wheel is seconds wide, and what is in it ends in one burst
//! (`__run_timers`), newest first.

use std::{collections::HashSet, net::Shutdown, time::Duration};

use nix::{
    libc,
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    V4, V6, netns,
    tracer::{Line, Reading, SOON, START, Tracer, command},
    traffic::{self, FIN_WAIT2, in_time, until, wheel_bucket},
    withheld,
};

/// A slow machine takes some buckets' time for them, and still the largest part is a burst of more than a thousand.
const CONNECTIONS: usize = 6_500;

/// No two of a burst end further apart: a bucket is longer, and the machine may be busy.
const APART: Duration = Duration::from_millis(500);

pub fn of_a_whole_bucket() {
    allow_descriptors(2 * CONNECTIONS + 500);
    netns::sysctl("ipv4/tcp_max_tw_buckets", "500000");
    let counted = || netns::tcp_ext("TW") + netns::tcp_ext("TWKilled");
    let before = counted();
    let netns = netns::inode().to_string();
    // With the ring buffer that everybody gets.
    let of_time_wait = Reading { keep: |line| line.contains(r#""TIME_WAIT""#), ..Reading::default() };
    let tracer = Tracer::spawn_reading(command(["trace", "--json", "--netns", &netns]), of_time_wait);
    tracer.wait_until_tracing();

    // Each CPU has a wheel of its own.
    stay_on_one_cpu();
    let listeners = [V4, V6].map(traffic::listen);
    let pairs: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let listener = &listeners[number % 2];
            let client = traffic::connect(traffic::address(listener));
            let server = traffic::accept(listener);
            client.shutdown(Shutdown::Write).unwrap();
            traffic::read_end(&server);
            until("FIN_WAIT2", SOON, || traffic::state(&client) == FIN_WAIT2);
            (client, server)
        })
        .collect();
    let (clients, servers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    drop(servers);
    until("every TIME_WAIT", SOON, || counted() - before == u64::try_from(CONNECTIONS).unwrap());
    drop((clients, listeners));
    in_time("every end", START, || netns::time_waits() == 0);

    let ended = tracer.stop();
    assert!(ended.code == Some(0) && !ended.stderr.contains("ring buffer full"), "{ended:?}");
    let lines = ended.lines();
    // Of what came before, too, so that the state left may not be known.
    let withheld = usize::try_from(withheld::of(CONNECTIONS as u64 * 10)).unwrap();
    let to =
        |state| -> HashSet<_> { lines.iter().filter(|line| line.to == state).map(|line| line.id.clone()).collect() };
    let (began, over) = (to("TIME_WAIT"), to("CLOSE"));
    for seen in [&began, &over] {
        assert!(seen.len() <= CONNECTIONS && seen.len() + withheld >= CONNECTIONS, "{}: {ended:?}", seen.len());
    }
    // Timer hooks run with interrupts off and are not withheld by recursion; of state changes, no more than that may be missing.
    let gaps = ended.number_before(" state changes that do not continue");
    assert!(withheld > 0 || gaps <= ended.number_before(" events withheld"), "{ended:?}");
    println!("bursts: {} of {CONNECTIONS} beginnings and {} ends; {}", began.len(), over.len(), ended.stderr);

    let mut ends: Vec<&Line> = lines.iter().filter(|line| line.to == "CLOSE" && began.contains(&line.id)).collect();
    for end in &ends {
        let how = (end.step(), end.reason.as_deref(), end.restarts, end.timing.as_str());
        assert_eq!(how, ("TIME_WAIT>CLOSE".to_owned(), Some("expired"), Some(0), "exact"), "{end:?}");
        let minute = Duration::from_secs(60);
        assert!(end.dwell() >= minute && end.dwell() <= minute + wheel_bucket() + Duration::from_secs(1), "{end:?}");
    }
    ends.sort_by_key(|end| end.when());
    let bursts: Vec<_> = ends.chunk_by(|one, next| next.when() - one.when() < APART).map(<[_]>::len).collect();
    assert!(bursts.iter().any(|ends| *ends > CONNECTIONS / 4), "they did not end at once: {bursts:?}");
}

fn stay_on_one_cpu() {
    let this_thread = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_thread).unwrap();
    let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap()).unwrap();
    let mut one = CpuSet::new();
    one.set(first).unwrap();
    sched_setaffinity(this_thread, &one).unwrap();
}

/// The limit is the whole process's; nobody minds a higher one.
pub fn allow_descriptors(descriptors: usize) {
    let wanted = libc::rlim_t::try_from(descriptors).unwrap();
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit = libc::rlimit { rlim_cur: limit.rlim_cur.max(wanted), rlim_max: limit.rlim_max.max(wanted) };
    // SAFETY: the kernel reads one rlimit.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(done, 0, "{descriptors} descriptors: {}", std::io::Error::last_os_error());
}
