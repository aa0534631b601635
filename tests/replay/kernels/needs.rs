//! What the kernel side needs of a kernel, read from the compiled object and held against the table of when Linux got it: nothing newer
//! than the oldest kernel we promise is needed without anybody noticing.

use std::collections::BTreeSet;

use aya_obj::ProgramSection;
use tcpwait::kernel::{NEEDS, OLDEST, Thing};

use crate::object::object;

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
