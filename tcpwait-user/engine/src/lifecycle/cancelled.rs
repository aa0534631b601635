//! Why a mini-socket's timer was cancelled, from the kernel stack of the cancellation: the innermost decisive function says it.
//! The table is kernel.md's facts in code (`net/ipv4/inet_timewait_sock.c` and the callers of `inet_twsk_deschedule_put`, 5.15 to 7.3).

use super::reason::Reason;
use crate::{
    event::{AcceptQueue, CancelSite, RequestSocket},
    symbols::Symbols,
    tcp::State,
};

/// What a cancellation turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelVerdict {
    /// The timer is only being set anew, or moved off a CPU that goes away.
    Rearm,
    /// The timer runs out; the expiry itself follows.
    Expiry,
    /// An early death.
    Death(Reason),
    /// The stack does not say.
    Silent,
}

/// What the cancellation of a connection in SYN_RECV's timer turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestVerdict {
    /// The timer is only being set anew: the SYN came again.
    Rearm,
    /// The timer runs out; the expiry itself follows.
    Expiry,
    /// The connection was made.
    Made,
    /// It came to nothing.
    Death(Reason),
    /// Nothing says.
    Silent,
}

/// Reads a stack, innermost frame first. `substate` is the mini-socket's: data, a FIN or a SYN kills an orphan's
/// FIN_WAIT2 and is answered with an RST (`TCP_TW_RST`), while in TIME_WAIT only an acceptable SYN does (`TCP_TW_SYN`).
pub fn verdict(symbols: &Symbols, substate: State, site: &CancelSite) -> CancelVerdict {
    for function in site.stack.iter().filter_map(|address| symbols.name(*address)) {
        return match function {
            "__mod_timer" | "mod_timer_pending" | "migrate_timer_list" | "timers_dead_cpu" => CancelVerdict::Rearm,
            "expire_timers" | "__run_timers" | "run_timer_softirq" | "timer_expire_remote" => CancelVerdict::Expiry,
            "__inet_check_established"
            | "__inet6_check_established"
            | "__inet_hash_connect"
            | "inet_hash_connect"
            | "inet6_hash_connect" => CancelVerdict::Death(Reason::ReusedByConnect),
            "tcp_timewait_state_process" => CancelVerdict::Death(Reason::Reset),
            "tcp_v4_rcv" | "tcp_v6_rcv" if substate == State::FinWait2 => CancelVerdict::Death(Reason::ResetSent),
            "tcp_v4_rcv" | "tcp_v6_rcv" | "nf_tproxy_handle_time_wait4" | "nf_tproxy_handle_time_wait6" => {
                CancelVerdict::Death(Reason::ReusedBySyn)
            }
            "tcp_abort" | "tcp_diag_destroy" | "bpf_sock_destroy" => CancelVerdict::Death(Reason::Destroyed),
            "inet_twsk_purge" | "tcp_twsk_purge" | "tcp_sk_exit_batch" => CancelVerdict::Death(Reason::Netns),
            _ => continue,
        };
    }
    match site {
        // Only __inet_check_established takes a mini-socket out of the hash before it stops its timer.
        CancelSite { unhashed: true, .. } => CancelVerdict::Death(Reason::ReusedByConnect),
        // Nobody is left to send a segment or to destroy a socket in there.
        CancelSite { netns_gone: true, .. } => CancelVerdict::Death(Reason::Netns),
        _ => CancelVerdict::Silent,
    }
}

/// Reads the stack of a connection in SYN_RECV's cancelled timer (the callers of `inet_csk_reqsk_queue_drop`, 5.15 to 7.3). Where the
/// listener listens no more, the packet that came was for nobody. Where its queue is full and `tcp_abort_on_overflow` is set, `tcp_check_req`
/// resets what the client has completed; SYNs are dropped then, so what a client resets meanwhile are few.
pub fn request_verdict(symbols: &Symbols, reqsk: &RequestSocket, site: &CancelSite) -> RequestVerdict {
    for function in site.stack.iter().filter_map(|address| symbols.name(*address)) {
        return match function {
            "__mod_timer" | "mod_timer_pending" | "migrate_timer_list" | "timers_dead_cpu" => RequestVerdict::Rearm,
            "expire_timers" | "__run_timers" | "run_timer_softirq" | "timer_expire_remote" => RequestVerdict::Expiry,
            "inet_csk_complete_hashdance" => RequestVerdict::Made,
            "tcp_check_req" if reqsk.queue == Some(AcceptQueue::FullAndResets) => {
                RequestVerdict::Death(Reason::AcceptQueueFull)
            }
            "tcp_check_req" => RequestVerdict::Death(Reason::Reset),
            "tcp_req_err" => RequestVerdict::Death(Reason::Unreachable),
            "tcp_abort" | "tcp_diag_destroy" | "bpf_sock_destroy" => RequestVerdict::Death(Reason::Destroyed),
            "inet_twsk_purge" | "tcp_twsk_purge" | "tcp_sk_exit_batch" => RequestVerdict::Death(Reason::Netns),
            "tcp_v4_rcv" | "tcp_v6_rcv" => RequestVerdict::Death(Reason::ListenerClosed),
            _ => continue,
        };
    }
    match site {
        CancelSite { netns_gone: true, .. } => RequestVerdict::Death(Reason::Netns),
        _ if !reqsk.listens => RequestVerdict::Death(Reason::ListenerClosed),
        CancelSite { on_task_stack: true, .. } => RequestVerdict::Death(Reason::Destroyed),
        _ => RequestVerdict::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::{CancelVerdict, verdict};
    use crate::{event::CancelSite, lifecycle::Reason, symbols::Symbols, tcp::State};

    /// A function a hundred bytes long for each name, so that `at(n)` returns into the n-th.
    fn symbols(names: &[&'static str]) -> Symbols {
        Symbols::pick((1..).zip(names.iter().copied().chain(["end"])).map(|(n, name)| (n * 100, name)))
    }

    #[test]
    fn the_innermost_decisive_function_decides() {
        let s = symbols(&["tcp_v4_rcv", "tcp_timewait_state_process", "__mod_timer"]);
        let (rcv, process, arm) = (1, 2, 3);
        let told = |calls: &[u64], substate| {
            let stack = calls.iter().map(|n| n * 100 + 50).collect();
            verdict(&s, substate, &CancelSite { stack, ..CancelSite::default() })
        };
        assert_eq!(told(&[arm, process, rcv], State::TimeWait), CancelVerdict::Rearm);
        assert_eq!(told(&[process, rcv], State::TimeWait), CancelVerdict::Death(Reason::Reset));
        assert_eq!(told(&[99, rcv], State::TimeWait), CancelVerdict::Death(Reason::ReusedBySyn));
        assert_eq!(told(&[rcv], State::FinWait2), CancelVerdict::Death(Reason::ResetSent));
        assert_eq!(told(&[99], State::TimeWait), CancelVerdict::Silent);
    }

    #[test]
    fn without_a_stack_the_site_decides() {
        let told = |site: CancelSite| verdict(&symbols(&[]), State::TimeWait, &site);
        let site = CancelSite::default();
        assert_eq!(
            told(CancelSite { unhashed: true, netns_gone: true, ..site.clone() }),
            CancelVerdict::Death(Reason::ReusedByConnect)
        );
        assert_eq!(told(CancelSite { netns_gone: true, ..site.clone() }), CancelVerdict::Death(Reason::Netns));
        assert_eq!(told(CancelSite { on_task_stack: true, ..site }), CancelVerdict::Silent);
    }
}
