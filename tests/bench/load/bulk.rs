//! A few connections that carry as much as loopback does: what tracing of state changes should not touch.

use std::io::{Read as _, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::connections::Ends;

const CHUNK: usize = 256 << 10;

/// What was done.
#[derive(Debug, Serialize)]
pub struct Done {
    streams: u16,
    bytes: u64,
    seconds: f64,
}

/// Sends on so many connections for some time. The scheduler decides where their threads run.
pub fn run(streams: u16, length: Duration) -> Result<Done> {
    let ends = Ends::new(false)?;
    let pairs: Vec<_> = (0..streams).map(|number| ends.connect(number.into())).collect::<Result<_>>()?;
    let begin = Instant::now();
    let bytes = thread::scope(|scope| {
        let readers: Vec<_> = pairs
            .into_iter()
            .map(|(mut from, mut to)| {
                scope.spawn(move || {
                    let chunk = vec![0; CHUNK];
                    // A reader that fails closes its end, which ends this too.
                    while begin.elapsed() < length && from.write_all(&chunk).is_ok() {}
                });
                scope.spawn(move || -> Result<u64> {
                    let mut chunk = vec![0; CHUNK];
                    let mut bytes = 0;
                    loop {
                        match to.read(&mut chunk).context("reading a bulk transfer")? {
                            0 => return Ok(bytes),
                            read => bytes += read as u64,
                        }
                    }
                })
            })
            .collect();
        let mut bytes = 0;
        for reader in readers {
            match reader.join() {
                Ok(read) => bytes += read?,
                Err(_) => bail!("a reader ended in the middle"),
            }
        }
        Ok(bytes)
    })?;
    Ok(Done { streams, bytes, seconds: begin.elapsed().as_secs_f64() })
}
