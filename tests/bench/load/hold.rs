//! Many sockets in TIME_WAIT at once, made as fast as the machine can: they stay 60 s, so they have to be there before.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::connections::Ends;
use crate::place;

/// What was done.
#[derive(Debug, Serialize)]
pub struct Done {
    asked: u32,
    made: u64,
    /// Sockets in TIME_WAIT when all were made, as the kernel counts them.
    there: Option<u64>,
    /// What they are.
    kind: &'static str,
    seconds: f64,
}

/// Makes so many, or as many as it can in the time.
pub fn run(count: u32, cores: u16, length: Duration) -> Result<Done> {
    let begin = Instant::now();
    let made = thread::scope(|scope| {
        let makers: Vec<_> = (0..cores)
            .map(|core| {
                let share = u64::from(count) * u64::from(core + 1) / u64::from(cores)
                    - u64::from(count) * u64::from(core) / u64::from(cores);
                scope.spawn(move || make(core, share, begin, length))
            })
            .collect();
        let mut made = 0;
        for maker in makers {
            made += maker.join().map_err(|_| anyhow::anyhow!("a thread ended in the middle"))??;
        }
        anyhow::Ok(made)
    })?;
    let there = place::time_waits().context("reading /proc/self/net/sockstat")?;
    Ok(Done { asked: count, made, there, kind: "TIME_WAIT", seconds: begin.elapsed().as_secs_f64() })
}

fn make(core: u16, count: u64, begin: Instant, length: Duration) -> Result<u64> {
    place::keep_to_core(core)?;
    let ends = Ends::new(false)?;
    let mut made = 0;
    while made < count && begin.elapsed() < length {
        let (client, server) = ends.connect(made)?;
        drop(client);
        drop(server);
        made += 1;
    }
    Ok(made)
}
