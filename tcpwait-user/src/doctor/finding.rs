//! What the doctor says: a finding with its evidence, what to change and at what risk. Knows no particular finding.

use serde::Serialize;

/// How much a finding matters, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It was measured now, and something can be changed about it.
    Now,
    /// It happened before, and not between the two readings.
    Before,
    /// Worth knowing: a setting that does not do what it was meant to do, or what no setting here cures.
    Note,
}

impl Severity {
    /// The name in text.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Now => "NOW",
            Severity::Before => "BEFORE",
            Severity::Note => "NOTE",
        }
    }
}

/// A measured number, or a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Evidence {
    /// A counter of the kernel.
    Counter {
        /// Its name.
        counter: String,
        /// By how much it grew between the two readings; `None` where that is not known.
        grown: Option<u64>,
        /// Nanoseconds between the two.
        window_ns: u64,
        /// What it stands at: since boot, or since the namespace was made.
        total: u64,
    },
    /// A setting.
    Setting {
        /// Its name.
        setting: String,
        /// What it is.
        value: String,
    },
    /// What was there at the second reading.
    Gauge {
        /// What was counted.
        gauge: String,
        /// How many.
        now: u64,
    },
    /// How long something has lasted.
    Age {
        /// What.
        age: String,
        /// Nanoseconds, at least.
        at_least_ns: u64,
    },
    /// A line of a configuration file.
    Line {
        /// The file.
        file: String,
        /// The line's number, from 1.
        line: usize,
        /// The setting.
        setting: String,
        /// What it is set to.
        value: String,
    },
}

impl Evidence {
    /// How long something has lasted at least.
    pub fn age(what: impl Into<String>, ms: u64) -> Self {
        Evidence::Age { age: what.into(), at_least_ns: ms.saturating_mul(1_000_000) }
    }

    /// What was there.
    pub fn gauge(what: impl Into<String>, now: u64) -> Self {
        Evidence::Gauge { gauge: what.into(), now }
    }
}

/// Something to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// What.
    pub change: String,
    /// At what risk.
    pub risk: String,
}

/// Something found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A name for programs, as `time-wait-overflow`.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is going on, in one sentence.
    pub what: String,
    /// By what it is known.
    pub evidence: Vec<Evidence>,
    /// What helps.
    pub advice: Vec<Advice>,
    /// What is often tried, and would not.
    pub in_vain: Vec<String>,
}

impl Finding {
    /// A finding without advice yet.
    pub fn new(id: &'static str, severity: Severity, what: impl Into<String>) -> Self {
        Self { id, severity, what: what.into(), evidence: Vec::new(), advice: Vec::new(), in_vain: Vec::new() }
    }

    /// With this evidence, too.
    pub fn known_by(mut self, evidence: impl IntoIterator<Item = Evidence>) -> Self {
        self.evidence.extend(evidence);
        self
    }

    /// With this advice, too.
    pub fn change(mut self, change: impl Into<String>, risk: impl Into<String>) -> Self {
        self.advice.push(Advice { change: change.into(), risk: risk.into() });
        self
    }

    /// With this advice, where it applies.
    pub fn change_if(self, applies: bool, change: impl Into<String>, risk: impl Into<String>) -> Self {
        if applies { self.change(change, risk) } else { self }
    }

    /// What happened before, and does not now, is not known by what grows now: that has another cause.
    pub fn consistent(mut self) -> Self {
        if self.severity == Severity::Before {
            self.evidence.retain(|evidence| !matches!(evidence, Evidence::Counter { grown: Some(1..), .. }));
        }
        self
    }

    /// This would not help.
    pub fn in_vain(mut self, what: impl Into<String>) -> Self {
        self.in_vain.push(what.into());
        self
    }
}
