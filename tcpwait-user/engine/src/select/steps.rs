//! Which of a connection's steps are shown: those with a certain reason, those that took long. Unlike the filters, this selects lines.

use std::fmt;

use super::pick::Pick;
use crate::lifecycle::{Failure, Reason, Transition, Why};

/// A word of the column REASON: why a connection left a state, or why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(&'static str);

impl Word {
    /// The word that is written like this.
    ///
    /// # Errors
    /// There is none; the sentence names those there are.
    pub fn of(text: &str) -> Result<Self, String> {
        Self::all().find(|word| word.0.eq_ignore_ascii_case(text)).ok_or_else(|| {
            let all: Vec<&str> = Self::all().map(|word| word.0).collect();
            format!("no reason is called {text:?}; the reasons are {}", all.join(", "))
        })
    }

    /// Every word, each once.
    pub fn all() -> impl Iterator<Item = Self> {
        let reasons = Reason::ALL.map(Reason::name);
        let whys = Why::ALL.map(Why::name).into_iter().filter(move |name| !reasons.contains(name));
        reasons.into_iter().chain(whys).map(Self)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The steps that are wanted, of the connections that are.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    /// Only with one of these reasons. Turned round, those without any are wanted, too.
    pub reasons: Pick<Word>,
    /// Only where the state that was left had lasted longer than so many nanoseconds, for certain.
    pub longer_than_ns: Option<u64>,
}

impl Steps {
    /// Whether a step is wanted.
    pub fn admit(&self, step: &Transition) -> bool {
        let reason = step.reason.map(Reason::name);
        // One that was not seen to begin has lasted at least as long as it was there.
        let lasted_ns = step.dwell_ns.or(step.dwell_at_least_ns);
        self.reasons.admits(|word| reason == Some(word.0))
            && self.longer_than_ns.is_none_or(|bound_ns| lasted_ns.is_some_and(|ns| ns > bound_ns))
    }

    /// Whether a call that failed is wanted. How long it took is said with the step that it took.
    pub fn admit_failure(&self, failure: &Failure) -> bool {
        self.longer_than_ns.is_none() && self.reasons.admits(|word| failure.why.name() == word.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Word;

    #[test]
    fn every_word_is_found_once() {
        let all: Vec<Word> = Word::all().collect();
        for word in &all {
            assert_eq!(Word::of(&word.to_string().to_uppercase()), Ok(*word));
            assert_eq!(all.iter().filter(|other| *other == word).count(), 1, "{word}");
        }
        assert!(Word::of("rest").is_err_and(|why| why.contains("reset, reset-sent")));
    }
}
