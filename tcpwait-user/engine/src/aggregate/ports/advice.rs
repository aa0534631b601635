//! What would help a destination that runs out of ports, and what would not, under the settings there are.
//! Decides; the words for it are a view's.

use serde::Serialize;

use super::{range_advice, settings::PortSettings, states::PortStates};

/// What holds most of the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortCause {
    /// TIME_WAIT: this side closes first.
    TimeWait,
    /// Open connections.
    Open,
    /// The peer has closed, and the process here has not.
    CloseWait,
    /// The peer does not answer.
    Connecting,
    /// This side has closed, and the peer has not.
    FinWait2,
    /// This side has closed, and its FIN is not acknowledged: by the peer, or for a firewall between.
    Closing,
    /// Ports that bind() gave to sockets with other destinations.
    Bound,
    /// None of these connections: connect() fails although they leave ports free.
    Elsewhere,
}

/// Something that would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Help {
    /// Keep connections open and use them again.
    KeepOpen,
    /// Let the peer close first: then TIME_WAIT is there, where it holds none of these ports.
    PeerClosesFirst,
    /// `tcp_tw_reuse=1`.
    TwReuse {
        /// What it is now.
        now: u8,
        /// How long until connect() may take a TIME_WAIT then, in milliseconds: at most.
        after_ms: u64,
        /// Whether `tcp_timestamps` must be turned on too.
        timestamps_off: bool,
        /// Whether any TIME_WAIT is known to have timestamps, without which it cannot be taken; `None`: not known of any.
        have_timestamps: Option<bool>,
    },
    /// A shorter `tcp_tw_reuse_delay`, since reuse works already.
    LowerReuseDelay {
        /// What it is now, in milliseconds.
        now_ms: u32,
    },
    /// A wider `ip_local_port_range`.
    WiderRange {
        /// Its first port now.
        low: u16,
        /// Its last port now.
        high: u16,
        /// How many ports the advised one has.
        widest: u64,
    },
    /// Fewer `ip_local_reserved_ports`.
    FewerReserved {
        /// How many of the range are reserved.
        reserved: u64,
    },
    /// More source addresses, or destination addresses or ports: each combination has the whole range.
    MoreAddresses,
    /// A shorter `tcp_fin_timeout`.
    FinTimeout,
    /// The process here has to close what the peer has closed.
    CloseWhatIsClosed,
    /// Fewer connections at a time, or closing those not needed.
    FewerOpen,
    /// Letting the FIN and its acknowledgement through, or a peer that answers; `tcp_orphan_retries` where nobody holds the socket.
    LetFinThrough,
    /// IP_BIND_ADDRESS_NO_PORT for sockets that bind() an address only, and closing those that are bound and not used.
    BindNoPort,
    /// A peer that answers, or giving up earlier (`tcp_syn_retries`, TCP_USER_TIMEOUT, a timeout of the program's own).
    GiveUpEarlier,
}

/// Something that would not help, although it is often tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoHelp {
    /// `tcp_fin_timeout` is not the length of TIME_WAIT.
    FinTimeout,
    /// `tcp_max_tw_buckets`, lower: gives up TIME_WAIT's protection for everybody.
    MaxTwBuckets,
    /// `tcp_tw_recycle` is gone.
    TwRecycle,
    /// SO_REUSEADDR is for bind().
    ReuseAddr,
    /// `tcp_tw_reuse` lets connect() take these already.
    TwReuseIsOn,
    /// `tcp_tw_reuse` needs timestamps, which these connections do not have.
    TwReuseWithoutTimestamps,
    /// `tcp_tw_reuse` is about TIME_WAIT, of which there is little here.
    TwReuse,
}

/// Both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortAdvice {
    /// What holds most of the ports.
    pub cause: PortCause,
    /// What would help, best first.
    pub help: Vec<Help>,
    /// What would not.
    pub no_help: Vec<NoHelp>,
}

