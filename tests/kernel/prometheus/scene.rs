//! Where a situation is made: a namespace with an exporter of its own, which one Prometheus scrapes beside all others.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    server::{Firing, INTERVAL, Prometheus, configuration, shipped, wait},
    sixtieth,
};
use crate::{
    actor::Cast,
    export::Exporter,
    netns,
    tracer::{SOON, START, Tracer, command},
};

/// How long an alert may take, of which the longest has a window of 30 s and waits for 15 s.
const A_WHILE: Duration = Duration::from_secs(110);

/// A situation: what it is called, and what goes on there.
pub struct Situation {
    pub name: &'static str,
    /// Whether anything is wrong; what is not goes on until the others are over.
    pub is_ill: bool,
    /// More arguments of the exporter.
    pub options: &'static [&'static str],
    /// What is there before the exporter, and stays.
    pub before: fn() -> Vec<socket2::Socket>,
    pub story: fn(&mut Scene<'_>),
    /// The alerts that fire, and no others.
    pub fires: &'static [&'static str],
    /// What may fire besides, on a slow machine.
    pub may_fire: &'static [&'static str],
}

/// What a story sees.
pub struct Scene<'a> {
    name: &'static str,
    exporter: Option<Exporter>,
    options: &'static [&'static str],
    stage: &'a Stage,
    /// What was there before the exporter.
    pub held: Vec<socket2::Socket>,
}

struct Stage {
    prometheus: OnceLock<Prometheus>,
    ill: AtomicUsize,
    over: AtomicBool,
}

impl Scene<'_> {
    fn prometheus(&self) -> &Prometheus {
        self.stage.prometheus.get().unwrap()
    }

    /// Waits until this alert fires here.
    pub fn expect(&self, alert: &str) -> Firing {
        let mut firing = None;
        wait(&format!("{alert} of {}", self.name), A_WHILE, || {
            firing = self.prometheus().firing(alert, self.name, Some(sixtieth::TIME));
            firing.is_some()
        });
        let firing = firing.unwrap();
        println!("{}: {alert}: {}", self.name, firing.description);
        firing
    }

    /// Runs the command that an alert names, until it has said all of this on its stdout.
    pub fn run_what_it_names(&self, firing: &Firing, says: &[&str]) {
        let named = firing.description.split('`').nth(1).unwrap();
        let mut words = named.split_whitespace();
        assert_eq!(words.next(), Some("tcpwait"), "{firing:?}");
        let netns = netns::inode().to_string();
        let here: &[&str] = if named == "tcpwait probes" { &[] } else { &["--netns", &netns] };
        let tracer = Tracer::spawn(command(words.chain(here.iter().copied())));
        let verb = named.split_whitespace().nth(1).unwrap();
        let said = match verb {
            // These go on until they are ended.
            "ports" | "trace" => {
                let is_said = |lines: &[String]| says.iter().all(|part| lines.iter().any(|line| line.contains(part)));
                tracer.wait_for_lines(SOON, is_said);
                tracer.stop()
            }
            "stat" => {
                tracer.wait_until_tracing();
                thread::sleep(INTERVAL * 4);
                tracer.stop()
            }
            _ => tracer.end(START),
        };
        let said = said.stdout.join("\n");
        assert!(says.iter().all(|part| said.contains(part)), "`{named}` does not say {says:?}: {said}");
    }

    /// An expression's only value of this target now.
    pub fn value(&self, expression: &str) -> Option<f64> {
        let found = self.prometheus().query(&expression.replace('@', &format!("instance=\"{}\"", self.name)));
        found.first().map(|sample| sample.value)
    }

    /// Whether something that is wrong is still being shown elsewhere.
    pub fn goes_on(&self) -> bool {
        !self.stage.over.load(Ordering::SeqCst)
    }

    /// Has Prometheus read its configuration again.
    pub fn reload_prometheus(&self) {
        self.prometheus().reload();
    }

    /// The exporter's tracing process.
    pub fn tracer(&self) -> &Tracer {
        &self.exporter.as_ref().unwrap().tracer
    }

    /// Ends the exporter; starts another where it was.
    pub fn restart_exporter(&mut self) {
        let Exporter { tracer, address } = self.exporter.take().unwrap();
        assert_eq!(tracer.stop().code, Some(0));
        self.exporter = Some(Exporter::start_with(&address.to_string(), self.options));
    }

    /// Ends the exporter for good.
    pub fn end_exporter(&mut self) {
        assert_eq!(self.exporter.take().unwrap().tracer.stop().code, Some(0));
    }
}

