//! Recordings of the running kernel say what a live trace says; and what is killed leaves nothing behind but a recording that
//! can be read up to there.

use std::{
    fs,
    os::fd::{FromRawFd, OwnedFd},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use nix::{libc, sys::signal::Signal};
use serde_json::Value;

use crate::{
    V4, V6,
    actor::Cast,
    netns,
    tracer::{Ended, Line, SOON, Seen, Tracer, command},
    traffic::{self, Pair, until},
};

fn record(file: &Path) -> Tracer {
    let netns = netns::inode().to_string();
    Tracer::spawn(command(["record", "-o", file.to_str().unwrap(), "--netns", &netns]))
}

fn replay(file: &Path) -> Ended {
    Tracer::spawn(command(["trace", "--json", "--from", file.to_str().unwrap()])).end(SOON)
}

/// What has to be the same in two traces of the same traffic: all but the nanoseconds, as each has its own hooks.
fn said(line: &Line) -> String {
    let line = Line { time: None, dwell_ns: line.dwell_ns.map(|_| 0), ..line.clone() };
    format!("{line:?}")
}

pub fn replay_says_the_same() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("traffic.tcpwait");
    let recorder = record(&file);
    let live = Seen::through(Tracer::here(&[]));
    recorder.wait_until_tracing();

    for ip in [V4, V6] {
        drop(Pair::on(ip).close_client_first());
        drop(Pair::on(ip).close_server_first());
        drop(Pair::on(ip).client);
    }
    // One that another process takes over, and all the others end by ss -K.
    let listener = traffic::listen(V4);
    let to = traffic::address(&listener);
    let client = traffic::connect_from(std::net::SocketAddr::new(to.ip(), 0), to);
    let pair = Pair { server: traffic::accept(&listener), client, listener };
    let ends = pair.ends();
    let _listener = pair.close_client_first();
    live.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
    let mut reuser = Cast::named("reuser").start();
    reuser.does(&format!("connect {} {}", ends.1, ends.0));
    let killed = Command::new("ss").args(["-K", "-tan", "state", "time-wait"]).stdout(Stdio::null()).status().unwrap();
    assert!(killed.success());
    until("every end", SOON, || {
        let lines = live.lines();
        let count = |reason: &str| lines.iter().filter(|line| line.reason.as_deref() == Some(reason)).count();
        count("destroyed") >= 4 && count("reused-by-connect") == 1
    });

    let (live, recorded) = (live.into_tracer().stop(), recorder.stop());
    live.expect_clean();
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    let replayed = replay(&file);
    replayed.expect_clean();
    let (mut live, mut replayed) = (live.lines(), replayed.lines());
    for lines in [&mut live, &mut replayed] {
        lines.sort_by_key(|line| (line.id.clone(), line.when(), said(line)));
    }
    let said_in = |lines: &[Line]| lines.iter().map(said).collect::<Vec<_>>();
    assert_eq!(said_in(&live), said_in(&replayed));
    for (live, replayed) in live.iter().zip(&replayed) {
        let apart = live.when().abs_diff(replayed.when());
        assert!(apart < Duration::from_millis(20), "{live:?} and {replayed:?}");
    }
}

