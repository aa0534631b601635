//! How the tracing is done: options that all commands that trace have.

use clap::{Args, ValueEnum};

use super::values::{mebibytes, seconds};
use crate::kernel::{Choice, Choices};

/// How the tracing is done.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tracing")]
pub struct Tracing {
    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<std::time::Duration>,
    /// Size of the ring buffer in MiB, a power of two
    #[arg(long, value_name = "MIB", default_value = "16", value_parser = mebibytes)]
    pub ring_buffer: u32,
    /// How many CPUs share a ring buffer, for tests of machines that have many
    #[arg(long, value_name = "N", hide = true)]
    pub cpus_of_a_ring: Option<u32>,
    /// Hook that timestamps the FIN that ends an orphan's FIN_WAIT2 and the segments that restart TIME_WAIT's timer
    #[arg(long, value_enum, default_value_t)]
    pub timing: TimingBy,
    /// Hook that reports bind(), listen() and connect() calls that fail before anything is sent
    #[arg(long, value_enum, default_value_t)]
    pub refused_ports: PortsBy,
    /// Verbose diagnostics on stderr: the log of the eBPF programs and of the verifier
    #[arg(short = 'v', long)]
    pub verbose: bool,
}

/// What times late segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TimingBy {
    /// the best that this kernel has
    #[default]
    Auto,
    /// fexit on tcp_timewait_state_process
    Fexit,
    /// the tracepoint skb:kfree_skb, where it carries rx_sk
    #[value(name = "kfree_skb")]
    KfreeSkb,
    /// the timer only: precise to a jiffy, reported late
    Timer,
}

/// What tells of refused ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PortsBy {
    /// fexit; where this kernel has none, trace, record and ports take sys_exit, and stat, top and export do without
    #[default]
    Auto,
    /// fexit on inet_csk_get_port, at no other cost
    Fexit,
    /// the tracepoint raw_syscalls:sys_exit, at a small cost to every system call of the machine
    #[value(name = "sys_exit")]
    SysExit,
    /// none: such calls are not reported
    Off,
}

/// The hooks that are to be taken of those that do the same work. `each_call`: whoever asks wants to see single calls, at a cost to the machine.
pub fn choices(timing: TimingBy, ports: PortsBy, each_call: bool) -> Choices {
    Choices {
        segments: match timing {
            TimingBy::Auto => Choice::Best,
            TimingBy::Fexit => Choice::Hook("tcp_timewait_state_process"),
            TimingBy::KfreeSkb => Choice::Hook("kfree_skb"),
            TimingBy::Timer => Choice::None,
        },
        ports: match ports {
            PortsBy::Auto if each_call => Choice::Best,
            PortsBy::Auto => Choice::Cheap,
            PortsBy::Fexit => Choice::Hook("inet_csk_get_port"),
            PortsBy::SysExit => Choice::Hook("sys_exit"),
            PortsBy::Off => Choice::None,
        },
    }
}
