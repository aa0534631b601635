//! The running kernel as a source of records: attaches, takes in the sockets that are there, drains the ring buffer, and
//! ends in order. It hands bytes to whoever wants them and does not look at what they mean, but for cgroup ids, whose names must be
//! looked up while the cgroups exist.

mod endings;
mod heirs;
mod losses;
mod place;
mod readings;
mod sink;

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use hashbrown::HashSet;
use nix::time::{ClockId, clock_getres};
use tcpwait_wire::wire::{self, Kind};
use tokio::{
    sync::{Notify, oneshot},
    time::MissedTickBehavior,
};
use zerocopy::IntoBytes;

pub use self::sink::Sink;
use self::{
    endings::Endings,
    heirs::Heirs,
    losses::Losses,
    readings::{Readings, maybe},
};
use crate::{
    aggregate::audit::Reading,
    event::task_of,
    kernel::{self, Choices, HookState, KernelFilter, Probes},
    recording::Header,
    select::Pick,
    signals,
    system::{
        cgroup::Cgroups,
        clock::{monotonic_ns, realtime_ns},
        listeners,
        netns::Identity,
        processes,
        seed::{self, Seeded},
        snmp,
    },
};

/// How often the ring buffer is looked at. The kernel wakes the reader earlier when a quarter of it is full.
const ROUND: Duration = Duration::from_millis(50);

/// How many records are taken in one go before signals and the clock get their turn.
const BATCH: usize = 8_192;

/// How long a program may take from its detachment to its last record.
const LAST_RECORD: Duration = Duration::from_millis(10);

/// How many rounds pass between two flushes to a recording.
const ROUNDS_PER_SYNC: u32 = 20;

/// When the kernel's own counters are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audited {
    /// Never.
    Never,
    /// At the start and at the end.
    Ends,
    /// From time to time too, with a listing of all mini-sockets at the end.
    Throughout,
}

/// What to trace, and how.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// What the kernel side leaves out.
    pub filter: KernelFilter,
    /// Size of the ring buffer in bytes.
    pub ring_bytes: u32,
    /// When to stop by itself.
    pub duration: Option<Duration>,
    /// Which of the hooks that do the same work is taken.
    pub choices: Choices,
    /// When the kernel's own counters are read beside the tracing.
    pub audit: Audited,
    /// Whether the first signal asks for the end; else [`Sink::ends_at`] says when one does.
    pub first_signal_ends: bool,
    /// Told whenever somebody waits for what the sink has to say: the ring buffer is read at once then.
    pub wake: Option<Arc<Notify>>,
    /// Diagnostics.
    pub verbose: bool,
}

/// The attached programs, and what is to be said of them.
pub struct Live {
    probes: Probes,
    settings: LiveOptions,
    header: Header,
    cgroups: Cgroups,
    named: HashSet<u64>,
    heirs: Heirs,
    endings: Endings,
    /// What this process may not see, a sentence each.
    unseen: Vec<String>,
    /// How long the first reading of the kernel's own counters took.
    first_reading: Duration,
}

/// Attaches. Needs a tokio runtime around it.
///
/// # Errors
/// The place is not one where this can run; the message says why and what to do.
pub fn attach(settings: LiveOptions) -> Result<Live> {
    let unseen = place::check()?;
    // Before anybody is told to hit Ctrl-C.
    let endings = Endings::catch(settings.first_signal_ends)?;
    let options = kernel::Options {
        filter: settings.filter.clone(),
        ring_bytes: settings.ring_bytes,
        verbose: settings.verbose,
        choices: settings.choices,
        pid_namespace: processes::numbering().unwrap_or_default(),
    };
    let mut probes = kernel::load(&options)?;
    let uname = nix::sys::utsname::uname().context("asking the kernel for its name")?;
    let header = Header {
        wire: wire::VERSION,
        tcpwait: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        machine: uname.machine().to_string_lossy().into_owned(),
        boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
        started_ns: monotonic_ns(),
        started_realtime_ns: realtime_ns(),
        symbols: std::mem::take(&mut probes.symbols),
        offsets: probes.offsets.iter().map(|(name, offset)| ((*name).to_owned(), *offset)).collect(),
        hz: ticks_per_second(),
        segments: kernel::segment_source(&probes.hooks),
        missing_hooks: missing(&probes),
    };
    Ok(Live {
        probes,
        settings,
        header,
        cgroups: Cgroups::new(),
        named: HashSet::new(),
        heirs: Heirs::new(),
        endings,
        first_reading: Duration::ZERO,
        unseen,
    })
}

