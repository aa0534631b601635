//! What was read of a machine, namespace by namespace: settings, counters at two moments, sockets. Plain data with the
//! questions that findings ask of it; who read it and how is decided elsewhere.

use std::collections::BTreeMap;

use super::{
    finding::{Evidence, Severity},
    sockets::Sockets,
};

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The namespaces that could be read.
    pub namespaces: Vec<Namespace>,
    /// Those that could not, and why.
    pub unreadable: Vec<(String, String)>,
    /// What the files of sysctl.d(5) set, of what matters here.
    pub configured: Vec<Configured>,
}

/// A line of a file of sysctl.d(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// The file.
    pub file: String,
    /// The line's number, from 1.
    pub line: usize,
    /// The setting, as `net.ipv4.tcp_tw_recycle`.
    pub name: String,
    /// What it is set to.
    pub value: String,
}

/// What a vendor's kernel has instead of TCP_TIMEWAIT_LEN.
pub(super) const TIME_WAIT_LENGTH: &str = "net.ipv4.tcp_tw_timeout";

/// A network namespace.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    /// Its inode number.
    pub inode: u32,
    /// The inode number and where it was found: `net:[4026532281] (/run/netns/blue)`.
    pub name: String,
    /// The settings.
    pub settings: SysctlSettings,
    /// The counters at the first reading.
    pub earlier: Counters,
    /// The counters at the second reading.
    pub later: Counters,
    /// Nanoseconds between the two.
    pub window_ns: u64,
    /// The sockets at the second reading; `None` where they could not be listed.
    pub sockets: Option<Sockets>,
    /// What could not be read, and why.
    pub not_known: Vec<String>,
}

/// Settings by the names that `sysctl -a` has for them. One that the kernel does not have here is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SysctlSettings(pub BTreeMap<String, String>);

impl SysctlSettings {
    /// The value, with single blanks.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value, where it is a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.parse().ok()
    }
}

/// Counters by the names that nstat has for them (`TcpExtTW`), and those of conntrack (`nf_conntrack drop`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(pub BTreeMap<String, u64>);

impl Counters {
    /// The count; `None` where the kernel does not have it.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }
}

impl Namespace {
    /// How often it happened between the two readings. `None` where it is not counted.
    pub fn grown(&self, counter: &str) -> Option<u64> {
        self.later.get(counter)?.checked_sub(self.earlier.get(counter)?)
    }

    /// How often it happened since the namespace began.
    pub fn total(&self, counter: &str) -> Option<u64> {
        self.later.get(counter)
    }

    /// How often any of them happened between the two readings; what is not counted adds nothing.
    pub fn grown_any(&self, counters: &[&str]) -> u64 {
        counters.iter().filter_map(|counter| self.grown(counter)).sum()
    }

    /// Whether any of them happened now, or before, or never.
    pub fn when(&self, counters: &[&str]) -> Option<Severity> {
        if self.grown_any(counters) > 0 {
            return Some(Severity::Now);
        }
        let happened = counters.iter().any(|counter| self.total(counter).is_some_and(|total| total > 0));
        happened.then_some(Severity::Before)
    }

    /// The counters as evidence, those that are not counted left out, and those at 0 unless they come first.
    pub fn counted(&self, counters: &[&str]) -> Vec<Evidence> {
        let known = |counter: &&str| {
            let total = self.total(counter)?;
            Some(Evidence::Counter {
                counter: (*counter).to_owned(),
                grown: self.grown(counter),
                window_ns: self.window_ns,
                total,
            })
        };
        let told =
            |(at, evidence): &(usize, Evidence)| *at == 0 || !matches!(evidence, Evidence::Counter { total: 0, .. });
        counters.iter().filter_map(known).enumerate().filter(told).map(|(_, evidence)| evidence).collect()
    }

    /// The settings as evidence, those that are not known left out.
    pub fn set(&self, names: &[&str]) -> Vec<Evidence> {
        let known = |name: &&str| {
            let value = self.settings.get(name)?.to_owned();
            Some(Evidence::Setting { setting: (*name).to_owned(), value })
        };
        names.iter().filter_map(known).collect()
    }

    /// Mini-sockets in TIME_WAIT or FIN_WAIT2 (`tw` of sockstat).
    pub fn minis(&self) -> Option<u64> {
        self.later.get(super::MINIS)
    }

    /// How long TIME_WAIT takes here.
    pub fn time_wait_length(&self) -> String {
        match self.settings.get(TIME_WAIT_LENGTH) {
            Some(seconds) => format!("{seconds} s by {TIME_WAIT_LENGTH}, which this vendor's kernel has"),
            None => "60 s by a constant of the kernel (TCP_TIMEWAIT_LEN)".to_owned(),
        }
    }
}