/// Does this again and again while that is looked at.
pub fn meanwhile<T>(mut again: impl FnMut() + Send, look: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Sets(&over);
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                again();
            }
        });
        look()
    })
}

/// Sets it at the end, also where that is a panic.
struct Sets<'a>(&'a AtomicBool);

impl Drop for Sets<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One less at the end, also where that is a panic.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Plays all of them at once. Each has the alerts that are its own, and no others, from the beginning to the end.
pub fn play(situations: &'static [Situation]) {
    let stage = Stage {
        prometheus: OnceLock::new(),
        ill: AtomicUsize::new(situations.iter().filter(|situation| situation.is_ill).count()),
        over: AtomicBool::new(false),
    };
    let place = tempfile::tempdir().unwrap();
    let stage = &stage;
    let over_s = thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        for situation in situations {
            let tell = tell.clone();
            let act = move || {
                let ill = situation.is_ill.then(|| Counted(&stage.ill));
                netns::enter_new().unwrap();
                let _resident = Cast::named("resident").start();
                let held = (situation.before)();
                let exporter = Some(Exporter::start_with("127.0.0.1:0", situation.options));
                let address = exporter.as_ref().unwrap().address;
                let mut scene = Scene { name: situation.name, exporter, options: situation.options, stage, held };
                tell.send((situation.name, address)).unwrap();
                wait("Prometheus", START, || stage.prometheus.get().is_some() || stage.over.load(Ordering::SeqCst));
                (situation.story)(&mut scene);
                drop(ill);
                wait("the others are over", A_WHILE * 2, || !scene.goes_on());
            };
            thread::Builder::new().name(situation.name.to_owned()).spawn_scoped(scope, act).unwrap();
        }
        let _over = Sets(&stage.over);
        let targets: Vec<(&str, SocketAddr)> = situations.iter().map(|_| told.recv_timeout(START).unwrap()).collect();
        let prometheus = begin(place.path(), &targets);
        assert!(stage.prometheus.set(prometheus).is_ok());
        wait("all alerts have fired", A_WHILE * 2, || stage.ill.load(Ordering::SeqCst) == 0);
        // Exporters end from now on, which would be an alert.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
    });
    let prometheus = stage.prometheus.get().unwrap();
    for situation in situations {
        let name = situation.name;
        let labels = format!("instance=\"{name}\",alertstate=\"firing\",time=\"{}\"", sixtieth::TIME);
        let ever = format!("count by (alertname) (max_over_time(ALERTS{{{labels}}}[1h]))");
        let fired = prometheus.try_query(&ever, Some(over_s)).unwrap();
        let fired = fired.iter().map(|sample| sample.labels["alertname"].as_str());
        // The kernel's counters are read less often than each 15 s where that takes long, and until then one difference stands.
        let is_slow = |alert: &&str| *alert == "TcpwaitCountsDiffer";
        let fired: BTreeSet<&str> =
            fired.filter(|alert| !situation.may_fire.contains(alert) && !is_slow(alert)).collect();
        let differed = format!("max_over_time(tcpwait_audit_difference{{instance=\"{name}\"}}[1h]) > 0");
        for sample in prometheus.try_query(&differed, Some(over_s)).unwrap() {
            println!("{name}: {} differed by {} at some time", sample.labels["counter"], sample.value);
        }
        assert_eq!(fired, situation.fires.iter().copied().collect(), "{name}");
    }
}

/// Starts Prometheus, and waits until each exporter has told all that alerts are made of.
fn begin(folder: &std::path::Path, targets: &[(&str, SocketAddr)]) -> Prometheus {
    let rules = ["alerts.yml", "sixtieth.yml", "rules.yml"];
    std::fs::write(folder.join("alerts.yml"), shipped("contrib/prometheus/alerts.yml")).unwrap();
    std::fs::write(folder.join("rules.yml"), shipped("contrib/prometheus/rules.yml")).unwrap();
    std::fs::write(folder.join("sixtieth.yml"), sixtieth::alerts()).unwrap();
    std::fs::write(folder.join("prometheus.yml"), configuration(targets, &rules)).unwrap();
    let prometheus = Prometheus::start(folder);
    wait("all are scraped", START, || {
        let sockets = "tcpwait_sockets{state=\"close_wait\"}";
        let both = format!("count({sockets} and on (instance) tcpwait_listen_events_total)");
        prometheus.query(&both).first().is_some_and(|sample| sample.value == targets.len() as f64)
    });
    prometheus
}
