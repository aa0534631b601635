//! Recordings: a header that says what and where, then the records as they came, compressed. Reading one gives the same
//! bytes as the live ring buffer; it knows nothing of their meaning.

mod new;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::Path,
};

use anyhow::{Context, Result, bail};
use lz4_flex::frame::{BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use serde::{Deserialize, Serialize};
use tcpwait_wire::wire::{self, Kind};
use zerocopy::FromBytes;

pub use self::new::New;
use crate::{lifecycle::SegmentSource, symbols::Symbols};

/// First bytes of every recording.
const MAGIC: [u8; 8] = *b"tcpwait\n";

/// Version of the container: magic, version, header length, header, body.
const FORMAT: u32 = 1;

/// A header longer than this is damage.
const MAX_HEADER: u32 = 16 << 20;

/// What a recording says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`wire::VERSION`] of the records.
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
        let header = serde_json::to_vec(header)?;
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

/// Reads a recording.
pub struct Reader {
    header: Header,
    body: FrameDecoder<BufReader<File>>,
    record: Vec<u8>,
    complete: bool,
    cut: Option<String>,
}

impl Reader {
    /// Opens a recording and reads its header.
    ///
    /// # Errors
    /// The file cannot be read, is no recording, or is one of another version.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let mut file = BufReader::new(File::open(path).with_context(|| format!("opening the recording {shown}"))?);
        let mut start = [0u8; 16];
        let read = read_up_to(&mut file, &mut start).with_context(|| format!("reading {shown}"))?;
        let (magic, rest) = start.split_at(MAGIC.len());
        if read < MAGIC.len() || magic != MAGIC {
            bail!("{shown} is not a tcpwait recording: {}", what_it_is(start.get(..read).unwrap_or_default()));
        }
        if read < start.len() {
            bail!("{shown} is a tcpwait recording, cut off after {read} bytes: nothing in it can be read");
        }
        let (format, len) = rest.split_at(4);
        let (format, len) = (le32(format), le32(len));
        if format != FORMAT {
            bail!(
                "{shown} is a recording in format {format}; this tcpwait {} reads format {FORMAT}",
                env!("CARGO_PKG_VERSION")
            );
        }
        if len > MAX_HEADER {
            bail!("{shown} is a damaged recording: its header claims {len} bytes");
        }
        let mut header = vec![0u8; usize::try_from(len)?];
        file.read_exact(&mut header).with_context(|| format!("{shown} is a recording cut off within its header"))?;
        // Versions first: a newer header may not fit the struct.
        let fields: serde_json::Value =
            serde_json::from_slice(&header).with_context(|| format!("{shown} is a recording with a damaged header"))?;
        let readable = u64::from(wire::OLDEST_VERSION)..=u64::from(wire::VERSION);
        if !fields.get("wire").and_then(serde_json::Value::as_u64).is_some_and(|version| readable.contains(&version)) {
            bail!(
                "{shown} was recorded by tcpwait {} with records of version {}; this tcpwait {} reads versions {} to {}",
                fields.get("tcpwait").and_then(serde_json::Value::as_str).unwrap_or("of an unknown version"),
                fields.get("wire").unwrap_or(&serde_json::Value::Null),
                env!("CARGO_PKG_VERSION"),
                wire::OLDEST_VERSION,
                wire::VERSION,
            );
        }
        let header =
            serde_json::from_value(fields).with_context(|| format!("{shown} is a recording with a damaged header"))?;
        Ok(Self { header, body: FrameDecoder::new(file), record: Vec::new(), complete: false, cut: None })
    }

    /// What the recording says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next record, or `None` at the end, be it the proper one or a cut.
    pub fn next_record(&mut self) -> Option<&[u8]> {
        if self.complete || self.cut.is_some() {
            return None;
        }
        if let Err(why) = self.read_record() {
            self.cut = Some(why);
            return None;
        }
        self.complete =
            wire::Head::read_from_prefix(&self.record).is_ok_and(|(head, _)| head.kind == Kind::Counters as u8);
        Some(&self.record)
    }

    /// Why reading stopped before the proper end, if it did.
    pub fn cut(&self) -> Option<&str> {
        self.cut.as_deref()
    }

    fn read_record(&mut self) -> Result<(), String> {
        self.record.resize(size_of::<wire::Head>(), 0);
        self.body.read_exact(&mut self.record).map_err(|e| ended(&e))?;
        let len = wire::Head::read_from_prefix(&self.record).map_or(0, |(head, _)| usize::from(head.len));
        if len < size_of::<wire::Head>() {
            return Err(format!("a record claims to be {len} bytes long"));
        }
        self.record.resize(len, 0);
        let rest = self.record.get_mut(size_of::<wire::Head>()..).unwrap_or_default();
        self.body.read_exact(rest).map_err(|e| ended(&e))
    }
}

fn ended(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the file ends early".to_owned(),
        _ => format!("what follows is damaged ({error})"),
    }
}

fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            n => read += n,
        }
    }
    Ok(read)
}

fn le32(bytes: &[u8]) -> u32 {
    bytes.try_into().map(u32::from_le_bytes).unwrap_or_default()
}

fn what_it_is(start: &[u8]) -> String {
    const KNOWN: [(&[u8], &str); 8] = [
        (b"\x1f\x8b", "it is gzip-compressed; unpack it first"),
        (b"\x28\xb5\x2f\xfd", "it is zstd-compressed; unpack it first"),
        (b"\xfd7zXZ", "it is xz-compressed; unpack it first"),
        (b"\xd4\xc3\xb2\xa1", "it is a packet capture"),
        (b"\x0a\x0d\x0d\x0a", "it is a packet capture"),
        (b"\x7fELF", "it is an executable"),
        (b"PERFILE2", "it is a perf recording"),
        (b"{", "it is JSON, perhaps the output of trace --json"),
    ];
    if start.is_empty() {
        return "it is empty".to_owned();
    }
    KNOWN.iter().find(|(magic, _)| start.starts_with(magic)).map_or_else(
        || format!("it starts with {:?}", String::from_utf8_lossy(start.get(..8).unwrap_or(start))),
        |(_, what)| (*what).to_owned(),
    )
}
