//! Fields and arguments in the BTF of real kernels, in BTF made by hand for what those do not have, and in damaged BTF.

use std::panic::catch_unwind;

use aya_obj::btf::{Btf, BtfKind};
use tcpwait::kernel::{AttachKind, HOOKS, KernelTypes, asked, extract};
use tcpwait_wire::config::{ABSENT, OFFSETS};

use super::{KERNELS, bytes, report, text};
use crate::support::{FIXTURES, records};

/// A kernel's types.
pub fn of(kernel: &str) -> KernelTypes {
    KernelTypes::parse(&bytes(kernel, "btf")).unwrap()
}

/// What a C compiler says of the same kernel.
fn witness(kernel: &str) -> Vec<(String, u32)> {
    let line = |line: &str| {
        let (name, offset) = line.split_once(' ').unwrap();
        (name.to_owned(), if offset == "-" { ABSENT } else { offset.parse().unwrap() })
    };
    text(kernel, "offsets").lines().map(line).collect()
}

/// Kernels whose types Debian's bpftool can lay out: of 7.3's `struct net` it leaves out what aligns some members.
const WITNESSED: [&str; 4] = ["6.1", "6.12", "6.18", "6.12-arm64"];

#[test]
fn every_field_is_where_a_c_compiler_finds_it() {
    for kernel in WITNESSED {
        let found = of(kernel).offsets().unwrap();
        let found: Vec<(String, u32)> = found.into_iter().map(|(name, offset)| (name.to_owned(), offset)).collect();
        assert_eq!(found, witness(kernel), "on {kernel}");
    }
    // Else the kernels could be mixed up and nobody would see it.
    assert!(witness("6.1") != witness("6.12") && witness("6.12") != witness("6.18"));
}

#[test]
fn recordings_were_made_with_the_offsets_of_their_kernel() {
    for fixture in FIXTURES {
        let (header, _) = records(fixture);
        // The locks of PREEMPT_RT are longer.
        let flavour = match header.machine.as_str() {
            "aarch64" => "-arm64",
            _ if header.kernel.contains("-rt") => "-rt",
            _ => "",
        };
        let is_its = |kernel: &&&str| {
            let version = kernel.strip_suffix(flavour).unwrap_or_default();
            !version.contains('-') && header.kernel.starts_with(&format!("{version}."))
        };
        let kernel = KERNELS.iter().find(is_its);
        let kernel = kernel.unwrap_or_else(|| panic!("{fixture} is of {}", header.kernel));
        let offsets = match WITNESSED.contains(kernel) {
            true => witness(kernel),
            false => of(kernel).offsets().unwrap().into_iter().map(|(name, at)| (name.to_owned(), at)).collect(),
        };
        let known = offsets.iter().filter_map(|(name, offset)| Some((offset, header.offsets.get(name)?)));
        let mut compared = 0;
        for (witness, recorded) in known {
            assert_eq!(witness, recorded, "{fixture}");
            compared += 1;
        }
        assert!(compared > 20, "{fixture}: {compared}");
    }
}

#[test]
fn every_hook_is_found_where_it_is_attached() {
    for kernel in KERNELS {
        let btf = Btf::parse(&bytes(kernel, "btf"), Default::default()).unwrap();
        for hook in HOOKS {
            let found = match hook.kind {
                AttachKind::Tracepoint => {
                    btf.id_by_type_name_kind(&format!("btf_trace_{}", hook.name), BtfKind::Typedef)
                }
                AttachKind::Fexit => btf.id_by_type_name_kind(hook.name, BtfKind::Func),
            };
            // One that the kernel did not have when it was asked is not there.
            let had = report(kernel).hooks.iter().any(|asked| asked.hook == hook.name && asked.attached);
            assert!(found.is_ok() || !had, "{} on {kernel}", hook.name);
        }
    }
}

#[test]
fn arguments_of_tracepoints() {
    for (kernel, rx_sk) in [("6.1", false), ("6.12", true), ("6.18", true)] {
        let types = of(kernel);
        let is = |tracepoint, arg, structure| types.tracepoint_arg_is(tracepoint, arg, structure);
        assert_eq!(is("kfree_skb", 3, "sock"), rx_sk, "{kernel}");
        assert!(is("kfree_skb", 0, "sk_buff") && !is("kfree_skb", 0, "sock"), "{kernel}");
        assert!(is("timer_start", 0, "timer_list") && is("timer_cancel", 0, "timer_list"), "{kernel}");
        assert!(is("inet_sock_set_state", 0, "sock"), "through const, on {kernel}");
        // No pointer, no such argument, no such tracepoint; and a function that is called like a tracepoint is none.
        assert!(!is("inet_sock_set_state", 1, "int") && !is("inet_sock_set_state", 1, "sock"), "{kernel}");
        assert!(!is("kfree_skb", usize::MAX, "sock") && !is("kfree_skb", 99, "sock"), "{kernel}");
        assert!(!is("nothing", 0, "sock") && !is("tcp_timewait_state_process", 0, "inet_timewait_sock"), "{kernel}");
    }
}

