//! Connections that do not come to their end: processes that do not close, and peers that do not.

use super::{
    facts::Namespace,
    finding::{
        Evidence, Finding,
        Severity::{self, Note, Now},
    },
    listen::{process, queue},
    socket::{Listener, Owner},
    unclosed::{Keeper, Unclosed},
};

const FIN_TIMEOUT: &str = "net.ipv4.tcp_fin_timeout";
const MAX_TW: &str = "net.ipv4.tcp_max_tw_buckets";

const ORPHAN_RETRIES: &str = "net.ipv4.tcp_orphan_retries";

const SENT_AGAIN: &str = "TcpRetransSegs";

/// How long connection tracking keeps a connection in CLOSE_WAIT, in seconds.
const CLOSE_WAIT_TRACKED: &str = "net.netfilter.nf_conntrack_tcp_timeout_close_wait";

const NS_PER_MS: u64 = 1_000_000;

/// So many sockets of one process in CLOSE_WAIT, all the time, are a pile.
const PILE: u64 = 10;
/// A shorter time between the readings says nothing of what stays.
const ALL_THE_TIME_NS: u64 = 1_000_000_000;
/// So many orphans that have been in FIN_WAIT2 for some seconds are many on any machine: a peer that closes does so within a round trip.
const MANY_ORPHANS: u64 = 100;
/// So many connections whose FIN is sent again and again are no accident.
const MANY_FINS: u64 = 10;
/// A CLOSE_WAIT that is as old as this, with nothing to send, is hardly at work: a client that has said all and waits for its answer gives up sooner.
const FOR_LONG_MS: u64 = 300_000;

/// `1 connection is`, `12 connections are`: how the sentences begin.
fn connections(count: u64) -> String {
    match count {
        1 => "1 connection".to_owned(),
        _ => format!("{count} connections"),
    }
}

fn are(count: u64) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

/// SO_KEEPALIVE's timer runs in CLOSE_WAIT too (`tcp_keepalive_timer`): a peer that has closed for good, and whose FIN_WAIT2 is over, answers the
/// probe with an RST. One that has only shut down its side acknowledges it.
const KEEPALIVE_IN_VAIN: &str = "tcp_keepalive_time: it has no effect on sockets without SO_KEEPALIVE. On those with it, a probe ends the \
    connections that the peer's kernel has forgotten, and the process still has the descriptors open";
const FIN_TIMEOUT_IN_VAIN: &str = "tcp_fin_timeout: only for FIN_WAIT2";

/// Of so many others that hold such sockets it is said, too.
const OTHERS: usize = 3;

const UNSEEN: &str = "a process that may not be seen from here";

/// So many are many where they fill a tenth of what is allowed.
const SOME_ORPHANS: u64 = 10;

