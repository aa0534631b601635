//! The live screen, without a terminal: what it shows of recordings, and what each key does.

use std::{collections::HashSet, sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier},
};
use tcpwait::{
    aggregate::{StatOptions, audit::Audit, by::GroupBy, groups::Sort},
    lifecycle::Update,
    recording::Header,
    select::{Criteria, Selector},
    top::{
        draw,
        engine::TopEngine,
        feed::{CountRequest, Feed},
        keys::{Action, KEYS, Press},
        state::{Overlay, Scene, ScreenCommand, TopScreen},
        stories::{KEPT, Stories},
        tab::Tab,
        theme::Theme,
    },
};

use crate::{
    golden::compare,
    support::{self, finish, fixture, tcpwait},
};

const PLAIN: Theme = Theme { color: false, ascii: false };

fn scene(theme: Theme) -> Scene {
    Scene {
        place: "here".to_owned(),
        is_recording: false,
        by: vec![GroupBy::Service, GroupBy::Process],
        interval: Duration::from_secs(1),
        zone: TimeZone::UTC,
        theme,
    }
}

fn counted(name: &str, feed: &Feed) -> (Header, Vec<Vec<u8>>) {
    let (header, records) = support::records(name);
    count(&header, &records, feed);
    (header, records)
}

fn count(header: &Header, records: &[Vec<u8>], feed: &Feed) {
    let options = StatOptions::new(&[GroupBy::Service, GroupBy::Process], Sort::default(), 200);
    let selector = Selector::new(Criteria::default());
    let audit = Audit::new(None, Some("a recording has no kernel counters".to_owned()));
    let mut engine = TopEngine::new(header, selector, options, audit, Duration::from_secs(1));
    for record in records {
        if engine.record(record) {
            let (snapshot, stories) = engine.snapshot(false);
            feed.put(snapshot, stories, engine.names());
        }
    }
    engine.finish();
    let (snapshot, stories) = engine.snapshot(true);
    feed.put(snapshot, stories, engine.names());
}

/// The screen as if the kernel had done just now what is in the recording.
fn screen(name: &str) -> TopScreen {
    let feed = Feed::new().unwrap();
    counted(name, &feed);
    let mut screen = TopScreen::new(scene(PLAIN));
    screen.receive(feed.take().unwrap());
    screen
}

fn press(screen: &mut TopScreen, keys: &str) {
    for key in keys.chars() {
        screen.update(Press::Char(key));
    }
}

fn shown(screen: &TopScreen) -> String {
    draw::text(screen, 100, 30)
}

fn once(name: &str, size: (u16, u16), more: &[&str]) -> String {
    let mut command = tcpwait();
    command.args(["top", "--once", "--from"]).arg(fixture(name)).args(more);
    command.env("COLUMNS", size.0.to_string()).env("LINES", size.1.to_string()).env("LC_ALL", "C.UTF-8");
    let ran = finish(&mut command);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{name}");
    ran.stdout
}

#[test]
fn screens_of_recordings() {
    for name in ["incident", "nginx", "reasons", "handshakes", "predates"] {
        for size in [(80, 24), (120, 40), (60, 15)] {
            compare(&format!("{name}.top-{}x{}", size.0, size.1), &once(name, size, &[]));
        }
    }
    compare("incident.top-20x5", &once("incident", (20, 5), &[]));
    compare("nginx.top-ascii", &once("nginx", (80, 24), &["--ascii"]));
    compare("nginx.top-by", &once("nginx", (80, 24), &["--by", "remote", "-L", "8080"]));
    assert!(once("nginx", (80, 24), &["--ascii"]).is_ascii());
}

/// Where the locale is not UTF-8, signs are ASCII without being asked for.
#[test]
fn the_locale_decides_on_signs() {
    let mut command = tcpwait();
    command.args(["top", "--once", "--from"]).arg(fixture("nginx")).env("LC_ALL", "C");
    assert!(finish(&mut command).stdout.is_ascii());
}

#[test]
fn every_tab() {
    for (name, tab) in [("reasons", '2'), ("reasons", '3'), ("incident", '4'), ("handshakes", '5')] {
        let mut screen = screen(name);
        press(&mut screen, &tab.to_string());
        for (width, height) in [(80, 24), (120, 40), (60, 15)] {
            compare(&format!("{name}.top-tab{tab}-{width}x{height}"), &draw::text(&screen, width, height));
        }
        screen.update(Press::Enter);
        compare(&format!("{name}.top-tab{tab}-details"), &draw::text(&screen, 80, 24));
    }
}

