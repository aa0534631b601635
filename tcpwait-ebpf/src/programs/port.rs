//! Calls that fail before anything is sent: bind(), listen() and connect(). Two ways to see them, of which one is attached: the functions
//! that decide cost nothing else; the return of system calls is to be had on every kernel.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_probe_read_kernel, bpf_probe_read_user},
    macros::{btf_tracepoint, fexit},
    programs::{BtfTracePointContext, FExitContext},
};
use tcpwait_wire::{
    config::{ABSENT, offset::*},
    wire::{CALL_WAS_BIND, CALL_WAS_CONNECT, CALL_WAS_LISTEN, Counter, Flow, Hook, Kind, PortRefused},
};

use crate::{
    claim::{Turn, takes, takes_if},
    counters::count,
    emit::emit,
    filter::wanted,
    kernel::{AF_INET, AF_INET6, EADDRINUSE, TCP_LISTEN},
    maps::{CALL_BIND, CALL_CONNECT, CALL_LISTEN},
    sock::{
        At, Fields, Netns, Typed, bound_port, flow, is_multipath, is_stream, make_cookie, netns, netns_of, reuse, rport,
    },
    task,
};

/// Whether a call that gave this back failed for a reason that leaves nothing else behind: where a state change tells, its `sk_err`
/// says why.
#[inline(always)]
fn is_told(result: i64) -> bool {
    const EPERM: i64 = 1;
    const ENOMEM: i64 = 12;
    const EACCES: i64 = 13;
    const EINVAL: i64 = 22;
    const EADDRNOTAVAIL: i64 = 99;
    const ENETUNREACH: i64 = 101;
    const ENOBUFS: i64 = 105;
    const EHOSTUNREACH: i64 = 113;
    const EKEYREJECTED: i64 = 129;
    result < 0
        && matches!(
            -result,
            EPERM
                | ENOMEM
                | EACCES
                | EINVAL
                | EADDRINUSE
                | EADDRNOTAVAIL
                | ENETUNREACH
                | ENOBUFS
                | EHOSTUNREACH
                | EKEYREJECTED
        )
}

