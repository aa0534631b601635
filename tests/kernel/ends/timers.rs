//! Ends by the kernel's timers: nobody answers any more.

use std::{net::Shutdown, thread, time::Duration};

use nix::libc;
use socket2::Socket;

use super::{CLOSE_WAIT, FIN_WAIT2, abort, expect, is_in};
use crate::{
    netns,
    tracer::{SOON, Seen},
    traffic::{self, Pair, deafen, flip, set_option, until},
};

/// Nobody answers any more: the kernel gives up for each of its timers.
pub fn by_timers(ip: &str) {
    let seen = Seen::shared();
    let listener = traffic::listen(ip);
    listener.set_recv_buffer_size(4096).unwrap();
    let connected = || {
        let client = traffic::connect(traffic::address(&listener));
        let server = traffic::accept(&listener);
        let ends = (traffic::address(&client), traffic::peer(&client));
        (ends, client, server)
    };
    let patient = |socket: &Socket| set_option(socket, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 700);
    let mut held = Vec::new();
    let mut cases = Vec::new();
    let before = netns::tcp_ext("TCPAbortOnTimeout");
    for (detail, from) in [
        ("keepalive", "ESTABLISHED"),
        ("keepalive", "FIN_WAIT2"),
        ("user-timeout", "ESTABLISHED"),
        ("retransmissions", "ESTABLISHED"),
        ("retransmissions", "LAST_ACK"),
        ("zero-window", "ESTABLISHED"),
        ("zero-window", "FIN_WAIT1"),
    ] {
        let (ends, client, server) = connected();
        match from {
            "FIN_WAIT2" => {
                client.shutdown(Shutdown::Write).unwrap();
                is_in(&client, FIN_WAIT2);
            }
            "LAST_ACK" => {
                server.shutdown(Shutdown::Write).unwrap();
                is_in(&client, CLOSE_WAIT);
            }
            _ => {}
        }
        if detail == "zero-window" {
            fill(&client);
        }
        if detail == "user-timeout" {
            patient(&client);
        }
        deafen(&server);
        match detail {
            "keepalive" => keep_alive(&client),
            "zero-window" => {}
            _ => assert_eq!(client.send(b"x").unwrap(), 1),
        }
        cases.push((ends, detail, from));
        held.push(server);
        if ["LAST_ACK", "FIN_WAIT1"].contains(&from) {
            drop(client);
        } else {
            held.push(client);
        }
    }
    // Soon: not all probes of a closed window are answered, so not before it is.
    netns::sysctl("ipv4/tcp_retries2", "1");
    netns::sysctl("ipv4/tcp_orphan_retries", "1");
    for (ends, detail, from) in &cases {
        let end = expect(&seen, *ends, from, "timed-out", Some(detail));
        assert_eq!((end.errno.as_deref(), &end.by), (Some("ETIMEDOUT"), &None), "{end:?}");
    }
    // The peers' timers run out too, where they do not hear any more that their FIN is acknowledged.
    let given_up = || seen.lines().iter().filter(|line| line.reason.as_deref() == Some("timed-out")).count() as u64;
    until("the counter is right", SOON, || netns::tcp_ext("TCPAbortOnTimeout") == before + given_up());
}

/// Sends probes from the first idle second on, and one is enough.
pub fn keep_alive(socket: &Socket) {
    for (name, value) in [(libc::TCP_KEEPIDLE, 1), (libc::TCP_KEEPINTVL, 1), (libc::TCP_KEEPCNT, 1)] {
        set_option(socket, libc::IPPROTO_TCP, name, value);
    }
    socket.set_keepalive(true).unwrap();
}

/// Sends until the peer's window is closed, and all that was sent is acknowledged: what is left of a window is used when it is probed.
pub fn fill(socket: &Socket) {
    socket.set_nonblocking(true).unwrap();
    traffic::in_time("the window is closed", SOON, || {
        // Short ones, or what does not fit is dropped instead of acknowledged.
        for _ in 0..60 {
            let _ = socket.send(&[0; 100]);
            thread::sleep(Duration::from_millis(1));
        }
        let info = info(socket);
        info[6] == 0 && info[57] == 0
    });
}

/// How often segments were sent again is told where it is final: by the kernel's own count, of a connection that goes its way and of one that is reset.
pub fn sent_again(ip: &str) {
    let seen = Seen::shared();
    for is_reset in [false, true] {
        let pair = Pair::on(ip);
        let ends = pair.ends();
        deafen(&pair.server);
        pair.client.send(b"x").unwrap();
        traffic::in_time("it is sent again, twice", SOON, || total_retrans(&pair.client) > 1);
        pair.server.detach_filter().unwrap();
        traffic::read_exactly(&pair.server, 1);
        until("it is acknowledged", SOON, || info(&pair.client)[6] == 0);
        let again = Some(u16::try_from(total_retrans(&pair.client)).unwrap());
        if is_reset {
            abort(pair.client);
            assert_eq!(seen.wait_for_step(ends, "ESTABLISHED>CLOSE", SOON).retransmits, again);
            continue;
        }
        pair.close_client_first();
        assert_eq!(seen.wait_for_step(ends, "FIN_WAIT1>FIN_WAIT2", SOON).retransmits, again);
        let end = seen.wait_for_step(flip(ends), "LAST_ACK>CLOSE", SOON);
        assert_eq!(end.retransmits, Some(0), "the server's own: {end:?}");
        assert_eq!(seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON).retransmits, None);
    }
}

/// `struct tcp_info` in words of 32 bits: tcpi_unacked is the seventh, tcpi_total_retrans the twenty-sixth, tcpi_snd_wnd the fifty-eighth.
fn info(socket: &Socket) -> Vec<u32> {
    let info: [u64; 29] = traffic::get_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO);
    let bytes: Vec<u8> = info.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect()
}

fn total_retrans(socket: &Socket) -> u32 {
    info(socket)[25]
}

/// An orphan's FIN_WAIT2 that a full socket keeps: it ends with an RST where a minute has become less meanwhile (`tcp_keepalive_timer`).
pub fn fin_wait_2(ip: &str) {
    netns::sysctl("ipv4/tcp_fin_timeout", "62");
    let seen = Seen::shared();
    let pair = Pair::on(ip);
    let ends = pair.ends();
    drop(pair.client);
    traffic::in_time("a full socket keeps it", SOON, || {
        traffic::ss(ends).is_some_and(|line| line.starts_with("FIN-WAIT-2") && line.contains("timer:(keepalive,"))
    });
    netns::sysctl("ipv4/tcp_fin_timeout", "10");
    let end = expect(&seen, ends, "FIN_WAIT2", "timed-out", Some("fin-wait-2"));
    assert_eq!((&end.by, &end.errno), (&None, &None), "{end:?}");
    expect(&seen, flip(ends), "CLOSE_WAIT", "reset", None);
}
