//! What each key does to the place that is looked at.

use std::time::Duration;

use super::{HOLD_NS, Overlay, ScreenCommand, TopScreen};
use crate::top::{
    feed::CountRequest,
    keys::{Action, Press, action},
    tab::Tab,
};

/// Rows of PgUp and PgDn.
const PAGE: i64 = 10;

impl TopScreen {
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
