//! `tcpwait record`: what the kernel says goes to a file, or to standard output, as it comes.

use std::{io, path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use tcpwait_wire::wire::Kind;

use super::{
    criteria::inodes,
    exit,
    notices::{banner, log_to_stderr, say_seeded},
    runtime,
    source::{meaning_of_tw, settings_of_each_call},
};
use crate::{
    aggregate::audit::Reading,
    cli::RecordArgs,
    event::{counters, is_from_kernel},
    kernel::KernelFilter,
    ledger::Ledger,
    live::{self, Audited, LiveOptions, Sink},
    output::{WriteBehind, say},
    recording::{self, Circumstances, Header, Writer},
    system::{clock::monotonic_ns, netns},
    tcp::NetnsId,
};

/// Carries it out.
pub fn run(args: &RecordArgs) -> Result<ExitCode> {
    log_to_stderr(args.tracing.verbose);
    runtime()?.block_on(record(args))
}

async fn record(args: &RecordArgs) -> Result<ExitCode> {
    let filter = KernelFilter { netns: netns::identify(&inodes(&args.netns)?), ..KernelFilter::default() };
    let to_stdout = args.output == Path::new("-");
    if to_stdout && std::io::IsTerminal::is_terminal(&io::stdout()) {
        bail!(
            "standard output is a terminal, and a recording is binary: use `tcpwait record -o - | ssh HOST 'cat > FILE'`, or -o FILE"
        );
    }
    let tw_counts = meaning_of_tw();
    let mut live =
        live::attach(LiveOptions { audit: Audited::Recorded, ..settings_of_each_call(&args.tracing, filter) })?;
    let new = match to_stdout {
        true => recording::New::stdout()?,
        false => recording::New::file(&args.output)?,
    };
    let shown = new.shown().to_owned();
    let writer = new.begin(&Header { tw_counts, ..live.header().clone() })?;
    let mut sink = Recording {
        writer,
        ledger: Ledger::default(),
        records: 0,
        circumstances: Circumstances::default(),
        failed: None,
    };
    live.read_first_counters(&mut sink).with_context(|| format!("writing to {shown}"))?;
    banner(&live, args.tracing.verbose);
    let seeded = live.run(&mut sink).await.with_context(|| format!("writing to {shown}"))?;
    say_seeded(seeded.as_ref(), args.tracing.verbose);
    let Recording { writer, ledger, records, failed, .. } = sink;
    // The last reading comes after the last round.
    failed.map_or(Ok(()), Err).with_context(|| format!("writing to {shown}"))?;
    let out = writer.finish().with_context(|| format!("writing to {shown}"))?;
    out.settle().with_context(|| format!("writing to {shown}: the recording is cut short"))?;
    let (size, name) = (out.bytes(), if to_stdout { "FILE" } else { &shown });
    say!("{shown}: {records} records, {size} bytes; read it with: tcpwait trace --from {name}");
    let lossy = ledger.is_lossy();
    if lossy {
        say!("some events were lost; `tcpwait trace --from` shows which");
    }
    Ok(exit::code(lossy, args.fail_on_loss))
}

/// Records become a file.
struct Recording {
    writer: Writer<WriteBehind>,
    ledger: Ledger,
    records: u64,
    circumstances: Circumstances,
    /// Why what was told beside the records could not be written.
    failed: Option<io::Error>,
}

impl Recording {
    fn tell(
        &mut self,
        tell: impl FnOnce(&mut Circumstances, &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>,
    ) {
        let Self { writer, records, circumstances, failed, .. } = self;
        let mut record = |bytes: &[u8]| {
            *records += 1;
            writer.record(bytes)
        };
        if let Err(why) = tell(circumstances, &mut record) {
            failed.get_or_insert(why);
        }
    }
}

impl Sink for Recording {
    fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.records += 1;
        self.ledger.read += u64::from(is_from_kernel(bytes));
        if let Some(counters) = counters(bytes).filter(|counters| counters.head.kind == Kind::Counters as u8) {
            self.ledger.count_kernel(&counters);
        }
        self.writer.record(bytes)
    }
    fn reading_begins(&mut self) -> Vec<NetnsId> {
        self.tell(|_, record| Circumstances::begin(monotonic_ns(), record));
        Vec::new()
    }
    fn reading_ends(&mut self, reading: &Reading) {
        self.tell(|circumstances, record| circumstances.end(reading, monotonic_ns(), record));
    }
    fn round(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
    fn has_room(&self) -> bool {
        self.writer.get_ref().has_room()
    }
}
