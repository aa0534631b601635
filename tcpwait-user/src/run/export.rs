//! `tcpwait export`: connects a source with the metrics, and those with whoever asks for them.

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use tcpwait_wire::wire::Counters;
use tokio::sync::{Notify, oneshot};

use super::{
    criteria::inodes,
    notices::{banner, log_to_stderr, say_damage, say_seeded, say_thinned},
    runtime,
    source::{audit_of, meaning_of_tw, open, settings},
};
use crate::{
    aggregate::{
        audit::{Audit, Reading},
        ports::settings::PortSettings,
    },
    cli::ExportArgs,
    export::{
        engine::Engine,
        front::{Front, ListenPlace},
        questions::Questions,
        web::{config::WebConfig, watch::WebFile},
    },
    kernel::{KernelFilter, Work},
    live::{self, Audited, Live, LiveOptions, Sink},
    metrics::{
        exposition::{self, Format},
        groups::GroupSlots,
        history::History,
        source::{Observed, OwnCost},
    },
    output::say,
    plain,
    recording::Header,
    system::{netns, own_process, port_range},
    tcp::NetnsId,
    thinning::Thinner,
};

/// Where it is served unless something else is said.
const PORT: u16 = 10_060;

/// Carries it out.
pub fn run(args: &ExportArgs) -> Result<ExitCode> {
    log_to_stderr(args.tracing.verbose);
    if args.check {
        return check(args);
    }
    match &args.from {
        Some(path) => replay(args, path),
        None => runtime()?.block_on(trace(args)),
    }
}

fn replay(args: &ExportArgs, path: &Path) -> Result<ExitCode> {
    let mut reader = open(path)?;
    let header = reader.header().clone();
    let mut engine = Engine::new(&header, of_recording(&header), audit_of(&header), slots(args));
    let mut history = History::new(header.started_ns);
    while let Some(record) = reader.next_record() {
        engine.record(record);
        engine.recorded(reader.found());
        if history.is_due(engine.now_ns()) && engine.is_seeded() {
            history.add(engine.now_ns(), engine.now_s(), &engine.snapshot(None));
        }
    }
    engine.finish();
    history.add(engine.now_ns(), engine.now_s(), &engine.snapshot(None));
    unless_nobody_reads(history.write(&mut io::stdout().lock()))?;
    say_damage(path, &reader.found(), "exported");
    Ok(ExitCode::SUCCESS)
}

async fn trace(args: &ExportArgs) -> Result<ExitCode> {
    // First: an address that cannot be had is known before anything is attached, and no right is there to be inherited.
    let web = args.web_config_file.as_deref().map(WebFile::open).transpose()?;
    let config = web.as_ref().map(WebFile::config);
    let scheme = if config.is_some_and(|config| config.tls.is_some()) { "https" } else { "http" };
    let front = if args.once { None } else { Some(start(args, config)?) };
    let filter = KernelFilter { netns: netns::identify(&inodes(&args.netns)?), ..KernelFilter::default() };
    let audit = Audit::new(meaning_of_tw(), None);
    let wake = Arc::new(Notify::new());
    let mut live = live::attach(LiveOptions {
        audit: Audited::Throughout,
        wake: Some(wake.clone()),
        thinning: Some(args.thinning.limits()),
        ..settings(&args.tracing, filter)
    })?;
    let engine = Engine::new(live.header(), of_kernel(&live), audit, slots(args));
    let mut sink = Exported { engine, front: None, once: args.once && args.tracing.duration.is_none() };
    live.read_first_counters(&mut sink).context("counting")?;
    banner(&live, args.tracing.verbose);
    if let Some((process, pair, bound)) = front {
        let pair = tokio::net::UnixStream::from_std(pair).context("talking to the process that answers HTTP")?;
        let (questions, gone) = Questions::listen(pair, wake, web);
        sink.front = Some(Serving { _process: process, questions, gone, has_gone: false });
        for address in bound {
            say!("Serving metrics on {scheme}://{address}/metrics");
        }
    }
    live.give_up_rights()?;
    let seeded = live.run(&mut sink).await?;
    say_seeded(seeded.as_ref(), args.tracing.verbose);
    if args.once {
        sink.engine.finish();
        sink.engine.set_settings(port_range::read(&sink.engine.namespaces()));
        // The process's own cost would collide with that of node_exporter.
        let text = sink.render(Format::Text, None);
        unless_nobody_reads(io::stdout().lock().write_all(&text))?;
    }
    if sink.front.is_some_and(|front| front.has_gone) {
        bail!("the process that answers HTTP has ended: what it said is above; start tcpwait export again");
    }
    Ok(ExitCode::SUCCESS)
}

