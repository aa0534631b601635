//! Filters select connections, not lines: whatever an unfiltered trace says of a connection that is wanted, a filtered one
//! says as well, down to the line that came before its port or its owner was known, and nothing else.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{
    V4, V6,
    actor::Cast,
    netns,
    tracer::{Line, SOON, Seen, Tracer, by_id, command},
    traffic,
};

type Wanted<'a> = Box<dyn Fn(&Line) -> bool + 'a>;

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
    let (alpha_text, alpha_net) = (alphas.to_string(), format!("/proc/{alphas}/ns/net"));
    let filters: Vec<(Vec<&str>, Wanted)> = vec![
        (vec!["--netns", &alpha_text], Box::new(|_| true)),
        (vec!["--netns", &alpha_net], Box::new(|_| true)),
        (vec!["--netns", &netns, "-L", &lport], Box::new(|line| line.lport == Some(first.port()))),
        (
            vec!["--netns", &netns, "-D", &rport],
            Box::new(|line| line.rport == Some(second.port()) || line.rport == Some(sixth.port())),
        ),
        (vec!["--netns", &netns, "--laddr", "127.0.0.4/30"], Box::new(|line| line.laddr.to_string() == "127.0.0.5")),
        (vec!["--netns", &netns, "--raddr", V6], Box::new(|line| line.raddr.to_string() == V6)),
        (vec!["--netns", &netns, "-p", &alpha_text], Box::new(|line| line.pid == Some(alphas))),
        // The owner of what is accepted is known late.
        (vec!["--netns", &netns, "-p", &server_text], Box::new(|line| line.pid == Some(serves))),
        (
            vec!["--netns", &netns, "--comm", "filter-beta"],
            Box::new(|line| line.comm.as_deref() == Some("filter-beta")),
        ),
        (vec!["--netns", &netns, "-4"], Box::new(|line| line.family == 4)),
        (vec!["--netns", &netns, "-6"], Box::new(|line| line.family == 6)),
        (
            vec!["--netns", &netns, "-4", "--comm", "filter-alpha", "-D", &rport],
            Box::new(|line| {
                line.pid == Some(alphas)
                    && line.family == 4
                    && [second.port(), sixth.port()].contains(&line.rport.unwrap_or(0))
            }),
        ),
        (vec!["--netns", &netns, "--state", "TIME_WAIT"], Box::new(|_| true)),
    ];
    let start = |more: &[&str]| Tracer::spawn(command([&["trace", "--json"], more].concat()));
    let all = start(&["--netns", &netns]);
    let tracers: Vec<Tracer> = filters.iter().map(|(arguments, _)| start(arguments)).collect();
    for tracer in tracers.iter().chain([&all]) {
        tracer.wait_until_tracing();
    }
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
    let refused = traffic::socket(V4.parse().unwrap()).connect(&"127.0.0.9:9".parse::<SocketAddr>().unwrap().into());
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

    for ((arguments, wanted), tracer) in filters.iter().zip(tracers) {
        let ended = tracer.stop();
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (id, lines) in reference.iter().filter(|(_, lines)| lines.iter().any(wanted)) {
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
}