/// The peer has closed, and the process has not: many of one process, or any for long.
pub fn close_wait(ns: &Namespace) -> Option<Finding> {
    let sockets = ns.sockets.as_ref().filter(|_| ns.window_ns >= ALL_THE_TIME_NS)?;
    let pile = sockets.unclosed.first().filter(|unclosed| unclosed.stuck >= PILE);
    let oldest = || sockets.unclosed.iter().max_by_key(|unclosed| unclosed.oldest_ms);
    let worst = pile.or_else(|| oldest().filter(|unclosed| unclosed.oldest_ms >= FOR_LONG_MS))?;
    let severity = if pile.is_some() { Now } else { Note };
    let who = match &worst.keeper {
        Keeper::Queue(_) => return Some(not_accepted(worst, worst.listener.as_ref()?, severity)),
        keeper => holder(keeper),
    };
    let how = match worst.unread {
        0 if worst.stuck == 1 => "it has read to the end and has not called close()",
        0 => "it has read the end of all of them and has not called close()",
        unread if unread == worst.stuck => "it has not read to the end, nor called close()",
        _ => "it has read some of them to the end, some not, and has not called close()",
    };
    let what = format!(
        "{} of {who} {} in CLOSE_WAIT: the peer has closed, {how}. CLOSE_WAIT has no timeout: it lasts until the process calls close() or \
         exits",
        connections(worst.stuck),
        are(worst.stuck)
    );
    let others = sockets.unclosed.iter().filter(|unclosed| unclosed.keeper != worst.keeper).take(OTHERS);
    let finding = Finding::new(close_wait_id(severity), severity, what)
        .known_by([
            Evidence::gauge(format!("sockets of {who} in CLOSE_WAIT at both readings"), worst.stuck),
            Evidence::gauge("of these with unread data (Recv-Q)", worst.unread),
            Evidence::age("the oldest of them in CLOSE_WAIT", worst.oldest_ms),
        ])
        .known_by(others.flat_map(|unclosed| {
            let who = holder(&unclosed.keeper);
            [
                Evidence::gauge(format!("the same of {who}"), unclosed.stuck),
                Evidence::age(format!("the oldest of {who}"), unclosed.oldest_ms),
            ]
        }))
        .known_by([Evidence::gauge("all sockets in CLOSE_WAIT", sockets.close_wait)])
        .change(
            format!("have {who} call close(): look for a code path (often error handling) that does not"),
            "none; a restart ends them meanwhile, and loses unsent data",
        );
    Some(finding.in_vain(KEEPALIVE_IN_VAIN).in_vain(FIN_TIMEOUT_IN_VAIN))
}

fn close_wait_id(severity: Severity) -> &'static str {
    if severity == Now { "close-wait-pile" } else { "close-wait-old" }
}

fn holder(keeper: &Keeper) -> String {
    match keeper {
        Keeper::Process(Some(owner)) => process(Some(owner)),
        Keeper::Process(None) => UNSEEN.to_owned(),
        Keeper::Queue(at) => format!("the accept queue of {}", std::net::SocketAddr::from(*at)),
        Keeper::Nobody => "a process that /proc does not show (Multipath TCP, or the kernel itself)".to_owned(),
    }
}

/// The peers have closed, and the process has not even accepted.
fn not_accepted(unclosed: &Unclosed, listener: &Listener, severity: Severity) -> Finding {
    let who = process(listener.owner.as_ref());
    let at = std::net::SocketAddr::from(listener.local);
    let what = format!(
        "{who} does not accept(): {} in the accept queue of {at} {} in CLOSE_WAIT, as the peer has closed meanwhile. CLOSE_WAIT has no \
         timeout: it lasts until the process accepts and closes the connection, or closes the listener",
        connections(unclosed.stuck),
        are(unclosed.stuck)
    );
    Finding::new(close_wait_id(severity), severity, what)
        .known_by([
            Evidence::gauge(format!("in CLOSE_WAIT and not accepted at both readings, on {at}"), unclosed.stuck),
            Evidence::age("the oldest of them in CLOSE_WAIT", unclosed.oldest_ms),
        ])
        .known_by(queue(listener))
        .change(
            format!("see why {who} does not call accept(): what it is busy with or waits for"),
            "none; a restart resets them meanwhile, and loses what the clients have sent",
        )
        .in_vain(FIN_TIMEOUT_IN_VAIN)
}