/// Says whether the web configuration is right for these addresses.
fn check(args: &ExportArgs) -> Result<ExitCode> {
    let path = args.web_config_file.as_deref().context("--check needs --web.config.file")?;
    let file = WebFile::open(path)?;
    addresses(args, Some(file.config()))?;
    writeln!(io::stdout().lock(), "{}: right: {}", plain::escaped(&path.to_string_lossy()), meaning(file.config()))
        .context("writing to stdout")?;
    Ok(ExitCode::SUCCESS)
}

/// What a configuration does, in a few words.
fn meaning(config: &WebConfig) -> String {
    let tls = match &config.tls {
        Some(tls) => format!("TLS, client_auth_type {:?}", tls.client_auth),
        None => "no TLS".to_owned(),
    };
    let users = match config.users.len() {
        0 if config.verifies_clients() => "no users: a certificate lets a client in",
        0 => "no users: everybody is let in",
        1 => "1 user",
        many => return format!("{tls}; {many} users"),
    };
    format!("{tls}; {users}")
}

/// Whoever has read enough closes the pipe.
fn unless_nobody_reads(written: io::Result<()>) -> Result<()> {
    match written {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to stdout"),
    }
}

/// Starts the process that serves. On sockets of a service manager it serves nothing before it has been told how, so what they are is asked afterwards.
fn start(
    args: &ExportArgs,
    web: Option<&WebConfig>,
) -> Result<(Front, std::os::unix::net::UnixStream, Vec<SocketAddr>)> {
    match ListenPlace::inherited() {
        None => Front::start(&ListenPlace::Addresses(addresses(args, web)?)),
        Some(_) if !args.listen.is_empty() => {
            bail!(
                "--listen was given, but the service manager has given sockets too (LISTEN_FDS): say the address in one place"
            )
        }
        Some(place) => {
            let started = Front::start(&place)?;
            must_be_closed(args, web, &started.2)?;
            Ok(started)
        }
    }
}

/// Where to serve.
fn addresses(args: &ExportArgs, web: Option<&WebConfig>) -> Result<Vec<SocketAddr>> {
    must_be_closed(args, web, &args.listen)?;
    if !args.listen.is_empty() {
        return Ok(args.listen.clone());
    }
    let ours = [SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)), SocketAddr::from((Ipv6Addr::LOCALHOST, PORT))];
    // A machine without IPv6 has no ::1.
    let is_there = |address: &SocketAddr| address.is_ipv4() || TcpListener::bind((address.ip(), 0)).is_ok();
    Ok(ours.into_iter().filter(is_there).collect())
}

