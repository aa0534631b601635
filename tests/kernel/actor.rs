//! Other processes: this executable again, told on stdin what to do, a command a line, one socket at a time.
//! An actor has the name and the user it is given, and its socket calls can come from a thread with another name.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write, stdin},
    net::{Shutdown, SocketAddr},
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::process::CommandExt,
    },
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{errno::Errno, libc};
use socket2::{Domain, Protocol, Socket, Type};

use crate::traffic;

/// The first argument of a process that plays.
pub const ROLE: &str = "play-an-actor";

/// Where an actor finds the socket it inherits.
const INHERITED: i32 = 100;

/// The name of the thread that acts for a threaded process.
pub const THREAD: &str = "not-the-process";

/// Who an actor is to be.
#[derive(Clone, Copy)]
pub struct Cast<'a> {
    pub name: &'a str,
    pub uid: u32,
    /// Whether another thread than the main one acts.
    pub threaded: bool,
    /// A socket it is to have.
    pub inherits: Option<&'a Socket>,
}

impl<'a> Cast<'a> {
    /// Root's ordinary process.
    pub fn named(name: &'a str) -> Self {
        Self { name, uid: 0, threaded: false, inherits: None }
    }

    /// Starts it in this thread's namespace.
    pub fn start(self) -> Actor {
        // Another user may not be able to reach the file by its path, so it changes user by itself.
        let mut command = Command::new("/proc/self/exe");
        command.arg(ROLE).arg(self.name).arg(self.uid.to_string()).arg(self.threaded.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(fd) = self.inherits.map(AsRawFd::as_raw_fd) {
            // SAFETY: dup2 is a system call that changes this process's descriptors only.
            unsafe {
                command.pre_exec(move || {
                    if libc::dup2(fd, INHERITED) < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
                });
            }
        }
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Actor { child, stdin, stdout }
    }
}

/// A process that acts. Dropping it kills it.
pub struct Actor {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Actor {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it do something; returns when it is done, with what it answers.
    pub fn does(&mut self, command: &str) -> String {
        writeln!(self.stdin, "{command}").unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        assert!(!answer.is_empty(), "the actor died of {command:?}");
        answer.trim().to_owned()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process does.
pub fn play() {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    fs::write("/proc/self/comm", &arguments[0]).unwrap();
    let uid: u32 = arguments[1].parse().unwrap();
    if uid != 0 {
        nix::unistd::setuid(uid.into()).unwrap();
    }
    if arguments[2] == "true" {
        thread::Builder::new().name(THREAD.to_owned()).spawn(act).unwrap().join().unwrap();
    } else {
        act();
    }
}

fn act() {
    let (mut listener, mut socket): (Option<Socket>, Option<Socket>) = (None, None);
    let mut held = Vec::new();
    for line in stdin().lines() {
        let line = line.unwrap();
        let mut words = line.split_whitespace();
        let (verb, mut addresses) = (words.next().unwrap(), words.map(|word| word.parse::<SocketAddr>()));
        let mut next = || addresses.next().transpose().unwrap();
        match verb {
            "listen" => {
                let created = traffic::listen(&next().unwrap().ip().to_string());
                println!("{}", traffic::address(&created));
                listener = Some(created);
                continue;
            }
            "connect" => {
                let (to, from) = (next().unwrap(), next());
                let created = from.map_or_else(|| traffic::connect(to), |from| traffic::connect_from(from, to));
                println!("{}", traffic::address(&created));
                socket = Some(created);
                continue;
            }
            "try-connect" => {
                let (to, from) = (next().unwrap(), next());
                let tried = match from {
                    Some(from) => {
                        let bound = traffic::socket(from.ip());
                        bound.bind(&from.into()).map(|()| bound)
                    }
                    None => Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)),
                };
                match tried.and_then(|tried| tried.connect(&to.into()).map(|()| tried)) {
                    Ok(tried) => socket = Some(tried),
                    Err(e) => {
                        println!("{}", name_of(&e));
                        continue;
                    }
                }
            }
            // Without SO_REUSEADDR, with it, and with SO_REUSEPORT.
            "bind" | "bind-reusing" | "bind-in-group" => {
                let at = next().unwrap();
                let created = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP)).unwrap();
                created.set_reuse_address(verb == "bind-reusing").unwrap();
                let in_group = i32::from(verb == "bind-in-group");
                traffic::set_option(&created, libc::SOL_SOCKET, libc::SO_REUSEPORT, in_group);
                match created.bind(&at.into()) {
                    Ok(()) => {
                        println!("{}", traffic::address(&created));
                        listener = Some(created);
                    }
                    Err(e) => println!("{}", name_of(&e)),
                }
                continue;
            }
            "listen-on-it" => {
                // Of a short queue that is half full the kernel gives up connections in SYN_RECV after seconds (`reqsk_timer_handler`),
                // which is sooner than a busy machine may get round to them.
                if let Err(e) = listener.as_ref().unwrap().listen(4096) {
                    println!("{}", name_of(&e));
                    continue;
                }
            }
            "close-listener" => drop(listener.take().unwrap()),
            // Until the kernel gives out a port again.
            "insist" => {
                let (to, end) = (next().unwrap(), Instant::now() + Duration::from_secs(30));
                loop {
                    let tried = traffic::socket(to.ip());
                    match tried.connect(&to.into()) {
                        Ok(()) => socket = Some(tried),
                        Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) && Instant::now() < end => {
                            thread::sleep(Duration::from_millis(50));
                            continue;
                        }
                        Err(e) => panic!("connect: {e}"),
                    }
                    break;
                }
            }
            // SAFETY: whoever says this has put a socket there, and nothing else here uses that number.
            "inherit" => socket = Some(unsafe { Socket::from_raw_fd(INHERITED) }),
            // SAFETY: as above.
            "inherit-listener" => listener = Some(unsafe { Socket::from_raw_fd(INHERITED) }),
            "accept" => socket = Some(traffic::accept(listener.as_ref().unwrap())),
            "accept-and-hold" => held.push(traffic::accept(listener.as_ref().unwrap())),
            "write" => {
                socket.as_ref().unwrap().send(b"x").unwrap();
            }
            "read" => {
                let _ = socket.as_ref().unwrap().read(&mut [0; 1]).unwrap();
            }
            "read-end" => traffic::read_end(socket.as_ref().unwrap()),
            "close" => drop(socket.take().unwrap()),
            "keep-alive" => socket.as_ref().unwrap().set_keepalive(true).unwrap(),
            "shut-and-hold" => {
                let shut = socket.take().unwrap();
                shut.shutdown(Shutdown::Write).unwrap();
                held.push(shut);
            }
            "burn" => burn(),
            _ => panic!("no such command: {verb}"),
        }
        println!("done");
    }
}

/// `EADDRINUSE`.
fn name_of(error: &std::io::Error) -> String {
    format!("{:?}", Errno::from_raw(error.raw_os_error().unwrap()))
}

/// Keeps every CPU busy with loopback traffic from now on, on connections that stay.
fn burn() {
    let workers = thread::available_parallelism().unwrap().get() * 2;
    let pairs: Vec<_> = (0..workers).map(|_| traffic::Pair::on(crate::V4)).collect();
    for pair in pairs {
        thread::spawn(move || {
            let mut data = [0; 512];
            loop {
                pair.client.send(&data).unwrap();
                (&pair.server).read_exact(&mut data).unwrap();
            }
        });
    }
}