/// What there is to decide by.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The settings.
    pub settings: Option<&'a PortSettings>,
    /// Whether `tcp_tw_reuse` covers these addresses.
    pub reuses: Option<bool>,
    /// Whether any TIME_WAIT here had timestamps; `None` where it is not known of any.
    pub timestamps: Option<bool>,
    /// Ports by state.
    pub states: PortStates,
    /// Ports that bind() gave to sockets with other destinations.
    pub bound_elsewhere: u64,
    /// Whether connect() fails although ports of the range are free.
    pub fails_early: bool,
    /// TIME_WAITs there would be at the present rate.
    pub time_wait_soon: f64,
}

/// Decides.
pub fn advise(case: Case<'_>) -> PortAdvice {
    let cause = cause(&case);
    let mut help = Vec::new();
    let mut no_help = Vec::new();
    match cause {
        PortCause::TimeWait => {
            help.extend([Help::KeepOpen, Help::PeerClosesFirst]);
            reuse(&case, &mut help, &mut no_help);
            no_help.extend([NoHelp::FinTimeout, NoHelp::MaxTwBuckets, NoHelp::TwRecycle]);
        }
        PortCause::Open => {
            help.push(Help::FewerOpen);
            no_help.extend([NoHelp::TwReuse, NoHelp::FinTimeout]);
        }
        PortCause::CloseWait => {
            help.push(Help::CloseWhatIsClosed);
            no_help.extend([NoHelp::TwReuse, NoHelp::FinTimeout]);
        }
        PortCause::Connecting => {
            help.push(Help::GiveUpEarlier);
            no_help.extend([NoHelp::TwReuse, NoHelp::FinTimeout]);
        }
        PortCause::FinWait2 => {
            help.extend([Help::FinTimeout, Help::KeepOpen]);
            no_help.push(NoHelp::TwReuse);
        }
        PortCause::Closing => {
            help.push(Help::LetFinThrough);
            no_help.extend([NoHelp::TwReuse, NoHelp::FinTimeout]);
        }
        PortCause::Elsewhere | PortCause::Bound => {
            help.push(Help::BindNoPort);
            no_help.extend([NoHelp::TwReuse, NoHelp::FinTimeout]);
        }
    }
    range(case.settings, &mut help);
    // A port that bind() gave is closed from whatever address and towards whatever destination.
    if cause != PortCause::Bound {
        help.push(Help::MoreAddresses);
    }
    no_help.push(NoHelp::ReuseAddr);
    PortAdvice { cause, help, no_help }
}

fn cause(case: &Case<'_>) -> PortCause {
    if case.fails_early {
        return PortCause::Elsewhere;
    }
    let PortStates { connecting, established, close_wait, closing, fin_wait2, time_wait } = case.states;
    let waiting = (time_wait as f64).max(case.time_wait_soon);
    let counts = [
        (PortCause::Open, established as f64),
        (PortCause::Closing, closing as f64),
        (PortCause::Bound, case.bound_elsewhere as f64),
        (PortCause::CloseWait, close_wait as f64),
        (PortCause::Connecting, connecting as f64),
        (PortCause::FinWait2, fin_wait2 as f64),
    ];
    let most = counts.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
    most.filter(|(_, count)| *count > waiting).map_or(PortCause::TimeWait, |(cause, _)| cause)
}

fn reuse(case: &Case<'_>, help: &mut Vec<Help>, no_help: &mut Vec<NoHelp>) {
    let Some(settings) = case.settings else { return };
    let timestamps_off = settings.timestamps == Some(0);
    let none_have = case.timestamps == Some(false);
    match (settings.tw_reuse, case.reuses) {
        // The peer does not use them, which nothing here changes.
        (Some(_), _) if none_have && !timestamps_off => no_help.push(NoHelp::TwReuseWithoutTimestamps),
        (Some(now), Some(covers)) if !covers || timestamps_off => help.push(Help::TwReuse {
            now,
            after_ms: settings.reuse_age_ns().1 / 1_000_000,
            timestamps_off,
            have_timestamps: case.timestamps,
        }),
        (Some(_), Some(true)) => {
            no_help.push(NoHelp::TwReuseIsOn);
            help.extend(settings.tw_reuse_delay_ms.filter(|ms| *ms > 1).map(|now_ms| Help::LowerReuseDelay { now_ms }));
        }
        _ => {}
    }
}

