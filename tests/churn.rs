//! What runs for months on a machine whose containers come and go: the exporter's counts take no more memory however many network namespaces, cgroups,
//! processes and connections there have been. Recordings of real kernels are told over and over, each time as of others of all of these, whose sockets have
//! all ended.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test that fails says so by panicking, and its names say what it checks"
)]

use std::{collections::HashSet, fs, io, path::Path};

use tcpwait::{
    aggregate::{
        audit::{Audit, Reading},
        by::GroupBy,
    },
    export::engine::Engine,
    metrics::{groups::GroupSlots, source::Observed},
    pipeline::{Pipeline, Shown, Stream},
    recording::{Header, Reader},
    select::Selector,
    view::perfetto::TracePerfetto,
};
use tcpwait_wire::wire::{self, Kind};
use zerocopy::{FromBytes, IntoBytes};

/// The recordings with most kinds of records.
const FIXTURES: [&str; 2] = ["incident", "7.3-ends"];

/// How often each is told: before memory is looked at first, and in all.
const WARM: u64 = 18_000;
const ALL: u64 = 30_000;

/// Connections of each recording that are told of.
const CONNECTIONS: usize = 3;

/// What it may grow by meanwhile, in bytes: a fragment of what one structure takes that keeps an entry of each.
const MAY_GROW: u64 = 1 << 20;

fn main() {
    // The listing of test runners.
    if std::env::args().any(|argument| argument == "--list") {
        println!("memory_does_not_grow_with_churn: test");
        return;
    }
    FIXTURES.into_iter().for_each(memory_does_not_grow_with_churn);
    a_perfetto_trace_is_written_while_records_are_read("incident");
}

/// However long a recording is.
fn a_perfetto_trace_is_written_while_records_are_read(fixture: &str) {
    let (header, records) = ended(fixture);
    let view = Shown::Transitions(Box::new(TracePerfetto::default()));
    let mut pipeline = Pipeline::new(&header, Selector::default(), view, io::sink()).unwrap();
    let (mut time_ns, mut warm) = (header.started_ns, 0);
    for life in 0..ALL {
        let other = Other { number: life + 1, from_ns: header.started_ns, to_ns: time_ns };
        for record in &records {
            let mut record = record.clone();
            time_ns = time_ns.max(other.tell(&mut record, header.hz));
            pipeline.record(&record).unwrap();
        }
        if life == WARM {
            warm = resident();
        }
    }
    let now = resident();
    println!("{fixture} as a Perfetto trace: {} KiB after {WARM}, {} KiB in the end", warm >> 10, now >> 10);
    assert!(now < warm + MAY_GROW, "memory grows with what has been");
}

fn memory_does_not_grow_with_churn(fixture: &str) {
    let (header, records) = ended(fixture);
    let observed = Observed { late_segments: true, accepters: true, syn_recv: true, refused_calls: true };
    let slots = GroupSlots::new(vec![GroupBy::Process, GroupBy::Cgroup, GroupBy::Pod, GroupBy::Netns], 10);
    let mut engine = Engine::new(&header, observed, Audit::new(None, None), slots);
    let (mut time_ns, mut warm) = (header.started_ns, 0);
    let head = wire::Head {
        time_ns,
        len: size_of::<wire::SeedEnd>() as u16,
        kind: Kind::SeedEnd as u8,
        flags: 0,
        cpu: 0,
        thread: 0,
    };
    engine.record(wire::SeedEnd { head, sockets: 0, namespaces: 0, unreadable: 0 }.as_bytes());
    for life in 0..ALL {
        let other = Other { number: life + 1, from_ns: header.started_ns, to_ns: time_ns };
        for record in &records {
            let mut record = record.clone();
            time_ns = time_ns.max(other.tell(&mut record, header.hz));
            engine.record(&record);
        }
        // The namespaces are gone when the kernel's counters are read, and now and then somebody scrapes.
        engine.reading_begins();
        engine.reading_ends(&Reading::default());
        if life % 10 == 0 {
            drop(engine.snapshot(None));
        }
        if life == WARM {
            warm = resident();
        }
    }
    let now = resident();
    println!(
        "{fixture}: {ALL} lives of {} records, {} h: {} KiB after {WARM}, {} KiB in the end",
        records.len(),
        (time_ns - header.started_ns) / 3_600_000_000_000,
        warm >> 10,
        now >> 10
    );
    assert!(now < warm + MAY_GROW, "memory grows with what has been");
}

