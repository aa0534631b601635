//! Room for so many connections at once. Where there is none, one that is not being answered goes: the one that has been there longest without asking for
//! anything, else the one whose last request ended longest ago. Else a client that opens connections and says nothing would keep everybody else out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// Those that have been silent longest come first.
    seats: Vec<Seat>,
    next: u64,
}

#[derive(Debug)]
struct Seat {
    number: u64,
    /// Requests that are being answered.
    open: usize,
    /// Whether any has been answered.
    has_asked: bool,
    /// Ends the connection; not there yet while it begins.
    task: Option<AbortHandle>,
}

/// A connection's requests that are being answered now.
#[derive(Clone, Debug)]
pub struct OpenRequests {
    seats: Arc<Seats>,
    number: u64,
}

/// One connection's, as long as this exists.
#[derive(Debug)]
pub struct SeatTaken {
    seats: Arc<Seats>,
    number: u64,
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
            let is_silent = |seat: &Seat| seat.is_idle() && !seat.has_asked;
            let silent = taken.seats.iter().position(is_silent);
            let idle = silent.or_else(|| taken.seats.iter().position(Seat::is_idle))?;
            if let Some(task) = taken.seats.remove(idle).task {
                task.abort();
            }
        }
        let number = taken.next;
        taken.next += 1;
        taken.seats.push(Seat { number, open: 0, has_asked: false, task: None });
        Some(SeatTaken { seats: self.clone(), number })
    }

    /// What ends the connection that has this place.
    pub fn seat(&self, number: u64, task: AbortHandle) {
        self.change(number, |seat| seat.task = Some(task));
        self.freed.notify_one();
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Seat)) {
        if let Some(seat) = self.lock().seats.iter_mut().find(|seat| seat.number == number) {
            change(seat);
        }
    }

    /// A request of this connection has been answered: nobody was silent for a shorter time.
    fn answered(&self, number: u64) {
        let mut taken = self.lock();
        if let Some(at) = taken.seats.iter().position(|seat| seat.number == number) {
            let seat = taken.seats.remove(at);
            taken.seats.push(Seat { open: seat.open.saturating_sub(1), has_asked: true, ..seat });
        }
        drop(taken);
        self.freed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    fn is_idle(&self) -> bool {
        self.task.is_some() && self.open == 0
    }
}

impl SeatTaken {
    /// Which one it is.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its connection's requests.
    pub fn requests(&self) -> OpenRequests {
        OpenRequests { seats: self.seats.clone(), number: self.number }
    }
}

impl OpenRequests {
    /// One more.
    pub fn begin(&self) -> Answering {
        self.seats.change(self.number, |seat| seat.open += 1);
        Answering(self.clone())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.seats.answered(self.0.number);
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

    #[tokio::test]
    async fn whoever_waits_takes_the_seat_of_one_that_has_been_answered() {
        let seats = Seats::new(2);
        let (first, second) = (seats.take().await, seats.take().await);
        let numbers = [first.number(), second.number()];
        let answering = [first.requests().begin(), second.requests().begin()];
        let silent = numbers.map(|_| tokio::spawn(std::future::pending::<()>()));
        numbers.iter().zip(&silent).for_each(|(number, task)| seats.seat(*number, task.abort_handle()));
        let mut waits = std::pin::pin!(seats.take());
        assert!(timeout(Duration::from_millis(20), waits.as_mut()).await.is_err(), "both are being answered");
        let [one, other] = answering;
        drop(other);
        assert!(timeout(Duration::from_secs(20), waits).await.is_ok());
        drop(one);
        let [one, other] = silent;
        assert!(other.await.is_err_and(|e| e.is_cancelled()) && !one.is_finished());
    }

    #[tokio::test]
    async fn one_that_asks_now_and_then_stays_while_others_say_nothing() {
        let seats = Seats::new(2);
        let scraper = seats.take().await;
        let task = tokio::spawn(std::future::pending::<()>());
        seats.seat(scraper.number(), task.abort_handle());
        drop(scraper.requests().begin());
        for _ in 0..10 {
            comes(&seats, false).await;
        }
        assert!(!task.is_finished());
    }
}