impl Live {
    /// What a recording of this would say of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Every hook and what became of it.
    pub fn hooks(&self) -> &[HookState] {
        &self.probes.hooks
    }

    /// Whether connections in SYN_RECV are followed: they are known by the function that their timer calls.
    pub fn follows_syn_recv(&self) -> bool {
        self.probes.handlers.request.is_some()
    }

    /// One sentence for everything that this process may not see, and for every hook that this kernel does not give.
    pub fn missing(&self) -> impl Iterator<Item = String> + '_ {
        let requests = self.probes.handlers.request.is_none().then(|| kernel::WITHOUT_REQUESTS.to_owned());
        let hooks = kernel::missed(&self.probes.hooks).map(HookState::loss);
        self.unseen.iter().cloned().chain(hooks).chain(requests)
    }

    /// Reads the kernel's own counters for the first time, beside the tracing that goes on already: what later readings are
    /// measured from should be there before anybody is told that tracing has begun.
    ///
    /// # Errors
    /// The sink fails.
    pub fn read_first_counters(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        if self.settings.audit != Audited::Never {
            sink.reading_begins();
            let begun = Instant::now();
            let reading = snmp::read(self.only(), false, monotonic_ns);
            self.first_reading = begun.elapsed();
            self.catch_up(sink)?;
            sink.reading_ends(&reading);
        }
        Ok(())
    }

    /// The namespaces that are traced.
    fn only(&self) -> &Pick<Identity> {
        &self.settings.filter.netns
    }

    /// Feeds the sink until SIGINT, SIGTERM, SIGHUP, the duration's end, or a broken pipe. Returns what became of the sockets
    /// that were there before.
    ///
    /// # Errors
    /// The kernel's side or the sink fails.
    pub async fn run(&mut self, sink: &mut impl Sink) -> Result<Option<Seeded>> {
        let mut round = tokio::time::interval(ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ring = self.probes.waiter()?;
        // The first line is to have them.
        let mut names = Vec::new();
        seed::name_all(self.only(), monotonic_ns, |record| names.push(record.to_vec()));
        names.iter().try_for_each(|record| sink.record(record))?;
        let mut seeds = Some(self.read_seeds(false));
        let mut seeded = None;
        let mut losses = Losses::new();
        let mut listing: Option<oneshot::Receiver<(Vec<u8>, Seeded)>> = None;
        let mut listing_begun = Instant::now();
        let mut search: Option<oneshot::Receiver<Vec<u8>>> = None;
        let mut readings = Readings::after(self.first_reading);
        let mut rounds = 0u32;
        let end = tokio::time::sleep(self.settings.duration.unwrap_or(Duration::MAX));
        tokio::pin!(end);
        loop {
            let mut stop = false;
            tokio::select! {
                biased;
                signal = self.endings.next() => {
                    stop = sink.ends_at(signal);
                    if stop {
                        signals::ask();
                    }
                }
                () = &mut end, if self.settings.duration.is_some() && readings.ends_at.is_none() => stop = true,
                () = woken(self.settings.wake.as_deref()) => {}
                ready = ring.readable() => ready.context("waiting for the ring buffer")?.clear_ready(),
                Ok((records, read)) = maybe(&mut seeds) => {
                    seeds = None;
                    // What the kernel said before sock_diag was read comes first: the earlier word counts.
                    self.catch_up(sink)?;
                    for record in split(&records) {
                        self.pass(record, sink)?;
                    }
                    seeded = Some(read);
                }
                listed = maybe(&mut listing) => {
                    listing = None;
                    losses.listed(listing_begun.elapsed());
                    self.catch_up(sink)?;
                    if let Ok((records, _)) = listed {
                        for record in split(&records) {
                            self.pass(record, sink)?;
                        }
                    }
                }
                found = maybe(&mut search) => {
                    search = None;
                    self.catch_up(sink)?;
                    for record in found.iter().flat_map(|records| split(records)) {
                        self.pass(record, sink)?;
                    }
                }
                reading = maybe(&mut readings.under_way) => {
                    readings.under_way = None;
                    // What happened before the counters were read is in the ring buffer by now.
                    self.catch_up(sink)?;
                    if let Ok((reading, took)) = reading {
                        sink.reading_ends(&reading);
                        readings.took(took);
                    }
                }
                _ = round.tick() => {}
            }
            self.catch_up(sink)?;
            if sink.is_due(monotonic_ns()) {
                sink.account(&self.probes.counters(monotonic_ns())?);
                // What was counted has been written by now.
                self.catch_up(sink)?;
            }
            if let Some(lost) = losses.grown(|| self.probes.lost()) {
                // What was lost was so before this, and what is left of that time comes first.
                self.catch_up(sink)?;
                sink.record(wire::Loss { head: head::<wire::Loss>(Kind::Loss), lost }.as_bytes())?;
            }
            if seeds.is_none() && listing.is_none() && losses.begins_listing() {
                listing_begun = Instant::now();
                listing = Some(self.read_seeds(true));
            }
            if search.is_none() {
                search = self.heirs.in_question().map(|known| self.read_heirs(known));
            }
            self.tick(sink)?;
            sink.round()?;
            rounds = rounds.wrapping_add(1);
            if rounds.is_multiple_of(ROUNDS_PER_SYNC) {
                sink.sync()?;
            }
            self.probes.flush_log();
            if stop || sink.is_over() || readings.ends_at.is_some() {
                // A second signal does not wait.
                if self.settings.audit == Audited::Never || readings.are_over(stop) {
                    break;
                }
                readings.end(signals::asked());
            }
            let wanted = match self.settings.audit {
                Audited::Never => false,
                Audited::Ends => readings.ends_at.is_some(),
                Audited::Throughout => true,
            };
            if wanted && readings.are_due(seeds.is_none()) {
                sink.reading_begins();
                readings.under_way =
                    Some(self.read_counters(self.settings.audit == Audited::Throughout && readings.ends_at.is_some()));
                readings.last_begun = readings.ends_at.is_some();
            }
        }
        // Nothing may be added while the rest is read: a flood would never end. A full ring buffer of the usual size takes less than a second.
        self.probes.detach()?;
        while self.drain(sink)?.0 == BATCH {}
        // A program that still ran when it was detached finishes its record within microseconds; one that was not finished
        // hides those behind it.
        tokio::time::sleep(LAST_RECORD).await;
        while self.drain(sink)?.0 == BATCH {}
        self.tick(sink)?;
        sink.record(self.probes.counters(monotonic_ns())?.as_bytes())?;
        sink.sync()?;
        Ok(seeded)
    }

    /// Takes everything that is in the ring buffer now, and of what comes meanwhile no more than fits into it: on a machine that makes more than can
    /// be taken there is no end to that.
    fn catch_up(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        let mut bytes = 0;
        while sink.has_room() && bytes < u64::from(self.settings.ring_bytes) {
            let (records, taken) = self.drain(sink)?;
            bytes += taken;
            if records < BATCH {
                break;
            }
        }
        Ok(())
    }

    /// Takes what the ring buffer has. Returns how many records, [`BATCH`] says that there may be more, and how many bytes of the buffer they took.
    fn drain(&mut self, sink: &mut impl Sink) -> io::Result<(usize, u64)> {
        /// `struct bpf_ringbuf_hdr`.
        const HEADER: u64 = 8;
        let Self { probes, cgroups, named, heirs, .. } = self;
        let mut bytes = 0;
        let records = probes.drain(BATCH, |record| {
            bytes += HEADER + record.len() as u64;
            heirs.note(record);
            name_and_pass(record, cgroups, named, sink)
        })?;
        Ok((records, bytes))
    }

    fn pass(&mut self, record: &[u8], sink: &mut impl Sink) -> io::Result<()> {
        self.heirs.note(record);
        name_and_pass(record, &mut self.cgroups, &mut self.named, sink)
    }

    fn tick(&self, sink: &mut impl Sink) -> io::Result<()> {
        let tick = wire::Tick { head: head::<wire::Tick>(Kind::Tick), realtime_ns: realtime_ns() };
        sink.record(tick.as_bytes())
    }

    /// Reads the kernel's own counters beside the tracing.
    fn read_counters(&self, list: bool) -> oneshot::Receiver<(Reading, Duration)> {
        let (send, receive) = oneshot::channel();
        let netns = self.settings.filter.netns.clone();
        std::thread::spawn(move || {
            let begun = Instant::now();
            let reading = snmp::read(&netns, list, monotonic_ns);
            let _ = send.send((reading, begun.elapsed()));
        });
        receive
    }

    /// Looks up who holds these listeners, beside the tracing.
    fn read_heirs(&self, known: std::collections::HashMap<u64, u32>) -> oneshot::Receiver<Vec<u8>> {
        let (send, receive) = oneshot::channel();
        let netns = self.settings.filter.netns.clone();
        std::thread::spawn(move || {
            let mut records = Vec::new();
            listeners::find(&known, &netns, monotonic_ns, |record| records.extend_from_slice(record));
            let _ = send.send(records);
        });
        receive
    }

    /// Reads sock_diag and `/proc` beside the tracing: neither may hold up the other.
    fn read_seeds(&self, again: bool) -> oneshot::Receiver<(Vec<u8>, Seeded)> {
        let (send, receive) = oneshot::channel();
        let netns = self.settings.filter.netns.clone();
        std::thread::spawn(move || {
            let mut records = Vec::new();
            let sink = |record: &[u8]| records.extend_from_slice(record);
            let seeded = match again {
                false => seed::collect(&netns, monotonic_ns, sink),
                true => seed::collect_again(&netns, monotonic_ns, sink),
            };
            // The receiver is gone when tracing has ended meanwhile.
            let _ = send.send((records, seeded));
        });
        receive
    }
}

