//! Room for so many connections at once. Where there is none, whoever has been there longest without asking for anything goes: else a client that opens
//! connections and says nothing would keep everybody else out.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{sync::Notify, task::AbortHandle};

/// All of them.
#[derive(Debug)]
pub struct Seats {
    most: usize,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    /// Those that have been there longest come first.
    seats: Vec<Seat>,
    next: u64,
}

#[derive(Debug)]
struct Seat {
    number: u64,
    requests: OpenRequests,
    /// Ends the connection; not there yet while it begins.
    task: Option<AbortHandle>,
}

/// OpenRequests of a connection that are being answered now.
#[derive(Clone, Debug, Default)]
pub struct OpenRequests(Arc<AtomicUsize>);

/// One connection's, as long as this exists.
#[derive(Debug)]
pub struct SeatTaken {
    seats: Arc<Seats>,
    number: u64,
    requests: OpenRequests,
}

/// A request that is being answered as long as this exists.
#[derive(Debug)]
pub struct Answering(OpenRequests);

impl Seats {
    /// So many.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default(), freed: Notify::new() })
    }

    /// One for a connection that has come.
    pub async fn take(self: &Arc<Self>) -> SeatTaken {
        loop {
            if let Some(place) = self.try_take() {
                return place;
            }
            self.freed.notified().await;
        }
    }

    fn try_take(self: &Arc<Self>) -> Option<SeatTaken> {
        let mut taken = self.lock();
        if taken.seats.len() >= self.most {
            let idle = taken.seats.iter().position(Seat::is_idle)?;
            if let Some(task) = taken.seats.remove(idle).task {
                task.abort();
            }
        }
        let number = taken.next;
        taken.next += 1;
        let requests = OpenRequests::default();
        taken.seats.push(Seat { number, requests: requests.clone(), task: None });
        Some(SeatTaken { seats: self.clone(), number, requests })
    }

    /// What ends the connection that has this place.
    pub fn seat(&self, number: u64, task: AbortHandle) {
        if let Some(seat) = self.lock().seats.iter_mut().find(|seat| seat.number == number) {
            seat.task = Some(task);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    fn is_idle(&self) -> bool {
        self.task.is_some() && self.requests.0.load(Ordering::Relaxed) == 0
    }
}

impl SeatTaken {
    /// Which one it is.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its connection's requests.
    pub fn requests(&self) -> OpenRequests {
        self.requests.clone()
    }
}

impl OpenRequests {
    /// One more.
    pub fn begin(&self) -> Answering {
        self.0.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for SeatTaken {
    fn drop(&mut self) {
        self.seats.lock().seats.retain(|seat| seat.number != self.number);
        self.seats.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::{task::JoinHandle, time::timeout};

    use super::Seats;

    /// A connection that has a place; `asks`: it has asked for something.
    async fn comes(seats: &Arc<Seats>, asks: bool) -> JoinHandle<()> {
        let place = seats.take().await;
        let number = place.number();
        let task = tokio::spawn(async move {
            let _answering = asks.then(|| place.requests().begin());
            std::future::pending::<()>().await;
            drop(place);
        });
        seats.seat(number, task.abort_handle());
        // It runs.
        tokio::task::yield_now().await;
        task
    }

    #[tokio::test]
    async fn the_one_that_was_silent_longest_goes() {
        let seats = Seats::new(3);
        let busy = comes(&seats, true).await;
        let (first, second) = (comes(&seats, false).await, comes(&seats, false).await);
        let third = comes(&seats, false).await;
        assert!(first.await.is_err_and(|e| e.is_cancelled()));
        assert!(!busy.is_finished() && !second.is_finished() && !third.is_finished());
        let fourth = comes(&seats, true).await;
        let fifth = comes(&seats, true).await;
        assert!(second.await.is_err() && third.await.is_err());
        // All are being answered: the next one waits until one is.
        assert!(timeout(Duration::from_millis(20), seats.take()).await.is_err());
        busy.abort();
        assert!(timeout(Duration::from_secs(20), seats.take()).await.is_ok());
        assert!(!fourth.is_finished() && !fifth.is_finished());
    }
}
