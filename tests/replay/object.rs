//! The compiled kernel side holds what user space will ask it for: a program for every hook, the maps, the globals, and
//! a licence that the kernel lets call its GPL-only helpers.

use std::collections::HashMap;

use aya_obj::{Object, ProgramSection};
use tcpwait::kernel::{AttachKind, HOOKS, Preemption};
use tcpwait_wire::{
    config::{
        COUNTS_MAP, FILTER_LPORT, FILTER_NETNS, FILTER_RPORT, LPORT_FILTER_MAP, NETNS_FILTER_MAP, OFFSETS, RING_MAPS,
        RPORT_FILTER_MAP, TW_TIMER_HANDLER, WAKE_BYTES,
    },
    wire::COUNT_WORDS,
};

/// `BPF_MAP_TYPE_…` of `include/uapi/linux/bpf.h`.
const HASH: u32 = 1;
const PERCPU_ARRAY: u32 = 6;
const RINGBUF: u32 = 27;

static BYTES: &[u8] = aya::include_bytes_aligned!(env!("TCPWAIT_BPF_OBJECT"));

pub fn object() -> Object {
    Object::parse(BYTES).unwrap()
}

/// DWARF was five of the six megabytes; the verifier's log has its source lines from `.BTF.ext`.
#[test]
fn nothing_is_shipped_that_only_a_debugger_reads() {
    let has = |name: &[u8]| BYTES.windows(name.len()).any(|bytes| bytes == name);
    assert!(has(b".BTF.ext") && !has(b".debug_"));
    assert!(object().btf_ext.is_some());
}

/// The kernel that needs all of them.
const EVERYWHERE: Preemption = Preemption { tracepoints: true, functions: true };

#[test]
fn every_hook_has_its_program() {
    let mut programs: Vec<String> = object().programs.into_keys().collect();
    programs.sort();
    let all = || HOOKS.iter().flat_map(|hook| hook.programs(EVERYWHERE).map(move |on| (hook.kind, on)));
    let mut hooks: Vec<&str> = all().flat_map(|(_, on)| on.names).collect();
    hooks.sort_unstable();
    assert_eq!(programs, hooks);
    for (name, program) in object().programs {
        let (kind, _) = all().find(|(_, on)| on.names.contains(&name.as_str())).unwrap();
        let fits = match program.section {
            ProgramSection::BtfTracePoint => kind == AttachKind::Tracepoint,
            ProgramSection::FExit { .. } => kind == AttachKind::Fexit,
            _ => false,
        };
        assert!(fits, "{name} is {:?}", program.section);
    }
}

#[test]
fn every_map_is_there_and_of_its_type() {
    let object = object();
    for (name, kind) in [
        (RING_MAPS[0], RINGBUF),
        (RING_MAPS[7], RINGBUF),
        (COUNTS_MAP, PERCPU_ARRAY),
        (NETNS_FILTER_MAP, HASH),
        (LPORT_FILTER_MAP, HASH),
        (RPORT_FILTER_MAP, HASH),
    ] {
        let map = object.maps.get(name).unwrap_or_else(|| panic!("no map {name}"));
        assert_eq!(map.map_type(), kind, "{name}");
    }
    assert_eq!(object.maps[COUNTS_MAP].value_size() as usize, COUNT_WORDS * size_of::<u64>());
}

#[test]
fn every_global_is_there_and_as_wide_as_what_is_written_to_it() {
    let mut object = object();
    let offsets = OFFSETS.iter().map(|offset| (offset.global, &[0u8; 4][..]));
    let filters = [FILTER_NETNS, FILTER_LPORT, FILTER_RPORT].map(|name| (name, &[0u8; 1][..]));
    let wide = [TW_TIMER_HANDLER, WAKE_BYTES].map(|name| (name, &[0u8; 8][..]));
    let globals: HashMap<&str, (&[u8], bool)> =
        offsets.chain(filters).chain(wide).map(|(name, bytes)| (name, (bytes, true))).collect();
    object.patch_map_data(globals).unwrap();
}

#[test]
fn the_licence_is_one_that_the_kernel_knows() {
    assert_eq!(object().license.as_c_str(), c"Dual MIT/GPL");
}
