//! What a record costs on the user side, step by step: `cargo bench -p tcpwait`. Throughput is in records of the kernel side a second.
//!
//! The records are those of `tests/fixtures/nginx.tcpwait`, many times over as if that many clients had come one after the other:
//! 20,000 sockets are in TIME_WAIT at once, and all of them end.

#![allow(missing_docs, reason = "criterion's macros write functions")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run must say so")]

use std::{hint::black_box, io, mem::offset_of, path::Path};

use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use tcpwait::{
    aggregate::{Aggregate, StatOptions, audit::Audit, by::GroupBy, groups::Sort},
    event::{Event, decode, is_from_kernel},
    lifecycle::{Lifecycle, Update},
    names::Names,
    pipeline::{Pipeline, Shown},
    recording::{Header, Reader},
    schedule::Schedule,
    select::{Criteria, Selector},
    stat::Statistics,
    view::{json, stat},
};
use tcpwait_wire::wire::{Flow, Head, Kind, Mini, Owner, Request, SockState};

/// How many times the 200 connections come.
const CLIENTS: u32 = 100;

/// Nanoseconds from one client to the next.
const APART_NS: u64 = 50_000_000;

/// `HZ` of the kernel that was recorded.
const HZ: u64 = 250;

const NS: u64 = 1_000_000_000;

/// The header, and every client's records in the order of time.
fn recorded() -> (Header, Vec<Vec<u8>>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/nginx.tcpwait");
    let mut reader = Reader::open(&path).unwrap();
    let header = reader.header().clone();
    let mut one = Vec::new();
    while let Some(record) = reader.next_record() {
        one.push(record.to_vec());
    }
    // What user space wrote (clocks, names, older sockets) is there once.
    let others =
        (1..CLIENTS).flat_map(|client| one.iter().filter(|r| is_from_kernel(r)).map(move |r| of_client(client, r)));
    let mut all: Vec<Vec<u8>> = one.iter().cloned().chain(others).collect();
    all.sort_by_key(|record| number(record, offset_of!(Head, time_ns)));
    (header, all)
}

/// The record of another client, with its own addresses and cookies, some time later.
fn of_client(client: u32, record: &[u8]) -> Vec<u8> {
    let mut record = record.to_vec();
    let later_ns = u64::from(client) * APART_NS;
    add(&mut record, offset_of!(Head, time_ns), later_ns);
    let kind = record.get(offset_of!(Head, kind)).copied().and_then(Kind::from_u8).unwrap();
    let (numbers, flow): (&[usize], _) = match kind {
        Kind::State | Kind::StateTask | Kind::StateStack | Kind::StateEnd => {
            (&[offset_of!(SockState, cookie), offset_of!(SockState, sk)], Some(offset_of!(SockState, flow)))
        }
        Kind::TwArm | Kind::TwExpire | Kind::TwCancel | Kind::TwSegment => {
            for jiffies in [offset_of!(Mini, jiffies), offset_of!(Mini, expires)] {
                add(&mut record, jiffies, later_ns * HZ / NS);
            }
            (&[offset_of!(Mini, cookie), offset_of!(Mini, tw)], Some(offset_of!(Mini, flow)))
        }
        Kind::ReqArm | Kind::ReqExpire | Kind::ReqCancel => (
            &[offset_of!(Request, cookie), offset_of!(Request, listener), offset_of!(Request, req)],
            Some(offset_of!(Request, flow)),
        ),
        Kind::Owner => (&[offset_of!(Owner, cookie)], None),
        _ => (&[], None),
    };
    for own in numbers {
        if number(&record, *own) != 0 {
            let other = number(&record, *own).wrapping_add(u64::from(client) << 32);
            put(&mut record, *own, other);
        }
    }
    if let Some(flow) = flow {
        for address in [offset_of!(Flow, laddr), offset_of!(Flow, raddr)] {
            // 127.0.0.1 becomes 127.0.1.1; the unspecified address stays.
            let octets = record.get_mut(flow + address..flow + address + 4).unwrap();
            if let [127, _, octet, _] = octets {
                *octet = u8::try_from(client).unwrap();
            }
        }
    }
    record
}

fn number(record: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(record.get(at..at + 8).unwrap().try_into().unwrap())
}

fn put(record: &mut [u8], at: usize, number: u64) {
    record.get_mut(at..at + 8).unwrap().copy_from_slice(&number.to_ne_bytes());
}

fn add(record: &mut [u8], at: usize, more: u64) {
    put(record, at, number(record, at) + more);
}

fn model(header: &Header) -> Lifecycle {
    Lifecycle::new(header.symbols.clone(), header.segments)
}

fn wanted() -> StatOptions {
    StatOptions { by: vec![GroupBy::Service, GroupBy::Process], netns_implied: false, sort: Sort::Entered, top: 10 }
}

fn throughput<'a>(c: &'a mut Criterion, records: &[Vec<u8>]) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group("records");
    let from_kernel = records.iter().filter(|record| is_from_kernel(record)).count() as u64;
    group.throughput(Throughput::Elements(from_kernel)).sample_size(20);
    group
}

fn benches(c: &mut Criterion) {
    let (header, records) = recorded();
    let events: Vec<Event> = records.iter().map(|record| decode(record).unwrap()).collect();
    let mut updates: Vec<Update> = Vec::new();
    let mut followed = model(&header);
    events.iter().for_each(|event| followed.apply(event, &mut updates));
    // What happens on one CPU at once is taken for one thing, and clients that are laid over each other do so now and then.
    assert!(followed.tally().unmatched.total() < u64::from(CLIENTS), "the clients do not disturb each other");
    let mut group = throughput(c, &records);

    group.bench_function("decode", |b| {
        b.iter(|| records.iter().for_each(|record| drop(black_box(decode(black_box(record))))));
    });
    group.bench_function("lifecycle", |b| {
        let mut out = Vec::new();
        b.iter_batched_ref(
            || model(&header),
            |model| {
                for event in &events {
                    model.apply(event, &mut out);
                    black_box(&out);
                    out.clear();
                }
            },
            BatchSize::PerIteration,
        );
    });
    let names = Names::default();
    group.bench_function("aggregation", |b| {
        b.iter_batched_ref(
            || Aggregate::new(wanted(), header.started_ns),
            |aggregate| {
                for update in &updates {
                    aggregate.update(update, &names);
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("stat", |b| {
        b.iter_batched_ref(
            || {
                let (selector, schedule) =
                    (Selector::new(Criteria::default()), Schedule { interval: None, count: None });
                let (audit, view) = (Audit::new(None, None), Box::new(stat::json::StatJson));
                Statistics::new(&header, selector, wanted(), schedule, audit, view, io::sink())
            },
            |statistics| records.iter().for_each(|record| statistics.record(record).unwrap()),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("trace --json", |b| {
        b.iter_batched_ref(
            || {
                let shown = Shown::Transitions(Box::new(json::TraceJson::default()));
                // As long as the program's own buffer, and its bytes go nowhere.
                let out = io::BufWriter::with_capacity(64 << 10, io::sink());
                Pipeline::new(&header, Selector::new(Criteria::default()), shown, out).unwrap()
            },
            |pipeline| records.iter().for_each(|record| pipeline.record(record).unwrap()),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
