//! Segments that no socket sends: forged with a raw socket from the numbers that `TCP_REPAIR` tells of a live connection.

use std::net::{IpAddr, SocketAddr};

use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use crate::traffic::{get_option, set_option};

/// Header flags.
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// Where a socket is in its byte streams: the next number it sends, the next it expects.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    pub send: u32,
    pub receive: u32,
}

/// Asks a connected socket.
pub fn numbers(socket: &Socket) -> Numbers {
    // include/uapi/linux/tcp.h.
    const REPAIR_OFF_NO_WINDOW_PROBE: i32 = -1;
    const RECEIVE_QUEUE: i32 = 1;
    const SEND_QUEUE: i32 = 2;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_REPAIR, 1);
    let [receive, send] = [RECEIVE_QUEUE, SEND_QUEUE].map(|queue| {
        set_option(socket, libc::IPPROTO_TCP, libc::TCP_REPAIR_QUEUE, queue);
        get_option::<u32>(socket, libc::IPPROTO_TCP, libc::TCP_QUEUE_SEQ)
    });
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_REPAIR, REPAIR_OFF_NO_WINDOW_PROBE);
    Numbers { send, receive }
}

/// What a connected socket would stamp a segment with now: milliseconds, with an offset of the connection's own.
pub fn timestamp(socket: &Socket) -> u32 {
    // include/uapi/linux/tcp.h.
    const TCP_TIMESTAMP: i32 = 24;
    get_option(socket, libc::IPPROTO_TCP, TCP_TIMESTAMP)
}

/// Sends a segment without options or data.
pub fn send(from: SocketAddr, to: SocketAddr, flags: u8, numbers: Numbers) {
    send_with(from, to, flags, numbers, &[]);
}

/// Sends a segment without data that has a timestamp, and echoes none.
pub fn send_stamped(from: SocketAddr, to: SocketAddr, flags: u8, numbers: Numbers, stamp: u32) {
    // RFC 7323, 3.2: two paddings, kind 8, ten bytes.
    let mut option = [1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0];
    option[4..8].copy_from_slice(&stamp.to_be_bytes());
    send_with(from, to, flags, numbers, &option);
}

fn send_with(from: SocketAddr, to: SocketAddr, flags: u8, numbers: Numbers, options: &[u8]) {
    let words = u8::try_from(5 + options.len() / 4).unwrap();
    let mut header = Vec::with_capacity(40);
    header.extend(from.port().to_be_bytes());
    header.extend(to.port().to_be_bytes());
    header.extend(numbers.send.to_be_bytes());
    header.extend(numbers.receive.to_be_bytes());
    header.extend([words << 4, flags]);
    header.extend(512u16.to_be_bytes());
    header.extend([0; 4]);
    header.extend(options);
    let sum = checksum(from.ip(), to.ip(), &header).to_be_bytes();
    header[16..18].copy_from_slice(&sum);

    let domain = if from.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let raw = Socket::new(domain, Type::RAW, Some(Protocol::TCP)).unwrap();
    raw.bind(&SocketAddr::new(from.ip(), 0).into()).unwrap();
    raw.send_to(&header, &SocketAddr::new(to.ip(), 0).into()).unwrap();
}

/// RFC 9293, 3.1: over the pseudo-header and the segment.
fn checksum(from: IpAddr, to: IpAddr, segment: &[u8]) -> u16 {
    let mut bytes = Vec::new();
    for ip in [from, to] {
        match ip {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
    bytes.extend(u32::try_from(segment.len()).unwrap().to_be_bytes());
    bytes.extend([0, 0, 0, 6]);
    bytes.extend(segment);
    folded(&bytes)
}

/// The checksum of the Internet's headers (RFC 1071), of an even number of bytes.
pub fn folded(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}
