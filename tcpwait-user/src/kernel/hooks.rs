//! The hooks, one row each: what is attached where, and what is lost without it.

use std::iter;

use tcpwait_wire::wire;

use crate::lifecycle::SegmentSource;

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachKind {
    /// To a tracepoint (`tp_btf`).
    Tracepoint,
    /// To a function's return, through a BPF trampoline (`fexit`).
    Fexit,
}

/// Whether the tool can go on without a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It cannot.
    Required,
    /// It can, and says what is missing.
    Optional,
    /// One of those that do this work is enough; the first that can be had is taken.
    OneOf(Work),
}

/// What several hooks can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Times late segments: the FIN that ends an orphan's FIN_WAIT2, and restarts of TIME_WAIT's clock.
    Segments,
    /// Tells of calls that fail before anything is sent: bind(), listen(), connect().
    Ports,
    /// Tells who accepted a connection before it reads.
    Accepts,
}

/// A function that is attached along with a hook, in the same way, and its program, which has the same name.
#[derive(Clone, Copy, Debug)]
pub struct Along {
    /// Name of the program, and of the function.
    pub name: &'static str,
    /// Its number in the kernel side's counts.
    pub number: wire::Hook,
    /// As [`Hook::copies`]; they are needed only where tracepoints do not disable preemption.
    pub copies: &'static [&'static str],
}

/// A hook and its program, which has the same name.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Name of the program, and of the tracepoint or function.
    pub name: &'static str,
    /// How it is attached.
    pub kind: AttachKind,
    /// Its number in the kernel side's counts.
    pub number: wire::Hook,
    /// More of the same program, on the same hook, in their order: the kernel runs none inside itself (tcpwait-ebpf/src/claim.rs).
    pub copies: &'static [&'static str],
    /// How many of those are needed where tracepoints disable preemption; where they do not, all are.
    pub at_least: usize,
    /// Functions that tell the rest: their programs are attached with its own, all or none.
    pub along: &'static [Along],
    /// Whether the tool can go on without it.
    pub need: Need,
    /// What is not known where it is missing, as a clause.
    pub without: &'static str,
}

/// What is not known where no hook times late segments.
const UNTIMED: &str = "late segments within one timer bucket (about 2 s at HZ=250) are only seen when the timewait socket ends: the time of \
                       an orphan's FIN is precise to a jiffy, and several restarts of TIME_WAIT's timer count as one, cause unknown";

/// What is not known where no hook tells of refused ports.
const UNTOLD: &str = "failed bind() and listen() calls are not seen, nor connect() calls that fail before their SYN; the errno of others \
                      without a SYN is inferred";

/// What is not known where no hook tells who accepts.
const UNACCEPTED: &str = "the process of an accepted connection that writes first is unknown until it reads or closes";

/// Every hook, ends before beginnings; of those that do the same work, the better first. They are attached beside each other, and
/// tell nothing before all of them are.
pub const HOOKS: &[Hook] = &[
    required("timer_cancel", wire::Hook::TimerCancel, "why a TIME_WAIT ends early is unknown"),
    Hook {
        copies: &["timer_expire_entry_2"],
        ..required("timer_expire_entry", wire::Hook::TimerExpire, "the end of TIME_WAIT is unknown")
    },
    required("timer_start", wire::Hook::TimerStart, "the beginning of TIME_WAIT is unknown"),
    one_of(
        Work::Segments,
        "tcp_timewait_state_process",
        wire::Hook::Segment,
        &["tcp_timewait_state_process_2"],
        AttachKind::Fexit,
        UNTIMED,
    ),
    one_of(Work::Segments, "kfree_skb", wire::Hook::Drop, &["kfree_skb_2"], AttachKind::Tracepoint, UNTIMED),
    Hook {
        along: &[
            Along { name: "inet_bind", number: wire::Hook::Bind, copies: &["inet_bind_2"] },
            Along { name: "inet6_bind", number: wire::Hook::Bind6, copies: &["inet6_bind_2"] },
            Along { name: "inet_stream_connect", number: wire::Hook::Connect, copies: &["inet_stream_connect_2"] },
        ],
        ..one_of(
            Work::Ports,
            "inet_csk_get_port",
            wire::Hook::Port,
            &["inet_csk_get_port_2"],
            AttachKind::Fexit,
            UNTOLD,
        )
    },
    one_of(Work::Ports, "sys_exit", wire::Hook::SysExit, &["sys_exit_2"], AttachKind::Tracepoint, UNTOLD),
    one_of(Work::Accepts, "inet_csk_accept", wire::Hook::Accept, &["inet_csk_accept_2"], AttachKind::Fexit, UNACCEPTED),
    one_of(
        Work::Accepts,
        "tcp_sendmsg_locked",
        wire::Hook::Write,
        &["tcp_sendmsg_locked_2"],
        AttachKind::Tracepoint,
        UNACCEPTED,
    ),
    Hook {
        name: "tcp_rcv_space_adjust",
        kind: AttachKind::Tracepoint,
        number: wire::Hook::Read,
        copies: &["tcp_rcv_space_adjust_2"],
        at_least: 0,
        along: &[],
        need: Need::Optional,
        without: "the process of an accepted connection is unknown until it closes",
    },
    Hook {
        copies: &["inet_sock_set_state_2", "inet_sock_set_state_3", "inet_sock_set_state_4"],
        at_least: 1,
        ..required("inet_sock_set_state", wire::Hook::State, "state changes of full sockets are unknown")
    },
];

