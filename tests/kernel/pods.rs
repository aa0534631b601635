//! Pods and containers by their names: processes in cgroups that are called as the kubelet calls them, and the names that it leaves in /var/log.

use std::{
    fs,
    os::unix::{fs::symlink, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::{
    V4,
    actor::{Actor, Cast},
    netns,
    tracer::{SOON, START, Seen, Tracer, command, here},
    traffic::until,
};

/// Where the kubelet's names are.
const LOG: &str = "/var/log";

/// Cgroups of this test, which end with it.
struct Tree {
    root: PathBuf,
    made: Vec<PathBuf>,
}

impl Tree {
    /// `None` where there is no cgroup-v2 hierarchy.
    fn new() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let mount = mounts.lines().find_map(|line| line.split(' ').nth(1).filter(|_| line.contains(" cgroup2 ")))?;
        Some(Self {
            root: Path::new(mount).join(format!("pods-{}-{}", std::process::id(), netns::inode())),
            made: Vec::new(),
        })
    }

    /// A cgroup below the kubelet's; the actor goes there.
    fn put(&mut self, actor: &Actor, path: &str) {
        fs::write(self.make_below(path).join("cgroup.procs"), actor.pid().to_string()).unwrap();
    }

    fn make_below(&mut self, path: &str) -> PathBuf {
        let mut place = self.root.clone();
        self.make(&place);
        for part in path.split('/') {
            place.push(part);
            self.make(&place);
        }
        place
    }

    fn make(&mut self, place: &Path) {
        if !place.exists() {
            fs::create_dir(place).unwrap();
            self.made.push(place.to_owned());
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // Whoever is in one may need a moment to end.
        let gone = |place: &PathBuf| fs::remove_dir(place).is_ok();
        for place in self.made.iter().rev() {
            (0..100).any(|_| {
                gone(place) || {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                    false
                }
            });
        }
    }
}

/// The program is in this cgroup, and in a cgroup namespace that begins there.
fn in_namespace(mut program: Command, place: &Path) -> Command {
    let processes = place.join("cgroup.procs");
    let enter = move || {
        fs::write(&processes, "0")?;
        unshare(CloneFlags::CLONE_NEWCGROUP)?;
        Ok(())
    };
    // SAFETY: system calls, and a file that is opened and written, with a path that was made before.
    unsafe { program.pre_exec(enter) };
    program
}

/// The program sees these names in /var/log, and nobody else does.
fn with_log(mut program: Command, log: &Path) -> Command {
    let log = log.to_owned();
    let see = move || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none: Option<&Path> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some(&log), LOG, none, MsFlags::MS_BIND, none)?;
        Ok(())
    };
    // SAFETY: system calls with paths that were made before.
    unsafe { program.pre_exec(see) };
    program
}

const UID: [&str; 2] = ["1b2c3d4e-0000-1111-2222-333344445555", "00112233445566778899aabbccddeeff"];

