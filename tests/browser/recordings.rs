//! Makes the recordings that nobody could make on purpose, for the pages that browsers are tried on: `recordings FROM TO`. FROM is tests/fixtures.
//! `hostile` has names that are markup, script or tricks with the direction of writing; `lossy` lost events, `cut` lost its end, `empty` has seen nothing.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a tool for the tests, whose input is at hand: what is wrong with it ends this"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow, bail};
use tcpwait::recording::{Header, Reader, Writer};
use tcpwait_wire::wire::{COUNTERS, Counter, Counters, Head, Kind, Loss, NetnsName, TRANSITIONS};
use zerocopy::{FromBytes, IntoBytes};

/// What the processes of the recording `incident` are called here.
const NAMES: [(&str, &str); 3] =
    [("orders-api", "<img src=//a.b>"), ("mobile-gw", "\"'></svg>\u{202e}\x1b[2"), ("checkout", "</script><b>&lt")];

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [from, to] = arguments.as_slice() else { bail!("usage: recordings FROM TO") };
    fs::create_dir_all(to)?;
    hostile(&from.join("incident.tcpwait"), &to.join("hostile.tcpwait"))?;
    lossy(&from.join("natural.tcpwait"), &to.join("lossy.tcpwait"))?;
    cut(&from.join("natural.tcpwait"), &to.join("cut.tcpwait"))?;
    empty(&from.join("natural.tcpwait"), &to.join("empty.tcpwait"))
}

fn hostile(from: &Path, to: &Path) -> Result<()> {
    let (mut header, mut records) = read(from)?;
    header.kernel = "<script>alert(1)</script>".into();
    header.missing_hooks.insert("<img src=//a.b onerror=alert(1)>".into(), "'\"><style>*{display:none}</style>".into());
    let mut renamed = 0;
    for record in &mut records {
        for (name, hostile) in NAMES {
            let (name, hostile) = (padded::<16>(name), padded::<16>(hostile));
            while let Some(at) = record.windows(name.len()).position(|bytes| bytes == name) {
                record[at..at + name.len()].copy_from_slice(&hostile);
                renamed += 1;
            }
        }
        if let Ok(mut netns) = NetnsName::read_from_bytes(record)
            && is(record, Kind::NetnsName)
        {
            netns.name = padded("</td></table><iframe src=//a.b>");
            *record = netns.as_bytes().to_vec();
        }
    }
    if renamed == 0 {
        bail!("no process in {} has one of these names: {NAMES:?}", from.display());
    }
    write(to, &header, &records)
}

fn lossy(from: &Path, to: &Path) -> Result<()> {
    const LOST: u64 = 12_345;
    let (header, mut records) = read(from)?;
    for record in &mut records {
        change_counters(record, |counters| counters.values[Counter::LostState as usize] = LOST)?;
    }
    let at = records.len() / 2;
    let own = Head { len: size_of::<Loss>() as u16, kind: Kind::Loss as u8, flags: 0, ..head(&records[at]) };
    records.insert(at, Loss { head: own, lost: LOST }.as_bytes().to_vec());
    write(to, &header, &records)
}

fn cut(from: &Path, to: &Path) -> Result<()> {
    let whole = fs::read(from)?;
    fs::write(to, &whole[..whole.len() * 3 / 4])?;
    Ok(())
}

/// Two ticks and counts of nothing.
fn empty(from: &Path, to: &Path) -> Result<()> {
    let (header, records) = read(from)?;
    let ticks = records.iter().filter(|record| is(record, Kind::Tick)).take(2).cloned();
    let mut kept: Vec<_> = ticks.chain(records.iter().rfind(|record| is(record, Kind::Counters)).cloned()).collect();
    let [_, tick, counters] = kept.as_mut_slice() else { bail!("{} has no ticks or no counters", from.display()) };
    let time_ns = head(tick).time_ns;
    change_counters(counters, |counters| {
        (counters.head.time_ns, counters.values, counters.transitions) = (time_ns, [0; COUNTERS], [0; TRANSITIONS]);
    })?;
    write(to, &header, &kept)
}

fn change_counters(record: &mut Vec<u8>, change: impl FnOnce(&mut Counters)) -> Result<()> {
    if is(record, Kind::Counters) {
        let read = Counters::read_from_bytes(record);
        let mut counters = read.map_err(|_| anyhow!("the counters are of another version"))?;
        change(&mut counters);
        *record = counters.as_bytes().to_vec();
    }
    Ok(())
}

fn read(path: &Path) -> Result<(Header, Vec<Vec<u8>>)> {
    let mut reader = Reader::open(path)?;
    let header = reader.header().clone();
    let mut records = Vec::new();
    while let Some(record) = reader.next_record() {
        records.push(record.to_vec());
    }
    Ok((header, records))
}

fn write(path: &Path, header: &Header, records: &[Vec<u8>]) -> Result<()> {
    let mut writer = Writer::create(path, header)?;
    for record in records {
        writer.record(record)?;
    }
    writer.finish()?;
    Ok(())
}

fn head(record: &[u8]) -> Head {
    Head::read_from_prefix(record).unwrap().0
}

fn is(record: &[u8], kind: Kind) -> bool {
    head(record).kind == kind as u8
}

/// The bytes of a text, NUL-padded, and cut where it is longer.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let length = text.len().min(N - 1);
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    bytes
}
