//! Of how many connections one is told of: all, unless the reader falls behind what comes, or the tool costs more than it may. Decides by what it is shown at each
//! look, reads no clock and thins nothing itself.

/// What the tool may cost and how it is to thin itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ThinningLimits {
    /// The share of the machine's processors (0 to 1) that the tool's own process may take; `None`: as much as it needs.
    pub max_cpu: Option<f64>,
    /// One connection in so many from the start on, whatever there is to see (a power of two); for tests.
    pub fixed: Option<u32>,
}

/// What there is to see at a look.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThinningLook {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// How much of the ring buffer was full (0 to 1).
    pub full: f64,
    /// Records that have not fitted since the start.
    pub lost: u64,
    /// The processor time of the tool's own process since its start, in nanoseconds.
    pub cpu_ns: u64,
}

/// Why it is one in so many now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WhyThinned {
    /// So much of the ring buffer was full (0 to 1), twice in a row.
    Behind(f64),
    /// So many records have not fitted since the last look.
    Lost(u64),
    /// The tool took this share of the machine, and may take that one.
    Cost(f64, f64),
    /// Nothing of that was so for a while.
    Calm,
    /// Somebody asked for it.
    Asked,
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thinner {
    /// One connection in so many is told of from now on: a power of two.
    pub one_in: u32,
    /// Of how many it was until now.
    pub before: u32,
    /// Why.
    pub why: WhyThinned,
}

/// More than this is behind, twice in a row; less than that is calm.
const BEHIND: f64 = 0.5;
const CALM: f64 = 0.125;

/// What is calm costs less than this share of what it may: half as many connections left out cost twice as much at most.
const CALM_COST: f64 = 0.4;

const S: u64 = 1_000_000_000;

/// How long a decision has to show what comes of it.
const SETTLING_NS: u64 = S / 4;

/// Over how long the cost is taken; more than it may be it must be twice in a row, as a listing of all sockets is over sooner.
const COST_NS: u64 = S;

/// How long it must be calm before more are told of again; twice as long each time that this was too early, up to so long.
const CALM_NS: u64 = 10 * S;
const CALM_MOST_NS: u64 = 160 * S;

/// Decides of how many connections one is told of.
#[derive(Clone, Debug)]
pub struct Thinning {
    limits: ThinningLimits,
    /// Processors of the machine.
    cpus: u32,
    most: u32,
    one_in: u32,
    changed_ns: u64,
    /// Looks in a row at which too much was full.
    behind: u32,
    lost: Option<u64>,
    /// When the cost was last taken, what it was by then, and how often in a row it was too much.
    cost: Option<(u64, u64)>,
    dear: u32,
    calm_since_ns: u64,
    patience_ns: u64,
    /// When more were last told of again.
    eased_ns: Option<u64>,
}

impl Thinning {
    /// All connections, as long as nothing is seen that speaks against it. `most`: never fewer than one in so many.
    pub fn new(limits: ThinningLimits, cpus: u32, most: u32) -> Self {
        Self {
            limits,
            cpus: cpus.max(1),
            most,
            one_in: 1,
            changed_ns: 0,
            behind: 0,
            lost: None,
            cost: None,
            dear: 0,
            calm_since_ns: 0,
            patience_ns: CALM_NS,
            eased_ns: None,
        }
    }

    /// Looks. Returns what is to be from now on, if that changes.
    pub fn look(&mut self, look: ThinningLook) -> Option<Thinner> {
        if let Some(fixed) = self.limits.fixed {
            return (fixed != self.one_in).then(|| self.change(look, fixed, WhyThinned::Asked));
        }
        let lost = look.lost.saturating_sub(self.lost.replace(look.lost).unwrap_or(look.lost));
        self.behind = if look.full > BEHIND { self.behind + 1 } else { 0 };
        let cost = self.cost(look);
        let why = match cost.zip(self.limits.max_cpu) {
            _ if lost > 0 => Some(WhyThinned::Lost(lost)),
            _ if self.behind >= 2 => Some(WhyThinned::Behind(look.full)),
            Some((share, limit)) if self.dear >= 2 => Some(WhyThinned::Cost(share, limit)),
            _ => None,
        };
        let is_dear = cost.zip(self.limits.max_cpu).is_some_and(|(share, limit)| share > limit * CALM_COST);
        if lost > 0 || look.full > CALM || is_dear || self.calm_since_ns == 0 {
            self.calm_since_ns = look.time_ns;
        }
        let settled = look.time_ns.saturating_sub(self.changed_ns) >= SETTLING_NS;
        match why {
            Some(why) if settled && self.one_in < self.most => {
                // It was too early to tell of more again.
                let early =
                    self.eased_ns.take().is_some_and(|at_ns| look.time_ns.saturating_sub(at_ns) < self.patience_ns);
                self.patience_ns = if early { CALM_MOST_NS.min(2 * self.patience_ns) } else { CALM_NS };
                Some(self.change(look, self.one_in * 2, why))
            }
            None if self.one_in > 1 && look.time_ns.saturating_sub(self.calm_since_ns) >= self.patience_ns => {
                self.eased_ns = Some(look.time_ns);
                Some(self.change(look, self.one_in / 2, WhyThinned::Calm))
            }
            _ => None,
        }
    }

    /// The share of the machine that was taken since the cost was last taken, if it is time to take it.
    fn cost(&mut self, look: ThinningLook) -> Option<f64> {
        let (since_ns, before_ns) = *self.cost.get_or_insert((look.time_ns, look.cpu_ns));
        let ns = look.time_ns.saturating_sub(since_ns);
        if ns < COST_NS {
            return None;
        }
        self.cost = Some((look.time_ns, look.cpu_ns));
        let share = look.cpu_ns.saturating_sub(before_ns) as f64 / ns as f64 / f64::from(self.cpus);
        self.dear = if self.limits.max_cpu.is_some_and(|limit| share > limit) { self.dear + 1 } else { 0 };
        Some(share)
    }

    fn change(&mut self, look: ThinningLook, one_in: u32, why: WhyThinned) -> Thinner {
        let before = std::mem::replace(&mut self.one_in, one_in);
        (self.changed_ns, self.calm_since_ns) = (look.time_ns, look.time_ns);
        (self.behind, self.dear) = (0, 0);
        // What it costs now is not what it cost.
        self.cost = Some((look.time_ns, look.cpu_ns));
        Thinner { one_in, before, why }
    }
}

#[cfg(test)]
mod tests;
