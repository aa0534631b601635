//! How many there were over time: the mean by time, and the most.

use super::blocks::{MOST, SECOND_NS, Window, blocks};
use crate::report::equal_parts::{EqualParts, Stretch};

#[derive(Clone, Copy, Debug, Default)]
struct Area {
    /// Sockets times nanoseconds.
    area: f64,
    /// The most at once.
    most: u64,
}

impl Stretch for Area {
    fn append(&mut self, later: Self) {
        self.area += later.area;
        self.most = self.most.max(later.most);
    }
}

/// A number of sockets over time.
#[derive(Debug)]
pub struct Gauge {
    window: Window,
    parts: EqualParts<Area>,
    now: u64,
    since_ns: u64,
}

impl Gauge {
    /// None so far.
    pub fn new(window: Window) -> Self {
        let parts = EqualParts::new(window.begin_ns, SECOND_NS, MOST);
        Self { window, parts, now: 0, since_ns: window.begin_ns }
    }

    /// So many there are from then on.
    pub fn set(&mut self, time_ns: u64, now: u64) {
        self.until(time_ns);
        if time_ns >= self.window.end_ns {
            return;
        }
        self.now = now;
        if self.window.has(time_ns) {
            self.parts.at(time_ns, |part| part.most = part.most.max(now));
        }
    }

    /// No more changes come: `end_ns` is the end where the time had none.
    pub fn finish(&mut self, end_ns: u64) {
        self.window.end_ns = self.window.end_ns.min(end_ns).max(self.window.begin_ns);
        self.until(self.window.end_ns);
    }

    /// What there is lasts until then. Each part gets what is its own; there are few parts, however long it lasted.
    fn until(&mut self, time_ns: u64) {
        let time_ns = time_ns.clamp(self.since_ns, self.window.end_ns.max(self.since_ns));
        if time_ns > self.since_ns {
            self.parts.at(time_ns - 1, |_| ());
        }
        while self.since_ns < time_ns {
            let width_ns = self.parts.width_ns();
            let in_part = (self.since_ns - self.window.begin_ns) % width_ns;
            let end_ns = self.since_ns.saturating_add(width_ns - in_part).min(time_ns);
            let area = self.now as f64 * (end_ns - self.since_ns) as f64;
            let now = self.now;
            self.parts.at(self.since_ns, |part| {
                part.area += area;
                part.most = part.most.max(now);
            });
            self.since_ns = end_ns;
        }
    }

    /// How many there were at the end.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The most there were at once.
    pub fn most(&self) -> u64 {
        self.parts.parts().iter().map(|part| part.most).max().unwrap_or_default()
    }

    /// The same from this time on: in whole parts, so that nothing of the time before is in it.
    #[must_use]
    pub fn since(&self, begin_ns: u64) -> Self {
        let width_ns = self.parts.width_ns();
        let skipped = begin_ns.saturating_sub(self.window.begin_ns).div_ceil(width_ns);
        let begin_ns = self.window.begin_ns.saturating_add(skipped.saturating_mul(width_ns));
        let window = Window { begin_ns, end_ns: self.window.end_ns.max(begin_ns) };
        let mut parts = EqualParts::new(begin_ns, width_ns, MOST);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        for (index, part) in self.parts.parts().iter().skip(skipped).enumerate() {
            parts.at(begin_ns + index as u64 * width_ns, |mine: &mut Area| *mine = *part);
        }
        Self { window, parts, now: self.now, since_ns: self.since_ns.max(begin_ns) }
    }

    /// The mean by time; `None` of no time.
    pub fn mean(&self) -> Option<f64> {
        let area: f64 = self.parts.parts().iter().map(|part| part.area).sum();
        (self.window.length_ns() > 0).then(|| area / self.window.length_ns() as f64)
    }

    /// The means of blocks of equal length.
    pub fn blocks(&self) -> Vec<f64> {
        let width_ns = self.parts.width_ns();
        let mean =
            |block: &&[Area]| block.iter().map(|part| part.area).sum::<f64>() / (width_ns as f64 * block.len() as f64);
        blocks(self.parts.parts(), width_ns, self.window).iter().map(mean).collect()
    }

    /// The mean of each part, and how long a part is in nanoseconds. The last may be cut.
    pub fn means(&self) -> (Vec<f64>, u64) {
        let width_ns = self.parts.width_ns();
        let mean = |(index, part): (usize, &Area)| {
            let begin_ns = index as u64 * width_ns;
            let length_ns = self.window.length_ns().saturating_sub(begin_ns).clamp(1, width_ns);
            part.area / length_ns as f64
        };
        (self.parts.parts().iter().enumerate().map(mean).collect(), width_ns)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn means_are_by_time() {
        let window = Window { begin_ns: 10 * SECOND_NS, end_ns: 30 * SECOND_NS };
        let mut gauge = Gauge::new(window);
        gauge.set(2 * SECOND_NS, 100);
        gauge.set(5 * SECOND_NS, 4);
        gauge.set(15 * SECOND_NS, 10);
        gauge.set(15 * SECOND_NS + SECOND_NS / 2, 0);
        gauge.set(40 * SECOND_NS, 77);
        gauge.finish(u64::MAX);
        assert_eq!(gauge.most(), 10);
        assert!((gauge.mean().unwrap() - (5.0 * 4.0 + 0.5 * 10.0) / 20.0).abs() < 1e-9, "{:?}", gauge.mean());
        assert_eq!(gauge.blocks().get(..6), Some(&[4.0, 4.0, 4.0, 4.0, 4.0, 5.0][..]));
        assert_eq!(gauge.blocks().len(), 20);
    }

    #[test]
    fn what_was_there_at_first_is_not_in_what_comes_later() {
        let mut gauge = Gauge::new(Window { begin_ns: 0, end_ns: 75 * SECOND_NS });
        gauge.set(0, 2000);
        gauge.set(60 * SECOND_NS, 4);
        gauge.finish(u64::MAX);
        let later = gauge.since(65 * SECOND_NS);
        assert_eq!((gauge.most(), later.most(), later.now()), (2000, 4, 4));
        assert!((later.mean().unwrap() - 4.0).abs() < 1e-9, "{:?}", later.mean());
        assert_eq!(later.blocks(), vec![4.0; 10]);
        assert_eq!(gauge.since(80 * SECOND_NS).mean(), None);
    }

    #[test]
    fn a_very_long_time_takes_few_steps() {
        let mut gauge = Gauge::new(Window { begin_ns: 0, end_ns: u64::MAX });
        gauge.set(1, 5);
        gauge.finish(u64::MAX / 2);
        assert!((gauge.mean().unwrap() - 5.0).abs() < 1e-6);
        assert!(gauge.blocks().len() >= 20);
    }
}