/// Who may reach an address that others can reach has to be said.
fn must_be_closed(args: &ExportArgs, web: Option<&WebConfig>, addresses: &[SocketAddr]) -> Result<()> {
    let open = addresses.iter().find(|address| !address.ip().is_loopback() && !args.no_auth);
    match (open, web) {
        (None, _) => {}
        (Some(open), None) => bail!(
            "{open}: whoever reaches this address reads the metrics: say --web.config.file FILE with TLS and users, or --no-auth if everybody may"
        ),
        (Some(open), Some(web)) if web.tls.is_none() && web.users.is_empty() => bail!(
            "{open}: the web configuration has neither TLS nor users, so whoever reaches this address reads the metrics: say --no-auth if everybody may"
        ),
        (Some(open), Some(web)) if !web.is_closed() => {
            say!("{open}: without users or required client certificates, whoever reaches it reads the metrics");
        }
        (Some(open), Some(web)) if web.tls.is_none() => {
            say!("{open}: without TLS, passwords can be read on the way");
        }
        (Some(_), Some(_)) => {}
    }
    Ok(())
}

fn slots(args: &ExportArgs) -> GroupSlots {
    let mut by = Vec::new();
    for what in args.label.iter().map(|what| (*what).into()) {
        if !by.contains(&what) {
            by.push(what);
        }
    }
    GroupSlots::new(by, args.top as usize)
}

fn of_kernel(live: &Live) -> Observed {
    let does = |work| crate::kernel::attached(live.hooks(), work).is_some();
    Observed {
        late_segments: does(Work::Segments),
        accepters: does(Work::Accepts),
        syn_recv: live.follows_syn_recv(),
        refused_calls: does(Work::Ports),
    }
}

/// A recording names the hooks that were not attached.
fn of_recording(header: &Header) -> Observed {
    let is_missing = |hook: &crate::kernel::Hook| header.missing_hooks.contains_key(hook.name);
    let does = |work| {
        crate::kernel::HOOKS.iter().any(|hook| hook.need == crate::kernel::Need::OneOf(work) && !is_missing(hook))
    };
    Observed {
        late_segments: does(Work::Segments),
        accepters: does(Work::Accepts),
        syn_recv: !header.symbols.is_empty(),
        refused_calls: header.tells_refused_calls(),
    }
}

/// Records become metrics, and questions are answered.
struct Exported {
    engine: Engine,
    front: Option<Serving>,
    once: bool,
}

/// The process that serves, and what it asks.
struct Serving {
    _process: Front,
    questions: Questions,
    gone: oneshot::Receiver<()>,
    has_gone: bool,
}

impl Exported {
    fn render(&mut self, format: Format, process: Option<&OwnCost>) -> Vec<u8> {
        exposition::bytes(self.engine.snapshot(process), format).unwrap_or_default()
    }

    fn is_asked(&mut self) -> bool {
        self.front.as_mut().is_some_and(|front| front.questions.are_open())
    }
}

impl Sink for Exported {
    fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.engine.record(bytes);
        Ok(())
    }
    fn round(&mut self) -> io::Result<()> {
        if !self.is_asked() {
            self.engine.prepare();
            return Ok(());
        }
        let Some(mut front) = self.front.take() else { return Ok(()) };
        let process = own_process::read();
        front.questions.answer(|format| self.render(format, process.as_ref()));
        self.front = Some(front);
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn is_due(&mut self, _now_ns: u64) -> bool {
        self.is_asked()
    }
    fn account(&mut self, counters: &Counters) {
        self.engine.account(counters);
    }
    fn namespaces(&self) -> Vec<NetnsId> {
        self.engine.namespaces()
    }
    fn settings(&mut self, read: Vec<(NetnsId, PortSettings)>) {
        self.engine.set_settings(read);
    }
    fn reading_begins(&mut self) -> Vec<NetnsId> {
        self.engine.reading_begins()
    }
    fn reading_ends(&mut self, reading: &Reading) {
        self.engine.reading_ends(reading);
    }
    fn thinned(&mut self, change: &Thinner) {
        say_thinned(change);
    }
    fn is_over(&mut self) -> bool {
        if let Some(front) = &mut self.front {
            front.has_gone |= !matches!(front.gone.try_recv(), Err(oneshot::error::TryRecvError::Empty));
            return front.has_gone;
        }
        self.once && self.engine.is_seeded() && self.engine.is_audited()
    }
}