/// However small, nothing panics; and no line is longer than the terminal.
#[test]
fn every_size() {
    for name in ["incident", "reasons"] {
        let mut screen = screen(name);
        for keys in ["1", "2", "3", "4", "5", "?", "m"] {
            press(&mut screen, keys);
            for (width, height) in (1..50).step_by(3).flat_map(|width| [(width, 5), (width, 12), (3 * width, width)]) {
                let text = draw::text(&screen, width, height);
                assert_eq!(text.lines().count(), usize::from(height));
                assert!(text.lines().all(|line| tcpwait::plain::width(line) <= usize::from(width)), "{text}");
            }
            screen.update(Press::Esc);
        }
    }
}

/// Only the terminal's own 16 colours, none where none are wanted, and no meaning in them alone: the text is the same.
#[test]
fn colours_say_nothing_of_their_own() {
    let feed = Feed::new().unwrap();
    counted("reasons", &feed);
    let delivery = feed.take().unwrap();
    let draw_with = |theme: Theme| {
        let mut screen = TopScreen::new(scene(theme));
        screen.receive(tcpwait::top::feed::Delivery {
            snapshots: delivery.snapshots.clone(),
            stories: delivery.stories.clone(),
            names: Arc::clone(&delivery.names),
            ..Default::default()
        });
        press(&mut screen, "2j");
        let mut buffer = Buffer::empty(Rect::new(0, 0, 100, 30));
        draw::draw(&screen, &mut buffer);
        buffer
    };
    let (plain, coloured) = (draw_with(PLAIN), draw_with(Theme { color: true, ascii: false }));
    let colours = |buffer: &Buffer| buffer.content.iter().flat_map(|cell| [cell.fg, cell.bg]).collect::<HashSet<_>>();
    assert_eq!(colours(&plain), HashSet::from([Color::Reset]));
    assert_eq!(colours(&coloured), HashSet::from([Color::Reset, Color::Yellow, Color::Red]));
    assert_eq!(draw::text_of(&plain), draw::text_of(&coloured));
    let chosen =
        |buffer: &Buffer| buffer.content.iter().filter(|cell| cell.modifier.contains(Modifier::REVERSED)).count();
    // The first line, the last, and the row.
    assert_eq!(chosen(&plain), 300);
    assert!(draw::text_of(&plain).lines().any(|line| line.starts_with('▌')), "the row has a sign, too");
}

/// Each key does what the table says.
#[test]
fn every_key() {
    for binding in &KEYS {
        for key in binding.presses {
            check_key(*key, binding.action);
        }
    }
}

