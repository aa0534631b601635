//! Whose socket it is: never the task that a packet happened to interrupt.

use std::io::Read;

use crate::{
    V4,
    actor::{Actor, Cast, THREAD},
    reasons::own_name,
    tracer::{Line, SOON, Seen, steps},
    traffic::{self, Pair},
};

const ROUNDS: usize = 25;

/// An actor's listener, and its port.
fn listening(server: &mut Actor) -> (String, u16) {
    let address = server.does(&format!("listen {V4}:0"));
    let port = address.parse::<std::net::SocketAddr>().unwrap().port();
    (address, port)
}

/// Who a line says it is.
fn owner(line: &Line) -> Option<(u32, &str, u32)> {
    Some((line.pid?, line.comm.as_deref()?, line.uid?))
}

/// Packets are dealt with on whatever task is running, which here nearly always is a stranger.
pub fn on_busy_cpus() {
    let seen = Seen::shared();
    let mut stranger = Cast::named("stranger").start();
    stranger.does("burn");
    let mut server = Cast { uid: 4321, ..Cast::named("busy-server") }.start();
    let mut client = Cast { uid: 1234, ..Cast::named("busy-client") }.start();
    let (address, port) = listening(&mut server);
    for round in 0..ROUNDS {
        client.does(&format!("connect {address}"));
        server.does("accept");
        client.does("write");
        server.does("read");
        let (first, second) = if round % 2 == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
        first.does("close");
        second.does("read-end");
        second.does("close");
    }
    let is_ours = |line: &Line| line.rport.is_some() && (line.lport == Some(port) || line.rport == Some(port));
    traffic::until("every connection's end", SOON, || {
        let lines = seen.lines();
        let count = |to: &str| lines.iter().filter(|line| is_ours(line) && line.to == to).count();
        count("TIME_WAIT") == ROUNDS && count("CLOSE") >= ROUNDS
    });
    let lines = seen.lines();
    let (clients, servers) = ((client.pid(), "busy-client", 1234), (server.pid(), "busy-server", 4321));
    for line in lines.iter().filter(|line| is_ours(line)) {
        let (whose, is_server) = if line.lport == Some(port) { (servers, true) } else { (clients, false) };
        match owner(line) {
            Some(owner) => assert_eq!(owner, whose, "{line:?}"),
            // The kernel's own part of a handshake is nobody's yet.
            None => assert!(
                is_server && line.step().ends_with("SYN_RECV") || line.step() == "SYN_RECV>ESTABLISHED",
                "{line:?}"
            ),
        }
    }
    let known = [client.pid(), server.pid(), stranger.pid()];
    for line in &lines {
        assert!(
            line.pid.is_none_or(|pid| known.contains(&pid)),
            "neither of the two, nor the stranger's own: {line:?}"
        );
    }
}

/// What a person knows a process by is not what its threads call themselves.
pub fn threads_have_other_names() {
    let seen = Seen::shared();
    let listener = traffic::listen(V4);
    let mut client = Cast { threaded: true, ..Cast::named("many-threads") }.start();
    let local = client.does(&format!("connect {}", traffic::address(&listener))).parse().unwrap();
    let threads: Vec<String> = std::fs::read_dir(format!("/proc/{}/task", client.pid()))
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .map(|comm| comm.trim().to_owned())
        .collect();
    assert!(threads.iter().any(|name| name == THREAD), "the thread is called otherwise: {threads:?}");
    let server = traffic::accept(&listener);
    client.does("close");
    traffic::read_end(&server);
    drop(server);
    let ends = (local, traffic::address(&listener));
    let line = seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
    for line in seen.connection(line.id.as_ref()) {
        assert_eq!(owner(&line), Some((client.pid(), "many-threads", 0)), "{line:?}");
    }
}

/// `accept()` passes no hook; the first read does.
pub fn known_after_the_first_read() {
    let seen = Seen::shared();
    let mut server = Cast::named("first-reader").start();
    let (address, _) = listening(&mut server);
    let address = address.parse().unwrap();
    let close_wait_of = |server: &mut Actor, reads: bool| {
        let client = traffic::connect(address);
        let ends = (address, traffic::address(&client));
        client.send(b"x").unwrap();
        server.does("accept");
        if reads {
            server.does("read");
        }
        drop(client);
        let line = seen.wait_for_step(ends, "ESTABLISHED>CLOSE_WAIT", SOON);
        if reads {
            server.does("read-end");
        }
        server.does("close");
        line
    };
    let read = close_wait_of(&mut server, true);
    assert_eq!(owner(&read), Some((server.pid(), "first-reader", 0)), "{read:?}");
    let life = seen.connection(read.id.as_ref());
    assert_eq!(owner(&life[0]), Some((server.pid(), "first-reader", 0)), "its listener's at the handshake: {life:?}");
    let unread = close_wait_of(&mut server, false);
    // Where the kernel has trampolines accept() itself has said whose it is; elsewhere nothing has.
    assert!([None, Some((server.pid(), "first-reader", 0))].contains(&owner(&unread)), "{unread:?}");
}

