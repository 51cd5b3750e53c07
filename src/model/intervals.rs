//! Sorted, disjoint, non-adjacent inclusive intervals of transaction numbers.

/// Intervals in ascending order, none touching the next.
pub(super) type Intervals = Vec<(u64, u64)>;

/// Adds an interval. Appending, which is what a binlog does, takes constant time.
pub(super) fn insert(intervals: &mut Intervals, (mut start, mut end): (u64, u64)) {
    // The intervals that overlap or touch the new one are neighbours of each other.
    let from = intervals.partition_point(|&(_, e)| e.saturating_add(1) < start);
    let to = from + intervals[from..].partition_point(|&(s, _)| s <= end.saturating_add(1));
    if from < to {
        start = start.min(intervals[from].0);
        end = end.max(intervals[to - 1].1);
    }
    intervals.splice(from..to, [(start, end)]);
}

/// What is in `a` and not in `b`.
pub(super) fn minus(a: &[(u64, u64)], b: &[(u64, u64)]) -> Intervals {
    let mut left = Vec::new();
    let mut b = b.iter().copied().peekable();
    for &(mut start, end) in a {
        let mut whole = true;
        while let Some(&(s, e)) = b.peek() {
            if e < start {
                b.next();
                continue;
            }
            if s > end {
                break;
            }
            if s > start {
                left.push((start, s - 1));
            }
            if e >= end {
                whole = false;
                break;
            }
            start = e + 1;
            b.next();
        }
        if whole {
            left.push((start, end));
        }
    }
    left
}

/// Whether everything in `a` is in `b`, too.
pub(super) fn is_within(a: &[(u64, u64)], b: &[(u64, u64)]) -> bool {
    a.iter().all(|&(start, end)| {
        // Only one interval of `b` can hold all of it: they do not touch.
        let at = b.partition_point(|&(_, e)| e < start);
        b.get(at).is_some_and(|&(s, e)| s <= start && end <= e)
    })
}

/// How many numbers are in them.
pub(super) fn count(intervals: &[(u64, u64)]) -> u64 {
    intervals
        .iter()
        .fold(0, |sum, (start, end)| sum.saturating_add((end - start).saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number is a bit; intervals are compared with plain sets of numbers.
    fn of(bits: u32) -> Intervals {
        let mut intervals = Vec::new();
        (0..32).filter(|n| bits >> n & 1 == 1).for_each(|n| insert(&mut intervals, (n + 1, n + 1)));
        intervals
    }

    fn bits(intervals: &[(u64, u64)]) -> u32 {
        intervals.iter().flat_map(|&(s, e)| s..=e).fold(0, |bits, n| bits | 1 << (n - 1))
    }

    #[test]
    fn sets_of_numbers_agree() {
        let mut seed = 7u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed ^ seed >> 15
        };
        for _ in 0..2_000 {
            let (a, b) = (random() & random(), random() | random());
            let (x, y) = (of(a), of(b));
            assert_eq!((bits(&x), bits(&y)), (a, b));
            assert_eq!(bits(&minus(&x, &y)), a & !b);
            assert_eq!(bits(&minus(&y, &x)), b & !a);
            assert_eq!(is_within(&x, &y), a & !b == 0);
            assert!(is_within(&of(a & b), &x) && is_within(&minus(&y, &x), &y));
            assert_eq!(count(&x), u64::from(a.count_ones()));
            let mut all = x.clone();
            for &interval in &y {
                insert(&mut all, interval);
            }
            assert_eq!(all, of(a | b), "one spelling");
        }
    }

    #[test]
    fn the_end_of_the_number_line_is_no_trap() {
        let mut all = vec![(1, u64::MAX - 1)];
        insert(&mut all, (u64::MAX, u64::MAX));
        assert_eq!(all, [(1, u64::MAX)]);
        assert_eq!(minus(&all, &[(2, u64::MAX)]), [(1, 1)]);
        assert_eq!(count(&all), u64::MAX);
    }
}
