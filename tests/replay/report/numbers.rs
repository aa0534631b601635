//! The numbers of the pictures are those of `stat` and `ports`: what was drawn is what was counted.

use serde_json::Value;

use super::{data, page, pictures_of};
use crate::support::{FIXTURES, finish, fixture, tcpwait};

fn rows(data: &Value, picture: &str) -> Vec<Vec<Value>> {
    let rows = data["pictures"][picture]["rows"].as_array().unwrap_or_else(|| panic!("{picture} has no rows"));
    rows.iter().map(|row| row.as_array().unwrap().clone()).collect()
}

/// The sum of all numbers from this column on.
fn sum(data: &Value, picture: &str, from: usize) -> u64 {
    rows(data, picture).iter().flat_map(|row| row[from..].iter().filter_map(Value::as_u64)).sum()
}

#[test]
fn sums_are_those_of_stat() {
    for name in FIXTURES {
        let (page, _) = page(name);
        let data = data(&page);
        let stat = &data["stat"];
        let groups = stat["groups"].as_array().unwrap();
        let seen: u64 = groups.iter().filter_map(|group| group["entered"].as_u64()).sum();
        assert_eq!(sum(&data, "services", 1), seen, "{name}: services");
        let entered: u64 = rows(&data, "rates").iter().filter_map(|row| row[1].as_u64()).sum();
        assert_eq!(entered, seen, "{name}: entered");
        let exits = stat["exits"].as_object().unwrap();
        let of_exits = |key: &dyn Fn(&Value) -> Option<u64>| exits.values().filter_map(key).sum::<u64>();
        assert_eq!(sum(&data, "exits", 1), of_exits(&|exit| exit["count"].as_u64()), "{name}: exits");
        let timed = of_exits(&|exit| exit["dwell"]["count"].as_u64());
        assert_eq!(sum(&data, "time_wait", 2), timed, "{name}: times in TIME_WAIT");
        let outcomes = stat["syn_recv"]["outcomes"].as_object().unwrap();
        let accepted: u64 = outcomes.values().filter_map(|outcome| outcome["count"].as_u64()).sum();
        assert_eq!(sum(&data, "accepted", 1), accepted, "{name}: handshakes");
        let left = stat["connects"]["left"].as_u64().unwrap();
        assert_eq!(sum(&data, "connected", 1), left, "{name}: connects");
        let known = outcomes["established"]["dwell"]["count"].as_u64().unwrap();
        let in_syn_recv: u64 = rows(&data, "handshakes").iter().filter_map(|row| row[2].as_u64()).sum();
        assert_eq!(in_syn_recv, known, "{name}: times of handshakes");
    }
}

/// What was in use at the end is what `tcpwait ports` says.
#[test]
fn ports_are_those_of_ports() {
    for name in ["incident", "handshakes", "natural"] {
        let (page, _) = page(name);
        let data = data(&page);
        let said = finish(tcpwait().args(["ports", "--json", "--from"]).arg(fixture(name)));
        let said: Value = serde_json::from_str(said.stdout.lines().last().unwrap()).unwrap();
        let columns = data["pictures"]["ports"]["columns"].as_array().unwrap();
        let rows = rows(&data, "ports");
        let last = rows.last().unwrap();
        for destination in said["destinations"].as_array().unwrap() {
            let [from, to] = ["laddr", "raddr"].map(|key| destination[key].as_str().unwrap());
            let end = std::net::SocketAddr::new(to.parse().unwrap(), destination["rport"].as_u64().unwrap() as u16);
            let column = columns.iter().position(|column| *column == format!("{from} to {end}"));
            let at = column.unwrap_or_else(|| panic!("{name}: {end} is not drawn"));
            assert_eq!(last[at].as_u64(), destination["in_use"].as_u64(), "{name}: {end}");
            let highest = rows.iter().filter_map(|row| row[at].as_u64()).max();
            let told = format!("at most {}", highest.unwrap());
            let (_, shapes) = *pictures_of(&page).iter().find(|(picture, _)| *picture == "ports").unwrap();
            assert!(shapes.contains(&format!("{from} to {end}: {told}")), "{name}: {end} {told}");
        }
        let mine = data["ports"].clone();
        assert_eq!(mine["destinations"], said["destinations"], "{name}");
    }
}

/// One socket can be seen beside many, and none lies on the ground.
#[test]
fn a_state_without_sockets_lies_on_the_ground_of_the_logarithmic_picture() {
    let (page, _) = page("incident");
    let (_, shapes) = *pictures_of(&page).iter().find(|(picture, _)| *picture == "sockets-log").unwrap();
    let line = shapes.split("<path class=\"line s-time-wait\" d=\"").nth(1).unwrap().split('"').next().unwrap();
    let heights: Vec<f64> = line.split(['M', 'L']).filter_map(|at| at.split(' ').nth(1)?.parse().ok()).collect();
    let (first, last) = (heights.first().unwrap(), heights.last().unwrap());
    assert_eq!(*first, 220.0, "none at first");
    assert!((0.0..220.0).contains(last), "30 at the end: {last}");
}
