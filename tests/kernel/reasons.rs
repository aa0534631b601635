//! Every way in which a mini-socket ends, made to happen; and the one in which there is none.

use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{
    V4,
    actor::Cast,
    netns,
    packet::{self, Numbers, RST, SYN},
    probes, redirect,
    tracer::{By, Line, SOON, Seen, Tracer, by_id, steps},
    traffic::{self, FIN_WAIT2, Pair, flip, ss, until},
};

/// Waits for the end of a TIME_WAIT, and checks what is said of it.
fn expect_end(seen: &Seen, ends: (SocketAddr, SocketAddr), step: &str, reason: &str, by: Option<By>) -> Line {
    let end = seen.wait_for_step(ends, step, SOON);
    assert_eq!((end.reason.as_deref(), &end.by), (Some(reason), &by), "{end:?}");
    assert_eq!(end.timing, "exact", "{end:?}");
    assert!(end.dwell() < Duration::from_secs(55), "long before its minute: {end:?}");
    end
}

/// A connection whose client is in TIME_WAIT, its listener still there.
fn client_in_time_wait(seen: &Seen, pair: Pair) -> socket2::Socket {
    let ends = pair.ends();
    let listener = pair.close_client_first();
    seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
    listener
}

/// The only port there is; a TIME_WAIT has to be a second old.
pub fn reused_auto_port(ip: &str) {
    netns::sysctl("ipv4/tcp_tw_reuse", "1");
    let seen = Seen::shared();
    let listener = traffic::listen(ip);
    netns::sysctl("ipv4/ip_local_port_range", "40404 40404");
    let client = traffic::connect(traffic::address(&listener));
    let server = traffic::accept(&listener);
    let pair = Pair { listener, client, server };
    let ends = pair.ends();
    assert_eq!(ends.0.port(), 40404);
    let _listener = client_in_time_wait(&seen, pair);
    let mut reuser = Cast::named("auto-reuser").start();
    reuser.does(&format!("insist {}", ends.1));
    let by = By { pid: reuser.pid(), comm: "auto-reuser".to_owned() };
    let end = expect_end(&seen, ends, "TIME_WAIT>CLOSE", "reused-by-connect", Some(by));
    assert_eq!(end.comm.as_deref(), Some(own_name().as_str()), "whose it was: {end:?}");
    the_next_is_another(&seen, ends, &end, reuser.pid());
}

/// The port was asked for: no sysctl and no second needed.
pub fn reused_bound_port(ip: &str) {
    netns::sysctl("ipv4/tcp_tw_reuse", "0");
    let seen = Seen::shared();
    let listener = traffic::listen(ip);
    let to = traffic::address(&listener);
    let client = traffic::connect_from(SocketAddr::new(to.ip(), 0), to);
    let server = traffic::accept(&listener);
    let pair = Pair { listener, client, server };
    let ends = pair.ends();
    let _listener = client_in_time_wait(&seen, pair);
    let mut reuser = Cast::named("bound-reuser").start();
    reuser.does(&format!("connect {} {}", ends.1, ends.0));
    let by = By { pid: reuser.pid(), comm: "bound-reuser".to_owned() };
    let end = expect_end(&seen, ends, "TIME_WAIT>CLOSE", "reused-by-connect", Some(by));
    assert_eq!(end.comm.as_deref(), Some(own_name().as_str()), "whose it was: {end:?}");
    the_next_is_another(&seen, ends, &end, reuser.pid());
}

/// The connection that took the tuple is a connection of its own, of its own process.
fn the_next_is_another(seen: &Seen, ends: (SocketAddr, SocketAddr), end: &Line, pid: u32) {
    let next = seen.wait_for("the connection that took over", SOON, |line| {
        line.is_of(ends) && line.step() == "SYN_SENT>ESTABLISHED" && line.id != end.id
    });
    assert_eq!(next.pid, Some(pid), "{next:?}");
    let life = seen.connection(next.id.as_ref());
    assert_eq!(steps(&life), "CLOSE>SYN_SENT SYN_SENT>ESTABLISHED", "{life:?}");
    let before = seen.connection(end.id.as_ref());
    assert!(steps(&before).ends_with("FIN_WAIT2>TIME_WAIT TIME_WAIT>CLOSE"), "{before:?}");
}

