//! The words of a comparison, which text and page share.

use crate::{
    aggregate::group_row::Closer,
    diff::{
        comparable::{NotTold, SideFacts, Unlike, Which},
        compare::DiffReport,
        condition::{Field, Judged, JudgedSide},
        durations::Quantile,
        interval::{CONFIDENCE, Ratio},
        kernel_count::KernelCount,
        quantity::Quantity,
        row::{ChangeKind, CountRow},
        verdict::{DiffVerdict, LEAST_BURSTS, LEAST_EVENTS, NotSaid, SAME_WITHIN},
    },
    lifecycle::{Detail, Reason},
    plain,
    tcp::State,
    view::units::{at_least, count, counted, duration, rate},
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

/// What stands above rows of what is on one side only.
pub const ONE_SIDED: &str = "ON ONE SIDE ONLY, TOO LITTLE TO BE SURE";

/// Every reason for which a row is not judged.
pub const NOT_SAID: [NotSaid; 5] =
    [NotSaid::Lost, NotSaid::NotRecorded, NotSaid::TooShort, NotSaid::ForEach, NotSaid::StillThere];

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
    if quantile.is_at_least {
        return at_least(Some(quantile.ns));
    }
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
        Quantity::Unanswered => "connects unanswered for 1s".to_owned(),
        Quantity::Kernel(KernelCount::AcceptQueue) => "SYNs and ACKs dropped: accept queue full".to_owned(),
        Quantity::Kernel(KernelCount::SynQueue) => "SYNs dropped: SYN queue full, cookies off".to_owned(),
        Quantity::Kernel(KernelCount::OtherDrop) => "SYNs and ACKs dropped: for another reason".to_owned(),
        Quantity::Kernel(KernelCount::TimeWait) => format!("no room in {}", State::TimeWait),
        Quantity::Kernel(KernelCount::Cookies) => "SYN cookies sent".to_owned(),
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
        NotSaid::NoCounters => {
            "the kernel's own counters are not in both recordings, or are of more connections than are compared"
        }
        NotSaid::TooShort => "a recording is too short, too unsteady, or has too few of it",
        NotSaid::ForEach => "whether it is so for each connection: too few have it",
        NotSaid::StillThere => "too many are still in that state",
    }
}

