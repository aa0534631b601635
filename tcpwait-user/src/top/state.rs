//! Where whoever looks at the screen is: which tab, which row, which time. Keys and snapshots move it. It reads no clock and knows no terminal.

use std::{sync::Arc, time::Duration};

use jiff::tz::TimeZone;

use super::{
    feed::{CountRequest, Delivery},
    keys::{Action, Press, action},
    look::Look,
    page::Page,
    past::Past,
    sheet::{Held, RowKey, Sheet},
    snapshot::TopSnapshot,
    stories::StoryRing,
    tab::Tab,
    tabs,
    theme::Theme,
};
use crate::{aggregate::by::GroupBy, names::Names, view::ViewContext};

/// How long rows stay where they are after a key that chose one.
const HOLD_NS: u64 = 5_000_000_000;

/// Rows of PgUp and PgDn.
const PAGE: i64 = 10;

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Scene {
    /// What it is called: a machine or a recording.
    pub place: String,
    /// Whether it is a recording.
    pub is_recording: bool,
    /// What groups are by.
    pub by: Vec<GroupBy>,
    /// How long an interval is.
    pub interval: Duration,
    /// The zone of times.
    pub zone: TimeZone,
    /// Signs and colours.
    pub theme: Theme,
}

/// What is to be done that the screen does not do itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScreenCommand {
    /// End; `leave`: the screen stays.
    Quit {
        /// Whether the screen stays.
        leave: bool,
    },
    /// Something is to be counted otherwise.
    Ask(CountRequest),
    /// Write the screen to a file.
    Save,
    /// Start a recording, or end it.
    Record,
    /// Stop the program.
    Suspend,
    /// Draw everything anew.
    Redraw,
}

/// What lies over the tab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// Keys and columns.
    Help,
    /// What was said.
    Messages,
}

/// Where one is in a tab.
#[derive(Clone, Debug, Default)]
pub struct TabPlace {
    /// The row that is chosen, and where it stood.
    pub chosen: Option<(RowKey, usize)>,
    /// The column that rows are sorted by.
    pub sort: Option<String>,
    /// The other way round.
    pub reversed: bool,
    /// Whether all of the chosen row is shown.
    pub is_open: bool,
    /// Rows stay so until then, in nanoseconds of `CLOCK_MONOTONIC`.
    held: Option<(Held, u64)>,
}

/// The screen.
#[derive(Clone, Debug)]
pub struct TopScreen {
    /// What is looked at.
    pub scene: Scene,
    /// The snapshots there are.
    pub past: Past,
    /// What became of connections.
    pub stories: StoryRing,
    /// The tab.
    pub tab: Tab,
    /// What lies over it.
    pub overlay: Option<Overlay>,
    /// How far that is rolled.
    pub rolled: usize,
    /// Words that rows must have.
    pub filter: String,
    /// Whether they are being typed, and what they were before.
    pub typing: Option<String>,
    /// What is said at the bottom until the next key.
    pub notice: Option<String>,
    /// What was said.
    pub messages: Vec<String>,
    /// Whether a recording is being played.
    pub is_playing: bool,
    /// The recording that is being made.
    pub recording: Option<String>,
    names: Arc<Names>,
    places: [TabPlace; Tab::ALL.len()],
    /// The snapshot that is looked at; `None`: the newest.
    at: Option<u64>,
    bys: Vec<Vec<GroupBy>>,
    by: usize,
    over: bool,
}

impl TopScreen {
    /// A screen on which nothing has been seen.
    pub fn new(scene: Scene) -> Self {
        let others = [
            vec![GroupBy::Process],
            vec![GroupBy::Remote],
            vec![GroupBy::Pair],
            vec![GroupBy::Cgroup],
            vec![GroupBy::Netns],
            vec![GroupBy::Service, GroupBy::Process],
        ];
        let mut bys = vec![scene.by.clone()];
        bys.extend(others.into_iter().filter(|by| *by != scene.by));
        Self {
            scene,
            past: Past::default(),
            stories: StoryRing::default(),
            tab: Tab::Overview,
            overlay: None,
            rolled: 0,
            filter: String::new(),
            typing: None,
            notice: None,
            messages: Vec::new(),
            is_playing: false,
            recording: None,
            names: Arc::default(),
            places: Default::default(),
            at: None,
            bys,
            by: 0,
            over: false,
        }
    }