/// Paths as the kubelet's two drivers make them, a pod that has a name and one that has none, a container that gets its name late, one without a pod; live, of
/// sockets that are older, and from a recording, which is read without the names in /var/log.
pub fn by_name() {
    let Some(mut tree) = Tree::new() else {
        println!("pods: no cgroup-v2 hierarchy");
        return;
    };
    if fs::create_dir_all(LOG).is_err() {
        println!("pods: no {LOG}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (log, recording) = (folder.path().join("log"), folder.path().join("recording"));
    let ids = ["a", "b", "c"].map(|digit| digit.repeat(64));
    let late = log.join(format!("containers/cart-7d9f_shop_late-{}.log", ids[1]));
    fs::create_dir_all(log.join(format!("pods/shop_cart-7d9f_{}", UID[0]))).unwrap();
    fs::create_dir(log.join("containers")).unwrap();
    symlink("nowhere", log.join(format!("containers/cart-7d9f_shop_web-{}.log", ids[0]))).unwrap();

    let [mut web, mut young, mut nameless, mut free] =
        ["pod-web", "pod-young", "pod-nameless", "in-no-pod"].map(|name| Cast::named(name).start());
    let slice =
        format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice", UID[0].replace('-', "_"));
    tree.put(&web, &format!("{slice}/cri-containerd-{}.scope", ids[0]));
    tree.put(&young, &format!("{slice}/cri-containerd-{}.scope", ids[1]));
    tree.put(&nameless, &format!("kubepods/besteffort/pod{}/{}", UID[1], ids[2]));
    tree.put(&free, "system.slice/some.service");
    let address = web.does(&format!("listen {V4}:0"));

    let netns = netns::inode().to_string();
    let recorder = with_log(command(["record", "-o", recording.to_str().unwrap(), "--netns", &netns]), &log);
    let recorder = Tracer::spawn(recorder);
    recorder.wait_until_tracing();
    let program = here(env!("CARGO_BIN_EXE_tcpwait"), ["trace", "--json", "--netns", &netns]);
    let tracer = Tracer::spawn(with_log(program, &log));
    tracer.wait_until_tracing();
    let seen = Seen::through(tracer);
    let mut connects = |client: &mut Actor| {
        client.does(&format!("connect {address}"));
        web.does("accept");
        client.does("close");
        web.does("read-end");
        web.does("close");
    };
    for client in [&mut young, &mut nameless, &mut free] {
        connects(client);
    }
    let found = |comm: &str| {
        let line = seen.wait_for(comm, SOON, |line| line.comm.as_deref() == Some(comm) && line.to == "TIME_WAIT");
        (line.pod, line.container)
    };
    let some = |pod: &str, container: &str| (Some(pod.to_owned()), Some(container.to_owned()));
    assert_eq!(found("pod-young"), some("shop/cart-7d9f", &ids[1][..12]), "its name comes later");
    assert_eq!(found("pod-nameless"), some(UID[1], &ids[2][..12]));
    assert_eq!(found("in-no-pod"), (None, None));
    let server =
        seen.wait_for("the server", SOON, |line| line.comm.as_deref() == Some("pod-web") && line.to == "LAST_ACK");
    assert_eq!((server.pod, server.container), some("shop/cart-7d9f", "web"), "its listener is older");

    symlink("nowhere", &late).unwrap();
    until("the container has its name", SOON, || {
        connects(&mut young);
        seen.lines().iter().any(|line| line.container.as_deref() == Some("late"))
    });
    assert_eq!(seen.into_tracer().stop().code, Some(0));

    let ended = recorder.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let from = recording.to_str().unwrap();
    let read = |arguments: &[&str]| Tracer::spawn(command(arguments)).end(START).stdout.join("\n");
    let stat = read(&["stat", "--from", from, "--by", "pod", "--json"]);
    let stat: serde_json::Value = serde_json::from_str(stat.lines().last().unwrap()).unwrap();
    let groups = stat["groups"].as_array().unwrap();
    let keys: Vec<_> = groups.iter().map(|group| (&group["key"]["pod"], &group["key"]["container"])).collect();
    for (pod, container) in [("shop/cart-7d9f", "late"), (UID[1], &ids[2][..12])] {
        let count = keys.iter().filter(|key| *key.0 == pod && *key.1 == container).count();
        assert_eq!(count, 1, "{pod} {container}: {keys:?}");
    }
    let metrics = read(&["export", "--from", from, "--label", "pod"]);
    assert!(metrics.contains("namespace=\"\",pod=\"\",container=\"\",other=\"true\""), "{metrics}");

    // As a container: paths of cgroups begin at its own.
    let place = tree.make_below("kubepods.slice/of-tcpwait.slice");
    let states = in_namespace(command(["states", "--by", "pod", "-w", "--netns", &netns]), &place);
    let states = Tracer::spawn(with_log(states, &log)).end(START).stdout.join("\n");
    assert!(states.contains("shop/cart-7d9f/web"), "{states}");
}
