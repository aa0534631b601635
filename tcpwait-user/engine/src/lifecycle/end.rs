//! Why a full socket came to CLOSE: a table of everything in the kernel that takes one there, by the innermost function of the stack that
//! decides it, and by what the socket was like (net/ipv4/tcp.c, tcp_input.c, tcp_timer.c, tcp_ipv4.c, inet_connection_sock.c, 5.15 to 7.3).
//! One error has several causes (ECONNREFUSED: an RST, or an ICMP error), and most ends have none; so an error decides only where it has one.

use nix::errno::Errno;

use super::reason::{Abort, Detail, Reason};
use crate::{
    event::{EndFacts, EndSite, StateChange},
    symbols::Symbols,
    tcp::State,
};

/// Why, and whose doing it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: Reason,
    /// How, in detail.
    pub detail: Option<Detail>,
    /// The task on the CPU did it.
    pub by: EndedBy,
    /// The counter of TcpExt that the kernel counts it under.
    pub abort: Option<Abort>,
    /// This side sent an RST for certain.
    pub rst: bool,
}

/// Whether the task on the CPU did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The kernel did, or a segment, whoever was on the CPU.
    Nobody,
    /// The task did.
    Task,
    /// The task did, in a call that only the socket's owner can make.
    Owner,
}

/// What is known beside the event.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndClock {
    /// The kernel's ticks a second.
    pub hz: Option<u64>,
    /// How long the socket was in the state that it left.
    pub dwell_ns: Option<u64>,
}

impl End {
    const UNKNOWN: Self = Self::of(Reason::Unknown);

    const fn of(reason: Reason) -> Self {
        Self { reason, detail: None, by: EndedBy::Nobody, abort: None, rst: false }
    }

    const fn how(reason: Reason, detail: Detail) -> Self {
        Self { detail: Some(detail), ..Self::of(reason) }
    }

    const fn by(self, by: EndedBy) -> Self {
        Self { by, ..self }
    }

    const fn counted(self, abort: Abort) -> Self {
        Self { abort: Some(abort), ..self }
    }

    const fn with_rst(self) -> Self {
        Self { rst: true, ..self }
    }
}

/// What lies outside of these on a stack has nothing to do with the socket: a packet comes in (a softirq may run on the stack of whoever sent it), or a
/// timer has run out.
const BORDERS: [&str; 7] = [
    "tcp_v4_do_rcv",
    "tcp_v6_do_rcv",
    "tcp_v4_rcv",
    "tcp_v6_rcv",
    "expire_timers",
    "__run_timers",
    "run_timer_softirq",
];

/// Functions that were passed on the way to the one that decides.
#[derive(Clone, Copy, Default)]
struct Via {
    done: bool,
    reset: bool,
    disconnect: bool,
    write_err: bool,
    out_of_resources: bool,
}

/// The functions that tell, each with the ends that are `unknown` on a kernel in which it cannot be found: a compiler has inlined it.
pub const TELLING: [(&str, &str); 11] = [
    ("tcp_validate_incoming", "an RST from the peer and data after close()"),
    ("tcp_rcv_state_process", "data after close(), and an RST in SYN_SENT"),
    ("tcp_v4_err", "an ICMP error over IPv4"),
    ("tcp_v6_err", "an ICMP error over IPv6"),
    (
        "__tcp_close",
        "close() before all was read, with SO_LINGER of 0 seconds or TCP_LINGER2 below 0, and too many orphans",
    ),
    ("tcp_disconnect", "SO_LINGER of 0 seconds, connect() with AF_UNSPEC, TCP_REPAIR"),
    ("inet_csk_listen_stop", "a listener that closed before it had accepted the connection"),
    ("tcp_abort", "ss -K"),
    ("tcp_keepalive_timer", "keepalive, and an orphan's FIN_WAIT2"),
    ("tcp_retransmit_timer", "retransmissions without an answer, TCP_USER_TIMEOUT, and a window that stays closed"),
    ("tcp_write_timer_handler", "a window that stays closed"),
];

