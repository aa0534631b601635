//! What the kernel side needs of a kernel, read from the compiled object and held against a table of when Linux got it: nothing newer
//! than the oldest kernel we promise is needed without anybody noticing.

use std::collections::BTreeSet;

use aya_obj::ProgramSection;

use crate::object::object;

/// The oldest kernel by design.
const OLDEST: (u32, u32) = (5, 15);

/// Something the kernel has to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A helper function, by its number in `include/uapi/linux/bpf.h`.
    Helper(i32),
    /// A type of map, likewise.
    Map(u32),
    /// A type of program, by the name of its section.
    Program(&'static str),
}

/// What it is, and since when it can be had by programs of this kind.
pub struct Need {
    pub thing: Thing,
    pub name: &'static str,
    /// The first release.
    pub since: (u32, u32),
    /// The commit that made it so.
    pub commit: &'static str,
}

const fn need(thing: Thing, name: &'static str, since: (u32, u32), commit: &'static str) -> Need {
    Need { thing, name, since, commit }
}

/// Where a helper came to tracing programs later than to others, that counts.
pub const NEEDS: &[Need] = &[
    need(Thing::Program("tp_btf"), "`tp_btf` programs (tracepoints by BTF)", (5, 5), "f1b9509c2fb0"),
    need(Thing::Program("fexit"), "`fexit` programs (BPF trampolines; optional)", (5, 5), "fec56f5890d9"),
    need(Thing::Map(1), "`BPF_MAP_TYPE_HASH`", (3, 19), "0f8e4bd8a1fc"),
    need(Thing::Map(2), "`BPF_MAP_TYPE_ARRAY`, read-only for the program (`.rodata`)", (5, 2), "591fe9888d78"),
    need(Thing::Map(6), "`BPF_MAP_TYPE_PERCPU_ARRAY`", (4, 6), "a10423b87a7e"),
    need(Thing::Map(27), "`BPF_MAP_TYPE_RINGBUF`", (5, 8), "457f44363a88"),
    need(Thing::Helper(1), "`bpf_map_lookup_elem`", (3, 19), "d0003ec01c66"),
    need(Thing::Helper(5), "`bpf_ktime_get_ns`", (4, 1), "d9847d310ab4"),
    need(Thing::Helper(8), "`bpf_get_smp_processor_id`", (4, 1), "c04167ce2ca0"),
    need(Thing::Helper(158), "`bpf_get_current_task_btf`", (5, 11), "3ca1032ab7ab"),
    need(Thing::Helper(46), "`bpf_get_socket_cookie` for tracing programs", (5, 12), "c5dbb89fc2ac"),
    need(Thing::Helper(67), "`bpf_get_stack`", (4, 18), "de2ff05f48af"),
    need(Thing::Helper(80), "`bpf_get_current_cgroup_id`", (4, 18), "bf6fa2c893c5"),
    need(Thing::Helper(112), "`bpf_probe_read_user` (optional)", (5, 5), "6ae08ae3dea2"),
    need(Thing::Helper(113), "`bpf_probe_read_kernel`", (5, 5), "6ae08ae3dea2"),
    need(Thing::Helper(118), "`bpf_jiffies64` for tracing programs", (5, 9), "72e2b2b66f9c"),
    need(Thing::Helper(131), "`bpf_ringbuf_reserve`", (5, 8), "457f44363a88"),
    need(Thing::Helper(132), "`bpf_ringbuf_submit`", (5, 8), "457f44363a88"),
    need(Thing::Helper(133), "`bpf_ringbuf_discard`", (5, 8), "457f44363a88"),
];

/// `BPF_JMP | BPF_CALL`; the source register is 0 for a helper.
const CALL: u8 = 0x85;
/// The class of 32-bit jumps, which came with 5.1.
const JMP32: u8 = 0x06;
/// `BPF_STX | BPF_ATOMIC`, whatever its width. All operations but a plain `BPF_ADD` (0) came with 5.12.
const ATOMIC: u8 = 0xc3;
const ADD: i32 = 0;

#[test]
fn all_that_the_object_uses_is_in_the_table_and_old_enough() {
    let object = object();
    let mut used = BTreeSet::new();
    let instructions = || object.functions.values().flat_map(|function| &function.instructions);
    for call in instructions().filter(|instruction| instruction.code == CALL && instruction.src_reg() == 0) {
        used.insert(find(Thing::Helper(call.imm)));
    }
    for map in object.maps.values() {
        used.insert(find(Thing::Map(map.map_type())));
    }
    for program in object.programs.values() {
        used.insert(find(Thing::Program(match program.section {
            ProgramSection::BtfTracePoint => "tp_btf",
            ProgramSection::FExit { sleepable: false } => "fexit",
            ref other => panic!("{other:?} is not in the table"),
        })));
    }
    for (index, need) in NEEDS.iter().enumerate() {
        assert!(used.contains(&index), "nothing needs {} any more", need.name);
        assert!(need.since <= OLDEST, "{} is newer than the oldest kernel", need.name);
    }
}

fn find(thing: Thing) -> usize {
    NEEDS.iter().position(|need| need.thing == thing).unwrap_or_else(|| {
        panic!("the kernel side uses {thing:?}: look up since when tracing programs have it, and add it to the table")
    })
}

/// The compiler's target is the first BPF instruction set.
#[test]
fn the_instructions_are_as_old() {
    for function in object().functions.values() {
        for instruction in &function.instructions {
            assert_ne!(instruction.code & 0x07, JMP32, "{}: {instruction:?}", function.name);
            assert!(instruction.code & 0xe7 != ATOMIC || instruction.imm == ADD, "{}: {instruction:?}", function.name);
        }
    }
}
