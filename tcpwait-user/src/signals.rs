//! SIGINT, SIGTERM and SIGHUP: the first asks for an orderly end, the second ends the process at once, whatever it is doing. Every command that
//! ends in order catches them here.

use std::{
    fs, io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use nix::sys::signal::Signal;
use signal_hook::{flag, iterator::Signals};

use crate::capabilities;

/// What asks for the end.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// What a shell adds to a signal's number for an exit code.
pub const SIGNALLED: i32 = 128;

/// The exit code of what SIGTERM ended.
pub const TERMINATED: u8 = 143;

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Catches them from now on: a thread of its own passes each on to `each`. The next one ends the process at once if one has asked for the end before.
/// `first_asks`: the first signal asks for it; else [`ask`] does.
///
/// A signal that this process was started to ignore, as SIGHUP by nohup(1), stays ignored.
///
/// # Errors
/// The kernel refuses the handler, or one more thread.
pub fn catch(first_asks: bool, mut each: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    let asked = ASKED.get_or_init(Arc::default);
    for signal in heeded() {
        // In this order: the handlers run one after the other, and the first signal is not to find itself asked for.
        flag::register_conditional_shutdown(signal as i32, SIGNALLED + signal as i32, Arc::clone(asked))?;
        if first_asks {
            flag::register(signal as i32, Arc::clone(asked))?;
        }
    }
    let mut signals = Signals::new(heeded().map(|signal| signal as i32))?;
    let pass = move || {
        // It needs no right, and has those of the thread that it was started by whatever becomes of that one.
        let _ = capabilities::give_up_all();
        signals.forever().filter_map(|signal| Signal::try_from(signal).ok()).for_each(&mut each);
    };
    thread::Builder::new().name("signals".to_owned()).spawn(pass)?;
    Ok(())
}

/// The end was asked for.
pub fn ask() {
    ASKED.get_or_init(Arc::default).store(true, Ordering::Relaxed);
}

/// Whether a signal asked for the end.
pub fn asked() -> bool {
    ASKED.get().is_some_and(|asked| asked.load(Ordering::Relaxed))
}

/// Those that are not ignored from the start.
fn heeded() -> impl Iterator<Item = Signal> {
    let ignored = ignored().unwrap_or_default();
    ENDING.into_iter().filter(move |&signal| signal != Signal::SIGHUP || ignored >> (signal as i32 - 1) & 1 == 0)
}

/// One bit for each signal, the lowest for the first (`SigIgn` in proc(5)).
fn ignored() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}
