//! bind() and listen() that do not get their port: who holds it, and whether SO_REUSEADDR would have done. Each story is told through
//! the hook that the kernel gives, and all of them through the one that every kernel does.

use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    V4, V6,
    actor::{Actor, Cast},
    failures::{any_port, is_of},
    netns,
    tracer::{
        SOON, Seen, Tracer,
        told::{Failed, Reuseaddr},
    },
    traffic::{self, until},
};

/// Everything that is the same of every port that is held.
fn is_held(failed: &Failed, what: &str, at: &str, by: (&Actor, &str)) {
    assert_eq!(failed.what(), what, "{failed:?}");
    assert_eq!(failed.errno.as_deref(), Some("EADDRINUSE"), "{failed:?}");
    is_of(failed, by.0, by.1);
    let at: std::net::SocketAddr = at.parse().unwrap();
    assert_eq!((failed.laddr, failed.lport), (at.ip(), Some(at.port())), "{failed:?}");
    assert_eq!((failed.raddr, failed.rport, failed.retransmits), (None, None, None), "{failed:?}");
    assert_eq!(failed.family, if at.is_ipv4() { 4 } else { 6 }, "{failed:?}");
}

fn reuseaddr(set: bool, would_do: bool) -> Option<Reuseaddr> {
    Some(Reuseaddr { set: Some(set), would_do: Some(would_do) })
}

/// The holders, each by state, number and process.
fn held_by(failed: &Failed) -> Vec<(&str, u64, Option<u32>)> {
    failed.holders.iter().map(|holder| (holder.state.as_str(), holder.count, holder.pid)).collect()
}

/// A process that listens there, with SO_REUSEADDR or without, and where.
fn listening(name: &str, bind: &str, at: &str) -> (Actor, String) {
    let mut actor = Cast::named(name).start();
    let at = actor.does(&format!("{bind} {at}"));
    assert_eq!(actor.does("listen-on-it"), "done");
    (actor, at)
}

/// Fails to bind there, and returns what is told of it.
fn refused(seen: &Seen, actor: &mut Actor, bind: &str, at: &str) -> Failed {
    let before = seen.failures().len();
    assert_eq!(actor.does(&format!("{bind} {at}")), "EADDRINUSE");
    seen.wait_for_failure(before + 1, SOON)
}

/// Somebody listens there, and SO_REUSEADDR makes no difference.
pub fn by_a_listener(seen: &Seen, ip: &str) {
    let (holder, at) = listening("holder", "bind-reusing", &any_port(ip));
    let mut comer = Cast::named("comer").start();
    for (bind, set) in [("bind", false), ("bind-reusing", true)] {
        let failed = refused(seen, &mut comer, bind, &at);
        is_held(&failed, "bind-failed port-held", &at, (&comer, "comer"));
        assert_eq!(held_by(&failed), [("LISTEN", 1, Some(holder.pid()))], "{failed:?}");
        assert_eq!(failed.holders[0].comm.as_deref(), Some("holder"), "{failed:?}");
        assert_eq!(failed.reuseaddr, reuseaddr(set, false), "{failed:?}");
        assert!(failed.words.contains("SO_REUSEADDR does not help"), "{failed:?}");
    }
}

/// Has a server close so many connections of a peer's.
fn serve(seen: &Seen, server: &mut Actor, at: &str, connections: u64) {
    let entered = || {
        let lines = seen.lines();
        let port = at.rsplit(':').next().unwrap().parse().ok();
        lines.iter().filter(|line| line.to == "TIME_WAIT" && line.lport == port).count() as u64
    };
    for _ in 0..connections {
        let client = traffic::connect(at.parse().unwrap());
        server.does("accept");
        server.does("close");
        traffic::read_end(&client);
    }
    until("all of them in TIME_WAIT", SOON, || entered() == connections);
}