/// Somebody waits; without anybody who might, never.
async fn woken(wake: Option<&Notify>) {
    match wake {
        Some(wake) => wake.notified().await,
        None => std::future::pending().await,
    }
}

fn name_and_pass(
    record: &[u8],
    cgroups: &mut Cgroups,
    named: &mut HashSet<u64>,
    sink: &mut impl Sink,
) -> io::Result<()> {
    if let Some(task) = task_of(record)
        && !named.contains(&task.cgroup)
        && let Some(path) = cgroups.path_of(task.cgroup, task.pid)
    {
        let id = task.cgroup;
        named.insert(id);
        let mut name = wire::CgroupName { head: head::<wire::CgroupName>(Kind::CgroupName), id, path: [0; 256] };
        for (to, from) in name.path.iter_mut().zip(path.bytes()) {
            *to = from;
        }
        sink.record(name.as_bytes())?;
    }
    sink.record(record)
}

fn split(mut records: &[u8]) -> impl Iterator<Item = &[u8]> {
    const LEN_AT: usize = std::mem::offset_of!(wire::Head, len);
    std::iter::from_fn(move || {
        let len = records.get(LEN_AT..LEN_AT + 2)?.try_into().map(u16::from_ne_bytes).ok()?;
        let (record, rest) = records.split_at_checked(usize::from(len))?;
        records = rest;
        Some(record)
    })
}

fn head<T>(kind: Kind) -> wire::Head {
    wire::Head { time_ns: monotonic_ns(), len: size_of::<T>() as u16, kind: kind as u8, flags: 0, cpu: 0, thread: 0 }
}

/// The kernel's HZ: the resolution of its coarse clocks is its tick, `TICK_NSEC` (`posix_get_coarse_res` since 2.6.32; `LOW_RES_NSEC` in the vDSO).
fn ticks_per_second() -> Option<u64> {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).ok()?;
    let tick_ns = u64::try_from(tick.tv_nsec()).ok().filter(|ns| tick.tv_sec() == 0 && *ns > 0)?;
    // TICK_NSEC is rounded to the nearest, and so is this.
    Some((1_000_000_000 + tick_ns / 2) / tick_ns)
}

fn missing(probes: &Probes) -> BTreeMap<String, String> {
    probes.hooks.iter().filter_map(|state| Some((state.hook.name.to_owned(), state.why()?.to_owned()))).collect()
}
