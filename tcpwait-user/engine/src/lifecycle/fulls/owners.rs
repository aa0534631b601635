//! Whose full sockets are: who reads first, who accepts, who is found to hold a listener.

use std::{mem::replace, sync::Arc};

use super::{
    super::{Update, common::Common},
    Fulls,
};
use crate::{event::Task, tcp::State};

impl Fulls {
    /// Who reads from an accepted connection.
    pub(in super::super) fn owner(&mut self, common: &mut Common, cookie: u64, task: &Task, out: &mut Vec<Update>) {
        let owner = common.share(task);
        if let Some(full) = self.all.get_mut(&cookie) {
            full.owner = Some(owner.clone());
            out.push(Update::Owned { id: cookie, owner });
        }
    }

    /// A process took a connection from its listener's queue: it is the one that acts for both, whoever else holds the listener.
    pub(in super::super) fn accepted(
        &mut self,
        common: &mut Common,
        (cookie, listener): (u64, u64),
        task: &Task,
        out: &mut Vec<Update>,
    ) {
        if listener != 0
            && let Some(full) = self.all.get_mut(&listener)
        {
            full.owner = Some(common.share(task));
        }
        self.owner(common, cookie, task, out);
    }

    /// It was looked up who holds a listener, `None` where nobody knows: who was known to, and who is now. `None`: it is not followed.
    pub(in super::super) fn inherited(
        &mut self,
        cookie: u64,
        owner: Option<Arc<Task>>,
        out: &mut Vec<Update>,
    ) -> Option<[Option<Arc<Task>>; 2]> {
        let full = self.all.get_mut(&cookie).filter(|full| full.state == State::Listen)?;
        let pid = |owner: &Option<Arc<Task>>| owner.as_ref().map(|task| task.pid);
        if pid(&full.owner) == pid(&owner) {
            return Some([full.owner.clone(), full.owner.clone()]);
        }
        let former = replace(&mut full.owner, owner.clone());
        out.extend(owner.clone().map(|owner| Update::Owned { id: cookie, owner }));
        Some([former, owner])
    }

    /// Whose a listener is.
    pub(in super::super) fn owner_of(&self, listener: u64) -> Option<Arc<Task>> {
        self.all.get(&listener).and_then(|listener| listener.owner.clone())
    }
}