/// The process has closed, and the peers have not.
pub fn fin_wait2(ns: &Namespace) -> Option<Finding> {
    let (orphaned, stale) = (ns.sockets.as_ref()?.orphaned_fin_wait2, ns.sockets.as_ref()?.stale_fin_wait2);
    let max = ns.settings.number(MAX_TW).and_then(|max| u64::try_from(max).ok());
    let share = max.is_some_and(|max| orphaned >= SOME_ORPHANS && orphaned * 10 >= max);
    if stale < MANY_ORPHANS && !share {
        return None;
    }
    let what = format!(
        "{} without a process {} in FIN_WAIT2 (orphans): this side has closed, the peers have not. Each counts towards \
         tcp_max_tw_buckets, as a TIME_WAIT does",
        connections(orphaned),
        are(orphaned)
    );
    let finding = Finding::new("fin-wait2-orphans", Now, what)
        .known_by([
            Evidence::gauge("orphans in FIN_WAIT2", orphaned),
            Evidence::gauge("of these for some seconds already", stale),
        ])
        .known_by(ns.minis().map(|minis| Evidence::gauge(super::MINIS, minis)))
        .known_by(ns.set(&[FIN_TIMEOUT, MAX_TW]));
    let seconds = ns.settings.number(FIN_TIMEOUT).unwrap_or(60);
    Some(finding.change("have the peers close when this side has closed", "none").change_if(
        seconds > 15,
        format!("lower {FIN_TIMEOUT} from {seconds}: it shortens this state only"),
        "a peer that is slow to close gets an RST for its FIN or its data",
    ))
}

/// The process has shut its side down and holds the connection, and the peer does not close. No timer runs (`tcp_rcv_state_process`, FIN_WAIT1:
/// one is set only where `SOCK_DEAD` is), but for SO_KEEPALIVE's, which ends it only where the peer's kernel does not answer (`tcp_keepalive_timer`).
pub fn fin_wait2_held(ns: &Namespace) -> Option<Finding> {
    let sockets = ns.sockets.as_ref().filter(|_| ns.window_ns >= ALL_THE_TIME_NS)?;
    let pile = sockets.half_closed.first().filter(|held| held.stuck >= PILE);
    let oldest = || sockets.half_closed.iter().max_by_key(|held| held.oldest_ms);
    let worst = pile.or_else(|| oldest().filter(|held| held.oldest_ms >= FOR_LONG_MS))?;
    let severity = if pile.is_some() { Now } else { Note };
    let name = |owner: &Option<Owner>| owner.as_ref().map_or(UNSEEN.to_owned(), |owner| process(Some(owner)));
    let who = name(&worst.owner);
    let what = format!(
        "{} of {who} {} in FIN_WAIT2: it has called shutdown() and not close(), and the peer neither sends nor closes. FIN_WAIT2 has no \
         timeout while a process has the socket open: it lasts until the peer closes, or {who} does",
        connections(worst.stuck),
        are(worst.stuck)
    );
    let others = sockets.half_closed.iter().filter(|held| held.owner != worst.owner).take(OTHERS);
    let finding = Finding::new("fin-wait2-held", severity, what)
        .known_by([
            Evidence::gauge(format!("sockets of {who} in FIN_WAIT2 at both readings, on which nothing came"), worst.stuck),
            Evidence::gauge("of these with unread data (Recv-Q)", worst.unread),
            Evidence::gauge("of these with SO_KEEPALIVE", worst.keepalive),
            Evidence::age("the oldest of them in FIN_WAIT2", worst.oldest_ms),
        ])
        .known_by(others.map(|held| Evidence::gauge(format!("the same of {}", name(&held.owner)), held.stuck)))
        .known_by(ns.set(&[FIN_TIMEOUT]))
        .change(
            format!(
                "have {who} close() such connections, after a timeout of its own if it waits for an answer: {FIN_TIMEOUT} runs from close() \
                 on"
            ),
            "a peer whose answer takes longer gets an RST for it",
        )
        .change_if(
            worst.keepalive < worst.stuck,
            "set SO_KEEPALIVE on them: it ends those whose peer is gone",
            "a segment now and then; it ends no connection whose peer is alive",
        );
    Some(finding.in_vain(format!("{FIN_TIMEOUT}, TCP_LINGER2: they only apply after close()")))
}

