//! The kernel's own counters, as they are read, and what they mean.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::unfollowed::{FullQueue, Unfollowed};
use crate::{lifecycle::Abort, tcp::NetnsId};

/// What the counters `TW` and `TWKilled` of TcpExt count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TwCounts {
    /// Mini-sockets that begin, whatever becomes of them (Linux 6.1 and later).
    Beginnings,
    /// Mini-sockets whose timer runs out (up to 5.15).
    Expiries,
}

/// The times before and after something was read, in nanoseconds of `CLOCK_MONOTONIC`.
pub type Span = (u64, u64);

/// The kernel's counters of one network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounts {
    /// The namespace.
    pub netns: NetnsId,
    /// When the counters were read.
    pub read_ns: Span,
    /// `TW` and `TWKilled` of TcpExt: one or the other counts each mini-socket.
    pub timewait: u64,
    /// `TWRecycled` of TcpExt.
    pub reused_by_connect: u64,
    /// `TCPTimeWaitOverflow` of TcpExt.
    pub overflow: u64,
    /// `PassiveOpens` of Tcp; `None` where it could not be read.
    pub passive_opens: Option<u64>,
    /// `ActiveOpens`, `AttemptFails` and `EstabResets` of Tcp; `None` where one could not be read.
    pub opens: Option<Opens>,
    /// By [`Abort`]; `None` where one could not be read.
    pub aborts: Option<[u64; Abort::ALL.len()]>,
    /// `OutRsts` of Tcp; `None` where it could not be read.
    pub rsts: Option<u64>,
    /// What is counted of connections that cannot be followed.
    pub unfollowed: Unfollowed,
    /// The fullest accept queue, if one was full.
    pub full: Option<FullQueue>,
    /// `tw` of sockstat: mini-sockets that are there.
    pub sockstat: Option<u64>,
    /// Mini-sockets that sock_diag listed, and when.
    pub listed: Option<(u64, Span)>,
}

/// Counters of Tcp on connections that are made, fail and are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opens {
    /// `ActiveOpens`: `tcp_connect` sent a SYN.
    pub active: u64,
    /// `AttemptFails`: `tcp_done` in SYN_SENT or SYN_RECV, and an RST or a SYN to a request socket (`tcp_check_req`).
    pub failed: u64,
    /// `EstabResets`: `tcp_set_state` from ESTABLISHED or CLOSE_WAIT to CLOSE.
    pub resets: u64,
}

/// A reading of all namespaces that are traced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Each namespace that could be read.
    pub namespaces: Vec<KernelCounts>,
    /// How many could not be.
    pub unreadable: u32,
    /// The settings of namespaces, by the names that sysctl(8) has for them, as `/proc/sys` has them; none where they were not asked for.
    pub settings: Vec<(NetnsId, BTreeMap<String, String>)>,
    /// Mini-sockets that the kernel side had seen begin before and after all of this was read, in all namespaces that are traced; `None` where it was not asked.
    pub entered: Option<(u64, u64)>,
}
