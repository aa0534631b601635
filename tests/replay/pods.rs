//! Pods and containers in a recording: what it says of them is shown, by every view, and nothing is looked up where it is read.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::offset_of,
};

use serde_json::Value;
use tcpwait_wire::wire::{self, Head, Kind};
use zerocopy::{FromBytes, IntoBytes};

use crate::support::{Ran, finish, records, tcpwait, write};

const UID: &str = "1b2c3d4e-0000-1111-2222-333344445555";

/// What is told of the cgroups of a recording.
#[derive(Clone, Copy)]
enum Told {
    /// Nothing, as on a machine with cgroups of version 1 alone.
    Nothing,
    /// One path: a service that was started again and again.
    OnePath,
    /// Their paths: each is a container of one pod.
    Paths,
    /// The pod's name too.
    Pods,
    /// And the container's: all are the same one, started again and again.
    Containers,
}

fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    field[..text.len()].copy_from_slice(text.as_bytes());
    field
}

/// What a recording of pods with names says in JSON.
pub fn named(arguments: &[&str]) -> String {
    let ran = read(Told::Containers, arguments);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout
}

fn read(told: Told, arguments: &[&str]) -> Ran {
    read_of("reasons", told, arguments)
}

fn read_of(fixture: &str, told: Told, arguments: &[&str]) -> Ran {
    let (mut header, all) = records(fixture);
    header.wire = wire::VERSION;
    let time_ns = header.started_ns;
    let head =
        |len: usize, kind: Kind| Head { time_ns, len: len as u16, kind: kind as u8, flags: 0, cpu: 0, thread: 0 };
    let mut told_of = Vec::new();
    let mut cgroups: BTreeMap<([u8; 16], u64), u64> = BTreeMap::new();
    let mut rest = Vec::new();
    for mut record in all {
        let kind = Kind::from_u8(Head::read_from_prefix(&record).unwrap().0.kind);
        if kind == Some(Kind::CgroupName) {
            continue;
        }
        // Each name of a process gets two, by the connection.
        let at = match kind {
            Some(Kind::StateTask) => offset_of!(wire::SockStateTask, task),
            Some(Kind::Owner) => offset_of!(wire::Owner, task),
            Some(Kind::Accepted) => offset_of!(wire::Accepted, task),
            _ => 0,
        };
        if at > 0 {
            let cookie = u64::from_ne_bytes(record[size_of::<Head>()..][..8].try_into().unwrap());
            let (task, _) = wire::Task::mut_from_prefix(&mut record[at..]).unwrap();
            let next = 1_000 + cgroups.len() as u64;
            task.cgroup = *cgroups.entry((task.comm, cookie / 2 % 2)).or_insert(next);
        }
        rest.push(record);
    }
    assert!(cgroups.len() > 1);
    for id in cgroups.into_values().chain([1]) {
        let path = match told {
            Told::OnePath => padded("/system.slice/nginx.service"),
            _ => padded(&format!("/kubepods/burstable/pod{UID}/{id:064x}")),
        };
        if !matches!(told, Told::Nothing) {
            let head = head(size_of::<wire::CgroupName>(), Kind::CgroupName);
            told_of.push(wire::CgroupName { head, id, path }.as_bytes().to_vec());
        }
        if matches!(told, Told::Pods | Told::Containers) {
            let head = head(size_of::<wire::PodName>(), Kind::PodName);
            let container = if matches!(told, Told::Containers) { "web" } else { "" };
            let [namespace, container] = ["shop", container].map(padded);
            told_of.push(
                wire::PodName { head, cgroup: id, namespace, pod: padded("cart-7d9f"), container }.as_bytes().to_vec(),
            );
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("told.tcpwait");
    write(&path, &header, &[told_of, rest].concat(), 100);
    let ran = finish(tcpwait().args(&arguments[..1]).arg("--from").arg(&path).args(&arguments[1..]));
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
    ran
}

/// The pods and containers of lines that have an owner.
fn in_lines(told: Told) -> BTreeSet<(Option<String>, Option<String>)> {
    let ran = read(told, &["trace", "--json"]);
    let lines = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let owned = lines.filter(|line| line["comm"] == "client" && line["from"] == "FIN_WAIT1");
    owned.map(|line| (text(&line["pod"]), text(&line["container"]))).collect()
}

#[test]
fn what_is_known_is_shown_and_nothing_else() {
    let some = |text: &str| Some(text.to_owned());
    let [nothing, paths, pods, containers] = [Told::Nothing, Told::Paths, Told::Pods, Told::Containers].map(in_lines);
    assert_eq!(nothing, BTreeSet::from([(None, None)]));
    assert_eq!(paths, BTreeSet::from([(some(UID), some("000000000000"))]));
    assert_eq!(pods, BTreeSet::from([(some("shop/cart-7d9f"), some("000000000000"))]));
    assert_eq!(containers, BTreeSet::from([(some("shop/cart-7d9f"), some("web"))]));
    let wide = read(Told::Containers, &["trace", "-w"]).stdout;
    assert!(wide.lines().next().unwrap().ends_with(" CGROUP POD"));
    assert!(
        wide.lines().any(|line| line.ends_with(" shop/cart-7d9f/web")) && wide.lines().any(|line| line.ends_with(" -"))
    );
}

/// A container that is started anew has another cgroup, and is the same to people: one row, one series.
#[test]
fn one_container_is_one_group() {
    let stat = read(Told::Containers, &["stat", "--by", "pod", "--json"]).stdout;
    let stat: Value = serde_json::from_str(stat.lines().last().unwrap()).unwrap();
    let keys: Vec<&Value> = stat["groups"].as_array().unwrap().iter().map(|group| &group["key"]).collect();
    let named = keys.iter().filter(|key| key["pod"] == "shop/cart-7d9f" && key["container"] == "web").count();
    let namespaces: BTreeSet<u64> = keys.iter().filter_map(|key| key["netns"].as_u64()).collect();
    assert_eq!(named, namespaces.len(), "{keys:?}");
    let text = read(Told::Containers, &["stat", "--by", "pod,process"]).stdout;
    assert!(text.contains("shop/cart-7d9f/web"), "{text}");
}

/// Prometheus refuses a sample that is there twice.
#[test]
fn groups_of_one_name_are_one_series() {
    for (told, label, name) in [
        (Told::OnePath, "cgroup", r#"cgroup="/system.slice/nginx.service""#),
        (Told::Pods, "cgroup", r#"cgroup="/kubepods"#),
        (Told::Containers, "pod", r#"namespace="shop",pod="cart-7d9f",container="web""#),
        (Told::Nothing, "pod", r#"namespace="",pod="",container="",other="false""#),
    ] {
        let metrics = read_of("nginx", told, &["export", "--label", label]).stdout;
        let series: Vec<&str> =
            metrics.lines().filter(|line| line.starts_with("tcpwait_time_wait_entries_by_group_total{")).collect();
        let mut seen = BTreeSet::new();
        for line in &series {
            let (series, rest) = line.rsplit_once("} ").unwrap();
            assert!(seen.insert((series, rest.split(' ').nth(1).unwrap())), "twice: {line}");
        }
        let last = series.last().unwrap().rsplit(' ').next().unwrap();
        let at_the_end = series.iter().filter(|line| line.contains(name) && line.ends_with(last));
        let count: usize = if matches!(told, Told::Pods) { 2 } else { 1 };
        assert_eq!(at_the_end.count(), count, "{label}: {series:#?}");
    }
}

#[test]
fn a_filter_takes_a_pod_by_any_of_its_names() {
    let lines = |told: Told, pod: &str| read(told, &["trace", "--pod", pod]).stdout.lines().count();
    let all = lines(Told::Containers, "!other");
    for (told, pod) in [
        (Told::Containers, "cart-7d9f"),
        (Told::Pods, "shop/cart-7d9f"),
        (Told::Paths, UID),
        (Told::Pods, "x,cart-7d9f"),
    ] {
        let some = lines(told, pod);
        assert!(some > 10 && some <= all, "{pod}: {some} of {all}");
    }
    for other in ["cart", "other/cart-7d9f", "web", UID] {
        // One line above the columns; and connections whose owner nobody knows.
        let rest = read(Told::Containers, &["trace", "--pod", other, "--comm", "client"]).stdout;
        assert_eq!(rest.lines().count(), 1, "{other}: {rest}");
    }
}
