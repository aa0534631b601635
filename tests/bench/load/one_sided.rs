//! One end of connections, as on a machine whose peers are elsewhere: both ends are here, but in namespaces and on cores of their own,
//! and only one core's time is counted. That core never idles (it reads the clock while there is nothing to do, and that is not
//! counted), so that what softirqs take has no place to hide.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::meter::Meter;
use crate::one_end::{End, Ends};
use crate::{place, veth};

/// Two readings of the clock that are farther apart have something else between them: an interrupt takes longer, a reading some 30 ns.
const INTERRUPTED: Duration = Duration::from_micros(1);
/// A look that finds nothing and took longer was interrupted.
const LOOK: Duration = Duration::from_micros(3);
/// It looks again in any case: what comes during a look interrupts nothing.
const AT_MOST: Duration = Duration::from_micros(50);
/// Connections that are made before any is counted, and how long that may take.
const WARM: u64 = 64;
const WARMING: Duration = Duration::from_secs(5);
/// How long the other end sleeps when nothing comes, milliseconds.
const DOZE: u16 = 50;

/// What was done.
#[derive(Debug, Serialize)]
pub struct Done {
    connections: u64,
    errors: u64,
    /// The first of them, in words.
    error: Option<String>,
    seconds: f64,
    /// Of the counted core, without the time in which there was nothing to do.
    cpu_seconds: f64,
    /// Connections that skipped TIME_WAIT, as there were too many.
    overflows: Option<u64>,
}

/// Makes connections for some time, and counts what this end of them takes.
pub fn run(counted: End, length: Duration) -> Result<Done> {
    if place::cores().len() < 2 {
        bail!("one side needs a second core for the other");
    }
    let (far_namespace, joined) = mpsc::channel();
    let (join, is_joined) = mpsc::channel();
    let (ready, is_ready) = mpsc::channel();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let other = scope.spawn(|| other_end(counted.other(), &over, far_namespace, is_joined, ready));
        let counted = || -> Result<Done> {
            place::keep_to_core(0)?;
            let there: String = joined.recv().context("the other end's namespace was not made")?;
            veth::join(counted.device(), counted.other().device(), &there)?;
            veth::bring_up(counted.device(), place::core(0))?;
            // A server listens before the other end is told that it may begin.
            let ends = Ends::new(counted)?;
            join.send(()).context("the other end is gone")?;
            is_ready.recv().context("the other end did not come up")?;
            veth::linked(counted.device());
            count(ends, length)
        };
        let done = counted();
        over.store(true, Ordering::Release);
        drop((join, is_ready));
        let other = other.join().map_err(|_| anyhow::anyhow!("the other end ended in the middle"))?;
        // What went wrong there is why it went wrong here.
        other.and(done)
    })
}

fn other_end(
    end: End,
    over: &AtomicBool,
    namespace: mpsc::Sender<String>,
    is_joined: mpsc::Receiver<()>,
    ready: mpsc::Sender<()>,
) -> Result<()> {
    place::keep_to_core(1)?;
    place::enter()?;
    namespace.send(veth::here()).context("the counted end is gone")?;
    // It says itself why it could not.
    let Ok(()) = is_joined.recv() else { return Ok(()) };
    veth::bring_up(end.device(), place::core(1))?;
    veth::linked(end.device());
    let mut ends = Ends::new(end)?;
    // Whoever does not wait any more says why.
    let _ = ready.send(());
    while !over.load(Ordering::Acquire) {
        ends.turn(DOZE)?;
    }
    Ok(())
}

fn count(mut ends: Ends, length: Duration) -> Result<Done> {
    let mut meter = Meter::of_thread(place::core(0))?;
    // Neighbours get to know each other; a packet that came too soon is sent again after a second.
    let warming = Instant::now();
    while ends.made < WARM && warming.elapsed() < WARMING {
        ends.turn(DOZE)?;
    }
    (ends.made, ends.errors) = (0, 0);
    let (begin, mut spare) = (Instant::now(), Duration::ZERO);
    meter.restart()?;
    while begin.elapsed() < length {
        let look = Instant::now();
        if !ends.turn(0)? {
            spare += Some(look.elapsed()).filter(|took| *took < LOOK).unwrap_or_default() + nothing_to_do();
        }
    }
    let (taken, seconds) = (meter.taken()?, begin.elapsed().as_secs_f64());
    let overflows =
        place::counter("netstat", "TcpExt", "TCPTimeWaitOverflow").context("reading /proc/self/net/netstat")?;
    let Ends { made, errors, error, .. } = ends;
    if made == 0 {
        bail!("no connection was made: {}", error.unwrap_or_default());
    }
    let cpu_seconds = taken.saturating_sub(spare).as_secs_f64();
    Ok(Done { connections: made, errors, error, seconds, cpu_seconds, overflows })
}

/// Until something interrupts. How long nothing did.
fn nothing_to_do() -> Duration {
    let begin = Instant::now();
    let mut last = begin;
    loop {
        let now = Instant::now();
        if now - last >= INTERRUPTED || now - begin >= AT_MOST {
            return last - begin;
        }
        last = now;
    }
}
