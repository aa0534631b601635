//! What the tool may cost: an option of the commands that may leave connections out.

use clap::Args;

use super::values::{percentage, power_of_two};
use crate::thinning::ThinningLimits;

/// What the tool may cost.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Tracing")]
pub struct CostLimit {
    /// CPU time that tcpwait itself may take, of all CPUs of the machine; beyond it only 1 connection in 2, 4, 8 ... is followed, and the report says so
    #[arg(long, value_name = "PERCENT", value_parser = percentage, conflicts_with = "from")]
    pub max_cpu: Option<f64>,
    /// Follow 1 connection in so many from the start on; for tests of what is said then
    #[arg(long, value_name = "N", value_parser = power_of_two, hide = true, conflicts_with = "from")]
    pub one_in: Option<u32>,
}

impl CostLimit {
    /// The same for the tracing.
    pub fn limits(self) -> ThinningLimits {
        ThinningLimits { max_cpu: self.max_cpu, fixed: self.one_in }
    }
}
