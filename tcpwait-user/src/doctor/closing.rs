//! Connections that do not come to their end: processes that do not close, peers that do not, orphans and what they cost.

use super::{
    facts::Namespace,
    finding::{
        Evidence, Finding,
        Severity::{Note, Now},
    },
    listen::{process, queue},
    sockets::{Keeper, Listener, Unclosed},
};

const FIN_TIMEOUT: &str = "net.ipv4.tcp_fin_timeout";
const MAX_TW: &str = "net.ipv4.tcp_max_tw_buckets";
const MAX_ORPHANS: &str = "net.ipv4.tcp_max_orphans";

const ORPHAN_RETRIES: &str = "net.ipv4.tcp_orphan_retries";

const OUT_OF_MEMORY: &str = "TcpExtTCPAbortOnMemory";

/// So many sockets of one process in CLOSE_WAIT, all the time, are a pile.
const PILE: u64 = 10;
/// A shorter time between the readings says nothing of what stays.
const ALL_THE_TIME_NS: u64 = 1_000_000_000;
/// So many orphans that have been in FIN_WAIT2 for some seconds are many on any machine: a peer that closes does so within a round trip.
const MANY_ORPHANS: u64 = 100;
/// So many connections whose FIN is sent again and again are no accident.
const MANY_FINS: u64 = 10;
/// So many are many where they fill a tenth of what is allowed.
const SOME_ORPHANS: u64 = 10;

/// The peer has closed, and the process has not.
pub fn close_wait(ns: &Namespace) -> Option<Finding> {
    let sockets = ns.sockets.as_ref().filter(|_| ns.window_ns >= ALL_THE_TIME_NS)?;
    let worst = sockets.unclosed.first().filter(|unclosed| unclosed.stuck >= PILE)?;
    let who = match &worst.keeper {
        Keeper::Process(Some(owner)) => process(Some(owner)),
        Keeper::Process(None) => "a process that may not be seen from here".to_owned(),
        Keeper::Queue(_) => return Some(not_accepted(worst, worst.listener.as_ref()?)),
        Keeper::Nobody => "nobody that /proc shows (Multipath TCP, or the kernel itself)".to_owned(),
    };
    let how = match worst.unread {
        0 => "it has read the end of them all, and does not close them",
        unread if unread == worst.stuck => "it has not even read their end",
        _ => "some it has read to the end, some not",
    };
    let what = format!(
        "{who} holds connections that their peers have closed (CLOSE_WAIT), and {how}. They stay until it closes them or ends; no setting \
         of the kernel ends CLOSE_WAIT"
    );
    let finding = Finding::new("close-wait-pile", Now, what)
        .known_by([
            Evidence::gauge(format!("sockets of {who} in CLOSE_WAIT all the time"), worst.stuck),
            Evidence::gauge("of these with something unread (Recv-Q)", worst.unread),
            Evidence::gauge("in CLOSE_WAIT in all", sockets.close_wait),
        ])
        .change(
            format!("have {who} close them: look for a path, often one for errors, that forgets to"),
            "none; until then a restart of it ends them, with what it has not sent yet",
        );
    Some(finding.in_vain("tcp_keepalive: the peer's kernel may still answer; tcp_fin_timeout: it is about FIN_WAIT2"))
}

/// The peers have closed, and the process has not even accepted.
fn not_accepted(unclosed: &Unclosed, listener: &Listener) -> Finding {
    let who = process(listener.owner.as_ref());
    let at = std::net::SocketAddr::from(listener.local);
    let what = format!(
        "{who} does not accept(): connections wait in the accept queue of {at}, and their peers have closed them meanwhile (CLOSE_WAIT). They \
         stay until they are accepted and closed, or the listener is"
    );
    Finding::new("close-wait-pile", Now, what)
        .known_by([Evidence::gauge(format!("in CLOSE_WAIT and not accepted all the time, on {at}"), unclosed.stuck)])
        .known_by(queue(listener))
        .change(
            format!("see why {who} does not come to accept(): what it is busy with or waits for"),
            "none; until then a restart of it resets them, with what their clients had sent",
        )
        .in_vain("tcp_keepalive: the peer's kernel may still answer; tcp_fin_timeout: it is about FIN_WAIT2")
}

/// The process has closed, and the peers have not.
pub fn fin_wait2(ns: &Namespace) -> Option<Finding> {
    let (orphaned, stale) = (ns.sockets.as_ref()?.orphaned_fin_wait2, ns.sockets.as_ref()?.stale_fin_wait2);
    let max = ns.settings.number(MAX_TW).and_then(|max| u64::try_from(max).ok());
    let share = max.is_some_and(|max| orphaned >= SOME_ORPHANS && orphaned * 10 >= max);
    if stale < MANY_ORPHANS && !share {
        return None;
    }
    let what = "many connections wait for the peer's FIN (FIN_WAIT2) and nobody here holds them any more: the peers do not close. They \
        count as TIME_WAITs do for tcp_max_tw_buckets";
    let finding = Finding::new("fin-wait2-orphans", Now, what)
        .known_by([
            Evidence::gauge("sockets in FIN_WAIT2 that nobody holds", orphaned),
            Evidence::gauge("of these for some seconds already", stale),
        ])
        .known_by(ns.minis().map(|minis| Evidence::gauge(super::MINIS, minis)))
        .known_by(ns.set(&[FIN_TIMEOUT, MAX_TW]));
    let seconds = ns.settings.number(FIN_TIMEOUT).unwrap_or(60);
    Some(finding.change("have the peers close when this side has closed", "none").change_if(
        seconds > 15,
        format!("lower {FIN_TIMEOUT} from {seconds}: this is the one state that it shortens"),
        "a peer that is slow to close gets an RST for its FIN or its data",
    ))
}

