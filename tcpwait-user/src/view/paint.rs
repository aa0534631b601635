//! Colour for what is wrong, a whole line at a time. What is wrong is said in words as well.

use anstyle::{AnsiColor, Color, Style};

/// How bad it is what a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Nothing is wrong.
    Plain,
    /// Something may be wrong.
    Warning,
    /// Something failed.
    Failure,
}

/// Whether lines are coloured. Without being told, they are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// Colours lines, or does not.
    pub fn new(on: bool) -> Self {
        Self(on)
    }

    /// A line that is ready: escaped, and as long as it is to be.
    pub fn line(self, mark: Mark, line: &str) -> String {
        let color = match mark {
            _ if !self.0 || line.is_empty() => return line.to_owned(),
            Mark::Plain => return line.to_owned(),
            Mark::Warning => AnsiColor::Yellow,
            Mark::Failure => AnsiColor::Red,
        };
        let style = Style::new().fg_color(Some(Color::Ansi(color)));
        format!("{style}{line}{style:#}")
    }

    /// Several of them.
    pub fn lines(self, mark: Mark, lines: Vec<String>) -> Vec<String> {
        lines.iter().map(|line| self.line(mark, line)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Mark, Paint};

    #[test]
    fn only_what_is_wrong_is_coloured_and_only_if_asked() {
        let on = Paint::new(true);
        assert_eq!(on.line(Mark::Failure, "lost: 3"), "\u{1b}[31mlost: 3\u{1b}[0m");
        assert_eq!(on.line(Mark::Warning, "late"), "\u{1b}[33mlate\u{1b}[0m");
        assert_eq!((on.line(Mark::Plain, "fine"), on.line(Mark::Failure, "")), ("fine".to_owned(), String::new()));
        assert_eq!(Paint::default().line(Mark::Failure, "lost: 3"), "lost: 3");
    }
}
