//! `--fail-if`: what must not be, in a comparison.

mod judge;

use std::{fmt, str::FromStr};

pub use self::judge::named;
use super::{kernel_count::KernelCount, measured::Lasting, quantity::Quantity, verdict::NotSaid};
use crate::{
    aggregate::group_row::Closer,
    lifecycle::{Call, Detail, Reason, RestartCause, Why},
    tcp::State,
};

/// A condition: `NAME [of a row] OPERATOR VALUE`.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    text: String,
    name: String,
    /// Of this group or failure alone.
    subject: Option<String>,
    field: Field,
    operator: Operator,
    value: Limit,
}

/// Which number of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// How many a second.
    PerSecond,
    /// How many for a thousand of what they are held against.
    PerThousand,
    /// How many.
    Count,
    /// Sockets, the mean by time.
    Mean,
    /// Sockets, the most at once.
    Most,
    /// A time that so many percent did not exceed, in nanoseconds.
    Percentile(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    /// The change, as a part of what it was before.
    Change(f64),
    /// What it is after.
    After(f64),
    /// The same, of times, in nanoseconds.
    Time(f64),
}

/// What came of a condition.
#[derive(Clone, Debug, PartialEq)]
pub enum ConditionOutcome {
    /// It does not hold.
    No,
    /// It holds: of this.
    Holds(Judged),
    /// It cannot be said: of this, or, where there is nothing of it, at all.
    Unknown(NotSaid, Option<Judged>),
    /// Nothing is called so in either recording: a group.
    Nobody(String),
}

/// What a condition is judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// What it is, as conditions name it, and whose.
    pub name: String,
    /// Which number of it.
    pub field: Field,
    /// Before.
    pub before: JudgedSide,
    /// After.
    pub after: JudgedSide,
}

/// The same on one side.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JudgedSide {
    /// The number; `None` where it is not known.
    pub value: Option<f64>,
    /// Of what is counted: how many they are.
    pub count: Option<u64>,
    /// The number is so large at least.
    pub is_at_least: bool,
}

const FIELDS: [(&str, Field); 8] = [
    ("per_s", Field::PerSecond),
    ("per_1000", Field::PerThousand),
    ("count", Field::Count),
    ("mean", Field::Mean),
    ("max", Field::Most),
    ("p50", Field::Percentile(50)),
    ("p90", Field::Percentile(90)),
    ("p99", Field::Percentile(99)),
];

/// The longest first: `>=` begins with `>`.
const OPERATORS: [(&str, Operator); 4] =
    [(">=", Operator::AtLeast), ("<=", Operator::AtMost), (">", Operator::Above), ("<", Operator::Below)];

impl FromStr for Condition {
    type Err = String;

