//! The few kernel functions whose presence on a stack decides something, with their address ranges.
//! Read from kallsyms once, kept in a recording, so that a stack means the same on replay.

use std::collections::BTreeMap;

use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

/// The functions that [`crate::lifecycle::cancelled`] and `lifecycle/end.rs` look for.
pub const DECISIVE: &[&str] = &[
    "__inet6_check_established",
    "__inet_check_established",
    "__inet_hash_connect",
    "__mod_timer",
    "__mptcp_close",
    "__mptcp_close_ssk",
    "__mptcp_subflow_disconnect",
    "__run_timers",
    "__tcp_close",
    "bpf_sock_destroy",
    "expire_timers",
    "inet6_hash_connect",
    "inet_child_forget",
    "inet_csk_complete_hashdance",
    "inet_csk_listen_start",
    "inet_csk_listen_stop",
    "inet_csk_reqsk_queue_add",
    "inet_csk_reqsk_queue_drop_and_put",
    "inet_ehash_nolisten",
    "inet_hash_connect",
    "inet_twsk_purge",
    "migrate_timer_list",
    "mod_timer_pending",
    "mptcp_check_fastclose",
    "mptcp_check_listen_stop",
    "mptcp_subflow_data_available",
    "mptcp_subflow_reset",
    "mptcp_worker",
    "nf_tproxy_handle_time_wait4",
    "nf_tproxy_handle_time_wait6",
    "run_timer_softirq",
    "subflow_check_data_avail",
    "subflow_syn_recv_sock",
    "tcp_abort",
    "tcp_check_req",
    "tcp_close",
    "tcp_data_queue",
    "tcp_diag_destroy",
    "tcp_disconnect",
    "tcp_done",
    "tcp_fastopen_synack_timer",
    "tcp_fin",
    "tcp_keepalive_timer",
    "tcp_out_of_resources",
    "tcp_probe_timer",
    "tcp_rcv_established",
    "tcp_rcv_state_process",
    "tcp_rcv_synsent_state_process",
    "tcp_req_err",
    "tcp_reset",
    "tcp_retransmit_timer",
    "tcp_sendmsg_fastopen",
    "tcp_sk_exit_batch",
    "tcp_time_wait",
    "tcp_timewait_state_process",
    "tcp_twsk_purge",
    "tcp_v4_connect",
    "tcp_v4_do_rcv",
    "tcp_v4_err",
    "tcp_v4_rcv",
    "tcp_v4_syn_recv_sock",
    "tcp_v6_connect",
    "tcp_v6_do_rcv",
    "tcp_v6_err",
    "tcp_v6_rcv",
    "tcp_v6_syn_recv_sock",
    "tcp_validate_incoming",
    "tcp_write_err",
    "tcp_write_timer",
    "tcp_write_timer_handler",
    "timer_expire_remote",
    "timers_dead_cpu",
];

/// Digits of an address of 64 bits.
const DIGITS: usize = 16;

/// Letters that tell most of the kernel's functions from all decisive ones.
const LETTERS: usize = 5;

/// A line of `/proc/kallsyms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Where it is; 0 for all of them where `kptr_restrict` hides addresses.
    pub address: u64,
    /// Its name.
    pub name: &'a str,
    /// The module that it belongs to, if not to the kernel itself.
    pub module: Option<&'a str>,
}

/// Reads `/proc/kallsyms`, line by line. The error is a line that is no such line.
pub fn parse(kallsyms: &str) -> impl Iterator<Item = Result<Symbol<'_>, &str>> {
    kallsyms.lines().map(|line| parse_line(line).ok_or(line))
}

/// Reads a line of `/proc/kallsyms` (`s_show` in kernel/kallsyms.c): `ffffffff81000000 T name`, and for a module's `<tab>[module]` after it.
pub fn parse_line(line: &str) -> Option<Symbol<'_>> {
    // There are more than 100,000 lines, and looking for blanks takes as long as all the rest: an address mostly has as many digits as can be.
    let (address, rest) = match line.split_at_checked(DIGITS) {
        Some((address, rest)) if rest.starts_with(' ') => (address, rest.strip_prefix(' ')?),
        _ => line.split_once(' ')?,
    };
    let (_kind, name) = rest.split_once(' ')?;
    let of_module = if name.ends_with(']') { name.split_once('\t') } else { None };
    let (name, module) = match of_module {
        Some((name, module)) => (name, Some(module.trim_start_matches('[').trim_end_matches(']'))),
        None => (name, None),
    };
    let address = u64::from_str_radix(address, 16).ok()?;
    (!name.is_empty()).then_some(Symbol { address, name, module })
}

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

/// Picks the decisive functions out of all symbols, of which there are more than 100,000. A suffix that a compiler appends (`.isra.0`, `.constprop.0`)
/// does not hide a function, nor does a second name for the same address.
pub struct SymbolPick {
    wanted: HashSet<&'static str>,
    /// How these begin, in order.
    beginnings: Vec<&'static [u8]>,
    starts: BTreeMap<u64, &'static str>,
    addresses: Vec<u64>,
}

impl Default for SymbolPick {
    fn default() -> Self {
        let mut beginnings: Vec<&[u8]> = DECISIVE.iter().filter_map(|name| name.as_bytes().get(..LETTERS)).collect();
        beginnings.sort_unstable();
        beginnings.dedup();
        let wanted = DECISIVE.iter().copied().collect();
        Self { wanted, beginnings, starts: BTreeMap::new(), addresses: Vec::new() }
    }
}

