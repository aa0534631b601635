//! A real Prometheus, in the namespace that the tests were started in, and its HTTP API.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    netns,
    tracer::{SOON, START},
};

/// How often it scrapes and evaluates.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Says it where the program is not there.
pub fn is_installed() -> bool {
    let is_there = ["prometheus", "promtool"].map(|program| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    });
    let are_there = is_there == [true; 2];
    if !are_there {
        println!("prometheus and promtool are not installed here: nothing is tried with them");
    }
    are_there
}

/// A file of this project.
pub fn shipped(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A job that scrapes these, each by the name that is its `instance`.
pub fn configuration(targets: &[(&str, SocketAddr)], rules: &[&str]) -> String {
    let every = INTERVAL.as_secs();
    let target = |(name, address): &(&str, SocketAddr)| {
        format!("  - {{targets: ['{address}'], labels: {{instance: {name}}}}}\n")
    };
    let targets: String = targets.iter().map(target).collect();
    format!(
        "global: {{scrape_interval: {every}s, scrape_timeout: {every}s, evaluation_interval: {every}s}}\n\
         rule_files: [{}]\n\
         scrape_configs:\n- job_name: tcpwait\n  static_configs:\n{targets}",
        rules.join(", ")
    )
}

/// A sample that a query answers with.
#[derive(Debug)]
pub struct Sample {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Sample {
    /// As the series is called in an exposition whose labels are in order.
    pub fn series(&self) -> String {
        let name = self.labels.get("__name__").map_or("", String::as_str);
        let labels = self.labels.iter().filter(|(label, _)| !["__name__", "instance", "job"].contains(&label.as_str()));
        let labels: Vec<String> = labels.map(|(label, value)| format!("{label}={value:?}")).collect();
        if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
    }
}

/// An alert that fires.
#[derive(Clone, Debug)]
pub struct Firing {
    pub value: f64,
    pub description: String,
}

/// A running Prometheus. Dropping it kills it.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Prometheus {
    /// Starts it on `prometheus.yml` of this folder, with its data below.
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    /// The same, with more options.
    pub fn start_with(folder: &Path, more: &[&str]) -> Self {
        let log = folder.join("log");
        let mut program = Command::new("prometheus");
        program
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            // Recordings may be of any age.
            .args(["--web.listen-address=127.0.0.1:0", "--storage.tsdb.retention.time=100y"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap());
        netns::runs_at_home(&mut program);
        let mut child = program.spawn().unwrap();
        let mut address = None;
        wait("Prometheus listens", START, || {
            let said = fs::read_to_string(&log).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "it ended: {said}");
            let line = said.lines().find(|line| line.contains("msg=\"Listening on\"") && line.contains("address="));
            let place = line.and_then(|line| line.split("address=").nth(1)?.split_whitespace().next());
            address = place.and_then(|place| place.trim_matches('"').parse().ok());
            address.is_some()
        });
        let prometheus = Self { child, address: address.unwrap(), folder: folder.to_owned() };
        wait("Prometheus is ready", START, || prometheus.get("/-/ready").0 == 200);
        prometheus
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Has it read its configuration again, and waits until it has.
    pub fn reload(&self) {
        let log = self.folder.join("log");
        let loaded = || fs::read_to_string(&log).unwrap().matches("Completed loading of configuration file").count();
        let before = loaded();
        self.signal(Signal::SIGHUP);
        wait("it is reloaded", SOON, || loaded() > before);
    }

    /// Ends it and starts it again with the same data.
    pub fn restart(mut self) -> Self {
        self.signal(Signal::SIGTERM);
        wait("it ends", START, || self.child.try_wait().unwrap().is_some());
        Self::start(&self.folder)
    }

    fn get(&self, path: &str) -> (u16, String) {
        let (address, request) = (self.address, format!("GET {path} HTTP/1.0\r\n\r\n"));
        let answer = netns::at_home(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
        (head.split_whitespace().nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn ask(&self, path: &str) -> Result<Value, String> {
        let (_, body) = self.get(path);
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
        if answer["status"] == "success" { Ok(answer["data"].clone()) } else { Err(body) }
    }

    /// What an expression is now, or at a time in seconds since 1970.
    pub fn try_query(&self, expression: &str, at_s: Option<f64>) -> Result<Vec<Sample>, String> {
        let time = at_s.map_or(String::new(), |s| format!("&time={s}"));
        let data = self.ask(&format!("/api/v1/query?query={}{time}", encoded(expression)))?;
        Ok(data["result"].as_array().unwrap().iter().map(|row| sample(row, &row["value"][1])).collect())
    }

    /// The same of one that has no error.
    pub fn query(&self, expression: &str) -> Vec<Sample> {
        self.try_query(expression, None).unwrap_or_else(|e| panic!("{expression}: {e}"))
    }

    /// What an expression was last, over the last minute, as a graph asks for it.
    pub fn try_range(&self, expression: &str) -> Result<Vec<Sample>, String> {
        const SPAN_S: u64 = 60;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let path = format!("query={}&start={}&end={now}&step=1", encoded(expression), now - SPAN_S);
        let data = self.ask(&format!("/api/v1/query_range?{path}"))?;
        let rows = data["result"].as_array().unwrap().iter();
        Ok(rows.map(|row| sample(row, &row["values"].as_array().unwrap().last().unwrap()[1])).collect())
    }

    /// The alert that fires of this target, by a rule whose labels have this one or lack it.
    pub fn firing(&self, alert: &str, instance: &str, time: Option<&str>) -> Option<Firing> {
        let data = self.ask("/api/v1/alerts").unwrap();
        let is_it = |row: &&Value| {
            let labels = &row["labels"];
            row["state"] == "firing"
                && labels["alertname"] == alert
                && labels["instance"] == instance
                && labels["time"].as_str() == time
        };
        let row = data["alerts"].as_array().unwrap().iter().find(is_it)?.clone();
        Some(Firing {
            value: row["value"].as_str().unwrap().parse().unwrap(),
            description: row["annotations"]["description"].as_str().unwrap().to_owned(),
        })
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sample(row: &Value, value: &Value) -> Sample {
    let labels = row["metric"].as_object().unwrap().iter();
    let labels = labels.map(|(label, value)| (label.clone(), value.as_str().unwrap().to_owned())).collect();
    Sample { labels, value: value.as_str().unwrap().parse().unwrap() }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Waits for a condition that is asked of another program; fails at the bound.
pub fn wait(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) {
    const EACH: Duration = Duration::from_millis(100);
    let end = Instant::now() + bound;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {bound:?}");
        thread::sleep(EACH);
    }
}

/// What promtool says of these arguments and this input; it has to succeed.
pub fn promtool(arguments: &[&str], input: &str) -> String {
    let mut program = Command::new("promtool");
    program.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}