/// Where others may come in the middle of a program of ours, so that a hook needs more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preemption {
    /// On a tracepoint: from Linux 7.0 on.
    pub tracepoints: bool,
    /// At the end of a function: a trampoline leaves preemption on (`__bpf_prog_enter_recur`), so with PREEMPT_RT, too.
    pub functions: bool,
}

/// A function and the programs on it, in the order in which they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// The tracepoint or function.
    pub function: &'static str,
    /// Its number in the kernel side's counts.
    pub number: wire::Hook,
    /// The names of the programs; the first has the function's.
    pub names: Vec<&'static str>,
}

impl Hook {
    /// Whether it costs those who do nothing with TCP: every system call of the machine then takes the slow way out
    /// (`SYSCALL_WORK_SYSCALL_TRACEPOINT`, 5.11 to 7.3), on every thread.
    pub fn is_dear(&self) -> bool {
        self.number == wire::Hook::SysExit
    }

    /// Its own programs, then those of each function that is attached along with it.
    pub fn programs(&self, preemption: Preemption) -> impl Iterator<Item = Programs> + use<> {
        let preemptible = match self.kind {
            AttachKind::Tracepoint => preemption.tracepoints,
            AttachKind::Fexit => preemption.functions,
        };
        let on = move |function, number, copies: &'static [&'static str], at_least| {
            let needed = if preemptible { copies.len() } else { at_least };
            let names = iter::once(function).chain(copies.iter().copied().take(needed)).collect();
            Programs { function, number, names }
        };
        let along = self.along.iter().map(move |along| on(along.name, along.number, along.copies, 0));
        iter::once(on(self.name, self.number, self.copies, self.at_least)).chain(along)
    }
}

const fn required(name: &'static str, number: wire::Hook, without: &'static str) -> Hook {
    Hook {
        name,
        kind: AttachKind::Tracepoint,
        number,
        copies: &[],
        at_least: 0,
        along: &[],
        need: Need::Required,
        without,
    }
}

const fn one_of(
    work: Work,
    name: &'static str,
    number: wire::Hook,
    copies: &'static [&'static str],
    kind: AttachKind,
    without: &'static str,
) -> Hook {
    Hook { name, kind, number, copies, at_least: 0, along: &[], need: Need::OneOf(work), without }
}

/// Which of the hooks that do the same work is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The first that the kernel gives.
    #[default]
    Best,
    /// This one, or none.
    Hook(&'static str),
    /// The first that the kernel gives, but none that others pay for ([`Hook::is_dear`]).
    Cheap,
    /// None.
    None,
}

/// The choice for each work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// For [`Work::Segments`]; without any, late segments are inferred from the timer.
    pub segments: Choice,
    /// For [`Work::Ports`].
    pub ports: Choice,
}

impl Choices {
    /// The choice for this work.
    pub fn of(&self, work: Work) -> Choice {
        match work {
            Work::Segments => self.segments,
            Work::Ports => self.ports,
            Work::Accepts => Choice::Best,
        }
    }
}

/// What became of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookOutcome {
    /// Attached.
    Attached,
    /// Another hook does its work, or it was not asked for.
    NotNeeded(String),
    /// It could be had, and would slow what has nothing to do with TCP.
    Spared,
    /// The kernel does not have it or does not allow it.
    Missing(String),
    /// The verifier refused the program, which is tcpwait's fault.
    Refused(String),
}

/// A hook and what became of it.
#[derive(Clone, Debug)]
pub struct HookState {
    /// The hook.
    pub hook: &'static Hook,
    /// What became of it.
    pub outcome: HookOutcome,
}