/// A server that was restarted: what its former process left behind keeps it from its port, unless both had SO_REUSEADDR.
pub fn restarted_server(seen: &Seen, ip: &str) {
    let (mut former, at) = listening("former", "bind", &any_port(ip));
    serve(seen, &mut former, &at, 3);
    let left_by = former.pid();
    drop(former);
    let mut server = Cast::named("restarted").start();
    // SO_REUSEADDR on one side only is no help either.
    for (bind, set) in [("bind", false), ("bind-reusing", true)] {
        let failed = refused(seen, &mut server, bind, &at);
        is_held(&failed, "bind-failed port-held", &at, (&server, "restarted"));
        assert_eq!(held_by(&failed), [("TIME_WAIT", 3, Some(left_by))], "{failed:?}");
        assert_eq!(failed.reuseaddr, reuseaddr(set, true), "{failed:?}");
        let holder = &failed.holders[0];
        assert_eq!((holder.comm.as_deref(), holder.reuseaddr), (Some("former"), Some(false)), "{failed:?}");
        let [first, last] = [holder.first_end_in_ns, holder.last_end_in_ns].map(|ns| Duration::from_nanos(ns.unwrap()));
        assert!(first < last && last <= Duration::from_secs(60) && first > Duration::from_secs(30), "{failed:?}");
        assert!(failed.words.contains(&format!("3 in TIME_WAIT left by {left_by}/former")), "{failed:?}");
    }

    let (mut former, at) = listening("former", "bind-reusing", &any_port(ip));
    serve(seen, &mut former, &at, 2);
    let left_by = former.pid();
    drop(former);
    let failed = refused(seen, &mut server, "bind", &at);
    assert_eq!(held_by(&failed), [("TIME_WAIT", 2, Some(left_by))], "{failed:?}");
    assert_eq!((failed.reuseaddr, failed.holders[0].reuseaddr), (reuseaddr(false, true), Some(true)), "{failed:?}");
    assert_eq!(server.does(&format!("bind-reusing {at}")), at, "both sides have it");
    assert_eq!(server.does("listen-on-it"), "done");
    // The next that is told of is what fails next.
    let mut comer = Cast::named("comer").start();
    let failed = refused(seen, &mut comer, "bind", &at);
    is_held(&failed, "bind-failed port-held", &at, (&comer, "comer"));
    assert_eq!(held_by(&failed)[0], ("LISTEN", 1, Some(server.pid())), "{failed:?}");
    assert_eq!(failed.reuseaddr, reuseaddr(false, false), "{failed:?}");
}

/// The listener is closed, but not what came through it.
pub fn by_connections(seen: &Seen, ip: &str) {
    let (mut holder, at) = listening("holder", "bind", &any_port(ip));
    let [one, other] = [(); 2].map(|()| traffic::connect(at.parse().unwrap()));
    one.send(b"x").unwrap();
    for verb in ["accept", "read", "accept-and-hold", "close-listener"] {
        holder.does(verb);
    }
    one.shutdown(std::net::Shutdown::Write).unwrap();
    let ends = (traffic::peer(&one), traffic::address(&one));
    seen.wait_for_step(ends, "ESTABLISHED>CLOSE_WAIT", SOON);
    let mut comer = Cast::named("comer").start();
    let failed = refused(seen, &mut comer, "bind", &at);
    is_held(&failed, "bind-failed port-held", &at, (&comer, "comer"));
    let mut held = held_by(&failed);
    held.sort_unstable();
    let pid = Some(holder.pid());
    assert_eq!(held, [("CLOSE_WAIT", 1, pid), ("ESTABLISHED", 1, pid)], "{failed:?}");
    assert_eq!(failed.reuseaddr, reuseaddr(false, true), "{failed:?}");
    drop(other);
}

