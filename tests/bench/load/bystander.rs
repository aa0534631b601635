//! Loads that have nothing to do with TCP, on one core: who traces TCP should not slow them. Threads that wake each other, and wait with
//! a timer each; and system calls that do next to nothing.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::libc;
use serde::Serialize;

use crate::place;

/// Long enough that it does not run out.
const NEVER: Duration = Duration::from_secs(5);
/// Threads whose timers do run out, some hundred times a second each.
const SLEEPERS: usize = 32;
const NAP: Duration = Duration::from_millis(1);
/// System calls between two looks at the clock.
const BURST: u64 = 256;

/// What was done.
#[derive(Debug, Serialize)]
pub struct Turns {
    turns: u64,
    seconds: f64,
}

/// See `Turns`.
#[derive(Debug, Serialize)]
pub struct Calls {
    calls: u64,
    seconds: f64,
}

/// Two threads in turn: one waits for a futex (with a timer for precise times, an hrtimer), the other for a byte on a socket (with one
/// of the kernel's timer wheel, as every socket with a time limit has). Beside them, threads wait for what never comes.
pub fn turns(length: Duration) -> Result<Turns> {
    place::keep_to_core(0)?;
    let (mut here, there) = UnixStream::pair().context("making a pair of sockets")?;
    here.set_read_timeout(Some(NEVER)).context("setting a time limit")?;
    let (word, over) = (AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        // Threads inherit the core.
        for _ in 0..SLEEPERS {
            scope.spawn(|| sleeper(&over));
        }
        let partner = scope.spawn(|| partner(&word, there));
        let begin = Instant::now();
        let mut turns = 0;
        let mut failed = Ok(());
        while begin.elapsed() < length && failed.is_ok() {
            word.store(1, Ordering::Release);
            futex(&word, libc::FUTEX_WAKE, 1, None);
            failed = here.read_exact(&mut [0]).context("waiting for the partner");
            turns += 1;
        }
        let seconds = begin.elapsed().as_secs_f64();
        over.store(true, Ordering::Release);
        word.store(2, Ordering::Release);
        futex(&word, libc::FUTEX_WAKE, 1, None);
        partner.join().map_err(|_| anyhow::anyhow!("a thread ended in the middle"))??;
        failed.map(|()| Turns { turns, seconds })
    })
}

/// Answers each 1 with a byte, until there is a 2.
fn partner(word: &AtomicU32, mut there: UnixStream) -> Result<()> {
    loop {
        match word.compare_exchange(1, 0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => there.write_all(&[1]).context("answering")?,
            Err(2) => return Ok(()),
            Err(_) => futex(word, libc::FUTEX_WAIT, 0, Some(NEVER)),
        }
    }
}

/// A word that has changed meanwhile, a signal, a time limit: the caller looks at the word again in any case.
fn futex(word: &AtomicU32, operation: libc::c_int, value: u32, limit: Option<Duration>) {
    let limit = limit.map(|limit| libc::timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: 0 });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let operation = operation | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word and the time outlive the call, which changes neither.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, limit) };
}

fn sleeper(over: &AtomicBool) -> Result<()> {
    let socket = UnixDatagram::unbound().context("making a socket")?;
    socket.set_read_timeout(Some(NAP)).context("setting a time limit")?;
    while !over.load(Ordering::Acquire) {
        match socket.recv(&mut [0]) {
            Err(error) if error.raw_os_error() == Some(Errno::EAGAIN as i32) => {}
            ended => drop(ended.context("waiting for nothing")?),
        }
    }
    Ok(())
}

/// getppid(2), over and over.
pub fn calls(length: Duration) -> Result<Calls> {
    place::keep_to_core(0)?;
    let begin = Instant::now();
    let mut calls = 0;
    while begin.elapsed() < length {
        for _ in 0..BURST {
            std::hint::black_box(nix::unistd::getppid());
        }
        calls += BURST;
    }
    Ok(Calls { calls, seconds: begin.elapsed().as_secs_f64() })
}