impl SymbolPick {
    /// Looks at one. An address of 0 is a hidden one.
    pub fn add(&mut self, address: u64, name: &str) {
        if address == 0 {
            return;
        }
        self.addresses.push(address);
        let beginning = name.as_bytes().get(..LETTERS);
        if beginning.is_none_or(|beginning| self.beginnings.binary_search(&beginning).is_err()) {
            return;
        }
        let plain = name.split('.').next().unwrap_or(name);
        if let Some(plain) = self.wanted.get(plain).copied() {
            let known = self.starts.entry(address).or_insert(plain);
            *known = plain.max(*known);
        }
    }

    /// What was found.
    pub fn found(self) -> Symbols {
        let Self { starts, addresses, .. } = self;
        // Each ends where the next symbol begins, whatever that is.
        let mut functions: Vec<_> = starts.into_iter().map(|(start, name)| (start, name, None)).collect();
        for address in addresses {
            let after = functions.partition_point(|(start, ..)| *start < address);
            if let Some((.., end)) = after.checked_sub(1).and_then(|before| functions.get_mut(before)) {
                *end = Some(end.map_or(address, |end: u64| end.min(address)));
            }
        }
        let known =
            |(start, name, end): (u64, &str, Option<u64>)| Some(Function { start, end: end?, name: name.to_owned() });
        Symbols(functions.into_iter().filter_map(known).collect())
    }
}

impl Symbols {
    /// What [`SymbolPick`] finds among these addresses and names.
    pub fn pick<'a>(symbols: impl IntoIterator<Item = (u64, &'a str)>) -> Self {
        let mut pick = SymbolPick::default();
        symbols.into_iter().for_each(|(address, name)| pick.add(address, name));
        pick.found()
    }

    /// The decisive function a return address lies in. A return address may be the first byte after a call that
    /// never returns, so the byte before it is what counts.
    pub fn name(&self, return_address: u64) -> Option<&str> {
        let address = return_address.checked_sub(1)?;
        let after = self.0.partition_point(|f| f.start <= address);
        let function = self.0.get(after.checked_sub(1)?)?;
        (address < function.end).then_some(function.name.as_str())
    }

    /// Whether this kernel has a function of this name, not inlined into another.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|function| function.name == name)
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
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_return_address_finds_its_function_and_nothing_else() {
        let symbols =
            Symbols::pick([(100, "foo"), (200, "tcp_v4_rcv.isra.0"), (300, "bar"), (400, "tcp_abort"), (500, "end")]);
        assert_eq!(symbols.name(200), None, "returns into the function before");
        assert_eq!(symbols.name(201), Some("tcp_v4_rcv"));
        assert_eq!(symbols.name(300), Some("tcp_v4_rcv"));
        assert_eq!(symbols.name(301), None);
        assert_eq!(symbols.name(450), Some("tcp_abort"));
        assert_eq!(symbols.name(0), None);
        assert!(Symbols::pick([(0, "tcp_abort"), (0, "tcp_v4_rcv")]).is_empty(), "kptr_restrict shows zeros");
    }

    #[test]
    fn every_decisive_function_is_found_by_its_beginning() {
        for name in DECISIVE {
            let symbols = Symbols::pick([(100, *name), (200, "end")]);
            assert_eq!((symbols.len(), symbols.name(150)), (1, Some(*name)));
        }
        assert!(Symbols::pick([(100, "tcp"), (150, "tcp_abort_not"), (200, "")]).is_empty());
    }

    #[test]
    fn a_second_name_does_not_hide_a_function() {
        for names in [["aaa", "tcp_abort"], ["tcp_abort", "zzz"]] {
            let symbols = Symbols::pick(names.map(|name| (100, name)).into_iter().chain([(200, "end")]));
            assert_eq!(symbols.name(150), Some("tcp_abort"), "{names:?}");
        }
    }

    #[test]
    fn lines_of_the_kernel_and_of_modules() {
        let symbol = |address, name, module| Symbol { address, name, module };
        let text = "0000000000000000 A fixed\nffffffff81853e20 t tw_timer_handler\nffffffffc022d000 t tcp_diag_destroy\t[tcp_diag]\n";
        assert_eq!(
            parse(text).collect::<Result<Vec<_>, _>>().unwrap(),
            [
                symbol(0, "fixed", None),
                symbol(0xffff_ffff_8185_3e20, "tw_timer_handler", None),
                symbol(0xffff_ffff_c022_d000, "tcp_diag_destroy", Some("tcp_diag")),
            ]
        );
        let picked =
            Symbols::pick(parse(text).flatten().map(|symbol| (symbol.address, symbol.name)).chain([(u64::MAX, "end")]));
        assert_eq!(picked.name(0xffff_ffff_c022_d001), Some("tcp_diag_destroy"), "of a module");
        for line in ["", "ffffffff81853e20", "ffffffff81853e20 t", "ffffffff81853e20 t ", "(ptrval) t name"] {
            let text = format!("0 t fine\n{line}\n");
            assert_eq!(parse(&text).collect::<Vec<_>>(), [Ok(symbol(0, "fine", None)), Err(line)]);
        }
    }
}
