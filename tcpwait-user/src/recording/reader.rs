//! Reads a recording, record by record, up to its end or to where it is cut or damaged. No number in the file decides how much memory is
//! taken: a header is read as far as it is there, a record is at most 64 KiB by its own field, a block at most 8 MiB by LZ4's format.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::fd::AsFd,
    path::Path,
};

use anyhow::{Context, Result, anyhow, bail};
use lz4_flex::frame::FrameDecoder;
use tcpwait_wire::wire::{self, Kind};
use zerocopy::FromBytes;

use super::{FORMAT, Header, MAGIC, MAX_HEADER, Records, is_as_written};
use crate::{
    ledger::{Cut, CutBy},
    plain::beginning,
};

/// So much of what a header says is quoted.
const MAX_QUOTED: usize = 200;

/// Reads a recording.
pub struct Reader {
    header: Header,
    body: FrameDecoder<CountingReader<BufReader<File>>>,
    record: Vec<u8>,
    /// Where in the file the last block that made sense ends.
    good: u64,
    complete: bool,
    cut: Option<Cut>,
}

impl Reader {
    /// Opens a recording and reads its header.
    ///
    /// # Errors
    /// The file cannot be read, is no recording, or is one of another version.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let opened = if path == Path::new("-") {
            io::stdin().as_fd().try_clone_to_owned().map(File::from)
        } else {
            File::open(path)
        };
        let file = opened.with_context(|| format!("opening the recording {shown}"))?;
        let mut file = CountingReader { inner: BufReader::new(file), bytes: 0 };
        let start = read_up_to(&mut file, 16).with_context(|| format!("reading {shown}"))?;
        if !start.starts_with(&MAGIC) {
            bail!("{shown} is not a tcpwait recording: {}", what_it_is(&start));
        }
        let (Some(format), Some(len)) = (le32(&start, 8), le32(&start, 12)) else {
            bail!("{shown} is a tcpwait recording, cut off after {} bytes: nothing in it can be read", start.len());
        };
        if format != FORMAT {
            bail!(
                "{shown} is a recording in format {format}; this tcpwait {} reads format {FORMAT}",
                env!("CARGO_PKG_VERSION")
            );
        }
        if len > MAX_HEADER {
            bail!("{shown} is a damaged recording: its header claims {len} bytes");
        }
        let header = read_up_to(&mut file, len.into()).with_context(|| format!("reading {shown}"))?;
        if header.len() as u64 != u64::from(len) {
            bail!("{shown} is a recording cut off within its header, at byte {}", file.bytes);
        }
        if !is_as_written(&header) {
            bail!(
                "{shown} is a recording with a damaged header: its sum does not fit, so nothing that follows can be trusted"
            );
        }
        let header = parsed(&header).map_err(|error| {
            anyhow!("{shown} is a recording with a damaged header: {}", beginning(&error.to_string(), MAX_QUOTED))
        })?;
        let header = header.map_err(|versions| anyhow!("{shown} was recorded by {versions}"))?;
        let good = file.bytes;
        Ok(Self { header, body: FrameDecoder::new(file), record: Vec::new(), good, complete: false, cut: None })
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
        if let Err(cut) = self.read_record() {
            self.cut = Some(cut);
            return None;
        }
        self.complete =
            wire::Head::read_from_prefix(&self.record).is_ok_and(|(head, _)| head.kind == Kind::Counters as u8);
        Some(&self.record)
    }

    /// Where and why reading stopped before the proper end, if it did.
    pub fn cut(&self) -> Option<Cut> {
        self.cut
    }

    fn read_record(&mut self) -> Result<(), Cut> {
        self.record.resize(size_of::<wire::Head>(), 0);
        self.fill(0)?;
        let len = wire::Head::read_from_prefix(&self.record).map_or(0, |(head, _)| head.len);
        if usize::from(len) < size_of::<wire::Head>() {
            return Err(Cut { at_byte: self.good, by: CutBy::RecordLength(len) });
        }
        self.record.resize(len.into(), 0);
        self.fill(size_of::<wire::Head>())
    }

    /// The decoder reads a block whole, and only when the one before is used up: so a block that it refuses begins where the last one that it
    /// took ended.
    fn fill(&mut self, from: usize) -> Result<(), Cut> {
        let mut filled = from;
        while let Some(rest) = self.record.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let read = self.body.read(rest);
            let at = self.body.get_ref().bytes;
            match read {
                Ok(0) => return Err(Cut { at_byte: at, by: CutBy::EndsEarly }),
                Ok(read) => (filled, self.good) = (filled + read, at),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Cut { at_byte: at, by: CutBy::EndsEarly });
                }
                Err(error) => {
                    return Err(match error.raw_os_error() {
                        Some(errno) => Cut { at_byte: at, by: CutBy::Unreadable(errno) },
                        None => Cut { at_byte: self.good, by: CutBy::Damaged },
                    });
                }
            }
        }
        Ok(())
    }
}

impl Records for Reader {
    fn next_record(&mut self) -> Option<&[u8]> {
        self.next_record()
    }

    fn cut(&self) -> Option<Cut> {
        self.cut
    }
}

/// Counts the bytes that were taken of a file.
struct CountingReader<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

/// The header, or (the inner error) who wrote it, if that is a version which cannot be read.
fn parsed(header: &[u8]) -> Result<Result<Header, String>> {
    // Versions first: a newer header may not fit the struct.
    let fields: serde_json::Value = serde_json::from_slice(header)?;
    let readable = u64::from(wire::OLDEST_VERSION)..=u64::from(wire::VERSION);
    if !fields.get("wire").and_then(serde_json::Value::as_u64).is_some_and(|version| readable.contains(&version)) {
        return Ok(Err(format!(
            "tcpwait {} with records of version {}; this tcpwait {} reads versions {} to {}",
            fields
                .get("tcpwait")
                .and_then(serde_json::Value::as_str)
                .map_or("of an unknown version".to_owned(), |version| beginning(version, MAX_QUOTED)),
            fields
                .get("wire")
                .and_then(serde_json::Value::as_u64)
                .map_or("unknown".to_owned(), |wire| wire.to_string()),
            env!("CARGO_PKG_VERSION"),
            wire::OLDEST_VERSION,
            wire::VERSION,
        )));
    }
    Ok(Ok(serde_json::from_value(fields)?))
}

/// So many bytes, or those that there are. What is asked for is not believed before it is there.
fn read_up_to(file: &mut impl Read, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
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
