//! Real sockets, one call at a time, and what the kernel itself says of them: their state, their ids, its tick.

use std::{
    io::Read,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    process::Command,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use nix::libc;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::turns;

/// A connection with both of its ends here.
pub struct Pair {
    pub listener: Socket,
    pub client: Socket,
    pub server: Socket,
}

impl Pair {
    /// Connects over loopback.
    pub fn on(ip: &str) -> Self {
        let listener = listen(ip);
        let client = connect(address(&listener));
        let server = accept(&listener);
        Self { listener, client, server }
    }

    /// The addresses as the client sees them.
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        (address(&self.client), address(&self.listener))
    }

    /// The client closes, then the server. Returns the listener.
    pub fn close_client_first(self) -> Socket {
        drop(self.client);
        read_end(&self.server);
        self.listener
    }

    /// The server closes, then the client. Returns the listener.
    pub fn close_server_first(self) -> Socket {
        drop(self.server);
        read_end(&self.client);
        self.listener
    }
}

/// The same addresses, seen from the other end.
pub fn flip(ends: (SocketAddr, SocketAddr)) -> (SocketAddr, SocketAddr) {
    (ends.1, ends.0)
}

/// A socket that may share its address with what is left of earlier ones.
pub fn socket(ip: IpAddr) -> Socket {
    let domain = if ip.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket
}

/// A listener on a free port.
pub fn listen(ip: &str) -> Socket {
    let ip: IpAddr = ip.parse().unwrap();
    let socket = socket(ip);
    socket.bind(&SocketAddr::new(ip, 0).into()).unwrap();
    socket.listen(4096).unwrap();
    socket
}

/// Connects from a port that the kernel chooses.
pub fn connect(to: SocketAddr) -> Socket {
    let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.connect(&to.into()).unwrap();
    socket
}

/// Connects from this address.
pub fn connect_from(from: SocketAddr, to: SocketAddr) -> Socket {
    let socket = socket(from.ip());
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket
}

/// Accepts.
pub fn accept(listener: &Socket) -> Socket {
    listener.accept().unwrap().0
}

/// The local address.
pub fn address(socket: &Socket) -> SocketAddr {
    socket.local_addr().unwrap().as_socket().unwrap()
}

/// The remote address.
pub fn peer(socket: &Socket) -> SocketAddr {
    socket.peer_addr().unwrap().as_socket().unwrap()
}

/// Reads to the end of what the peer sends.
pub fn read_end(mut socket: &Socket) {
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).unwrap();
}

/// Reads so many bytes.
pub fn read_exactly(mut socket: &Socket, bytes: usize) {
    socket.read_exact(&mut vec![0; bytes]).unwrap();
}

/// Waits for a condition that is nobody's event; fails at the bound.
pub fn until(what: &str, bound: Duration, condition: impl FnMut() -> bool) {
    until_each(Duration::from_millis(1), what, bound, condition);
}

fn until_each(pause: Duration, what: &str, bound: Duration, mut condition: impl FnMut() -> bool) {
    /// What takes long is asked for less often: asking may start a process, and that is a second's work for a CPU that is emulated.
    const MOST: Duration = Duration::from_millis(100);
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < bound, "{what}: not within {bound:?}");
        thread::sleep((begun.elapsed() / 10).clamp(pause, MOST));
    }
}

/// Waits for a condition that takes its time, seconds or a minute; fails at the bound.
pub fn in_time(what: &str, bound: Duration, condition: impl FnMut() -> bool) {
    // It may start a process each time.
    const EACH: Duration = Duration::from_millis(50);
    turns::rest(|| until_each(EACH, what, bound, condition));
}

/// Lets time pass that the experiment itself needs, whatever a scheduler does.
pub fn hold(time: Duration) {
    // Others may begin meanwhile if it is worth the beginning.
    const WORTH_IT: Duration = Duration::from_millis(300);
    let end = Instant::now() + time;
    let wait = || {
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            thread::sleep(left);
        }
    };
    if time < WORTH_IT { wait() } else { turns::rest(wait) }
}

/// `TCP_FIN_WAIT2` of `include/net/tcp_states.h`.
pub const FIN_WAIT2: u8 = 5;

/// The state in which the kernel has a full socket.
pub fn state(socket: &Socket) -> u8 {
    get_option::<u8>(socket, libc::IPPROTO_TCP, libc::TCP_INFO)
}

/// Reads the beginning of a socket option.
pub fn get_option<T: Copy + Default>(socket: &Socket, level: i32, name: i32) -> T {
    let mut value = T::default();
    let mut length: libc::socklen_t = size_of::<T>().try_into().unwrap();
    // SAFETY: the kernel writes at most `length` bytes of plain data to `value`, which is that long.
    let done = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length) };
    assert_eq!(done, 0, "getsockopt({level}, {name}): {}", std::io::Error::last_os_error());
    value
}

/// Sets a socket option that is an int.
pub fn set_option(socket: &Socket, level: i32, name: i32, value: i32) {
    let length: libc::socklen_t = size_of::<i32>().try_into().unwrap();
    // SAFETY: the kernel reads `length` bytes of `value`, which is that long.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) };
    assert_eq!(done, 0, "setsockopt({level}, {name}, {value}): {}", std::io::Error::last_os_error());
}

/// Makes a socket deaf: what is sent to it is lost, until `detach_filter`.
pub fn deafen(socket: &Socket) {
    const RETURN: u16 = 0x06;
    socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)]).unwrap();
}

/// The line of `ss -tanoe` with these addresses.
pub fn ss(ends: (SocketAddr, SocketAddr)) -> Option<String> {
    let output = Command::new("ss").args(["-tanHoe"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .find(|line| {
            let mut words = line.split_whitespace().skip(3);
            words.next() == Some(&ends.0.to_string()) && words.next() == Some(&ends.1.to_string())
        })
        .map(str::to_owned)
}

/// The kernel's tick rate, if its settings can be read.
pub fn hz() -> Option<u32> {
    static HZ: OnceLock<Option<u32>> = OnceLock::new();
    *HZ.get_or_init(|| {
        let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
        let config = Command::new("sh")
            .args(["-c", "gzip -dc /proc/config.gz 2>/dev/null || cat /boot/config-$0 2>/dev/null", &release])
            .output()
            .unwrap();
        let config = String::from_utf8_lossy(&config.stdout).into_owned();
        config.lines().find_map(|line| line.strip_prefix("CONFIG_HZ=")?.parse().ok())
    })
}

/// How late the timer wheel may be with a minute, of which one bucket is a power of eight of jiffies.
pub fn wheel_bucket() -> Duration {
    // HZ=100 has the widest bucket.
    let hz = hz().unwrap_or(100);
    let level = (0..8).find(|level| 60 * hz < 63 << (3 * level)).unwrap();
    Duration::from_secs(1) * 8u32.pow(level) / hz
}