/// Who made a listener has it no more, and a process that inherited it does: nothing tells of that, and a port that is refused makes it be
/// looked up. The first refusal may be told before the answer is there.
pub fn who_inherited_a_listener() {
    let seen = Seen::shared();
    let listener = traffic::socket(V4.parse().unwrap());
    listener.bind(&std::net::SocketAddr::new(V4.parse().unwrap(), 0).into()).unwrap();
    listener.listen(1).unwrap();
    let at = traffic::address(&listener);
    let mut heir = Cast { inherits: Some(&listener), ..Cast::named("heir") }.start();
    heir.does("inherit-listener");
    drop(listener);
    let mut comer = Cast::named("comer").start();
    let mut refusals = 0;
    traffic::until("who inherited it is known", SOON, || {
        assert_eq!(comer.does(&format!("bind {at}")), "EADDRINUSE");
        refusals += 1;
        let failed = seen.wait_for_failure(refusals, SOON);
        let [only] = &failed.holders[..] else { panic!("{failed:?}") };
        assert_eq!(only.state, "LISTEN", "{failed:?}");
        only.pid == Some(heir.pid())
    });
    let client = traffic::connect(at);
    let line = seen.wait_for_step((at, traffic::address(&client)), "LISTEN>SYN_RECV", SOON);
    assert_eq!(owner(&line), Some((heir.pid(), "heir", 0)), "{line:?}");
}

/// A server that speaks first has an owner before it reads, where a hook is on accept() or on writes.
pub fn known_after_the_first_write() {
    let hooks = crate::tracer::command(["probes", "--json"]).output().unwrap();
    let hooks = serde_json::from_slice::<serde_json::Value>(&hooks.stdout).unwrap();
    let attached = |name: &str| {
        hooks["hooks"].as_array().unwrap().iter().any(|hook| hook["hook"] == name && hook["attached"] == true)
    };
    if !(attached("inet_csk_accept") || attached("tcp_sendmsg_locked")) {
        println!("owners: this kernel gives neither hook");
        return;
    }
    let seen = Seen::shared();
    let mut server = Cast::named("first-writer").start();
    let (address, _) = listening(&mut server);
    let address = address.parse().unwrap();
    let client = traffic::connect(address);
    let ends = (address, traffic::address(&client));
    server.does("accept");
    server.does("write");
    let _ = (&client).read(&mut [0; 1]).unwrap();
    drop(client);
    let line = seen.wait_for_step(ends, "ESTABLISHED>CLOSE_WAIT", SOON);
    assert_eq!(owner(&line), Some((server.pid(), "first-writer", 0)), "{line:?}");
}

/// A socket made by one process and closed by another.
pub fn the_closer_owns() {
    let seen = Seen::shared();
    let pair = Pair::on(V4);
    let ends = pair.ends();
    let mut heir = Cast { inherits: Some(&pair.client), ..Cast::named("the-heir") }.start();
    heir.does("inherit");
    drop(pair.client);
    let connected = seen.wait_for_step(ends, "SYN_SENT>ESTABLISHED", SOON);
    assert_eq!(owner(&connected), Some((std::process::id(), own_name().as_str(), 0)), "{connected:?}");
    heir.does("close");
    traffic::read_end(&pair.server);
    drop(pair.server);
    seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
    let life = seen.connection(connected.id.as_ref());
    let heirs: Vec<Line> = life.into_iter().filter(|line| line.pid == Some(heir.pid())).collect();
    assert_eq!(steps(&heirs), "ESTABLISHED>FIN_WAIT1 FIN_WAIT1>FIN_WAIT2 FIN_WAIT2>TIME_WAIT", "{heirs:?}");
    assert!(heirs.iter().all(|line| line.comm.as_deref() == Some("the-heir")), "{heirs:?}");
}
