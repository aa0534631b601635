//! Filters select connections, not lines: whatever an unfiltered trace says of a connection that is wanted, a filtered one
//! says as well, down to the line that came before its port or its owner was known, and nothing else.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::{Command, Stdio},
};

use crate::{
    V4, V6,
    actor::Cast,
    guest, netns,
    tracer::{Ended, Line, SOON, Seen, Tracer, by_id, command},
    traffic::{self, Pair},
};

type Wanted<'a> = Box<dyn Fn(&[Line]) -> bool + 'a>;

/// Connections of which any line is so.
fn only<'a>(is_so: impl Fn(&Line) -> bool + 'a) -> Wanted<'a> {
    Box::new(move |lines| lines.iter().any(&is_so))
}

/// Connections of which no line is so.
fn but<'a>(is_so: impl Fn(&Line) -> bool + 'a) -> Wanted<'a> {
    Box::new(move |lines| !lines.iter().any(&is_so))
}

fn and<'a>(one: Wanted<'a>, other: Wanted<'a>) -> Wanted<'a> {
    Box::new(move |lines| one(lines) && other(lines))
}

/// Arguments, and the connections that they select.
type Filter<'a> = (Vec<&'a str>, Wanted<'a>);

/// Tracers that trace beside each other: a trampoline takes 38 programs (`BPF_MAX_TRAMP_LINKS`), and while one attaches the kernel lets no other
/// (`direct_mutex`).
const AT_ONCE: usize = 4;

/// Fails unless a filter lets through the connections that it selects, whole, and no other.
fn expect_selected((arguments, wanted): &Filter<'_>, reference: &BTreeMap<String, Vec<Line>>, ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (id, lines) in reference.iter().filter(|(_, lines)| wanted(lines)) {
        let by_state = arguments.contains(&"--state");
        let steps = lines.iter().map(Line::step).skip_while(|step| by_state && !step.contains("TIME_WAIT"));
        expected.entry(id.clone()).or_default().extend(steps);
    }
    expected.retain(|_, steps| !steps.is_empty());
    let shown: BTreeMap<String, Vec<String>> =
        by_id(&ended.lines()).into_iter().map(|(id, lines)| (id, lines.iter().map(Line::step).collect())).collect();
    assert!(!expected.is_empty(), "{arguments:?} would test nothing");
    assert_eq!(shown, expected, "{arguments:?}");
}