fn check_key(key: Press, action: Action) {
    // On the list of connections, its tenth row chosen, a report back.
    let mut screen = screen("nginx");
    press(&mut screen, "2[jjjjjjjjjjjjjjj");
    let chosen = |screen: &TopScreen| screen.place().chosen.as_ref().map(|(_, row)| *row);
    let number = |screen: &TopScreen| screen.snapshot().unwrap().number;
    let (before, at) = (chosen(&screen).unwrap(), number(&screen));
    let last = screen.past.newest().unwrap().number;
    assert_eq!((before, at, screen.is_paused()), (14, last - 1, true));
    let command = screen.update(key);
    let mut asks = None;
    match action {
        Action::Show(tab) => assert_eq!(screen.tab, tab),
        Action::NextTab => assert_eq!(screen.tab, Tab::TimeWait),
        Action::FormerTab => assert_eq!(screen.tab, Tab::Overview),
        Action::Up => assert_eq!(chosen(&screen), Some(before - 1)),
        Action::Down => assert_eq!(chosen(&screen), Some(before + 1)),
        Action::PageUp => assert_eq!(chosen(&screen), Some(before - 10)),
        Action::PageDown => assert_eq!(chosen(&screen), Some(before + 10)),
        Action::First => assert_eq!(chosen(&screen), Some(0)),
        Action::Last => assert!(chosen(&screen).unwrap() > 200),
        Action::Open => {
            assert!(screen.place().is_open && shown(&screen).contains("HOW EXACT"), "{}", shown(&screen));
            screen.update(key);
            assert!(!screen.place().is_open);
        }
        Action::Back => assert_eq!(chosen(&screen), None),
        Action::Filter => {
            press(&mut screen, "process=probe");
            assert!(shown(&screen).lines().any(|line| line.contains(" probe ")) && !shown(&screen).contains(" nginx "));
            screen.update(Press::Enter);
            assert!(screen.typing.is_none() && screen.filter == "process=probe");
            screen.update(Press::Char('/'));
            press(&mut screen, "x");
            screen.update(Press::Esc);
            assert_eq!(screen.filter, "process=probe", "what is typed is undone");
            screen.update(Press::Esc);
            assert_eq!(screen.filter, "");
        }
        Action::Sort => {
            assert_eq!(screen.place().sort.as_deref(), Some("TIME"));
            assert!(shown(&screen).contains("by TIME"));
        }
        Action::Reverse => assert!(screen.place().reversed),
        Action::Group => {
            assert_eq!(screen.scene.by, [GroupBy::Process]);
            asks = Some(ScreenCommand::Ask(CountRequest::GroupBy(vec![GroupBy::Process])));
        }
        Action::Pause => {
            assert!(!screen.is_paused() && number(&screen) == last);
            screen.update(key);
            assert!(screen.is_paused() && shown(&screen).contains("PAUSED, 0 newer"));
        }
        Action::Step(by) => assert_eq!(number(&screen), (at as i64 + by).min(last as i64) as u64),
        Action::Slower => asks = Some(ScreenCommand::Ask(CountRequest::Interval(Duration::from_secs(2)))),
        Action::Faster => asks = Some(ScreenCommand::Ask(CountRequest::Interval(Duration::from_millis(500)))),
        Action::Save => asks = Some(ScreenCommand::Save),
        Action::Record => asks = Some(ScreenCommand::Record),
        Action::Messages => assert_eq!(screen.overlay, Some(Overlay::Messages)),
        Action::Help => {
            assert_eq!(screen.overlay, Some(Overlay::Help));
            assert!(shown(&screen).contains("The columns of Connections"));
        }
        Action::Quit => asks = Some(ScreenCommand::Quit { leave: false }),
        Action::QuitAndLeave => asks = Some(ScreenCommand::Quit { leave: true }),
        Action::Suspend => asks = Some(ScreenCommand::Suspend),
        Action::Redraw => asks = Some(ScreenCommand::Redraw),
    }
    assert_eq!(command, asks, "{key:?}");
}

/// What is typed as words is no key, but Ctrl-C ends it all the same.
#[test]
fn typing() {
    let mut screen = screen("nginx");
    press(&mut screen, "/q");
    assert_eq!((screen.filter.as_str(), screen.typing.is_some()), ("q", true));
    screen.update(Press::Backspace);
    assert_eq!(screen.filter, "");
    assert_eq!(screen.update(Press::Ctrl('c')), Some(ScreenCommand::Quit { leave: false }));
}

/// `?` has every key and every column, on every tab; and the footer has help and quit at any width.
#[test]
fn help_tells_all() {
    let mut screen = screen("incident");
    for tab in Tab::ALL {
        screen.tab = tab;
        let columns: Vec<String> = {
            let snapshot = screen.snapshot().unwrap().clone();
            let page = screen.columns(&snapshot);
            assert!(tab == Tab::Opening || !page.is_empty(), "{tab:?}");
            page
        };
        press(&mut screen, "?");
        let help = draw::text(&screen, 100, 150);
        for column in columns {
            assert!(help.lines().any(|line| line.starts_with(&format!("{column} "))), "{tab:?}: no {column} in {help}");
        }
        for binding in &KEYS {
            assert!(help.contains(binding.help), "{}", binding.help);
        }
        screen.update(Press::Esc);
    }
    for width in 20..130 {
        let text = draw::text(&screen, width, 24);
        let footer = text.lines().last().unwrap();
        assert!(footer.ends_with("? help  q quit"), "{footer}");
    }
}

/// Rows do not move while one goes through them, whatever comes meanwhile; after five seconds they do.
#[test]
fn rows_stay_under_the_cursor() {
    let (header, records) = support::records("nginx");
    let feed = Feed::new().unwrap();
    count(&header, &records, &feed);
    let mut all = feed.take().unwrap();
    let mut screen = TopScreen::new(scene(PLAIN));
    let mut give = |screen: &mut TopScreen, snapshots: usize| {
        let rest = all.snapshots.split_off(snapshots);
        screen.receive(tcpwait::top::feed::Delivery {
            snapshots: std::mem::replace(&mut all.snapshots, rest),
            stories: std::mem::take(&mut all.stories),
            names: Arc::clone(&all.names),
            ..Default::default()
        });
    };
    give(&mut screen, 2);
    press(&mut screen, "2jjj");
    let rows = |screen: &TopScreen| {
        let text = draw::text(screen, 100, 12);
        text.lines().skip(4).take(7).map(|line| line.get(..40).unwrap_or(line).to_owned()).collect::<Vec<_>>()
    };
    let held = rows(&screen);
    let key = screen.place().chosen.clone().unwrap().0;
    for _ in 0..4 {
        give(&mut screen, 1);
        assert_eq!(rows(&screen), held);
    }
    give(&mut screen, 3);
    assert_eq!(screen.place().chosen.as_ref().unwrap().0, key, "the same row is chosen");
}

