//! Which signs and colours the screen is made of. Colour only repeats what a word or a sign says.

use ratatui::style::{Color, Modifier, Style};

use crate::view::paint::Mark;

/// Signs and colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// The 16 colours of the terminal, for what is wrong.
    pub color: bool,
    /// No signs beyond ASCII.
    pub ascii: bool,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Text.
    Plain,
    /// What stands above a table.
    Title,
    /// The row that is chosen.
    Chosen,
    /// The line at the top, and the one at the bottom.
    Edge,
}

impl Theme {
    /// How a line looks.
    pub fn style(self, mark: Mark, weight: Weight) -> Style {
        let style = match weight {
            Weight::Plain => Style::new(),
            Weight::Title => Style::new().add_modifier(Modifier::BOLD),
            Weight::Chosen | Weight::Edge => Style::new().add_modifier(Modifier::REVERSED),
        };
        match mark {
            Mark::Warning if self.color => style.fg(Color::Yellow),
            Mark::Failure if self.color => style.fg(Color::Red),
            Mark::Failure => style.add_modifier(Modifier::BOLD),
            Mark::Plain | Mark::Warning => style,
        }
    }

    /// Before the row that is chosen.
    pub fn cursor(self) -> &'static str {
        if self.ascii { ">" } else { "▌" }
    }

    /// A bar of this length out of that, the rest filled up.
    pub fn bar(self, share: f64, length: usize) -> String {
        let (full, rest) = if self.ascii { ("#", ".") } else { ("█", "░") };
        let filled = (share.clamp(0.0, 1.0) * length as f64).ceil() as usize;
        full.repeat(filled.min(length)) + &rest.repeat(length.saturating_sub(filled))
    }

    /// A bar for a number where the greatest is so long: a single one is visible too.
    pub fn count_bar(self, count: u64, most: u64, length: usize) -> String {
        let filled = (count as f64 / most.max(1) as f64 * length as f64).ceil() as usize;
        if self.ascii { "#" } else { "█" }.repeat(filled.min(length))
    }

    /// How a number went: a sign for each, blank where there is none, the height of the greatest is all.
    pub fn curve(self, points: &[Option<u64>]) -> String {
        let signs: &[char] = if self.ascii {
            &['_', '.', ':', '-', '=', '+', '*', '#']
        } else {
            &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
        };
        let most = points.iter().flatten().copied().max().unwrap_or_default().max(1);
        let sign = |count: u64| {
            // Nothing is the lowest, and something never is.
            let height = (count as f64 / most as f64 * (signs.len() - 1) as f64).ceil() as usize;
            signs.get(height).copied().unwrap_or(' ')
        };
        points.iter().map(|point| point.map_or(' ', sign)).collect()
    }

    /// What keys are called where there are only ASCII signs.
    pub fn key<'a>(self, shown: &'a str, ascii: &'a str) -> &'a str {
        if self.ascii { ascii } else { shown }
    }
}

#[cfg(test)]
mod tests {
    use super::Theme;

    #[test]
    fn something_is_never_drawn_as_nothing() {
        for theme in [Theme { color: false, ascii: true }, Theme { color: false, ascii: false }] {
            let curve = theme.curve(&[None, Some(0), Some(1), Some(1_000)]);
            let mut signs: Vec<char> = curve.chars().collect();
            assert_eq!((signs.len(), signs.first()), (4, Some(&' ')));
            signs.dedup();
            assert_eq!(signs.len(), 4, "{curve}");
            assert_eq!(theme.count_bar(1, 1_000, 10).chars().count(), 1);
            assert_eq!(theme.bar(0.001, 10).chars().count(), 10);
        }
    }
}
