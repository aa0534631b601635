//! When there is colour.

use clap::ValueEnum;

/// When lines are coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// on a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// also into a pipe or a file
    Always,
    /// without
    Never,
}
