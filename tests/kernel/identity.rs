//! Which connection, and which network namespace: the same addresses on two devices, an inode number that a dead namespace left to a new
//! one, and namespaces in which no main thread is.

use std::{
    fs::File,
    io::Read,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::socket::{setsockopt, sockopt::BindToDevice},
    unistd::gettid,
};
use serde_json::Value;
use socket2::Socket;
use tcpwait::recording::Reader;
use tcpwait_wire::wire::{Head, Kind};
use zerocopy::FromBytes;

use crate::{
    V4, netns,
    tracer::{Ended, SOON, START, Seen, Tracer, command},
    traffic,
};

const NEAR: &str = "10.5.0.1";
const FAR: &str = "10.5.0.2";

/// ip(8) in this namespace.
pub fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).output().unwrap();
    assert!(done.status.success(), "ip {arguments:?}: {done:?}");
}

/// A device of this namespace, and at its other end a namespace with a server. All of them have the same addresses.
fn device(name: &'static str) {
    let (far, (place, placed), (linked, link)) = (format!("{name}-far"), mpsc::channel(), mpsc::channel::<()>());
    let (ready, served) = mpsc::channel();
    let there = far.clone();
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_FILES).unwrap();
        netns::enter_new().unwrap();
        place.send(format!("/proc/{}/task/{}/ns/net", std::process::id(), gettid())).unwrap();
        link.recv().unwrap();
        ip(&["address", "add", &format!("{FAR}/24"), "dev", &there]);
        ip(&["link", "set", &there, "up"]);
        let listener = TcpListener::bind((FAR, 80)).unwrap();
        ready.send(()).unwrap();
        for socket in listener.incoming() {
            let _ = socket.unwrap().read_to_end(&mut Vec::new());
        }
    });
    // Only once the thread has descriptors of its own: a copy of a pipe that is read to its end would keep it open.
    let place = placed.recv().unwrap();
    ip(&["link", "add", name, "type", "veth", "peer", "name", &far]);
    ip(&["link", "set", &far, "netns", &place]);
    ip(&["address", "add", &format!("{NEAR}/24"), "dev", name]);
    ip(&["link", "set", name, "up"]);
    // What comes in on one device would go out on the other.
    netns::sysctl(&format!("ipv4/conf/{name}/rp_filter"), "0");
    linked.send(()).unwrap();
    served.recv().unwrap();
}

fn connect_through(device: &str, port: u16) -> Socket {
    let socket = traffic::socket(NEAR.parse().unwrap());
    setsockopt(&socket, BindToDevice, &device.into()).unwrap();
    socket.bind(&SocketAddr::new(NEAR.parse().unwrap(), port).into()).unwrap();
    socket.connect_timeout(&SocketAddr::new(FAR.parse().unwrap(), 80).into(), SOON).unwrap();
    socket
}

fn document(ended: &Ended) -> Value {
    serde_json::from_str(ended.stdout.last().unwrap_or_else(|| panic!("no report: {ended:?}"))).unwrap()
}

/// The four numbers are the same; the device is not. Each is in TIME_WAIT, and none has ended.
pub fn two_devices() {
    device("left");
    device("right");
    the_same_through(["left", "right"]);
}

/// The same where each device is in a VRF of its own, which sockets are bound to (`l3mdev`).
pub fn two_vrfs() {
    for (name, vrf, table) in [("left", "red", "10"), ("right", "blue", "20")] {
        let made = Command::new("ip").args(["link", "add", vrf, "type", "vrf", "table", table]).output().unwrap();
        if !made.status.success() {
            println!("identity: this kernel has no VRFs: {}", String::from_utf8_lossy(&made.stderr).trim());
            return;
        }
        ip(&["link", "set", vrf, "up"]);
        device(name);
        // Its routes move to the VRF's table.
        ip(&["link", "set", name, "master", vrf]);
    }
    the_same_through(["red", "blue"]);
}

