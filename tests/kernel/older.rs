//! Connections that are older than the tool: what is known of them is shown, what is not is left open.

use std::{
    net::Shutdown,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use socket2::Socket;

use crate::{
    V4, V6,
    actor::Cast,
    reasons::own_name,
    tracer::{A_MINUTE, Line, SOON, Seen, Tracer, steps},
    traffic::{self, Pair, hold, in_time, ss, until},
};

fn is_ours(line: &Line) -> bool {
    line.pid == Some(std::process::id()) && line.comm.as_deref() == Some(own_name().as_str())
}

/// They were established; the tool sees them close.
pub fn established() {
    let (v4, v6) = (Pair::on(V4), Pair::on(V6));
    let mut server = Cast::named("older-server").start();
    let address = server.does(&format!("listen {V4}:0")).parse().unwrap();
    let mut passive: Vec<Socket> = Vec::new();
    for _ in 0..200 {
        passive.push(traffic::connect(address));
        server.does("accept-and-hold");
    }
    let seen = Seen::through(Tracer::here(&[]));
    for pair in [v4, v6] {
        let ends = pair.ends();
        drop(pair.close_client_first());
        let first = seen.wait_for_step(ends, "ESTABLISHED>FIN_WAIT1", SOON);
        assert!(first.predates && is_ours(&first), "{first:?}");
        assert_eq!((first.dwell_ns, first.timing.as_str()), (None, "unknown"), "{first:?}");
        let entered = seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
        assert_eq!((&entered.id, entered.timing.as_str()), (&first.id, "exact"), "{entered:?}");
        let life = seen.connection(first.id.as_ref());
        assert_eq!(steps(&life), "ESTABLISHED>FIN_WAIT1 FIN_WAIT1>FIN_WAIT2 FIN_WAIT2>TIME_WAIT");
        assert!(life.iter().all(|line| line.predates && is_ours(line)), "{life:?}");
        let shown = ss(ends).unwrap();
        assert!(shown.contains(&format!("sk:{}", first.id.unwrap())), "{shown}");
    }
    // A peer's FIN says nothing of the owner, who did nothing: only sock_diag and /proc know. They are read while tracing
    // goes on already, so one pair after another is tried, for ten seconds at least.
    in_time("an owner that only /proc knows", SOON, || {
        let client = passive.pop().expect("sock_diag is read by now");
        let ends = (address, traffic::address(&client));
        client.shutdown(Shutdown::Write).unwrap();
        let line = seen.wait_for_step(ends, "ESTABLISHED>CLOSE_WAIT", SOON);
        assert!(line.predates && line.dwell_ns.is_none(), "{line:?}");
        (line.pid, line.comm.as_deref(), line.uid) == (Some(server.pid()), Some("older-server"), Some(0))
    });
}

/// TIME_WAIT began five seconds before the tool.
pub fn time_wait() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let pair = Pair::on(V4);
    let ends = pair.ends();
    let before = now();
    drop(pair.close_client_first());
    until("TIME_WAIT", SOON, || ss(ends).is_some_and(|line| line.starts_with("TIME-WAIT")));
    let after = now();
    hold(Duration::from_secs(5));
    let id = ss(ends).unwrap().split_once("sk:").unwrap().1.split_whitespace().next().unwrap().to_owned();
    let seen = Seen::through(Tracer::here(&[]));
    let end = seen.wait_for_step(ends, "TIME_WAIT>CLOSE", A_MINUTE);
    assert!(end.predates, "{end:?}");
    assert_eq!(end.id, Some(id), "{end:?}");
    assert_eq!((end.reason.as_deref(), end.timing.as_str()), (Some("expired"), "jiffy"), "{end:?}");
    assert!(end.dwell() >= Duration::from_millis(59_980), "{end:?}");
    let near = Duration::from_millis(100);
    let (least, most) = (end.when() - after, end.when() - before);
    assert!(end.dwell() + near >= least && end.dwell() <= most + near, "stayed {least:?} to {most:?}: {end:?}");
    seen.into_tracer().stop().expect_clean();
}
