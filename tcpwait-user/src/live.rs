//! The running kernel as a source of records: the loop that drains the ring buffer, while signals, the clock, and what is read beside it get their
//! turns. It hands bytes to whoever wants them and does not look at what they mean.

mod account;
mod alarm;
mod attach;
mod beside;
mod drain;
mod end;
mod head;
mod heirs;
mod losses;
mod naming;
mod place;
mod readings;
mod rights;
mod rounds;
mod sink;
mod thin;
mod wanted;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tokio::sync::{mpsc::UnboundedReceiver, oneshot};

use self::{
    alarm::Alarm,
    beside::{Listed, maybe, woken},
    heirs::Heirs,
    losses::Losses,
    naming::Naming,
    readings::Readings,
    rounds::{Change, Rounds},
    thin::Thin,
    wanted::SettingsReadings,
};
pub use self::{
    attach::{Audited, LiveOptions, attach},
    sink::Sink,
};
use crate::{
    kernel::{self, HookState, Probes},
    recording::Header,
    select::Pick,
    signals,
    system::{
        clock::monotonic_ns,
        netns::{Identity, remembered::Remembered},
        seed::{self, Seeded},
        snmp::{self, Besides},
    },
};

/// How much time passes between two flushes to a recording.
const SYNC: Duration = Duration::from_secs(1);

/// The attached programs, and what is to be said of them.
pub struct Live {
    probes: Probes,
    settings: LiveOptions,
    header: Header,
    naming: Naming,
    heirs: Heirs,
    /// Whether a record was passed on since the last round ended.
    has_passed: bool,
    /// Those that came and ask for the end.
    signals: UnboundedReceiver<Signal>,
    /// What this process may not see, a sentence each.
    unseen: Vec<String>,
    /// Where the counters and settings of namespaces are read.
    namespaces: Arc<Remembered>,
    /// How long the first reading of the kernel's own counters took.
    first_reading: Duration,
    /// Of how many connections one is told of; `None` where it is always all of them.
    thin: Option<Thin>,
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
    /// The kernel's side or the sink fails.
    pub fn read_first_counters(&mut self, sink: &mut impl Sink) -> Result<()> {
        if self.settings.audit != Audited::Never {
            sink.reading_begins();
            let begun = Instant::now();
            let before = self.probes.minis_entered()?;
            let mut reading = snmp::read(&self.namespaces.anew(), self.only(), self.besides(false), monotonic_ns);
            reading.entered = Some((before, self.probes.minis_entered()?));
            self.first_reading = begun.elapsed();
            self.catch_up(sink)?;
            sink.reading_ends(&reading);
        }
        Ok(())
    }

    /// What is read beside the kernel's counters.
    fn besides(&self, last: bool) -> Besides {
        let audit = self.settings.audit;
        Besides { list: last && audit != Audited::Ends, settings: audit == Audited::Recorded }
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
        let mut rounds = Rounds::new(Instant::now());
        let mut alarm = Alarm::new()?;
        let ring = self.probes.waiter()?;
        // The first line is to have them.
        let mut names = Vec::new();
        seed::name_all(self.only(), monotonic_ns, |record| names.push(record.to_vec()));
        names.iter().try_for_each(|record| sink.record(record))?;
        let mut seeds = Some(self.read_seeds(false));
        let mut seeded = None;
        let mut losses = Losses::new();
        let mut listing: Option<Listed> = None;
        let mut listing_begun = Instant::now();
        let mut search: Option<oneshot::Receiver<Vec<u8>>> = None;
        let mut readings = Readings::after(self.first_reading, self.settings.audit);
        let mut settings = SettingsReadings::new();
        let mut next_sync = Instant::now() + SYNC;
        let end = tokio::time::sleep(self.settings.duration.unwrap_or(Duration::MAX));
        tokio::pin!(end);
        loop {
            let mut stop = false;
            alarm.set(rounds.next()).context("setting the timer of the next look")?;
            tokio::select! {
                biased;
                Some(signal) = self.signals.recv() => {
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
                    self.pass_all(&records, sink)?;
                    seeded = Some(read);
                }
                listed = maybe(&mut listing) => {
                    listing = None;
                    losses.listed(listing_begun.elapsed());
                    self.catch_up(sink)?;
                    if let Ok((records, _)) = listed {
                        self.pass_all(&records, sink)?;
                    }
                }
                found = maybe(&mut search) => {
                    search = None;
                    self.catch_up(sink)?;
                    if let Ok(records) = found {
                        self.pass_all(&records, sink)?;
                    }
                }
                reading = maybe(&mut readings.under_way) => {
                    readings.under_way = None;
                    // What happened before the counters were read is in the ring buffer by now.
                    self.catch_up(sink)?;
                    if let Ok((mut reading, took)) = reading {
                        let entered = self.probes.minis_entered()?;
                        reading.entered = readings.entered_before.map(|before| (before, entered));
                        sink.reading_ends(&reading);
                        readings.took(took);
                    }
                }
                read = maybe(&mut settings.under_way) => {
                    let (read, took) = read.unwrap_or_default();
                    settings.took(took);
                    sink.settings(read);
                }
                rung = alarm.rings() => rung.context("waiting for the next look")?,
            }
            self.catch_up(sink)?;
            self.account(sink)?;
            self.say_lost(&mut losses, sink)?;
            self.thin_if_due(&mut losses, sink)?;
            if seeds.is_none() && listing.is_none() && losses.begins_listing() {
                listing_begun = Instant::now();
                listing = Some(self.read_seeds(true));
            }
            if search.is_none() {
                search = self.heirs.in_question().map(|known| self.read_heirs(known));
            }
            // Neither the sockets that were there before nor the last reading of the counters are to wait for it.
            if seeds.is_none()
                && readings.ends_at.is_none()
                && let Some(wanted) = settings.due(sink)
            {
                settings.under_way = Some(self.read_settings(wanted));
            }
            self.naming.look_again(sink)?;
            self.tick(sink)?;
            sink.round()?;
            let now = Instant::now();
            if now >= next_sync {
                next_sync = now + SYNC;
                sink.sync()?;
            }
            let is_busy = std::mem::take(&mut self.has_passed) || !sink.has_room();
            if is_busy {
                readings.has_news = true;
                settings.has_news = true;
            }
            self.rest(&mut rounds, is_busy || sink.is_watching() || readings.ends_at.is_some(), sink)?;
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
                Audited::Throughout | Audited::Recorded => true,
            };
            if wanted && readings.are_due(seeds.is_none()) {
                let needed = sink.reading_begins();
                let last = readings.ends_at.is_some();
                // Whoever hit Ctrl-C does not wait until all processes have been looked at: that may take longer than there is.
                let anew = last && !signals::asked();
                readings.has_news = false;
                readings.entered_before = Some(self.probes.minis_entered()?);
                readings.under_way = Some(self.read_counters(needed, anew, self.besides(last)));
                readings.last_begun = last;
            }
        }
        self.finish(sink).await?;
        Ok(seeded)
    }

    /// The end of a round: when the next one comes.
    fn rest(&mut self, rounds: &mut Rounds, stays_up: bool, sink: &impl Sink) -> Result<()> {
        let due = sink.next_due_ns().map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(monotonic_ns())));
        match rounds.looked(Instant::now(), stays_up, due) {
            Some(change) => self.probes.set_asleep(change == Change::Sleeps),
            None => Ok(()),
        }
    }
}