/// `tcp_retransmit_timer` in FIN_WAIT1, CLOSING or LAST_ACK.
pub fn unacknowledged(ns: &Namespace) -> Option<Finding> {
    const SENT_AGAIN: &str = "TcpRetransSegs";
    let all = ns.sockets.as_ref()?.unacknowledged;
    let again = all.total() >= MANY_FINS;
    // That they were there at both readings says nothing unless some time lies between.
    if ns.window_ns < ALL_THE_TIME_NS || !(again || all.unsent >= MANY_FINS) {
        return None;
    }
    let what = if again {
        "connections that were closed here do not end: the peers do not acknowledge the FIN, which is sent again and again. A firewall or NAT \
         between drops it, or the answer, or has forgotten the connection; or the peers are gone"
    } else {
        "connections that were closed here do not end: their FIN does not leave. A firewall on this machine drops it, or the peers' windows are \
         closed, since they do not read"
    };
    let retries = match ns.settings.number(ORPHAN_RETRIES) {
        // tcp_orphan_retries
        Some(0) | None => 8,
        Some(retries) => retries,
    };
    let finding = Finding::new("fin-unacknowledged", Now, what)
        .known_by([
            Evidence::gauge("sockets in FIN_WAIT1 or CLOSING, at both readings and sending again", all.fin_wait1),
            Evidence::gauge("the same in LAST_ACK", all.last_ack),
            Evidence::gauge("of both with nothing under way but the FIN (Send-Q 1)", all.fin_only),
        ])
        .known_by((all.unsent > 0).then(|| Evidence::gauge("others that probe the window, with a FIN to send", all.unsent)))
        .known_by(ns.counted(&[SENT_AGAIN]))
        .known_by(ns.set(&[ORPHAN_RETRIES]))
        .change(
            "look at what drops segments with FIN between here and the peers: rules that drop what connection tracking calls invalid, a \
             load balancer or NAT that forgets idle connections sooner than they are closed",
            "none",
        )
        .change_if(
            retries > 3,
            format!("lower {ORPHAN_RETRIES}: the FIN of a connection that nobody holds is sent {retries} times, each time after twice the wait"),
            "a peer that is slow to answer loses the end of what was sent",
        );
    Some(finding.in_vain("tcp_fin_timeout: it is about FIN_WAIT2, which comes after the acknowledgement"))
}

/// `tcp_too_many_orphans`.
pub fn orphans(ns: &Namespace) -> Option<Finding> {
    let (orphans, max) = (ns.later.get(super::ORPHANS)?, u64::try_from(ns.settings.number(MAX_ORPHANS)?).ok()?);
    // A socket that retransmits counts twice or fourfold (tcp_out_of_resources).
    if orphans == 0 || orphans * 4 < max {
        return None;
    }
    let what = "many connections that no process holds any more still have something to send; from tcp_max_orphans on, and for slow \
        ones from a quarter of it on, they are reset";
    let finding = Finding::new("orphans-near-limit", Now, what)
        .known_by([Evidence::gauge(super::ORPHANS, orphans)])
        .known_by(ns.set(&[MAX_ORPHANS]))
        .known_by(ns.counted(&[OUT_OF_MEMORY]));
    Some(finding.change(
        format!("raise {MAX_ORPHANS}, or lower net.ipv4.tcp_orphan_retries, if the peers are gone"),
        "each orphan holds up to 64 KiB of memory; with fewer retries a peer that is slow to answer loses the end",
    ))
}

/// `tcp_check_oom`.
pub fn out_of_memory(ns: &Namespace) -> Option<Finding> {
    let severity = ns.when(&[OUT_OF_MEMORY])?;
    let verb = if severity == Now { "are" } else { "were" };
    let what = format!(
        "connections {verb} reset: more orphans than tcp_max_orphans, or more memory for TCP than tcp_mem allows (dmesg says which: \"too \
         many orphaned sockets\", \"out of memory\")"
    );
    let finding = Finding::new("reset-for-memory", severity, what)
        .known_by(ns.counted(&[OUT_OF_MEMORY]))
        .known_by(ns.later.get(super::ORPHANS).map(|orphans| Evidence::gauge(super::ORPHANS, orphans)))
        .known_by(ns.set(&[MAX_ORPHANS, "net.ipv4.tcp_mem"]));
    Some(finding.change(
        "raise the one that dmesg names",
        "memory: up to 64 KiB for each orphan; tcp_mem is in pages and of all sockets",
    ))
}

/// `tcp_write_err`, which gives up connect() as well as what was connected: AttemptFails counts the former too, together with those refused.
pub fn timeouts(ns: &Namespace) -> Option<Finding> {
    const COUNTER: &str = "TcpExtTCPAbortOnTimeout";
    let given_up = ns.grown(COUNTER)?.saturating_sub(super::listen::failed_attempts(ns).unwrap_or(0));
    if given_up == 0 {
        return None;
    }
    let what = "connections are given up because the peer does not answer any more: it is gone, or a firewall or NAT between has \
        forgotten the connection (idle longer than it remembers)";
    Some(Finding::new("given-up", Note, what).known_by(ns.counted(&[COUNTER, "TcpAttemptFails", "TcpEstabResets"])))
}
