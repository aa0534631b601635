//! The journal of systemd as where a trace goes: how it is reached, and what is said of what it did not get.

use std::{io, path::Path};

use anyhow::{Result, anyhow};

use crate::{
    output::{
        journal::{JOURNAL, Journal, Unsent},
        say,
    },
    system::processes,
    view::{journal::Pids, units::counted},
};

/// Reaches the journal of this machine.
pub(super) fn connect() -> Result<Journal> {
    Journal::connect(Path::new(JOURNAL)).map_err(|e| {
        anyhow!(
            "connecting to the journal at {JOURNAL}: {e}. --journal needs systemd-journald (systemctl status systemd-journald), in a container with that socket mounted from the host; without it, use --json or plain lines"
        )
    })
}

/// Whether the journal finds the owners by their numbers, or somebody else.
pub(super) fn pids(is_recording: bool) -> Pids {
    if is_recording || processes::numbering().is_some() { Pids::Other } else { Pids::OfJournal }
}

/// Waits until all is sent, for as long as the journal takes it, and says what was not. Whether all was.
pub(super) fn all_is_sent(journal: &Journal) -> bool {
    let unsent = journal.settle();
    sentences(&unsent).iter().for_each(|sentence| say!("tcpwait: {sentence}"));
    unsent.total() == 0
}

fn sentences(unsent: &Unsent) -> Vec<String> {
    let up_to = |count| format!("up to {} not sent to the journal", counted(count, "line was", "lines were"));
    let slow = (unsent.slow > 0).then(|| format!("{}: it was too slow; filters make fewer lines", up_to(unsent.slow)));
    let refused = unsent.refused.iter().map(|(&errno, &count)| {
        let error = io::Error::from_raw_os_error(errno);
        format!("{}: {error} (systemctl status systemd-journald)", up_to(count))
    });
    slow.into_iter().chain(refused).collect()
}
