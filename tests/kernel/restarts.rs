//! TIME_WAIT whose minute begins again: segments of the dead connection arrive late.

use std::time::{Duration, Instant};

use crate::{
    netns,
    packet::{self, ACK, FIN, Numbers},
    tracer::{A_MINUTE, SOON, Seen},
    traffic::{Pair, hold, wheel_bucket},
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
    let least = Duration::from_secs(60) + Duration::from_millis(3 * 700);
    assert!(end.dwell() >= least, "{end:?}");
    assert!(end.dwell() <= Duration::from_secs(62) + last + wheel_bucket(), "{end:?}");
}