/// Why a full socket came to CLOSE.
pub fn end(symbols: &Symbols, change: &StateChange, clock: EndClock) -> End {
    let Some(site) = &change.end else {
        return match change.acked {
            true => End::of(Reason::Closed),
            false => by_error(change, None),
        };
    };
    let mut via = Via::default();
    let names = site.stack.iter().filter_map(|address| symbols.name(*address));
    let mut functions = names.take_while(|function| !BORDERS.contains(function));
    while let Some(function) = functions.next() {
        match function {
            "tcp_done" => via.done = true,
            "tcp_reset" => via.reset = true,
            "tcp_disconnect" => via.disconnect = true,
            "tcp_write_err" => via.write_err = true,
            "tcp_out_of_resources" => via.out_of_resources = true,
            // Nothing else calls tcp_disconnect for a child (inet_child_forget): its listener was closed. By whoever closes the listener now
            // (inet_csk_listen_stop), or long since, when the handshake was completed (tcp_check_req).
            "inet_child_forget"
            | "inet_csk_reqsk_queue_add"
            | "inet_csk_complete_hashdance"
            | "inet_csk_listen_stop" => {
                let now = function == "inet_csk_listen_stop" || functions.any(|outer| outer == "inet_csk_listen_stop");
                let end = End::of(Reason::ListenerClosed).by(if now { EndedBy::Task } else { EndedBy::Nobody });
                return End { rst: needs_reset(change.old), ..end };
            }
            _ => {
                if let Some(end) = by_function(function, via, symbols, change, site, clock) {
                    return end;
                }
            }
        }
    }
    match (via.disconnect, site.stack.is_empty()) {
        (true, _) => disconnected(change.old, site.about, Detail::Disconnect),
        (_, true) => by_error(change, Some(site)),
        _ => End::UNKNOWN,
    }
}

/// What this function does with a socket that comes to CLOSE in it; `None` where it does nothing of the sort, and its caller decides.
fn by_function(
    function: &str,
    via: Via,
    symbols: &Symbols,
    change: &StateChange,
    site: &EndSite,
    clock: EndClock,
) -> Option<End> {
    let about = site.about.unwrap_or_default();
    Some(match function {
        // tcp_reset, for an RST. (tcp_check_req: for one to a child of TCP Fast Open.)
        "tcp_validate_incoming" | "tcp_rcv_synsent_state_process" | "tcp_rcv_established" => End::of(Reason::Reset),
        "tcp_check_req" if change.err != 0 => End::of(Reason::Reset),
        "tcp_rcv_state_process" => received(via, symbols, change, site),
        // Their tcp_done is tcp_time_wait's, that found no room for a mini-socket.
        "tcp_time_wait" | "tcp_fin" | "tcp_data_queue" if change.err == 0 => End::of(Reason::Overflow),
        "tcp_time_wait" | "tcp_fin" | "tcp_data_queue" => End::UNKNOWN,
        "tcp_v4_err" | "tcp_v6_err" => End::of(Reason::Unreachable),
        "tcp_abort" | "tcp_diag_destroy" | "bpf_sock_destroy" => {
            End { rst: needs_reset(change.old), ..End::of(Reason::Destroyed).by(EndedBy::Task) }
        }
        "__tcp_close" | "tcp_close" => closed(via, change.old, site),
        "tcp_keepalive_timer" => kept_alive(change.old, site),
        "tcp_retransmit_timer"
        | "tcp_fastopen_synack_timer"
        | "tcp_probe_timer"
        | "tcp_write_timer_handler"
        | "tcp_write_timer" => {
            let is_probe = !matches!(function, "tcp_retransmit_timer" | "tcp_fastopen_synack_timer");
            // An inlined tcp_retransmit_timer would look like a probe.
            if site.about.is_none() || is_probe && !symbols.has("tcp_retransmit_timer") {
                return Some(End::UNKNOWN);
            }
            written_off(via, is_probe, change, about, clock)
        }
        // connect() and listen() take back what they have begun.
        "tcp_v4_connect" | "tcp_v6_connect" | "tcp_sendmsg_fastopen" | "inet_csk_listen_start" => {
            End::of(Reason::Failed).by(EndedBy::Task)
        }
        // A child that could not be made.
        "tcp_v4_syn_recv_sock" | "tcp_v6_syn_recv_sock" | "subflow_syn_recv_sock" | "inet_ehash_nolisten" => {
            End::UNKNOWN
        }
        "mptcp_subflow_reset"
        | "mptcp_check_fastclose"
        | "__mptcp_close_ssk"
        | "__mptcp_subflow_disconnect"
        | "subflow_check_data_avail"
        | "mptcp_subflow_data_available"
        | "mptcp_check_listen_stop"
        | "__mptcp_close"
        | "mptcp_worker" => match change.old {
            State::Listen => End::of(Reason::Closed).by(EndedBy::Owner),
            old => disconnected(old, site.about, Detail::Multipath).by(EndedBy::Nobody),
        },
        _ => return None,
    })
}

