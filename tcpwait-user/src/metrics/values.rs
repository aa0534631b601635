//! The values that labels may have: all that there can be, so that each series is there from the first scrape on.

use crate::{
    aggregate::{audit::Checked, by::GroupBy},
    lifecycle::{Detail, Reason, Why},
};

/// Details that an end may have, by its reason.
pub const DETAILS: [(Reason, &[Detail]); 3] = [
    (Reason::Closed, &[Detail::GivenUp, Detail::SoftError, Detail::Linger0, Detail::Disconnect]),
    (
        Reason::ResetSent,
        &[
            Detail::Linger0,
            Detail::UnreadData,
            Detail::DataAfterClose,
            Detail::OutOfMemory,
            Detail::TooManyOrphans,
            Detail::Disconnect,
            Detail::Multipath,
            Detail::Linger,
        ],
    ),
    (
        Reason::TimedOut,
        &[Detail::Keepalive, Detail::UserTimeout, Detail::Retransmissions, Detail::ZeroWindow, Detail::FinWait2],
    ),
];

/// Why connect() fails once it has been called, as the state tells.
pub const OF_CONNECT: [Why; 9] = [
    Why::NoFreePort,
    Why::PortTaken,
    Why::Refused,
    Why::TimedOut,
    Why::Unreachable,
    Why::GivenUp,
    Why::SoftError,
    Why::NeverSent,
    Why::Destroyed,
];

/// Why it fails before its SYN, which a hook of its own tells.
pub const OF_REFUSED_CONNECT: [Why; 7] =
    [Why::NoRoute, Why::NotAllowed, Why::NoAddress, Why::NoMemory, Why::Invalid, Why::NotTold, Why::Other];

/// Why bind() fails.
pub const OF_BIND: [Why; 8] = [
    Why::PortHeld,
    Why::RangeFull,
    Why::PortSearch,
    Why::NotAllowed,
    Why::NoAddress,
    Why::NoMemory,
    Why::Invalid,
    Why::Other,
];

/// Why listen() fails.
pub const OF_LISTEN: [Why; 2] = [Why::PortHeld, Why::Other];

/// How an orphan's FIN_WAIT2 may end.
pub const OF_ORPHANS: [Reason; 6] =
    [Reason::Expired, Reason::Reset, Reason::ResetSent, Reason::Destroyed, Reason::Netns, Reason::Unknown];

/// Shares of the ports that are taken, from which on a destination counts as so full.
pub const FILLS: [(&str, f64); 5] =
    [("all", 1.0), ("nearly_all", 0.9), ("most", 0.75), ("half", 0.5), ("below_half", f64::NEG_INFINITY)];

/// The label that a group's part has.
pub fn name(by: GroupBy) -> &'static str {
    match by {
        // Targets have labels of these names.
        GroupBy::Service => "listener",
        by => by.name(),
    }
}

/// The kernel's counter that a check is against.
pub fn counter(what: Checked) -> &'static str {
    match what {
        Checked::Entries | Checked::Expiries => "TW",
        Checked::ReusedByConnect => "TWRecycled",
        Checked::Overflows => "TCPTimeWaitOverflow",
        Checked::PassiveOpens => "PassiveOpens",
        Checked::ActiveOpens => "ActiveOpens",
        Checked::AttemptFails => "AttemptFails",
        Checked::EstabResets => "EstabResets",
        Checked::Aborts(abort) => abort.name(),
        Checked::ResetsSent => "OutRsts",
        Checked::Sockstat => "sockstat_tw",
        Checked::SockDiag => "sock_diag",
    }
}
