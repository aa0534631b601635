//! TIME_WAIT whose minute begins again: segments of the dead connection arrive late. And the one that changes nothing.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    active_close::assert_natural_end,
    guest::time_is_warped,
    netns,
    packet::{self, ACK, FIN, Numbers, RST, SYN},
    tracer::{A_MINUTE, Line, SOON, Seen, steps},
    traffic::{Pair, hold, ss, until, wheel_bucket},
};

/// The FIN again, an ACK, and the FIN again, from the peer's numbers before it closed.
pub fn late(peer: Numbers) -> [(u8, Numbers); 3] {
    // The client's own FIN took a number, and so did the peer's.
    let fin = Numbers { send: peer.send, receive: peer.receive.wrapping_add(1) };
    let ack = Numbers { send: peer.send.wrapping_add(1), ..fin };
    [(FIN | ACK, fin), (ACK, ack), (FIN | ACK, fin)]
}

pub fn are_counted(ip: &str) {
    // A repeated FIN is answered, the answer finds no socket, and the RST that comes back would end it all.
    netns::sysctl("ipv4/tcp_rfc1337", "1");
    let seen = Seen::shared();
    let pair = Pair::on(ip);
    let ends = pair.ends();
    let peer = packet::numbers(&pair.server);
    drop(pair.close_client_first());
    let entered = seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
    let at_entry = Instant::now();

    for (flags, numbers) in late(peer) {
        // Any two are jiffies apart.
        hold(Duration::from_millis(700));
        packet::send(ends.1, ends.0, flags, numbers);
    }
    let last = at_entry.elapsed();

    let end = seen.wait_for_step(ends, "TIME_WAIT>CLOSE", A_MINUTE);
    assert_eq!(end.id, entered.id);
    assert_eq!(
        (end.reason.as_deref(), end.restarts, end.timing.as_str()),
        (Some("expired"), Some(3), "exact"),
        "{end:?}"
    );
    let causes: Vec<(&str, u32)> = end.restart_causes.iter().map(|(cause, count)| (cause.as_str(), *count)).collect();
    assert_eq!(causes, [("ack", 1), ("duplicate-fin", 2)], "{end:?}");
    let least = Duration::from_secs(60) + Duration::from_millis(3 * 700);
    assert!(end.dwell() >= least, "{end:?}");
    assert!(end.dwell() <= Duration::from_secs(62) + last + wheel_bucket(), "{end:?}");
}

/// A connection whose client is in TIME_WAIT.
struct Waiting {
    ends: (SocketAddr, SocketAddr),
    /// Where the peer is after its FIN, which took a number, as the client's own FIN did.
    peer: Numbers,
    entered: Line,
}

impl Waiting {
    fn start(seen: &Seen, ip: &str) -> Self {
        let pair = Pair::on(ip);
        let ends = pair.ends();
        let peer = packet::numbers(&pair.server);
        let peer = Numbers { send: peer.send.wrapping_add(1), receive: peer.receive.wrapping_add(1) };
        drop(pair.close_client_first());
        let entered = seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
        Self { ends, peer, entered }
    }

    /// The peer sends a segment, and the kernel has it.
    fn hears(&self, flags: u8, numbers: Numbers) {
        let before = netns::segments_in();
        packet::send(self.ends.1, self.ends.0, flags, numbers);
        until("the segment arrives", SOON, || netns::segments_in() > before);
    }
}

/// What PAWS rejects restarts the clock, were it only a SYN (`paws_reject` in `tcp_timewait_state_process`).
pub fn by_paws(ip: &str) {
    // What is rejected is answered, the answer finds no socket, and the RST that comes back would end it all.
    netns::sysctl("ipv4/tcp_rfc1337", "1");
    // The first up to 6.12, the second after.
    let rejected = || ["PAWSEstab", "PAWSTimewait"].into_iter().filter_map(netns::tcp_ext_if_any).sum::<u64>();
    let before = rejected();
    let seen = Seen::shared();
    let pair = Pair::on(ip);
    let ends = pair.ends();
    let peer = packet::numbers(&pair.server);
    let old = packet::timestamp(&pair.server).wrapping_sub(100_000);
    drop(pair.close_client_first());
    let entered = seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);

    let ack = Numbers { send: peer.send.wrapping_add(1), receive: peer.receive.wrapping_add(1) };
    let syn = Numbers { send: peer.send.wrapping_sub(1000), receive: 0 };
    // Any two are jiffies apart. A SYN from the past restarts nothing but for its timestamp.
    hold(Duration::from_millis(700));
    packet::send_stamped(ends.1, ends.0, ACK, ack, old);
    hold(Duration::from_millis(700));
    let last = now();
    packet::send_stamped(ends.1, ends.0, SYN, syn, old);
    until("PAWS rejects both", SOON, || rejected() == before + 2);
    let heard = netns::segments_in();
    hold(Duration::from_millis(700));
    packet::send(ends.1, ends.0, SYN, syn);
    until("the other SYN arrives", SOON, || netns::segments_in() > heard);

    let end = seen.wait_for_step(ends, "TIME_WAIT>CLOSE", A_MINUTE);
    assert_eq!(rejected(), before + 2);
    assert_restarted(&end, &entered, 2, last);
}

