//! How wide and how high the place is that text goes to, and whether it shows colours.

use std::io::{self, IsTerminal};

use crate::{
    cli::Color,
    view::{paint::Paint, stat::text::Screen},
};

/// Columns where there is no terminal to ask.
const WIDTH: usize = 80;

/// `COLUMNS` counts where it is set, as for ps(1); else the terminal.
pub fn screen(wide: bool) -> Screen {
    let terminal = terminal_size::terminal_size_of(io::stdout());
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
    let width = columns.or(terminal.map(|(width, _)| width.0.into())).unwrap_or(WIDTH);
    Screen { width: if wide { usize::MAX } else { width }, height: terminal.map(|(_, height)| height.0.into()) }
}

/// Of a terminal that lines are to fit into; `None` where standard output is none, or they need not.
pub fn line_width(wide: bool) -> Option<usize> {
    (!wide && io::stdout().is_terminal()).then(|| screen(wide).width)
}

/// Whether what goes to standard output is coloured. NO_COLOR (no-color.org) counts where it is not empty, unless colour was asked for.
pub fn paint(color: Color) -> Paint {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    Paint::new(match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb(),
    })
}
