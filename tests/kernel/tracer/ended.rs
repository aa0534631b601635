//! What a tcpwait left behind, and whether it ended well.

use std::fmt;

use super::{
    line::{Line, parse},
    told,
};
use crate::withheld;

/// What a tcpwait left behind.
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All of its stdout.
    pub stdout: Vec<String>,
    /// All of its stderr.
    pub stderr: String,
}

impl Ended {
    /// stdout as transitions.
    pub fn lines(&self) -> Vec<Line> {
        self.stdout.iter().filter(|line| !told::is_failure(line)).map(|line| parse(line)).collect()
    }

    /// The number that precedes a phrase on stderr, 0 where the phrase is missing. It has to be one that can be there.
    pub fn number_before(&self, phrase: &str) -> u64 {
        assert!(include_str!("../../golden/words.txt").contains(phrase.trim()), "nothing ever says {phrase:?}");
        let Some((before, _)) = self.stderr.split_once(phrase) else {
            return 0;
        };
        let number = before.trim_end().rsplit(|c: char| !c.is_ascii_digit() && c != ',').next().unwrap();
        number.replace(',', "").parse().unwrap_or_else(|_| panic!("no number before {phrase:?} in {:?}", self.stderr))
    }

    /// What it says is lost, by cause; `None` without its last words. What the kernel withholds because a program was running
    /// already is left out: it is counted for the whole machine, which other tests keep busy.
    fn lost(&self) -> Option<Vec<&str>> {
        let lost = self.stderr.lines().find_map(|line| line.strip_prefix("lost: "))?;
        let causes = lost.split(", ").filter(|cause| *cause != "nothing" && !cause.ends_with("(recursion)"));
        Some(causes.collect())
    }

    /// Whether it ended well and lost nothing.
    pub fn is_clean(&self) -> bool {
        self.code == Some(0) && self.lost().is_some_and(|causes| causes.is_empty())
    }

    /// Whether it ended well and lost nothing but what a kernel may withhold, which shows as steps that do not fit together.
    pub(super) fn is_clean_but_for_withheld(&self) -> bool {
        let unmatched = |cause: &&str| cause.strip_suffix("(unmatched)")?.split(' ').next()?.parse::<u64>().ok();
        let unmatched: Option<Vec<u64>> = self.lost().and_then(|causes| causes.iter().map(unmatched).collect());
        let withheld = withheld::of_few(self.number_before(" socket state changes"));
        self.code == Some(0) && unmatched.is_some_and(|counts| counts.iter().sum::<u64>() <= withheld)
    }

    /// Fails unless it ended well and says that nothing was lost.
    pub fn expect_clean(&self) {
        assert!(self.is_clean(), "{self:?}");
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {:?}, {} lines, stderr:\n{}", self.code, self.stdout.len(), self.stderr)
    }
}
