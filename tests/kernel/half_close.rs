//! Half-closed connections: how long FIN_WAIT2 lasts is what the test held it open for, whichever socket the kernel keeps it in.

use std::{
    net::Shutdown,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    V4,
    active_close::assert_natural_end,
    tracer::{A_MINUTE, Line, SOON, Seen, steps},
    traffic::{self, FIN_WAIT2, Pair, hold, ss, until},
};

const HELD: Duration = Duration::from_secs(3);

/// How far what the kernel did may be from what the test's clock saw around it.
const NEAR: Duration = Duration::from_millis(50);

/// Checks the time in FIN_WAIT2 against what was measured: at least, and at most.
fn assert_held(entered: &Line, (least, most): (Duration, Duration)) {
    assert_eq!(entered.timing, "exact", "{entered:?}");
    assert!(most < least + NEAR * 4, "the machine was too busy to measure: {least:?} to {most:?}");
    let held = entered.dwell();
    assert!(held + NEAR >= least && held <= most + NEAR, "held {least:?} to {most:?}, shown {held:?}");
}

/// `shutdown()`: the owner still has the socket.
pub fn of_a_full_socket() {
    let seen = Seen::shared();
    let pair = Pair::on(V4);
    let ends = pair.ends();
    let before = Instant::now();
    pair.client.shutdown(Shutdown::Write).unwrap();
    until("FIN_WAIT2", SOON, || traffic::state(&pair.client) == FIN_WAIT2);
    let entered = Instant::now();
    hold(HELD);
    let least = entered.elapsed();
    drop(pair.server);
    traffic::read_end(&pair.client);
    let most = before.elapsed();
    let line = seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
    assert_held(&line, (least, most));
    assert_natural_end(&seen.wait_for_step(ends, "TIME_WAIT>CLOSE", A_MINUTE));
}

/// `close()`: the kernel goes on in a mini-socket, in which the FIN arrives much later.
pub fn of_an_orphan() {
    let seen = Seen::shared();
    let Pair { listener, client, server } = Pair::on(V4);
    let ends = (traffic::address(&client), traffic::address(&listener));
    let before = Instant::now();
    drop(client);
    until("FIN_WAIT2", SOON, || ss(ends).is_some_and(|line| line.starts_with("FIN-WAIT-2")));
    let entered = Instant::now();
    hold(HELD);
    let least = entered.elapsed();
    drop(server);
    until("TIME_WAIT", SOON, || ss(ends).is_some_and(|line| line.starts_with("TIME-WAIT")));
    let most = before.elapsed();
    let line = seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
    assert_held(&line, (least, most));
    assert_natural_end(&seen.wait_for_step(ends, "TIME_WAIT>CLOSE", A_MINUTE));
}

/// The FIN comes 40 ms after the mini-socket began. Its timer then is set to a minute from now, which is the bucket of the
/// wheel it sits in already: the timer's tracepoints say nothing.
pub fn silent_fin() {
    let seen = Seen::shared();
    let pair = Pair::on(V4);
    let ends = pair.ends();
    let Pair { client, server, .. } = pair;
    drop(client);
    let began = seen.wait_for_step(ends, "FIN_WAIT1>FIN_WAIT2", SOON);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    hold((began.when() + Duration::from_millis(40)).saturating_sub(now()));
    let before = now();
    drop(server);
    let after = now();
    let entered = seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
    assert_eq!(entered.timing, "exact", "{entered:?}");
    assert!(entered.when() + Duration::from_millis(1) >= before, "{entered:?}, but it was {before:?}");
    assert!(entered.when() <= after + NEAR, "{entered:?}, but it was {after:?}");
    assert!(entered.dwell() >= Duration::from_millis(40), "{entered:?}");
    let end = seen.wait_for_step(ends, "TIME_WAIT>CLOSE", A_MINUTE);
    assert_natural_end(&end);
    let life = seen.connection(entered.id.as_ref());
    assert!(steps(&life).ends_with("FIN_WAIT1>FIN_WAIT2 FIN_WAIT2>TIME_WAIT TIME_WAIT>CLOSE"), "{life:?}");
}
