//! Mini-sockets of which something was lost: what their own clock, or a listing, tells of them.

use hashbrown::HashSet;

use super::{
    super::{
        KeptIn, Timing, Transition, Update,
        common::{Common, HASHED_NS},
        mini::Mini,
    },
    Minis,
};
use crate::{
    event::Seed,
    tcp::{Flow, NetnsId, State, TIMEWAIT_LEN_NS},
};

impl Minis {
    /// Those whose timer ran out so long ago that their end was lost.
    pub(in super::super) fn end_overdue(
        &mut self,
        common: &mut Common,
        now_ns: u64,
        slack_ns: u64,
        out: &mut Vec<Update>,
    ) {
        let is_overdue = |mini: &Mini| self.due_ns(common, mini).is_some_and(|due_ns| due_ns + slack_ns < now_ns);
        let overdue: Vec<Flow> = self.all.iter().filter(|(_, mini)| is_overdue(mini)).map(|(flow, _)| flow).collect();
        overdue.iter().for_each(|flow| self.end_unseen(common, flow, now_ns, out));
    }

    /// One that a new listing tells of; whether it was not known.
    pub(in super::super) fn seed_again(
        &mut self,
        common: &mut Common,
        time_ns: u64,
        seed: &Seed,
        out: &mut Vec<Update>,
    ) -> bool {
        self.end_replaced(common, time_ns, seed, out);
        self.enter_unseen(common, time_ns, seed, out);
        let is_new = self.seed(common, time_ns, seed, common.seeded_origin(seed), false);
        common.unmatched().gaps += u64::from(is_new);
        is_new
    }

    /// Whether a listing shows another under these addresses than the one that is followed: that one's end was lost, and is taken note of.
    fn end_replaced(&mut self, common: &mut Common, time_ns: u64, seed: &Seed, out: &mut Vec<Update>) {
        let replaced = |mini: &Mini| ![0, seed.cookie].contains(&mini.cookie) && mini.is_older(time_ns);
        if self.all.get(&seed.flow).is_some_and(replaced) {
            self.end_unseen(common, &seed.flow, time_ns, out);
        }
    }

    /// Whether a listing shows one in TIME_WAIT that waited for the peer's FIN: that it came was lost.
    fn enter_unseen(&mut self, common: &mut Common, time_ns: u64, seed: &Seed, out: &mut Vec<Update>) {
        let Some(mini) = self.all.get_mut(&seed.flow) else { return };
        if seed.state != State::TimeWait || mini.state == State::TimeWait || !mini.is_older(time_ns) {
            return;
        }
        common.unmatched().gaps += 1;
        let kind = self.kinds.get(mini.kind);
        let step = mini.enter_time_wait(kind, (seed.flow, None), time_ns, None, Timing::Unknown);
        // Its timer will say when.
        mini.since = None;
        out.push(Update::Transition(Transition { unseen: true, kept_in: KeptIn::Mini, ..step }));
    }

    /// Ends those that a listing did not show. `begun_ns`: when it began in the namespace, if it has been there; `listed`: the cookies that it showed.
    pub(in super::super) fn end_unlisted(
        &mut self,
        common: &mut Common,
        begun_ns: impl Fn(NetnsId) -> Option<u64>,
        listed: &HashSet<u64>,
        out: &mut Vec<Update>,
    ) {
        let gone = self.all.iter().filter(|(_, mini)| !listed.contains(&mini.cookie));
        let gone = gone.filter_map(|(flow, mini)| {
            let begun_ns = begun_ns(flow.netns)?;
            mini.is_older(begun_ns.saturating_sub(HASHED_NS)).then_some((flow, begun_ns))
        });
        for (flow, begun_ns) in gone.collect::<Vec<_>>() {
            self.end_unseen(common, &flow, begun_ns, out);
        }
    }

    fn end_unseen(&mut self, common: &mut Common, flow: &Flow, time_ns: u64, out: &mut Vec<Update>) {
        let Some(gone) = self.take(flow) else { return };
        common.unmatched().overdue += 1;
        out.push(Update::Transition(gone.leave_unseen(time_ns)));
    }

    /// When its timer runs out, as far as that is known.
    fn due_ns(&self, common: &Common, mini: &Mini) -> Option<u64> {
        if mini.expires != 0 {
            return common.clock.time_of(mini.expires);
        }
        match (mini.state, mini.since_ns()) {
            (State::TimeWait, Some(since_ns)) => Some(since_ns + TIMEWAIT_LEN_NS),
            // Of an older one sock_diag said it.
            _ => self.seeded_due.get(&mini.cookie).copied(),
        }
    }
}