/// The server is in TIME_WAIT, and its client connects again from the same port.
pub fn reused_by_syn(ip: &str) {
    let seen = Seen::shared();
    let listener = traffic::listen(ip);
    let to = traffic::address(&listener);
    let client = traffic::connect_from(SocketAddr::new(to.ip(), 0), to);
    let server = traffic::accept(&listener);
    let pair = Pair { listener, client, server };
    let ends = pair.ends();
    let listener = pair.close_server_first();
    let entered = seen.wait_for_step(flip(ends), "FIN_WAIT2>TIME_WAIT", SOON);
    seen.wait_for_step(ends, "LAST_ACK>CLOSE", SOON);
    let client = traffic::connect_from(ends.0, ends.1);
    let end = expect_end(&seen, flip(ends), "TIME_WAIT>CLOSE", "reused-by-syn", None);
    assert_eq!(end.id, entered.id);
    let _server = traffic::accept(&listener);
    let next = seen.wait_for("the connection that took over", SOON, |line| {
        line.is_of(flip(ends)) && line.step() == "SYN_RECV>ESTABLISHED" && line.id != end.id
    });
    assert!(next.when() >= end.when(), "{next:?} after {end:?}");
    drop(client);
}

/// The same where a transparent proxy's rule hands the SYN to its listener before TCP sees it (`nf_tproxy_handle_time_wait4`).
pub fn reused_by_syn_by_tproxy(ip: &str) {
    let seen = Seen::shared();
    let listener = traffic::listen(ip);
    let to = traffic::address(&listener);
    redirect::make_transparent(&listener, to);
    let client = traffic::connect_from(SocketAddr::new(to.ip(), 0), to);
    let server = traffic::accept(&listener);
    let past = packet::numbers(&client).send.wrapping_sub(1000);
    let pair = Pair { listener, client, server };
    let ends = pair.ends();
    let listener = pair.close_server_first();
    let entered = seen.wait_for_step(flip(ends), "FIN_WAIT2>TIME_WAIT", SOON);
    seen.wait_for_step(ends, "LAST_ACK>CLOSE", SOON);
    // TCP itself does not take a SYN from the past for a new connection; the proxy does not look.
    let syn = || {
        let before = netns::segments_in();
        packet::send(ends.0, ends.1, SYN, Numbers { send: past, receive: 0 });
        until("the SYN arrives", SOON, || netns::segments_in() > before);
    };
    netns::sysctl("ipv4/tcp_rfc1337", "1");
    syn();
    assert!(ss(flip(ends)).is_some_and(|line| line.starts_with("TIME-WAIT")), "it lives");
    redirect::to(to);
    syn();
    let end = expect_end(&seen, flip(ends), "TIME_WAIT>CLOSE", "reused-by-syn", None);
    assert_eq!(end.id, entered.id);
    drop(listener);
}

/// RFC 1337's hazard: an RST with exactly the number expected.
pub fn reset(ip: &str) {
    netns::sysctl("ipv4/tcp_rfc1337", "0");
    let seen = Seen::shared();
    let pair = Pair::on(ip);
    let ends = pair.ends();
    let peer = packet::numbers(&pair.server);
    let _listener = client_in_time_wait(&seen, pair);
    packet::send(ends.1, ends.0, RST, Numbers { send: peer.send.wrapping_add(1), receive: 0 });
    expect_end(&seen, ends, "TIME_WAIT>CLOSE", "reset", None);
    assert!(ss(ends).is_none(), "it is gone");
}

/// The peer still has something to say to a process that hung up.
pub fn reset_sent(ip: &str) {
    let seen = Seen::shared();
    let Pair { listener, client, server } = Pair::on(ip);
    let ends = (traffic::address(&client), traffic::address(&listener));
    drop(client);
    seen.wait_for_step(ends, "FIN_WAIT1>FIN_WAIT2", SOON);
    until("the mini-socket", SOON, || ss(ends).is_some_and(|line| line.starts_with("FIN-WAIT-2")));
    (&server).write_all(b"too late").unwrap();
    let end = expect_end(&seen, ends, "FIN_WAIT2>CLOSE", "reset-sent", None);
    assert_eq!(end.restarts, None, "that is TIME_WAIT's: {end:?}");
    assert!(ss(ends).is_none(), "it is gone");
}

/// `ss -K`.
pub fn destroyed(ip: &str) {
    let seen = Seen::shared();
    let pair = Pair::on(ip);
    let ends = pair.ends();
    let _listener = client_in_time_wait(&seen, pair);
    let mut killer = Command::new("ss")
        .args(["-K", "-tan", "state", "time-wait", "sport", "=", &format!(":{}", ends.0.port())])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let by = By { pid: killer.id(), comm: "ss".to_owned() };
    assert!(killer.wait().unwrap().success());
    if !probes::destroy_ends_time_wait() {
        assert!(ss(ends).is_some(), "the probes say that this kernel cannot");
        return;
    }
    assert!(ss(ends).is_none(), "the probes say that this kernel can");
    let end = expect_end(&seen, ends, "TIME_WAIT>CLOSE", "destroyed", Some(by));
    assert_eq!(end.comm.as_deref(), Some(own_name().as_str()), "whose it was: {end:?}");
}

