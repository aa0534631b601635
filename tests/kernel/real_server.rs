//! Programs that no one here wrote, from end to end: nginx, ab and curl.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    netns,
    tracer::{Line, SOON, START, Seen, by_id, steps},
    traffic::until,
};

const PORT: u16 = 8080;

/// nginx with one worker in this thread's namespace.
struct Nginx {
    master: Child,
    worker: u32,
    _place: TempDir,
}

impl Nginx {
    fn start(seen: &Seen) -> Self {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().display();
        let config = format!(
            "daemon off;\nworker_processes 1;\nuser root;\npid {dir}/pid;\nevents {{ }}\nhttp {{\n\
             access_log off;\nclient_body_temp_path {dir}/body;\nproxy_temp_path {dir}/proxy;\n\
             fastcgi_temp_path {dir}/fastcgi;\nuwsgi_temp_path {dir}/uwsgi;\nscgi_temp_path {dir}/scgi;\n\
             server {{ listen 127.0.0.1:{PORT}; root {dir}; }}\n}}\n"
        );
        fs::write(place.path().join("nginx.conf"), config).unwrap();
        fs::write(place.path().join("index.html"), "hello\n").unwrap();
        let master = Command::new("nginx")
            .args(["-e", &format!("{dir}/error.log"), "-p", &dir.to_string(), "-c", &format!("{dir}/nginx.conf")])
            .spawn()
            .unwrap();
        let mut nginx = Self { master, worker: 0, _place: place };
        let listens = seen.wait_for("nginx listens", SOON, |line| line.step() == "CLOSE>LISTEN");
        assert_eq!((listens.pid, listens.lport), (Some(nginx.master.id()), Some(PORT)), "{listens:?}");
        assert_eq!(listens.comm.as_deref(), Some("nginx"), "{listens:?}");
        until("nginx has its worker", SOON, || {
            nginx.worker = child_of(nginx.master.id()).unwrap_or(0);
            nginx.worker != 0
        });
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its worker when asked to; a test that fails waits for that too.
        let pid = nix::unistd::Pid::from_raw(self.master.id().try_into().unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.master.wait();
    }
}

fn child_of(parent: u32) -> Option<u32> {
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let ppid = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse::<u32>().ok()?;
        if ppid == parent { entry.file_name().to_str()?.parse().ok() } else { None }
    })
}

fn time_waits(lines: &[Line]) -> Vec<&Line> {
    lines.iter().filter(|line| line.to == "TIME_WAIT").collect()
}

/// TIME_WAIT as ss has it: ids, with the local port.
fn ss_time_waits() -> Vec<String> {
    let output = Command::new("ss").args(["-tanHe", "state", "time-wait"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut ids: Vec<String> = text
        .lines()
        .map(|line| line.split_once("sk:").unwrap().1.split_whitespace().next().unwrap().to_owned())
        .collect();
    ids.sort_unstable();
    ids
}

/// The same set of TIME_WAIT in the trace, in ss and in the kernel's counters.
fn agrees_with_the_kernel(seen: &Seen, counted_before: u64) -> Vec<Line> {
    let in_trace = || {
        let lines = seen.lines();
        let mut ids: Vec<String> = time_waits(&lines).iter().map(|line| line.id.clone().unwrap()).collect();
        ids.sort_unstable();
        (ids, lines)
    };
    // Where other tests keep the only CPU busy, the trace comes late.
    until("the trace and ss agree", START, || in_trace().0 == ss_time_waits());
    let (ids, lines) = in_trace();
    assert_eq!(u64::try_from(ids.len()).unwrap(), counted() - counted_before, "the trace and TcpExt TW");
    lines
}

fn counted() -> u64 {
    netns::tcp_ext("TW") + netns::tcp_ext("TWKilled")
}

/// Without keep-alive the server hangs up, so TIME_WAIT is nginx's.
pub fn nginx_and_ab() {
    const REQUESTS: usize = 200;
    let seen = Seen::shared();
    let before = counted();
    let nginx = Nginx::start(&seen);
    let ab = Command::new("ab")
        .args(["-q", "-n", &REQUESTS.to_string(), "-c", "4", &format!("http://127.0.0.1:{PORT}/")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (ab, output) = (ab.id(), ab.wait_with_output().unwrap());
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}");
    assert!(report.lines().any(|line| line.starts_with("Failed requests:") && line.ends_with(" 0")), "{report}");
    until("as many ends as requests", SOON, || {
        let lines = seen.lines();
        let count = |step: &str| lines.iter().filter(|line| line.step() == step).count();
        count("FIN_WAIT2>TIME_WAIT") >= REQUESTS && count("LAST_ACK>CLOSE") >= REQUESTS
    });
    let lines = agrees_with_the_kernel(&seen, before);
    // ab hangs up itself on what it has begun beyond the last request.
    let of_the_server = time_waits(&lines).iter().filter(|line| line.lport == Some(PORT)).count();
    assert!(of_the_server >= REQUESTS - 4, "{of_the_server}");
    for line in time_waits(&lines) {
        let (pid, comm) = if line.lport == Some(PORT) { (nginx.worker, "nginx") } else { (ab, "ab") };
        assert_eq!((line.pid, line.comm.as_deref()), (Some(pid), Some(comm)), "{line:?}");
    }
    drop(nginx);
}

/// With keep-alive the client hangs up, so TIME_WAIT is curl's.
pub fn nginx_and_curl() {
    let seen = Seen::shared();
    let before = counted();
    let nginx = Nginx::start(&seen);
    let url = format!("http://127.0.0.1:{PORT}/");
    let mut curl = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "-o", "/dev/null", "-o", "/dev/null", &url, &url])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = curl.id();
    assert!(curl.wait().unwrap().success());
    seen.wait_for("curl's TIME_WAIT", SOON, |line| line.step() == "FIN_WAIT2>TIME_WAIT");
    seen.wait_for("the worker's end", SOON, |line| line.step() == "LAST_ACK>CLOSE");
    let lines = agrees_with_the_kernel(&seen, before);
    let connections = by_id(&lines);
    let curls: Vec<&Vec<Line>> = connections.values().filter(|lines| lines[0].rport == Some(PORT)).collect();
    assert_eq!(curls.len(), 1, "two requests, one connection: {connections:?}");
    let wanted = "CLOSE>SYN_SENT SYN_SENT>ESTABLISHED ESTABLISHED>FIN_WAIT1 FIN_WAIT1>FIN_WAIT2 FIN_WAIT2>TIME_WAIT";
    assert_eq!(steps(curls[0]), wanted);
    assert!(curls[0].iter().all(|line| line.pid == Some(pid) && line.comm.as_deref() == Some("curl")), "{curls:?}");
    let closed = lines.iter().find(|line| line.step() == "LAST_ACK>CLOSE").unwrap();
    assert_eq!((closed.pid, closed.comm.as_deref()), (Some(nginx.worker), Some("nginx")), "{closed:?}");
}
