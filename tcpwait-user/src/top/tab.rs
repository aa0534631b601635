//! The tabs.

/// What can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Tab {
    Overview,
    Connections,
    TimeWait,
    Ports,
    Opening,
}

impl Tab {
    /// All of them, as they stand.
    pub const ALL: [Tab; 5] = [Tab::Overview, Tab::Connections, Tab::TimeWait, Tab::Ports, Tab::Opening];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Tab::Overview => "Overview",
            Tab::Connections => "Connections",
            Tab::TimeWait => "TIME_WAIT",
            Tab::Ports => "Ports",
            Tab::Opening => "Opening",
        }
    }
}
