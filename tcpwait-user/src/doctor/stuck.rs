//! Connections that were closed on one side and stay: in FIN_WAIT2 with a process that holds them, and with something to send to a peer that takes
//! no more. What was there at both readings stays; what is under way is not meant.

use std::{collections::HashMap, net::IpAddr};

use super::socket::{Owner, SurveyedSocket};
use crate::tcp::State;

/// So many probes in a row are not answered where the peer is gone.
const UNANSWERED: u8 = 2;

/// Connections in FIN_WAIT2 that a process holds, at both readings, and on which nothing came in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HalfClosed {
    /// Who holds them, as far as that may be known.
    pub owner: Option<Owner>,
    /// How many.
    pub stuck: u64,
    /// Of these such with something unread.
    pub unread: u64,
    /// Of these such with SO_KEEPALIVE, whose timer runs.
    pub keepalive: u64,
    /// For how many milliseconds the oldest of them has been in FIN_WAIT2 at least.
    pub oldest_ms: u64,
}

/// Connections that were closed here, at both readings, and cannot send what they have to: the peer's window is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocked {
    /// How many, in FIN_WAIT1 or CLOSING.
    pub fin_wait1: u64,
    /// How many, in LAST_ACK.
    pub last_ack: u64,
    /// Of all of them, those whose peer answers the probes of its window.
    pub answered: u64,
    /// Of all of them, those that a process holds.
    pub held: u64,
    /// What they have to send, in bytes.
    pub bytes: u64,
    /// The peer with the most of them.
    pub towards: Option<(IpAddr, u64)>,
}

impl Blocked {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.fin_wait1 + self.last_ack
    }
}

/// What is gathered of the second reading.
#[derive(Debug, Default)]
pub(super) struct Stuck {
    half_closed: Vec<(SurveyedSocket, u64)>,
    blocked: Blocked,
    towards: HashMap<IpAddr, u64>,
}

impl Stuck {
    /// One that was in FIN_WAIT2 at both readings, so many milliseconds apart.
    pub(super) fn half_closed(&mut self, socket: &SurveyedSocket, window_ms: u64) {
        // A peer that still sends has something to say: that is what half-closing is for.
        let silent = socket.received_ms.is_some_and(|ms| u64::from(ms) >= window_ms);
        if !socket.mini && socket.inode != 0 && silent {
            self.half_closed.push((*socket, socket.age_ms(window_ms)));
        }
    }

    /// One that was in FIN_WAIT1, CLOSING or LAST_ACK at both readings. Whether it is one whose window is closed.
    pub(super) fn closing(&mut self, socket: &SurveyedSocket) -> bool {
        // tcp_check_probe_timer starts that timer also where sending fails: the window tells.
        let closed = socket.probing && socket.window == Some(0);
        if closed {
            let all = &mut self.blocked;
            match socket.state {
                State::LastAck => all.last_ack += 1,
                _ => all.fin_wait1 += 1,
            }
            // An acknowledgement sets the count of probes to 0 (tcp_ack); of two within half a second only one is answered
            // (tcp_oow_rate_limited).
            all.answered += u64::from(socket.probes < UNANSWERED);
            all.held += u64::from(socket.inode != 0);
            all.bytes += u64::from(socket.send_queue);
            *self.towards.entry(socket.remote.0).or_default() += 1;
        }
        closed
    }

    /// Files whose holders are to be found.
    pub(super) fn inodes(&self) -> impl Iterator<Item = u32> {
        self.half_closed.iter().map(|(socket, _)| socket.inode)
    }