    /// Takes in what is new.
    pub fn receive(&mut self, delivery: Delivery) {
        if delivery.anew {
            (self.past, self.stories, self.at) = (Past::default(), StoryRing::default(), None);
            self.is_playing = false;
        }
        delivery.snapshots.into_iter().for_each(|snapshot| self.past.push(snapshot));
        self.stories.append(delivery.stories);
        self.names = delivery.names;
        self.over = delivery.over;
        let now_ns = self.snapshot().map_or(0, |snapshot| snapshot.report.end_ns);
        for place in &mut self.places {
            place.held = place.held.take().filter(|(_, until_ns)| now_ns < *until_ns);
        }
    }

    /// What is looked at, once there is anything.
    pub fn snapshot(&self) -> Option<&Arc<TopSnapshot>> {
        match self.at {
            None => self.past.newest(),
            Some(number) => self.past.at(number),
        }
    }

    /// What a view needs to show a snapshot.
    pub fn context(&self, snapshot: &TopSnapshot) -> ViewContext<'_> {
        ViewContext {
            names: &self.names,
            realtime_offset_ns: snapshot.realtime_offset_ns,
            started_ns: snapshot.started_ns,
        }
    }

    /// Whether the screen stands still.
    pub fn is_paused(&self) -> bool {
        self.at.is_some()
    }

    /// Whether everything there is has been counted.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Where one is in this tab.
    pub fn place(&self) -> &TabPlace {
        let [overview, connections, time_wait, ports, opening] = &self.places;
        match self.tab {
            Tab::Overview => overview,
            Tab::Connections => connections,
            Tab::TimeWait => time_wait,
            Tab::Ports => ports,
            Tab::Opening => opening,
        }
    }

    fn place_mut(&mut self) -> &mut TabPlace {
        let [overview, connections, time_wait, ports, opening] = &mut self.places;
        match self.tab {
            Tab::Overview => overview,
            Tab::Connections => connections,
            Tab::TimeWait => time_wait,
            Tab::Ports => ports,
            Tab::Opening => opening,
        }
    }

    /// What this tab is drawn from.
    pub(super) fn look<'a>(&'a self, snapshot: &'a Arc<TopSnapshot>, width: usize, height: usize) -> Look<'a> {
        let place = self.place();
        Look {
            snapshot,
            past: &self.past,
            stories: &self.stories,
            names: &self.names,
            theme: self.scene.theme,
            zone: &self.scene.zone,
            chosen: place.chosen.as_ref().map(|(key, _)| key),
            all_rows: !self.filter.is_empty() || place.sort.is_some(),
            width,
            height,
        }
    }

    /// What this tab has to show in so many columns and rows.
    pub(super) fn page(&self, look: Look<'_>) -> Page {
        let mut page = tabs::page(self.tab, look);
        page.sheet = self.arranged(std::mem::take(&mut page.sheet));
        page
    }

    /// What stands above the columns of this tab.
    pub fn columns(&self, snapshot: &Arc<TopSnapshot>) -> Vec<String> {
        let page = self.page(self.look(snapshot, usize::MAX, usize::MAX));
        page.others.into_iter().chain(page.sheet.columns.iter().map(|column| column.header().to_owned())).collect()
    }

    /// The rows that are to be seen, in their order.
    fn arranged(&self, sheet: Sheet) -> Sheet {
        let place = self.place();
        let sheet = sheet.filtered(&self.filter).sorted(place.sort.as_deref(), place.reversed);
        match &place.held {
            Some((held, _)) => sheet.held(held),
            None => sheet,
        }
    }

    /// Which row is chosen: the one with the key, or, where that is gone, the one in its place.
    pub(super) fn chosen(&self, sheet: &Sheet) -> Option<usize> {
        let (key, place) = self.place().chosen.as_ref()?;
        let last = sheet.keys.len().checked_sub(1)?;
        Some(sheet.place(key).unwrap_or(*place).min(last))
    }

    /// A key was pressed.
    pub fn update(&mut self, press: Press) -> Option<ScreenCommand> {
        self.notice = None;
        if self.typing.is_some() {
            return self.typed(press);
        }
        let action = action(press)?;
        if self.overlay.is_some() {
            return self.over_tab(action);
        }
        match action {
            Action::Show(tab) => (self.tab, self.rolled) = (tab, 0),
            Action::NextTab => self.turn(1),
            Action::FormerTab => self.turn(Tab::ALL.len() - 1),
            Action::Up => self.choose(|at, _| at - 1),
            Action::Down => self.choose(|at, _| at + 1),
            Action::PageUp if self.place().is_open => self.rolled = self.rolled.saturating_sub(PAGE as usize),
            Action::PageDown if self.place().is_open => self.rolled += PAGE as usize,
            Action::PageUp => self.choose(|at, _| at - PAGE),
            Action::PageDown => self.choose(|at, _| at + PAGE),
            Action::First => self.choose(|_, _| 0),
            Action::Last => self.choose(|_, last| last),
            Action::Open => self.open(),
            Action::Back => self.back(),
            Action::Filter => self.typing = Some(self.filter.clone()),
            Action::Sort => self.sort(),
            Action::Reverse => self.reverse(),
            Action::Group => return self.group(),
            Action::Pause => self.pause(),
            Action::Step(by) => self.step(by),
            Action::Slower => return self.pace(true),
            Action::Faster => return self.pace(false),
            Action::Messages => (self.overlay, self.rolled) = (Some(Overlay::Messages), 0),
            Action::Help => (self.overlay, self.rolled) = (Some(Overlay::Help), 0),
            Action::Save => return Some(ScreenCommand::Save),
            Action::Record if self.scene.is_recording => self.say("this is a recording already"),
            Action::Record => return Some(ScreenCommand::Record),
            Action::Quit => return Some(ScreenCommand::Quit { leave: false }),
            Action::QuitAndLeave => return Some(ScreenCommand::Quit { leave: true }),
            Action::Suspend => return Some(ScreenCommand::Suspend),
            Action::Redraw => return Some(ScreenCommand::Redraw),
        }
        None
    }

    /// The time for the next report of a recording that is being played.
    pub fn play(&mut self) {
        let Some(number) = self.snapshot().filter(|_| self.is_playing).map(|snapshot| snapshot.number) else { return };
        match self.past.beside(number, 1).map(|next| next.number) {
            Some(next) if next != number => self.at = Some(next),
            _ => self.is_playing = false,
        }
    }

    /// Stands still at the report with this number.
    pub fn go_to(&mut self, number: u64) {
        self.at = self.past.at(number).map(|snapshot| snapshot.number);
    }

    /// Something is said at the bottom, and kept.
    pub fn say(&mut self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        self.messages.push(sentence.clone());
        self.notice = Some(sentence);
    }

    /// A key while words are typed.
    fn typed(&mut self, press: Press) -> Option<ScreenCommand> {
        match press {
            Press::Ctrl('c') => return Some(ScreenCommand::Quit { leave: false }),
            Press::Char(c) => self.filter.push(c),
            Press::Backspace => drop(self.filter.pop()),
            Press::Esc => self.filter = self.typing.take().unwrap_or_default(),
            Press::Enter => self.typing = None,
            _ => {}
        }
        self.place_mut().held = None;
        None
    }

    /// A key while something lies over the tab.
    fn over_tab(&mut self, action: Action) -> Option<ScreenCommand> {
        match action {
            Action::Down => self.rolled += 1,
            Action::Up => self.rolled = self.rolled.saturating_sub(1),
            Action::PageDown | Action::Pause => self.rolled += PAGE as usize,
            Action::PageUp => self.rolled = self.rolled.saturating_sub(PAGE as usize),
            Action::First => self.rolled = 0,
            Action::Quit | Action::Back | Action::Help | Action::Messages | Action::Open => self.overlay = None,
            Action::QuitAndLeave => return Some(ScreenCommand::Quit { leave: true }),
            Action::Suspend => return Some(ScreenCommand::Suspend),
            Action::Redraw => return Some(ScreenCommand::Redraw),
            Action::Save => return Some(ScreenCommand::Save),
            Action::Show(tab) => (self.overlay, self.tab) = (None, tab),
            _ => {}
        }
        None
    }

    fn turn(&mut self, by: usize) {
        let at = Tab::ALL.iter().position(|tab| *tab == self.tab).unwrap_or_default();
        if let Some(tab) = Tab::ALL.get((at + by) % Tab::ALL.len()) {
            self.tab = *tab;
        }
    }

    /// Chooses a row from where one is and the last there is. The first key chooses the first row.
    fn choose(&mut self, to: impl Fn(i64, i64) -> i64) {
        let Some(snapshot) = self.snapshot().cloned() else { return };
        let sheet = self.page(self.look(&snapshot, usize::MAX, usize::MAX)).sheet;
        let Some(last) = sheet.keys.len().checked_sub(1).and_then(|last| i64::try_from(last).ok()) else { return };
        let at = self.chosen(&sheet).and_then(|at| i64::try_from(at).ok());
        let next = at.map_or_else(|| to(-1, last).max(0), |at| to(at, last)).clamp(0, last);
        let next = usize::try_from(next).unwrap_or_default();
        let key = sheet.keys.get(next).cloned();
        let until_ns = self.past.newest().map_or(0, |newest| newest.report.end_ns).saturating_add(HOLD_NS);
        let place = self.place_mut();
        place.chosen = key.map(|key| (key, next));
        place.held = Some((sheet.hold(), until_ns));
    }

    fn open(&mut self) {
        if self.place().chosen.is_none() {
            self.choose(|_, _| 0);
        }
        self.rolled = 0;
        let place = self.place_mut();
        place.is_open = !place.is_open && place.chosen.is_some();
    }

    fn back(&mut self) {
        let has_filter = !self.filter.is_empty();
        let place = self.place_mut();
        if place.is_open {
            place.is_open = false;
        } else if has_filter {
            self.filter.clear();
        } else {
            (place.chosen, place.held) = (None, None);
        }
    }

    fn sort(&mut self) {
        let Some(snapshot) = self.snapshot().cloned() else { return };
        let sheet = self.page(self.look(&snapshot, usize::MAX, usize::MAX)).sheet;
        let names: Vec<&str> = sheet.columns.iter().map(|column| column.header()).collect();
        let place = self.place_mut();
        let now = place.sort.as_deref().and_then(|now| names.iter().position(|name| *name == now));
        let next = now.map_or(0, |now| now + 1);
        (place.sort, place.reversed, place.held) = (names.get(next).map(|name| (*name).to_owned()), false, None);
        let said = place.sort.as_ref().map_or("as they come".to_owned(), |column| format!("by {column}"));
        self.notice = Some(format!("sorted {said}"));
    }

    fn reverse(&mut self) {
        let place = self.place_mut();
        (place.reversed, place.held) = (!place.reversed, None);
    }

    fn group(&mut self) -> Option<ScreenCommand> {
        self.by = (self.by + 1) % self.bys.len();
        let by = self.bys.get(self.by)?.clone();
        let names: Vec<&str> = by.iter().map(|by| by.name()).collect();
        self.notice = Some(format!("grouped by {}, from the next report on", names.join(" and ")));
        self.scene.by.clone_from(&by);
        for place in &mut self.places {
            (place.chosen, place.held) = (None, None);
        }
        Some(ScreenCommand::Ask(CountRequest::GroupBy(by)))
    }

    fn pause(&mut self) {
        let newest = self.past.newest().map(|newest| newest.number);
        match (self.scene.is_recording, self.at) {
            (false, Some(_)) => self.at = None,
            (false, None) => self.at = newest,
            (true, _) if self.is_playing => self.is_playing = false,
            (true, at) => {
                // From the beginning, where the end is shown.
                let at = at.filter(|at| Some(*at) != newest);
                self.at = at.or_else(|| self.past.at(0).map(|first| first.number));
                self.is_playing = self.at.is_some();
            }
        }
    }

    fn step(&mut self, by: i64) {
        let Some(number) = self.snapshot().map(|snapshot| snapshot.number) else { return };
        self.is_playing = false;
        self.at = self.past.beside(number, by).map(|beside| beside.number);
        for place in &mut self.places {
            place.held = None;
        }
    }

    fn pace(&mut self, slower: bool) -> Option<ScreenCommand> {
        const PACES_MS: [u64; 9] = [250, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000];
        let now = u64::try_from(self.scene.interval.as_millis()).unwrap_or(u64::MAX);
        let next = match slower {
            true => PACES_MS.into_iter().find(|pace| *pace > now)?,
            false => PACES_MS.into_iter().rev().find(|pace| *pace < now)?,
        };
        self.scene.interval = Duration::from_millis(next);
        Some(ScreenCommand::Ask(CountRequest::Interval(self.scene.interval)))
    }
}