/// Whoever draws may stay away: what was not taken is bounded, and the newest is there.
#[test]
fn nobody_takes_what_is_counted() {
    let feed = Feed::new().unwrap();
    let (header, records) = support::records("incident");
    for _ in 0..150 {
        count(&header, &records, &feed);
    }
    let delivery = feed.take().unwrap();
    assert_eq!(delivery.snapshots.len(), tcpwait::top::feed::KEPT);
    assert!(delivery.snapshots.last().unwrap().report.is_final);
    assert!(feed.take().is_none());
}

/// Of many ends the newest are kept, and those that are as they should be do not displace the others.
#[test]
fn stories_are_bounded() {
    let mut stories = Stories::default();
    let (header, records) = support::records("reasons");
    let mut stream = tcpwait::pipeline::Stream::new(&header);
    let mut updates: Vec<Update> = Vec::new();
    for record in &records {
        stream.record(record);
        updates.extend(stream.updates().iter().cloned());
    }
    for _ in 0..500 {
        updates.iter().for_each(|update| stories.update(update));
    }
    let told = stories.told();
    let ring = stories.take();
    let kept = ring.until(u64::MAX);
    assert_eq!(kept.len(), 2 * KEPT);
    assert_eq!(kept.first().map(|story| story.number), Some(told));
    assert_eq!(kept.iter().filter(|story| story.is_as_it_should_be()).count(), KEPT);
    assert_eq!(ring.dropped, told - 2 * KEPT as u64);
}

/// What others chose does not reach the terminal as it is.
#[test]
fn names_are_escaped() {
    let feed = Feed::new().unwrap();
    let (header, mut records) = support::records("nginx");
    let evil = *b"\x1b[2Jev\xe2\x80\xaeil";
    for record in &mut records {
        let places: Vec<usize> =
            record.windows(6).enumerate().filter(|(_, at)| *at == b"nginx\0").map(|(at, _)| at).collect();
        for at in places {
            let end = (at + evil.len()).min(record.len());
            record[at..end].copy_from_slice(&evil[..end - at]);
        }
    }
    count(&header, &records, &feed);
    let mut screen = TopScreen::new(scene(PLAIN));
    screen.receive(feed.take().unwrap());
    let mut found = false;
    for tab in ["1", "2", "3", "4", "5"] {
        press(&mut screen, tab);
        for _ in 0..2 {
            let text = draw::text(&screen, 120, 40);
            found |= text.contains("?[2Jev?il");
            assert!(text.chars().all(|c| c == '\n' || tcpwait::plain::is_plain(c)), "{text:?}");
            screen.update(Press::Enter);
        }
    }
    assert!(found);
}

/// Without a terminal it is `stat`, and says so once.
#[test]
fn no_terminal() {
    let mut command = tcpwait();
    command.args(["top", "--from"]).arg(fixture("nginx"));
    let top = finish(&mut command);
    let mut command = tcpwait();
    command.args(["stat", "--from"]).arg(fixture("nginx"));
    let stat = finish(&mut command);
    assert_eq!((top.code, top.stdout), (stat.code, stat.stdout));
    assert_eq!(top.stderr, "tcpwait: standard input or output is no terminal: this is `tcpwait stat`\n");
}

/// A recording is played with the same keys.
#[test]
fn a_recording_is_played() {
    let mut screen = screen("incident");
    screen.scene.is_recording = true;
    let number = |screen: &TopScreen| screen.snapshot().unwrap().number;
    let last = number(&screen);
    assert!(shown(&screen).contains(&format!("REPORT {last} of {last}")) && shown(&screen).contains("whole run"));
    screen.update(Press::Char(' '));
    assert_eq!((number(&screen), screen.is_playing), (1, true));
    for _ in 1..last {
        screen.play();
    }
    assert_eq!(number(&screen), last);
    screen.play();
    assert!(!screen.is_playing, "it ends at the end");
    assert_eq!(screen.update(Press::Char('R')), None);
    assert!(shown(&screen).contains("this is a recording already"));
}
