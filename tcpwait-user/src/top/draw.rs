//! From the screen's state to the cells of a terminal: a line at the top that says what is shown and how far it can be trusted, the tabs, what the tab has to
//! show, and the keys at the bottom. What does not fit is left out in the order that it states.

use std::time::Duration;

use std::sync::Arc;

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    explain,
    keys::{Action, Binding, KEYS},
    page::{Content, Page, ScreenLine},
    snapshot::TopSnapshot,
    state::{Overlay, TopScreen},
    tab::Tab,
    tabs,
    theme::Weight,
};
use crate::{
    aggregate::report::StatReport,
    fold::{self, fold},
    plain,
    view::{
        audit, ledger,
        paint::Mark,
        table, thinned,
        units::{count, duration, time_of_day},
    },
};

/// What a screen must have at least.
pub const LEAST: (u16, u16) = (20, 5);

/// Rows of a table that stay on the screen as long as they can.
const FEWEST_ROWS: usize = 4;

/// Draws everything.
pub fn draw(screen: &TopScreen, buffer: &mut Buffer) {
    let Rect { width, height, .. } = buffer.area;
    let mut canvas = Canvas { buffer, row: 0 };
    if width < LEAST.0 || height < LEAST.1 {
        return canvas.line(&ScreenLine::plain("too small"), screen);
    }
    let width = usize::from(width);
    let Some(snapshot) = screen.snapshot() else {
        canvas.line(&ScreenLine { weight: Weight::Edge, ..ScreenLine::plain(pad("tcpwait top", width)) }, screen);
        return canvas.line(&ScreenLine::plain("Nothing has been counted yet."), screen);
    };
    canvas.line(&ScreenLine { weight: Weight::Edge, ..header(screen, snapshot, width) }, screen);
    canvas.line(&ScreenLine::plain(tab_line(screen, width)), screen);
    let bad = bad_news(screen, snapshot, width);
    let rows = usize::from(height).saturating_sub(3 + bad.len());
    bad.iter().for_each(|line| canvas.line(line, screen));
    body(screen, snapshot, width, rows).iter().for_each(|line| canvas.line(line, screen));
    canvas.row = height - 1;
    canvas.line(&ScreenLine { weight: Weight::Edge, ..ScreenLine::plain(pad(&footer(screen, width), width)) }, screen);
}

/// The screen as text, a line for each of its rows.
pub fn text(screen: &TopScreen, width: u16, height: u16) -> String {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    draw(screen, &mut buffer);
    text_of(&buffer)
}

