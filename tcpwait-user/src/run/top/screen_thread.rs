//! The thread that owns the terminal: takes what was counted, reads keys, draws. Nothing that counts ever waits for it.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::errands::{RecordingProcess, save};
use crate::{
    output,
    top::{
        draw,
        feed::Feed,
        state::{ScreenCommand, TopScreen},
        terminal::{self, ScreenTerminal, TerminalInput},
    },
};

/// At most so often is anything drawn.
const FRAME: Duration = Duration::from_millis(100);

/// The longest that it waits while nothing comes. What is said on standard error, and the end of a recording, ring no bell.
const LONGEST: Duration = Duration::from_secs(1);

/// How long the screen may take to end once the tracing has.
const A_MOMENT: Duration = Duration::from_millis(500);

/// How long a report of a recording that is played stays.
const PLAY: Duration = Duration::from_millis(1_000);

/// The thread that the screen has.
pub(super) struct ScreenThread {
    thread: JoinHandle<Result<()>>,
    ends: Arc<AtomicBool>,
    feed: Feed,
}

impl ScreenThread {
    pub(super) fn start(screen: TopScreen, feed: Feed, namespaces: Vec<String>) -> Result<Self> {
        output::hold();
        let ends = Arc::new(AtomicBool::new(false));
        feed.bell().ring_on_resize().context("catching SIGWINCH")?;
        let ending = Ending { feed: feed.clone(), ends: Arc::clone(&ends) };
        let thread = thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || watch(screen, &ending, namespaces))
            .context("starting the screen's thread")?;
        Ok(Self { thread, ends, feed })
    }

    /// The screen ends, if it has not; and the terminal is what it was.
    pub(super) fn end(self) -> Result<ExitCode> {
        let Self { thread, ends, feed } = self;
        ends.store(true, Ordering::SeqCst);
        feed.bell().ring();
        let begun = Instant::now();
        while !thread.is_finished() && begun.elapsed() < A_MOMENT {
            thread::sleep(Duration::from_millis(5));
        }
        // One that still writes to a terminal that nobody reads is not waited for.
        let ended = if thread.is_finished() { Some(thread.join()) } else { None };
        terminal::give_back();
        output::release();
        match ended {
            Some(Ok(done)) => done.map(|()| ExitCode::SUCCESS),
            Some(Err(_)) => anyhow::bail!("the screen's thread has panicked: please report what is said above"),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}

/// How the screen ends, and how it is told to.
struct Ending {
    feed: Feed,
    ends: Arc<AtomicBool>,
}

/// However the thread ends.
impl Drop for Ending {
    fn drop(&mut self) {
        self.feed.screen_goes();
    }
}

/// Shows the screen until somebody or something ends it.
fn watch(mut screen: TopScreen, ending: &Ending, namespaces: Vec<String>) -> Result<()> {
    let mut recording: Option<RecordingProcess> = None;
    let mut terminal = ScreenTerminal::take().context("taking the terminal")?;
    let left = show(&mut screen, ending, &mut terminal, &mut recording, &namespaces);
    ending.feed.screen_goes();
    drop(terminal);
    if let Some(recording) = recording {
        recording.end();
    }
    match left {
        Ok(true) => {
            let (width, height) = terminal::size();
            terminal::leave_standing(&draw::text(&screen, width, height.saturating_sub(1)))
                .context("writing to the terminal")
        }
        // Whoever closes the terminal wants no more.
        Ok(false) | Err(_) => Ok(()),
    }
}

/// Whether the last screen is to stay.
fn show(
    screen: &mut TopScreen,
    ending: &Ending,
    terminal: &mut ScreenTerminal,
    recording: &mut Option<RecordingProcess>,
    namespaces: &[String],
) -> std::io::Result<bool> {
    let (mut changed, mut drawn, mut played) = (true, None::<Instant>, Instant::now());
    let mut was_over = false;
    loop {
        if ending.ends.load(Ordering::SeqCst) {
            return Ok(false);
        }
        if let Some(delivery) = ending.feed.take() {
            let is_new = !delivery.snapshots.is_empty() || delivery.anew || delivery.over != was_over;
            was_over = delivery.over;
            if is_new {
                screen.receive(delivery);
                changed = true;
            }
        }
        let said = output::new_sentences();
        changed |= !said.is_empty();
        screen.hear(said);
        if let Some(said) = recording.as_mut().and_then(RecordingProcess::has_ended) {
            *recording = None;
            screen.recording = None;
            screen.say(said);
            changed = true;
        }
        if screen.is_playing && played.elapsed() >= PLAY {
            played = Instant::now();
            screen.play();
            changed = true;
        }
        if changed && drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME) {
            terminal.draw(screen)?;
            (changed, drawn) = (false, Some(Instant::now()));
        }
        let until = |since: Instant, length: Duration| length.saturating_sub(since.elapsed());
        let mut wait = if screen.is_playing { until(played, PLAY) } else { LONGEST };
        if changed {
            wait = wait.min(drawn.map_or(Duration::ZERO, |drawn| until(drawn, FRAME)));
        }
        let Some(input) = terminal.input(wait, ending.feed.bell())? else { continue };
        changed = true;
        // A key is answered at once.
        drawn = None;
        let TerminalInput::Pressed(press) = input else { continue };
        match screen.update(press) {
            None => {}
            Some(ScreenCommand::Quit { leave }) => return Ok(leave),
            Some(ScreenCommand::Ask(request)) => ending.feed.ask(request),
            Some(ScreenCommand::Redraw) => terminal.forget(),
            Some(ScreenCommand::Suspend) => terminal.suspend()?,
            Some(ScreenCommand::Save) => {
                let (width, height) = terminal::size();
                screen.notice = None;
                let text = draw::text(screen, width, height);
                screen.say(match save(screen, &text) {
                    Ok(path) => format!("written to {path}"),
                    Err(error) => format!("{error:#}"),
                });
            }
            Some(ScreenCommand::Record) => record(screen, recording, namespaces),
        }
        if screen.is_playing {
            played = Instant::now();
        }
    }
}

/// Starts a recording, or asks for its end.
fn record(screen: &mut TopScreen, recording: &mut Option<RecordingProcess>, namespaces: &[String]) {
    if let Some(recording) = recording {
        recording.ask_to_end();
        return screen.say("the recording ends");
    }
    match RecordingProcess::start(screen, namespaces) {
        Ok((process, path)) => {
            screen.say(format!("recording to {path}: R ends it"));
            (*recording, screen.recording) = (Some(process), Some(path));
        }
        Err(error) => screen.say(format!("{error:#}")),
    }
}
