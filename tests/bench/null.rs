//! A tracer that does nothing: an empty BPF program on each hook it is told, held until SIGTERM or the end of stdin.
//! What it costs is what the hooks cost; the rest is the real tracer's. It knows no hook by name.

use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result};
use aya_obj::btf::{Btf, BtfKind};
use aya_obj::generated::{
    bpf_attach_type::{BPF_TRACE_FEXIT, BPF_TRACE_RAW_TP},
    bpf_attr, bpf_cmd,
    bpf_prog_type::BPF_PROG_TYPE_TRACING,
};
use clap::Parser;
use nix::libc;

/// `r0 = 0; exit`
const EMPTY: [u64; 2] = [0xb7, 0x95];
/// As the kernel wants it of tracing programs; this one calls nothing.
const LICENSE: &std::ffi::CStr = c"Dual MIT/GPL";

/// Holds an empty BPF program on each of these hooks until SIGTERM or the end of stdin. Needs root.
#[derive(Parser)]
#[command(name = "tcpwait-null")]
struct Null {
    /// Tracepoints; where there is none of a name, functions, on whose return the program runs
    #[arg(required = true)]
    hooks: Vec<String>,
}

fn main() -> Result<()> {
    let Null { hooks } = Null::parse();
    let btf = Btf::from_sys_fs().context("reading the kernel's types from /sys/kernel/btf/vmlinux")?;
    let held: Vec<_> = hooks.iter().map(|hook| attach(hook, &btf)).collect::<Result<_>>()?;
    eprintln!("Tracing nothing on {} hooks.", held.len());
    io::stdin().lock().read_to_end(&mut Vec::new()).context("waiting for the end of stdin")?;
    Ok(())
}

/// The program and its link.
fn attach(hook: &str, btf: &Btf) -> Result<(OwnedFd, OwnedFd)> {
    let tracepoint = btf.id_by_type_name_kind(&format!("btf_trace_{hook}"), BtfKind::Typedef);
    let (kind, id) = match tracepoint {
        Ok(id) => (BPF_TRACE_RAW_TP, id),
        Err(_) => {
            let function = btf.id_by_type_name_kind(hook, BtfKind::Func);
            (BPF_TRACE_FEXIT, function.with_context(|| format!("this kernel has no tracepoint or function {hook}"))?)
        }
    };
    // SAFETY: all zeros is a valid bpf_attr: every member is an integer, and 0 is each one's default.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_3.prog_type = BPF_PROG_TYPE_TRACING as u32;
    attr.__bindgen_anon_3.expected_attach_type = kind as u32;
    attr.__bindgen_anon_3.attach_btf_id = id;
    attr.__bindgen_anon_3.insns = EMPTY.as_ptr() as u64;
    attr.__bindgen_anon_3.insn_cnt = EMPTY.len() as u32;
    attr.__bindgen_anon_3.license = LICENSE.as_ptr() as u64;
    let mut name = [0; 16];
    for (to, from) in name.iter_mut().take(15).zip(hook.bytes()) {
        *to = from as libc::c_char;
    }
    attr.__bindgen_anon_3.prog_name = name;
    let program = bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)
        .with_context(|| format!("loading an empty program for {hook} (needs root)"))?;
    // SAFETY: as above.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.raw_tracepoint.prog_fd = program.as_raw_fd() as u32;
    let link = bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
        .with_context(|| format!("attaching an empty program to {hook}"))?;
    Ok((program, link))
}

/// bpf(2), for the commands that return a descriptor.
fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let size = size_of::<bpf_attr>();
    // SAFETY: `attr` is a whole bpf_attr of that size, and what it points to outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_int, std::ptr::from_mut(attr), size) };
    match RawFd::try_from(fd) {
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
