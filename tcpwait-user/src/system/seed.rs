//! Writes the sockets that are there already as records, so that connections older than the tool are known.
//!
//! Reads every wanted network namespace, looks for the owners of what it found in one go, and hands out bytes.
//! What a socket's state means for a connection, and where the bytes go, is decided elsewhere.

use std::collections::HashSet;

use tcpwait_wire::wire::{
    Flow, Head, InterfaceName, Kind, Listed, NetnsName, REUSE_V6ONLY, REUSE_V6ONLY_KNOWN, Seed, SeedEnd, Task,
};
use zerocopy::IntoBytes;

use super::{
    netns::{self, Identity, Netns, name::Named},
    owners::{Accepted, Owners},
    sock_diag::{self, DiagQuery, DiagSocket},
};
use crate::{
    origin::OriginListing,
    select::Pick,
    tcp::{self, NetnsId, State},
};

const AF_INET: u16 = 2;
const LISTEN: u8 = 10;
const AF_INET6: u8 = 10;
pub(super) const NO_TASK: Task = Task { pid: 0, uid: 0, cgroup: 0, comm: [0; 16], flags: 0, reserved: 0 };

/// How the seeding went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seeded {
    /// [`Seed`] records written, those from namespaces that could only be read in part included.
    pub sockets: u64,
    /// Network namespaces read to the end.
    pub namespaces: u32,
    /// Network namespaces that could not be found, entered or read to the end.
    pub unreadable: u32,
    /// Of those read, the ones whose sockets changed under the listing (`NLM_F_DUMP_INTR`).
    pub inconsistent: u32,
    /// For display: the first namespace that could not be read, and why.
    pub first_reason: Option<String>,
}

/// Writes an [`InterfaceName`] for every network interface but loopback and a [`Seed`] for every TCP socket of every network namespace
/// (or of those that `only` selects), then one [`SeedEnd`].
///
/// `now_ns` gives nanoseconds of `CLOCK_MONOTONIC`: it is asked once per namespace right before it is read, which is the
/// time of that namespace's records, and once for the end. `sink` gets one whole record per call.
pub fn collect(only: &Pick<Identity>, now_ns: impl Fn() -> u64, mut sink: impl FnMut(&[u8])) -> Seeded {
    write(only, false, now_ns, &mut sink)
}

/// After a loss: the same, and a [`Listed`] for every network namespace that could be read to its end.
pub fn collect_again(only: &Pick<Identity>, now_ns: impl Fn() -> u64, mut sink: impl FnMut(&[u8])) -> Seeded {
    write(only, true, now_ns, &mut sink)
}

/// Before anything else: a [`NetnsName`] for every network namespace and an [`InterfaceName`] for every network interface but loopback, which takes much
/// less time than the sockets do.
pub fn name_all(only: &Pick<Identity>, now_ns: impl Fn() -> u64, mut sink: impl FnMut(&[u8])) {
    let names = Named::read();
    for ns in wanted(only, &mut Seeded::default()) {
        let found = netns::inside(&ns, || (netns::here(ns.inode).id(), netns::interfaces()));
        let Ok((netns, interfaces)) = found else { continue };
        if let Some(name) = names.of(ns.inode, ns.first_process) {
            sink(called(netns, now_ns(), &name).as_bytes());
        }
        for (index, name) in interfaces.iter().filter(|(index, _)| *index != LOOPBACK) {
            sink(named(netns, now_ns(), *index, name).as_bytes());
        }
    }
}

/// `LOOPBACK_IFINDEX` of every namespace (include/net/flow.h).
const LOOPBACK: u32 = 1;

const ALL: DiagQuery = DiagQuery { info: true, ..DiagQuery::EVERYTHING };