/// The peers' windows are closed (`tcp_probe_timer`).
pub fn zero_window(ns: &Namespace) -> Option<Finding> {
    let blocked = &ns.sockets.as_ref().filter(|_| ns.window_ns >= ALL_THE_TIME_NS)?.blocked;
    if blocked.total() < MANY_FINS {
        return None;
    }
    let answer = match blocked.answered {
        0 => "The peers' kernels do not answer: the peers may be gone",
        all if all == blocked.total() => "Their kernels answer, so the programs there do not read",
        _ => "The kernels of some answer, so the programs there do not read; those of others do not answer",
    };
    let what = format!(
        "{} closed here do not end (FIN_WAIT1 or LAST_ACK with a probe timer): the peers' receive window is 0, so the rest of the data and \
         the FIN cannot be sent. {answer}",
        connections(blocked.total())
    );
    let finding = Finding::new("fin-behind-zero-window", Now, what)
        .known_by([
            Evidence::gauge(
                "sockets in FIN_WAIT1 or CLOSING against a window of 0, at both readings",
                blocked.fin_wait1,
            ),
            Evidence::gauge("the same in LAST_ACK", blocked.last_ack),
            Evidence::gauge("of both, those whose peer answers the probes", blocked.answered),
            Evidence::gauge("of both, those that a process has open", blocked.held),
            Evidence::gauge("bytes that they have to send (Send-Q)", blocked.bytes),
        ])
        .known_by(blocked.towards.map(|(peer, count)| Evidence::gauge(format!("of them towards {peer}"), count)))
        .known_by([Evidence::age("each of them closed here", ns.window_ns / NS_PER_MS)])
        .known_by(ns.later.get(super::ORPHANS).map(|orphans| Evidence::gauge(super::ORPHANS, orphans)))
        .change("look at the programs of the peers: they do not read", "none")
        .change(
            "set TCP_USER_TIMEOUT on such sockets before they are closed: it limits how long the window may stay 0",
            "a peer that pauses for longer loses the rest",
        );
    Some(
        finding
            .in_vain(format!(
                "{ORPHAN_RETRIES}: it counts unanswered probes. Orphans end when the time between two probes has grown to 120 s, some minutes \
                 after close(); connections that a process has open never end while the peer answers"
            ))
            .in_vain("tcp_fin_timeout: only for FIN_WAIT2, which comes after the ACK"),
    )
}

/// The peer has closed, this side has, and the peer does not acknowledge that (`tcp_retransmit_timer` in LAST_ACK).
pub fn last_ack(ns: &Namespace) -> Option<Finding> {
    let sockets = ns.sockets.as_ref().filter(|_| ns.window_ns >= ALL_THE_TIME_NS)?;
    let all = sockets.unacknowledged;
    if all.last_ack < MANY_FINS {
        return None;
    }
    let what = format!(
        "{} do not end (LAST_ACK): the peer closed first, this side retransmits its FIN, and nothing answers. Either a firewall or NAT, here \
         or in between, drops the FIN; or it forgot the connection before this side closed (conntrack keeps CLOSE_WAIT for 60 s); or the peers \
         are gone",
        connections(all.last_ack)
    );
    let finding = Finding::new("last-ack-unanswered", Now, what)
        .known_by([
            Evidence::gauge("sockets in LAST_ACK, retransmitting at both readings", all.last_ack),
            Evidence::gauge("in CLOSE_WAIT, which becomes LAST_ACK", sockets.close_wait),
            Evidence::age("each of them in LAST_ACK", ns.window_ns / NS_PER_MS),
        ])
        .known_by(ns.counted(&[SENT_AGAIN]))
        .known_by(ns.set(&[ORPHAN_RETRIES, CLOSE_WAIT_TRACKED]))
        .change("have the process close sooner after it has read to the end", "none")
        .change(
            format!("raise {CLOSE_WAIT_TRACKED} on the firewall or NAT that tracks the connections"),
            "entries of ended connections stay longer",
        );
    Some(fewer_retries(finding, orphan_retries(ns)).in_vain("tcp_fin_timeout: only for FIN_WAIT2"))
}