/// A recording's records, without those of sockets that are older or do not end in it.
fn ended(fixture: &str) -> (Header, Vec<Vec<u8>>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fixtures/{fixture}.tcpwait"));
    let mut reader = Reader::open(&path).unwrap();
    let header = reader.header().clone();
    let mut records = Vec::new();
    let mut stream = Stream::new(&header);
    while let Some(record) = reader.next_record() {
        stream.record(record);
        records.push(record.to_vec());
    }
    let mut without: HashSet<u64> = stream.lifecycle().present().map(|present| present.id).collect();
    without.extend(records.iter().filter(|record| kind(record) == Kind::Seed).filter_map(|record| cookie(record)));
    let ids: Vec<u64> =
        records.iter().filter_map(|record| cookie(record)).filter(|cookie| !without.contains(cookie)).collect();
    let some: HashSet<u64> = ids.iter().copied().take(CONNECTIONS).collect();
    without.extend(ids.into_iter().filter(|cookie| !some.contains(cookie)));
    let once = [Kind::Seed, Kind::SeedEnd, Kind::Counters, Kind::Loss, Kind::Listed];
    records.retain(|record| {
        !once.contains(&kind(record)) && cookie(record).is_none_or(|cookie| !without.contains(&cookie))
    });
    (header, records)
}

fn kind(record: &[u8]) -> Kind {
    Kind::from_u8(wire::Head::read_from_prefix(record).unwrap().0.kind).unwrap()
}

/// The socket that a record is of: it follows the head.
fn cookie(record: &[u8]) -> Option<u64> {
    let of_a_socket = (kind(record) as u8) < Kind::Tick as u8 || kind(record) == Kind::Seed;
    let at = size_of::<wire::Head>();
    of_a_socket.then(|| u64::from_ne_bytes(record[at..at + 8].try_into().unwrap()))
}

/// Another life of what was recorded.
struct Other {
    number: u64,
    from_ns: u64,
    to_ns: u64,
}

/// What is told of it under other names.
#[derive(Default)]
struct Parts<'a> {
    ids: Vec<&'a mut u64>,
    flow: Option<&'a mut wire::Flow>,
    task: Option<&'a mut wire::Task>,
    jiffies: Vec<&'a mut u64>,
    cgroup: Option<&'a mut u64>,
    netns: Option<&'a mut u32>,
}

impl Other {
    /// Makes a record one of it. Returns its time.
    fn tell(&self, record: &mut [u8], hz: Option<u64>) -> u64 {
        let number = self.number;
        let kind = kind(record);
        let later_ns = self.to_ns - self.from_ns;
        let parts = parts(kind, record);
        parts.ids.into_iter().filter(|id| **id != 0).for_each(|id| *id = id.wrapping_add(number << 32));
        for jiffies in parts.jiffies {
            *jiffies = jiffies.wrapping_add(later_ns / (1_000_000_000 / hz.unwrap_or(250)));
        }
        if let Some(flow) = parts.flow {
            flow.netns = flow.netns.wrapping_add((number as u32) << 8);
            // Of 127.0.0.1 and ::1 another destination.
            flow.raddr[1] ^= number as u8;
            flow.raddr[2] ^= (number >> 8) as u8;
        }
        if let Some(task) = parts.task {
            task.pid = task.pid.wrapping_add((number as u32) << 8);
            task.cgroup += number << 32;
            task.comm[..8].copy_from_slice(&format!("{number:08x}").into_bytes());
        }
        if let Some(cgroup) = parts.cgroup {
            *cgroup += number << 32;
        }
        if let Some(netns) = parts.netns {
            *netns = netns.wrapping_add((number as u32) << 8);
        }
        let (head, _) = wire::Head::mut_from_prefix(record).unwrap();
        head.time_ns += later_ns;
        head.time_ns
    }
}

