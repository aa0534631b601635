//! A ring buffer for each CPU, and connections whose steps come from all of them: what is shown of each is in order, and nothing is missing.
//! `cargo xtask vm --profile many` has eight.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    V4,
    guest::many,
    netns,
    tracer::{Tracer, command},
    traffic, withheld,
};

/// Where each connection goes from CPU to CPU.
const CONNECTIONS: u32 = 8_000;

/// Connections from one address, whose ports are few.
const PER_ADDRESS: u32 = 100;

/// Time for a debug build to write them all out.
const PATIENCE: Duration = Duration::from_secs(100);

pub fn their_records_are_merged() {
    netns::sysctl("ipv4/tcp_max_tw_buckets", "500000");
    let netns = netns::inode().to_string();
    let trace = ["trace", "--json", "--netns", &netns, "--ring-buffer", "256", "--cpus-of-a-ring", "1"];
    let tracer = Tracer::spawn(command(trace));
    tracer.wait_until_tracing();
    let counted = || netns::tcp_ext("TW") + netns::tcp_ext("TWKilled");
    let before = counted();
    let cpus = cpus();
    let workers = cpus.len();
    thread::scope(|scope| {
        for worker in 0..workers {
            let cpus = &cpus;
            scope.spawn(move || wander(worker, many(CONNECTIONS) / workers as u32, cpus));
        }
    });
    let entered = counted() - before;
    let ended = tracer.stop_within(PATIENCE);
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let withheld = withheld::of(entered);
    let mut states: HashMap<String, String> = HashMap::new();
    let (mut broken, mut in_time_wait) = (0, 0);
    for line in &ended.stdout {
        let line: Value = serde_json::from_str(line).unwrap();
        let (Some(id), Some(to)) = (line["id"].as_str(), line["to"].as_str()) else { continue };
        in_time_wait += u64::from(to == "TIME_WAIT");
        let last = states.insert(id.to_owned(), to.to_owned());
        if last.is_some_and(|last| line["from"].as_str() != Some(&last)) {
            broken += 1;
        }
    }
    let discontinued = ended.number_before(" state changes that do not continue");
    assert!(
        broken + discontinued <= withheld,
        "{broken} steps out of order, {discontinued} do not continue: {ended:?}"
    );
    let lost = ended.number_before(" beginnings or restarts of timewait sockets");
    assert_eq!(lost, 0, "{ended:?}");
    assert!(in_time_wait <= entered && in_time_wait + withheld >= entered, "{in_time_wait} of {entered}: {ended:?}");
    println!(
        "many CPUs: {workers} CPUs, {entered} counted by the kernel, {in_time_wait} seen to enter TIME_WAIT; {ended:?}"
    );
}

/// Those that this thread may run on.
fn cpus() -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect()
}

fn go_to(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// Connects, accepts and closes, each on another CPU than the step before.
fn wander(worker: usize, connections: u32, cpus: &[usize]) {
    let listener = traffic::listen(V4);
    let to = traffic::address(&listener);
    let mut at = worker;
    let mut go = || {
        at += 1;
        go_to(cpus[at % cpus.len()]);
    };
    for number in 0..connections {
        let from = u32::from(Ipv4Addr::new(127, 2, 0, 1)) + ((worker as u32) << 16) + number / PER_ADDRESS;
        let client = traffic::socket(to.ip());
        client.bind(&SocketAddr::new(Ipv4Addr::from_bits(from).into(), 0).into()).unwrap();
        go();
        client.connect(&to.into()).unwrap();
        go();
        let server = traffic::accept(&listener);
        go();
        drop(client);
        go();
        traffic::read_end(&server);
    }
}
