//! Why a full socket came to CLOSE: a table of everything in the kernel that takes one there, by the innermost function of the stack that
//! decides it, and by what the socket was like (net/ipv4/tcp.c, tcp_input.c, tcp_timer.c, tcp_ipv4.c, inet_connection_sock.c, 5.15 to 7.3).
//! One error has several causes (ECONNREFUSED: an RST, or an ICMP error), and most ends have none; so an error decides only where it has one.

use nix::errno::Errno;

use super::transition::{Abort, Detail, Reason};
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
    pub by: By,
    /// The counter of TcpExt that the kernel counts it under.
    pub abort: Option<Abort>,
    /// This side sent an RST for certain.
    pub rst: bool,
}

/// Whether the task on the CPU did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The kernel did, or a segment, whoever was on the CPU.
    Nobody,
    /// The task did.
    Task,
    /// The task did, in a call that only the socket's owner can make.
    Owner,
}

/// What is known beside the event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// The kernel's ticks a second.
    pub hz: Option<u64>,
    /// How long the socket was in the state that it left.
    pub dwell_ns: Option<u64>,
}

impl End {
    const UNKNOWN: Self = Self::of(Reason::Unknown);

    const fn of(reason: Reason) -> Self {
        Self { reason, detail: None, by: By::Nobody, abort: None, rst: false }
    }

    const fn how(reason: Reason, detail: Detail) -> Self {
        Self { detail: Some(detail), ..Self::of(reason) }
    }