/// `tcp_rcv_state_process`: the last ACK, data after close() (RFC 1122, 4.2.2.13), an RST in SYN_SENT; or its call of `tcp_time_wait`, whose last call
/// is `tcp_done`, so that a compiler may leave no frame of it.
fn received(via: Via, symbols: &Symbols, change: &StateChange, site: &EndSite) -> End {
    let is_reset = via.reset || matches!(Errno::from_raw(change.err.into()), Errno::ECONNRESET | Errno::EPIPE);
    match (change.old, site.about) {
        (State::SynSent, _) if change.err != 0 => End::of(Reason::Reset),
        // RSTs go through tcp_validate_incoming; where that is inlined, both look the same.
        _ if is_reset && !symbols.has("tcp_validate_incoming") => End::UNKNOWN,
        _ if is_reset => End::how(Reason::ResetSent, Detail::DataAfterClose).counted(Abort::OnData).with_rst(),
        (State::LastAck, Some(EndFacts { acked: true, .. })) => End::of(Reason::Closed),
        (State::Closing, _) => End::of(Reason::Overflow),
        (State::FinWait2, Some(EndFacts { no_linger2: true, .. })) => {
            End::how(Reason::ResetSent, Detail::Linger).counted(Abort::OnData).with_rst()
        }
        // What ends an orphan in the moment in which it comes from FIN_WAIT1.
        (State::FinWait2, about) => match (site.full, about) {
            (Some(true), _) => End::of(Reason::Overflow),
            (Some(false), Some(_)) => {
                End::how(Reason::ResetSent, Detail::DataAfterClose).counted(Abort::OnData).with_rst()
            }
            _ => End::UNKNOWN,
        },
        _ => End::UNKNOWN,
    }
}

/// `__tcp_close`, in its order.
fn closed(via: Via, old: State, site: &EndSite) -> End {
    if via.disconnect {
        let end = disconnected(old, site.about, Detail::Linger0);
        // Repair comes first.
        return if end.detail == Some(Detail::Linger0) { end.counted(Abort::OnData) } else { end };
    }
    match (old, site.about) {
        (State::Listen, _) => End::of(Reason::Closed).by(EndedBy::Owner),
        (State::SynSent, _) => End::how(Reason::Closed, Detail::GivenUp).by(EndedBy::Owner),
        // tcp_time_wait, which found no room; all else here sets the state without tcp_done.
        _ if via.done => End::of(Reason::Overflow),
        (_, None) => End::UNKNOWN,
        // The socket becomes an orphan only after this.
        (_, Some(EndFacts { orphan: false, .. })) => {
            End::how(Reason::ResetSent, Detail::UnreadData).by(EndedBy::Owner).counted(Abort::OnClose).with_rst()
        }
        (State::FinWait2, Some(EndFacts { no_linger2: true, .. })) => {
            End::how(Reason::ResetSent, Detail::Linger).by(EndedBy::Owner).counted(Abort::OnLinger).with_rst()
        }
        (_, Some(about)) => End { rst: !about.netns_gone, ..short(about) },
    }
}

/// `tcp_need_reset`.
fn needs_reset(state: State) -> bool {
    matches!(state, State::Established | State::CloseWait | State::FinWait1 | State::FinWait2 | State::SynRecv)
}

/// `tcp_disconnect`: what was made is reset, anything else goes without a segment.
fn disconnected(old: State, about: Option<EndFacts>, detail: Detail) -> End {
    let Some(about) = about else { return End::UNKNOWN };
    let end = match (old, about.repair) {
        (State::Listen, _) => End::of(Reason::Closed),
        (_, Some(true)) => End::of(Reason::Repair),
        (_, None) => return End::UNKNOWN,
        (State::SynSent, _) if detail == Detail::Disconnect => End::how(Reason::Closed, Detail::GivenUp),
        (State::SynSent, _) => End::how(Reason::Closed, detail),
        // Their FIN is on its way, or still waits behind what was not sent.
        (State::Closing | State::LastAck, _) if !about.unsent => End::how(Reason::Closed, detail),
        _ => End::how(Reason::ResetSent, detail).with_rst(),
    };
    end.by(EndedBy::Owner)
}

/// `tcp_check_oom`, for an orphan; and where its namespace is gone nothing can be sent.
fn short(about: EndFacts) -> End {
    match (about.netns_gone, about.memory) {
        (true, _) => End::of(Reason::Netns),
        (_, Some(true)) => End::how(Reason::ResetSent, Detail::OutOfMemory).counted(Abort::OnMemory),
        (_, Some(false)) => End::how(Reason::ResetSent, Detail::TooManyOrphans).counted(Abort::OnMemory),
        (_, None) => End::of(Reason::ResetSent).counted(Abort::OnMemory),
    }
}

