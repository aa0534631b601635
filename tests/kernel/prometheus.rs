//! A real Prometheus scrapes a real exporter while real connections are made: each alert fires for what it is for and for nothing else, every
//! query of what is shipped answers, and what it has is what `tcpwait` says.

mod ill;
mod recorded;
mod scene;
mod server;
mod sixtieth;
mod well;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
    time::Duration,
};

use serde_json::Value;

use self::{
    scene::{Situation, play},
    server::{INTERVAL, Prometheus, Sample, configuration, is_installed, promtool, shipped, wait},
};
use crate::{
    V4,
    bursts::allow_descriptors,
    ends::abort,
    export::Exporter,
    tracer::{SOON, Tracer, command},
    traffic::{self, Pair},
};

pub use self::recorded::a_recording_becomes_graphs;

const SITUATIONS: [Situation; 13] = [
    ill("ports", || ill::held(520), ill::ports_run_out, &["TcpwaitPortsSoonExhausted", "TcpwaitPortsExhausted"]),
    ill("accept-queue", ill::nothing, ill::accept_queue, &["TcpwaitAcceptQueueFull"]),
    ill("close-wait", ill::nothing, ill::close_wait_leaks, &["TcpwaitCloseWaitLeak"]),
    ill("overflow", ill::nothing, ill::time_wait_overflows, &["TcpwaitTimeWaitOverflow"]),
    Situation {
        // An exporter takes the hook that slows every system call only if asked to, where the kernel has no other.
        options: &["--refused-ports", "sys_exit"],
        ..ill("port-held", ill::nothing, ill::port_is_held, &["TcpwaitPortHeld"])
    },
    ill("resets", ill::nothing, ill::peers_reset, &["TcpwaitResets"]),
    Situation {
        options: &["--ring-buffer", "1", "--one-in", "1"],
        // It is stopped again and again, and does not answer meanwhile.
        may_fire: &["TcpwaitDown"],
        ..ill("lost", ill::nothing, ill::events_are_lost, &["TcpwaitEventsLost"])
    },
    ill("down", ill::nothing, ill::is_down, &["TcpwaitDown"]),
    // Only where a minute is a second: see there.
    ill("burst", ill::nothing, well::burst, &["TcpwaitPortsSoonExhausted"]),
    well("ordinary", ill::nothing, well::ordinary),
    well("checks-of-health", ill::nothing, well::checks_of_health),
    well("proxy", ill::nothing, well::proxy),
    well("exporter-restarts", well::older_ones, well::exporter_restarts),
];

const fn ill(
    name: &'static str,
    before: fn() -> Vec<socket2::Socket>,
    story: fn(&mut scene::Scene<'_>),
    fires: &'static [&'static str],
) -> Situation {
    Situation { name, is_ill: true, options: &[], before, story, fires, may_fire: &[] }
}

const fn well(name: &'static str, before: fn() -> Vec<socket2::Socket>, story: fn(&mut scene::Scene<'_>)) -> Situation {
    Situation { is_ill: false, ..ill(name, before, story, &[]) }
}

/// Each alert fires for what it is for, and none where all is well. `TcpwaitCountsDiffer` is for what tcpwait does not know that it misses, which
/// cannot be made on purpose: alerts.test.yml has it, and here it is said what differed.
pub fn alerts() {
    const DESCRIPTORS: usize = 16_384;
    if is_installed() {
        allow_descriptors(DESCRIPTORS);
        play(&SITUATIONS);
    }
}

/// One Prometheus of its own for one exporter.
fn watched_by_one(exporter: &Exporter) -> (tempfile::TempDir, Prometheus) {
    watched_with(exporter, &[])
}

fn watched_with(exporter: &Exporter, options: &[&str]) -> (tempfile::TempDir, Prometheus) {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("rules.yml"), shipped("contrib/prometheus/rules.yml")).unwrap();
    let configuration = configuration(&[("here", exporter.address)], &["rules.yml"]);
    fs::write(place.path().join("prometheus.yml"), configuration).unwrap();
    let prometheus = Prometheus::start_with(place.path(), options);
    wait("it is scraped", SOON, || !prometheus.query("tcpwait_sockets").is_empty());
    (place, prometheus)
}

