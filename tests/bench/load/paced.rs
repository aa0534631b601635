//! Connections at a steady rate, from one core: after a minute as many leave TIME_WAIT as enter it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::connections::Ends;
use crate::place;

/// Between two bursts.
const PAUSE: Duration = Duration::from_millis(10);

/// What was done.
#[derive(Debug, Serialize)]
pub struct Done {
    connections: u64,
    /// Sockets in TIME_WAIT at the end, as the kernel counts them.
    there: Option<u64>,
    seconds: f64,
}

/// Makes so many a second.
pub fn run(per_s: u32, length: Duration) -> Result<Done> {
    place::keep_to_core(0)?;
    let ends = Ends::new(false)?;
    let begin = Instant::now();
    let mut connections = 0;
    while begin.elapsed() < length {
        let due = (begin.elapsed().as_secs_f64() * f64::from(per_s)) as u64;
        while connections < due {
            drop(ends.connect(connections)?);
            connections += 1;
        }
        thread::sleep(PAUSE);
    }
    let there = place::time_waits().context("reading /proc/self/net/sockstat")?;
    Ok(Done { connections, there, seconds: begin.elapsed().as_secs_f64() })
}