/// A peer that does not stop talking: often within a bucket of the timer wheel, often not.
pub fn by_a_chatterer(ip: &str) {
    netns::sysctl("ipv4/tcp_rfc1337", "1");
    let length = Duration::from_secs(if time_is_warped() { 300 } else { 9 });
    let seen = Seen::shared();
    let waiting = Waiting::start(&seen, ip);
    let fin = Numbers { send: waiting.peer.send.wrapping_sub(1), ..waiting.peer };
    let talk = [(FIN | ACK, fin, 700), (ACK, waiting.peer, 2900), (FIN | ACK, fin, 1300)];
    let (begun, mut last) = (Instant::now(), Duration::ZERO);
    let mut said = 0;
    for (flags, numbers, pause) in talk.into_iter().cycle() {
        hold(Duration::from_millis(pause));
        last = now();
        waiting.hears(flags, numbers);
        said += 1;
        if begun.elapsed() >= length {
            break;
        }
    }
    assert!(said >= 5, "{said}");
    let end = seen.wait_for_step(waiting.ends, "TIME_WAIT>CLOSE", A_MINUTE);
    assert_restarted(&end, &waiting.entered, said, last);
    let life = seen.connection(end.id.as_ref());
    assert!(steps(&life).ends_with("FIN_WAIT1>FIN_WAIT2 FIN_WAIT2>TIME_WAIT TIME_WAIT>CLOSE"), "{life:?}");
}

/// RFC 1337's remedy: an RST with exactly the number expected does nothing at all.
pub fn not_by_an_rst(ip: &str) {
    netns::sysctl("ipv4/tcp_rfc1337", "1");
    let seen = Seen::shared();
    let [kept, killed] = [(), ()].map(|()| Waiting::start(&seen, ip));
    // Were the clock restarted now, it would end later than any that was not.
    hold(wheel_bucket() + Duration::from_secs(2));
    for waiting in [&kept, &killed] {
        waiting.hears(RST, waiting.peer);
    }
    // It has the right number: the same one ends it where the remedy is not wanted.
    hold(Duration::from_millis(100));
    for waiting in [&kept, &killed] {
        assert!(ss(waiting.ends).is_some_and(|line| line.starts_with("TIME-WAIT")), "it lives");
    }
    netns::sysctl("ipv4/tcp_rfc1337", "0");
    killed.hears(RST, killed.peer);
    let end = seen.wait_for_step(killed.ends, "TIME_WAIT>CLOSE", SOON);
    assert_eq!((end.reason.as_deref(), end.restarts), (Some("reset"), Some(0)), "{end:?}");
    let end = seen.wait_for_step(kept.ends, "TIME_WAIT>CLOSE", A_MINUTE);
    assert_eq!(end.id, kept.entered.id);
    assert_natural_end(&end);
}

/// Checks an end a minute after the last restart, the sending of which was begun at `last`.
fn assert_restarted(end: &Line, entered: &Line, restarts: u32, last: Duration) {
    assert_eq!(end.id, entered.id);
    assert_eq!(
        (end.reason.as_deref(), end.restarts, end.timing.as_str()),
        (Some("expired"), Some(restarts), "exact"),
        "{end:?}"
    );
    // The two clocks that tell the time of day are read by different programs.
    let near = Duration::from_millis(10);
    let since = end.dwell() + near - (last - entered.when());
    let minute = Duration::from_secs(60);
    assert!(since >= minute, "{since:?} after the last: {end:?}");
    assert!(since <= minute + wheel_bucket() + Duration::from_secs(1), "{since:?} after the last: {end:?}");
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}