/// Some of everything that a query asks for.
fn load() {
    let listener = traffic::listen(V4);
    let to = traffic::address(&listener);
    let from = "127.0.0.1:20000".parse().unwrap();
    let in_time_wait = |client| {
        let server = traffic::accept(&listener);
        drop(client);
        traffic::read_end(&server);
    };
    in_time_wait(traffic::connect_from(from, to));
    for _ in 0..20 {
        in_time_wait(traffic::connect(to));
        let client = traffic::connect(to);
        drop(traffic::accept(&listener));
        traffic::read_end(&client);
        let pair = Pair::on(V4);
        abort(pair.client);
        assert!(
            traffic::socket(to.ip()).connect(&"127.0.0.1:9".parse::<std::net::SocketAddr>().unwrap().into()).is_err()
        );
    }
    // One leaves TIME_WAIT: the next connection takes its place once its timestamp is older.
    let again = traffic::socket(from.ip());
    again.bind(&from.into()).unwrap();
    wait("its TIME_WAIT is taken over", SOON, || again.connect(&to.into()).is_ok());
    in_time_wait(again);
}

/// Queries of the dashboard that have no answer where nothing is wrong.
const EMPTY_WHEN_WELL: [(&str, &str); 4] = [
    ("Ports run out in", "no destination's ports will"),
    ("Time until ports run out", "no destination's ports will"),
    ("What this kernel does not tell", "it may tell everything"),
    ("tcp_max_tw_buckets reached", "it was not"),
];

/// Every query of the dashboard and each recording rule answers, and with data after a small load.
pub fn queries() {
    if !is_installed() {
        return;
    }
    let exporter = Exporter::start();
    let (_place, prometheus) = watched_by_one(&exporter);
    load();
    let taken_in =
        "tcpwait_time_wait_exits_total{reason=\"reused_by_connect\"} > 0 and on () tcpwait_ports_fullest_used";
    wait("it is scraped again", SOON, || !prometheus.query(taken_in).is_empty());
    let dashboard: Value = serde_json::from_str(&shipped("contrib/grafana/dashboard.json")).unwrap();
    let mut asked = 0;
    let mut ask = |title: &Value, target: &Value| {
        let expression = target["expr"].as_str().unwrap();
        let made = expression
            .replace("$instance", ".+")
            .replace("$job", ".+")
            // Of the scrape interval four times, as Grafana has it.
            .replace("$__rate_interval", "4s");
        assert!(!made.contains('$'), "{made}");
        asked += 1;
        let is_instant = target["instant"] == true;
        let answer =
            |made: &str| if is_instant { prometheus.try_query(made, None) } else { prometheus.try_range(made) };
        let answered = || answer(&made).unwrap_or_else(|e| panic!("{title}: {made}: {e}"));
        let has_data = || answered().iter().any(|sample| sample.value.is_finite());
        if EMPTY_WHEN_WELL.iter().any(|(known, _)| title == known) {
            answered();
        } else {
            // A rate is there after two scrapes.
            wait(&format!("data for {title}: {made}"), SOON, has_data);
        }
    };
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            ask(&panel["title"], target);
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        ask(&annotation["name"], annotation);
    }
    assert!(asked > 30, "{asked}");
    for line in shipped("contrib/prometheus/rules.yml").lines() {
        let Some(record) = line.trim().strip_prefix("- record: ") else { continue };
        wait(record, SOON, || prometheus.query(record).iter().any(|sample| sample.value.is_finite()));
    }
    assert_eq!(exporter.tracer.stop().code, Some(0));
}

fn by_series(samples: &[Sample]) -> BTreeMap<String, u64> {
    // To the bit.
    samples.iter().map(|sample| (sample.series(), sample.value.to_bits())).collect()
}

