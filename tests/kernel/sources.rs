//! What times late segments, held against each other: the tracers of `--timing` on the same traffic say the same, each as
//! exactly as it can.

use std::{
    collections::BTreeMap,
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use nix::libc;
use socket2::Socket;

use crate::{
    V4, V6,
    actor::Cast,
    guest::time_is_warped,
    netns,
    packet::{self, ACK, FIN, Numbers, RST},
    tracer::{A_MINUTE, Line, SOON, START, Tracer, command, steps},
    traffic::{self, Pair, hold, hz, set_option, ss, until, wheel_bucket},
};

/// The exact ones first. `fexit` and `kfree_skb` are the hooks of those names, the timer is everywhere.
const SOURCES: [(&str, Option<&str>); 3] =
    [("fexit", Some("tcp_timewait_state_process")), ("kfree_skb", Some("kfree_skb")), ("timer", None)];

/// How much later than a program another may look at its clock. Where tasks can be preempted between the two, one of them may wait for a CPU.
fn at_once() -> Duration {
    Duration::from_millis(if time_is_warped() { 1 } else { 100 })
}

/// What each mini-socket of the traffic ends with.
const ENDS: [&str; 12] = [
    "FIN_WAIT2>CLOSE expired",
    "FIN_WAIT2>CLOSE reset",
    "FIN_WAIT2>CLOSE reset-sent",
    "TIME_WAIT>CLOSE destroyed",
    "TIME_WAIT>CLOSE expired",
    "TIME_WAIT>CLOSE expired",
    "TIME_WAIT>CLOSE expired",
    "TIME_WAIT>CLOSE expired",
    "TIME_WAIT>CLOSE expired",
    "TIME_WAIT>CLOSE expired",
    "TIME_WAIT>CLOSE reset",
    "TIME_WAIT>CLOSE reused-by-connect",
];

/// A connection whose client hung up.
struct Orphan {
    ends: (SocketAddr, SocketAddr),
    server: Option<Socket>,
    /// What the peer sends after its FIN.
    after: Numbers,
}

impl Orphan {
    /// In FIN_WAIT2, in a mini-socket.
    fn new(pair: Pair) -> Self {
        let Pair { listener: _, client, server } = pair;
        let ends = (traffic::address(&client), traffic::peer(&client));
        let Numbers { send, receive } = packet::numbers(&server);
        drop(client);
        until("the mini-socket", SOON, || ss(ends).is_some_and(|line| line.contains("timer:(timewait,")));
        let after = Numbers { send: send.wrapping_add(1), receive: receive.wrapping_add(1) };
        Self { ends, server: Some(server), after }
    }

    /// The peer hangs up too: TIME_WAIT.
    fn hears_the_fin(&mut self) {
        drop(self.server.take().unwrap());
        until("TIME_WAIT", SOON, || ss(self.ends).is_some_and(|line| line.starts_with("TIME-WAIT")));
    }

    fn hears(&self, flags: u8, numbers: Numbers) {
        packet::send(self.ends.1, self.ends.0, flags, numbers);
    }

    /// The peer's FIN again.
    fn hears_it_again(&self) {
        self.hears(FIN | ACK, Numbers { send: self.after.send.wrapping_sub(1), ..self.after });
    }
}

/// A bound client, so that the next one can take its addresses.
fn bound(ip: &str) -> (Pair, Socket) {
    let listener = traffic::listen(ip);
    let to = traffic::address(&listener);
    let client = traffic::connect_from(SocketAddr::new(to.ip(), 0), to);
    let server = traffic::accept(&listener);
    (Pair { listener: listener.try_clone().unwrap(), client, server }, listener)
}

/// Every way in which a segment can be late, and every way out.
fn traffic(ip: &str) {
    let orphan = || Orphan::new(Pair::on(ip));
    let pair = Pair::on(ip);
    set_option(&pair.client, libc::IPPROTO_TCP, libc::TCP_LINGER2, 3);
    let _expires = Orphan::new(pair);
    // Of these at most one finds a border between two buckets in its 40 ms.
    for _ in 0..3 {
        let mut soon = orphan();
        hold(Duration::from_millis(40));
        soon.hears_the_fin();
        hold(Duration::from_millis(300));
    }
    let [mut restarted, mut reset, mut destroyed] = [(); 3].map(|()| orphan());
    let [mut late, reset_in_fin_wait2, mut reset_sent] = [(); 3].map(|()| orphan());
    let (pair, listener) = bound(ip);
    let mut reused = Orphan::new(pair);
    drop(Pair::on(ip).close_client_first());
    hold(Duration::from_millis(40));
    for orphan in [&mut restarted, &mut reset, &mut destroyed, &mut reused] {
        orphan.hears_the_fin();
    }
    // Not sooner: of a FIN and a restart within one bucket the timer alone takes the restart for the FIN.
    hold(wheel_bucket() + Duration::from_millis(500));
    late.hears_the_fin();
    restarted.hears_it_again();
    reset.hears_it_again();
    for _ in 0..2 {
        hold(Duration::from_millis(500));
        restarted.hears_it_again();
        hold(Duration::from_millis(100));
        restarted.hears(ACK, restarted.after);
    }
    hold(Duration::from_millis(400));
    netns::sysctl("ipv4/tcp_rfc1337", "0");
    reset.hears(RST, reset.after);
    reset_in_fin_wait2
        .hears(RST, Numbers { send: reset_in_fin_wait2.after.send.wrapping_sub(1), ..reset_in_fin_wait2.after });
    reset_sent.server.as_mut().unwrap().write_all(b"too late").unwrap();
    for gone in [&reset, &reset_in_fin_wait2, &reset_sent] {
        until("an early end", SOON, || ss(gone.ends).is_none());
    }
    netns::sysctl("ipv4/tcp_rfc1337", "1");
    let sport = format!(":{}", destroyed.ends.0.port());
    let mut kill = Command::new("ss");
    kill.args(["-K", "-tan", "state", "time-wait", "sport", "=", &sport]).stdout(Stdio::null());
    assert!(kill.status().unwrap().success());
    let mut reuser = Cast::named("reuser").start();
    reuser.does(&format!("connect {} {}", reused.ends.1, reused.ends.0));
    // Nobody accepted the new connection: it ends here by an RST, without a mini-socket.
    drop(listener);
    until("no connection", SOON, || ss(reused.ends).is_none());
}

/// Whether this kernel gives that hook.
fn has(source: &str, hook: &str) -> bool {
    let ended = Tracer::spawn(command(["probes", "--json", "--timing", source])).end(START);
    if ended.code != Some(0) {
        // Whatever else keeps it from being had is an error.
        let why = [format!("{hook} that was asked for is unavailable"), "trampolines".to_owned(), "rx_sk".to_owned()];
        let [asked, first, second] = why.map(|why| ended.stderr.contains(&why));
        assert!(asked && (first || second), "{ended:?}");
        return false;
    }
    let hooks: serde_json::Value = serde_json::from_str(&ended.stdout.join("\n")).unwrap();
    hooks["hooks"].as_array().unwrap().iter().any(|row| row["hook"] == hook && row["attached"] == true)
}

pub fn agree() {
    // A repeated FIN is answered, the answer finds no socket, and the RST that comes back would end it all.
    netns::sysctl("ipv4/tcp_rfc1337", "1");
    let mut tracers = Vec::new();
    for (source, hook) in SOURCES {
        match hook {
            Some(hook) if !has(source, hook) => println!("sources: this kernel does not give {hook}"),
            _ => tracers.push((source, Tracer::here(&["--timing", source]))),
        }
    }
    assert!(tracers.len() >= 2, "nothing to compare with");
    for ip in [V4, V6] {
        traffic(ip);
    }
    let told = tracers.into_iter().map(|(source, tracer)| {
        let of_a_mini = |line: &&String| {
            [r#""from":"TIME_WAIT""#, r#""from":"FIN_WAIT2","to":"CLOSE""#].iter().any(|end| line.contains(end))
        };
        let ends = |lines: &[String]| lines.iter().filter(of_a_mini).count();
        tracer.wait_for_lines(A_MINUTE, |lines| ends(lines) >= 2 * ENDS.len());
        let ended = tracer.stop();
        ended.expect_clean();
        (source, lives(&ended.lines()))
    });
    let told: Vec<_> = told.collect();
    let (best, reference) = &told[0];
    let mut ends: Vec<_> = reference.values().filter_map(|life| end(life)).collect();
    ends.sort_unstable();
    let mut expected: Vec<_> = ENDS.iter().chain(&ENDS).map(|end| (*end).to_owned()).collect();
    expected.sort_unstable();
    assert_eq!(ends, expected, "{best}: {reference:#?}");
    for (source, lives) in &told[1..] {
        assert_eq!(
            lives.keys().collect::<Vec<_>>(),
            reference.keys().collect::<Vec<_>>(),
            "{source} and {best}: the same connections"
        );
        for (life, reference) in lives.values().zip(reference.values()) {
            assert_same(source, life, reference);
        }
    }
    let (_, of_the_timer) = told.last().unwrap();
    let inferred = of_the_timer.values().flatten().filter(|line| line.timing == "jiffy").count();
    assert!(inferred >= 2 * 2 * 2, "the timer alone says nothing of a FIN within its bucket: {of_the_timer:#?}");
    println!(
        "sources: {:?} agree, {inferred} steps inferred",
        told.iter().map(|(source, _)| source).collect::<Vec<_>>()
    );
}

/// The lines of each connection. All but the listeners', whose time is the test's.
fn lives(lines: &[Line]) -> BTreeMap<(SocketAddr, SocketAddr, String), Vec<Line>> {
    let mut lives: BTreeMap<_, Vec<Line>> = BTreeMap::new();
    for line in lines {
        if let (Some(lport), Some(rport), Some(id)) = (line.lport, line.rport, line.id.clone()) {
            let ends = (SocketAddr::new(line.laddr, lport), SocketAddr::new(line.raddr, rport));
            lives.entry((ends.0, ends.1, id)).or_default().push(line.clone());
        }
    }
    lives
}

/// `TIME_WAIT>CLOSE expired`, of a mini-socket.
fn end(life: &[Line]) -> Option<String> {
    let last = life.last().filter(|last| matches!(last.from.as_deref(), Some("TIME_WAIT" | "FIN_WAIT2")))?;
    Some(format!("{} {}", last.step(), last.reason.as_ref()?))
}

fn assert_same(source: &str, life: &[Line], reference: &[Line]) {
    assert_eq!(steps(life), steps(reference), "{source}: {life:#?} {reference:#?}");
    // A jiffy for the start of the clock, and one for when it was looked at. On a machine that is too busy to tick, more.
    let jiffies = if time_is_warped() { 2 } else { 6 } * Duration::from_secs(1) / hz().unwrap_or(100);
    for (line, reference) in life.iter().zip(reference) {
        let both = format!("{source}: {line:?}, {reference:?}");
        assert_eq!((&line.reason, &line.by), (&reference.reason, &reference.by), "{both}");
        assert_eq!((line.dwell_ns.is_some(), line.pid), (reference.dwell_ns.is_some(), reference.pid), "{both}");
        let near = if line.timing == "jiffy" {
            assert_eq!((source, reference.timing.as_str()), ("timer", "exact"), "{both}");
            assert!([line.step(), reference.step()].iter().all(|step| step.contains("TIME_WAIT")), "{both}");
            jiffies + at_once()
        } else {
            assert_eq!(line.timing, reference.timing, "{both}");
            at_once()
        };
        if line.dwell_ns.is_some() {
            assert!(line.dwell().abs_diff(reference.dwell()) <= near, "{both}");
        }
        assert!(line.when().abs_diff(reference.when()) <= near, "{both}");
        match (line.restarts, reference.restarts) {
            // Of those within one bucket the timer knows one. On a slow machine a FIN is sent again by itself, and that may be in the jiffy in which
            // TIME_WAIT began: the timer is set to what it was then.
            (Some(some), Some(all)) if source == "timer" => {
                assert!(some <= all && (some.min(1) == all.min(1) || !time_is_warped()), "{both}");
            }
            (some, all) => assert_eq!(some, all, "{both}"),
        }
    }
}