/// As many as bpftool shows.
#[test]
fn arguments_of_functions_are_counted() {
    for (kernel, arguments) in [("6.1", 3), ("6.12", 4), ("6.18", 5)] {
        assert_eq!(of(kernel).arguments_of("tcp_timewait_state_process"), Some(arguments), "on {kernel}");
        // A tracepoint's type is no function, nor is a structure.
        assert_eq!(of(kernel).arguments_of("btf_trace_kfree_skb"), None, "on {kernel}");
        assert_eq!(of(kernel).arguments_of("sock"), None, "on {kernel}");
    }
}

/// What is cut out of the types before they are parsed says the same, and aya finds the same numbers in it.
#[test]
fn an_extract_says_the_same() {
    for kernel in KERNELS {
        let whole = bytes(kernel, "btf");
        let extracts = extract(&whole, &asked()).unwrap();
        let (from_whole, from_extract) = (of(kernel), KernelTypes::parse(&extracts.alone).unwrap());
        assert_eq!(from_extract.offsets().unwrap(), from_whole.offsets().unwrap(), "on {kernel}");
        assert_eq!(from_extract.stack_bytes(4096), from_whole.stack_bytes(4096), "on {kernel}");
        assert_eq!(from_extract.has_preemptible_tracepoints(), from_whole.has_preemptible_tracepoints(), "on {kernel}");
        assert_eq!(from_extract.has_threaded_softirqs(), from_whole.has_threaded_softirqs(), "on {kernel}");
        let numbers = |blob: &[u8]| {
            let btf = Btf::parse(blob, Default::default()).unwrap();
            let of = |name: &str, kind| btf.id_by_type_name_kind(name, kind).ok();
            let hooks = HOOKS.iter().flat_map(|hook| {
                let functions = [hook.name].into_iter().chain(hook.along.iter().map(|along| along.name));
                let typedef = of(&format!("btf_trace_{}", hook.name), BtfKind::Typedef);
                [typedef].into_iter().chain(functions.map(|function| of(function, BtfKind::Func)))
            });
            hooks.collect::<Vec<_>>()
        };
        assert_eq!(numbers(&extracts.in_place), numbers(&whole), "on {kernel}");
        for hook in HOOKS {
            assert_eq!(
                from_extract.arguments_of(hook.name),
                from_whole.arguments_of(hook.name),
                "{} on {kernel}",
                hook.name
            );
        }
        assert_eq!(
            from_extract.tracepoint_arg_is("kfree_skb", 3, "sock"),
            from_whole.tracepoint_arg_is("kfree_skb", 3, "sock"),
            "on {kernel}"
        );
    }
}

/// Types that are damaged are no types, or others; nothing panics or goes on for ever.
#[test]
fn an_extract_of_damaged_types() {
    let whole = bytes("6.12", "btf");
    assert!(extract(&[], &asked()).is_none() && extract(b"not BTF at all, but long enough", &asked()).is_none());
    for at in (0..whole.len()).step_by(whole.len() / 400) {
        let cut = extract(&whole[..at], &asked());
        assert!(cut.is_none(), "cut at {at}");
        for bit in [0, 3, 7] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            drop(extract(&damaged, &asked()));
        }
    }
}

/// The blob with one name replaced wherever it stands, by one that is not longer.
fn renamed(kernel: &str, old: &str, new: &str) -> KernelTypes {
    let mut blob = bytes(kernel, "btf");
    let (old, mut new) = ([b"\0", old.as_bytes(), b"\0"].concat(), [b"\0", new.as_bytes()].concat());
    new.resize(old.len(), 0);
    let at = blob.windows(old.len()).position(|bytes| bytes == old).expect("the name is there");
    blob[at..at + old.len()].copy_from_slice(&new);
    KernelTypes::parse(&blob).unwrap()
}

#[test]
fn a_missing_field_is_named_with_what_to_do() {
    for field in OFFSETS.iter().filter(|field| !field.optional) {
        let member = field.member.split('.').next_back().unwrap();
        let error = renamed("6.12", member, "x").offsets().unwrap_err();
        let said = format!("{error:#}");
        assert!(said.contains(member) && said.contains("struct "), "{member}: {said}");
        assert!(said.contains("Linux 5.15") && said.contains("report"), "what to do: {said}");
    }
    let said = format!("{:#}", renamed("6.12", "inet_timewait_sock", "x").offsets().unwrap_err());
    assert!(said.contains("inet_timewait_sock"), "{said}");
}

/// Where a field is, by its global.
pub fn offset(types: &KernelTypes, global: &str) -> u32 {
    types.offsets().unwrap().into_iter().find(|(name, _)| *name == global).unwrap().1
}

#[test]
fn a_missing_optional_field_is_absent() {
    let optional: Vec<_> = OFFSETS.iter().filter(|field| field.optional).collect();
    assert!(!optional.is_empty());
    for field in optional {
        let last = |member: &'static str| member.split('|').next().unwrap().split('.').next_back().unwrap();
        let name = last(field.member);
        if OFFSETS.iter().any(|other| !other.optional && last(other.member) == name) {
            // Without that one nothing starts.
            continue;
        }
        // Some are of older kernels only, others of newer ones.
        let with = KERNELS.into_iter().find(|kernel| offset(&of(kernel), field.global) != ABSENT);
        let kernel = with.unwrap_or_else(|| panic!("no kernel has {name}"));
        assert_eq!(offset(&renamed(kernel, name, "x"), field.global), ABSENT, "{name} on {kernel}");
    }
}

