//! What each alert is for, made with real sockets.

use std::{collections::VecDeque, net::SocketAddr, thread, time::Duration};

use nix::sys::signal::Signal;
use socket2::Socket;

use super::{
    scene::{Scene, meanwhile},
    server::wait,
};
use crate::{
    V4,
    actor::{Actor, Cast},
    ends::abort,
    netns::{sysctl, tcp_ext},
    tracer::{SOON, START},
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
        scene.run_what_it_names(&full, &[PLACE, "EADDRNOTAVAIL"]);
    });
}

/// Two wait to be accepted, for which there is room, and others knock.
pub fn accept_queue(scene: &mut Scene<'_>) {
    let listener = listener(1);
    let _waiting = [traffic::connect(place()), traffic::connect(place())];
    const AT_ONCE: usize = 40;
    let mut knocking = VecDeque::new();
    let knock = || {
        let socket = traffic::socket(place().ip());
        socket.set_nonblocking(true).unwrap();
        // It is under way.
        let _ = socket.connect(&place().into());
        knocking.push_back(socket);
        if knocking.len() > AT_ONCE {
            knocking.pop_front();
        }
        thread::sleep(Duration::from_millis(50));
    };
    meanwhile(knock, || {
        let full = scene.expect("TcpwaitAcceptQueueFull");
        scene.run_what_it_names(&full, &["accept queue", ":30000"]);
    });
    // It is the kernel's own count, which is read less often than once a second where that takes long.
    drop(knocking);
    let told = "tcpwait_listen_events_total{@,counter=\"ListenOverflows\"}";
    wait("the last are counted", START, || scene.value(told) == Some(tcp_ext("ListenOverflows") as f64));
    drop(listener);
}

/// A process does not close what its peers have closed; others do.
pub fn close_wait_leaks(scene: &mut Scene<'_>) {
    const LEAKER: &str = "does-not-close";
    let mut leaker = server(LEAKER);
    let mut leak = || {
        let client = traffic::connect(place());
        leaker.does("accept-and-hold");
        drop(client);
    };
    (0..250).for_each(|_| leak());
    let go_on = || {
        leak();
        for _ in 0..5 {
            drop(Pair::on(V4).close_client_first());
        }
        thread::sleep(Duration::from_millis(400));
    };
    meanwhile(go_on, || {
        let leaks = scene.expect("TcpwaitCloseWaitLeak");
        assert!((200.0..500.0).contains(&leaks.value), "{leaks:?}");
        scene.run_what_it_names(&leaks, &["CLOSE_WAIT", LEAKER]);
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

/// A process that listens there, and is called so.
fn server(name: &str) -> Actor {
    let mut server = Cast::named(name).start();
    assert_eq!(server.does(&format!("bind-reusing {PLACE}")), PLACE);
    assert_eq!(server.does("listen-on-it"), "done");
    server
}

/// Somebody listens there already.
pub fn port_is_held(scene: &mut Scene<'_>) {
    const HOLDER: &str = "holds-the-port";
    let holder = server(HOLDER);
    let bind = || {
        assert!(traffic::socket(place().ip()).bind(&place().into()).is_err());
        thread::sleep(Duration::from_millis(300));
    };
    meanwhile(bind, || {
        let held = scene.expect("TcpwaitPortHeld");
        scene.run_what_it_names(&held, &[&format!("port 30000 is in use by {}/{HOLDER}", holder.pid())]);
    });
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
        scene.run_what_it_names(&resets, &["CONNECTIONS ENDED BY", "reset                 ESTABLISHED"]);
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
        thread::sleep(Duration::from_millis(2500));
    };
    meanwhile(too_much, || {
        let lost = scene.expect("TcpwaitEventsLost");
        assert!(lost.value > 100.0, "{lost:?}");
    });
}

/// The exporter is gone.
pub fn is_down(scene: &mut Scene<'_>) {
    scene.end_exporter();
    let down = scene.expect("TcpwaitDown");
    scene.run_what_it_names(&down, &["kernel"]);
}
