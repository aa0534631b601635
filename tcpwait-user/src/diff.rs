//! Two recordings side by side: what is counted, how long things take and how many there are, and which differences are more than each recording varies by
//! itself.

pub mod blocks;
mod both_ends;
pub mod comparable;
pub mod compare;
pub mod condition;
pub mod durations;
pub mod gauge;
pub mod interval;
pub mod kernel_count;
pub mod measured;
pub mod quantity;
pub mod row;
mod settings;
mod sockets_over_time;
pub mod subject;
pub mod verdict;