#[test]
fn another_name_for_a_field_is_as_good() {
    // Before 5.19.
    let older = renamed("6.12", "tw_refcount", "tw_count");
    assert_eq!(offset(&older, "OFF_TW_COUNT"), offset(&of("6.12"), "OFF_TW_COUNT"));
}

/// Between 5.15 and 6.1 it was one: what it points to is not in `struct net`.
#[test]
fn an_optional_field_that_is_a_pointer_is_absent() {
    let with = |member_type: u32| {
        let mut blob = bytes("6.1", "btf");
        let at = member(&blob, "tcp_death_row");
        blob[at + 4..at + 8].copy_from_slice(&member_type.to_le_bytes());
        KernelTypes::parse(&blob).unwrap()
    };
    let pointer = first_of_kind(&bytes("6.1", "btf"), 2);
    let number = first_of_kind(&bytes("6.1", "btf"), 1);
    assert_eq!(offset(&with(pointer), "OFF_DEATH_ROW"), ABSENT);
    assert_ne!(offset(&with(number), "OFF_DEATH_ROW"), ABSENT, "only a pointer is");
}

/// The types of a blob: where each begins, and its kind.
fn each_type(blob: &[u8]) -> Vec<(usize, u32)> {
    let word = |at: usize| u32::from_le_bytes(blob[at..at + 4].try_into().unwrap());
    let (mut at, end, mut found) = (24, 24 + word(12) as usize, Vec::new());
    while at < end {
        let (kind, elements) = (word(at + 4) >> 24 & 0x1f, (word(at + 4) & 0xffff) as usize);
        found.push((at, kind));
        at += 12
            + match kind {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => 12 * elements,
                6 | 13 => 8 * elements,
                _ => 0,
            };
    }
    found
}

/// The id of the first type of a kind.
fn first_of_kind(blob: &[u8], kind: u32) -> u32 {
    u32::try_from(each_type(blob).iter().position(|(_, found)| *found == kind).unwrap() + 1).unwrap()
}

/// Where the member of a structure with this name is described.
fn member(blob: &[u8], name: &str) -> usize {
    let strings = 24 + u32::from_le_bytes(blob[16..20].try_into().unwrap()) as usize;
    let wanted = [b"\0", name.as_bytes(), b"\0"].concat();
    let at = blob[strings..].windows(wanted.len()).position(|bytes| bytes == wanted).unwrap() + 1;
    let at = u32::try_from(at).unwrap().to_le_bytes();
    let structures = each_type(blob).into_iter().filter(|(_, kind)| *kind == 4);
    let members = structures.flat_map(|(start, _)| {
        let elements = usize::from(u16::from_le_bytes(blob[start + 4..start + 6].try_into().unwrap()));
        (0..elements).map(move |n| start + 12 + 12 * n)
    });
    members.into_iter().find(|member| blob[*member..*member + 4] == at).unwrap()
}

#[test]
fn truncated_btf_is_an_error() {
    for kernel in KERNELS {
        let whole = bytes(kernel, "btf");
        for length in 0..whole.len() {
            let cut = KernelTypes::parse(&whole[..length]).and_then(|types| types.offsets());
            // Nothing refers to the last name but a type that no field needs.
            assert!(cut.is_err() || length > whole.len() - 40, "{length} of {} bytes will do", whole.len());
        }
        assert!(KernelTypes::parse(&whole).unwrap().offsets().is_ok());
    }
    assert!(KernelTypes::parse(b"\x7fELF and more of it, longer than a header").is_err());
}

/// Whatever is wrong with it: an answer, and in bounded time.
#[test]
fn damaged_btf_never_panics() {
    let whole = bytes("6.18", "btf");
    let ask = |blob: &[u8]| {
        if let Ok(types) = KernelTypes::parse(blob) {
            let _ = types.offsets();
            let _ = types.tracepoint_arg_is("kfree_skb", 3, "sock");
        }
    };
    for at in 0..whole.len() {
        for change in [1u8, 2, 4, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= change;
            assert!(catch_unwind(|| ask(&damaged)).is_ok(), "byte {at} ^ {change:#x}");
        }
    }
    // A type that refers to itself, in every way in which one can.
    for (index, (start, kind)) in each_type(&whole).into_iter().enumerate() {
        let own = u32::try_from(index + 1).unwrap().to_le_bytes();
        let mut damaged = whole.clone();
        match kind {
            2 | 8..=12 => damaged[start + 8..start + 12].copy_from_slice(&own),
            4 | 5 if whole[start + 4] > 0 => {
                damaged[start + 12..start + 16].fill(0);
                damaged[start + 16..start + 20].copy_from_slice(&own);
            }
            _ => continue,
        }
        ask(&damaged);
    }
}
