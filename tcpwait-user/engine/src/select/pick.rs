//! A list that selects: what is in it, or, turned round, everything else.

/// Values that are wanted; with `not`, all others are. An empty list wants everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick<T> {
    /// What is named.
    pub values: Vec<T>,
    /// All others are wanted.
    pub not: bool,
}

impl<T> Default for Pick<T> {
    fn default() -> Self {
        Self { values: Vec::new(), not: false }
    }
}

impl<T> From<Vec<T>> for Pick<T> {
    fn from(values: Vec<T>) -> Self {
        Self { values, not: false }
    }
}

/// Whether something is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PickVerdict {
    /// It is.
    Wanted,
    /// It is not.
    Unwanted,
    /// Something that decides is not known yet.
    Open,
}

impl PickVerdict {
    /// What is wanted by both.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (PickVerdict::Unwanted, _) | (_, PickVerdict::Unwanted) => PickVerdict::Unwanted,
            (PickVerdict::Wanted, PickVerdict::Wanted) => PickVerdict::Wanted,
            _ => PickVerdict::Open,
        }
    }
}

impl<T> Pick<T> {
    /// All but these.
    pub fn all_but(values: Vec<T>) -> Self {
        Self { values, not: true }
    }

    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether what this function tells apart is wanted.
    pub fn admits(&self, is_it: impl FnMut(&T) -> bool) -> bool {
        self.is_empty() || self.values.iter().any(is_it) != self.not
    }

    /// The same of something that may not be known; `named`: whether it is among the values. `last`: it will never be known. Then it is none of
    /// those that are named, as far as anybody can tell: that is enough where they are to be left out.
    pub fn judge(&self, named: impl FnOnce(&[T]) -> Option<bool>, last: bool) -> PickVerdict {
        if self.is_empty() {
            return PickVerdict::Wanted;
        }
        match named(&self.values) {
            Some(named) if named != self.not => PickVerdict::Wanted,
            Some(_) => PickVerdict::Unwanted,
            None if last && self.not => PickVerdict::Wanted,
            None => PickVerdict::Open,
        }
    }

    /// The same selection by what each value is turned into.
    pub fn map<U>(&self, to: impl FnMut(&T) -> U) -> Pick<U> {
        Pick { values: self.values.iter().map(to).collect(), not: self.not }
    }
}

#[cfg(test)]
mod tests {
    use super::{Pick, PickVerdict};

    #[test]
    fn turned_round() {
        let (only, but) = (Pick::from(vec![1, 2]), Pick::all_but(vec![1, 2]));
        let admits = |pick: &Pick<i32>| [1, 2, 3].map(|value| pick.admits(|wanted| *wanted == value));
        assert_eq!((admits(&only), admits(&but)), ([true, true, false], [false, false, true]));
        assert_eq!((admits(&Pick::default()), admits(&Pick::all_but(Vec::new()))), ([true; 3], [true; 3]));
    }

    #[test]
    fn what_is_not_known() {
        let unknown = |pick: &Pick<i32>, last| pick.judge(|_| None, last);
        let (only, but) = (Pick::from(vec![1]), Pick::all_but(vec![1]));
        assert_eq!((unknown(&only, false), unknown(&only, true)), (PickVerdict::Open, PickVerdict::Open));
        assert_eq!((unknown(&but, false), unknown(&but, true)), (PickVerdict::Open, PickVerdict::Wanted));
        assert_eq!(unknown(&Pick::default(), false), PickVerdict::Wanted);
        assert_eq!(PickVerdict::Open.and(PickVerdict::Unwanted), PickVerdict::Unwanted);
        assert_eq!(PickVerdict::Open.and(PickVerdict::Wanted), PickVerdict::Open);
    }
}
