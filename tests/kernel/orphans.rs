//! Connections in FIN_WAIT2 that nobody holds any more: how long they may be, and in what the kernel keeps them meanwhile.

use std::{
    io::ErrorKind,
    net::{Shutdown, SocketAddr},
    time::{Duration, Instant},
};

use nix::libc;

use crate::{
    active_close::assert_natural_end,
    netns,
    tracer::{A_MINUTE, SOON, Seen, steps},
    traffic::{self, FIN_WAIT2, Pair, hold, in_time, set_option, ss, until},
};

/// How far what the kernel did may be from what the test's clock saw around it.
const NEAR: Duration = Duration::from_millis(50);

/// Waits until the kernel waits for an orphan's FIN with this timer: `keepalive` is a full socket's, `timewait` a
/// mini-socket's.
fn until_carried_by(ends: (SocketAddr, SocketAddr), timer: &str) {
    let timer = format!("timer:({timer},");
    in_time(&timer, SOON, || ss(ends).is_some_and(|line| line.starts_with("FIN-WAIT-2") && line.contains(&timer)));
}

/// `tcp_fin_timeout` is longer than a minute: the full socket stays for what is above a minute (`tcp_rcv_state_process`), and
/// then a mini-socket for as long again (`tcp_keepalive_timer` hands over with `tcp_fin_time` less a minute). No FIN comes.
pub fn of_a_long_timeout_expire(ip: &str) {
    const ABOVE: Duration = Duration::from_secs(3);
    netns::sysctl("ipv4/tcp_fin_timeout", "63");
    let seen = Seen::shared();
    let pair = Pair::on(ip);
    let ends = pair.ends();
    drop(pair.client);
    until_carried_by(ends, "keepalive");
    until_carried_by(ends, "timewait");
    let end = seen.wait_for_step(ends, "FIN_WAIT2>CLOSE", SOON);
    assert_eq!((end.reason.as_deref(), end.timing.as_str()), (Some("expired"), "exact"), "{end:?}");
    assert_eq!(end.restarts, None, "{end:?}");
    // Each of the two timers fires at the end of its bucket, a fraction of a second wide.
    assert!(end.dwell() >= 2 * ABOVE && end.dwell() < 2 * ABOVE + Duration::from_secs(2), "{end:?}");
    let life = seen.connection(end.id.as_ref());
    assert!(steps(&life).ends_with("FIN_WAIT1>FIN_WAIT2 FIN_WAIT2>CLOSE"), "one time in FIN_WAIT2: {life:?}");
}

/// The same with a FIN: to the full socket, and to the mini-socket that took over from it.
pub fn of_a_long_timeout_hear_the_fin(ip: &str) {
    netns::sysctl("ipv4/tcp_fin_timeout", "63");
    let seen = Seen::shared();
    let held = ["keepalive", "timewait"].map(|timer| {
        // On a busy machine the test itself may be held up between looking at the clock and acting.
        let narrow = |(_, least, most): &Held| *most < *least + NEAR;
        (0..10).map(|_| held_until_carried_by(timer, ip)).find(narrow).expect("a measurement to compare with")
    });
    for (ends, least, most) in held {
        let entered = seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
        let held = entered.dwell();
        assert!(held + NEAR >= least && held <= most + NEAR, "held {least:?} to {most:?}: {entered:?}");
        assert_eq!(entered.timing, "exact", "{entered:?}");
        let end = seen.wait_for_step(ends, "TIME_WAIT>CLOSE", A_MINUTE);
        assert_eq!(end.id, entered.id);
        assert_natural_end(&end);
        let life = seen.connection(end.id.as_ref());
        assert!(steps(&life).ends_with("FIN_WAIT1>FIN_WAIT2 FIN_WAIT2>TIME_WAIT TIME_WAIT>CLOSE"), "{life:?}");
    }
}

/// The addresses of an orphan, and for how long at least and at most it waited for its FIN.
type Held = ((SocketAddr, SocketAddr), Duration, Duration);

fn held_until_carried_by(timer: &str, ip: &str) -> Held {
    let pair = Pair::on(ip);
    let ends = pair.ends();
    let before = Instant::now();
    drop(pair.client);
    traffic::read_end(&pair.server);
    let entered = Instant::now();
    until_carried_by(ends, timer);
    hold(Duration::from_millis(500));
    let least = entered.elapsed();
    drop(pair.server);
    (ends, least, before.elapsed())
}

/// `TCP_LINGER2`: this socket waits for two seconds, others for a minute.
pub fn linger_less(ip: &str) {
    let seen = Seen::shared();
    let pair = Pair::on(ip);
    let ends = pair.ends();
    set_option(&pair.client, libc::IPPROTO_TCP, libc::TCP_LINGER2, 2);
    drop(pair.client);
    let end = seen.wait_for_step(ends, "FIN_WAIT2>CLOSE", SOON);
    assert_eq!((end.reason.as_deref(), end.timing.as_str()), (Some("expired"), "exact"), "{end:?}");
    assert_eq!((end.restarts, &end.by), (None, &None), "{end:?}");
    // Its bucket of the wheel is a tenth of a second at most.
    assert!((2000..3200).contains(&end.dwell().as_millis()), "{end:?}");
}

/// `TCP_LINGER2` below 0: it does not wait at all and sends an RST, on the ACK of its FIN (`tcp_rcv_state_process`) or at
/// `close()` (`__tcp_close`). There is no mini-socket, and that is no overflow.
pub fn linger_not(ip: &str) {
    let seen = Seen::shared();
    let overflows = netns::tcp_ext("TCPTimeWaitOverflow");
    for (in_fin_wait2, counter) in [(false, "TCPAbortOnData"), (true, "TCPAbortOnLinger")] {
        let before = netns::tcp_ext(counter);
        let Pair { listener: _listener, client, server } = Pair::on(ip);
        let ends = (traffic::address(&client), traffic::peer(&client));
        set_option(&client, libc::IPPROTO_TCP, libc::TCP_LINGER2, -1);
        if in_fin_wait2 {
            client.shutdown(Shutdown::Write).unwrap();
            until("FIN_WAIT2", SOON, || traffic::state(&client) == FIN_WAIT2);
        }
        drop(client);
        let end = seen.wait_for_step(ends, "FIN_WAIT2>CLOSE", SOON);
        assert_eq!((end.reason.as_deref(), end.detail.as_deref()), (Some("reset-sent"), Some("linger")), "{end:?}");
        assert_eq!((end.by.is_some(), end.restarts), (in_fin_wait2, None), "{end:?}");
        assert_eq!(end.timing, "exact", "{end:?}");
        assert_eq!(netns::tcp_ext(counter), before + 1, "the kernel did what this test is about");
        let life = seen.connection(end.id.as_ref());
        assert!(steps(&life).ends_with("ESTABLISHED>FIN_WAIT1 FIN_WAIT1>FIN_WAIT2 FIN_WAIT2>CLOSE"), "{life:?}");
        // The RST reaches the peer, which has heard the FIN.
        let peer = seen.wait_for_step(traffic::flip(ends), "CLOSE_WAIT>CLOSE", SOON);
        assert_eq!(peer.reason.as_deref(), Some("reset"), "{peer:?}");
        assert_eq!(server.take_error().unwrap().map(|error| error.kind()), Some(ErrorKind::BrokenPipe));
    }
    assert_eq!(netns::tcp_ext("TCPTimeWaitOverflow"), overflows);
}