/// `tcp_keepalive_timer`: an orphan's FIN_WAIT2, or a peer that does not answer its probes.
fn kept_alive(old: State, site: &EndSite) -> End {
    match (old, site.about) {
        (_, None) => End::UNKNOWN,
        (State::FinWait2, Some(EndFacts { orphan: true, no_linger2: true, .. })) => {
            End::how(Reason::ResetSent, Detail::Linger).with_rst()
        }
        // Above a minute a mini-socket goes on with it, if there is room.
        (State::FinWait2, Some(EndFacts { orphan: true, .. })) if site.full != Some(false) => End::UNKNOWN,
        (State::FinWait2, Some(EndFacts { orphan: true, .. })) => {
            End::how(Reason::TimedOut, Detail::FinWait2).with_rst()
        }
        (_, Some(about)) => {
            let detail = if about.user_timeout_ms == 0 { Detail::Keepalive } else { Detail::UserTimeout };
            End::how(Reason::TimedOut, detail).counted(Abort::OnTimeout).with_rst()
        }
    }
}

/// `tcp_retransmit_timer` and `tcp_probe_timer`: `tcp_write_err`, or `tcp_out_of_resources` of an orphan, which leaves no error.
fn written_off(via: Via, is_probe: bool, change: &StateChange, about: EndFacts, clock: EndClock) -> End {
    if via.out_of_resources || about.orphan && !via.write_err && change.err == 0 {
        return short(about);
    }
    if about.orphan && !via.write_err && change.err != Errno::ETIMEDOUT as u16 {
        // An ICMP error may have been there before (IP_RECVERR).
        return End::UNKNOWN;
    }
    let user_timeout_ms = u64::from(about.user_timeout_ms);
    let detail = match (change.old, user_timeout_ms) {
        _ if is_probe => zero_window(about, clock),
        (State::SynSent, 1..) => clock.dwell_ns.map(|dwell_ns| match dwell_ns / 1_000_000 < user_timeout_ms {
            true => Detail::Retransmissions,
            false => Detail::UserTimeout,
        }),
        (State::SynRecv, 1..) => None,
        (State::SynSent | State::SynRecv, 0) => Some(Detail::Retransmissions),
        // The peer took back its window: tcp_rtx_probe0_timed_out waits for TCP_USER_TIMEOUT, but no longer than for two retransmissions.
        // (Kernels that have no icsk_rto_max may not ask for TCP_USER_TIMEOUT here.)
        (_, 0) if about.window_closed && !about.orphan => Some(Detail::ZeroWindow),
        (_, 1..) if about.window_closed && !about.orphan => {
            let asked = clock.hz.filter(|_| about.rto_max_jiffies > 0);
            asked
                .filter(|hz| user_timeout_ms * hz <= 2000 * u64::from(about.rto_max_jiffies))
                .map(|_| Detail::UserTimeout)
        }
        (_, 0) => Some(Detail::Retransmissions),
        (_, 1..) => Some(Detail::UserTimeout),
    };
    End { detail, ..End::of(Reason::TimedOut).counted(Abort::OnTimeout) }
}

/// `tcp_probe_timer`, which asks for TCP_USER_TIMEOUT first.
fn zero_window(about: EndFacts, clock: EndClock) -> Option<Detail> {
    if about.user_timeout_ms == 0 {
        return Some(Detail::ZeroWindow);
    }
    let probed = u64::from(about.probed_jiffies);
    let hz = clock.hz.filter(|_| probed > 0)?;
    let limit = (u64::from(about.user_timeout_ms) * hz).div_ceil(1000);
    Some(if probed >= limit { Detail::UserTimeout } else { Detail::ZeroWindow })
}

/// Without a stack: what has one cause only.
fn by_error(change: &StateChange, site: Option<&EndSite>) -> End {
    let about = site.and_then(|site| site.about);
    let is_full = site.is_some_and(|site| site.full == Some(true));
    match (Errno::from_raw(change.err.into()), change.old) {
        // tcp_write_err; no ICMP error is one (icmp_err_convert).
        (Errno::ETIMEDOUT, _) => End::of(Reason::TimedOut).counted(Abort::OnTimeout),
        // tcp_abort; tcp_disconnect sets it too, but afterwards.
        (Errno::ECONNABORTED, old) => End { rst: needs_reset(old), ..End::of(Reason::Destroyed).by(EndedBy::Task) },
        // tcp_reset, and there it is for an RST only.
        (Errno::ECONNRESET, State::Established) => End::of(Reason::Reset),
        // All that is left for them.
        (_, State::FinWait2 | State::Closing) if change.err == 0 && is_full => End::of(Reason::Overflow),
        _ if change.err == 0 && about.is_some_and(|about| about.repair == Some(true)) => {
            End::of(Reason::Repair).by(EndedBy::Owner)
        }
        _ => End::UNKNOWN,
    }
}

#[cfg(test)]
mod tests;
