//! Every way in which a full socket comes to CLOSE, made to happen; each has its reason, and the kernel's counters say the same.

use std::{
    io,
    net::{Shutdown, SocketAddr},
    os::fd::AsRawFd,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    V4,
    actor::Cast,
    failures::any_port,
    guest, netns,
    reasons::own_name,
    tracer::{By, Line, SOON, Seen, Tracer},
    traffic::{self, Pair, deafen, flip, hold, set_option, until},
};

/// Longer than any timer here, of which the slowest sends twice.
const BY_A_TIMER: Duration = Duration::from_secs(60);

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

/// A listener is closed with five connections that nobody has accepted: they are reset, by whoever closed it.
pub fn listener_closed(ip: &str) {
    const WAITING: usize = 5;
    let seen = Seen::shared();
    let mut shop = Cast::named("shop").start();
    let at = shop.does(&format!("listen {}", any_port(ip)));
    let to: SocketAddr = at.parse().unwrap();
    let clients: Vec<Socket> = (0..WAITING).map(|_| traffic::connect(to)).collect();
    let resets = netns::tcp("OutRsts");
    shop.does("close-listener");
    for client in &clients {
        let ends = (to, traffic::address(client));
        let end = expect(&seen, ends, "ESTABLISHED", "listener-closed", None);
        let shop = By { pid: shop.pid(), comm: "shop".to_owned() };
        assert_eq!((end.by.as_ref(), end.comm.as_deref()), (Some(&shop), Some("shop")), "{end:?}");
        expect(&seen, flip(ends), "ESTABLISHED", "reset", None);
    }
    assert_eq!(netns::tcp("OutRsts"), resets + WAITING as u64);
}

/// The same where another listener takes them over (`net.ipv4.tcp_migrate_req`): nobody is reset, and whose they are changes.
pub fn listener_migrates(ip: &str) {
    const WAITING: usize = 8;
    netns::sysctl("ipv4/tcp_migrate_req", "1");
    let seen = Seen::shared();
    let [mut leaves, mut stays] = ["leaves", "stays"].map(|name| Cast::named(name).start());
    let at = leaves.does(&format!("bind-in-group {}", any_port(ip)));
    assert_eq!(stays.does(&format!("bind-in-group {at}")), at);
    for listener in [&mut leaves, &mut stays] {
        assert_eq!(listener.does("listen-on-it"), "done");
    }
    let to: SocketAddr = at.parse().unwrap();
    let clients: Vec<Socket> = (0..WAITING).map(|_| traffic::connect(to)).collect();
    for client in &clients {
        seen.wait_for_step((to, traffic::address(client)), "SYN_RECV>ESTABLISHED", SOON);
    }
    leaves.does("close-listener");
    assert!(netns::tcp_ext("TCPMigrateReqSuccess") > 0 && netns::tcp_ext("TCPMigrateReqFailure") == 0);
    for _ in &clients {
        stays.does("accept");
        stays.does("close");
    }
    for client in &clients {
        let end = seen.wait_for_step((to, traffic::address(client)), "ESTABLISHED>FIN_WAIT1", SOON);
        assert_eq!(end.pid, Some(stays.pid()), "{end:?}");
    }
    assert_eq!(netns::tcp("OutRsts"), 0);
    assert!(seen.lines().iter().all(|line| line.reason.as_deref() != Some("listener-closed")));
}

/// Connections below Multipath TCP: the kernel resets them itself (MP_FASTCLOSE) where their process closes with SO_LINGER of 0 seconds, and a listener
/// takes along what nobody had accepted.
pub fn multipath() {
    const IPPROTO_MPTCP: i32 = 262;
    let multipath = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::from(IPPROTO_MPTCP)));
    let Ok(listener) = multipath() else {
        println!("ends: this kernel has no Multipath TCP");
        return;
    };
    let seen = Seen::shared();
    listener.bind(&SocketAddr::new(V4.parse().unwrap(), 0).into()).unwrap();
    listener.listen(4).unwrap();
    let at = traffic::address(&listener);
    let connected = || {
        let client = multipath().unwrap();
        client.connect(&at.into()).unwrap();
        (traffic::address(&client), client)
    };
    let (from, client) = connected();
    let (server, _) = listener.accept().unwrap();
    // Until data has gone both ways, neither side is sure of Multipath TCP.
    for (one, other) in [(&client, &server), (&server, &client)] {
        one.send(b"x").unwrap();
        traffic::read_exactly(other, 1);
    }
    abort(client);
    expect(&seen, (from, at), "ESTABLISHED", "reset-sent", Some("multipath"));
    expect(&seen, (at, from), "ESTABLISHED", "reset", None);
    let (from, _waiting) = connected();
    seen.wait_for_step((at, from), "SYN_RECV>ESTABLISHED", SOON);
    drop(listener);
    let end = expect(&seen, (at, from), "ESTABLISHED", "listener-closed", None);
    assert_eq!(end.by.map(|by| by.pid), Some(std::process::id()));
    for abort in ["TCPAbortOnData", "TCPAbortOnClose"] {
        assert_eq!(netns::tcp_ext(abort), 0, "{abort}");
    }
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
        let before = netns::machines_sysctl(name, value);
        drop(client);
        netns::machines_sysctl(name, &before);
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
