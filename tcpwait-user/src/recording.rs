//! Recordings: a header that says what and where, then the records as they came, compressed. Reading one gives the same
//! bytes as the live ring buffer; it knows nothing of their meaning, but for their times, which a file may lie about (`times.rs`).

mod circumstances;
mod new;
mod reader;
mod times;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result};
use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash32;

pub use self::{circumstances::Circumstances, new::New};
pub use self::{
    reader::Reader,
    times::{Believed, Records},
};
use crate::{aggregate::audit::TwCounts, lifecycle::SegmentSource, symbols::Symbols};

/// First bytes of every recording.
const MAGIC: [u8; 8] = *b"tcpwait\n";

/// Version of the container: magic, version, header length, header, body.
const FORMAT: u32 = 1;

/// Before the sum of a header, which is its last field, in hexadecimal digits: of all that comes before it. Older recordings have none.
const SUM: &[u8] = b",\"sum\":\"";

/// A header longer than this is damage.
const MAX_HEADER: u32 = 16 << 20;

/// What a recording says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`](tcpwait_wire::wire::VERSION) of the records.
    pub wire: u32,
    /// Version of the tool that made it.
    pub tcpwait: String,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub machine: String,
    /// `/proc/sys/kernel/random/boot_id`: cookies and jiffies mean something within one boot only.
    pub boot_id: String,
    /// `CLOCK_MONOTONIC` nanoseconds at the start.
    pub started_ns: u64,
    /// `CLOCK_REALTIME` nanoseconds at the start.
    pub started_realtime_ns: u64,
    /// The functions that stacks are read by.
    pub symbols: Symbols,
    /// The field offsets in use, by the name of their global.
    pub offsets: BTreeMap<String, u32>,
    /// The kernel's ticks per second, as it says itself; `None` in recordings that are older than this field.
    #[serde(default)]
    pub hz: Option<u64>,
    /// What told of segments to mini-sockets.
    pub segments: SegmentSource,
    /// Hooks that were not attached, and why.
    pub missing_hooks: BTreeMap<String, String>,
    /// What the kernel's counters of TIME_WAIT count, as tried there; `None` where that could not be tried, and in recordings without the kernel's counters.
    #[serde(default)]
    pub tw_counts: Option<TwCounts>,
    /// The name of the machine, as `uname -n` has it; `None` in recordings that are older than this field.
    #[serde(default)]
    pub host: Option<String>,
    /// The command line that made it; `None` in recordings that are older than this field.
    #[serde(default)]
    pub command: Option<String>,
}

/// From this version of the records on a recording has settings and the kernel's own counters.
const WITH_CIRCUMSTANCES: u32 = 7;

/// The hooks that tell of calls which fail before anything is sent. One of them is enough.
const OF_REFUSED_CALLS: [&str; 2] = ["inet_csk_get_port", "sys_exit"];

/// The hooks that tell who accepts a connection, or writes to it. One of them is enough.
const OF_WHO_ACCEPTS: [&str; 2] = ["inet_csk_accept", "tcp_sendmsg_locked"];

impl Header {
    /// Whether the settings and the kernel's own counters are in it.
    pub fn has_circumstances(&self) -> bool {
        self.wire >= WITH_CIRCUMSTANCES
    }

    /// Whether calls that fail before anything is sent are told of: bind(), listen(), and connect() before its SYN.
    pub fn tells_refused_calls(&self) -> bool {
        self.has_one_of(&OF_REFUSED_CALLS)
    }

    /// Whether it is told who accepts a connection, before it is read from or closed.
    pub fn tells_who_accepts(&self) -> bool {
        self.has_one_of(&OF_WHO_ACCEPTS)
    }

    fn has_one_of(&self, hooks: &[&str]) -> bool {
        hooks.iter().any(|hook| !self.missing_hooks.contains_key(*hook))
    }
}

/// Writes a recording.
pub struct Writer<W: Write> {
    body: FrameEncoder<W>,
}

impl Writer<BufWriter<File>> {
    /// Starts a new file.
    ///
    /// # Errors
    /// It cannot be created or written.
    pub fn create(path: &Path, header: &Header) -> Result<Self> {
        let doing = || format!("writing a recording to {}", path.display());
        let file = BufWriter::new(File::create(path).with_context(doing)?);
        Self::begin(file, header).with_context(doing)
    }
}

impl<W: Write> Writer<W> {
    /// Begins with the header.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(mut out: W, header: &Header) -> Result<Self> {
        let header = summed(serde_json::to_vec(header)?)?;
        out.write_all(&MAGIC)?;
        out.write_all(&FORMAT.to_le_bytes())?;
        out.write_all(&u32::try_from(header.len())?.to_le_bytes())?;
        out.write_all(&header)?;
        let info = FrameInfo::new().block_size(BlockSize::Max64KB).content_checksum(false).block_checksums(true);
        Ok(Self { body: FrameEncoder::with_frame_info(info, out) })
    }

    /// Appends a record.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.body.write_all(bytes)
    }

    /// Brings everything to the file, so that a crash loses nothing before this.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        // The encoder ends its block but leaves the bytes with the buffer below it.
        self.body.flush()?;
        self.body.get_mut().flush()
    }

    /// Ends the recording, and gives back what it was written to.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> Result<W> {
        let mut out = self.body.finish().context("ending the recording")?;
        out.flush().context("ending the recording")?;
        Ok(out)
    }

    /// What it is written to.
    pub fn get_ref(&self) -> &W {
        self.body.get_ref()
    }
}

/// A header as JSON, and its sum.
fn summed(mut header: Vec<u8>) -> io::Result<Vec<u8>> {
    // The brace that ends it.
    header.pop();
    let sum = XxHash32::oneshot(0, &header);
    header.write_all(SUM)?;
    write!(header, "{sum:08x}\"}}")?;
    Ok(header)
}

/// Whether a header is as it was written, if it says so.
fn is_as_written(header: &[u8]) -> bool {
    const DIGITS: usize = 8;
    let Some(rest) = header.strip_suffix(b"\"}") else { return true };
    let Some((rest, digits)) = rest.split_at_checked(rest.len().saturating_sub(DIGITS)) else { return true };
    let Some(summed) = rest.strip_suffix(SUM) else { return true };
    let sum = std::str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
    sum == Some(XxHash32::oneshot(0, summed))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_header_that_was_changed_is_not_as_it_was_written() {
        let json = serde_json::to_vec(&Header::default()).unwrap();
        assert!(is_as_written(&json), "an older one does not say");
        let summed = summed(json).unwrap();
        assert!(is_as_written(&summed));
        serde_json::from_slice::<Header>(&summed).unwrap();
        let before = summed.len() - SUM.len() - 10;
        for at in 0..before {
            let mut damaged = summed.clone();
            *damaged.get_mut(at).unwrap() ^= 1;
            assert!(!is_as_written(&damaged), "at {at}");
        }
    }
}
