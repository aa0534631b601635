//! How long a socket has been in its state at least, by what sock_diag tells of it. The kernel keeps no time of a change of state, but times of
//! events, and some of them cannot have been before the change. Only those bound the age from below; what comes before the change,
//! as the last data before a FIN, bounds it from above, and is not used.

use std::path::Path;

use super::DiagSocket;
use crate::tcp::{DIAG_TIMER_TIME_WAIT, State, TIMEWAIT_LEN_MS};

/// The longest jiffy there is (HZ=100): two events that are so many jiffies apart may be closer by one.
const JIFFY_MS: u32 = 10;

/// By so much, and not more, a segment may come later than another that was sent after it. One that takes longer is taken for lost by then, and
/// sent again with the latest acknowledgement.
const OVERTAKEN_MS: u32 = 1_000;

/// Whether this network namespace may give TIME_WAIT another length than 60 s: some vendors' kernels have a setting for it.
pub fn time_wait_has_own_length() -> bool {
    Path::new("/proc/sys/net/ipv4/tcp_tw_timeout").exists()
}

impl DiagSocket {
    /// For how many milliseconds it has been in its state at least; `None` where nothing tells. [`info`](Self::info) has to be asked for.
    ///
    /// `own_length`: [`time_wait_has_own_length`].
    pub fn at_least_ms(&self, own_length: bool) -> Option<u32> {
        let state = State::from_kernel(self.state)?;
        if self.timer == DIAG_TIMER_TIME_WAIT {
            // Its timer may have been set anew by late segments, which makes it older than this. That of FIN_WAIT2 began with
            // tcp_fin_timeout or the socket's TCP_LINGER2, which is not told.
            let gone_ms = TIMEWAIT_LEN_MS.saturating_sub(self.expires_ms);
            return (state == State::TimeWait && !own_length).then(|| gone_ms.saturating_sub(JIFFY_MS));
        }
        let info = self.info?;
        let since_ms = match state {
            // The handshake sets both (`tcp_finish_connect`, `tcp_rcv_state_process`), and nothing sets them back.
            State::Established => info.data_sent_ms.max(info.ack_received_ms),
            // The segment that acknowledged our FIN is the first that counts here (`tcp_rcv_state_process`: `tcp_ack` first, then the
            // state); each that came later counts too.
            State::FinWait2 => info.ack_received_ms,
            // So does the segment with the peer's FIN, or the one that closed the gap before it, unless its acknowledgement is an old one (`tcp_ack`,
            // `old_ack`): the peer acknowledged data of ours later, and that overtook the FIN. The data was on its way then.
            State::CloseWait | State::Closing if info.has_sent => {
                info.ack_received_ms.min(info.data_sent_ms.saturating_sub(OVERTAKEN_MS))
            }
            State::CloseWait | State::Closing => info.ack_received_ms,
            // FIN_WAIT1 and LAST_ACK begin with a call, SYN_SENT likewise: nothing that is told comes after it for certain.
            _ => return None,
        };
        Some(since_ms.saturating_sub(JIFFY_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DiagSocket, Info};

    fn socket(state: u8) -> DiagSocket {
        DiagSocket {
            family: 2,
            state,
            timer: 0,
            expires_ms: 0,
            retransmits: 0,
            laddr: [0; 16],
            raddr: [0; 16],
            lport: 1,
            rport: 2,
            cookie: 3,
            uid: 0,
            inode: 4,
            ifindex: 0,
            receive_queue: 0,
            send_queue: 0,
            v6only: None,
            info: Some(Info {
                data_sent_ms: 9_000,
                data_received_ms: 8_000,
                ack_received_ms: 5_000,
                has_sent: false,
                send_window: None,
            }),
        }
    }

    #[test]
    fn only_what_comes_after_the_change_counts() {
        let (established, syn_sent, fin_wait1, fin_wait2, close_wait, last_ack, listen, closing) =
            (1, 2, 4, 5, 8, 9, 10, 11);
        assert_eq!(socket(established).at_least_ms(false), Some(8_990));
        for state in [fin_wait2, close_wait, closing] {
            assert_eq!(socket(state).at_least_ms(false), Some(4_990), "{state}");
        }
        for state in [syn_sent, fin_wait1, last_ack, listen] {
            assert_eq!(socket(state).at_least_ms(false), None, "{state}");
        }
        let sent = |data_sent_ms| {
            let info = socket(close_wait).info.map(|info| Info { data_sent_ms, has_sent: true, ..info });
            DiagSocket { info, ..socket(close_wait) }.at_least_ms(false)
        };
        assert_eq!(sent(9_000), Some(4_990), "data long before the FIN");
        assert_eq!(sent(5_010), Some(4_000), "data as the FIN came, whose acknowledgement may have overtaken it");
        assert_eq!(sent(0), Some(0), "data just now");
        assert_eq!(DiagSocket { info: None, ..socket(close_wait) }.at_least_ms(false), None);
    }

    #[test]
    fn a_mini_socket_by_its_timer() {
        let mini = |state, expires_ms| DiagSocket { timer: 3, expires_ms, info: None, ..socket(state) };
        assert_eq!(mini(6, 20_000).at_least_ms(false), Some(39_990));
        assert_eq!(mini(6, 0).at_least_ms(false), Some(59_990));
        assert_eq!(mini(6, 20_000).at_least_ms(true), None, "of another length");
        assert_eq!(mini(5, 20_000).at_least_ms(false), None, "FIN_WAIT2");
    }
}
