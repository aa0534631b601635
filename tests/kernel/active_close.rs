//! Connections that end as the textbook says: every step of both ends, nothing else, and a TIME_WAIT that is shown
//! until it really ends.

use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    V4, netns,
    tracer::{A_MINUTE, Line, SOON, Seen, by_id, steps},
    traffic::{self, FIN_WAIT2, Pair, flip, ss, wheel_bucket},
};

const CLIENT: &str = "CLOSE>SYN_SENT SYN_SENT>ESTABLISHED ESTABLISHED>FIN_WAIT1 FIN_WAIT1>FIN_WAIT2 \
                      FIN_WAIT2>TIME_WAIT TIME_WAIT>CLOSE";
const SERVER: &str = "LISTEN>SYN_RECV SYN_RECV>ESTABLISHED ESTABLISHED>CLOSE_WAIT CLOSE_WAIT>LAST_ACK LAST_ACK>CLOSE";

/// Checks the end of a natural TIME_WAIT whose clock was never restarted.
pub fn assert_natural_end(end: &Line) {
    let slack = Duration::from_secs(1);
    assert_eq!(end.reason.as_deref(), Some("expired"), "{end:?}");
    assert_eq!((end.timing.as_str(), end.restarts, end.predates), ("exact", Some(0), false), "{end:?}");
    let stayed = end.dwell();
    assert!(stayed >= Duration::from_secs(60), "{end:?}");
    assert!(stayed <= Duration::from_secs(60) + wheel_bucket() + slack, "{end:?}");
}

pub fn textbook(ip: &str) {
    let seen = Seen::shared();
    let pair = Pair::on(ip);
    let ends = pair.ends();
    drop(pair.close_client_first());
    whole_life(&seen, ends, if ip == V4 { 4 } else { 6 });
}

/// The sockets are IPv6's, the packets IPv4's, and so are the lines.
pub fn v4_mapped() {
    let seen = Seen::shared();
    let new = || Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).unwrap();
    let listener = new();
    listener.set_only_v6(false).unwrap();
    listener.bind(&"[::]:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(1).unwrap();
    let port = traffic::address(&listener).port();
    let client = new();
    let to: std::net::SocketAddr = format!("[::ffff:127.0.0.1]:{port}").parse().unwrap();
    client.connect(&to.into()).unwrap();
    let from = traffic::address(&client).port();
    let server = traffic::accept(&listener);
    drop(client);
    traffic::read_end(&server);
    drop((server, listener));
    let shown = |port| std::net::SocketAddr::new(V4.parse().unwrap(), port);
    whole_life(&seen, (shown(from), shown(port)), 4);
}

fn whole_life(seen: &Seen, ends: (std::net::SocketAddr, std::net::SocketAddr), family: u8) {
    let entered = seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
    let id = entered.id.clone().unwrap();
    // ss shows a v4-mapped socket as IPv6's.
    let mapped = |end: std::net::SocketAddr| format!("[::ffff:{}]:{}", end.ip(), end.port()).parse().ok();
    let line = ss(ends).or_else(|| ss((mapped(ends.0)?, mapped(ends.1)?))).expect("ss shows it");
    assert!(line.starts_with("TIME-WAIT"), "{line}");
    assert!(line.split_whitespace().any(|word| word == format!("sk:{id}")), "{id} in {line}");
    let end = seen.wait_for_step(ends, "TIME_WAIT>CLOSE", A_MINUTE);
    assert_natural_end(&end);
    assert!(ss(ends).is_none(), "it is gone");

    let lines = seen.lines();
    let connections = by_id(&lines);
    let mine: Vec<&Vec<Line>> =
        connections.values().filter(|steps| steps.iter().any(|line| line.rport.is_some())).collect();
    assert_eq!(mine.len(), 2, "two ends and nothing else: {connections:?}");
    for steps_of_one in mine {
        let is_client = steps_of_one[0].id.as_ref() == Some(&id);
        let (wanted, ends) = if is_client { (CLIENT, ends) } else { (SERVER, flip(ends)) };
        assert_eq!(steps(steps_of_one), wanted);
        for line in steps_of_one {
            assert!(line.is_of(ends), "the same addresses in every line, ports too: {line:?}");
            assert_eq!((line.netns, line.family), (netns::inode(), family), "{line:?}");
            let reason = match line.step().as_str() {
                "TIME_WAIT>CLOSE" => Some("expired"),
                "LAST_ACK>CLOSE" => Some("closed"),
                _ => None,
            };
            assert_eq!((line.reason.as_deref(), &line.detail), (reason, &None), "{line:?}");
            assert!(line.by.is_none() && !line.predates, "{line:?}");
        }
        // What was entered before the eyes of the tool is timed; what a request_sock did is not.
        let exact = steps_of_one.iter().skip(if is_client { 1 } else { 2 });
        assert!(exact.clone().all(|line| line.timing == "exact" && line.dwell_ns.is_some()), "{steps_of_one:?}");
        // Each step begins when the one before ended.
        for step in steps_of_one.windows(2).filter(|step| step[1].timing == "exact") {
            let apart = step[1].when() - step[0].when();
            assert!(apart.abs_diff(step[1].dwell()) < Duration::from_millis(1), "{step:?}");
        }
    }
}

/// Both close at once: neither hears the other's FIN before it has sent its own.
pub fn both_close(pair: &Pair) {
    let ends = [&pair.client, &pair.server];
    ends.iter().copied().for_each(traffic::deafen);
    ends.iter().for_each(|end| end.shutdown(std::net::Shutdown::Write).unwrap());
    ends.iter().for_each(|end| end.detach_filter().unwrap());
}

pub fn simultaneous(ip: &str) {
    let seen = Seen::shared();
    let pair = Pair::on(ip);
    let ends = pair.ends();
    both_close(&pair);
    // One of the two hears the other's FIN before the ACK of its own.
    let closing = seen.wait_for("FIN_WAIT1>CLOSING", SOON, |line| line.step() == "FIN_WAIT1>CLOSING");
    let ends = if closing.is_of(ends) { ends } else { flip(ends) };
    assert!(closing.is_of(ends), "{closing:?}");
    seen.wait_for_step(ends, "CLOSING>TIME_WAIT", SOON);
    let other =
        seen.wait_for("the other end's TIME_WAIT", SOON, |line| line.is_of(flip(ends)) && line.to == "TIME_WAIT");
    assert_ne!(other.from.as_deref(), Some("FIN_WAIT1"), "{other:?}");
    assert_ne!(traffic::state(&pair.client), FIN_WAIT2, "the kernel agrees that it is past this");
    for ends in [ends, flip(ends)] {
        let end = seen.wait_for_step(ends, "TIME_WAIT>CLOSE", A_MINUTE);
        assert_natural_end(&end);
    }
    let life = seen.connection(closing.id.as_ref());
    assert!(steps(&life).ends_with("FIN_WAIT1>CLOSING CLOSING>TIME_WAIT TIME_WAIT>CLOSE"), "{life:?}");
}
