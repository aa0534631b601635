//! The settings that rule all this: their defaults, and what each does here, in a few words.
//! Defaults are the kernel's (`tcp_sk_init`, `tcp_set_hashinfo`, 5.15 to 6.18), whatever a distribution makes of them.

use serde::Serialize;

use super::{conntrack, facts::Namespace, ports};

/// A setting, explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub value: String,
    /// What it is by default on this machine, where that is known.
    pub default: Option<String>,
    /// What it does here.
    pub here: String,
    /// Whether it is at its default and no finding is known by it.
    pub fine: bool,
}

struct Setting {
    name: &'static str,
    default: fn(&Namespace) -> Option<String>,
    here: fn(&Namespace, &str) -> String,
}

/// Read with the settings below, to know their defaults or limits by, or because other kernels have them.
const OTHERS: [&str; 4] =
    ["net.ipv4.tcp_ehash_entries", "net.ipv4.tcp_tw_recycle", "net.netfilter.nf_conntrack_count", "net.ipv4.tcp_mem"];

/// The names of all settings to read.
pub fn names() -> impl Iterator<Item = &'static str> {
    explained_names().chain(OTHERS)
}

/// The names of those that are explained.
pub fn explained_names() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|setting| setting.name)
}

/// The default of a setting on this machine.
pub fn default(ns: &Namespace, name: &str) -> Option<String> {
    SETTINGS.iter().find(|setting| setting.name == name).and_then(|setting| (setting.default)(ns))
}

/// Whether two namespaces have the same settings, as far as both have them: some are the initial namespace's only.
pub fn same(one: &Namespace, other: &Namespace) -> bool {
    SETTINGS.iter().all(|setting| match (one.settings.get(setting.name), other.settings.get(setting.name)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    })
}

/// The settings that this namespace has. `cited`: whether a finding is known by the setting.
pub fn explain(ns: &Namespace, cited: impl Fn(&str) -> bool) -> Vec<Explained> {
    let explained = |setting: &Setting| {
        let value = ns.settings.get(setting.name)?;
        let default = (setting.default)(ns);
        let fine = default.as_ref().is_none_or(|default| default == value) && !cited(setting.name);
        let here = (setting.here)(ns, value);
        Some(Explained { name: setting.name, value: value.to_owned(), default, here, fine })
    };
    SETTINGS.iter().filter_map(explained).collect()
}