/// The same in few words, for a number of rows.
pub fn unknown_short(why: NotSaid) -> &'static str {
    match why {
        NotSaid::Lost => "events were lost",
        NotSaid::NotRecorded | NotSaid::NoCounters => "hook missing",
        NotSaid::TooShort => "too little",
        NotSaid::ForEach => "for each connection",
        NotSaid::StillThere => "still in that state",
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
        Unlike::NotTold(NotTold::KernelCounts, which) => {
            format!(
                "{} has not two readings of the kernel's own counters: what the kernel dropped is not compared.",
                name(*which)
            )
        }
        Unlike::NotTold(what, which) => format!(
            "{} had no hook for {}",
            name(*which),
            match what {
                NotTold::LateSegments => "late segments: restarts of TIME_WAIT are not compared.",
                NotTold::RefusedCalls => "calls that fail before anything is sent: they are not compared.",
                NotTold::WhoAccepts =>
                    "who accepts a connection: some owners may be unknown there, and groups smaller.",
                NotTold::KernelCounts => "the kernel's counters.",
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
            "{} {} shorter than 65 s: ends of TIME_WAIT, and how many are in it, are not compared, as they may be of connections from before.",
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
        DiffVerdict::Same if comparison.is_of_one() => "the same".to_owned(),
        DiffVerdict::Same => {
            format!("the load is the same to within {} ({CONFIDENCE}% interval {})", within(), interval(row.rate))
        }
        DiffVerdict::Up | DiffVerdict::Down | DiffVerdict::WithLoad => {
            format!("{} ({CONFIDENCE}% interval {})", changed(row.verdict, row.change()), interval(row.rate))
        }
        DiffVerdict::New => "none before".to_owned(),
        DiffVerdict::Gone => "none after".to_owned(),
        DiffVerdict::OneSided => "on one side only, and too little to be sure".to_owned(),
        DiffVerdict::Unknown(why) => {
            format!("whether that is a difference cannot be said{}: {}", of_interval(row.rate), unknown(why))
        }
    };
    let both = match comparison.both_ends {
        [0, 0] => String::new(),
        [before, after] => {
            format!(
                " Both ends of a connection on this machine count: so {} before and {} after count twice.",
                counted(before, "connection", "connections"),
                count(after)
            )
        }
    };
    format!("{rates}: {said}.{both}")
}

/// ` (99% interval -50% to +10%)`, or nothing.
fn of_interval(ratio: Option<Ratio>) -> String {
    ratio.map_or_else(String::new, |ratio| format!(" ({CONFIDENCE}% interval {})", interval(Some(ratio))))
}

/// How far from each other two may be that are the same: `-20% to +25%`.
pub fn within() -> String {
    format!("{} to {}", change(1.0 / SAME_WITHIN), change(SAME_WITHIN))
}

/// Why it is not sure that what is on one side only is a difference.
pub fn one_sided(row: &CountRow) -> String {
    let bursts = row.bursts.iter().copied().max().unwrap_or_default();
    match row.before.count.max(row.after.count) {
        few if few < LEAST_EVENTS => "too few".to_owned(),
        _ if bursts <= 1 => "all at once".to_owned(),
        _ => format!("in {bursts} bursts"),
    }
}

/// What those words mean.
pub fn one_sided_means() -> String {
    format!(
        "Not sure: fewer than {LEAST_EVENTS}, or in fewer than {} parts of the time (of some 24; more where the other recording is shorter): one burst may be chance.",
        LEAST_BURSTS.ceil()
    )
}

/// What a condition is judged by: the whole name, and both numbers with their units.
pub fn judged(of: &Judged) -> String {
    let field = match of.field {
        Field::PerSecond => String::new(),
        Field::PerThousand => ".per_1000".to_owned(),
        Field::Count => ".count".to_owned(),
        Field::Mean => ".mean".to_owned(),
        Field::Most => ".max".to_owned(),
        Field::Percentile(percent) => format!(".p{percent}"),
    };
    let [before, after] = [of.before, of.after].map(|side| number(of.field, side));
    format!("{}{field} is {after}, and was {before}", plain::escaped(&of.name))
}

fn number(field: Field, side: JudgedSide) -> String {
    let Some(value) = side.value else { return "not known".to_owned() };
    let in_all = || side.count.map_or_else(String::new, |all| format!(" ({} in all)", count(all)));
    match field {
        Field::Percentile(_) if side.is_at_least => format!("at least {}", duration(Some(value as u64))),
        Field::Percentile(_) => duration(Some(value as u64)),
        Field::Count => count(value as u64),
        Field::Most => counted(value as u64, "socket", "sockets"),
        Field::Mean => format!("{} sockets", rate(Some(value))),
        Field::PerSecond => format!("{}/s{}", exact(value), in_all()),
        Field::PerThousand => format!("{} for 1,000{}", exact(value), in_all()),
    }
}

/// Three digits of what is small, as it is compared with a number.
fn exact(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value < 0.0005 => "<0.001".to_owned(),
        value if value < 9.95 => format!("{value:.3}"),
        value => count(value.round() as u64),
    }
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
            DiffVerdict::Same if comparison.is_of_one() => format!("{rates}: the same{share}."),
            DiffVerdict::Same => format!("{rates}: the same to within {}{share}.", within()),
            DiffVerdict::OneSided => format!("{rates}: on one side only, and too little to be sure."),
            DiffVerdict::Unknown(NotSaid::ForEach) => {
                let change = row.change().map(change).unwrap_or_default();
                format!(
                    "{rates}: {change}{}; whether there are fewer or more for each connection cannot be said{share}.",
                    of_interval(row.rate)
                )
            }
            DiffVerdict::Unknown(why) => {
                format!(
                    "{rates}: whether that is a difference cannot be said{}: {}.",
                    of_interval(row.rate),
                    unknown(why)
                )
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