    const fn by(self, by: By) -> Self {
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
    ("inet_csk_listen_stop", "a listener that is closed with connections that nobody had accepted"),
    ("tcp_abort", "ss -K"),
    ("tcp_keepalive_timer", "keepalive, and an orphan's FIN_WAIT2"),
    ("tcp_retransmit_timer", "what was sent again in vain, TCP_USER_TIMEOUT, and a window that stays closed"),
    ("tcp_write_timer_handler", "a window that stays closed"),
];

/// Why a full socket came to CLOSE.
pub fn end(symbols: &Symbols, change: &StateChange, clock: Clock) -> End {
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
                let end = End::of(Reason::ListenerClosed).by(if now { By::Task } else { By::Nobody });
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
    clock: Clock,
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
            End { rst: needs_reset(change.old), ..End::of(Reason::Destroyed).by(By::Task) }
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
            End::of(Reason::Failed).by(By::Task)
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
            State::Listen => End::of(Reason::Closed).by(By::Owner),
            old => disconnected(old, site.about, Detail::Multipath).by(By::Nobody),
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
            End::how(Reason::TimedOut, Detail::Linger).counted(Abort::OnData).with_rst()
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
        (State::Listen, _) => End::of(Reason::Closed).by(By::Owner),
        (State::SynSent, _) => End::how(Reason::Closed, Detail::GivenUp).by(By::Owner),
        // tcp_time_wait, which found no room; all else here sets the state without tcp_done.
        _ if via.done => End::of(Reason::Overflow),
        (_, None) => End::UNKNOWN,
        // The socket becomes an orphan only after this.
        (_, Some(EndFacts { orphan: false, .. })) => {
            End::how(Reason::ResetSent, Detail::UnreadData).by(By::Owner).counted(Abort::OnClose).with_rst()
        }
        (State::FinWait2, Some(EndFacts { no_linger2: true, .. })) => {
            End::how(Reason::TimedOut, Detail::Linger).by(By::Owner).counted(Abort::OnLinger).with_rst()
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
    end.by(By::Owner)
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
            End::how(Reason::TimedOut, Detail::Linger).with_rst()
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
fn written_off(via: Via, is_probe: bool, change: &StateChange, about: EndFacts, clock: Clock) -> End {
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
fn zero_window(about: EndFacts, clock: Clock) -> Option<Detail> {
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
        (Errno::ECONNABORTED, old) => End { rst: needs_reset(old), ..End::of(Reason::Destroyed).by(By::Task) },
        // tcp_reset, and there it is for an RST only.
        (Errno::ECONNRESET, State::Established) => End::of(Reason::Reset),
        // All that is left for them.
        (_, State::FinWait2 | State::Closing) if change.err == 0 && is_full => End::of(Reason::Overflow),
        _ if change.err == 0 && about.is_some_and(|about| about.repair == Some(true)) => {
            End::of(Reason::Repair).by(By::Owner)
        }
        _ => End::UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{
        symbols::DECISIVE,
        tcp::{Flow, NetnsId},
    };
    use State::{CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent};

    const ABOUT: EndFacts = EndFacts {
        orphan: false,
        repair: Some(false),
        no_linger2: false,
        netns_gone: false,
        window_closed: false,
        acked: false,
        unsent: false,
        memory: Some(false),
        user_timeout_ms: 0,
        probed_jiffies: 0,
        rto_max_jiffies: 0,
    };
    const ORPHAN: EndFacts = EndFacts { orphan: true, ..ABOUT };

    /// A function of a hundred bytes for each name.
    fn symbols() -> Symbols {
        Symbols::pick((1..).zip(DECISIVE.iter().copied().chain(["end"])).map(|(n, name)| (n * 100, name)))
    }

    fn change(old: State, err: Errno, end: Option<EndSite>) -> StateChange {
        let [laddr, raddr] = [1, 2].map(|last| Ipv4Addr::new(10, 0, 0, last).into());
        StateChange {
            cookie: 1,
            sk: 1,
            flow: Flow { netns: NetnsId::new(1, 0), bound_dev_if: 0, laddr, raddr, lport: 1, rport: 2 },
            old,
            new: State::Close,
            err: err as u16,
            task: None,
            by_call: false,
            handed_over: false,
            newborn: false,
            half_open: false,
            retransmits: 0,
            reuse: None,
            v6only: None,
            unsent: false,
            deferred: false,
            returns: false,
            old_port: false,
            syn: None,
            acked: false,
            end: end.map(Box::new),
        }
    }

    fn site(stack: &str, about: EndFacts) -> EndSite {
        let address =
            |name: &str| DECISIVE.iter().position(|known| *known == name).map_or(7, |n| (n as u64 + 1) * 100 + 50);
        EndSite {
            full: Some(false),
            about: Some(about),
            stack: stack.split_whitespace().map(address).collect(),
            ..EndSite::default()
        }
    }

    /// `reset-sent (linger-0) by owner`.
    fn said(end: End) -> String {
        let detail = end.detail.map(|detail| format!(" ({})", detail.name())).unwrap_or_default();
        let by = match end.by {
            By::Nobody => "",
            By::Task => " by task",
            By::Owner => " by owner",
        };
        format!("{}{detail}{by}", end.reason.name())
    }

    #[track_caller]
    fn check(old: State, err: Errno, stack: &str, about: EndFacts, expected: &str) {
        let clock = Clock { hz: Some(250), dwell_ns: Some(1_500_000_000) };
        let end = end(&symbols(), &change(old, err, Some(site(stack, about))), clock);
        assert_eq!(said(end), expected, "{old} {err:?} {stack} {about:?}");
    }

    const NO_ERROR: Errno = Errno::UnknownErrno;

    #[test]
    fn what_a_segment_ends() {
        use Errno::{ECONNREFUSED, ECONNRESET, EPIPE};
        let rst = "other tcp_done tcp_reset tcp_validate_incoming tcp_rcv_established tcp_v4_do_rcv";
        for (old, err) in [(Established, ECONNRESET), (CloseWait, EPIPE), (FinWait1, ECONNRESET), (LastAck, ECONNRESET)]
        {
            check(old, err, rst, ABOUT, "reset");
            // tcp_reset ends with a call that a compiler makes a jump.
            check(old, err, "tcp_done tcp_validate_incoming tcp_rcv_state_process", ABOUT, "reset");
        }
        check(SynSent, ECONNREFUSED, "tcp_done tcp_reset tcp_rcv_state_process tcp_v4_do_rcv", ABOUT, "reset");
        check(SynRecv, ECONNRESET, "tcp_done tcp_reset tcp_check_req tcp_rcv_state_process", ABOUT, "reset");
        for function in ["tcp_v4_err", "tcp_v6_err"] {
            check(SynSent, ECONNREFUSED, &format!("tcp_done {function}"), ABOUT, "unreachable");
        }
        let received = "tcp_done tcp_rcv_state_process tcp_v4_do_rcv";
        check(FinWait2, ECONNRESET, received, ORPHAN, "reset-sent (data-after-close)");
        check(FinWait2, NO_ERROR, received, ORPHAN, "reset-sent (data-after-close)");
        check(FinWait2, NO_ERROR, received, EndFacts { no_linger2: true, ..ORPHAN }, "timed-out (linger)");
        check(LastAck, NO_ERROR, received, EndFacts { acked: true, ..ORPHAN }, "closed");
        check(Closing, NO_ERROR, received, ORPHAN, "overflow");
    }

    #[test]
    fn what_a_process_ends() {
        let close = "__tcp_close tcp_close";
        check(Established, NO_ERROR, &format!("tcp_disconnect {close}"), ABOUT, "reset-sent (linger-0) by owner");
        check(Established, NO_ERROR, close, ABOUT, "reset-sent (unread-data) by owner");
        check(LastAck, NO_ERROR, close, ABOUT, "reset-sent (unread-data) by owner");
        check(SynSent, NO_ERROR, close, ABOUT, "closed (given-up) by owner");
        check(Listen, NO_ERROR, close, ABOUT, "closed by owner");
        check(Listen, NO_ERROR, "tcp_disconnect", ABOUT, "closed by owner");
        check(FinWait2, NO_ERROR, close, EndFacts { no_linger2: true, ..ORPHAN }, "timed-out (linger) by owner");
        check(FinWait2, NO_ERROR, &format!("tcp_done {close}"), ORPHAN, "overflow");
        check(SynSent, NO_ERROR, &format!("tcp_disconnect {close}"), ABOUT, "closed (linger-0) by owner");
        check(SynSent, NO_ERROR, "tcp_disconnect", ABOUT, "closed (given-up) by owner");
        check(FinWait1, NO_ERROR, close, ORPHAN, "reset-sent (too-many-orphans)");
        check(LastAck, NO_ERROR, close, EndFacts { memory: Some(true), ..ORPHAN }, "reset-sent (out-of-memory)");
        check(FinWait1, NO_ERROR, close, EndFacts { netns_gone: true, ..ORPHAN }, "netns");
        check(Established, NO_ERROR, "tcp_disconnect", ABOUT, "reset-sent (disconnect) by owner");
        // Their FIN has been sent, and no RST is.
        check(LastAck, NO_ERROR, &format!("tcp_disconnect {close}"), ABOUT, "closed (linger-0) by owner");
        check(
            LastAck,
            NO_ERROR,
            &format!("tcp_disconnect {close}"),
            EndFacts { unsent: true, ..ABOUT },
            "reset-sent (linger-0) by owner",
        );
        let repair = EndFacts { repair: Some(true), ..ABOUT };
        check(Established, NO_ERROR, &format!("tcp_disconnect {close}"), repair, "repair by owner");
        for old in [Established, Listen, FinWait1] {
            check(old, Errno::ECONNABORTED, "tcp_done tcp_abort tcp_diag_destroy", ABOUT, "destroyed by task");
        }
        check(SynSent, NO_ERROR, "tcp_v4_connect", ABOUT, "failed by task");
        check(Listen, NO_ERROR, "inet_csk_listen_start", ABOUT, "failed by task");
    }

    #[test]
    fn what_a_listener_takes_along() {
        let child = "tcp_disconnect inet_child_forget";
        for closer in ["__tcp_close tcp_close", "tcp_abort tcp_diag_destroy", "tcp_disconnect"] {
            let stack = format!("{child} inet_csk_listen_stop {closer}");
            check(Established, NO_ERROR, &stack, ABOUT, "listener-closed by task");
        }
        // The handshake is completed for a listener that is gone already: whoever is on the CPU has nothing to do with it, though it closes another.
        let late = format!("{child} inet_csk_reqsk_queue_add inet_csk_complete_hashdance tcp_check_req tcp_v4_rcv");
        check(SynRecv, NO_ERROR, &late, ABOUT, "listener-closed");
        check(SynRecv, NO_ERROR, &format!("{late} tcp_disconnect inet_csk_listen_stop"), ABOUT, "listener-closed");
    }

    #[test]
    fn what_a_timer_ends() {
        use Errno::{EHOSTUNREACH, ETIMEDOUT};
        let patient = EndFacts { user_timeout_ms: 1000, ..ABOUT };
        let write = "tcp_done tcp_retransmit_timer tcp_write_timer_handler tcp_write_timer";
        check(Established, ETIMEDOUT, write, ABOUT, "timed-out (retransmissions)");
        check(Established, EHOSTUNREACH, write, ABOUT, "timed-out (retransmissions)");
        check(Established, ETIMEDOUT, write, patient, "timed-out (user-timeout)");
        check(LastAck, ETIMEDOUT, write, ORPHAN, "timed-out (retransmissions)");
        check(LastAck, NO_ERROR, write, ORPHAN, "reset-sent (too-many-orphans)");
        check(LastAck, EHOSTUNREACH, write, ORPHAN, "unknown");
        let short = "tcp_done tcp_out_of_resources tcp_retransmit_timer";
        check(LastAck, EHOSTUNREACH, short, EndFacts { memory: Some(true), ..ORPHAN }, "reset-sent (out-of-memory)");
        check(LastAck, NO_ERROR, short, EndFacts { memory: None, ..ORPHAN }, "reset-sent");
        check(SynSent, ETIMEDOUT, write, ABOUT, "timed-out (retransmissions)");
        // It was in SYN_SENT for 1.5 s.
        check(SynSent, ETIMEDOUT, write, patient, "timed-out (user-timeout)");
        check(SynSent, ETIMEDOUT, write, EndFacts { user_timeout_ms: 9000, ..ABOUT }, "timed-out (retransmissions)");
        check(Established, ETIMEDOUT, write, EndFacts { window_closed: true, ..ABOUT }, "timed-out (zero-window)");
        let closed = EndFacts { window_closed: true, ..patient };
        check(Established, ETIMEDOUT, write, EndFacts { rto_max_jiffies: 125, ..closed }, "timed-out (user-timeout)");
        check(Established, ETIMEDOUT, write, EndFacts { rto_max_jiffies: 124, ..closed }, "timed-out");
        check(Established, ETIMEDOUT, write, closed, "timed-out");
        let probe = "tcp_done tcp_write_timer_handler tcp_write_timer";
        check(Established, ETIMEDOUT, probe, ABOUT, "timed-out (zero-window)");
        check(Established, ETIMEDOUT, probe, EndFacts { probed_jiffies: 250, ..patient }, "timed-out (user-timeout)");
        check(Established, ETIMEDOUT, probe, EndFacts { probed_jiffies: 249, ..patient }, "timed-out (zero-window)");
        check(Established, ETIMEDOUT, probe, patient, "timed-out");
        let keepalive = "tcp_done tcp_keepalive_timer";
        check(Established, ETIMEDOUT, keepalive, ABOUT, "timed-out (keepalive)");
        check(FinWait2, ETIMEDOUT, keepalive, ABOUT, "timed-out (keepalive)");
        check(CloseWait, ETIMEDOUT, keepalive, patient, "timed-out (user-timeout)");
        check(FinWait2, NO_ERROR, keepalive, ORPHAN, "timed-out (fin-wait-2)");
        check(FinWait2, NO_ERROR, keepalive, EndFacts { no_linger2: true, ..ORPHAN }, "timed-out (linger)");
        check(FinWait2, NO_ERROR, "tcp_done tcp_time_wait tcp_keepalive_timer", ORPHAN, "overflow");
    }

    #[test]
    fn nothing_is_guessed() {
        let clock = Clock::default();
        let told = |old, err, end| said(super::end(&symbols(), &change(old, err, end), clock));
        // A stack of which nothing is known, and one that leads through a packet into somebody else's call.
        check(Established, Errno::ECONNRESET, "other", ABOUT, "unknown");
        check(Established, NO_ERROR, "other tcp_v4_do_rcv __tcp_close tcp_close", ABOUT, "unknown");
        check(Established, NO_ERROR, "other __run_timers __tcp_close", ABOUT, "unknown");
        check(SynRecv, NO_ERROR, "tcp_done tcp_v4_syn_recv_sock tcp_check_req", ABOUT, "unknown");
        // No stack: an RST, data after close(), an ICMP error may be told by the same error, and most ends by none.
        for end in [None, Some(site("", ABOUT))] {
            assert_eq!(told(Established, Errno::ECONNRESET, end.clone()), "reset");
            assert_eq!(told(FinWait1, Errno::ECONNRESET, end.clone()), "unknown");
            assert_eq!(told(CloseWait, Errno::EPIPE, end.clone()), "unknown");
            assert_eq!(told(SynSent, Errno::ECONNREFUSED, end.clone()), "unknown");
            assert_eq!(told(SynSent, Errno::EHOSTUNREACH, end.clone()), "unknown");
            assert_eq!(told(LastAck, Errno::ETIMEDOUT, end.clone()), "timed-out");
            assert_eq!(told(Established, Errno::ECONNABORTED, end.clone()), "destroyed by task");
            for old in [Established, SynSent, LastAck, Listen] {
                assert_eq!(told(old, NO_ERROR, end.clone()), "unknown");
            }
        }
        let acked = StateChange { acked: true, ..change(LastAck, NO_ERROR, None) };
        assert_eq!(said(super::end(&symbols(), &acked, clock)), "closed");
        // Of a kernel that has tcp_validate_incoming inlined, an RST and data after close() look alike.
        let lacking = Symbols::pick([(100, "tcp_rcv_state_process"), (200, "tcp_done"), (300, "end")]);
        let end = EndSite { stack: vec![250, 150], about: Some(ORPHAN), ..EndSite::default() };
        assert_eq!(said(super::end(&lacking, &change(FinWait2, Errno::ECONNRESET, Some(end)), clock)), "unknown");
        // Recordings up to version 5 have stacks, and do not say what the socket was like.
        let old = |stack| Some(EndSite { about: None, full: Some(true), ..site(stack, ABOUT) });
        for (stack, expected) in
            [("tcp_done __tcp_close", "overflow"), ("tcp_rcv_state_process", "overflow"), ("__tcp_close", "unknown")]
        {
            assert_eq!(told(FinWait2, NO_ERROR, old(stack)), expected, "{stack}");
        }
    }
}