/// The namespace goes away, with a tracer that was told of it and reads its sockets.
pub fn netns_is_gone() {
    let (inside, created) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let place = thread::spawn(move || {
        let place = netns::enter_new().unwrap();
        let _resident = Cast::named("resident").start();
        inside.send(place).unwrap();
        wait.recv().unwrap();
        let ends = [V4, crate::V6].map(|ip| {
            let pair = Pair::on(ip);
            let ends = pair.ends();
            drop(pair.close_client_first());
            ends
        });
        inside.send(0).unwrap();
        wait.recv().unwrap();
        ends
    });
    let netns = created.recv().unwrap();
    let seen = Seen::through(Tracer::start(&["trace", "--json", "--netns", &netns.to_string()])).of(netns);
    go.send(()).unwrap();
    created.recv().unwrap();
    let entered = |seen: &Seen| seen.lines().iter().filter(|line| line.to == "TIME_WAIT").count();
    until("both in TIME_WAIT", SOON, || entered(&seen) == 2);
    go.send(()).unwrap();
    for ends in place.join().unwrap() {
        // cleanup_net comes when it comes.
        expect_end(&seen, ends, "TIME_WAIT>CLOSE", "netns", None);
    }
    let ended = seen.into_tracer().stop();
    ended.expect_clean();
    // Another test may get a namespace with the same number afterwards.
    let lines = ended.lines();
    let last = lines.iter().rposition(|line| line.reason.as_deref() == Some("netns")).unwrap();
    assert_eq!(by_id(&lines[..=last]).len(), 6, "two listeners, two clients, two servers");
}

/// No mini-socket is to be had.
fn no_time_wait() -> u64 {
    netns::sysctl("ipv4/tcp_max_tw_buckets", "0");
    netns::tcp_ext("TCPTimeWaitOverflow")
}

fn expect_overflow(seen: &Seen, ends: (SocketAddr, SocketAddr), overflows: u64) {
    let end = seen.wait_for_step(ends, "FIN_WAIT2>CLOSE", SOON);
    assert_eq!((end.reason.as_deref(), &end.by, end.restarts), (Some("overflow"), &None, None), "{end:?}");
    assert_eq!(netns::tcp_ext("TCPTimeWaitOverflow"), overflows + 1, "the kernel's own count");
    assert!(ss(ends).is_none(), "there is none");
    let life = seen.connection(end.id.as_ref());
    assert!(steps(&life).ends_with("FIN_WAIT1>FIN_WAIT2 FIN_WAIT2>CLOSE"), "{life:?}");
}

/// The FIN finds a full socket in FIN_WAIT2.
pub fn overflow(ip: &str) {
    let before = no_time_wait();
    let seen = Seen::shared();
    let pair = Pair::on(ip);
    let ends = pair.ends();
    pair.client.shutdown(std::net::Shutdown::Write).unwrap();
    until("FIN_WAIT2", SOON, || traffic::state(&pair.client) == FIN_WAIT2);
    drop(pair.server);
    traffic::read_end(&pair.client);
    expect_overflow(&seen, ends, before);
}

/// The ACK of an orphan's FIN would begin one.
pub fn overflow_of_an_orphan(ip: &str) {
    let before = no_time_wait();
    let seen = Seen::shared();
    let pair = Pair::on(ip);
    let ends = pair.ends();
    drop(pair.client);
    expect_overflow(&seen, ends, before);
}

/// `close()` in FIN_WAIT2 would begin one.
pub fn overflow_at_close(ip: &str) {
    let before = no_time_wait();
    let seen = Seen::shared();
    let pair = Pair::on(ip);
    let ends = pair.ends();
    pair.client.shutdown(std::net::Shutdown::Write).unwrap();
    until("FIN_WAIT2", SOON, || traffic::state(&pair.client) == FIN_WAIT2);
    drop(pair.client);
    expect_overflow(&seen, ends, before);
}

/// An orphan waits for a FIN that does not come.
pub fn orphan_expires(ip: &str) {
    netns::sysctl("ipv4/tcp_fin_timeout", "2");
    let seen = Seen::shared();
    let pair = Pair::on(ip);
    let ends = pair.ends();
    drop(pair.client);
    let end = seen.wait_for_step(ends, "FIN_WAIT2>CLOSE", SOON);
    assert_eq!((end.reason.as_deref(), end.timing.as_str()), (Some("expired"), "exact"), "{end:?}");
    assert_eq!((end.restarts, &end.by), (None, &None), "{end:?}");
    // Its bucket of the wheel is a tenth of a second at most.
    assert!((2000..3200).contains(&end.dwell().as_millis()), "{end:?}");
    let life = seen.connection(end.id.as_ref());
    assert!(steps(&life).ends_with("FIN_WAIT1>FIN_WAIT2 FIN_WAIT2>CLOSE"), "{life:?}");
}

/// The name of this process, which is its main thread's.
pub fn own_name() -> String {
    std::fs::read_to_string("/proc/self/comm").unwrap().trim().to_owned()
}
