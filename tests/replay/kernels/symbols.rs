//! The timer handler and the decisive functions in kallsyms of real kernels, among names that could be taken for them.

use std::collections::BTreeMap;

use tcpwait::{kernel::find_symbols, lifecycle::TELLING, symbols::DECISIVE};

use super::{KERNELS, text};

/// Address and name of each line, as a person reads it.
fn lines(kallsyms: &str) -> Vec<(u64, &str)> {
    kallsyms
        .lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next().unwrap(), 16).unwrap();
            (address, words.nth(1).unwrap())
        })
        .collect()
}

#[test]
fn the_handler_is_the_kernels_own() {
    for kernel in KERNELS {
        let kallsyms = text(kernel, "kallsyms");
        let wanted = lines(&kallsyms).into_iter().find(|(_, name)| *name == "tw_timer_handler").unwrap().0;
        // Before it and behind it.
        let decoys = "0000000000001000 t tw_timer_handler\t[other]\n\
                      0000000000002000 t bpf_prog_6deef7357e7b4530_tw_timer_handler\t[bpf]\n\
                      0000000000003000 t __pfx_tw_timer_handler\n\
                      0000000000000000 t tw_timer_handler\n";
        let after = "ffffffffff000000 t tw_timer_handler_of_another\nffffffffff001000 t tw_timer_handler\t[other]\n";
        let (handlers, _) = find_symbols(&format!("{decoys}{kallsyms}{after}"), "1").unwrap();
        assert_eq!(handlers.timewait, wanted, "on {kernel}");
        assert_eq!(find_symbols(&kallsyms, "1").unwrap().0.timewait, wanted, "on {kernel}");
    }
}

#[test]
fn names_by_address_are_right_at_the_borders() {
    for kernel in KERNELS {
        let kallsyms = text(kernel, "kallsyms");
        let (_, symbols) = find_symbols(&kallsyms, "1").unwrap();
        let mut starts: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for (address, name) in lines(&kallsyms) {
            starts.entry(address).or_default().push(name);
        }
        let starts: Vec<(u64, Option<&str>)> = starts
            .into_iter()
            .map(|(address, names)| {
                let plain = names.iter().map(|name| name.split('.').next().unwrap());
                (address, plain.into_iter().find(|name| DECISIVE.contains(name)))
            })
            .collect();
        let mut found = 0;
        for (here, next) in starts.iter().zip(&starts[1..]) {
            // A return address belongs to the call before it.
            assert_eq!(symbols.name(here.0 + 1), here.1, "first byte, {kernel}");
            assert_eq!(symbols.name(next.0), here.1, "last byte, {kernel}");
            found += usize::from(here.1.is_some());
        }
        assert_eq!(symbols.len(), found, "on {kernel}");
        assert!(found > 20, "{found} on {kernel}");
        assert_eq!(symbols.name(starts[0].0), None);
    }
}

/// Without one of them, the ends that it tells of are `unknown`; `tcpwait probes` says so on that kernel, and did not here.
#[test]
fn every_kernel_has_the_functions_that_tell_of_ends() {
    for kernel in KERNELS {
        assert!(super::report(kernel).ends_untold.is_empty(), "{kernel}");
        let (_, symbols) = find_symbols(&text(kernel, "kallsyms"), "1").unwrap();
        for (function, unknown) in TELLING {
            assert!(symbols.has(function), "{function} on {kernel}: {unknown}");
        }
    }
}

#[test]
fn functions_of_modules_count_and_names_that_only_begin_alike_do_not() {
    let kallsyms = text("6.12", "kallsyms");
    let names: Vec<&str> = lines(&kallsyms).into_iter().map(|(_, name)| name).collect();
    // The fixture is worth something only if it has them.
    for there in ["tcp_abort_override", "tcp_diag_destroy", "nf_tproxy_handle_time_wait4"] {
        assert!(names.contains(&there), "{there}");
    }
    let (_, symbols) = find_symbols(&kallsyms, "1").unwrap();
    let inside = |name: &str| {
        let start = lines(&kallsyms).into_iter().find(|(_, found)| *found == name).unwrap().0;
        symbols.name(start + 5).map(str::to_owned)
    };
    assert_eq!(inside("tcp_abort_override"), None);
    assert_eq!(inside("tcp_diag_destroy").as_deref(), Some("tcp_diag_destroy"), "in a module there");
    assert_eq!(
        inside("nf_tproxy_handle_time_wait4").as_deref(),
        Some("nf_tproxy_handle_time_wait4"),
        "in a module there"
    );
}

#[test]
fn hidden_addresses_are_said_to_be_hidden() {
    for kernel in KERNELS {
        let hidden: String =
            text(kernel, "kallsyms").lines().map(|line| format!("{:016x}{}\n", 0, &line[16..])).collect();
        let said = find_symbols(&hidden, "2").unwrap_err().to_string();
        assert!(
            said.contains("kernel.kptr_restrict is 2;") && said.contains("sysctl kernel.kptr_restrict=1"),
            "{said}"
        );
        let said = find_symbols(&hidden, "").unwrap_err().to_string();
        assert!(said.contains("kptr_restrict is set"), "not to be read: {said}");
        let said = find_symbols(&hidden, "1").unwrap_err().to_string();
        assert!(said.contains("CAP_SYSLOG") && !said.contains("sysctl"), "{said}");
    }
}

#[test]
fn a_file_that_something_hides_is_said_to_be_hidden() {
    let why = find_symbols("", "0").unwrap_err().to_string();
    assert!(why.contains("is empty") && why.contains("ProtectKernelTunables"), "{why}");
}

#[test]
fn another_kernel_and_another_file() {
    let without: String = text("6.1", "kallsyms")
        .lines()
        .filter(|line| !line.ends_with("tw_timer_handler"))
        .map(|line| format!("{line}\n"))
        .collect();
    let said = find_symbols(&without, "1").unwrap_err().to_string();
    assert!(said.contains("has no tw_timer_handler") && said.contains("CONFIG_KALLSYMS"), "{said}");
    let said = find_symbols("ffffffff81853e20 t tw_timer_handler\n<html>\n", "1").unwrap_err().to_string();
    assert!(said.contains("<html>") && said.contains("report"), "{said}");
}