pub fn select_whole_connections() {
    let netns = netns::inode().to_string();
    let (mut alpha, mut beta) = (Cast::named("filter-alpha").start(), Cast::named("filter-beta").start());
    // Each listens in a process of its own, and from when everybody watches: of a listener that is older, a tracer whose turn to list it has
    // not come would know no owner.
    let mut servers = [(V4, 4001), (V4, 4002), (V6, 4003)]
        .map(|(host, port)| (Cast::named("filter-server").start(), SocketAddr::new(host.parse().unwrap(), port)));
    let [first, second, sixth] = [0, 1, 2].map(|which| servers[which].1);
    let (alphas, serves) = (alpha.pid(), servers[1].0.pid());

    let port = |of: SocketAddr| of.port().to_string();
    let (lport, rport, server_text) = (port(first), format!("{},{}", port(second), port(sixth)), serves.to_string());
    let [not_lport, not_rport, not_alpha, not_server] =
        [&lport, &rport, &alphas.to_string(), &server_text].map(|list| format!("!{list}"));
    let (alpha_text, alpha_net) = (alphas.to_string(), format!("/proc/{alphas}/ns/net"));
    let filters: Vec<Filter<'_>> = vec![
        (vec!["--netns", &alpha_text], only(|_| true)),
        (vec!["--netns", &netns, "-L", &lport], only(|line| line.lport == Some(first.port()))),
        (vec!["--netns", &netns, "-L", &not_lport], but(|line| line.lport == Some(first.port()))),
        (
            vec!["--netns", &netns, "-D", &rport],
            only(|line| line.rport == Some(second.port()) || line.rport == Some(sixth.port())),
        ),
        (vec!["--netns", &netns, "--laddr", "127.0.0.4/30"], only(|line| line.laddr.to_string() == "127.0.0.5")),
        (vec!["--netns", &netns, "--raddr", V6], only(|line| line.raddr.to_string() == V6)),
        (vec!["--netns", &netns, "-p", &alpha_text], only(|line| line.pid == Some(alphas))),
        // The owner of what is accepted is known late.
        (vec!["--netns", &netns, "-p", &server_text], only(|line| line.pid == Some(serves))),
        (vec!["--netns", &netns, "--comm", "filter-beta"], only(|line| line.comm.as_deref() == Some("filter-beta"))),
        (vec!["--netns", &netns, "-4"], only(|line| line.family == 4)),
        (vec!["--netns", &netns, "-6"], only(|line| line.family == 6)),
        (
            vec!["--netns", &netns, "-4", "--comm", "filter-alpha", "-D", &rport],
            only(|line| {
                line.pid == Some(alphas)
                    && line.family == 4
                    && [second.port(), sixth.port()].contains(&line.rport.unwrap_or(0))
            }),
        ),
        (vec!["--netns", &alpha_net], only(|_| true)),
        (vec!["--netns", &netns, "--state", "TIME_WAIT"], only(|_| true)),
        // Turned round: whatever no line of says what is named.
        (
            vec!["--netns", &netns, "-D", &not_rport],
            but(|line| line.rport == Some(second.port()) || line.rport == Some(sixth.port())),
        ),
        (vec!["--netns", &netns, "--laddr", "!127.0.0.4/30"], but(|line| line.laddr.to_string() == "127.0.0.5")),
        (vec!["--netns", &netns, "--raddr", "!::1"], but(|line| line.raddr.to_string() == V6)),
        (vec!["--netns", &netns, "-p", &not_alpha], but(|line| line.pid == Some(alphas))),
        (vec!["--netns", &netns, "-p", &not_server], but(|line| line.pid == Some(serves))),
        (vec!["--netns", &netns, "--comm", "!filter-beta"], but(|line| line.comm.as_deref() == Some("filter-beta"))),
        (
            vec!["--netns", &netns, "--comm", "!filter-alpha,filter-server"],
            but(|line| line.comm.as_deref().is_some_and(|comm| ["filter-alpha", "filter-server"].contains(&comm))),
        ),
        (
            vec!["--netns", &netns, "-L", &not_lport, "--comm", "filter-server"],
            and(
                but(|line| line.lport == Some(first.port())),
                only(|line| line.comm.as_deref() == Some("filter-server")),
            ),
        ),
    ];
    let start = |verb: &[&str], more: &[&str]| Tracer::spawn(command([verb, more].concat()));
    // What the kernel has a part in (filter.rs there) is tried live; what it knows nothing of does not differ in a recording, which takes seconds less.
    let is_of_the_kernel = |(arguments, _): &Filter<'_>| {
        arguments.iter().any(|argument| ["-L", "-D"].contains(argument)) || !arguments.contains(&netns.as_str())
    };
    let (in_the_kernel, after_the_kernel): (Vec<_>, Vec<_>) = filters.into_iter().partition(is_of_the_kernel);
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("filters.tcpwait");
    let rounds: Vec<_> = in_the_kernel.chunks(AT_ONCE).collect();
    for (round, some) in guest::some_of(&rounds).iter().enumerate() {
        let all = start(&["trace", "--json"], &["--netns", &netns]);
        let recorder = (round == 0).then(|| start(&["record", "-o", file.to_str().unwrap()], &["--netns", &netns]));
        let tracers: Vec<Tracer> = some.iter().map(|(arguments, _)| start(&["trace", "--json"], arguments)).collect();
        tracers.iter().chain([&all]).chain(&recorder).for_each(Tracer::wait_until_tracing);
        let all = Seen::through(all);

        for (server, address) in &mut servers {
            assert_eq!(server.does(&format!("bind {address}")), address.to_string());
            server.does("listen-on-it");
        }
        let plan = [
            (0, true, first, None),
            (0, false, first, Some("127.0.0.5:0")),
            (1, true, second, None),
            (2, false, sixth, None),
        ];
        for (listener, is_alpha, to, from) in plan {
            let client = if is_alpha { &mut alpha } else { &mut beta };
            client.does(&format!("connect {to} {}", from.unwrap_or_default()));
            let server = &mut servers[listener].0;
            server.does("accept");
            client.does("write");
            server.does("read");
            client.does("close");
            server.does("read-end");
            server.does("close");
        }
        // One that dies in its first state, before anybody says more of it.
        let refused =
            traffic::socket(V4.parse().unwrap()).connect(&"127.0.0.9:9".parse::<SocketAddr>().unwrap().into());
        assert!(refused.is_err());
        for (server, _) in &mut servers {
            server.does("close-listener");
        }
        traffic::until("every connection's end", SOON, || {
            let lines = all.lines();
            let count = |step: &str| lines.iter().filter(|line| line.step() == step).count();
            count("FIN_WAIT2>TIME_WAIT") == 4 && count("LAST_ACK>CLOSE") == 4 && count("LISTEN>CLOSE") == 3
        });
        let ended = all.into_tracer().stop();
        ended.expect_clean();
        let reference = by_id(&ended.lines());
        assert_eq!(reference.len(), 3 + 2 * 4 + 1, "{reference:?}");

        for (filter, tracer) in some.iter().zip(tracers) {
            expect_selected(filter, &reference, &tracer.stop());
        }
        if let Some(recorder) = recorder {
            assert_eq!(recorder.stop().code, Some(0));
            for filter in &after_the_kernel {
                let arguments = [&["trace", "--json", "--from", file.to_str().unwrap()], filter.0.as_slice()].concat();
                expect_selected(filter, &reference, &Tracer::spawn(command(arguments)).end(SOON));
            }
            println!("filters: {} select what they should of a recording", after_the_kernel.len());
        }
        // The next ones are to find nothing that is older.
        let killed =
            Command::new("ss").args(["-K", "-tan", "state", "time-wait"]).stdout(Stdio::null()).status().unwrap();
        assert!(killed.success());
        traffic::until("the TIME_WAITs end", SOON, || netns::time_waits() == 0);
        // A guest that says nothing for minutes is taken for one that hangs.
        println!("filters: {} more select what they should", some.len());
    }
}

