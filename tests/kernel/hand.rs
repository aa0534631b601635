//! A peer made by hand, on loopback: what it sends is forged, what it is sent it hears on a raw socket, and a deaf listener on its
//! port keeps the kernel from answering in its place with an RST.

use std::{
    io::Read,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::{
    packet::{self, ACK, Numbers, RST, SYN},
    tracer::SOON,
    traffic, turns,
};

/// An answer that is not there by then is not on its way.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Where a peer's numbers begin.
const FIRST: u32 = 1000;

/// What a peer hears.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// The port that it comes from.
    pub port: u16,
    /// Its sequence number.
    pub number: u32,
}

/// An ICMP error, which in IPv4 and IPv6 has different numbers.
#[derive(Clone, Copy, Debug)]
pub enum Complaint {
    /// There is no such host.
    NoHost,
    /// There is no such port, or a firewall says so.
    NoPort,
}

/// A peer made by hand. Dropping it ends its connection with an RST.
pub struct Hand {
    /// Its own address.
    pub own: SocketAddr,
    /// Whom it talks to.
    pub to: SocketAddr,
    raw: Socket,
    _deaf: Socket,
    /// What it sends next, and expects next.
    numbers: Numbers,
}

impl Hand {
    /// A peer of nobody yet, that never answers.
    pub fn mute(ip: &str) -> Self {
        let deaf = traffic::listen(ip);
        traffic::deafen(&deaf);
        let own = traffic::address(&deaf);
        let raw = Socket::new(Domain::for_address(own), Type::RAW, Some(Protocol::TCP)).unwrap();
        // Of IPv4 a raw socket has the header too. No other peer's segments shall fill its buffer.
        let header = if own.is_ipv4() { 20 } else { 0 };
        only_to(&raw, header + 2, own.port());
        raw.bind(&SocketAddr::new(own.ip(), 0).into()).unwrap();
        raw.set_read_timeout(Some(SOON)).unwrap();
        Self { own, to: own, raw, _deaf: deaf, numbers: Numbers { send: FIRST, receive: 0 } }
    }

    /// A peer of this listener, which has sent nothing yet.
    pub fn towards(to: SocketAddr) -> Self {
        let mut hand = Self::mute(&to.ip().to_string());
        hand.to = to;
        hand
    }

    /// A peer that has sent its SYN and heard the answer.
    pub fn syn_recv(to: SocketAddr) -> Self {
        let mut hand = Self::towards(to);
        hand.syn();
        hand.hears_syn_ack();
        hand
    }

    /// The addresses as the listener's side sees them.
    pub fn seen_from_there(&self) -> (SocketAddr, SocketAddr) {
        (self.to, self.own)
    }

    /// Sends its SYN; again, if it did.
    pub fn syn(&self) {
        packet::send(self.own, self.to, SYN, Numbers { send: FIRST, receive: 0 });
    }

    /// Waits for a SYN-ACK.
    pub fn hears_syn_ack(&mut self) {
        let heard = self.hears(SYN | ACK);
        self.numbers = Numbers { send: FIRST + 1, receive: heard.number.wrapping_add(1) };
    }

    /// Whether it has been sent a SYN-ACK, which would be there by now.
    pub fn has_heard_syn_ack(&mut self) -> bool {
        let heard = self.has_heard(SYN | ACK);
        if let Some(heard) = heard {
            self.numbers = Numbers { send: FIRST + 1, receive: heard.number.wrapping_add(1) };
        }
        heard.is_some()
    }

    /// A segment with these flags, which would be there by now.
    pub fn has_heard(&self, flags: u8) -> Option<Heard> {
        self.has_heard_within(Duration::from_millis(1), flags)
    }

    fn has_heard_within(&self, time: Duration, flags: u8) -> Option<Heard> {
        self.raw.set_read_timeout(Some(time)).unwrap();
        let heard = self.try_hears(flags);
        self.raw.set_read_timeout(Some(SOON)).unwrap();
        heard
    }

