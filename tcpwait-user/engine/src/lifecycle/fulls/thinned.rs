//! Full sockets, once only some connections are told of.

use super::{super::Update, Fulls};
use crate::tcp::State;

impl Fulls {
    /// Those that are not told of any more are forgotten. One whose port is not known yet is told of as one of unknown beginning, if it is told of.
    pub(in super::super) fn thin(&mut self, one_in: u32, out: &mut Vec<Update>) {
        let is_left_out =
            |(_, full): &(&u64, &super::Full)| full.state != State::Listen && !full.flow.is_chosen(one_in);
        let left_out: Vec<u64> = self.all.iter().filter(is_left_out).map(|(cookie, _)| *cookie).collect();
        left_out.into_iter().for_each(|cookie| self.lose(cookie, out));
    }
}
