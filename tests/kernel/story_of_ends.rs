//! Not a test: records a dozen ways in which connections end, for the tests that need no root. `cargo xtask fixtures` has guests do it; what the
//! recording must say is checked by tests/replay. The ways are told by the servers' ports (tests/fixtures/README.md).

use std::{
    net::{Shutdown, SocketAddr},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use nix::libc;
use socket2::Socket;

use crate::{
    V4, V6,
    ends::{TCP_REPAIR, abort, disconnect, fill, keep_alive},
    hand::{Complaint, Hand},
    netns,
    packet::SYN,
    story::staged,
    tracer::{SOON, Tracer},
    traffic::{self, deafen, hold, set_option, until},
};

/// The first argument of a process that does this; the second is the folder for the recording.
pub const ROLE: &str = "record-the-ends";

/// Longer than all of the kernel's timers here.
const BY_TIMERS: Duration = Duration::from_secs(60);

/// What the process does.
pub fn record() -> ExitCode {
    let recorder = staged(play, |folder, place| {
        let file = folder.join("ends.tcpwait");
        Tracer::start(&["record", "-o", file.to_str().unwrap(), "--netns", place])
    });
    let ended = recorder.stop();
    assert!(ended.code == Some(0) && !ended.stderr.contains("lost"), "{ended:?}");
    ExitCode::SUCCESS
}

fn listen(ip: &str, port: u16) -> Socket {
    let at = SocketAddr::new(ip.parse().unwrap(), port);
    let listener = traffic::socket(at.ip());
    listener.bind(&at.into()).unwrap();
    listener.listen(8).unwrap();
    listener
}

/// A connection to a port of its own, whose listener is gone.
fn connection(ip: &str, port: u16) -> (Socket, Socket) {
    let listener = listen(ip, port);
    let client = traffic::connect(traffic::address(&listener));
    let server = traffic::accept(&listener);
    (client, server)
}

fn play() {
    let (client, _server) = connection(V4, 8601);
    abort(client);
    let (client, server) = connection(V6, 8602);
    server.send(b"unread").unwrap();
    until("it is there", SOON, || client.peek(&mut [std::mem::MaybeUninit::uninit(); 1]).is_ok_and(|read| read == 1));
    drop(client);
    let (client, _server) = connection(V4, 8603);
    disconnect(&client);
    // The FIN is lost, and data comes.
    let (client, server) = connection(V4, 8604);
    deafen(&server);
    drop(client);
    server.send(b"late").unwrap();
    let (_client, _server) = connection(V6, 8605);
    let mut kill = Command::new("ss");
    kill.args(["-K", "-t", "dport = :8605"]).stdout(Stdio::null());
    assert!(kill.status().unwrap().success());
    let (client, server) = connection(V4, 8606);
    set_option(&client, libc::IPPROTO_TCP, TCP_REPAIR, 1);
    drop(client);
    abort(server);
    let (client, server) = connection(V4, 8607);
    set_option(&client, libc::IPPROTO_TCP, libc::TCP_LINGER2, -1);
    set_option(&server, libc::IPPROTO_TCP, libc::TCP_QUICKACK, 1);
    drop(client);
    until("the RST", SOON, || server.take_error().unwrap().is_some());
    let listener = listen(V4, 8608);
    let _waiting = [(); 2].map(|()| traffic::connect(traffic::address(&listener)));
    drop(listener);
    connects();
    by_timers();
    // The normal end.
    let (client, server) = connection(V4, 8615);
    drop(client);
    traffic::read_end(&server);
}

/// Two that do not become connections: one that an ICMP error ends, and one that its process does.
fn connects() {
    for complains in [true, false] {
        let peer = Hand::mute(V4);
        let client = traffic::socket(peer.own.ip());
        client.set_nonblocking(true).unwrap();
        client.connect(&peer.own.into()).unwrap_err();
        let heard = peer.hears(SYN);
        if complains {
            peer.complains(Complaint::NoPort, heard);
            until("the ICMP error", SOON, || client.take_error().unwrap().is_some());
        }
    }
}

fn by_timers() {
    let alive = connection(V4, 8611);
    let patient = connection(V4, 8612);
    let again = connection(V4, 8613);
    let listener = listen(V4, 8614);
    listener.set_recv_buffer_size(4096).unwrap();
    let client = traffic::connect(traffic::address(&listener));
    let full = (client, traffic::accept(&listener));
    fill(&full.0);
    set_option(&patient.0, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 700);
    for (_, server) in [&alive, &patient, &again, &full] {
        deafen(server);
    }
    keep_alive(&alive.0);
    for (client, _) in [&patient, &again] {
        client.send(b"x").unwrap();
    }
    netns::sysctl("ipv4/tcp_retries2", "1");
    for (client, _) in [&alive, &patient, &again, &full] {
        const CLOSE: u8 = 7;
        traffic::in_time("the kernel gives it up", BY_TIMERS, || traffic::state(client) == CLOSE);
    }
    hold(Duration::from_millis(100));
    // Nothing that comes from here is heard: their ends would come by timers, too.
    for (_, server) in [alive, patient, again, full] {
        server.shutdown(Shutdown::Read).unwrap();
        abort(server);
    }
}
