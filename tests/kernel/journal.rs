//! `tcpwait trace --journal` with a real systemd-journald, which has a mount namespace of its own with a /run and a machine-id of its own: what it took is
//! read back with journalctl.

use std::{fs, path::Path, process, process::Command};

use serde_json::Value;

use crate::{
    V4, netns,
    tracer::{SOON, START, Tracer, at_home, here},
    traffic::Pair,
};

/// Where distributions have it.
const JOURNALD: [&str; 2] = ["/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald"];

/// What the journal is started with, and how it ends. `$1` is the namespace, `$2` a file that is there when it is to end.
const SCRIPT: &str = "set -e
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal
echo 0123456789abcdef0123456789abcdef > /run/machine-id
mount --bind /run/machine-id /etc/machine-id
printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\nAudit=no\\n' > /run/systemd/journald.conf.d/own.conf
$3 & journald=$!
while [ ! -S /run/systemd/journal/socket ]; do kill -0 $journald || { echo 'journald ends at once' >&2; exit 1; }; sleep 0.05; done
$0 trace --journal --netns $1 > /run/stdout & tcpwait=$!
while [ ! -e $2 ]; do kill -0 $tcpwait; sleep 0.05; done
kill -TERM $tcpwait; wait $tcpwait
wc -c < /run/stdout
journalctl --sync
kill -TERM $journald; wait $journald || true
exec journalctl --directory=/run/log/journal/0123456789abcdef0123456789abcdef --no-pager -o json SYSLOG_IDENTIFIER=tcpwait";

pub fn real_journald() {
    let Some(journald) = JOURNALD.into_iter().find(|path| Path::new(path).exists()) else {
        println!("journal::real_journald: there is no systemd-journald here");
        return;
    };
    let has_id = Path::new("/etc/machine-id").exists();
    if !has_id || Command::new("journalctl").arg("--version").output().is_err() {
        println!("journal::real_journald: there is no journalctl or no /etc/machine-id here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let over = folder.path().join("over");
    let netns = netns::inode().to_string();
    let arguments = ["-m", "sh", "-c", SCRIPT, env!("CARGO_BIN_EXE_tcpwait"), &netns, over.to_str().unwrap(), journald];
    let tracer = Tracer::spawn(at_home(here("unshare", arguments)));
    if let Err(why) = tracer.starts() {
        assert!(why.contains("journald ends at once"), "{why}");
        println!("journal::real_journald: systemd-journald does not run here: {why}");
        return;
    }
    let pair = Pair::on(V4);
    let (client, _) = pair.ends();
    drop(pair.close_client_first());
    fs::write(&over, "").unwrap();
    let ended = tracer.end(START.max(SOON));
    let mut lines = ended.stdout.iter();
    assert_eq!(lines.next().map(|line| line.trim()), Some("0"), "nothing is printed: {}", ended.stderr);
    let entries: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let port = client.port().to_string();
    let own: Vec<&Value> = entries.iter().filter(|entry| entry["OBJECT_TCP_SOURCE_PORT"] == port.as_str()).collect();
    let steps: Vec<&str> = own.iter().map(|entry| entry["OBJECT_TCP_NEW_STATE"].as_str().unwrap()).collect();
    assert_eq!(steps[..2], ["SYN_SENT", "ESTABLISHED"], "{}", ended.stderr);
    assert!(steps.contains(&"TIME_WAIT"), "{steps:?}");
    for entry in own {
        assert_eq!(entry["OBJECT_PID"], process::id().to_string(), "{entry}");
        assert!(entry["OBJECT_COMM"].is_string(), "journald and tcpwait give it the same name: {entry}");
        assert_eq!(entry["OBJECT_IPV4_DESTINATION_ADDRESS"], V4);
        assert_eq!((&entry["PRIORITY"], &entry["_TRANSPORT"]), (&"6".into(), &"journal".into()));
        assert!(entry["MESSAGE"].as_str().unwrap().contains(" -> "), "{entry}");
        assert!(entry["OBJECT_EXE"].is_string(), "journald looks the owner up: {entry}");
    }
}