const ORPHAN_RETRIES_OF_0: i64 = 8;

/// `tcp_orphan_retries`: 0 is 8.
fn orphan_retries(ns: &Namespace) -> i64 {
    ns.settings.number(ORPHAN_RETRIES).filter(|retries| *retries > 0).unwrap_or(ORPHAN_RETRIES_OF_0)
}

fn fewer_retries(finding: Finding, retries: i64) -> Finding {
    finding.change_if(
        retries > 3,
        format!(
            "set {ORPHAN_RETRIES} to e.g. 3{}: the FIN of an orphan is now sent {retries} times, each after twice the time",
            if retries == ORPHAN_RETRIES_OF_0 { " (0 stands for 8)" } else { "" }
        ),
        "a peer that is slow to answer loses the end of what was sent",
    )
}

/// `tcp_retransmit_timer` in FIN_WAIT1, CLOSING or LAST_ACK.
pub fn unacknowledged(ns: &Namespace) -> Option<Finding> {
    let all = ns.sockets.as_ref()?.unacknowledged;
    // Many in LAST_ACK are a finding of their own.
    let last_ack = if all.last_ack < MANY_FINS { all.last_ack } else { 0 };
    let again = all.fin_wait1 + last_ack >= MANY_FINS;
    // That they were there at both readings says nothing unless some time lies between.
    if ns.window_ns < ALL_THE_TIME_NS || !(again || all.unsent >= MANY_FINS) {
        return None;
    }
    let data = (all.fin_wait1 + last_ack).saturating_sub(all.fin_only);
    let (count, why) = if again && data > 0 && all.fin_only > 0 {
        (
            all.fin_wait1 + last_ack,
            "this side retransmits, and the peers do not acknowledge it (of some its FIN only, of others data before it: see below). A firewall or NAT in between \
             drops it, or has dropped the connection; or the peers are gone. Where it is data, their kernels may have no room or no memory for it, too",
        )
    } else if again && data > 0 {
        // What the peer's kernel has no room or no memory for it drops, and acknowledges nothing (`tcp_data_queue`, `tcp_rcv_established`).
        (
            all.fin_wait1 + last_ack,
            "this side retransmits data that comes before its FIN, and the peers do not acknowledge it. A firewall or NAT in between drops it, or \
             has dropped the connection; the peers are gone; or their kernels have no room or no memory for it",
        )
    } else if again {
        (
            all.fin_wait1 + last_ack,
            "this side retransmits its FIN, and the peers do not acknowledge it. A firewall or NAT in between drops the FIN or its ACK, or \
             has dropped the connection; or the peers are gone",
        )
    } else {
        (
            all.unsent,
            "the FIN does not leave. A firewall on this machine drops it, or the peers' receive windows are too small",
        )
    };
    let what = format!("{} closed here do not end: {why}", connections(count));
    let finding = Finding::new("fin-unacknowledged", Now, what)
        .known_by([
            Evidence::gauge("sockets in FIN_WAIT1 or CLOSING, retransmitting at both readings", all.fin_wait1),
            Evidence::gauge("the same in LAST_ACK", all.last_ack),
            Evidence::gauge("of both with only the FIN unacknowledged (Send-Q 1)", all.fin_only),
        ])
        .known_by((all.unsent > 0).then(|| Evidence::gauge("others that probe the window, with a FIN to send", all.unsent)))
        .known_by(ns.counted(&[SENT_AGAIN]))
        .known_by(ns.set(&[ORPHAN_RETRIES]))
        .change(
            "find what drops segments with FIN on the way to the peers: firewall rules that drop invalid packets (conntrack), a load \
             balancer or NAT that drops idle connections before they are closed",
            "none",
        );
    let finding = fewer_retries(finding, orphan_retries(ns));
    Some(finding.in_vain("tcp_fin_timeout: only for FIN_WAIT2, which comes after the ACK"))
}
