//! `tcpwait doctor`: every finding provoked, its evidence held against the kernel's own numbers, and absent before, in a
//! namespace as the kernel makes it. What is the whole machine's (orphans, tcp_mem) is left alone; that is tried on constructed
//! facts only (`doctor/tests.rs`).

pub mod closing;
pub mod opening;

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    V4,
    actor::Cast,
    netns::{self, sysctl, tcp_ext},
    redirect,
    tracer::{Ended, SOON, START, Tracer, command},
    traffic::{Pair, until},
};

/// More than any finding needs that does not come at the first time.
const SOME: usize = 12;

/// A doctor that has read for the first time, and waits.
struct Doctor(Tracer);

impl Doctor {
    fn begins() -> Self {
        let netns = netns::inode().to_string();
        let tracer = Tracer::spawn(command(["doctor", "--json", "--seconds", "3600", "--netns", &netns]));
        tracer.wait_until_it_says("Reading");
        Self(tracer)
    }

    /// Has it read for the second time.
    fn says(self) -> Report {
        Report::of(&self.0.stop())
    }
}

/// Two readings right after each other.
fn now() -> Report {
    within("0.01")
}

/// Two readings so many seconds apart.
fn within(seconds: &str) -> Report {
    let netns = netns::inode().to_string();
    Report::of(&Tracer::spawn(command(["doctor", "--json", "--seconds", seconds, "--netns", &netns])).end(START))
}

#[derive(Debug)]
struct Report(Value);

impl Report {
    fn of(ended: &Ended) -> Self {
        assert_eq!((ended.code, ended.stdout.len()), (Some(0), 1), "{ended:?}");
        Self(serde_json::from_str(&ended.stdout[0]).unwrap())
    }

    fn ids(&self) -> Vec<&str> {
        self.0["findings"].as_array().unwrap().iter().map(|finding| finding["id"].as_str().unwrap()).collect()
    }

    /// The finding, of this severity; what is worth changing has advice, and all advice has a risk.
    fn finding(&self, id: &str, severity: &str) -> &Value {
        let found = self.0["findings"].as_array().unwrap().iter().find(|finding| finding["id"] == id);
        let found = found.unwrap_or_else(|| panic!("no {id} in {:?}", self.ids()));
        assert_eq!(found["severity"], severity, "{found}");
        assert!(!found["evidence"].as_array().unwrap().is_empty(), "{found}");
        let advice = found["advice"].as_array().unwrap();
        assert!(severity != "now" || !advice.is_empty(), "{found}");
        assert!(advice.iter().all(|advice| !advice["risk"].as_str().unwrap().is_empty()), "{found}");
        assert_eq!(self.0["verdict"] == "worth-changing", self.0["now"] != 0, "{}", self.0);
        found
    }

    fn expect_nothing(&self) {
        assert_eq!(self.0["verdict"], "nothing-to-do", "{}", self.0);
        assert_eq!(self.ids(), [""; 0], "{}", self.0);
    }
}

/// A counter in the evidence: by how much it grew, and what it stands at.
fn counted(finding: &Value, name: &str) -> (u64, u64) {
    let evidence = finding["evidence"].as_array().unwrap().iter().find(|evidence| evidence["counter"] == name);
    let evidence = evidence.unwrap_or_else(|| panic!("no {name} in {finding}"));
    (evidence["grown"].as_u64().unwrap(), evidence["total"].as_u64().unwrap())
}

/// What was there, in the evidence.
fn gauged(finding: &Value, begin: &str) -> u64 {
    let begins = |evidence: &&Value| evidence["gauge"].as_str().is_some_and(|gauge| gauge.starts_with(begin));
    let evidence = finding["evidence"].as_array().unwrap().iter().find(begins);
    evidence.unwrap_or_else(|| panic!("no {begin:?} in {finding}"))["now"].as_u64().unwrap()
}

/// How long something has lasted at least, in nanoseconds, in the evidence.
fn aged(finding: &Value, begin: &str) -> u64 {
    let begins = |evidence: &&Value| evidence["age"].as_str().is_some_and(|age| age.starts_with(begin));
    let evidence = finding["evidence"].as_array().unwrap().iter().find(begins);
    evidence.unwrap_or_else(|| panic!("no {begin:?} in {finding}"))["at_least_ns"].as_u64().unwrap()
}

fn says(finding: &Value, key: &str, part: &str) -> bool {
    finding[key].to_string().contains(part)
}

