//! Every way in which a full socket comes to CLOSE, made to happen; each has its reason, and the kernel's counters say the same.

mod listener;
mod timers;

use std::{
    io,
    net::{Shutdown, SocketAddr},
    os::fd::AsRawFd,
    process::{Command, Stdio},
    time::Duration,
};

use nix::libc;
use socket2::Socket;

pub use self::{
    listener::{listener_closed, listener_migrates, multipath},
    timers::{by_timers, fill, fin_wait_2, keep_alive, sent_again},
};
use crate::{
    guest, netns,
    reasons::own_name,
    tracer::{By, Line, SOON, Seen, Tracer},
    traffic::{self, Pair, deafen, flip, hold, set_option, until},
};

/// Longer than any timer here, of which the slowest sends twice.
const BY_A_TIMER: Duration = Duration::from_secs(150);

/// `TCP_REPAIR` of `include/uapi/linux/tcp.h`.
pub const TCP_REPAIR: i32 = 19;

/// Waits for the end of a connection, and checks what is said of it.
fn expect(seen: &Seen, ends: (SocketAddr, SocketAddr), from: &str, reason: &str, detail: Option<&str>) -> Line {
    let end = seen.wait_for_step(ends, &format!("{from}>CLOSE"), BY_A_TIMER);
    assert_eq!((end.reason.as_deref(), end.detail.as_deref()), (Some(reason), detail), "{end:?}");
    end
}

/// By whom: this process.
fn is_by_us(end: &Line) {
    let us = By { pid: std::process::id(), comm: own_name() };
    assert_eq!(end.by.as_ref(), Some(&us), "{end:?}");
    assert_eq!(end.pid, Some(us.pid), "whose it was: {end:?}");
}

/// A counter of TcpExt, and by how much it has to grow.
fn grows<T>(name: &str, by: u64, what: impl FnOnce() -> T) -> T {
    let before = netns::tcp_ext(name);
    let done = what();
    until(&format!("{name} +{by}"), SOON, || netns::tcp_ext(name) >= before + by);
    assert_eq!(netns::tcp_ext(name), before + by, "{name}");
    done
}

/// Closes it with SO_LINGER of 0 seconds.
pub fn abort(socket: Socket) {
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(socket);
}

fn is_in(socket: &Socket, state: u8) {
    until("the state", SOON, || traffic::state(socket) == state);
}

const FIN_WAIT2: u8 = 5;
const CLOSE_WAIT: u8 = 8;

/// Both ends are here: whoever resets, and whoever is reset, in every state in which that can be.
pub fn reset(ip: &str) {
    let seen = Seen::shared();
    for state in ["ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT2"] {
        let Pair { listener: _listener, client, server } = Pair::on(ip);
        let ends = (traffic::address(&client), traffic::peer(&client));
        let (mine, errno) = match state {
            "CLOSE_WAIT" => {
                server.shutdown(Shutdown::Write).unwrap();
                is_in(&server, FIN_WAIT2);
                ("FIN_WAIT2", "EPIPE")
            }
            "FIN_WAIT2" => {
                client.shutdown(Shutdown::Write).unwrap();
                is_in(&client, FIN_WAIT2);
                ("CLOSE_WAIT", "ECONNRESET")
            }
            _ => ("ESTABLISHED", "ECONNRESET"),
        };
        grows("TCPAbortOnData", 1, || abort(server));
        let end = expect(&seen, flip(ends), mine, "reset-sent", Some("linger-0"));
        is_by_us(&end);
        assert_eq!(end.errno, None, "{end:?}");
        let end = expect(&seen, ends, state, "reset", None);
        assert_eq!((end.errno.as_deref(), &end.by), (Some(errno), &None), "{end:?}");
    }
}

