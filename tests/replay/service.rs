//! The systemd unit of the exporter: it grants what the documents name, and sets nothing that would make the exporter see less.

use std::{collections::BTreeSet, fs, path::Path};

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).unwrap()
}

/// The values of a setting, one each word.
fn words<'a>(unit: &'a str, setting: &str) -> BTreeSet<&'a str> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix(setting)?.strip_prefix('='));
    lines.flat_map(str::split_whitespace).collect()
}

#[test]
fn it_has_the_capabilities_that_are_documented() {
    let (unit, needs) = (read("contrib/systemd/tcpwait-exporter.service"), read("docs/needs.md"));
    let rows = needs.lines().filter_map(|line| line.strip_prefix("| CAP_"));
    let named = rows.flat_map(|row| row.split_once(" | ").unwrap().0.split(", "));
    let documented: BTreeSet<String> =
        named.map(|name| format!("CAP_{}", name.strip_prefix("CAP_").unwrap_or(name))).collect();
    assert_eq!(documented.len(), 7, "{documented:?}");
    let documented: BTreeSet<&str> = documented.iter().map(String::as_str).collect();
    for setting in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        assert_eq!(words(&unit, setting), documented, "{setting}");
    }
    let by_setcap =
        needs.lines().filter_map(|line| line.split('`').find(|part| part.contains("cap_"))).collect::<String>()
            + needs.lines().find(|line| line.starts_with("sudo setcap")).unwrap();
    for capability in documented {
        assert!(by_setcap.contains(&capability.to_lowercase()), "setcap does not give {capability}: {by_setcap}");
    }
}

#[test]
fn it_leaves_out_what_would_blind_it() {
    let unit = read("contrib/systemd/tcpwait-exporter.service");
    for setting in [
        "ProtectKernelLogs",
        "ProtectKernelTunables",
        "ProtectProc",
        "ProcSubset",
        "PrivateUsers",
        "PrivateNetwork",
        "PrivateBPF",
    ] {
        assert!(words(&unit, setting).is_empty(), "{setting} is set");
        assert!(
            unit.lines().any(|line| line.starts_with('#') && line.contains(setting)),
            "nothing says why {setting} is not set"
        );
    }
    assert_eq!(
        words(&unit, "RestrictNamespaces"),
        BTreeSet::from(["net"]),
        "it enters other network namespaces, and no others"
    );
}
