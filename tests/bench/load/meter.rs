//! What the load costs its cores: the time of its threads, and of the softirqs that run on their account, wherever the kernel books
//! those. Other processes, and a hypervisor that takes the core away, are not in it.

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// How long it is tried where softirqs are booked, and how often: what disturbs one trial makes it look as if they were apart.
const TRIAL: Duration = Duration::from_millis(10);
const TRIALS: u32 = 3;
/// Softirqs are a third of that trial and more.
const ALL_BUT: f64 = 0.8;

/// A clock that runs while the load is worked for.
pub struct Meter {
    clock: ClockId,
    /// The cores' threads that work off softirqs when there are many.
    helpers: Vec<ClockId>,
    /// Of the cores, where interrupts are in no thread's time.
    apart: Vec<usize>,
    begin: Duration,
}

impl Meter {
    /// Of this process, whose threads are kept to these cores.
    pub fn of_process(cores: &[usize]) -> Result<Self> {
        Self::new(ClockId::CLOCK_PROCESS_CPUTIME_ID, cores)
    }

    /// Of the calling thread, which is kept to this core.
    pub fn of_thread(core: usize) -> Result<Self> {
        Self::new(ClockId::CLOCK_THREAD_CPUTIME_ID, &[core])
    }

    fn new(clock: ClockId, cores: &[usize]) -> Result<Self> {
        let helpers = cores.iter().filter_map(|core| ksoftirqd(*core)).collect();
        let apart = if interrupts_are_apart()? { cores.to_owned() } else { Vec::new() };
        let meter = Self { clock, helpers, apart, begin: Duration::ZERO };
        Ok(Self { begin: meter.now()?, ..meter })
    }

    /// Begins again.
    pub fn restart(&mut self) -> Result<()> {
        self.begin = self.now()?;
        Ok(())
    }

    /// Since it began.
    pub fn taken(&self) -> Result<Duration> {
        Ok(self.now()?.saturating_sub(self.begin))
    }

    fn now(&self) -> Result<Duration> {
        let mut sum = Duration::ZERO;
        for clock in self.helpers.iter().chain([&self.clock]) {
            sum += Duration::from(clock_gettime(*clock).context("reading a clock of processor time")?);
        }
        for core in &self.apart {
            sum += interrupts(*core).context("reading the time of interrupts from /proc/stat")?;
        }
        Ok(sum)
    }
}

/// The clock of a core's `ksoftirqd`.
fn ksoftirqd(core: usize) -> Option<ClockId> {
    let name = format!("ksoftirqd/{core}");
    let named = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name);
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    clock_getcpuclockid(Pid::from_raw(pids.into_iter().find(named)?)).ok()
}

/// A core's hard and soft interrupts so far: columns 6 and 7 of its line in /proc/stat, right to a tick of 10 ms.
fn interrupts(core: usize) -> Option<Duration> {
    let hz = sysconf(SysconfVar::CLK_TCK).ok().flatten().filter(|hz| *hz > 0)?;
    let text = fs::read_to_string("/proc/stat").ok()?;
    let (_, columns) =
        text.lines().filter_map(|line| line.split_once(' ')).find(|(row, _)| *row == format!("cpu{core}"))?;
    let ticks: u64 =
        columns.split(' ').skip(5).take(2).map(|column| column.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(Duration::from_secs_f64(ticks as f64 / hz as f64))
}

/// Whether the kernel leaves interrupts out of the time of the thread that they interrupt (`CONFIG_IRQ_TIME_ACCOUNTING`): tried, with
/// datagrams over loopback, which softirqs deliver.
fn interrupts_are_apart() -> Result<bool> {
    let (from, to) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
    let (from, to) = (from.context("binding a datagram socket")?, to.context("binding a datagram socket")?);
    from.connect(to.local_addr()?).context("connecting a datagram socket")?;
    for _ in 0..TRIALS {
        let (begin, before) = (Instant::now(), on_core()?);
        let Some(waited_before) = waited() else { return Ok(false) };
        while begin.elapsed() < TRIAL {
            from.send(&[0]).context("sending a datagram")?;
            to.recv(&mut [0]).context("receiving a datagram")?;
        }
        let (elapsed, taken) = (begin.elapsed(), on_core()?.saturating_sub(before));
        let Some(waited) = waited() else { return Ok(false) };
        let ran = elapsed.saturating_sub(waited.saturating_sub(waited_before));
        if taken.as_secs_f64() >= ran.as_secs_f64() * ALL_BUT {
            return Ok(false);
        }
    }
    Ok(true)
}

fn on_core() -> Result<Duration> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .context("reading the processor time of a thread")
}

/// How long this thread has waited for a core while it could have run; `None` where the kernel does not tell.
fn waited() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}
