//! Where whoever looks at the screen is: which tab, which row, which time. Keys and snapshots move it. It reads no clock and knows no terminal.

mod press;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use jiff::tz::TimeZone;

use super::{
    feed::{CountRequest, Delivery},
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

/// Sentences that are kept, the newest.
const MESSAGES: usize = 1000;

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
    /// What was said, the oldest first.
    pub messages: VecDeque<String>,
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
            vec![GroupBy::Pod],
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
            messages: VecDeque::new(),
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

    /// Something was said that can be looked up.
    pub fn hear(&mut self, sentences: impl IntoIterator<Item = String>) {
        self.messages.extend(sentences);
        let beyond = self.messages.len().saturating_sub(MESSAGES);
        self.messages.drain(..beyond);
    }

    /// Something is said at the bottom, and kept.
    pub fn say(&mut self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        self.hear([sentence.clone()]);
        self.notice = Some(sentence);
    }
}