/// What stands on a screen.
pub fn text_of(buffer: &Buffer) -> String {
    let Rect { width, height, .. } = buffer.area;
    let mut text = String::new();
    for y in 0..height {
        let mut line = String::new();
        let mut x = 0;
        while x < width {
            let symbol = buffer.cell((x, y)).map_or(" ", |cell| cell.symbol());
            line.push_str(symbol);
            // What is two columns wide has the next one, too.
            x += u16::try_from(plain::width(symbol)).unwrap_or(1).max(1);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Where the next line goes.
struct Canvas<'a> {
    buffer: &'a mut Buffer,
    row: u16,
}

impl Canvas<'_> {
    fn line(&mut self, line: &ScreenLine, screen: &TopScreen) {
        let Rect { width, height, .. } = self.buffer.area;
        if self.row < height {
            let style: Style = screen.scene.theme.style(line.mark, line.weight);
            self.buffer.set_stringn(0, self.row, &line.text, usize::from(width), style);
            self.row += 1;
        }
    }
}

/// What is shown, and how far it can be trusted. What does not fit goes first where it matters least.
fn header(screen: &TopScreen, snapshot: &TopSnapshot, width: usize) -> ScreenLine {
    let report = &snapshot.report;
    let time = time_of_day(screen.context(snapshot).wall(report.end_ns), &screen.scene.zone);
    let interval = match report.is_final {
        true => format!("whole run: {}", duration(Some(report.end_ns.saturating_sub(report.begin_ns)))),
        false => format!("every {}", interval(report.end_ns.saturating_sub(report.begin_ns), screen.scene.interval)),
    };
    let place = plain::column(&screen.scene.place);
    let audit_words = format!("audit: {}", audit::verdict(&report.audit));
    let recording = screen.recording.as_ref().map(|_| "RECORDING".to_owned()).unwrap_or_default();
    let trusted = trusted(screen, snapshot);
    let is_lost = trusted.ledger.is_lossy();
    let stands = screen.is_paused() && !screen.scene.is_recording;
    let mode = if stands && width < 40 { "PAUSED".to_owned() } else { mode(screen, snapshot) };
    // From left to right, with what is left out first the highest.
    let pieces = [
        (7, "tcpwait top".to_owned()),
        (3, time),
        (6, place),
        (5, interval),
        (if stands { 0 } else { 2 }, mode),
        (4, recording),
        (1, thinned::share(report.sample).map(|share| format!("~{share} of connections")).unwrap_or_default()),
        (u8::from(stands && !is_lost), ledger::verdict(&trusted.ledger)),
        (if report.audit.differs() { 1 } else { 4 }, audit_words),
    ];
    let mut pieces: Vec<(u8, String)> = pieces.into_iter().filter(|(_, text)| !text.is_empty()).collect();
    let joined = |pieces: &[(u8, String)]| pieces.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("  ");
    while plain::width(&joined(&pieces)) > width {
        let Some(drop) = pieces.iter().map(|(drop, _)| *drop).max().filter(|drop| *drop > 0) else { break };
        pieces.retain(|(own, _)| *own != drop);
    }
    let is_bad = is_lost || report.audit.differs();
    ScreenLine::plain(pad(&joined(&pieces), width)).marked(if is_bad { Mark::Failure } else { Mark::Plain })
}

/// The report that says what was lost: a recording has the counts of that at its end only.
fn trusted<'a>(screen: &'a TopScreen, snapshot: &'a TopSnapshot) -> &'a StatReport {
    let end = screen.past.newest().filter(|_| screen.scene.is_recording);
    end.map_or(&snapshot.report, |end| &end.report)
}

/// `1s`, `0.25s`.
/// How long a report's interval was: as it was asked for, unless it was another.
fn interval(ns: u64, wanted: Duration) -> String {
    let wanted_ns = u64::try_from(wanted.as_nanos()).unwrap_or(u64::MAX);
    match ns.abs_diff(wanted_ns) < wanted_ns / 4 {
        true => seconds(wanted.as_millis()),
        false => format!("{:.1}s", Duration::from_nanos(ns).as_secs_f64()),
    }
}

fn seconds(ms: u128) -> String {
    if ms.is_multiple_of(1_000) { format!("{}s", ms / 1_000) } else { format!("{}s", ms as f64 / 1_000.0) }
}

/// Whether what is seen goes on.
fn mode(screen: &TopScreen, snapshot: &TopSnapshot) -> String {
    let newer = screen.past.newer(snapshot.number);
    match (screen.scene.is_recording, screen.is_paused()) {
        (false, false) => "LIVE".to_owned(),
        (false, true) => format!("PAUSED, {} newer", count(newer)),
        (true, _) if screen.is_playing => format!("PLAYING {}", count(snapshot.number)),
        (true, _) => {
            let all = screen.past.newest().map_or(0, |newest| newest.number);
            format!("REPORT {} of {}", count(snapshot.number), count(all))
        }
    }
}

/// The tabs; where there is no room, only their numbers.
fn tab_line(screen: &TopScreen, width: usize) -> String {
    // The longer, the fewer of them have their names left out.
    let name = |(at, tab): (usize, &Tab), names: u8| match *tab == screen.tab {
        true if names == 0 => format!("[{}]", at + 1),
        true => format!("[{} {}]", at + 1, tab.name()),
        false if names < 2 => format!(" {} ", at + 1),
        false => format!(" {} {} ", at + 1, tab.name()),
    };
    let line = |names: u8| Tab::ALL.iter().enumerate().map(|tab| name(tab, names)).collect::<String>();
    let filter = match screen.filter.as_str() {
        "" => String::new(),
        filter => format!("  filter: {}", plain::column(filter)),
    };
    let fits = |names: &u8| plain::width(&line(*names)) + plain::width(&filter) <= width;
    let names = [2, 1].into_iter().find(fits).unwrap_or_default();
    line(names) + &filter
}

/// What was lost, and what differs: a line that stays.
fn bad_news(screen: &TopScreen, snapshot: &TopSnapshot, width: usize) -> Vec<ScreenLine> {
    let report = trusted(screen, snapshot);
    let mut sentences = Vec::new();
    if report.ledger.is_lossy() {
        let mut text = Vec::new();
        let _ = ledger::losses(&report.ledger, &mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        sentences.extend(text.lines().filter(|line| line.starts_with("lost: ")).map(str::to_owned));
    }
    if report.audit.differs() {
        sentences.push(audit::sentence(&report.audit, false));
    }
    if screen.is_over() && !screen.scene.is_recording {
        sentences.push("tracing has ended: nothing on this screen changes any more. q quits".to_owned());
    }
    let lines = sentences.iter().flat_map(|sentence| fold(sentence, width, 2).into_iter().take(2));
    lines.map(|line| ScreenLine::plain(line).marked(Mark::Failure)).collect()
}

/// What is between the tabs and the keys.
fn body(screen: &TopScreen, snapshot: &Arc<TopSnapshot>, width: usize, rows: usize) -> Vec<ScreenLine> {
    let look = screen.look(snapshot, width, rows);
    let page = screen.page(look);
    match screen.overlay {
        Some(Overlay::Help) => return rolled(help(screen, &page, width), screen.rolled, rows),
        Some(Overlay::Messages) => return rolled(messages(screen, width), screen.rolled, rows),
        None => {}
    }
    if screen.place().is_open
        && let Some(lines) = screen.chosen(&page.sheet).and_then(|row| tabs::details(screen.tab, look, &page, row))
    {
        return rolled(lines, screen.rolled, rows);
    }
    fitted(screen, page, width, rows)
}

/// The parts that fit, the table with the rows that are left.
fn fitted(screen: &TopScreen, mut page: Page, width: usize, rows: usize) -> Vec<ScreenLine> {
    let table_rows = if page.sheet.keys.is_empty() { 0 } else { page.sheet.keys.len() + 1 };
    let fewest = table_rows.min(FEWEST_ROWS);
    let lines_of = |page: &Page| {
        let of = |content: &Content| if let Content::Lines(lines) = content { lines.len() } else { 0 };
        page.parts.iter().map(|part| of(&part.content)).sum::<usize>()
    };
    while lines_of(&page) + fewest > rows {
        let Some(drop) = page.parts.iter().map(|part| part.drop).max().filter(|drop| *drop > 0) else { break };
        page.parts.retain(|part| part.drop != drop);
    }
    let room = rows.saturating_sub(lines_of(&page)).max(fewest.min(rows));
    let Page { parts, sheet, .. } = page;
    let mut lines = Vec::new();
    for part in parts {
        match part.content {
            Content::Lines(part) => lines.extend(part),
            Content::Table => lines.extend(table(screen, &sheet, width, room)),
        }
    }
    lines.truncate(rows);
    lines
}

/// The page of rows on which the chosen one is. They do not move as one goes through them.
fn table(screen: &TopScreen, sheet: &super::sheet::Sheet, width: usize, room: usize) -> Vec<ScreenLine> {
    if sheet.keys.is_empty() {
        let is_filtered = !screen.filter.is_empty();
        return is_filtered.then(|| ScreenLine::plain("no row has these words; Esc shows all")).into_iter().collect();
    }
    let (marks, chosen) = (&sheet.marks, screen.chosen(sheet));
    let visible = room.saturating_sub(1).max(1);
    let first = chosen.map_or(0, |chosen| chosen / visible * visible);
    let rows = sheet.keys.len();
    let seen: Vec<usize> = (first..(first + visible).min(rows)).collect();
    let columns = sheet.columns.iter().map(|column| column.with_rows(&seen)).collect();
    let mut all = table::lines(columns, width.saturating_sub(1)).into_iter();
    let title = all.next().unwrap_or_default();
    let sorted = screen.place().sort.as_ref().map(|column| format!("by {column}  ")).unwrap_or_default();
    let which = match rows > visible {
        true => format!(
            "{sorted}{} to {} of {}",
            count(first as u64 + 1),
            count((first + visible).min(rows) as u64),
            count(rows as u64)
        ),
        false => sorted.trim_end().to_owned(),
    };
    let mut text = format!(" {title}");
    let blanks = width.checked_sub(plain::width(&text) + plain::width(&which)).filter(|blanks| *blanks > 1);
    if let Some(blanks) = blanks {
        text.push_str(&" ".repeat(blanks));
        text.push_str(&which);
    }
    let line = |(at, text): (usize, String)| {
        let at = first + at;
        let is_chosen = chosen == Some(at);
        let cursor = if is_chosen { screen.scene.theme.cursor() } else { " " };
        let text = format!("{cursor}{text}");
        ScreenLine {
            text: if is_chosen { pad(&text, width) } else { text },
            mark: marks.get(at).copied().unwrap_or(Mark::Plain),
            weight: if is_chosen { Weight::Chosen } else { Weight::Plain },
        }
    };
    std::iter::once(ScreenLine::title(text)).chain(all.enumerate().map(line)).collect()
}

/// Keys, and what the columns of this tab mean.
fn help(screen: &TopScreen, page: &Page, width: usize) -> Vec<ScreenLine> {
    let mut lines = vec![ScreenLine::title(format!("The columns of {}", screen.tab.name()))];
    let mut names: Vec<&str> = page.others.iter().map(String::as_str).collect();
    names.extend(page.sheet.columns.iter().map(|column| column.header()));
    let mut told: Vec<&str> = Vec::new();
    for name in names {
        let Some(meaning) = explain::column(screen.tab, name).filter(|_| !told.contains(&name)) else { continue };
        told.push(name);
        lines.extend(indented(&format!("{name:<14}{meaning}"), width, 14));
    }
    lines.push(ScreenLine::plain(""));
    lines.push(ScreenLine::title("Keys (j and k roll this help, Esc ends it)"));
    let key = |binding: &Binding| {
        let name = screen.scene.theme.key(binding.names.0, binding.names.1);
        indented(&format!("{name:<14}{}", binding.help), width, 14)
    };
    lines.extend(KEYS.iter().flat_map(key));
    lines
}

fn indented(text: &str, width: usize, indent: usize) -> Vec<ScreenLine> {
    fold::row(text, width, indent.min(width / 2)).into_iter().map(ScreenLine::plain).collect()
}

fn messages(screen: &TopScreen, width: usize) -> Vec<ScreenLine> {
    let mut lines = vec![ScreenLine::title("What was said (Esc ends this)")];
    if screen.messages.is_empty() {
        lines.push(ScreenLine::plain("nothing"));
    }
    lines.extend(screen.messages.iter().flat_map(|sentence| fold(sentence, width, 2)).map(ScreenLine::plain));
    lines
}

/// As much as fits, from there on.
fn rolled(lines: Vec<ScreenLine>, from: usize, rows: usize) -> Vec<ScreenLine> {
    let last = lines.len().saturating_sub(rows);
    lines.into_iter().skip(from.min(last)).take(rows).collect()
}

/// The keys; or what is being typed, or was said just now. Help and quit are always there.
fn footer(screen: &TopScreen, width: usize) -> String {
    let word = |binding: &Binding| {
        let name = screen.scene.theme.key(binding.names.0, binding.names.1).split(' ').next().unwrap_or_default();
        format!("{name} {}", binding.word)
    };
    let is_end = |binding: &&Binding| matches!(binding.action, Action::Help | Action::Quit);
    let end = KEYS.iter().filter(is_end).map(word).collect::<Vec<_>>().join("  ");
    let room = width.saturating_sub(plain::width(&end) + 2);
    let begin = match (&screen.typing, &screen.notice) {
        (Some(_), _) => plain::column(&format!("/{}_  Enter keeps it, Esc undoes", screen.filter)),
        (None, Some(notice)) if plain::width(notice) > room => {
            format!("{} ... (m)", plain::fitting(&plain::column(notice), room.saturating_sub(8)))
        }
        (None, Some(notice)) => plain::column(notice),
        (None, None) => {
            let mut keys = String::new();
            for binding in KEYS.iter().filter(|binding| !binding.word.is_empty() && !is_end(binding)) {
                let next = word(binding);
                if plain::width(&keys) + 2 + plain::width(&next) > room {
                    break;
                }
                keys = if keys.is_empty() { next } else { keys + "  " + &next };
            }
            keys
        }
    };
    let begin = plain::fitting(&begin, room);
    format!("{begin}{}{end}", " ".repeat(width.saturating_sub(plain::width(begin) + plain::width(&end))))
}

/// With blanks to the end of the line.
fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(plain::width(text))))
}