/// Question: which socket did not get its port?
/// Prototype: `inet_csk_get_port(struct sock *sk, unsigned short snum)`, which gives 1 up to 5.19 and -EADDRINUSE since (5.15, 6.1 read).
/// Since: BPF trampolines. Runs in process context; the socket shows the address that was asked for until it returns (`__inet_bind`).
/// It is reached by the connections of Multipath TCP, too (`mptcp_bind`).
#[inline(always)]
fn got_port(ctx: FExitContext, program: u64) -> i32 {
    let result: i32 = ctx.arg(2);
    // SAFETY: the function's argument.
    let sk = unsafe { Typed::new(ctx.arg(0)) };
    if !takes_if(&ctx, Turn::at_the_end(Hook::Port, program), sk.number(), result != 0) || !is_stream(sk) {
        return 0;
    }
    let port: u16 = ctx.arg(1);
    // listen() asks after it has changed the state (inet_csk_listen_start).
    let call = if sk.read::<u8>(&OFF_STATE) == TCP_LISTEN { CALL_WAS_LISTEN } else { CALL_WAS_BIND };
    let netns = netns_of(sk);
    let mut flow = flow(sk, netns, port, 0);
    flow.raddr = [0; 16];
    tell(&ctx, make_cookie(sk), netns, flow, call, EADDRINUSE, sk.at());
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

/// Question: which bind() failed for another reason than the port?
/// Prototype: `inet_bind(struct socket *sock, struct sockaddr *uaddr, int addr_len)`; the address was copied from the process (`move_addr_to_kernel`).
/// Since: BPF trampolines. What forbids the call before it (LSM, seccomp) is not seen.
#[fexit(function = "inet_bind")]
fn inet_bind(ctx: FExitContext) -> i32 {
    bound(ctx, Turn::at_the_end(Hook::Bind, 1))
}

#[fexit(function = "inet_bind")]
fn inet_bind_2(ctx: FExitContext) -> i32 {
    bound(ctx, Turn::at_the_end(Hook::Bind, 2))
}

/// The same of IPv6.
#[fexit(function = "inet6_bind")]
fn inet6_bind(ctx: FExitContext) -> i32 {
    bound(ctx, Turn::at_the_end(Hook::Bind6, 1))
}

#[fexit(function = "inet6_bind")]
fn inet6_bind_2(ctx: FExitContext) -> i32 {
    bound(ctx, Turn::at_the_end(Hook::Bind6, 2))
}

#[inline(always)]
fn bound(ctx: FExitContext, turn: Turn) -> i32 {
    let result = i64::from(ctx.arg::<i32>(3));
    // EADDRINUSE was told by the function that found it.
    if takes_if(&ctx, turn, ctx.arg(0), is_told(result) && result != -EADDRINUSE) {
        failed(&ctx, CALL_WAS_BIND, result);
    }
    0
}

/// Question: what did connect() give back?
/// Prototype: `inet_stream_connect(struct socket *sock, struct sockaddr *uaddr, int addr_len, int flags)`, of IPv4 and IPv6.
/// Since: BPF trampolines.
#[inline(always)]
fn connected(ctx: FExitContext, program: u64) -> i32 {
    let result = i64::from(ctx.arg::<i32>(4));
    if takes_if(&ctx, Turn::at_the_end(Hook::Connect, program), ctx.arg(0), is_told(result)) {
        failed(&ctx, CALL_WAS_CONNECT, result);
    }
    0
}

#[fexit(function = "inet_stream_connect")]
fn inet_stream_connect(ctx: FExitContext) -> i32 {
    connected(ctx, 1)
}

#[fexit(function = "inet_stream_connect")]
fn inet_stream_connect_2(ctx: FExitContext) -> i32 {
    connected(ctx, 2)
}

/// A function that was handed a `struct socket` and an address gave back an error.
#[inline(always)]
fn failed(ctx: &FExitContext, call: u8, result: i64) {
    let sk = At(ctx.arg(0)).follow(&OFF_SOCKET_SK);
    if is_stream(sk) {
        told::<false>(ctx, sk, ctx.arg(1), call, result);
    }
}

/// Question: the same, where a kernel allows no trampoline.
/// Prototype: `sys_exit(struct pt_regs *regs, long ret)`.
/// Since: 2.6. At every system call of the machine, but ends at the first comparisons for all that give none of a few errors. 32-bit
/// programs' calls and those of io_uring are not seen.
#[inline(always)]
fn returned(ctx: BtfTracePointContext, program: u64) -> i32 {
    let result: i64 = ctx.arg(1);
    if !is_told(result) {
        return 0;
    }
    if OFF_REGS_CALL.load() == ABSENT || OFF_REGS_FD.load() == ABSENT || OFF_REGS_ADDRESS.load() == ABSENT {
        return 0;
    }
    let registers = At(ctx.arg::<*const core::ffi::c_void>(0) as u64);
    let number: u32 = registers.read(&OFF_REGS_CALL);
    let call = if number == CALL_BIND.load() {
        CALL_WAS_BIND
    } else if number == CALL_CONNECT.load() {
        CALL_WAS_CONNECT
    } else if number == CALL_LISTEN.load() {
        CALL_WAS_LISTEN
    } else {
        return 0;
    };
    let sk = socket(registers.read(&OFF_REGS_FD));
    if is_stream(sk) && takes(&ctx, Turn::of_two(Hook::SysExit, program), sk.0) {
        told::<true>(&ctx, sk, registers.read(&OFF_REGS_ADDRESS), call, result);
    }
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

/// Tells of a call that failed on this socket; the address that was asked for is read from the process's memory, or the kernel's.
#[inline(always)]
fn told<const USER: bool>(ctx: &impl EbpfContext, sk: At, address: u64, call: u8, result: i64) {
    let netns = netns(sk);
    // A socket that may not listen keeps its address; one that was not bound has none left.
    let mut flow = flow(sk, netns, bound_port(sk), if call == CALL_WAS_CONNECT { rport(sk) } else { 0 });
    if call != CALL_WAS_CONNECT {
        flow.raddr = [0; 16];
    }
    if call != CALL_WAS_LISTEN {
        asked_for::<USER>(address, call == CALL_WAS_CONNECT, &mut flow);
    }
    tell(ctx, known_as(sk).read(&OFF_COOKIE), netns, flow, call, result, sk);
}

/// The socket whose state changes tell of the same call: of Multipath TCP its first connection.
#[inline(always)]
fn known_as(sk: At) -> At {
    if OFF_MPTCP_FIRST.load() == ABSENT || !is_multipath(sk) {
        return sk;
    }
    let first = sk.follow(&OFF_MPTCP_FIRST);
    if first.0 == 0 { sk } else { first }
}

#[inline(always)]
fn tell(ctx: &impl EbpfContext, cookie: u64, netns: Netns<impl Fields>, flow: Flow, call: u8, result: i64, sk: At) {
    if !wanted(netns, flow.lport, flow.rport) {
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
                (*record).errno = if result < 0 { -result as u16 } else { result as u16 };
                (*record).call = call;
                (*record).reuse = reuse(sk);
                (*record).socket = sk.0 as u32;
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

/// Takes the local (or the remote) address from a `struct sockaddr_in` or `struct sockaddr_in6`: after a refusal the socket has none any more.
#[inline(always)]
fn asked_for<const USER: bool>(address: u64, remote: bool, to: &mut Flow) {
    let Some(family) = read::<USER, u16>(address) else { return };
    let Some(port) = read::<USER, u16>(address + 2) else { return };
    let bytes = if family == AF_INET6 {
        read::<USER, [u8; 16]>(address + 8)
    } else if family == AF_INET {
        read::<USER, [u8; 4]>(address + 4).map(|[a, b, c, d]| [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    } else {
        None
    };
    let Some(bytes) = bytes else { return };
    if to.family != family {
        // An address of the other family stands for none of this one's.
        to.laddr = [0; 16];
        to.raddr = [0; 16];
        to.family = family;
    }
    if remote {
        to.rport = u16::from_be(port);
        to.raddr = bytes;
    } else {
        to.lport = u16::from_be(port);
        to.laddr = bytes;
    }
}

#[inline(always)]
fn read<const USER: bool, T>(address: u64) -> Option<T> {
    // SAFETY: the helpers check the address themselves and report a fault as an error.
    unsafe {
        if USER {
            bpf_probe_read_user(address as *const T).ok()
        } else {
            bpf_probe_read_kernel(address as *const T).ok()
        }
    }
}