fn parts(kind: Kind, record: &mut [u8]) -> Parts<'_> {
    fn of<T: FromBytes + IntoBytes + zerocopy::KnownLayout>(record: &mut [u8]) -> &mut T {
        T::mut_from_prefix(record).unwrap().0
    }
    fn mini(mini: &mut wire::Mini) -> Parts<'_> {
        let wire::Mini { cookie, tw, flow, expires, jiffies, .. } = mini;
        Parts { ids: vec![cookie, tw], flow: Some(flow), jiffies: vec![expires, jiffies], ..Parts::default() }
    }
    fn state(state: &mut wire::SockState) -> Parts<'_> {
        Parts { ids: vec![&mut state.cookie, &mut state.sk], flow: Some(&mut state.flow), ..Parts::default() }
    }
    fn request(request: &mut wire::Request) -> Parts<'_> {
        let wire::Request { cookie, req, listener, flow, .. } = request;
        Parts { ids: vec![cookie, req, listener], flow: Some(flow), ..Parts::default() }
    }
    match kind {
        Kind::State | Kind::StateStack => state(of(record)),
        Kind::StateTask => {
            let wire::SockStateTask { state: change, task } = of(record);
            Parts { task: Some(task), ..state(change) }
        }
        Kind::StateEnd => {
            let wire::SockStateEnd { state: change, task, .. } = of(record);
            Parts { task: Some(task), ..state(change) }
        }
        Kind::Owner => {
            let wire::Owner { cookie, task, .. } = of(record);
            Parts { ids: vec![cookie], task: Some(task), ..Parts::default() }
        }
        Kind::TwArm | Kind::TwExpire => mini(of(record)),
        Kind::TwSegment => mini(&mut of::<wire::MiniSegment>(record).mini),
        Kind::TwCancel => {
            let wire::MiniCancel { mini: cancelled, task, .. } = of(record);
            Parts { task: Some(task), ..mini(cancelled) }
        }
        Kind::ReqArm | Kind::ReqExpire => request(of(record)),
        Kind::ReqCancel => {
            let wire::RequestCancel { reqsk, task, .. } = of(record);
            Parts { task: Some(task), ..request(reqsk) }
        }
        Kind::PortRefused => {
            let wire::PortRefused { cookie, flow, task, .. } = of(record);
            Parts { ids: vec![cookie], flow: Some(flow), task: Some(task), ..Parts::default() }
        }
        Kind::Accepted => {
            let wire::Accepted { cookie, listener, task, .. } = of(record);
            Parts { ids: vec![cookie, listener], task: Some(task), ..Parts::default() }
        }
        Kind::CgroupName => Parts { cgroup: Some(&mut of::<wire::CgroupName>(record).id), ..Parts::default() },
        Kind::PodName => Parts { cgroup: Some(&mut of::<wire::PodName>(record).cgroup), ..Parts::default() },
        Kind::InterfaceName => Parts { netns: Some(&mut of::<wire::InterfaceName>(record).netns), ..Parts::default() },
        Kind::NetnsName => Parts { netns: Some(&mut of::<wire::NetnsName>(record).netns), ..Parts::default() },
        Kind::Setting | Kind::ReadingBegins | Kind::KernelCounts | Kind::ReadingEnds => Parts::default(),
        Kind::Tick | Kind::Seed | Kind::SeedEnd | Kind::Counters | Kind::Loss | Kind::Listed | Kind::Thinned => {
            Parts::default()
        }
    }
}

/// This process's resident memory, in bytes (`VmRSS`).
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