    /// What came of it: the holders with the most first.
    pub(super) fn finish(self, owner: impl Fn(u32) -> Option<Owner>) -> (Vec<HalfClosed>, Blocked) {
        let mut holders: HashMap<Option<Owner>, HalfClosed> = HashMap::new();
        for (socket, age_ms) in self.half_closed {
            let owner = owner(socket.inode);
            let none = || HalfClosed { owner: owner.clone(), stuck: 0, unread: 0, keepalive: 0, oldest_ms: 0 };
            let mine = holders.entry(owner.clone()).or_insert_with(none);
            mine.stuck += 1;
            mine.unread += u64::from(socket.receive_queue > 0);
            mine.keepalive += u64::from(socket.keepalive);
            mine.oldest_ms = mine.oldest_ms.max(age_ms);
        }
        let mut holders: Vec<HalfClosed> = holders.into_values().collect();
        holders.sort_by(|a, b| b.stuck.cmp(&a.stuck).then_with(|| a.owner.cmp(&b.owner)));
        let towards = self.towards.into_iter().max_by_key(|(peer, count)| (*count, std::cmp::Reverse(*peer)));
        (holders, Blocked { towards, ..self.blocked })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{IpAddr, Ipv4Addr};

    use super::{Blocked, HalfClosed, Owner, Stuck, SurveyedSocket};
    use crate::tcp::State;

    const WINDOW_MS: u64 = 3_000;

    fn socket(state: State, inode: u32) -> SurveyedSocket {
        let at = (IpAddr::V4(Ipv4Addr::LOCALHOST), 80);
        SurveyedSocket {
            state,
            mini: false,
            bound_dev_if: 0,
            local: at,
            remote: at,
            left_ms: 0,
            receive_queue: 0,
            send_queue: 0,
            retransmits: 0,
            probes: 0,
            probing: false,
            keepalive: false,
            received_ms: Some(60_000),
            window: Some(65_535),
            at_least_ms: None,
            cookie: 1,
            inode,
        }
    }

    fn owner(inode: u32) -> Option<Owner> {
        Some(Owner { pid: inode / 10, comm: "p".to_owned(), others: 0 })
    }

    #[test]
    fn only_what_is_held_and_silent_is_stuck() {
        let (old, young) = (socket(State::FinWait2, 70), socket(State::FinWait2, 71));
        let mut stuck = Stuck::default();
        for socket in [
            SurveyedSocket { at_least_ms: Some(3_600_000), receive_queue: 5, ..old },
            SurveyedSocket { at_least_ms: Some(20), keepalive: true, ..young },
            // Nobody's; a mini-socket; one whose peer sends; one of which that is not known; and somebody else's.
            SurveyedSocket { inode: 0, ..old },
            SurveyedSocket { mini: true, ..old },
            SurveyedSocket { received_ms: Some(2_999), ..old },
            SurveyedSocket { received_ms: None, ..old },
            socket(State::FinWait2, 80),
        ] {
            stuck.half_closed(&socket, WINDOW_MS);
        }
        assert_eq!(stuck.inodes().collect::<Vec<_>>(), [70, 71, 80]);
        let held = |inode, stuck, unread, keepalive, oldest_ms| HalfClosed {
            owner: owner(inode),
            stuck,
            unread,
            keepalive,
            oldest_ms,
        };
        // What was there at both readings is as old as the time between them.
        assert_eq!(stuck.finish(owner).0, [held(70, 2, 1, 1, 3_600_000), held(80, 1, 0, 0, WINDOW_MS)]);
    }

    #[test]
    fn a_closed_window_and_what_only_looks_like_one() {
        let mut stuck = Stuck::default();
        let closed = SurveyedSocket { probing: true, window: Some(0), send_queue: 100, ..socket(State::FinWait1, 0) };
        assert!(stuck.closing(&closed));
        assert!(stuck.closing(&SurveyedSocket { state: State::LastAck, probes: 5, inode: 9, ..closed }));
        // The timer runs where sending fails, too; without it the window is closed for a moment; and before 5.4 nothing tells.
        for other in [
            SurveyedSocket { window: Some(500), ..closed },
            SurveyedSocket { probing: false, ..closed },
            SurveyedSocket { window: None, ..closed },
        ] {
            assert!(!stuck.closing(&other), "{other:?}");
        }
        let towards = Some((closed.remote.0, 2));
        let expected = Blocked { fin_wait1: 1, last_ack: 1, answered: 1, held: 1, bytes: 200, towards };
        assert_eq!(stuck.finish(owner).1, expected);
    }
}