/// close() before all was read; connect() with AF_UNSPEC; TCP_REPAIR, which tells the peer nothing.
pub fn by_its_own_process(ip: &str) {
    let seen = Seen::shared();
    let Pair { listener, client, server } = Pair::on(ip);
    let ends = (traffic::address(&client), traffic::peer(&client));
    server.send(b"unread").unwrap();
    until("it is there", SOON, || client.peek(&mut [std::mem::MaybeUninit::uninit(); 1]).is_ok_and(|read| read == 1));
    grows("TCPAbortOnClose", 1, || drop(client));
    is_by_us(&expect(&seen, ends, "ESTABLISHED", "reset-sent", Some("unread-data")));
    expect(&seen, flip(ends), "ESTABLISHED", "reset", None);

    let client = traffic::connect(traffic::address(&listener));
    let ends = (traffic::address(&client), traffic::peer(&client));
    let _server = traffic::accept(&listener);
    disconnect(&client);
    is_by_us(&expect(&seen, ends, "ESTABLISHED", "reset-sent", Some("disconnect")));
    expect(&seen, flip(ends), "ESTABLISHED", "reset", None);

    let client = traffic::connect(traffic::address(&listener));
    let ends = (traffic::address(&client), traffic::peer(&client));
    let _other = traffic::accept(&listener);
    set_option(&client, libc::IPPROTO_TCP, TCP_REPAIR, 1);
    let resets = netns::tcp("OutRsts");
    drop(client);
    is_by_us(&expect(&seen, ends, "ESTABLISHED", "repair", None));
    assert_eq!(netns::tcp("OutRsts"), resets);
    // Its listeners end too, one by close() and one by shutdown().
    let at = traffic::address(&listener);
    drop(listener);
    let another = traffic::listen(ip);
    let other_at = traffic::address(&another);
    another.shutdown(Shutdown::Both).unwrap();
    for at in [at, other_at] {
        let is_it = |line: &Line| line.step() == "LISTEN>CLOSE" && line.lport == Some(at.port());
        let end = seen.wait_for("the listener's end", SOON, is_it);
        assert_eq!((end.reason.as_deref(), &end.detail), (Some("closed"), &None), "{end:?}");
        is_by_us(&end);
    }
}

/// connect() with AF_UNSPEC.
pub fn disconnect(socket: &Socket) {
    // SAFETY: a whole sockaddr of a family that has no address.
    let done = unsafe {
        let mut none: libc::sockaddr = std::mem::zeroed();
        none.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
        libc::connect(socket.as_raw_fd(), &raw const none, size_of::<libc::sockaddr>() as libc::socklen_t)
    };
    assert_eq!(done, 0, "connect(AF_UNSPEC): {}", io::Error::last_os_error());
}

/// A socket whose connection went on in a TIME_WAIT, and that is connected again, has another end: `ss -K` in FIN_WAIT2, where a mini-socket would have taken over.
pub fn connected_again(ip: &str) {
    let seen = Seen::shared();
    let Pair { listener, client, server } = Pair::on(ip);
    let ends = (traffic::address(&client), traffic::peer(&client));
    client.shutdown(Shutdown::Both).unwrap();
    drop(server);
    seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
    disconnect(&client);
    client.connect(&traffic::address(&listener).into()).unwrap();
    let _server = traffic::accept(&listener);
    let ends = (traffic::address(&client), traffic::peer(&client));
    client.shutdown(Shutdown::Write).unwrap();
    is_in(&client, FIN_WAIT2);
    let mut kill = Command::new("ss");
    kill.args(["-K", "-t", &format!("sport = :{}", ends.0.port())]).stdout(Stdio::null());
    assert!(kill.status().unwrap().success());
    expect(&seen, ends, "FIN_WAIT2", "destroyed", None);
}

/// Data that comes after close(), when the peer has not heard of that yet; and the normal end.
pub fn data_after_close(ip: &str) {
    let seen = Seen::shared();
    let Pair { listener, client, server } = Pair::on(ip);
    let ends = (traffic::address(&client), traffic::peer(&client));
    deafen(&server);
    drop(client);
    grows("TCPAbortOnData", 1, || server.send(b"late").unwrap());
    let end = expect(&seen, ends, "FIN_WAIT1", "reset-sent", Some("data-after-close"));
    assert_eq!((&end.by, end.pid), (&None, Some(std::process::id())), "{end:?}");

    let client = traffic::connect(traffic::address(&listener));
    let ends = (traffic::address(&client), traffic::peer(&client));
    let server = traffic::accept(&listener);
    Pair { listener, client, server }.close_client_first();
    let end = expect(&seen, flip(ends), "LAST_ACK", "closed", None);
    assert_eq!((&end.by, &end.errno), (&None, &None), "{end:?}");
}

