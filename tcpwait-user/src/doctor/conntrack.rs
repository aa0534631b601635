//! Connection tracking: a table of its own, with clocks of its own, beside what TCP has.

use super::{
    facts::Namespace,
    finding::{
        Finding,
        Severity::{Before, Note, Now},
    },
};

const MAX: &str = "net.netfilter.nf_conntrack_max";
const COUNT: &str = "net.netfilter.nf_conntrack_count";
const TIME_WAIT: &str = "net.netfilter.nf_conntrack_tcp_timeout_time_wait";

const DROP: &str = "nf_conntrack drop";
const EARLY_DROP: &str = "nf_conntrack early_drop";
const INSERT_FAILED: &str = "nf_conntrack insert_failed";

/// A share of the table that is near all of it, in percent.
const NEAR: u64 = 80;

/// How many of how many entries are in use.
pub fn fill(ns: &Namespace) -> Option<(u64, u64)> {
    let number = |name| ns.settings.number(name).and_then(|number| u64::try_from(number).ok());
    // 0 is no limit (__nf_conntrack_alloc).
    number(COUNT).zip(number(MAX).filter(|max| *max > 0))
}

/// `__nf_conntrack_alloc` finds no room: `early_drop` counts what it threw out. `drop` counts that it found nothing to throw out, and clashes
/// and segments that make no sense as well: alone it does not tell.
pub fn full(ns: &Namespace) -> Option<Finding> {
    let near = fill(ns).is_some_and(|(count, max)| count * 100 >= max * NEAR);
    let severity = if near { Now } else { ns.when(&[EARLY_DROP])? };
    let what = match severity {
        Now if near && dropped(ns) > 0 => "the conntrack table is full: packets of new connections are dropped",
        Now if near => "the conntrack table is nearly full; once it is full, packets of new connections are dropped",
        Before => "the conntrack table was full, and tracked connections were dropped from it to make room",
        _ => "the conntrack table is full at times, and tracked connections are dropped from it to make room",
    };
    let finding = Finding::new("conntrack-full", severity, what)
        .known_by(ns.set(&[COUNT, MAX]))
        .known_by(ns.counted(&[DROP, EARLY_DROP]))
        .change(
            format!("raise {MAX}, in the initial namespace (and nf_conntrack_buckets with it)"),
            "about 400 bytes of kernel memory for each entry",
        )
        .change(
            "exclude packets that need no NAT and no state (notrack)",
            "rules that ask for the state of such packets do not match them",
        );
    Some(finding.in_vain("tcp_fin_timeout, tcp_max_tw_buckets and tcp_tw_reuse: the table does not depend on them"))
}

/// Drops that no clash explains: `nf_ct_resolve_clash` counts one as a drop, and `__nf_conntrack_confirm` as a failed insertion.
fn dropped(ns: &Namespace) -> u64 {
    ns.grown(DROP).unwrap_or(0).saturating_sub(ns.grown(INSERT_FAILED).unwrap_or(0))
}

fn packets(count: u64) -> String {
    match count {
        1 => "1 packet".to_owned(),
        _ => format!("{count} packets"),
    }
}

/// `nf_conntrack_in` drops, and the table has room.
pub fn drops(ns: &Namespace) -> Option<Finding> {
    if dropped(ns) == 0 || full(ns).is_some() {
        return None;
    }
    let what = format!(
        "conntrack dropped {} between the readings, and its table has room now. Possible causes: the table was full for a moment (dmesg says \
         \"table full\"), memory was short, or a packet was invalid for its connection",
        packets(dropped(ns))
    );
    Some(
        Finding::new("conntrack-drops", Note, what)
            .known_by(ns.counted(&[DROP, INSERT_FAILED]))
            .known_by(ns.set(&[COUNT, MAX])),
    )
}

/// `__nf_conntrack_confirm`, mostly a clash.
pub fn insert_failed(ns: &Namespace) -> Option<Finding> {
    let failed = ns.grown(INSERT_FAILED).filter(|failed| *failed > 0)?;
    let what = format!(
        "conntrack dropped {} between the readings: it could not insert the connection. Mostly another with the same addresses and ports was \
         inserted at the same time, e.g. as source NAT has too few ports",
        packets(failed)
    );
    Some(Finding::new("conntrack-clash", Note, what).known_by(ns.counted(&[INSERT_FAILED])))
}

/// The other clock.
pub fn time_wait_clock(ns: &Namespace) -> Option<Finding> {
    let seconds = ns.settings.number(TIME_WAIT)?;
    if seconds == 120 {
        return None;
    }
    let shorter = if seconds < 60 {
        "; shorter than TCP's 60 s, it makes late segments of closed connections look new or invalid"
    } else {
        ""
    };
    let what = format!(
        "conntrack's TIME_WAIT was changed from 120 s to {seconds} s: it is the lifetime of table entries, and does not change the \
         TIME_WAIT of sockets{shorter}"
    );
    Some(Finding::new("conntrack-time-wait", Note, what).known_by(ns.set(&[TIME_WAIT])))
}
