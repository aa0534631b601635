//! What the kernel side needs of a kernel, since when Linux has it, and what of it a kernel lacks: asked of the kernel, whose verifier names
//! the helper that it does not know, and never of its version, since distributions carry backports.

use std::collections::BTreeSet;

use aya::{maps::MapType, sys::is_map_supported};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// What is needed.
    pub thing: Thing,
    /// Its name, as Markdown.
    pub name: &'static str,
    /// The first release.
    pub since: (u32, u32),
    /// The commit that made it so.
    pub commit: &'static str,
}

/// The oldest kernel by design.
pub const OLDEST: (u32, u32) = (5, 15);

const fn need(thing: Thing, name: &'static str, since: (u32, u32), commit: &'static str) -> Needed {
    Needed { thing, name, since, commit }
}

/// All of it: tests/replay/kernels/needs.rs holds it against the compiled object. Where a helper came to tracing programs later than to others,
/// that counts.
pub const NEEDS: &[Needed] = &[
    need(Thing::Program("tp_btf"), "`tp_btf` programs (tracepoints by BTF)", (5, 5), "f1b9509c2fb0"),
    need(Thing::Program("fexit"), "`fexit` programs (BPF trampolines; optional)", (5, 5), "fec56f5890d9"),
    need(Thing::Map(1), "`BPF_MAP_TYPE_HASH`", (3, 19), "0f8e4bd8a1fc"),
    need(Thing::Map(2), "`BPF_MAP_TYPE_ARRAY`, read-only for the program (`.rodata`)", (5, 2), "591fe9888d78"),
    need(Thing::Map(6), "`BPF_MAP_TYPE_PERCPU_ARRAY`", (4, 6), "a10423b87a7e"),
    need(Thing::Map(27), "`BPF_MAP_TYPE_RINGBUF`", (5, 8), "457f44363a88"),
    need(Thing::Helper(1), "`bpf_map_lookup_elem`", (3, 19), "d0003ec01c66"),
    need(Thing::Helper(2), "`bpf_map_update_elem`", (3, 19), "d0003ec01c66"),
    need(Thing::Helper(3), "`bpf_map_delete_elem`", (3, 19), "d0003ec01c66"),
    need(Thing::Helper(5), "`bpf_ktime_get_ns`", (4, 1), "d9847d310ab4"),
    need(Thing::Helper(8), "`bpf_get_smp_processor_id`", (4, 1), "c04167ce2ca0"),
    need(Thing::Helper(158), "`bpf_get_current_task_btf`", (5, 11), "3ca1032ab7ab"),
    need(Thing::Helper(46), "`bpf_get_socket_cookie` for tracing programs", (5, 12), "c5dbb89fc2ac"),
    need(Thing::Helper(67), "`bpf_get_stack`", (4, 18), "de2ff05f48af"),
    need(Thing::Helper(80), "`bpf_get_current_cgroup_id`", (4, 18), "bf6fa2c893c5"),
    need(Thing::Helper(112), "`bpf_probe_read_user` (optional)", (5, 5), "6ae08ae3dea2"),
    need(Thing::Helper(113), "`bpf_probe_read_kernel`", (5, 5), "6ae08ae3dea2"),
    need(Thing::Helper(137), "`bpf_skc_to_tcp_sock`", (5, 9), "478cfbdf5f13"),
    need(Thing::Helper(118), "`bpf_jiffies64` for tracing programs", (5, 9), "72e2b2b66f9c"),
    need(Thing::Helper(131), "`bpf_ringbuf_reserve`", (5, 8), "457f44363a88"),
    need(Thing::Helper(132), "`bpf_ringbuf_submit`", (5, 8), "457f44363a88"),
    need(Thing::Helper(133), "`bpf_ringbuf_discard`", (5, 8), "457f44363a88"),
];

/// What the verifier of some version says of a helper that it does not know, or that tracing programs may not call: a name and `#number` follow
/// (`check_helper_call`, 5.5 to 7.3).
const UNKNOWN_HELPER: [&str; 3] = ["invalid func ", "unknown func ", "program of this type cannot use helper "];

/// What of [`NEEDS`] is lacking, by what the verifier said of programs that it refused.
pub fn lacking_helpers<'a>(logs: impl Iterator<Item = &'a str>) -> Vec<&'static Needed> {
    let numbers: BTreeSet<i32> = logs.flat_map(str::lines).filter_map(unknown_helper).collect();
    let is_lacking = |need: &&Needed| matches!(need.thing, Thing::Helper(number) if numbers.contains(&number));
    NEEDS.iter().filter(is_lacking).collect()
}

fn unknown_helper(line: &str) -> Option<i32> {
    let said = UNKNOWN_HELPER.iter().find_map(|phrase| Some(line.split_once(phrase)?.1))?;
    let (_, number) = said.split_once('#')?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The types of maps among [`NEEDS`] that this kernel lacks: it is asked to make one of each.
pub fn lacking_maps() -> Vec<&'static Needed> {
    let is_lacking = |need: &&Needed| {
        let kind = match need.thing {
            Thing::Map(1) => MapType::Hash,
            Thing::Map(2) => MapType::Array,
            Thing::Map(6) => MapType::PerCpuArray,
            Thing::Map(27) => MapType::RingBuf,
            _ => return false,
        };
        matches!(is_map_supported(kind), Ok(false))
    };
    NEEDS.iter().filter(is_lacking).collect()
}

/// One sentence for whoever started tcpwait on a kernel that lacks something; `None` if it lacks nothing.
pub fn too_old(release: &str, lacking: &[&Needed]) -> Option<String> {
    let things: Vec<String> =
        lacking.iter().map(|need| format!("{} (Linux {})", plain(need), version(need.since))).collect();
    (!things.is_empty()).then(|| {
        format!(
            "this kernel ({release}) is too old: its BPF lacks {}; tcpwait runs on Linux {} and later",
            things.join(" and "),
            version(OLDEST)
        )
    })
}

fn plain(need: &Needed) -> String {
    need.name.replace('`', "")
}

fn version((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of 5.10, of 6.1 and of 6.12.
    #[test]
    fn the_verifier_names_what_is_lacking() {
        let logs = [
            "12: (85) call unknown#158\ninvalid func unknown#158\nprocessed 12 insns (limit 1000000)\n",
            "unknown func bpf_get_socket_cookie#46\n",
            "3: R0=scalar() program of this type cannot use helper bpf_get_stack#67",
            "invalid func unknown#100000\nunknown func without a number\nR1 invalid mem access 'scalar'",
        ];
        let lacking = lacking_helpers(logs.into_iter());
        let numbers: Vec<Thing> = lacking.iter().map(|need| need.thing).collect();
        assert_eq!(numbers, [Thing::Helper(158), Thing::Helper(46), Thing::Helper(67)]);
        let lacking: Vec<_> = lacking.into_iter().filter(|need| need.since > (5, 10)).collect();
        assert_eq!(
            too_old("5.10.0-46-cloud-amd64", &lacking).as_deref(),
            Some(
                "this kernel (5.10.0-46-cloud-amd64) is too old: its BPF lacks bpf_get_current_task_btf (Linux 5.11) and \
                 bpf_get_socket_cookie for tracing programs (Linux 5.12); tcpwait runs on Linux 5.15 and later"
            )
        );
        assert_eq!(too_old("6.1", &[]), None);
    }
}
