//! Dropped packets as fast as a core sends them: datagrams to a socket that is never read. Each passes `skb:kfree_skb`, where
//! tcpwait may have a hook although it wants almost none of them.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use socket2::SockRef;

use crate::place;

/// Datagrams between two looks at the clock.
const BURST: u64 = 64;

/// What was done.
#[derive(Debug, Serialize)]
pub struct Done {
    packets: u64,
    /// Of these, dropped by the kernel for want of room, as it counts them.
    dropped: Option<u64>,
    seconds: f64,
}

/// Sends on so many cores for some time.
pub fn run(cores: u16, length: Duration) -> Result<Done> {
    let begin = Instant::now();
    let packets = thread::scope(|scope| {
        let senders: Vec<_> = (0..cores).map(|core| scope.spawn(move || send(core, length))).collect();
        let mut packets = 0;
        for sender in senders {
            match sender.join() {
                Ok(sent) => packets += sent?,
                Err(_) => bail!("a sender ended in the middle"),
            }
        }
        Ok(packets)
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    let dropped = place::counter("snmp", "Udp", "RcvbufErrors").context("reading /proc/self/net/snmp")?;
    Ok(Done { packets, dropped, seconds })
}

fn send(core: u16, length: Duration) -> Result<u64> {
    place::keep_to_core(core)?;
    let full = UdpSocket::bind("127.0.0.1:0").context("binding the receiver")?;
    SockRef::from(&full).set_recv_buffer_size(1).context("making the receiver's buffer small")?;
    let sender = UdpSocket::bind("127.0.0.1:0").context("binding the sender")?;
    sender.connect(full.local_addr()?).context("connecting the sender")?;
    let begin = Instant::now();
    let mut packets = 0;
    while begin.elapsed() < length {
        for _ in 0..BURST {
            sender.send(&[0]).context("sending a datagram")?;
        }
        packets += BURST;
    }
    Ok(packets)
}