/// As the kernel makes it, also with connections that come and go.
pub fn default_machine() {
    let doctor = Doctor::begins();
    for _ in 0..SOME {
        drop(Pair::on(V4).close_client_first());
        drop(Pair::on(V4).close_server_first());
    }
    let report = doctor.says();
    report.expect_nothing();
    let settings = report.0["settings"][0]["settings"].as_array().unwrap();
    // Ten of TCP; conntrack may not be there.
    assert!(settings.len() >= 10 && settings.iter().all(|setting| setting["fine"] == true), "{settings:?}");

    let netns = netns::inode().to_string();
    let ended = Tracer::spawn(command(["doctor", "--seconds", "0.01", "--netns", &netns])).end(START);
    assert!(ended.code == Some(0) && ended.stdout[0].starts_with("nothing to do:"), "{ended:?}");
}

pub fn time_wait_is_skipped() {
    const COUNTER: &str = "TcpExtTCPTimeWaitOverflow";
    now().expect_nothing();
    sysctl("ipv4/tcp_max_tw_buckets", "5");
    let doctor = Doctor::begins();
    for _ in 0..SOME {
        drop(Pair::on(V4).close_client_first());
    }
    until("TIME_WAIT is skipped", SOON, || tcp_ext("TCPTimeWaitOverflow") > 0);
    let report = doctor.says();
    let overflows = tcp_ext("TCPTimeWaitOverflow");
    let found = report.finding("time-wait-overflow", "now");
    assert_eq!(counted(found, COUNTER), (overflows, overflows));
    assert_eq!(gauged(found, "sockstat tw"), netns::time_waits());
    assert!(says(found, "advice", "default") && says(found, "in_vain", "tcp_fin_timeout"), "{found}");

    // Room again: it happened, and does not.
    sysctl("ipv4/tcp_max_tw_buckets", "100000");
    let report = now();
    assert_eq!(counted(report.finding("time-wait-overflow", "before"), COUNTER), (0, overflows));
    assert_eq!(report.0["verdict"], "nothing-to-do");
}

/// What people set in the belief that it does something else.
pub fn settings_without_effect() {
    let conntrack = "netfilter/nf_conntrack_tcp_timeout_time_wait";
    for (setting, value, id) in [
        ("ipv4/tcp_fin_timeout", "15", "fin-timeout-changed"),
        ("ipv4/tcp_max_tw_buckets", "1000", "tw-buckets-lowered"),
        ("ipv4/tcp_max_syn_backlog", "9999", "syn-backlog-without-say"),
        ("ipv4/tcp_syncookies", "2", "syncookies-always"),
        ("ipv4/tcp_timestamps", "0", "reuse-without-timestamps"),
        (conntrack, "30", "conntrack-time-wait"),
    ] {
        let Ok(default) = fs::read_to_string(format!("/proc/sys/net/{setting}")) else {
            assert_eq!(setting, conntrack, "every kernel has it");
            println!("doctor::settings_without_effect: no {setting} here, {id} is not tried");
            continue;
        };
        now().expect_nothing();
        sysctl(setting, value);
        let report = now();
        assert_eq!(report.ids(), [id]);
        let found = report.finding(id, "note");
        let cited =
            found["evidence"].as_array().unwrap().iter().find(|evidence| evidence["setting"].is_string()).unwrap();
        assert_eq!(cited["value"], value, "{found}");
        assert_eq!(report.0["verdict"], "nothing-to-do", "nothing is recommended that was not measured");
        sysctl(setting, default.trim());
    }
    now().expect_nothing();
}

/// In a mount namespace of its own, whose /run has such a file.
pub fn a_file_with_tcp_tw_recycle() {
    const FILE: &str = "/run/sysctl.d/90-tuning.conf";
    let tcpwait = env!("CARGO_BIN_EXE_tcpwait");
    let doctor = |lines: &str| {
        let script = format!(
            "mount -t tmpfs none /run && mkdir /run/sysctl.d && printf '{lines}' > {FILE} && exec {tcpwait} doctor --json --seconds 0.01 --netns $0"
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["-m", "sh", "-c", &script, &netns::inode().to_string()]);
        unshare.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Report::of(&Tracer::spawn(unshare).end(START))
    };
    doctor("# net.ipv4.tcp_tw_recycle = 1\\nnet.ipv4.tcp_sack = 1\\n").expect_nothing();
    let report = doctor("# tuning\\nnet.ipv4.tcp_tw_recycle = 1\\n");
    let found = report.finding("tw-recycle-configured", "note");
    assert_eq!((&found["evidence"][0]["file"], &found["evidence"][0]["line"]), (&FILE.into(), &2.into()));
    assert!(says(found, "what", "4.12"), "{found}");
}

