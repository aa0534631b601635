//! What every command that traces or replays says on stderr: what it cannot see, what it has read, and, if asked for, diagnostics.

use std::path::Path;

use crate::{
    ledger::Recorded,
    live::Live,
    output::say,
    system::{processes, seed::Seeded},
    thinning::Thinner,
    view::{ledger, thinned},
};

/// What is said before tracing begins.
pub(super) fn banner(live: &Live, verbose: bool) {
    say_missing(live);
    if processes::numbering().is_some() {
        say!(
            "tcpwait: this is a PID namespace: PIDs are those that `ps` shows here; processes outside of it are shown as unknown"
        );
    }
    if verbose {
        say!("kernel {}, {} kernel symbols resolved", live.header().kernel, live.header().symbols.len());
    }
    say!("Tracing TCP state transitions. Hit Ctrl-C to end.");
}

/// What this process may not see, and what this kernel does not give.
pub(super) fn say_missing(live: &Live) {
    for sentence in live.missing() {
        say!("tcpwait: {sentence}");
    }
}

/// What became of the sockets that were there before.
pub(super) fn say_seeded(seeded: Option<&Seeded>, verbose: bool) {
    let Some(seeded) = seeded else { return };
    if seeded.unreadable > 0 {
        let why = seeded.first_reason.as_deref().unwrap_or("for an unknown reason");
        say!(
            "tcpwait: {} network namespaces could not be read, sockets from before tcpwait started are unknown there: {why}",
            seeded.unreadable
        );
    }
    if verbose {
        say!("read {} sockets in {} network namespaces", seeded.sockets, seeded.namespaces);
    }
}

/// That it changes of how many connections one is followed.
pub(super) fn say_thinned(change: &Thinner) {
    say!("tcpwait: {}", thinned::sentence(change));
}

/// What is wrong with a recording; `done`: what became of the rest.
pub(super) fn say_damage(path: &Path, found: &Recorded, done: &str) {
    for sentence in ledger::damage(found, done) {
        say!("tcpwait: {}: {sentence}", path.display());
    }
}

/// Diagnostics go to stderr, and only when asked for.
pub(super) fn log_to_stderr(verbose: bool) {
    struct Stderr;
    impl log::Log for Stderr {
        /// What the kernel side and this tool say; how aya relocates a program is of no use in an incident.
        fn enabled(&self, message: &log::Metadata<'_>) -> bool {
            message.target().starts_with("tcpwait")
        }
        fn log(&self, record: &log::Record<'_>) {
            if !self.enabled(record.metadata()) {
                return;
            }
            let level = record.level().as_str().to_lowercase();
            record.args().to_string().lines().for_each(|line| say!("{level}: {line}"));
        }
        fn flush(&self) {}
    }
    static LOGGER: Stderr = Stderr;
    if verbose && log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}