fn the_same_through(devices: [&'static str; 2]) {
    netns::sysctl("ipv4/conf/all/rp_filter", "0");
    let here = netns::inode().to_string();
    let stat = Tracer::start(&["stat", "--json", "--netns", &here]);
    let bound = Tracer::start(&["ports", "60", "--json", "--netns", &here]);
    let seen = Seen::through(Tracer::here(&[]));
    let two = devices.map(|device| connect_through(device, 40_000));
    drop(two);
    let waits = |device: &str| {
        seen.wait_for(device, SOON, |line| line.to == "TIME_WAIT" && line.interface.as_deref() == Some(device))
    };
    let [left, right] = devices.map(waits);
    assert_ne!(left.id, right.id);
    assert_eq!((left.laddr, left.lport, left.raddr, left.rport), (right.laddr, right.lport, right.raddr, right.rport));
    assert_eq!(netns::time_waits(), 2);
    let ended = seen.into_tracer().stop();
    assert!(ended.lines().iter().all(|line| line.from.as_deref() != Some("TIME_WAIT")), "{:?}", ended.stdout);
    let report = document(&stat.stop());
    assert_eq!(report["states"]["TIME_WAIT"]["now"], 2, "{report}");
    let off = report["audit"]["checks"].as_array().unwrap().iter().filter(|check| check["off_by"] != 0).count();
    assert_eq!(off, 0, "{report}");
    // A port on one device is free on the other.
    let ports = Tracer::spawn(command(["ports", "--json", "--netns", &here])).end(START);
    let by_device = |rows: &Value, number: &str| {
        let of = |row: &Value| (row["interface"].as_str().unwrap().to_owned(), row[number].as_u64().unwrap());
        let mut rows: Vec<(String, u64)> = rows.as_array().unwrap().iter().map(of).collect();
        rows.sort();
        rows
    };
    let mut once = devices.map(|device| (device.to_owned(), 1)).to_vec();
    once.sort();
    assert_eq!(by_device(&document(&ports)["destinations"], "in_use"), once);
    assert_eq!(by_device(&document(&bound.stop())["bound"], "bound"), once);
}

/// Does something in a new namespace, on a thread that dies with it; what is asked for comes with the inode number.
fn in_new_namespace<T: Send + 'static>(work: impl FnOnce(u32) -> T + Send + 'static) -> T {
    let thread = thread::spawn(move || {
        unshare(CloneFlags::CLONE_FILES).unwrap();
        work(netns::enter_new().unwrap())
    });
    thread.join().unwrap()
}

fn connect_and_close(times: usize) {
    let listener = traffic::listen(V4);
    for _ in 0..times {
        let client = traffic::connect(traffic::address(&listener));
        let server = traffic::accept(&listener);
        drop(client);
        traffic::read_end(&server);
    }
}

/// A namespace dies, and the next one gets its inode number: what is asked for is the dead one.
pub fn an_inode_number_that_another_gets() {
    // A test beside this one may make a namespace, which keeps the number.
    const ATTEMPTS: usize = 6;
    assert!((0..ATTEMPTS).any(|_| another_gets_it()), "the number was never given out again");
}