/// What is made of it later has the audit, the range and the forecast that it would have had there, and the settings of then, not those of now.
pub fn knows_its_circumstances() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("circumstances.tcpwait");
    netns::sysctl("ipv4/ip_local_port_range", "20000 20999");
    netns::sysctl("ipv4/ip_local_reserved_ports", "20100-20199");
    let recorder = record(&file);
    recorder.wait_until_tracing();
    for ip in [V4, V6] {
        for _ in 0..5 {
            drop(Pair::on(ip).close_client_first());
        }
    }
    // It is read at the start, each minute and at the end.
    netns::sysctl("ipv4/ip_local_reserved_ports", "20100-20149");
    let recorded = recorder.stop();
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    netns::sysctl("ipv4/ip_local_port_range", "30000 30099");

    let made = |arguments: &[&str]| -> Vec<Value> {
        let from = ["--json", "--from", file.to_str().unwrap()];
        let ended = Tracer::spawn(command(arguments.iter().copied().chain(from))).end(SOON);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let report = made(&["stat"]).pop().unwrap();
    let audit = &report["audit"];
    assert_eq!((&audit["agrees"], &audit["namespaces"]), (&true.into(), &1.into()), "{report}");
    for counter in ["TcpExtTW + TcpExtTWKilled", "TcpActiveOpens", "TcpPassiveOpens"] {
        let checks = audit["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["counter"] == counter).unwrap_or_else(|| panic!("{audit}"));
        let said = [&check["seen_min"], &check["seen_max"], &check["kernel"]];
        assert_eq!(said, [&Value::from(10); 3], "{counter}: {audit}");
    }
    // The listing at the end.
    assert!(audit["checks"].as_array().unwrap().iter().any(|check| check["counter"] == "sock_diag"), "{audit}");

    let ports = made(&["ports"]).pop().unwrap();
    let namespace = &ports["namespaces"][0];
    assert_eq!(namespace["ip_local_port_range"], serde_json::json!([20000, 20999]), "{ports}");
    assert_eq!(namespace["ports"], 950, "as reserved at the end: {ports}");
    assert!(ports["destinations"][0]["ports"].is_u64(), "{ports}");

    let traced = replay(&file);
    assert!(traced.stderr.contains("audit: agrees"), "{traced:?}");

    // Where it was made, and how.
    let page = Tracer::spawn(command(["report", "-o", "-", "--from", file.to_str().unwrap()])).end(SOON);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let page = page.stdout.join("\n");
    for told in [format!("<dd>{}</dd>", host.trim()), format!(" record -o {}", file.display())] {
        assert!(page.contains(&told), "{told}");
    }
}

pub fn killed_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("killed.tcpwait");
    let recorder = record(&file);
    recorder.wait_until_tracing();
    let pair = Pair::on(V4);
    let ends = pair.ends();
    drop(pair.close_client_first());
    let shows_it =
        |ended: &Ended| ended.lines().iter().any(|line| line.is_of(ends) && line.step() == "FIN_WAIT2>TIME_WAIT");
    let mut read = 0;
    until("the recording has it", SOON, || {
        let bytes = fs::metadata(&file).unwrap().len();
        if bytes == read {
            return false;
        }
        read = bytes;
        let so_far = replay(&file);
        so_far.code == Some(0) && shows_it(&so_far)
    });

    let programs = programs_of(recorder.pid());
    assert!(programs.len() >= 4 && programs.iter().all(|id| exists(*id)), "{programs:?}");
    recorder.signal(Signal::SIGKILL);
    assert_eq!(recorder.end(SOON).code, None);
    until("its programs are gone", SOON, || !programs.iter().any(|id| exists(*id)));

    let replayed = replay(&file);
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    assert!(replayed.stderr.contains("cut short"), "{replayed:?}");
    assert!(
        replayed.stderr.contains("the counts of the BPF programs are missing"),
        "its counts were never written: {replayed:?}"
    );
    assert!(shows_it(&replayed), "{replayed:?}");
}

/// The ids of the BPF programs that a process holds.
fn programs_of(pid: u32) -> Vec<u32> {
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let texts = infos.filter_map(|info| fs::read_to_string(info.unwrap().path()).ok());
    let mut ids: Vec<u32> = texts
        .filter_map(|text| text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok()))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Whether the kernel has this BPF program.
fn exists(id: u32) -> bool {
    /// `enum bpf_cmd` of include/uapi/linux/bpf.h.
    const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
    // union bpf_attr: the id, and zeroes.
    let attributes = [id, 0, 0];
    // SAFETY: the kernel reads as many bytes as it is told of, and writes nothing for this command.
    let fd =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_GET_FD_BY_ID, attributes.as_ptr(), size_of_val(&attributes)) };
    if fd < 0 {
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOENT));
        return false;
    }
    // SAFETY: the call just made this descriptor, and nobody else knows of it.
    drop(unsafe { OwnedFd::from_raw_fd(fd.try_into().unwrap()) });
    true
}
