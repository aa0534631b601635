//! Half-closed connections: how long FIN_WAIT2 lasts is what the test held it open for, whichever socket the kernel keeps it in.

use std::{
    net::{Shutdown, SocketAddr},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    V4,
    active_close::assert_natural_end,
    tracer::{A_MINUTE, SOON, Seen, steps},
    traffic::{self, FIN_WAIT2, Pair, hold, ss, until},
};

const HELD: Duration = Duration::from_secs(3);

/// How far what the kernel did may be from what the test's clock saw around it.
const NEAR: Duration = Duration::from_millis(50);

/// A half-close that was held open: its addresses, and for how long at least and at most.
type Held = ((SocketAddr, SocketAddr), Duration, Duration);

/// Checks the time in FIN_WAIT2 against what was measured, and the TIME_WAIT that follows.
fn assert_held(experiment: fn() -> Held) {
    let seen = Seen::shared();
    // On a busy machine the test itself may be held up between looking at the clock and acting.
    let narrow = |(_, least, most): &Held| *most < *least + NEAR;
    let (ends, least, most) = (0..10).map(|_| experiment()).find(narrow).expect("a measurement to compare with");
    let entered = seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
    let held = entered.dwell();
    assert!(held + NEAR >= least && held <= most + NEAR, "held {least:?} to {most:?}, shown {held:?}");
    assert_eq!(entered.timing, "exact", "{entered:?}");
    assert_natural_end(&seen.wait_for_step(ends, "TIME_WAIT>CLOSE", A_MINUTE));
}

/// `shutdown()`: the owner still has the socket.
pub fn of_a_full_socket() {
    assert_held(|| {
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
        (ends, least, before.elapsed())
    });
}

/// `close()`: the kernel goes on in a mini-socket, in which the FIN arrives much later.
pub fn of_an_orphan() {
    assert_held(|| {
        let pair = Pair::on(V4);
        let ends = pair.ends();
        let before = Instant::now();
        drop(pair.client);
        traffic::read_end(&pair.server);
        let entered = Instant::now();
        hold(HELD);
        assert!(ss(ends).is_some_and(|line| line.starts_with("FIN-WAIT-2")), "a mini-socket");
        let least = entered.elapsed();
        drop(pair.server);
        (ends, least, before.elapsed())
    });
}

/// The FIN comes 40 ms after the mini-socket began. Its timer then is set to a minute from now, which is the bucket of the
/// wheel it sits in already: the timer's tracepoints say nothing.
pub fn silent_fin() {
    let seen = Seen::shared();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // Buckets are seconds wide: of three in a row at least two find no border between their two times.
    let mut silent = Vec::new();
    while silent.len() < 3 {
        let pair = Pair::on(V4);
        let ends = pair.ends();
        let start = now();
        drop(pair.client);
        traffic::read_end(&pair.server);
        hold(Duration::from_millis(40));
        let before = now();
        drop(pair.server);
        let after = now();
        // On a busy machine the test itself may be held up.
        if after < start + Duration::from_millis(150) {
            silent.push((ends, before, after));
        }
    }
    for &(ends, before, after) in &silent {
        let entered = seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
        assert_eq!(entered.timing, "exact", "{entered:?}");
        assert!(entered.when() + Duration::from_millis(1) >= before, "{entered:?}, but it was {before:?}");
        assert!(entered.when() <= after + NEAR, "{entered:?}, but it was {after:?}");
    }
    for (ends, ..) in silent {
        let end = seen.wait_for_step(ends, "TIME_WAIT>CLOSE", A_MINUTE);
        assert_natural_end(&end);
        let life = seen.connection(end.id.as_ref());
        assert!(steps(&life).ends_with("FIN_WAIT1>FIN_WAIT2 FIN_WAIT2>TIME_WAIT TIME_WAIT>CLOSE"), "{life:?}");
    }
}
