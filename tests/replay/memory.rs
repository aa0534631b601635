//! A million sockets at once cost less than 120 bytes each in TIME_WAIT, and less than 200 in ESTABLISHED or with a filter: lifecycle, selection and
//! aggregates together, as the program itself has them.

use std::path::Path;

use nix::sys::resource::{UsageWho, getrusage};
use tcpwait::recording::Writer;
use tcpwait_wire::wire::{Flow, Head, Kind, Seed, SeedEnd, Task, Tick};
use zerocopy::IntoBytes;

use crate::support::{records, tcpwait};

const SOCKETS: u32 = 1_000_000;
const BYTES_EACH: u64 = 200;
const BYTES_OF_TIME_WAIT: u64 = 120;

#[test]
fn a_million_sockets() {
    let folder = tempfile::tempdir().unwrap();
    // A filter on a state is the one that remembers most.
    let filtered = ["--state", "TIME_WAIT", "-D", "5432"];
    let path = folder.path().join("none");
    write_sockets(&path, 0, 6, 3);
    assert!(tcpwait().args(["stat", "--json", "--from"]).arg(&path).output().unwrap().status.success());
    // Its own code, which grows with what it can do and is larger unoptimised, and its buffers.
    let itself = peak();
    println!("with none: {} MiB", itself >> 20);
    // Those that need least come first: the peak is that of all children.
    for (state, timer, name, arguments, at_most) in [
        (6, 3, "TIME_WAIT", &[][..], BYTES_OF_TIME_WAIT),
        (1, 0, "ESTABLISHED", &[], BYTES_EACH),
        (6, 3, "TIME_WAIT", &filtered, BYTES_EACH),
    ] {
        let path = folder.path().join("million");
        write_sockets(&path, SOCKETS, state, timer);
        let ran = tcpwait().args(["stat", "--json", "--from"]).arg(&path).args(arguments).output().unwrap();
        let document: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!(document["states"][name]["now"], SOCKETS, "{document}");
        if name == "TIME_WAIT" {
            assert_eq!(document["groups"][0]["now"], SOCKETS, "{document}");
        }
        let peak = peak();
        let each = (peak - itself) / u64::from(SOCKETS);
        println!("stat {arguments:?}, {name}: {} MiB, {each} bytes each", peak >> 20);
        assert!(each < at_most, "stat {arguments:?}, {name}: {each} bytes each");
    }
    // Last, as it needs most.
    a_million_lines(folder.path());
}

/// A Perfetto trace of as many: what is open is remembered, to be drawn to the end.
fn a_million_lines(folder: &Path) {
    let path = folder.join("million");
    for (state, timer) in [(6, 3), (1, 0)] {
        write_sockets(&path, SOCKETS, state, timer);
        let arguments = ["--perfetto", "/dev/null", "--from"];
        let ran = tcpwait().arg("trace").args(arguments).arg(&path).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let each = peak() / u64::from(SOCKETS);
        println!("trace --perfetto, {state}: {} MiB, {each} bytes each", peak() >> 20);
        assert!(each < 2 * BYTES_EACH, "{each} bytes each");
    }
}

/// In bytes, the memory of that child of this process that had most; so those that need least come first.
fn peak() -> u64 {
    u64::try_from(getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss()).unwrap() << 10
}

/// A recording that begins with so many sockets in this state.
fn write_sockets(path: &Path, sockets: u32, state: u8, timer: u8) {
    let (header, _) = records("natural");
    let head = |kind: Kind, len: usize| Head {
        time_ns: header.started_ns,
        len: len as u16,
        kind: kind as u8,
        flags: 0,
        cpu: 0,
        thread: 0,
    };
    let tick = Tick { head: head(Kind::Tick, size_of::<Tick>()), realtime_ns: 0 };
    let mut writer = Writer::create(path, &header).unwrap();
    let (mut laddr, mut raddr) = ([0; 16], [0; 16]);
    for number in 0..sockets {
        laddr[..4].copy_from_slice(&(0x0a00_0000 + number / 20_000).to_be_bytes());
        raddr[..4].copy_from_slice(&[10, 200, 0, 1]);
        let lport = (10_000 + number % 20_000) as u16;
        let seed = Seed {
            head: head(Kind::Seed, size_of::<Seed>()),
            cookie: u64::from(number) + 1,
            flow: Flow { laddr, raddr, netns: 1, lport, rport: 5432, family: 2, generation: 1, bound_dev_if: 0 },
            task: Task { pid: 0, uid: 0, cgroup: 0, comm: [0; 16], flags: 0, reserved: 0 },
            state,
            timer,
            retransmits: 0,
            about: 1,
            expires_ms: 30_000,
            by_ns: header.started_ns,
        };
        writer.record(seed.as_bytes()).unwrap();
        // As there are while sockets are listed; what comes before one waits for it (`recording::times`).
        if number % 10_000 == 0 {
            writer.record(tick.as_bytes()).unwrap();
        }
    }
    let end = SeedEnd {
        head: head(Kind::SeedEnd, size_of::<SeedEnd>()),
        sockets: sockets.into(),
        namespaces: 1,
        unreadable: 0,
    };
    writer.record(end.as_bytes()).unwrap();
    writer.record(tick.as_bytes()).unwrap();
    writer.finish().unwrap();
}
