//! The words of a comparison, which text and page share.

use crate::{
    aggregate::group_row::Closer,
    diff::{
        comparable::{NotTold, SideFacts, Unlike, Which},
        compare::DiffReport,
        durations::Quantile,
        interval::{CONFIDENCE, Ratio},
        quantity::Quantity,
        row::{ChangeKind, CountRow},
        verdict::{DiffVerdict, NotSaid},
    },
    lifecycle::{Detail, Reason},
    plain,
    tcp::State,
    view::units::{count, counted, duration, rate},
};

/// What stands above the rows of a kind.
pub fn heading(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::NewFailure => "NEW FAILURES",
        ChangeKind::Worse => "WORSE",
        ChangeKind::Better => "BETTER",
        ChangeKind::New => "NEW",
        ChangeKind::Gone => "GONE",
        ChangeKind::Changed => "CHANGED",
    }
}

/// Every kind, in the order in which they are told.
pub const KINDS: [ChangeKind; 6] = [
    ChangeKind::NewFailure,
    ChangeKind::Worse,
    ChangeKind::Better,
    ChangeKind::New,
    ChangeKind::Gone,
    ChangeKind::Changed,
];

/// `+20%`, `-99.3%`, `x12`.
pub fn change(ratio: f64) -> String {
    let percent = (ratio - 1.0) * 100.0;
    match ratio {
        ratio if ratio >= 10.0 => format!("x{}", count(ratio.round() as u64)),
        // Cut, not rounded: what is left is not nothing.
        ratio if ratio < 0.1 => format!("{:.1}%", (percent * 10.0).trunc() / 10.0),
        _ if percent.abs() < 0.5 => "0%".to_owned(),
        _ => format!("{percent:+.0}%"),
    }
}

/// The change, or that it is new or gone, or `-`.
pub fn changed(verdict: DiffVerdict, ratio: Option<f64>) -> String {
    match (verdict, ratio) {
        (DiffVerdict::New, _) => "new".to_owned(),
        (DiffVerdict::Gone, _) => "gone".to_owned(),
        (DiffVerdict::Unknown(_), Some(ratio)) => format!("{}?", change(ratio)),
        (DiffVerdict::Unknown(_), None) => "?".to_owned(),
        (_, Some(ratio)) => change(ratio),
        (_, None) => "-".to_owned(),
    }
}

/// `+15% to +25%`.
pub fn interval(ratio: Option<Ratio>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{} to {}", change(ratio.low), change(ratio.high)))
}

/// A number of sockets, which need not be whole.
pub fn mean(mean: Option<f64>) -> String {
    rate(mean)
}

/// `1.20ms (1.10ms to 1.31ms)`.
pub fn quantile(quantile: Option<Quantile>) -> String {
    let Some(quantile) = quantile else { return "-".to_owned() };
    let bound = |ns: Option<u64>| ns.map_or_else(|| "?".to_owned(), |ns| duration(Some(ns)));
    format!("{} ({} to {})", duration(Some(quantile.ns)), bound(quantile.low_ns), bound(quantile.high_ns))
}

/// `17.5us to 19.8us, then 23.6us to 25.7us`: of a time before, and after.
pub fn interval_of_both(before: Option<Quantile>, after: Option<Quantile>) -> String {
    let one = |of: Option<Quantile>| {
        let (low_ns, high_ns) = of?.low_ns.zip(of?.high_ns)?;
        Some(format!("{} to {}", duration(Some(low_ns)), duration(Some(high_ns))))
    };
    one(before).zip(one(after)).map_or_else(|| "-".to_owned(), |(before, after)| format!("{before}, then {after}"))
}

/// What is counted.
pub fn quantity(quantity: Quantity) -> String {
    let detailed = |reason: Reason, detail: Option<Detail>| match detail {
        Some(detail) => format!("{} ({})", reason.name(), detail.name()),
        None => reason.name().to_owned(),
    };
    match quantity {
        Quantity::Connected => "connections made by this side".to_owned(),
        Quantity::Accepted => "connections accepted".to_owned(),
        Quantity::Ended => "connections ended".to_owned(),
        Quantity::ClosedFirst(Closer::ThisSide) => "this side closed first".to_owned(),
        Quantity::ClosedFirst(Closer::Peer) => "the peer closed first".to_owned(),
        Quantity::ClosedFirst(Closer::Both) => "both sides closed at once".to_owned(),
        Quantity::ClosedFirst(Closer::Neither) => "neither side closed".to_owned(),
        Quantity::TimeWaitEntered => format!("{} entered", State::TimeWait),
        Quantity::TimeWaitLeft => format!("{} ended", State::TimeWait),
        Quantity::TimeWaitLeftBy(reason) => format!("{} ended: {}", State::TimeWait, reason.name()),
        Quantity::Restarted(cause) => format!("{} restarted: {}", State::TimeWait, cause.name()),
        Quantity::EndedBy(reason, detail) => format!("ended: {}", detailed(reason, detail)),
        Quantity::SynRecvEndedBy(reason) => format!("{} ended: {}", State::SynRecv, reason.name()),
        Quantity::SynSentAgain => "connects whose SYN was sent again".to_owned(),
        Quantity::Failed(call, why) => format!("{} failed: {}", call.name(), why.name()),
        Quantity::Step(from, to) => format!("{from} to {to}"),
    }
}

/// Whose it is, and what.
pub fn what(row: &CountRow) -> String {
    let words = quantity(row.quantity);
    row.subject.as_ref().map_or(words.clone(), |subject| format!("{}: {words}", plain::column(subject)))
}