fn write(only: &Pick<Identity>, again: bool, now_ns: impl Fn() -> u64, sink: &mut impl FnMut(&[u8])) -> Seeded {
    let mut seeded = Seeded::default();
    let mut read = Vec::new();
    for ns in wanted(only, &mut seeded) {
        let time_ns = now_ns();
        let Listing { netns, interfaces, sockets, own_length, left_out, outcome } = list(&ns, only, ALL);
        if left_out {
            continue;
        }
        // Ages are told from when a socket is read, which is some time before this.
        let read_ns = now_ns();
        let complete = matches!(outcome, Ok(sock_diag::Dump { inconsistent: false }));
        match outcome {
            Ok(dump) => {
                seeded.namespaces += 1;
                seeded.inconsistent += u32::from(dump.inconsistent);
            }
            Err(reason) => seeded.cannot(format!("network namespace {ns}: {reason}")),
        }
        for (index, name) in interfaces {
            sink(named(netns, time_ns, index, &name).as_bytes());
        }
        read.push((netns, Read { time_ns, read_ns, own_length }, sockets, complete));
    }
    let with_file =
        read.iter().flat_map(|(_, _, sockets, _)| sockets).map(|socket| socket.inode).filter(|&inode| inode != 0);
    let owners = Owners::find(&with_file.collect::<HashSet<_>>());
    let census = census(read.iter().flat_map(|(netns, _, sockets, _)| sockets.iter().map(|socket| (*netns, socket))));
    let accepted = Accepted::of(read.iter().flat_map(|(netns, _, sockets, _)| {
        sockets.iter().map(move |socket| (*netns, socket.lport, socket.inode, socket.state == LISTEN))
    }));
    for (netns, reading, sockets, complete) in &read {
        for socket in sockets {
            sink(record(socket, *netns, reading, owner(&owners, socket, *netns, &accepted), &census).as_bytes());
            seeded.sockets += 1;
        }
        if again && *complete {
            let listed = Listed {
                head: head::<Listed>(Kind::Listed, reading.time_ns),
                netns: netns.inode(),
                generation: netns.generation(),
                reserved: 0,
            };
            sink(listed.as_bytes());
        }
    }
    let end = SeedEnd {
        head: head::<SeedEnd>(Kind::SeedEnd, now_ns()),
        sockets: seeded.sockets,
        namespaces: seeded.namespaces,
        unreadable: seeded.unreadable,
    };
    sink(end.as_bytes());
    seeded
}

/// Takes in a whole listing, listeners first.
fn census<'a>(sockets: impl Iterator<Item = (NetnsId, &'a DiagSocket)> + Clone) -> OriginListing {
    let mut census = OriginListing::default();
    for is_first in [true, false] {
        for (netns, socket) in sockets.clone().filter(|(_, socket)| (socket.state == State::Listen as u8) == is_first) {
            let Some(flow) = tcp::Flow::from_wire(&flow(socket, netns)) else { continue };
            match is_first {
                true => census.listener(&flow),
                false => drop(census.connection(&flow)),
            }
        }
    }
    census
}

impl Seeded {
    fn cannot(&mut self, reason: String) {
        self.unreadable += 1;
        self.first_reason.get_or_insert(reason);
    }
}

/// The namespaces to read; those asked for that are not there are noted.
pub(super) fn wanted(only: &Pick<Identity>, seeded: &mut Seeded) -> Vec<Netns> {
    let mut namespaces = netns::all();
    // Whether a namespace is one to be left out, and not another with its inode number, is seen inside.
    if !only.is_empty() && !only.not {
        namespaces.retain(|ns| only.values.iter().any(|wanted| wanted.inode == ns.inode));
        let missing: HashSet<_> = only.values.iter().map(|wanted| wanted.inode).collect();
        let missing = missing.into_iter().filter(|inode| !namespaces.iter().any(|ns| ns.inode == *inode));
        for inode in missing {
            seeded.cannot(format!(
                "network namespace net:[{inode}]: no process or thread is in it, and no mount or open file keeps it; `lsns -t net` lists those there are"
            ));
        }
    }
    namespaces
}