    /// Sends the last ACK of the handshake.
    pub fn ack(&self) {
        packet::send(self.own, self.to, ACK, self.numbers);
    }

    /// Sends an RST with the right number.
    pub fn rst(&self) {
        packet::send(self.own, self.to, RST, self.numbers);
    }

    /// Goes without a word.
    pub fn leave(mut self) {
        self.numbers.receive = 0;
    }

    /// Sends an ICMP error about what this peer was sent.
    pub fn complains(&self, of: Complaint, heard: Heard) {
        let towards = SocketAddr::new(self.own.ip(), heard.port);
        let quoted =
            [&heard.port.to_be_bytes()[..], &self.own.port().to_be_bytes(), &heard.number.to_be_bytes()].concat();
        let code = match (of, self.own.is_ipv4()) {
            (Complaint::NoHost, true) => 1,
            (Complaint::NoHost, false) | (Complaint::NoPort, true) => 3,
            (Complaint::NoPort, false) => 4,
        };
        let (domain, protocol, message) = match (towards.ip(), self.own.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut header = [0; 20];
                (header[0], header[3], header[8], header[9]) = (0x45, 28, 64, 6);
                header[12..16].copy_from_slice(&from.octets());
                header[16..].copy_from_slice(&to.octets());
                let mut message = [&[3, code, 0, 0, 0, 0, 0, 0][..], &header, &quoted].concat();
                let sum = packet::folded(&message).to_be_bytes();
                message[2..4].copy_from_slice(&sum);
                (Domain::IPV4, Protocol::ICMPV4, message)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let header = [&[0x60, 0, 0, 0, 0, 8, 6, 64][..], &from.octets(), &to.octets()].concat();
                // The kernel fills in the sum.
                (Domain::IPV6, Protocol::ICMPV6, [&[1, code, 0, 0, 0, 0, 0, 0][..], &header, &quoted].concat())
            }
            _ => unreachable!("one family"),
        };
        let icmp = Socket::new(domain, Type::RAW, Some(protocol)).unwrap();
        icmp.send_to(&message, &SocketAddr::new(towards.ip(), 0).into()).unwrap();
    }

    /// The SYN-ACK heard last.
    pub fn last_heard(&self) -> Heard {
        Heard { port: self.to.port(), number: self.numbers.receive.wrapping_sub(1) }
    }

    /// Waits for a segment with these flags: an answer, or what a timer sends.
    pub fn hears(&self, flags: u8) -> Heard {
        let heard = self.has_heard_within(AT_ONCE, flags).or_else(|| turns::rest(|| self.try_hears(flags)));
        heard.unwrap_or_else(|| panic!("no segment with flags {flags} to {}", self.own))
    }

    fn try_hears(&self, flags: u8) -> Option<Heard> {
        let mut packet = [0; 2048];
        loop {
            let length = (&self.raw).read(&mut packet).ok()?;
            let segment = &packet[if self.own.is_ipv4() { 20 } else { 0 }..length];
            if segment[13] == flags {
                let port = u16::from_be_bytes(segment[..2].try_into().unwrap());
                return Some(Heard { port, number: u32::from_be_bytes(segment[4..8].try_into().unwrap()) });
            }
        }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        if !thread::panicking() && self.numbers.receive != 0 {
            self.rst();
        }
    }
}

/// The address by which IPv4 reaches a listener on all addresses.
pub fn by_ipv4(listener: &Socket) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), traffic::address(listener).port())
}

/// A listener of all of IPv6 and IPv4.
pub fn listen_to_both() -> Socket {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_only_v6(false).unwrap();
    socket.bind(&"[::]:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(16).unwrap();
    socket
}

/// Has a socket get only what has this 16-bit number at this offset.
fn only_to(socket: &Socket, offset: u32, number: u16) {
    const LOAD_HALF: u16 = 0x28;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let program = [
        SockFilter::new(LOAD_HALF, 0, 0, offset),
        SockFilter::new(JUMP_EQUAL, 0, 1, number.into()),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ];
    socket.attach_filter(&program).unwrap();
}
