//! The hooks, one row each: what is attached where, and what is lost without it.

/// Whether the tool can go on without a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It cannot.
    Required,
    /// It can, and says what is missing.
    Optional,
}

/// One program and its tracepoint; both have the same name.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Name of the program and of the tracepoint.
    pub name: &'static str,
    /// Whether the tool can go on without it.
    pub need: Need,
    /// What is not known where it is missing, as a clause.
    pub without: &'static str,
}

/// Every hook, in the order of attachment: ends before beginnings, so that nothing begins unseen and then ends seen.
pub const HOOKS: &[Hook] = &[
    Hook { name: "timer_cancel", need: Need::Required, without: "nothing says why TIME_WAIT ends early" },
    Hook { name: "timer_expire_entry", need: Need::Required, without: "nothing says when TIME_WAIT ends" },
    Hook { name: "timer_start", need: Need::Required, without: "nothing says when TIME_WAIT begins" },
    Hook {
        name: "kfree_skb",
        need: Need::Optional,
        without: "a FIN or a restart within one timer bucket (about 2 s at HZ=250) is known only at the end, to a jiffy, and \
                  restarts are counted at least",
    },
    Hook {
        name: "tcp_rcv_space_adjust",
        need: Need::Optional,
        without: "who accepted a connection is known only when it is closed",
    },
    Hook { name: "inet_sock_set_state", need: Need::Required, without: "nothing says how full sockets change state" },
];