impl HookState {
    /// Why it is not attached.
    pub fn why(&self) -> Option<&str> {
        match &self.outcome {
            HookOutcome::Attached => None,
            HookOutcome::Spared => Some("not asked for: it makes each system call of this machine some 85 ns slower"),
            HookOutcome::NotNeeded(why) | HookOutcome::Missing(why) | HookOutcome::Refused(why) => Some(why),
        }
    }

    /// The sentence for the operator of a kernel that does not give this hook.
    pub fn loss(&self) -> String {
        let Self { hook, .. } = self;
        if self.outcome == HookOutcome::Spared {
            return format!(
                "{}. `--refused-ports {}` shows them, and makes each system call of this machine some 85 ns slower",
                hook.without, hook.name
            );
        }
        format!("cannot attach to {} ({}): {}", hook.name, self.why().unwrap_or_default(), hook.without)
    }
}

/// What tells of segments to mini-sockets.
pub fn segment_source(hooks: &[HookState]) -> SegmentSource {
    match attached(hooks, Work::Segments).map(|state| state.hook.kind) {
        Some(AttachKind::Fexit) => SegmentSource::Fexit,
        Some(AttachKind::Tracepoint) => SegmentSource::KfreeSkb,
        None => SegmentSource::Timer,
    }
}

/// The hook that does this work.
pub fn attached(hooks: &[HookState], work: Work) -> Option<&HookState> {
    hooks.iter().find(|state| state.hook.need == Need::OneOf(work) && state.outcome == HookOutcome::Attached)
}

/// The hooks that are missed: those that cannot be had, unless another does their work; of several that could have done it, the
/// last. A program that the verifier refused is always one.
pub fn missed(hooks: &[HookState]) -> impl Iterator<Item = &HookState> {
    hooks.iter().filter(move |state| {
        let tells = match state.hook.need {
            Need::OneOf(work) => {
                let last = hooks.iter().rev().find(|state| state.hook.need == Need::OneOf(work));
                attached(hooks, work).is_none() && last.is_some_and(|last| last.hook.name == state.hook.name)
            }
            Need::Required | Need::Optional => true,
        };
        (tells && matches!(state.outcome, HookOutcome::Missing(_) | HookOutcome::Spared))
            || matches!(state.outcome, HookOutcome::Refused(_))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(outcome: impl Fn(&Hook) -> HookOutcome) -> Vec<HookState> {
        HOOKS.iter().map(|hook| HookState { hook, outcome: outcome(hook) }).collect()
    }

    #[test]
    fn of_the_hooks_that_do_the_same_work_one_sentence_tells() {
        let refused = |hook: &Hook| HookOutcome::Missing(format!("no {}", hook.name));
        let timing =
            |hook: &Hook| if hook.need == Need::OneOf(Work::Segments) { refused(hook) } else { HookOutcome::Attached };
        let said: Vec<String> = missed(&states(timing)).map(HookState::loss).collect();
        let start = "cannot attach to kfree_skb (no kfree_skb): late segments ";
        assert!(said.len() == 1 && said.iter().all(|sentence| sentence.starts_with(start)), "{said:?}");
        let first = |hook: &Hook| if hook.kind == AttachKind::Fexit { refused(hook) } else { HookOutcome::Attached };
        assert_eq!(missed(&states(first)).count(), 0, "the other does its work");
        let wrong = |hook: &Hook| match hook.kind {
            AttachKind::Fexit => HookOutcome::Refused("by the verifier".to_owned()),
            AttachKind::Tracepoint => HookOutcome::Attached,
        };
        assert_eq!(missed(&states(wrong)).count(), 3, "an error of this program is not kept quiet");
        let spared = |hook: &Hook| match hook {
            hook if hook.is_dear() => HookOutcome::Spared,
            hook if hook.kind == AttachKind::Fexit => refused(hook),
            _ => HookOutcome::Attached,
        };
        let said: Vec<String> = missed(&states(spared)).map(HookState::loss).collect();
        let start = "failed bind() and listen() calls are not seen";
        assert!(said.len() == 1 && said.iter().all(|sentence| sentence.starts_with(start)), "{said:?}");
        let unasked = |hook: &Hook| match hook.need {
            Need::OneOf(_) => HookOutcome::NotNeeded("not asked for".to_owned()),
            _ => HookOutcome::Attached,
        };
        assert_eq!(missed(&states(unasked)).count(), 0, "nobody misses what was not asked for");
    }
}
