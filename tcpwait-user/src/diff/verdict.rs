//! What two numbers of the same thing say together.

use super::interval::Ratio;

/// A difference is at least so large, as a part of what it was.
pub const LEAST_CHANGE: f64 = 0.05;

/// Two are the same if the interval of their ratio lies between this and its inverse: that no difference was found is not enough, as little shows none.
pub const SAME_WITHIN: f64 = 1.5;

/// Of fewer nothing is said but that they are there.
pub const LEAST_EVENTS: u64 = 10;

/// What is on one side only is a difference if it came in so many parts of the time or more, where both recordings are equally long: of so many that are
/// expected by chance, none comes in one of 100 cases (Poisson).
pub const LEAST_BURSTS: f64 = 4.6;

/// Lengths differ by so much at least, in nanoseconds.
pub const LEAST_NS: u64 = 1_000_000;

/// The same of what somebody waits for: until a connection is made.
pub const LEAST_WAIT_NS: u64 = 100_000;

/// What is said of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiffVerdict {
    /// They differ by more than chance; more after than before.
    Up,
    /// The same; less after than before.
    Down,
    /// There was none before.
    New,
    /// There is none after.
    Gone,
    /// It changed as the load did, or did not although the load did.
    WithLoad,
    /// On one side only, and too little to be sure: less than [`LEAST_EVENTS`], or in too few bursts.
    OneSided,
    /// They are the same to within [`SAME_WITHIN`].
    Same,
    /// It cannot be said.
    Unknown(NotSaid),
}

/// Why it cannot be said whether something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSaid {
    /// Events were lost, and might be the difference.
    Lost,
    /// Only one of the recordings had what tells of it.
    NotRecorded,
    /// A recording has none of the kernel's own counters, or not all connections are compared.
    NoCounters,
    /// A recording is too short, or what it has varies too much from one part to the next.
    TooShort,
    /// A second it differs, or does not; whether it does for each connection cannot be said.
    ForEach,
    /// More sockets are still in a state than have left it.
    StillThere,
}

impl DiffVerdict {
    /// Whether it is a difference.
    pub fn is_change(self) -> bool {
        matches!(self, Self::Up | Self::Down | Self::New | Self::Gone)
    }

    /// The word for it, in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::New => "new",
            Self::Gone => "gone",
            Self::WithLoad => "with-load",
            Self::OneSided => "one-sided",
            Self::Same => "same",
            Self::Unknown(NotSaid::Lost) => "unknown-lost",
            Self::Unknown(NotSaid::NotRecorded | NotSaid::NoCounters) => "unknown-not-recorded",
            Self::Unknown(NotSaid::TooShort) => "unknown-too-short",
            Self::Unknown(NotSaid::ForEach) => "unknown-for-each",
            Self::Unknown(NotSaid::StillThere) => "unknown-still-there",
        }
    }

    /// Every word.
    pub const NAMES: [&'static str; 12] = [
        "up",
        "down",
        "new",
        "gone",
        "with-load",
        "one-sided",
        "same",
        "unknown-lost",
        "unknown-not-recorded",
        "unknown-too-short",
        "unknown-for-each",
        "unknown-still-there",
    ];

    /// What a ratio alone says.
    pub fn of(ratio: Ratio) -> Self {
        match ratio {
            Ratio { ratio, low, .. } if low > 1.0 && ratio > 1.0 + LEAST_CHANGE => Self::Up,
            // The other way round, so that both directions have the same bound.
            Ratio { ratio, high, .. } if high < 1.0 && ratio < 1.0 / (1.0 + LEAST_CHANGE) => Self::Down,
            Ratio { low, high, .. } if low >= 1.0 / SAME_WITHIN && high <= SAME_WITHIN => Self::Same,
            // Nothing says that they differ, and nothing that they do not.
            _ => Self::Unknown(NotSaid::TooShort),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_certain_and_not_small() {
        let of = |ratio, low, high| DiffVerdict::of(Ratio { ratio, low, high });
        assert_eq!(of(1.2, 1.1, 1.3), DiffVerdict::Up);
        assert_eq!(of(1.2, 0.9, 1.6), DiffVerdict::Unknown(NotSaid::TooShort));
        assert_eq!(of(1.03, 0.8, 1.3), DiffVerdict::Same);
        // A fall to a 37th, of which nothing is known: that the interval has 1 in it does not make it the same.
        assert_eq!(of(0.027, 0.000_1, 8.6), DiffVerdict::Unknown(NotSaid::TooShort));
        assert_eq!(of(1.0, 1e-8, 59_022.0), DiffVerdict::Unknown(NotSaid::TooShort));
        assert_eq!(of(1.04, 1.03, 1.05), DiffVerdict::Same);
        assert_eq!(of(0.8, 0.7, 0.9), DiffVerdict::Down);
        assert_eq!(of(0.96, 0.95, 0.97), DiffVerdict::Same);
    }
}