/// `tcp_set_hashinfo`: by the size of the hash table, which `tcp_ehash_entries` tells from 6.1 on, below 0 for a shared one.
fn buckets(ns: &Namespace) -> Option<i64> {
    ns.settings.number("net.ipv4.tcp_ehash_entries").map(i64::abs)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn grew(ns: &Namespace, counter: &str) -> String {
    let name = counter.trim_start_matches("TcpExt");
    ns.grown(counter).map_or_else(String::new, |grown| format!("; {name} +{grown}"))
}

const SETTINGS: [Setting; 22] = [
    Setting {
        name: "net.ipv4.tcp_tw_reuse",
        default: |_| some("2"),
        here: |ns, value| {
            let reuse = match value {
                "0" => "connect() reuses a TIME_WAIT port only if bound to it explicitly",
                "1" => "connect() reuses a port in TIME_WAIT that is old enough, by its timestamp",
                "2" => "connect() reuses a port in TIME_WAIT that is old enough, on loopback only",
                _ => "unknown to tcpwait",
            };
            format!("{reuse}{}", grew(ns, "TcpExtTWRecycled"))
        },
    },
    Setting {
        name: "net.ipv4.tcp_tw_reuse_delay",
        default: |_| some("1000"),
        here: |_, value| format!("it is old enough after {value} ms"),
    },
    Setting {
        name: "net.ipv4.tcp_timestamps",
        default: |_| some("1"),
        here: |_, value| match value {
            "0" => "off: no PAWS, no tcp_tw_reuse".to_owned(),
            "2" => "on, without a random offset for each connection".to_owned(),
            _ => "on: PAWS and tcp_tw_reuse can work".to_owned(),
        },
    },
    Setting {
        name: "net.ipv4.tcp_fin_timeout",
        default: |_| some("60"),
        here: |ns, value| {
            let orphaned = ns.sockets.as_ref().map_or_else(|| "-".to_owned(), |s| s.orphaned_fin_wait2.to_string());
            format!(
                "an orphan's FIN_WAIT2 ends after {value} s ({orphaned} now); TIME_WAIT takes {}",
                ns.time_wait_length()
            )
        },
    },
    Setting {
        name: "net.ipv4.tcp_tw_timeout",
        default: |_| some("60"),
        here: |_, value| format!("TIME_WAIT takes {value} s: a setting of this vendor's kernel only"),
    },
    Setting {
        name: "net.ipv4.tcp_max_tw_buckets",
        default: |ns| buckets(ns).map(|buckets| (buckets / 2).to_string()),
        here: |ns, _| {
            let minis = ns.minis().map_or_else(|| "-".to_owned(), |minis| minis.to_string());
            format!(
                "the most TIME_WAITs: beyond, TIME_WAIT is skipped; {minis} now{}",
                grew(ns, "TcpExtTCPTimeWaitOverflow")
            )
        },
    },
    Setting {
        name: "net.ipv4.tcp_rfc1337",
        default: |_| some("0"),
        here: |_, value| match value {
            "0" => "an RST ends a TIME_WAIT early".to_owned(),
            _ => "an RST does not end a TIME_WAIT".to_owned(),
        },
    },
    Setting {
        name: "net.ipv4.ip_local_port_range",
        default: |_| some("32768 60999"),
        here: |ns, _| {
            let available = ports::available(ns).map_or_else(|| "-".to_owned(), |ports| ports.to_string());
            let used = ns.sockets.as_ref().map(|sockets| sockets.destinations.first().map_or(0, |most| most.used));
            let used = used.map_or_else(String::new, |used| format!("; at most {used} in use"));
            format!("connect() has {available} ports for each remote address and port{used}")
        },
    },
    Setting {
        name: "net.ipv4.ip_local_reserved_ports",
        default: |_| some(""),
        here: |_, value| match value {
            "" => "no port of the range is reserved for services".to_owned(),
            _ => "connect() does not choose these".to_owned(),
        },
    },
    Setting {
        name: "net.core.somaxconn",
        default: |_| some("4096"),
        here: |ns, _| {
            let fullest = ns.sockets.as_ref().and_then(|sockets| sockets.fullest_listener.as_ref());
            let waiting = fullest.map_or_else(String::new, |l| {
                format!("; {} wait on port {}, whose backlog is {}", l.waiting, l.local.1, l.backlog)
            });
            format!("the largest backlog that listen() can set{waiting}{}", grew(ns, "TcpExtListenOverflows"))
        },
    },
    Setting {
        name: "net.ipv4.tcp_max_syn_backlog",
        default: |ns| buckets(ns).map(|buckets| (buckets / 128).max(128).to_string()),
        here: |ns, _| match ns.settings.number("net.ipv4.tcp_syncookies") {
            Some(0) => "a listener drops SYNs of unknown clients from three quarters of it on".to_owned(),
            _ => "no effect while tcp_syncookies is not 0: the backlog of listen() counts".to_owned(),
        },
    },
    Setting {
        name: "net.ipv4.tcp_syncookies",
        default: |_| some("1"),
        here: |ns, value| {
            let cookies = match value {
                "0" => "a SYN is dropped when the queue is full",
                "1" => "a SYN is answered with a cookie when the queue is full",
                _ => "every SYN is answered with a cookie",
            };
            format!("{cookies}{}", grew(ns, "TcpExtSyncookiesSent"))
        },
    },
    Setting {
        name: "net.ipv4.tcp_abort_on_overflow",
        default: |_| some("0"),
        here: |_, value| match value {
            "0" => "a client that finds the accept queue full has to retry".to_owned(),
            _ => "a client that finds the accept queue full is reset".to_owned(),
        },
    },
    Setting {
        name: "net.ipv4.tcp_max_orphans",
        // tcp_init: half of the hash table.
        default: |ns| buckets(ns).map(|buckets| (buckets / 2).to_string()),
        here: |ns, _| {
            let orphans = ns.later.get(super::ORPHANS).map_or_else(|| "-".to_owned(), |orphans| orphans.to_string());
            format!("the most orphans of the machine: beyond, they are reset; {orphans} now")
        },
    },
    Setting {
        name: "net.ipv4.tcp_orphan_retries",
        default: |_| some("0"),
        here: |_, value| match value {
            "0" => "the data or FIN of an orphan is sent 8 times".to_owned(),
            times => format!("the data or FIN of an orphan is sent {times} times"),
        },
    },
    Setting {
        name: "net.netfilter.nf_conntrack_max",
        default: |_| None,
        here: |ns, _| {
            let count = conntrack::fill(ns).map_or_else(|| "-".to_owned(), |(count, _)| count.to_string());
            format!("the most tracked connections; {count} now")
        },
    },
    Setting {
        name: "net.netfilter.nf_conntrack_tcp_timeout_established",
        default: |_| some("432000"),
        here: |_, value| format!("an idle connection is dropped from the table after {value} s"),
    },
    Setting {
        name: "net.netfilter.nf_conntrack_tcp_timeout_fin_wait",
        default: |_| some("120"),
        here: |_, value| format!("dropped from the table {value} s after the first FIN, if nothing follows"),
    },
    Setting {
        name: "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
        default: |_| some("60"),
        here: |_, value| format!("an idle half-closed connection is dropped from the table after {value} s"),
    },
    Setting {
        name: "net.netfilter.nf_conntrack_tcp_timeout_last_ack",
        default: |_| some("30"),
        here: |_, value| format!("dropped from the table {value} s after the second FIN, if no ACK comes"),
    },
    Setting {
        name: "net.netfilter.nf_conntrack_tcp_timeout_time_wait",
        default: |_| some("120"),
        here: |_, value| format!("an entry stays {value} s after the close; it does not change a socket's TIME_WAIT"),
    },
    Setting {
        name: "net.netfilter.nf_conntrack_tcp_loose",
        default: |_| some("1"),
        here: |_, value| match value {
            "0" => "connections dropped from the table are not tracked again".to_owned(),
            _ => "connections dropped from the table are tracked again in mid-stream".to_owned(),
        },
    },
];