/// Nothing that counts falls while one Prometheus is reloaded and restarted, and another beside it has the same numbers.
pub fn two_of_them() {
    const COUNTERS: &str = "{__name__=~\"tcpwait_.+_(total|bucket|count|sum)\"}";
    if !is_installed() {
        return;
    }
    let exporter = Exporter::start();
    let (_one, one) = watched_by_one(&exporter);
    let (_other, other) = watched_by_one(&exporter);
    let mut entries = 0.0;
    let come_and_go = || {
        drop(Pair::on(V4).close_client_first());
        entries += 1.0;
        thread::sleep(Duration::from_millis(20));
    };
    let one = scene::meanwhile(come_and_go, || {
        one.reload();
        thread::sleep(INTERVAL * 2);
        let one = one.restart();
        thread::sleep(INTERVAL * 3);
        one
    });
    // Not of the exporter's own process, which goes on.
    let settled = "{__name__=~\"tcpwait_.+\"}";
    for prometheus in [&one, &other] {
        // And the one after it, by when the kernel's own counters have been compared.
        for offset in ["", " offset 2s"] {
            let is_last = format!("tcpwait_time_wait_entries_total{offset}");
            wait(&format!("{is_last} is {entries}"), SOON, || {
                prometheus.query(&is_last).first().is_some_and(|sample| sample.value == entries)
            });
        }
        let counters: BTreeSet<String> =
            prometheus.query(COUNTERS).iter().map(|sample| sample.labels["__name__"].clone()).collect();
        let sum = |function: &str, name: &str| prometheus.query(&format!("sum({function}({name}[2m]))"))[0].value;
        let changed = counters.iter().filter(|name| sum("changes", name) > 0.0).count();
        assert!(counters.len() > 20 && changed > 5, "{changed} of {counters:?}");
        let fell: Vec<&String> = counters.iter().filter(|name| sum("resets", name) > 0.0).collect();
        assert!(fell.is_empty(), "{fell:?}");
    }
    let [here, there] = [&one, &other].map(|prometheus| by_series(&prometheus.query(settled)));
    assert!(here.len() > 400, "{}", here.len());
    assert_eq!(here, there);
    assert_eq!(exporter.tracer.stop().code, Some(0));
}

/// A Prometheus that asks for native histograms gets them, and they have counted what there was.
pub fn native_histograms() {
    const CONNECTIONS: usize = 20;
    if !is_installed() {
        return;
    }
    let exporter = Exporter::start();
    let (_place, prometheus) = watched_with(&exporter, &["--enable-feature=native-histograms"]);
    for _ in 0..CONNECTIONS {
        drop(Pair::on(V4).close_client_first());
    }
    let established = "tcpwait_state_duration_seconds{state=\"established\"}";
    wait("both ends of all of them are counted", SOON, || {
        let counted = prometheus.query(&format!("histogram_count({established})"));
        counted.first().is_some_and(|sample| sample.value == 2.0 * CONNECTIONS as f64)
    });
    let one = |function: &str| prometheus.query(&format!("{function}{established})"))[0].value;
    let (half, all) = (one("histogram_quantile(0.5, "), one("histogram_quantile(1, "));
    assert!(0.0 < half && half <= all && all < SOON.as_secs_f64(), "{half} {all}");
    let mean = one("histogram_sum(") / one("histogram_count(");
    assert!(0.0 < mean && mean <= all, "{mean} {all}");
    assert_eq!(exporter.tracer.stop().code, Some(0));
}

/// promtool finds nothing to say of what is printed and what is shipped.
pub fn promtool_agrees() {
    if !is_installed() {
        return;
    }
    let once = Tracer::spawn(command(["export", "--once", "--duration", "1"])).end(SOON);
    assert_eq!(once.code, Some(0), "{once:?}");
    let said = promtool(&["check", "metrics"], &(once.stdout.join("\n") + "\n"));
    assert_eq!(said, "");
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    for name in ["alerts.yml", "rules.yml", "alerts.test.yml"] {
        fs::write(at(name), shipped(&format!("contrib/prometheus/{name}"))).unwrap();
    }
    let scrape = shipped("contrib/prometheus/scrape.yml");
    let whole = format!("rule_files: [alerts.yml, rules.yml]\nscrape_configs:\n{scrape}");
    fs::write(at("prometheus.yml"), whole).unwrap();
    // It checks the rules that the configuration names, too.
    promtool(&["check", "config", "--lint-fatal", &at("prometheus.yml")], "");
    promtool(&["test", "rules", &at("alerts.test.yml")], "");
}