/// `ss -K`: a connection, and a listener.
pub fn destroyed(ip: &str) {
    let seen = Seen::shared();
    let Pair { listener, client: _client, server: _server } = Pair::on(ip);
    let ends = (traffic::address(&_client), traffic::peer(&_client));
    let kill = |which: String| {
        let mut killer = Command::new("ss").args(["-K", "-t", "-a", &which]).stdout(Stdio::null()).spawn().unwrap();
        let pid = killer.id();
        assert!(killer.wait().unwrap().success());
        By { pid, comm: "ss".to_owned() }
    };
    let by = kill(format!("sport = :{}", ends.0.port()));
    let end = expect(&seen, ends, "ESTABLISHED", "destroyed", None);
    assert_eq!((end.by.as_ref(), end.errno.as_deref()), (Some(&by), Some("ECONNABORTED")), "{end:?}");
    expect(&seen, flip(ends), "ESTABLISHED", "reset", None);
    let at = traffic::address(&listener);
    let by = kill(format!("sport = :{}", at.port()));
    let is_it = |line: &Line| line.step() == "LISTEN>CLOSE" && line.lport == Some(at.port());
    let end = seen.wait_for("the listener's end", SOON, is_it);
    assert_eq!((end.reason.as_deref(), end.by.as_ref()), (Some("destroyed"), Some(&by)), "{end:?}");
}

/// Too many orphans, and too little memory. Both limits are the machine's, so only a guest is asked.
pub fn short_of_resources(ip: &str) {
    if !guest::is_where_we_are() {
        println!("ends::short_of_resources: only a guest is asked");
        return;
    }
    let seen = Seen::shared();
    // Nobody hears what they send: their memory is more than what each CPU keeps back (`SK_MEMORY_PCPU_RESERVE`).
    let loaded = || {
        let Pair { listener, client, server } = Pair::on(ip);
        let ends = (traffic::address(&client), traffic::peer(&client));
        deafen(&server);
        client.set_nonblocking(true).unwrap();
        while client.send(&[0; 10_000]).is_ok() {}
        (ends, client, (listener, server))
    };
    let held: Vec<_> = (0..8).map(|_| loaded()).collect();
    // One that is closed already; how many there are is counted ten times a second (`tcp_orphan_update`).
    let (_, orphan, _rest) = loaded();
    drop(orphan);
    hold(Duration::from_millis(500));
    for (name, value, detail) in [("tcp_max_orphans", "0", "too-many-orphans"), ("tcp_mem", "0 0 0", "out-of-memory")] {
        let (ends, client, _rest) = loaded();
        let aborted = netns::tcp_ext("TCPAbortOnMemory");
        netns::with_machines_sysctl(name, value, || drop(client));
        // The other orphan may be asked meanwhile, too, by its timer.
        assert!(netns::tcp_ext("TCPAbortOnMemory") > aborted, "{name}");
        expect(&seen, ends, "FIN_WAIT1", "reset-sent", Some(detail));
    }
    drop(held);
}

/// Sockets that are older than the trace end like others.
pub fn older(ip: &str) {
    let listener = traffic::listen(ip);
    let pairs: Vec<(Socket, Socket)> =
        (0..3).map(|_| (traffic::connect(traffic::address(&listener)), traffic::accept(&listener))).collect();
    let waiting = traffic::connect(traffic::address(&listener));
    let waits = (traffic::address(&listener), traffic::address(&waiting));
    let seen = Seen::through(Tracer::here(&[]));
    hold(Duration::from_millis(300));
    let all: Vec<_> = pairs.iter().map(|(client, _)| (traffic::address(client), traffic::peer(client))).collect();
    let mut held = Vec::new();
    for (number, (client, server)) in pairs.into_iter().enumerate() {
        match number {
            0 => abort(client),
            1 => {
                server.shutdown(Shutdown::Write).unwrap();
                is_in(&client, CLOSE_WAIT);
                drop(client);
            }
            _ => disconnect(&client),
        }
        held.push(server);
    }
    drop(listener);
    for (ends, from, reason, detail) in [
        (all[0], "ESTABLISHED", "reset-sent", Some("linger-0")),
        (flip(all[0]), "ESTABLISHED", "reset", None),
        (all[1], "LAST_ACK", "closed", None),
        (all[2], "ESTABLISHED", "reset-sent", Some("disconnect")),
        (waits, "ESTABLISHED", "listener-closed", None),
    ] {
        let end = expect(&seen, ends, from, reason, detail);
        assert!(end.predates, "{end:?}");
    }
    seen.into_tracer().stop().expect_clean();
}
