//! `tcpwait ports --from`: what recordings say of ports, in text of every width and in JSON. Those of older versions do not hold the range.

use serde_json::Value;

use crate::support::{FIXTURES, Ran, finish, fixture, records, tcpwait};

fn ports(name: &str, width: usize, arguments: &[&str]) -> Ran {
    let mut command = tcpwait();
    command.env("COLUMNS", width.to_string()).args(["ports", "--from"]).arg(fixture(name)).args(arguments);
    let ran = finish(&mut command);
    assert_eq!(ran.code, Some(0), "{name}: {}", ran.stderr);
    ran
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for name in FIXTURES {
        for width in [20, 50, 80, 120] {
            let ran = ports(name, width, &["1"]);
            let widest = ran.stdout.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width, "{name}: {widest} of {width}\n{}", ran.stdout);
        }
    }
}

#[test]
fn settings_are_printed_once_unless_they_change() {
    let text = ports("nginx", 80, &["1"]).stdout;
    assert!(text.matches(" in use to ").count() > 10, "{text}");
    assert_eq!(text.matches("ip_local_port_range").count(), 1, "{text}");
}

#[test]
fn what_a_recording_does_not_hold_is_null() {
    let (mut seen, mut with_settings) = (0, 0);
    for name in FIXTURES {
        let ran = ports(name, 80, &["--json", "1"]);
        let documents: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (last, before) = documents.split_last().unwrap();
        assert!(last["final"] == true && before.iter().all(|document| document["final"] == false), "{name}");
        for row in documents.iter().flat_map(|document| document["destinations"].as_array().unwrap()) {
            seen += 1;
            // The namespaces of these recordings had the kernel's own range.
            let has_settings = records(name).0.has_circumstances();
            with_settings += u32::from(has_settings);
            match has_settings {
                true => assert_eq!(row["ports"], 28232, "{name}: {row}"),
                false => {
                    for key in ["ports", "share", "forecast"] {
                        assert!(
                            row[key].is_null() && row.as_object().unwrap().contains_key(key),
                            "{name}: {key} in {row}"
                        );
                    }
                }
            }
            let states = row["states"].as_object().unwrap().values().map(|count| count.as_u64().unwrap());
            assert_eq!(row["in_use"], states.sum::<u64>(), "{name}: {row}");
            assert_ne!(row["process"]["pid"], 0, "{name}: {row}");
        }
    }
    assert!(0 < with_settings && with_settings < seen, "{with_settings} of {seen}");
}

#[test]
fn destinations_are_selected() {
    let rows = |arguments: &[&str]| {
        let ran = ports("nginx", 80, &[&["--json"], arguments].concat());
        let last: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
        last["destinations"].as_array().unwrap().clone()
    };
    let all = rows(&[]);
    let port = all.first().unwrap_or_else(|| panic!("nobody connects to nginx"))["rport"].clone();
    assert!(rows(&["-D", &port.to_string()]).iter().all(|row| row["rport"] == port));
    assert_eq!(rows(&["-D", "1"]), Vec::<Value>::new());
    assert_eq!(rows(&["--raddr", "192.0.2.0/24"]), Vec::<Value>::new());
    assert_eq!(rows(&["--top", "1"]).len(), 1);
}