    /// `time_wait.entered > +10%`, `failures.no-free-port > 0`, `established.p99 > 2s`.
    fn from_str(text: &str) -> Result<Self, String> {
        let found = OPERATORS.iter().filter_map(|(sign, operator)| Some((text.find(sign)?, *sign, *operator)));
        let (at, sign, operator) = found
            .min_by_key(|(at, sign, _)| (*at, usize::MAX - sign.len()))
            .ok_or("expected NAME > VALUE (or >=, <, <=), e.g. 'time_wait.entered > +10%'")?;
        let (left, right) = text.split_at(at);
        let value = limit(right.trim_start_matches(sign).trim())?;
        // `established[nginx :80].p99` and `established.p99[nginx :80]` are the same.
        let (left, subject) = match left.trim().split_once('[') {
            None => (left.trim().to_owned(), None),
            Some((left, rest)) => {
                let (subject, field) = rest.rsplit_once(']').ok_or("the [ of a group has no ]")?;
                (format!("{}{}", left.trim(), field.trim()), Some(subject.to_owned()))
            }
        };
        let left = left.as_str();
        let (name, named) = match left.rsplit_once('.') {
            Some((name, last)) => match FIELDS.iter().find(|(field, _)| *field == last) {
                Some((_, field)) => (name, Some(*field)),
                None => (left, None),
            },
            None => (left, None),
        };
        // `CLOSE_WAIT` is how states are written everywhere else.
        let lower = name.to_lowercase();
        let name = lower.as_str();
        let kinds = NameOf::of(name);
        let field = kinds.iter().find_map(|kind| kind.field(named)).ok_or_else(|| match kinds.first() {
            None => format!("nothing is called \"{name}\"; names are {}", known_names().join(", ")),
            Some(kind) => format!("{name} has only {}", kind.fields().join(", ")),
        })?;
        let is_time = matches!(value, Limit::Time(_));
        match (field, value) {
            (Field::Percentile(_), Limit::After(_)) => return Err(format!("{name} is compared with a time, e.g. 5ms")),
            (Field::Percentile(_), _) => {}
            _ if is_time => return Err(format!("{name} is a number, and no time")),
            _ => {}
        }
        Ok(Self { text: text.to_owned(), name: name.to_owned(), subject, field, operator, value })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What names are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameOf {
    Counted,
    Sockets,
    Lasting,
}

impl NameOf {
    /// What a name may be of: as a whole first, then as the beginning of others.
    fn of(name: &str) -> Vec<Self> {
        let all = [(Self::Counted, counted()), (Self::Sockets, sockets()), (Self::Lasting, lasting())];
        let whole = all.iter().filter(|(_, names)| names.iter().any(|known| known == name));
        let begins = all.iter().filter(|(_, names)| names.iter().any(|known| is_or_begins(known, name)));
        whole.chain(begins).map(|(kind, _)| *kind).collect()
    }

    /// The field that is meant, if it has such.
    fn field(self, named: Option<Field>) -> Option<Field> {
        match (self, named) {
            (Self::Counted, None) => Some(Field::PerSecond),
            (Self::Sockets, None) => Some(Field::Mean),
            (Self::Lasting, None) => Some(Field::Percentile(50)),
            (Self::Counted, Some(field @ (Field::PerSecond | Field::PerThousand | Field::Count)))
            | (Self::Sockets, Some(field @ (Field::Mean | Field::Most)))
            | (Self::Lasting, Some(field @ Field::Percentile(_))) => Some(field),
            _ => None,
        }
    }

    fn fields(self) -> Vec<&'static str> {
        FIELDS.iter().filter(|(_, field)| self.field(Some(*field)).is_some()).map(|(name, _)| *name).collect()
    }
}

/// What adds up: `failures` is all of `failures.refused` and so on.
const FAMILIES: [&str; 7] =
    ["failures", "ended", "syn_recv", "drops", "closed_first", "time_wait.left", "time_wait.restarts"];

fn is_or_begins(known: &str, name: &str) -> bool {
    let is_part = || known.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    let is_family = || FAMILIES.iter().any(|family| name == *family || name.starts_with(&format!("{family}.")));
    known == name || (is_family() && is_part())
}

fn counted() -> Vec<String> {
    counted_quantities().into_iter().map(Quantity::name).collect()
}

fn counted_quantities() -> Vec<Quantity> {
    let details = || std::iter::once(None).chain(Detail::ALL.into_iter().map(Some));
    let mut all = vec![
        Quantity::Connected,
        Quantity::Accepted,
        Quantity::Ended,
        Quantity::TimeWaitEntered,
        Quantity::SynSentAgain,
        Quantity::Unanswered,
    ];
    all.extend([Closer::ThisSide, Closer::Peer, Closer::Both, Closer::Neither].map(Quantity::ClosedFirst));
    all.extend(Reason::ALL.map(Quantity::TimeWaitLeftBy));
    all.extend(RestartCause::ALL.map(Quantity::Restarted));
    all.extend(
        Reason::ALL.into_iter().flat_map(|reason| details().map(move |detail| Quantity::EndedBy(reason, detail))),
    );
    all.extend(Reason::ALL.map(Quantity::SynRecvEndedBy));
    all.extend(Why::ALL.map(|why| Quantity::Failed(Call::Connect, why)));
    all.extend(KernelCount::ALL.map(Quantity::Kernel));
    all
}

fn sockets() -> Vec<String> {
    State::ALL.into_iter().filter(|state| *state != State::Close).map(sockets_of).collect()
}

fn lasting() -> Vec<String> {
    let states = State::ALL.into_iter().filter(|state| !matches!(state, State::Close | State::Listen));
    states.map(|state| Lasting(state).name()).collect()
}

/// How many sockets there are in a state, as conditions and JSON have it.
pub fn sockets_of(state: State) -> String {
    format!("{}.sockets", state.name().to_lowercase())
}

/// Short enough to be read: the reasons are in the manual.
fn known_names() -> Vec<&'static str> {
    vec![
        "connections.connected",
        "connections.accepted",
        "connections.ended",
        "closed_first.*",
        "time_wait.entered",
        "time_wait.left.REASON",
        "time_wait.restarts.CAUSE",
        "ended.REASON",
        "syn_recv.REASON",
        "connect.syn_sent_again",
        "connect.unanswered",
        "drops.accept-queue",
        "drops.syn-queue",
        "drops.other",
        "drops.time-wait",
        "syn_cookies.sent",
        "failures.WHY",
        "STATE.sockets",
        "STATE with .p50, .p90 or .p99",
    ]
}

fn limit(text: &str) -> Result<Limit, String> {
    let wrong = || format!("\"{text}\" is no value: expected a number, a change as +10%, or a time as 5ms");
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
        return if percent.is_finite() { Ok(Limit::Change(percent / 100.0)) } else { Err(wrong()) };
    }
    if let Ok(number) = text.parse::<f64>() {
        return if number.is_finite() { Ok(Limit::After(number)) } else { Err(wrong()) };
    }
    let time: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Ok(Limit::Time(time.as_secs_f64() * 1e9))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn conditions_are_read() {
        let of = |text: &str| text.parse::<Condition>();
        let condition = of("time_wait.entered > +10%").unwrap();
        assert_eq!((condition.field, condition.operator), (Field::PerSecond, Operator::Above));
        assert_eq!(condition.value, Limit::Change(0.1));
        assert_eq!(of("time_wait.entered.per_1000<=-5%").unwrap().operator, Operator::AtMost);
        assert_eq!(of("established.p99 > 5ms").unwrap().value, Limit::Time(5e6));
        assert_eq!(of("failures > 0").unwrap().name, "failures");
        assert_eq!(of("ended.timed-out.keepalive.count >= 3").unwrap().field, Field::Count);
        assert_eq!(of("CLOSE_WAIT.sockets > 5").unwrap().name, "close_wait.sockets");
        assert_eq!(of("CLOSE_WAIT.p90 > 5s").unwrap().name, "close_wait.p90".split('.').next().unwrap());
        assert_eq!(of("drops > 0").unwrap().name, "drops");
        assert_eq!(of("drops.accept-queue.count > 0").unwrap().field, Field::Count);
        let group = of("time_wait.entered[nginx :80] > +10%").unwrap();
        assert_eq!(group.subject.as_deref(), Some("nginx :80"));
        for wrong in [
            "",
            "time_wait.entered",
            "> 5",
            "nothing > 5",
            "fail > 0",
            "time_wait.entered.p99 > 5",
            "established.sockets.count > 5",
            "time_wait.entered > much",
            "time_wait.entered > nan%",
            "time_wait.entered[x > 5",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