/// Every network namespace but one: what happens there is not told, what happens elsewhere is, whole.
pub fn all_namespaces_but_one() {
    let own = netns::inode();
    let tracer = Tracer::spawn(command(["trace", "--json", "--netns", &format!("!{own}")]));
    tracer.wait_until_tracing();
    let seen = Seen::through(tracer);
    drop(Pair::on(V4).close_client_first());
    // It stays until all is told: the next one may get its inode number.
    let (tell, told) = std::sync::mpsc::channel();
    let (stay, ended) = std::sync::mpsc::channel::<()>();
    let there = std::thread::spawn(move || {
        let netns = netns::enter_new().unwrap();
        let pair = Pair::on(V4);
        tell.send((netns, pair.ends())).unwrap();
        drop(pair.close_client_first());
        ended.recv()
    });
    // Another test's namespace may have had the inode number.
    let (elsewhere, (one, other)) = told.recv().unwrap();
    let ports = [one.port(), other.port()].map(Some);
    let steps_in = |netns: u32| {
        let lines = seen.of(netns).lines();
        let its = lines.iter().filter(|line| ports.contains(&line.lport) || ports.contains(&line.rport));
        let mut steps: Vec<String> = its.map(Line::step).collect();
        steps.sort_unstable();
        steps
    };
    traffic::until("TIME_WAIT elsewhere", SOON, || steps_in(elsewhere).iter().any(|step| step == "LISTEN>CLOSE"));
    let mut whole = [
        "CLOSE>LISTEN",
        "CLOSE>SYN_SENT",
        "LISTEN>SYN_RECV",
        "SYN_RECV>ESTABLISHED",
        "SYN_SENT>ESTABLISHED",
        "ESTABLISHED>FIN_WAIT1",
        "ESTABLISHED>CLOSE_WAIT",
        "FIN_WAIT1>FIN_WAIT2",
        "FIN_WAIT2>TIME_WAIT",
        "CLOSE_WAIT>LAST_ACK",
        "LAST_ACK>CLOSE",
        "LISTEN>CLOSE",
    ];
    whole.sort_unstable();
    traffic::until("all of it", SOON, || steps_in(elsewhere).len() >= whole.len());
    assert_eq!(steps_in(elsewhere), whole);
    assert!(seen.of(own).lines().is_empty(), "what was to be left out is not");
    drop(stay);
    assert!(there.join().unwrap().is_err(), "nobody sent anything");
    let ended = seen.into_tracer().stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// `--longer-than` and `--reason` select lines: of what is older than the trace, where it is certain.
pub fn lines(ip: &str) {
    const LONG: std::time::Duration = std::time::Duration::from_millis(1_200);
    let older = Pair::on(ip);
    let begun = std::time::Instant::now();
    older.client.shutdown(std::net::Shutdown::Write).unwrap();
    traffic::read_end(&older.server);
    traffic::hold(LONG);
    let (place, netns) = (tempfile::tempdir().unwrap(), netns::inode().to_string());
    let file = place.path().join("lines.tcpwait");
    let file = file.to_str().unwrap();
    let longer = Tracer::here(&["--longer-than", "1s"]);
    // The kernel knows nothing of reasons, so a recording does for them.
    let recorder = Tracer::start(&["record", "-o", file, "--netns", &netns]);
    let of_reason = |reason| Tracer::spawn(command(["trace", "--json", "--from", file, "--reason", reason])).end(SOON);
    // Those that are older have been listed once they are told of.
    let nobody = std::net::SocketAddr::new(ip.parse().unwrap(), 9);
    assert!(traffic::socket(ip.parse().unwrap()).connect(&nobody.into()).is_err());
    drop(Pair::on(ip).close_client_first());
    traffic::hold(LONG);
    drop(older.server);
    let most = begun.elapsed();
    assert_eq!(recorder.stop().code, Some(0));
    let (longer, refused, others) = (longer.stop(), of_reason("refused"), of_reason("!refused"));
    for ended in [&longer, &refused, &others] {
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let mut steps: Vec<String> = longer.lines().iter().map(Line::step).collect();
    steps.sort_unstable();
    assert_eq!(steps, ["CLOSE_WAIT>LAST_ACK", "FIN_WAIT2>TIME_WAIT"], "{longer:?}");
    for line in longer.lines() {
        let ns = line.dwell_at_least_ns.unwrap_or_else(|| panic!("{line:?}"));
        assert!(line.dwell_ns.is_none() && ns > 1_000_000_000 && ns < most.as_nanos() as u64, "{line:?} of {most:?}");
    }
    let is_failure = |line: &&String| line.contains(r#""event":"connect-failed""#);
    assert_eq!((refused.stdout.len(), refused.stdout.iter().filter(is_failure).count()), (1, 1), "{refused:?}");
    assert!(refused.stdout[0].contains(r#""why":"refused""#), "{refused:?}");
    assert_eq!(others.stdout.iter().filter(is_failure).count(), 0, "{others:?}");
    assert!(others.lines().iter().any(|line| line.step() == "SYN_SENT>CLOSE"), "{others:?}");
}