/// Why it cannot be said.
pub fn unknown(why: NotSaid) -> &'static str {
    match why {
        NotSaid::Lost => "events were lost, and might be the difference",
        NotSaid::NotRecorded => "only one recording had the hook that tells of it",
        NotSaid::TooShort => "it is too little: a recording is too short, too unsteady, or has too few of it",
    }
}

/// The same in few words, for a number of rows.
pub fn unknown_short(why: NotSaid) -> &'static str {
    match why {
        NotSaid::Lost => "events were lost",
        NotSaid::NotRecorded => "hook missing",
        NotSaid::TooShort => "too little",
    }
}

/// How the two are not alike, a sentence each.
pub fn unlike(unlike: &Unlike) -> String {
    let name = |which: Which| match which {
        Which::Before => "BEFORE",
        Which::After => "AFTER",
        Which::Both => "Both",
    };
    let verb = |which: Which, one: &'static str, both: &'static str| if which == Which::Both { both } else { one };
    match unlike {
        Unlike::SameRecording => "BEFORE and AFTER are the same recording.".to_owned(),
        Unlike::Differ(what, before, after) => {
            let (before, after) = (plain::escaped(before), plain::escaped(after));
            format!("{what} is not the same: {before} before, {after} after. A difference may come from that.")
        }
        Unlike::NotTold(what, which) => format!(
            "{} had no hook for {}",
            name(*which),
            match what {
                NotTold::LateSegments => "late segments: restarts of TIME_WAIT are not compared.",
                NotTold::RefusedCalls => "calls that fail before anything is sent: they are not compared.",
                NotTold::WhoAccepts =>
                    "who accepts a connection: some owners may be unknown there, and groups smaller.",
            }
        ),
        Unlike::Lost(which, events) => format!(
            "{} lost {}: its counts are at least. A difference is told where it would be one with all of them.",
            name(*which),
            counted(*events, "event", "events")
        ),
        Unlike::Cut(which) => {
            format!("{} {} before the end: compared as far as it goes.", name(*which), verb(*which, "stops", "stop"))
        }
        Unlike::ShorterThanTimeWait(which) => format!(
            "{} {} shorter than 65 s: ends of TIME_WAIT are not compared, as they may be of connections from before.",
            name(*which),
            verb(*which, "is", "are")
        ),
        Unlike::MuchShorter(which) => {
            format!("{} is less than half as long as the other: intervals are wide.", name(*which))
        }
    }
}

/// Said where nothing is unlike.
pub const ALIKE: &str = "Comparable: same kernel, HZ, hooks and version of tcpwait; nothing was lost.";

/// How the load changed.
pub fn load(comparison: &DiffReport) -> String {
    let Some(row) = comparison.count(Quantity::Ended, None) else {
        return "No connection ended in either.".to_owned();
    };
    let rates =
        format!("{} connections ended a second before, {} after", rate(row.before.per_s), rate(row.after.per_s));
    let said = match row.verdict {
        DiffVerdict::Same => "the load is the same, as far as can be told".to_owned(),
        DiffVerdict::Up | DiffVerdict::Down | DiffVerdict::WithLoad => {
            format!("{} ({CONFIDENCE}% interval {})", changed(row.verdict, row.change()), interval(row.rate))
        }
        DiffVerdict::New => "none before".to_owned(),
        DiffVerdict::Gone => "none after".to_owned(),
        DiffVerdict::OneSided => "on one side only, and too little to be sure".to_owned(),
        DiffVerdict::Unknown(why) => format!("whether that is a difference cannot be said: {}", unknown(why)),
    };
    format!("{rates}: {said}.")
}

/// How TIME_WAIT changed, and whether only as the load did; how many there were.
pub fn time_wait(comparison: &DiffReport) -> Vec<String> {
    let mut sentences = Vec::new();
    if let Some(row) = comparison.count(Quantity::TimeWaitEntered, None) {
        let rates = format!(
            "{} {}s began a second before, {} after",
            rate(row.before.per_s),
            State::TimeWait,
            rate(row.after.per_s)
        );
        let changed = changed(row.verdict, row.change());
        let share = match (row.before.per_1000, row.after.per_1000) {
            (Some(before), Some(after)) => {
                format!(" ({} for 1,000 connections before, {} after)", rate(Some(before)), rate(Some(after)))
            }
            _ => String::new(),
        };
        sentences.push(match row.verdict {
            DiffVerdict::WithLoad => format!("{rates}: {changed}, as connections did{share}."),
            DiffVerdict::Same => format!("{rates}: the same, as far as can be told{share}."),
            DiffVerdict::OneSided => format!("{rates}: on one side only, and too little to be sure."),
            DiffVerdict::Unknown(why) => {
                format!("{rates}: whether that is a difference cannot be said: {}.", unknown(why))
            }
            _ => format!("{rates}: {changed}{share}."),
        });
    }
    if let Some(row) = comparison.gauges.iter().find(|row| row.state == State::TimeWait && row.subject.is_none()) {
        sentences.push(format!(
            "{} sockets were in {} at the end of BEFORE, {} at the end of AFTER.",
            count(row.before.at_the_end),
            State::TimeWait,
            count(row.after.at_the_end)
        ));
    }
    sentences
}

/// The one line on a recording.
pub fn origin(origin: &SideFacts, begins: &str) -> String {
    format!(
        "{}: {begins}, {}, kernel {} {}",
        plain::escaped(&origin.file),
        duration(Some(origin.window.length_ns())),
        plain::escaped(&origin.kernel),
        plain::escaped(&origin.machine)
    )
}