/// Any port would do, and there is none.
pub fn range_full(seen: &Seen, ip: &str) {
    netns::sysctl("ipv4/ip_local_port_range", "40600 40603");
    let plain = || {
        let socket = Socket::new(if ip == V4 { Domain::IPV4 } else { Domain::IPV6 }, Type::STREAM, Some(Protocol::TCP));
        let socket = socket.unwrap();
        socket.bind(&any_port(ip).parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        socket
    };
    let taken: Vec<_> = (0..4).map(|_| plain()).collect();
    let mut comer = Cast::named("comer").start();
    let failed = refused(seen, &mut comer, "bind", &any_port(ip));
    assert_eq!(failed.what(), "bind-failed range-full", "{failed:?}");
    assert_eq!((failed.laddr.to_string().as_str(), failed.lport), (ip, None), "{failed:?}");
    assert!(failed.holders.is_empty() && failed.reuseaddr.is_none(), "{failed:?}");
    is_of(&failed, &comer, "comer");
    drop(taken);
    netns::sysctl("ipv4/ip_local_port_range", "32768 60999");
}

/// Two may be bound to it, and one may listen.
pub fn second_listener(seen: &Seen, ip: &str) {
    let [mut first, mut second] = ["first", "second"].map(|name| Cast::named(name).start());
    let at = first.does(&format!("bind-reusing {}", any_port(ip)));
    assert_eq!(second.does(&format!("bind-reusing {at}")), at);
    assert_eq!(first.does("listen-on-it"), "done");
    let before = seen.failures().len();
    assert_eq!(second.does("listen-on-it"), "EADDRINUSE");
    let failed = seen.wait_for_failure(before + 1, SOON);
    is_held(&failed, "listen-failed port-held", &at, (&second, "second"));
    assert_eq!(held_by(&failed), [("LISTEN", 1, Some(first.pid()))], "{failed:?}");
    assert_eq!(failed.reuseaddr, reuseaddr(true, false), "{failed:?}");
}

/// Addresses that contain each other, and such that do not.
pub fn overlaps(seen: &Seen) {
    for (theirs, ours) in
        [("[::]", "127.0.0.1"), ("[::]", "0.0.0.0"), ("0.0.0.0", "[::]"), ("127.0.0.1", "[::]"), ("[::1]", "[::]")]
    {
        let (holder, at) = listening("holder", "bind", &format!("{theirs}:0"));
        let port = at.rsplit(':').next().unwrap();
        // Next to it, and in nobody's way.
        let (_beside, _) = listening("beside", "bind", &any_port(V4));
        let at = format!("{ours}:{port}");
        let mut comer = Cast::named("comer").start();
        let failed = refused(seen, &mut comer, "bind", &at);
        is_held(&failed, "bind-failed port-held", &at, (&comer, "comer"));
        assert_eq!(held_by(&failed), [("LISTEN", 1, Some(holder.pid()))], "{theirs} and {ours}: {failed:?}");
    }
    let (_beside, at) = listening("beside", "bind", "127.0.0.2:0");
    let port = at.rsplit(':').next().unwrap();
    let at = format!("127.0.0.1:{port}");
    let (holder, _) = listening("holder", "bind", &at);
    let mut comer = Cast::named("comer").start();
    let failed = refused(seen, &mut comer, "bind", &at);
    assert_eq!(held_by(&failed), [("LISTEN", 1, Some(holder.pid()))], "not the one beside: {failed:?}");
}

/// Bound, and nothing else: no hook tells of such a socket, and nobody is accused.
pub fn by_a_bound_socket(seen: &Seen, ip: &str) {
    let mut holder = Cast::named("holder").start();
    let at = holder.does(&format!("bind {}", any_port(ip)));
    let mut comer = Cast::named("comer").start();
    let failed = refused(seen, &mut comer, "bind", &at);
    is_held(&failed, "bind-failed port-held", &at, (&comer, "comer"));
    assert!(failed.holders.is_empty(), "{failed:?}");
    assert_eq!(failed.reuseaddr.map(|reuse| reuse.would_do), Some(None), "{failed:?}");
}

/// All of it by the return of system calls, and by the function that decides, where the kernel allows that.
pub fn by_each_hook() {
    for hook in ["sys_exit", "fexit"] {
        let netns = netns::inode().to_string();
        let tracer =
            Tracer::spawn(crate::tracer::command(["trace", "--json", "--netns", &netns, "--refused-ports", hook]));
        if let Err(why) = tracer.starts() {
            assert!(hook == "fexit" && why.contains("trampolines"), "{hook}: {why}");
            println!("failures: this kernel does not give {hook}");
            continue;
        }
        let seen = Seen::through(tracer);
        for ip in [V4, V6] {
            by_a_listener(&seen, ip);
            restarted_server(&seen, ip);
            by_connections(&seen, ip);
            second_listener(&seen, ip);
            by_a_bound_socket(&seen, ip);
            range_full(&seen, ip);
        }
        overlaps(&seen);
        seen.into_tracer().stop().expect_clean();
    }
}
