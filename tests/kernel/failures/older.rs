//! Ports that are held by sockets older than the trace; and filters, which select failures as they do connections.

use std::time::Instant;

use crate::{
    V4,
    actor::Cast,
    failures::any_port,
    tracer::{SOON, Seen, Tracer},
    traffic::{self, Pair, ss, until},
};

/// A listener and a server's TIME_WAIT, both found by sock_diag.
pub fn holders() {
    let mut holder = Cast::named("old-holder").start();
    let at = holder.does(&format!("bind {}", any_port(V4)));
    assert_eq!(holder.does("listen-on-it"), "done");
    let mut comer = Cast::named("comer").start();
    let pair = Pair::on(V4);
    let ends = traffic::flip(pair.ends());
    drop(pair.close_server_first());
    let closed = Instant::now();
    until("TIME_WAIT", SOON, || ss(ends).is_some_and(|line| line.starts_with("TIME-WAIT")));

    let seen = Seen::through(Tracer::here(&[]));
    let mut told = 0;
    // sock_diag is read while tracing goes on already. The TIME_WAIT comes first: it ends.
    let mut holders_known = |address: &str, held_by: &[(&str, u64)], pid| {
        let mut failed = None;
        until("who holds it is known", SOON, || {
            assert_eq!(comer.does(&format!("bind {address}")), "EADDRINUSE", "{:?} after the close", closed.elapsed());
            told += 1;
            let told = seen.wait_for_failure(told, SOON);
            let known = told.held_by() == held_by && told.holders[0].pid == pid;
            failed = Some(told);
            known
        });
        failed.unwrap()
    };
    let failed = holders_known(&ends.0.to_string(), &[("TIME_WAIT", 1)], None);
    let tw = &failed.holders[0];
    assert_eq!(tw.reuseaddr, None, "{failed:?}");
    assert!(tw.first_end_in_ns.is_some_and(|ns| ns < 60_000_000_000), "{failed:?}");
    assert!(failed.words.contains("in TIME_WAIT of an unknown process"), "{failed:?}");
    holders_known(&at, &[("LISTEN", 1)], Some(holder.pid()));
    seen.into_tracer().stop().expect_clean();
}

/// By owner, by local and by remote port. States select connections, and no failures.
pub fn filters() {
    let closed = traffic::address(&traffic::listen(V4));
    let (mut one, mut other) = (Cast::named("one").start(), Cast::named("other").start());
    let at = one.does(&format!("bind {}", any_port(V4)));
    let (port, pid) = (at.rsplit(':').next().unwrap().to_owned(), other.pid().to_string());
    let remote = closed.port().to_string();
    let filters = [["--comm", "one"], ["--pid", &pid], ["-L", &port], ["-D", &remote], ["--state", "TIME_WAIT"]];
    let tracers = filters.map(|filter| Seen::through(Tracer::here(&filter)));
    for actor in [&mut one, &mut other] {
        assert_eq!(actor.does(&format!("try-connect {closed}")), "ECONNREFUSED");
    }
    assert_eq!(other.does(&format!("bind {at}")), "EADDRINUSE");
    // Where the last is not told of, nothing says that all were; the end does.
    let expected: [&[&str]; 5] = [
        &["one refused"],
        &["other refused", "other port-held"],
        &["other port-held"],
        &["one refused", "other refused"],
        &[],
    ];
    for ((seen, filter), expected) in tracers.into_iter().zip(filters).zip(expected) {
        let ended = seen.into_tracer().stop();
        let told = ended.failures();
        let told: Vec<_> =
            told.iter().map(|failed| format!("{} {}", failed.comm.as_ref().unwrap(), failed.why)).collect();
        assert_eq!(told, expected, "{filter:?}: {ended:?}");
    }
}