/// Whether the number was given out again, to who asks here.
fn another_gets_it() -> bool {
    let (place, placed) = mpsc::channel();
    let (traced, go) = mpsc::channel::<()>();
    let first = thread::spawn(|| {
        in_new_namespace(move |inode| {
            place.send(inode).unwrap();
            go.recv().unwrap();
            connect_and_close(3);
            inode
        })
    });
    // From here, since the threads that read what it says would keep the namespace.
    let stat = Tracer::start(&["stat", "--json", "--netns", &placed.recv().unwrap().to_string()]);
    traced.send(()).unwrap();
    let first = first.join().unwrap();
    // `cleanup_net` takes its time. The lowest number that is free is given out (`proc_alloc_inum`), and the other tests leave lower ones: those are kept.
    let end = Instant::now() + Duration::from_secs(6);
    let mut kept = Vec::new();
    let mut again = false;
    while !again && Instant::now() < end {
        let (place, placed) = mpsc::channel();
        let (keep, over) = mpsc::channel::<()>();
        let namespace = thread::spawn(move || {
            in_new_namespace(move |inode| {
                if inode == first {
                    connect_and_close(5);
                }
                place.send(inode).unwrap();
                // Ends when the other side is dropped.
                over.recv().unwrap_err();
            });
        });
        let inode = placed.recv().unwrap();
        again = inode == first;
        if inode < first {
            kept.push((keep, namespace));
        } else {
            drop(keep);
            namespace.join().unwrap();
        }
    }
    for (keep, namespace) in kept {
        drop(keep);
        namespace.join().unwrap();
    }
    let ended = stat.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = document(&ended);
    assert_eq!(report["states"]["TIME_WAIT"]["entered"], 3, "{report}");
    assert_eq!(report["states"]["TIME_WAIT"]["now"], 0, "{report}");
    assert!(report["audit"]["checks"].as_array().unwrap().is_empty(), "two namespaces were compared: {report}");
    again
}

/// What a thread, and what an open file keeps, is read.
pub fn kept_by_a_thread_or_a_file() {
    let home = File::open("/proc/thread-self/ns/net").unwrap();
    let (ready, made) = mpsc::channel();
    let (over, end) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let listener = {
            netns::enter_new().unwrap();
            traffic::listen(V4)
        };
        ready.send(netns::inode()).unwrap();
        end.recv().unwrap();
        drop(listener);
    });
    let by_thread = made.recv().unwrap();
    let (mut holder, by_file, listener) = {
        let inode = netns::enter_new().unwrap();
        let file = File::open("/proc/thread-self/ns/net").unwrap();
        let listener = traffic::listen(V4);
        setns(home.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
        (Command::new("sleep").arg("1000").stdin(file).spawn().unwrap(), inode, listener)
    };
    for inode in [by_thread, by_file] {
        let states = Tracer::spawn(command(["states", "--json", "--netns", &inode.to_string()])).end(START);
        let report = document(&states);
        assert_eq!((&report["namespaces"]["read"], &report["states"]["LISTEN"]["sockets"]), (&1.into(), &1.into()));
    }
    drop(listener);
    holder.kill().unwrap();
    holder.wait().unwrap();
    over.send(()).unwrap();
    thread.join().unwrap();
}

/// Reads of a connection that a filter leaves out write nothing: it has no cookie, and that is nobody's.
pub fn reads_that_a_filter_leaves_out() {
    const READS: usize = 3000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording");
    let (tell, wait) = mpsc::channel::<()>();
    let (ready, made) = mpsc::channel();
    let other = thread::spawn(move || {
        unshare(CloneFlags::CLONE_FILES).unwrap();
        ready.send(netns::enter_new().unwrap()).unwrap();
        wait.recv().unwrap();
    });
    let wanted = made.recv().unwrap().to_string();
    let tracer = Tracer::start(&["record", "-o", path.to_str().unwrap(), "--netns", &wanted]);
    let listener = traffic::listen(V4);
    let client = traffic::connect(traffic::address(&listener));
    let server = traffic::accept(&listener);
    let mut byte = [std::mem::MaybeUninit::uninit(); 1];
    for _ in 0..READS {
        client.send(b"x").unwrap();
        server.recv(&mut byte).unwrap();
    }
    traffic::hold(Duration::from_millis(200));
    let ended = tracer.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut reader = Reader::open(&path).unwrap();
    let mut written = 0;
    while let Some(record) = reader.next_record() {
        let (head, _) = Head::read_from_prefix(record).unwrap();
        written += usize::from(head.kind < Kind::Tick as u8);
    }
    assert_eq!(written, 0, "records of what is not wanted");
    tell.send(()).unwrap();
    other.join().unwrap();
}