/// The table's size is the machine's, so it is filled, by datagrams.
pub fn conntrack_is_full() {
    const LARGEST: u32 = 300_000;
    let number = |name: &str| -> Option<u32> {
        fs::read_to_string(format!("/proc/sys/net/netfilter/{name}")).ok()?.trim().parse().ok()
    };
    let Some(max) = number("nf_conntrack_max").filter(|max| *max < LARGEST) else {
        println!("doctor::conntrack_is_full: no connection tracking here, or a table too large to fill");
        return;
    };
    if let Err(why) = redirect::track() {
        println!("doctor::conntrack_is_full: nf_tables does not track connections here: {why}");
        return;
    }
    now().expect_nothing();
    let doctor = Doctor::begins();
    let sink = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = sink.local_addr().unwrap().port();
    let source = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 1..max + max / 10 {
        // What finds no room is not sent.
        let _ = source.send_to(b"", (Ipv4Addr::from(0x7f00_0001 + number), port));
    }
    let report = doctor.says();
    let found = report.finding("conntrack-full", "now");
    assert!(counted(found, "nf_conntrack drop").0 > 0 || counted(found, "nf_conntrack early_drop").0 > 0, "{found}");
    assert!(says(found, "in_vain", "tcp_fin_timeout"), "{found}");
}

/// Each is read, and what is the same is said once.
pub fn namespaces() {
    let first = netns::inode();
    sysctl("ipv4/tcp_fin_timeout", "15");
    let others: Vec<_> = (0..3)
        .map(|_| {
            std::thread::spawn(|| {
                let inode = netns::enter_new().unwrap();
                sysctl("ipv4/tcp_fin_timeout", "15");
                (inode, Cast::named("resident").start())
            })
            .join()
            .unwrap()
        })
        .collect();
    let list: Vec<String> =
        others.iter().map(|(inode, _)| *inode).chain([first]).map(|inode| inode.to_string()).collect();
    let arguments = ["doctor", "--seconds", "0.01", "--netns", &list.join(",")];
    let report = Report::of(&Tracer::spawn(command(arguments.iter().chain(&["--json"]))).end(START));
    assert_eq!(report.0["namespaces"].as_array().unwrap().len(), 4);
    assert_eq!(report.ids(), ["fin-timeout-changed"]);
    assert_eq!(report.0["findings"][0]["namespaces"].as_array().unwrap().len(), 4);
    assert_eq!(report.0["settings"].as_array().unwrap().len(), 1);
    let text = Tracer::spawn(command(arguments)).end(START);
    assert!(text.stdout.join(" ").contains("and 3 others"), "{:?}", text.stdout);
}

/// It reads what it may, and says what it may not.
pub fn not_root() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = place.path().join("tcpwait");
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_tcpwait")).arg(&copy).status().unwrap().success());
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let nobody = |arguments: &[&str]| {
        // In this thread's namespace.
        let mut doctor = Command::new(&copy);
        doctor.args(arguments).current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        doctor.uid(65_534).gid(65_534);
        Tracer::spawn(doctor).end(START)
    };
    sysctl("ipv4/tcp_fin_timeout", "15");
    let report = Report::of(&nobody(&["doctor", "--json", "--seconds", "0.01"]));
    report.finding("fin-timeout-changed", "note");
    let own = format!("net:[{}]", netns::inode());
    assert!(report.0["namespaces"].as_array().unwrap().iter().any(|name| name.as_str().unwrap().starts_with(&own)));
    let ended = Tracer::spawn(command(["doctor", "--netns", "no-such-namespace"])).end(START);
    assert_eq!((ended.code, ended.stdout.len(), ended.stderr.lines().count()), (Some(1), 0, 1), "{ended:?}");

    // Ctrl-C ends the wait, not the report.
    let doctor = Tracer::spawn(command(["doctor", "--seconds", "3600", "--netns", &netns::inode().to_string()]));
    doctor.wait_until_it_says("Reading");
    doctor.signal(Signal::SIGTERM);
    assert_eq!(doctor.end(SOON).code, Some(0));
}
