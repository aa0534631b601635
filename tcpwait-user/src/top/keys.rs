//! The keys: one table that says what each does, from which the footer and the help are made.

use super::tab::Tab;

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Press {
    Char(char),
    Ctrl(char),
    Enter,
    Esc,
    Tab,
    BackTab,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says it")]
pub enum Action {
    Show(Tab),
    NextTab,
    FormerTab,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Open,
    Back,
    Filter,
    Sort,
    Reverse,
    Group,
    Pause,
    /// So many reports on, or back.
    Step(i64),
    Slower,
    Faster,
    Save,
    Record,
    Messages,
    Help,
    Quit,
    QuitAndLeave,
    Suspend,
    Redraw,
}

/// A key and what it does.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The keys.
    pub presses: &'static [Press],
    /// What they are called, and what in ASCII.
    pub names: (&'static str, &'static str),
    /// What they do.
    pub action: Action,
    /// A word for the footer; empty where it is not there.
    pub word: &'static str,
    /// What they do, in words.
    pub help: &'static str,
}

const fn key(
    presses: &'static [Press],
    names: (&'static str, &'static str),
    action: Action,
    word: &'static str,
    help: &'static str,
) -> Binding {
    Binding { presses, names, action, word, help }
}

/// Every key. Those that come first come first in the footer.
pub const KEYS: [Binding; 34] = [
    key(&[Press::Char('?'), Press::Char('h')], ("? h", "? h"), Action::Help, "help", "keys, and what the columns mean"),
    key(&[Press::Char('q'), Press::Ctrl('c')], ("q", "q"), Action::Quit, "quit", "quit; also Ctrl-C"),
    key(
        &[Press::Char(' ')],
        ("Space", "Space"),
        Action::Pause,
        "pause",
        "stop the screen, not the counting; again: go on. With --from: play",
    ),
    key(
        &[Press::Enter],
        ("Enter", "Enter"),
        Action::Open,
        "details",
        "all of the chosen row: of a connection its states",
    ),
    key(
        &[Press::Char('/')],
        ("/", "/"),
        Action::Filter,
        "filter",
        "show rows with these words: nginx, !nginx, process=nginx",
    ),
    key(&[Press::Char('s')], ("s", "s"), Action::Sort, "sort", "sort by the next column"),
    key(
        &[Press::Char('b')],
        ("b", "b"),
        Action::Group,
        "group by",
        "group by something else: process, remote, pair, cgroup, pod, netns",
    ),
    key(&[Press::Char('[')], ("[", "["), Action::Step(-1), "back", "pause, and go one report back"),
    key(&[Press::Char(']')], ("]", "]"), Action::Step(1), "on", "one report on"),
    key(
        &[Press::Char('R')],
        ("R", "R"),
        Action::Record,
        "record",
        "start a recording in this directory; again: end it",
    ),
    key(&[Press::Char('e')], ("e", "e"), Action::Save, "save", "write this screen as text to a file in this directory"),
    key(&[Press::Char('m')], ("m", "m"), Action::Messages, "messages", "what was said meanwhile"),
    key(&[Press::Char('{')], ("{", "{"), Action::Step(-10), "", "ten reports back"),
    key(&[Press::Char('}')], ("}", "}"), Action::Step(10), "", "ten reports on"),
    key(&[Press::Char('S')], ("S", "S"), Action::Reverse, "", "sort the other way round"),
    key(&[Press::Up, Press::Char('k')], ("↑ k", "Up k"), Action::Up, "", "one row up"),
    key(&[Press::Down, Press::Char('j')], ("↓ j", "Down j"), Action::Down, "", "one row down"),
    key(&[Press::PageUp], ("PgUp", "PgUp"), Action::PageUp, "", "ten rows up"),
    key(&[Press::PageDown], ("PgDn", "PgDn"), Action::PageDown, "", "ten rows down"),
    key(&[Press::Home, Press::Char('g')], ("Home g", "Home g"), Action::First, "", "the first row"),
    key(&[Press::End, Press::Char('G')], ("End G", "End G"), Action::Last, "", "the last row"),
    key(&[Press::Esc], ("Esc", "Esc"), Action::Back, "", "back; without the filter; no row chosen"),
    key(&[Press::Tab], ("Tab", "Tab"), Action::NextTab, "", "the next tab"),
    key(&[Press::BackTab], ("Shift-Tab", "Shift-Tab"), Action::FormerTab, "", "the tab before"),
    key(&[Press::Char('1')], ("1", "1"), Action::Show(Tab::Overview), "", "what is wrong, states, who has TIME_WAIT"),
    key(
        &[Press::Char('2')],
        ("2", "2"),
        Action::Show(Tab::Connections),
        "",
        "connections that ended, calls that failed",
    ),
    key(
        &[Press::Char('3')],
        ("3", "3"),
        Action::Show(Tab::TimeWait),
        "",
        "TIME_WAIT: time left, time taken, early ends",
    ),
    key(&[Press::Char('4')], ("4", "4"), Action::Show(Tab::Ports), "", "local ports: how full, until when, what helps"),
    key(
        &[Press::Char('5')],
        ("5", "5"),
        Action::Show(Tab::Opening),
        "",
        "connections that are being made, and calls that fail",
    ),
    key(&[Press::Char('+')], ("+", "+"), Action::Slower, "", "a longer interval"),
    key(&[Press::Char('-')], ("-", "-"), Action::Faster, "", "a shorter interval"),
    key(&[Press::Char('Q')], ("Q", "Q"), Action::QuitAndLeave, "", "quit, and leave the screen standing"),
    key(&[Press::Ctrl('l')], ("Ctrl-L", "Ctrl-L"), Action::Redraw, "", "draw everything anew"),
    key(
        &[Press::Ctrl('z')],
        ("Ctrl-Z", "Ctrl-Z"),
        Action::Suspend,
        "",
        "stop tcpwait; `fg` goes on. Meanwhile events can be lost",
    ),
];

/// What a key does.
pub fn action(press: Press) -> Option<Action> {
    KEYS.iter().find(|binding| binding.presses.contains(&press)).map(|binding| binding.action)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::KEYS;

    #[test]
    fn each_key_does_one_thing() {
        let mut seen = HashSet::new();
        for binding in &KEYS {
            assert!(binding.presses.iter().all(|press| seen.insert(*press)), "{binding:?}");
            assert!(binding.names.1.is_ascii() && !binding.help.is_empty(), "{binding:?}");
        }
    }
}
