//! The few kernel functions whose presence on a stack decides something, with their address ranges.
//! Read from kallsyms once, kept in a recording, so that a stack means the same on replay.

use serde::{Deserialize, Serialize};

/// The functions that [`crate::lifecycle::reason`] looks for.
pub const DECISIVE: &[&str] = &[
    "__inet6_check_established",
    "__inet_check_established",
    "__inet_hash_connect",
    "__mod_timer",
    "__run_timers",
    "__tcp_close",
    "bpf_sock_destroy",
    "expire_timers",
    "inet_hash_connect",
    "inet6_hash_connect",
    "inet_twsk_purge",
    "migrate_timer_list",
    "mod_timer_pending",
    "nf_tproxy_handle_time_wait4",
    "nf_tproxy_handle_time_wait6",
    "run_timer_softirq",
    "tcp_abort",
    "tcp_data_queue",
    "tcp_diag_destroy",
    "tcp_done",
    "tcp_fin",
    "tcp_rcv_state_process",
    "tcp_reset",
    "tcp_time_wait",
    "tcp_timewait_state_process",
    "tcp_v4_rcv",
    "tcp_v6_rcv",
    "tcp_sk_exit_batch",
    "tcp_twsk_purge",
    "timer_expire_remote",
    "timers_dead_cpu",
];

/// One function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// First byte.
    pub start: u64,
    /// First byte of what follows.
    pub end: u64,
    /// Its name, without a compiler's suffix.
    pub name: String,
}

/// The decisive functions of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Symbols(Vec<Function>);

impl Symbols {
    /// Picks the decisive functions out of all symbols, which come in order of address. Neither a suffix that a compiler
    /// appends (`.isra.0`, `.constprop.0`) nor the name of a module (`\t[nf_tproxy_ipv4]`) hides a function.
    pub fn pick<'a>(symbols: impl IntoIterator<Item = (u64, &'a str)>) -> Self {
        let mut picked = Vec::new();
        let mut open: Option<(u64, &str)> = None;
        for (address, name) in symbols {
            if let Some((start, name)) = open.take() {
                picked.push(Function { start, end: address, name: name.to_owned() });
            }
            let plain = name.split(['.', '\t']).next().unwrap_or(name);
            if address != 0 && DECISIVE.contains(&plain) {
                open = Some((address, plain));
            }
        }
        Self(picked)
    }

    /// The decisive function a return address lies in. A return address may be the first byte after a call that
    /// never returns, so the byte before it is what counts.
    pub fn name(&self, return_address: u64) -> Option<&str> {
        let address = return_address.checked_sub(1)?;
        let after = self.0.partition_point(|f| f.start <= address);
        let function = self.0.get(after.checked_sub(1)?)?;
        (address < function.end).then_some(function.name.as_str())
    }

    /// How many were found.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is anything to find.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Symbols;

    #[test]
    fn a_return_address_finds_its_function_and_nothing_else() {
        let symbols = Symbols::pick([
            (100, "foo"),
            (200, "tcp_v4_rcv.isra.0"),
            (300, "bar"),
            (400, "tcp_abort"),
            (500, "end"),
            (600, "nf_tproxy_handle_time_wait4\t[nf_tproxy_ipv4]"),
            (700, "nf_tproxy_laddr4\t[nf_tproxy_ipv4]"),
        ]);
        assert_eq!(symbols.name(200), None, "returns into the function before");
        assert_eq!(symbols.name(201), Some("tcp_v4_rcv"));
        assert_eq!(symbols.name(300), Some("tcp_v4_rcv"));
        assert_eq!(symbols.name(301), None);
        assert_eq!(symbols.name(450), Some("tcp_abort"));
        assert_eq!(symbols.name(650), Some("nf_tproxy_handle_time_wait4"), "of a module");
        assert_eq!(symbols.name(0), None);
        assert!(Symbols::pick([(0, "tcp_abort"), (0, "tcp_v4_rcv")]).is_empty(), "kptr_restrict shows zeros");
    }
}
