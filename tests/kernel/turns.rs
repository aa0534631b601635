//! Whose turn it is to work. As many tests are at work at once as this machine has cores: what a test starts then gets a core soon,
//! and what it waits for comes when it should. A test that waits for time to pass is not at work, and the next one begins.
//!
//! Only the beginning waits for a turn. A test that goes on after its minute has things to look at that do not wait.

use std::{
    cell::Cell,
    collections::BTreeSet,
    sync::{Condvar, Mutex},
    thread,
};

/// How much of the machine a test needs while it works.
#[derive(Clone, Copy)]
pub enum Share {
    /// A core, now and then.
    Core,
    /// All of it, for a while.
    Machine,
}

#[derive(Default)]
struct Turns {
    /// Cores that tests are at work on; more than there are where some go on that have waited.
    taken: usize,
    /// The numbers of those who want to begin. The lowest is next, so a large share is not passed over for ever.
    next: BTreeSet<usize>,
}

static TURNS: Mutex<Turns> = Mutex::new(Turns { taken: 0, next: BTreeSet::new() });
static CHANGED: Condvar = Condvar::new();

thread_local! {
    /// What this thread has taken.
    static MINE: Cell<usize> = const { Cell::new(0) };
}

/// A turn that lasts as long as this.
pub struct Turn(());

/// Waits for the turn of this thread, which is that of the test with this number.
pub fn take(number: usize, share: Share) -> Turn {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let wanted = match share {
        Share::Core => 1,
        Share::Machine => cores,
    };
    let mut turns = TURNS.lock().unwrap();
    turns.next.insert(number);
    while turns.next.first() != Some(&number) || turns.taken + wanted > cores {
        turns = CHANGED.wait(turns).unwrap();
    }
    turns.next.remove(&number);
    turns.taken += wanted;
    CHANGED.notify_all();
    MINE.set(wanted);
    Turn(())
}

impl Drop for Turn {
    fn drop(&mut self) {
        give_back(MINE.take());
    }
}

/// Does what is nothing but waiting. Of a thread that has no turn it is waiting all the same.
pub fn rest<T>(wait: impl FnOnce() -> T) -> T {
    /// So that a test which fails meanwhile has its turn to give back.
    struct GoOn(usize);
    impl Drop for GoOn {
        fn drop(&mut self) {
            TURNS.lock().unwrap().taken += self.0;
            MINE.set(self.0);
        }
    }
    let mine = MINE.take();
    give_back(mine);
    let _go_on = GoOn(mine);
    wait()
}

fn give_back(cores: usize) {
    TURNS.lock().unwrap().taken -= cores;
    CHANGED.notify_all();
}
