//! Ports that were refused: bind() and listen() that failed with EADDRINUSE. Two hooks, of which one is attached: the function that
//! decides costs nothing else; the return of system calls is to be had on every kernel.

use aya_ebpf::{
    EbpfContext,
    helpers::bpf_probe_read_user,
    macros::{btf_tracepoint, fexit},
    programs::{BtfTracePointContext, FExitContext},
};
use tcpwait_wire::{
    config::{ABSENT, offset::*},
    wire::{Counter, Flow, Hook, Kind, PortRefused},
};

use crate::{
    claim::{Turn, takes},
    emit::{count, emit},
    filter::wanted,
    maps::{CALL_BIND, CALL_LISTEN},
    sock::{At, Fields, Netns, Typed, bound_port, flow, is_tcp, make_cookie, netns, netns_of, reuse},
    task,
};

const EADDRINUSE: i64 = 98;
const LISTEN: u8 = 10;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Question: which socket did not get its port?
/// Prototype: `inet_csk_get_port(struct sock *sk, unsigned short snum)`, which gives 1 up to 5.19 and -EADDRINUSE since (5.15, 6.1 read).
/// Since: BPF trampolines. Runs in process context; the socket shows the address that was asked for until it returns (`__inet_bind`).
#[inline(always)]
fn got_port(ctx: FExitContext, program: u64) -> i32 {
    let result: i32 = ctx.arg(2);
    if result == 0 {
        return 0;
    }
    // SAFETY: the function's argument.
    let sk = unsafe { Typed::new(ctx.arg(0)) };
    let port: u16 = ctx.arg(1);
    if !is_tcp(sk) {
        return 0;
    }
    if !takes(&ctx, Turn::of_two(Hook::Port, program), sk.number()) {
        return 0;
    }
    // listen() asks after it has changed the state (inet_csk_listen_start).
    let listen = sk.read::<u8>(&OFF_STATE) == LISTEN;
    let netns = netns_of(sk);
    tell(&ctx, make_cookie(sk), netns, flow(sk, netns, port, 0), listen, reuse(sk));
    0
}

#[fexit(function = "inet_csk_get_port")]
fn inet_csk_get_port(ctx: FExitContext) -> i32 {
    got_port(ctx, 1)
}

#[fexit(function = "inet_csk_get_port")]
fn inet_csk_get_port_2(ctx: FExitContext) -> i32 {
    got_port(ctx, 2)
}

/// Question: the same, where a kernel allows no trampoline.
/// Prototype: `sys_exit(struct pt_regs *regs, long ret)`.
/// Since: 2.6. At every system call of the machine, but ends at the first comparison for all that do not give EADDRINUSE. 32-bit
/// programs' calls and those of io_uring are not seen.
#[inline(always)]
fn returned(ctx: BtfTracePointContext, program: u64) -> i32 {
    let result: i64 = ctx.arg(1);
    if result != -EADDRINUSE {
        return 0;
    }
    if OFF_REGS_CALL.load() == ABSENT || OFF_REGS_FD.load() == ABSENT || OFF_REGS_ADDRESS.load() == ABSENT {
        return 0;
    }
    let registers = At(ctx.arg::<*const core::ffi::c_void>(0) as u64);
    let call: u32 = registers.read(&OFF_REGS_CALL);
    let listen = call == CALL_LISTEN.load();
    if !listen && call != CALL_BIND.load() {
        return 0;
    }
    let at = socket(registers.read(&OFF_REGS_FD));
    if !is_tcp(at) {
        return 0;
    }
    if !takes(&ctx, Turn::of_two(Hook::SysExit, program), at.0) {
        return 0;
    }
    // A socket that may not listen keeps its address; one that was not bound has none left.
    let netns = netns(at);
    let mut flow = flow(at, netns, bound_port(at), 0);
    if !listen {
        asked_for(registers.read(&OFF_REGS_ADDRESS), &mut flow);
    }
    tell(&ctx, at.read(&OFF_COOKIE), netns, flow, listen, reuse(at));
    0
}

#[btf_tracepoint(function = "sys_exit")]
fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    returned(ctx, 1)
}

#[btf_tracepoint(function = "sys_exit")]
fn sys_exit_2(ctx: BtfTracePointContext) -> i32 {
    returned(ctx, 2)
}

#[inline(always)]
fn tell(ctx: &impl EbpfContext, cookie: u64, netns: Netns<impl Fields>, mut flow: Flow, listen: bool, reuse: u8) {
    flow.raddr = [0; 16];
    if !wanted(netns, flow.lport, 0) {
        return;
    }
    count(Counter::PortRefused);
    emit::<PortRefused>(
        ctx,
        Kind::PortRefused,
        0,
        Counter::LostPortRefused,
        #[inline(always)]
        |record| {
            // SAFETY: reserved memory.
            unsafe {
                (*record).cookie = cookie;
                (*record).flow = flow;
                (*record).task = task::current();
                (*record).errno = EADDRINUSE as u16;
                (*record).listen = u8::from(listen);
                (*record).reuse = reuse;
                (*record).reserved = 0;
            }
        },
    );
}

/// The socket behind a descriptor of the current task.
#[inline(always)]
fn socket(descriptor: u32) -> At {
    let table = Typed::current_task().follow(&OFF_TASK_FILES).follow(&OFF_FILES_TABLE).follow(&OFF_TABLE_FD);
    let file: At = At(At(table.0 + 8 * u64::from(descriptor)).read_here());
    file.follow(&OFF_FILE_PRIVATE).follow(&OFF_SOCKET_SK)
}

/// The address in the caller's memory (`struct sockaddr_in`, `struct sockaddr_in6`): after a refusal the socket has none any more.
#[inline(always)]
fn asked_for(address: u64, to: &mut Flow) {
    // SAFETY: bpf_probe_read_user checks the address itself and reports a fault as an error.
    unsafe {
        let Ok(family) = bpf_probe_read_user(address as *const u16) else { return };
        let Ok(port) = bpf_probe_read_user((address + 2) as *const u16) else { return };
        to.lport = u16::from_be(port);
        to.laddr = [0; 16];
        if family == AF_INET6 {
            if let Ok(bytes) = bpf_probe_read_user((address + 8) as *const [u8; 16]) {
                to.laddr = bytes;
            }
            to.family = AF_INET6;
        } else if let Ok([a, b, c, d]) = bpf_probe_read_user((address + 4) as *const [u8; 4]) {
            to.laddr = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            to.family = AF_INET;
        }
    }
}