fn range(settings: Option<&PortSettings>, help: &mut Vec<Help>) {
    let Some((settings, range)) = settings.and_then(|settings| Some((settings, settings.range.clone()?))) else {
        return;
    };
    let (low, high) = range.into_inner();
    let all = u64::from(high.saturating_sub(low)) + 1;
    help.extend(range_advice::widest(low, high).map(|widest| Help::WiderRange { low, high, widest }));
    let reserved = all.saturating_sub(settings.size().unwrap_or(all));
    if reserved * 10 > all {
        help.push(Help::FewerReserved { reserved });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::{Case, Help, NoHelp, PortAdvice, PortCause, PortSettings, PortStates, advise};

    fn settings(tw_reuse: u8, timestamps: u8) -> PortSettings {
        PortSettings {
            range: Some(32768..=60999),
            tw_reuse: Some(tw_reuse),
            timestamps: Some(timestamps),
            tw_reuse_delay_ms: Some(1000),
            ..PortSettings::default()
        }
    }

    fn waiting(settings: &PortSettings, reuses: bool, timestamps: Option<bool>) -> PortAdvice {
        let states = PortStates { established: 3, time_wait: 90, ..PortStates::default() };
        advise(Case {
            settings: Some(settings),
            reuses: Some(reuses),
            timestamps,
            states,
            bound_elsewhere: 0,
            fails_early: false,
            time_wait_soon: 0.0,
        })
    }

    fn offers_reuse(advice: &PortAdvice) -> Option<bool> {
        advice.help.iter().find_map(|help| match help {
            Help::TwReuse { timestamps_off, .. } => Some(*timestamps_off),
            _ => None,
        })
    }

    #[test]
    fn reuse_is_advised_where_it_would_do_something() {
        assert_eq!(offers_reuse(&waiting(&settings(2, 1), false, Some(true))), Some(false));
        assert_eq!(offers_reuse(&waiting(&settings(0, 1), false, None)), Some(false));
        assert_eq!(offers_reuse(&waiting(&settings(1, 0), true, Some(false))), Some(true));
        let on = waiting(&settings(1, 1), true, Some(true));
        assert_eq!(offers_reuse(&on), None);
        assert!(on.no_help.contains(&NoHelp::TwReuseIsOn) && on.help.contains(&Help::LowerReuseDelay { now_ms: 1000 }));
        let without = waiting(&settings(2, 1), false, Some(false));
        assert_eq!(offers_reuse(&without), None);
        assert!(without.no_help.contains(&NoHelp::TwReuseWithoutTimestamps));
    }

    #[test]
    fn what_holds_the_ports_decides() {
        let of = |states| {
            advise(Case {
                settings: Some(&settings(2, 1)),
                reuses: Some(false),
                timestamps: None,
                states,
                bound_elsewhere: 0,
                fails_early: false,
                time_wait_soon: 0.0,
            })
        };
        let orphans = of(PortStates { fin_wait2: 50, time_wait: 3, ..PortStates::default() });
        assert!(orphans.help.contains(&Help::FinTimeout) && !orphans.no_help.contains(&NoHelp::FinTimeout));
        let wait = of(PortStates { time_wait: 50, ..PortStates::default() });
        assert!(wait.no_help.contains(&NoHelp::FinTimeout) && wait.no_help.contains(&NoHelp::TwRecycle));
        let open = of(PortStates { established: 50, ..PortStates::default() });
        assert_eq!((open.cause, open.help.first()), (PortCause::Open, Some(&Help::FewerOpen)));
        let leak = of(PortStates { close_wait: 50, established: 9, ..PortStates::default() });
        assert_eq!(leak.cause, PortCause::CloseWait);
        let fins = of(PortStates { closing: 50, established: 9, ..PortStates::default() });
        assert_eq!((fins.cause, fins.help.first()), (PortCause::Closing, Some(&Help::LetFinThrough)));
        assert_eq!(of(PortStates { connecting: 5, ..PortStates::default() }).cause, PortCause::Connecting);
        assert!(wait.help.contains(&Help::WiderRange { low: 32768, high: 60999, widest: 55296 }));
    }
}
