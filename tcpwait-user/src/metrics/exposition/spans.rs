//! Buckets of a native histogram as its format has them: runs of buckets that follow each other, and the difference of each count from the one before.

/// Spans (buckets left out since the last one, buckets in it) and differences, of numbers and counts in ascending order.
pub(super) fn of(buckets: &[(i32, u64)]) -> (Vec<(i32, u32)>, Vec<i64>) {
    let (mut spans, mut deltas): (Vec<(i32, u32)>, Vec<i64>) = (Vec::new(), Vec::new());
    let (mut next, mut before) = (0, 0i64);
    for (number, count) in buckets {
        let gap = number - next;
        match spans.last_mut() {
            Some((_, length)) if gap == 0 => *length += 1,
            _ => spans.push((gap, 1)),
        }
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        deltas.push(count - before);
        (next, before) = (number + 1, count);
    }
    (spans, deltas)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn what_follows_each_other_is_one_span() {
        assert_eq!(of(&[(-3, 5), (-2, 7), (4, 1)]), (vec![(-3, 2), (5, 1)], vec![5, 2, -6]));
        assert_eq!(of(&[(0, 1), (1, 1)]), (vec![(0, 2)], vec![1, 0]));
        assert_eq!(of(&[]), (vec![], vec![]));
    }
}
