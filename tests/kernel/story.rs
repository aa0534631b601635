//! Not a test: records one story for the tests that need no root, once for each way of timing late segments that this kernel
//! has, all of them at the same time. `cargo xtask fixtures` has guests do it. What a recording must say is checked by
//! tests/replay alone; tests/fixtures/README.md tells the story by the servers' ports.

use std::{
    io::Write,
    net::{IpAddr, Shutdown, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{
    V4, V6, active_close,
    actor::Cast,
    netns,
    packet::{self, Numbers, RST},
    restarts,
    tracer::{A_MINUTE, SOON, Tracer, command},
    traffic::{self, FIN_WAIT2, Pair, flip, hold, ss, until},
};

/// The first argument of a process that does this; the second is the folder for the recordings.
pub const ROLE: &str = "record-a-story";

const TIMINGS: [&str; 3] = ["fexit", "kfree_skb", "timer"];

/// Longer than a jiffy at any HZ, and within the timer's bucket.
const SHORT: Duration = Duration::from_millis(50);

/// A play in a network namespace of its own, begun once `watch` has started what records it: in this folder, of this namespace. Gives what that returned,
/// when the play is over.
pub fn staged<T>(play: fn(), watch: impl FnOnce(&Path, &str) -> T) -> T {
    let folder: PathBuf = std::env::args_os().nth(2).expect("a folder for the recordings").into();
    netns::remember_home();
    let (inside, entered) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    // The namespace dies with this thread, and with the process that makes it one that can be found.
    let stage = thread::spawn(move || {
        let place = netns::enter_new().expect("root's rights");
        let _resident = Cast::named("resident").start();
        inside.send(place).unwrap();
        wait.recv().unwrap();
        play();
    });
    let watching = watch(&folder, &entered.recv().unwrap().to_string());
    go.send(()).unwrap();
    stage.join().unwrap();
    watching
}

/// What the process does.
pub fn record() -> ExitCode {
    let recorders: Vec<(Tracer, PathBuf)> =
        staged(play, |folder, place| TIMINGS.iter().filter_map(|timing| recorder(timing, folder, place)).collect());
    for (recorder, file) in recorders {
        until("the end of the namespace", SOON, || {
            hold(Duration::from_millis(300));
            let so_far = Tracer::spawn(command(["trace", "--json", "--from", file.to_str().unwrap()])).end(SOON);
            so_far.stdout.iter().any(|line| line.contains(r#""reason":"netns""#))
        });
        let ended = recorder.stop();
        assert!(ended.code == Some(0) && !ended.stderr.contains("lost"), "{}: {ended:?}", file.display());
    }
    ExitCode::SUCCESS
}

fn recorder(timing: &str, folder: &Path, place: &str) -> Option<(Tracer, PathBuf)> {
    let file = folder.join(format!("{timing}.tcpwait"));
    let output = file.to_str().unwrap();
    let recorder = Tracer::spawn(command(["record", "-o", output, "--netns", place, "--timing", timing]));
    match recorder.starts() {
        Ok(()) => Some((recorder, file)),
        Err(why) => {
            eprintln!("no recording by {timing}: {why}");
            None
        }
    }
}

/// A connection to a port of its own.
fn connection(ip: &str, port: u16) -> Pair {
    let address = SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port);
    let listener = traffic::socket(address.ip());
    listener.bind(&address.into()).unwrap();
    listener.listen(8).unwrap();
    // From a port that another socket may have next.
    let client = traffic::connect_from(SocketAddr::new(address.ip(), 0), address);
    let server = traffic::accept(&listener);
    Pair { listener, client, server }
}

fn becomes(ends: (SocketAddr, SocketAddr), state: &str) {
    until(state, SOON, || ss(ends).is_some_and(|line| line.starts_with(state)));
}

/// One whose client has become an orphan's FIN_WAIT2.
fn orphan(port: u16) -> (Pair, (SocketAddr, SocketAddr)) {
    let Pair { listener, client, server } = connection(V4, port);
    let ends = (traffic::address(&client), traffic::address(&listener));
    drop(client);
    traffic::read_end(&server);
    becomes(ends, "FIN-WAIT-2");
    // A socket without a name or a connection, in place of the one that is closed.
    (Pair { listener, client: traffic::socket(ends.0.ip()), server }, ends)
}

/// One whose client is in TIME_WAIT, the ends, and the server's numbers before it closed.
fn time_wait(ip: &str, port: u16) -> (socket2::Socket, (SocketAddr, SocketAddr), Numbers) {
    let pair = connection(ip, port);
    let (ends, peer) = (pair.ends(), packet::numbers(&pair.server));
    let listener = pair.close_client_first();
    becomes(ends, "TIME-WAIT");
    (listener, ends, peer)
}

fn play() {
    // Nothing happens to these.
    drop(time_wait(V4, 8301));
    drop(connection(V6, 8302).close_server_first());

    // The minute begins again, three times.
    netns::sysctl("ipv4/tcp_rfc1337", "1");
    let (_, ends, peer) = time_wait(V4, 8303);
    for (flags, numbers) in restarts::late(peer) {
        hold(SHORT);
        packet::send(ends.1, ends.0, flags, numbers);
    }
    netns::sysctl("ipv4/tcp_rfc1337", "0");

    // The FIN comes within the timer's bucket; seconds later.
    for (port, held) in [(8304, SHORT), (8305, Duration::from_secs(3))] {
        let (pair, ends) = orphan(port);
        hold(held);
        drop(pair);
        becomes(ends, "TIME-WAIT");
    }

    // It does not come at all; data comes instead.
    netns::sysctl("ipv4/tcp_fin_timeout", "2");
    let (pair, ends) = orphan(8306);
    until("the end of an orphan", SOON, || ss(ends).is_none());
    drop(pair);
    netns::sysctl("ipv4/tcp_fin_timeout", "60");
    let (pair, ends) = orphan(8307);
    (&pair.server).write_all(b"too late").unwrap();
    until("an RST", SOON, || ss(ends).is_none());
    drop(pair);

    early_ends();

    // No mini-socket is to be had.
    netns::sysctl("ipv4/tcp_max_tw_buckets", "0");
    drop(connection(V4, 8312).close_client_first());
    netns::sysctl("ipv4/tcp_max_tw_buckets", "4096");

    // Half-closed for a while; then closed by both at once.
    let pair = connection(V6, 8313);
    pair.client.shutdown(Shutdown::Write).unwrap();
    until("FIN_WAIT2", SOON, || traffic::state(&pair.client) == FIN_WAIT2);
    hold(SHORT);
    drop(pair.close_server_first());
    let pair = connection(V4, 8314);
    active_close::both_close(&pair);
    drop(pair);

    until("the end of all", A_MINUTE, || {
        // Seldom, as it is a process each time.
        hold(Duration::from_secs(1));
        Command::new("ss").args(["-tanH", "exclude", "listening"]).output().unwrap().stdout.is_empty()
    });

    // The namespace goes away.
    drop(time_wait(V4, 8315));
}

/// TIME_WAITs that somebody or something ends.
fn early_ends() {
    let (_, ends, peer) = time_wait(V4, 8308);
    packet::send(ends.1, ends.0, RST, Numbers { send: peer.send.wrapping_add(1), receive: 0 });
    until("a reset", SOON, || ss(ends).is_none());

    let (_, ends, _) = time_wait(V6, 8309);
    let port = format!("sport = :{}", ends.0.port());
    let killed = Command::new("ss").args(["-K", "-tan", "state", "time-wait", &port]).stdout(Stdio::null()).status();
    assert!(killed.unwrap().success() && ss(ends).is_none());

    let (listener, ends, _) = time_wait(V4, 8310);
    let mut reuser = Cast::named("reuser").start();
    reuser.does(&format!("connect {} {}", ends.1, ends.0));
    drop(traffic::accept(&listener));
    reuser.does("read-end");
    reuser.does("close");
    drop(listener);

    let pair = connection(V4, 8311);
    let ends = pair.ends();
    let listener = pair.close_server_first();
    becomes(flip(ends), "TIME-WAIT");
    let client = traffic::connect_from(ends.0, ends.1);
    let server = traffic::accept(&listener);
    drop(Pair { listener, client, server }.close_client_first());
}
