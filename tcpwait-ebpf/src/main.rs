//! The eBPF programs: a table of contents. Each hook is a file in `programs/`, with its question, prototype and cost.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch, stmt_expr_attributes))]

#[cfg(target_arch = "bpf")]
mod claim;
#[cfg(target_arch = "bpf")]
mod counters;
#[cfg(target_arch = "bpf")]
mod emit;
#[cfg(target_arch = "bpf")]
mod filter;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod opaque;
#[cfg(target_arch = "bpf")]
mod programs;
#[cfg(target_arch = "bpf")]
mod ring;
#[cfg(target_arch = "bpf")]
mod sample;
#[cfg(target_arch = "bpf")]
mod sock;
#[cfg(target_arch = "bpf")]
mod task;

/// The kernel only gives its tracing helpers to programs that say they are GPL compatible.
#[cfg(target_arch = "bpf")]
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier rejects a program that can come here, so none of the loaded ones does.
    loop {}
}

/// Host builds exist so that one `cargo clippy` and one `cargo test` see the whole workspace.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