/// What was read counts even if the end was not reached.
pub(super) fn list(ns: &Netns, only: &Pick<Identity>, asked: DiagQuery) -> Listing {
    let mut listed = Listing {
        netns: NetnsId::new(ns.inode, 0),
        interfaces: Vec::new(),
        sockets: Vec::new(),
        left_out: false,
        own_length: false,
        outcome: Ok(sock_diag::Dump::default()),
    };
    let entered = netns::inside(ns, || {
        let here = netns::here(ns.inode);
        if !only.admits(|named| named.is(here)) {
            listed.left_out = only.not;
            listed.outcome = Err("it went away, and another has got its inode number".to_owned());
            return;
        }
        listed.netns = here.id();
        listed.own_length = sock_diag::time_wait_has_own_length();
        listed.interfaces = netns::interfaces();
        listed.interfaces.retain(|(index, _)| *index != LOOPBACK);
        let read = sock_diag::tcp_sockets_of(asked, |socket| listed.sockets.push(socket));
        listed.outcome = read.map_err(|error| error.to_string());
    });
    if let Err(error) = entered {
        listed.outcome = Err(format!("cannot enter it: {error}; run as root (CAP_SYS_ADMIN)"));
    }
    listed
}

/// What was found in a namespace.
pub(super) struct Listing {
    netns: NetnsId,
    interfaces: Vec<(u32, String)>,
    pub(super) sockets: Vec<DiagSocket>,
    own_length: bool,
    /// It is one that is not wanted.
    left_out: bool,
    outcome: Result<sock_diag::Dump, String>,
}

/// When a namespace was read, in nanoseconds of `CLOCK_MONOTONIC`.
struct Read {
    /// The beginning.
    time_ns: u64,
    /// The end.
    read_ns: u64,
    /// As [`sock_diag::time_wait_has_own_length`].
    own_length: bool,
}

fn called(netns: NetnsId, time_ns: u64, name: &str) -> NetnsName {
    let mut record = NetnsName {
        head: head::<NetnsName>(Kind::NetnsName, time_ns),
        netns: netns.inode(),
        generation: netns.generation(),
        reserved: 0,
        name: [0; 64],
    };
    for (to, from) in record.name.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    record
}

fn named(netns: NetnsId, time_ns: u64, index: u32, name: &str) -> InterfaceName {
    let mut record = InterfaceName {
        head: head::<InterfaceName>(Kind::InterfaceName, time_ns),
        netns: netns.inode(),
        index,
        name: [0; 16],
        generation: netns.generation(),
        reserved: [0; 3],
    };
    // The kernel's own limit (IFNAMSIZ) leaves room for a NUL.
    for (to, from) in record.name.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    record
}

/// Of a listener the process that accepts, else the one that holds it.
fn owner(owners: &Owners, socket: &DiagSocket, netns: NetnsId, accepted: &Accepted) -> Task {
    let owner = match socket.state {
        LISTEN => owners.of_listener(socket.inode, accepted.at(netns, socket.lport)),
        _ => owners.get(socket.inode),
    };
    owner.copied().unwrap_or(NO_TASK)
}

fn record(socket: &DiagSocket, netns: NetnsId, reading: &Read, task: Task, census: &OriginListing) -> Seed {
    let at_least_ms = socket.at_least_ms(reading.own_length).unwrap_or_default();
    let flow = flow(socket, netns);
    let made = tcp::Flow::from_wire(&flow).map_or(0, |flow| census.origin(&flow).to_wire());
    let v6only = match socket.v6only {
        Some(true) => REUSE_V6ONLY_KNOWN | REUSE_V6ONLY,
        Some(false) => REUSE_V6ONLY_KNOWN,
        None => 0,
    };
    Seed {
        head: head::<Seed>(Kind::Seed, reading.time_ns),
        cookie: socket.cookie,
        flow,
        task,
        state: socket.state,
        timer: socket.timer,
        retransmits: socket.retransmits,
        about: made | v6only,
        expires_ms: socket.expires_ms,
        by_ns: reading.read_ns.saturating_sub(u64::from(at_least_ms) * 1_000_000).max(1),
    }
}

fn head<Record>(kind: Kind, time_ns: u64) -> Head {
    Head { time_ns, len: size_of::<Record>() as u16, kind: kind as u8, flags: 0, cpu: 0, thread: 0 }
}

