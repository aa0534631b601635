//! What each alert is for, made with real sockets.

use std::{net::SocketAddr, thread, time::Duration};

use nix::sys::signal::Signal;
use socket2::Socket;

use super::scene::{Scene, meanwhile};
use crate::{
    V4,
    ends::abort,
    netns::sysctl,
    tracer::SOON,
    traffic::{self, Pair, until},
};

/// Where a server listens. Every namespace is one of its own.
pub const PLACE: &str = "127.0.0.1:30000";

pub fn place() -> SocketAddr {
    PLACE.parse().unwrap()
}

/// A listener there, with this backlog.
pub fn listener(backlog: i32) -> Socket {
    let socket = traffic::socket(place().ip());
    socket.bind(&place().into()).unwrap();
    socket.listen(backlog).unwrap();
    socket
}

/// A connection there, both ends.
pub fn pair(listener: &Socket) -> [Socket; 2] {
    let client = traffic::connect(place());
    [client, traffic::accept(listener)]
}

/// The end of a connection that waits for its process to close it.
pub fn close_wait(listener: &Socket) -> Socket {
    let [client, server] = pair(listener);
    drop(client);
    traffic::read_end(&server);
    server
}

pub fn nothing() -> Vec<Socket> {
    Vec::new()
}

/// A thousand ports, and this many connections that hold one each. The listener is the first.
pub fn held(number: usize) -> Vec<Socket> {
    sysctl("ipv4/ip_local_port_range", "20000 20999");
    sysctl("ipv4/tcp_tw_reuse", "0");
    let listener = listener(4096);
    let pairs: Vec<Socket> = (0..number).flat_map(|_| pair(&listener)).collect();
    [listener].into_iter().chain(pairs).collect()
}

/// First at a rate that leaves twelve minutes, then at once.
pub fn ports_run_out(scene: &mut Scene<'_>) {
    const EACH: Duration = Duration::from_millis(1500);
    let listener = &scene.held[0];
    let mut more = Vec::new();
    let leak = || {
        more.extend(pair(listener));
        thread::sleep(EACH);
    };
    meanwhile(leak, || {
        let soon = scene.expect("TcpwaitPortsSoonExhausted");
        assert!((500.0..900.0).contains(&soon.value), "{soon:?}");
        scene.run_what_it_names(&soon, &[PLACE, "of 1,000"]);
        // They have not run out.
        assert_eq!(scene.value("tcpwait_failed_calls_total{@,why=\"no_free_port\"}"), Some(0.0));
    });
    let connect = || {
        let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.connect(&place().into()).map(|()| socket)
    };
    while let Ok(client) = connect() {
        more.extend([client, traffic::accept(listener)]);
    }
    let fail = || {
        assert!(connect().is_err());
        thread::sleep(Duration::from_millis(500));
    };
    meanwhile(fail, || {
        let full = scene.expect("TcpwaitPortsExhausted");
        scene.run_what_it_names(&full, &[PLACE, "no free local port"]);
    });
}

/// Two wait to be accepted, for which there is room, and others knock.
pub fn accept_queue(scene: &mut Scene<'_>) {
    let listener = listener(1);
    let _waiting = [traffic::connect(place()), traffic::connect(place())];
    let mut knocking = Vec::new();
    let knock = || {
        let socket = traffic::socket(place().ip());
        socket.set_nonblocking(true).unwrap();
        // It is under way.
        let _ = socket.connect(&place().into());
        knocking.push(socket);
        thread::sleep(Duration::from_millis(50));
    };
    meanwhile(knock, || {
        let full = scene.expect("TcpwaitAcceptQueueFull");
        scene.run_what_it_names(&full, &["accept queue", ":30000"]);
    });
    drop(listener);
}

/// Most are closed, and some are not.
pub fn close_wait_leaks(scene: &mut Scene<'_>) {
    let listener = listener(4096);
    let mut leaked: Vec<Socket> = (0..250).map(|_| close_wait(&listener)).collect();
    let leak = || {
        for _ in 0..5 {
            drop(close_wait(&listener));
        }
        leaked.push(close_wait(&listener));
        thread::sleep(Duration::from_millis(400));
    };
    meanwhile(leak, || {
        let leaks = scene.expect("TcpwaitCloseWaitLeak");
        assert!((200.0..500.0).contains(&leaks.value), "{leaks:?}");
        let own_name = std::fs::read_to_string("/proc/self/comm").unwrap();
        scene.run_what_it_names(&leaks, &["CLOSE_WAIT", own_name.trim_end()]);
    });
}

/// Five may be in TIME_WAIT.
pub fn time_wait_overflows(scene: &mut Scene<'_>) {
    sysctl("ipv4/tcp_max_tw_buckets", "5");
    let come_and_go = || {
        drop(Pair::on(V4).close_client_first());
        thread::sleep(Duration::from_millis(50));
    };
    meanwhile(come_and_go, || {
        let overflow = scene.expect("TcpwaitTimeWaitOverflow");
        scene.run_what_it_names(&overflow, &["tcp_max_tw_buckets"]);
    });
}

/// Somebody listens there already.
pub fn port_is_held(scene: &mut Scene<'_>) {
    let listener = listener(8);
    let bind = || {
        assert!(traffic::socket(place().ip()).bind(&place().into()).is_err());
        thread::sleep(Duration::from_millis(300));
    };
    meanwhile(bind, || {
        let held = scene.expect("TcpwaitPortHeld");
        scene.run_what_it_names(&held, &[&format!("port 30000 is in use by {}/", std::process::id())]);
    });
    drop(listener);
}

/// Connections of half a second, which the peer resets.
pub fn peers_reset(scene: &mut Scene<'_>) {
    let listener = listener(4096);
    let reset = || {
        let pairs: Vec<[Socket; 2]> = (0..6).map(|_| pair(&listener)).collect();
        thread::sleep(Duration::from_millis(500));
        for [client, server] in pairs {
            abort(client);
            until("the RST", SOON, || traffic::state(&server) == CLOSE);
        }
    };
    const CLOSE: u8 = 7;
    meanwhile(reset, || {
        let resets = scene.expect("TcpwaitResets");
        assert!((5.0..13.0).contains(&resets.value), "{resets:?}");
        scene.run_what_it_names(&resets, &["from the peer's side"]);
    });
}

/// It is stopped while more goes on than its ring buffer holds, again and again.
pub fn events_are_lost(scene: &mut Scene<'_>) {
    let too_much = || {
        scene.tracer().freeze();
        for _ in 0..1200 {
            drop(Pair::on(V4).close_client_first());
        }
        scene.tracer().signal(Signal::SIGCONT);
        thread::sleep(Duration::from_secs(1));
    };
    meanwhile(too_much, || {
        let lost = scene.expect("TcpwaitEventsLost");
        assert!(lost.value > 100.0, "{lost:?}");
    });
    assert!(scene.value("sum(tcpwait_events_lost_total{@})") > Some(100.0));
}

/// The exporter is gone.
pub fn is_down(scene: &mut Scene<'_>) {
    scene.end_exporter();
    let down = scene.expect("TcpwaitDown");
    scene.run_what_it_names(&down, &["kernel"]);
}
