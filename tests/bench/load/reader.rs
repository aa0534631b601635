//! A few connections that are read in small pieces, on one core: each read passes a hook of whoever wants to know who reads.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::connections::Ends;
use crate::place;

const CONNECTIONS: u64 = 4;
/// Bytes at once.
const PIECE: usize = 8;
/// Reads of one connection until the next has its turn.
const PIECES: usize = 256;

/// What was done.
#[derive(Debug, Serialize)]
pub struct Done {
    reads: u64,
    seconds: f64,
}

/// Writes, and reads it piece by piece.
pub fn run(length: Duration) -> Result<Done> {
    place::keep_to_core(0)?;
    let ends = Ends::new(false)?;
    let mut pairs: Vec<_> = (0..CONNECTIONS).map(|number| ends.connect(number)).collect::<Result<_>>()?;
    let (sent, mut piece) = ([0; PIECE * PIECES], [0; PIECE]);
    let begin = Instant::now();
    let mut reads = 0;
    while begin.elapsed() < length {
        for (from, to) in &mut pairs {
            from.write_all(&sent).context("writing")?;
            for _ in 0..PIECES {
                to.read_exact(&mut piece).context("reading a piece")?;
            }
            reads += PIECES as u64;
        }
    }
    Ok(Done { reads, seconds: begin.elapsed().as_secs_f64() })
}