/// The addresses as the kernel side writes them: a v4-mapped connection, known by its remote address, is IPv4.
fn flow(socket: &DiagSocket, netns: NetnsId) -> Flow {
    let mut flow = Flow {
        laddr: socket.laddr,
        raddr: socket.raddr,
        netns: netns.inode(),
        lport: socket.lport,
        rport: socket.rport,
        family: u16::from(socket.family),
        generation: netns.generation(),
        bound_dev_if: socket.ifindex,
    };
    if socket.family == AF_INET6 && matches!(socket.raddr, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ..]) {
        flow.family = AF_INET;
        flow.laddr = last_four_first(socket.laddr);
        flow.raddr = last_four_first(socket.raddr);
    }
    flow
}

fn last_four_first(address: [u8; 16]) -> [u8; 16] {
    let [.., a, b, c, d] = address;
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use std::net::{Ipv6Addr, TcpListener, TcpStream};

    use zerocopy::FromBytes;

    use super::*;

    fn own() -> u32 {
        netns::resolve("/proc/self/ns/net").unwrap()
    }

    fn socket(laddr: &str, raddr: &str) -> DiagSocket {
        let octets = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        DiagSocket {
            family: AF_INET6,
            state: 1,
            timer: 0,
            expires_ms: 0,
            retransmits: 0,
            laddr: octets(laddr),
            raddr: octets(raddr),
            lport: 1,
            rport: 2,
            cookie: 3,
            uid: 0,
            inode: 0,
            ifindex: 0,
            receive_queue: 0,
            send_queue: 0,
            v6only: None,
            info: None,
        }
    }

    #[test]
    fn v4_mapped_connections_are_ipv4() {
        let mapped = flow(&socket("::ffff:127.0.0.2", "::ffff:10.1.2.3"), NetnsId::new(9, 5));
        assert_eq!((mapped.family, mapped.netns, mapped.lport, mapped.rport), (AF_INET, 9, 1, 2));
        assert_eq!(mapped.laddr, [127, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(mapped.raddr, [10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        // A bare listener on :: has no IPv4 in it.
        for (laddr, raddr) in [("::", "::"), ("::1", "::1"), ("2001:db8::ffff:1:2", "64:ff9b::ffff:a01:203")] {
            let native = flow(&socket(laddr, raddr), NetnsId::new(9, 5));
            assert_eq!(native.family, u16::from(AF_INET6));
            assert_eq!(native.laddr, socket(laddr, raddr).laddr);
        }
    }

    #[test]
    fn seeds_this_process_s_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let _server = listener.accept().unwrap();
        let (mut seeds, mut ends) = (Vec::new(), Vec::new());
        let seeded = collect(
            &vec![netns::here(own())].into(),
            || 42,
            |bytes| match bytes[10] {
                33 => seeds.push(Seed::read_from_bytes(bytes).unwrap()),
                37 => {}
                _ => ends.push(SeedEnd::read_from_bytes(bytes).unwrap()),
            },
        );
        assert_eq!((seeded.namespaces, seeded.unreadable, &seeded.first_reason), (1, 0, &None));
        assert_eq!((ends.len(), ends[0].sockets, ends[0].head.len), (1, seeds.len() as u64, 32));
        let mut mine: Vec<_> = seeds.iter().filter(|seed| seed.flow.lport == port || seed.flow.rport == port).collect();
        mine.sort_by_key(|seed| (seed.state, seed.flow.lport != port));
        assert_eq!(mine.iter().map(|seed| seed.state).collect::<Vec<_>>(), [1, 1, 10]);
        for seed in mine {
            assert_eq!((seed.head.time_ns, seed.head.len, seed.head.cpu), (42, size_of::<Seed>() as u16, 0));
            assert_eq!((seed.flow.netns, seed.flow.family, seed.task.pid), (own(), AF_INET, std::process::id()));
        }
    }

    #[test]
    fn a_namespace_that_is_not_there_is_counted() {
        let mut records = 0;
        let seeded = collect(&vec![Identity { inode: 4_026_530_000, cookie: 0 }; 2].into(), || 1, |_| records += 1);
        assert_eq!((seeded.sockets, seeded.namespaces, seeded.unreadable, records), (0, 0, 1, 1));
        assert!(seeded.first_reason.unwrap().contains("net:[4026530000]"));
    }
}
