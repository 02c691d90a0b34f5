//! First in, first out, by the stamps of the log.

/// Who was overtaken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Overtaken {
    /// Conversations that were assigned later than one that had come later.
    pub all: u64,
    /// Of those, by more than what is tolerated.
    pub too_long: u64,
    /// The longest time between the two assignments.
    pub most_ms: u64,
}

/// Who was overtaken, by (started, assigned) in milliseconds; up to `tolerated_ms` between the two assignments is no fault. Who came or was
/// assigned in the same millisecond may be in any order: the stamps do not tell.
pub fn overtaken(times: &[(u64, u64)], tolerated_ms: u64) -> Overtaken {
    let mut newest_first = times.to_vec();
    newest_first.sort_unstable_by(|a, b| b.cmp(a));
    let mut found = Overtaken::default();
    // The earliest assignment of those who came later than what is looked at.
    let mut earliest = u64::MAX;
    for same in newest_first.chunk_by(|a, b| a.0 == b.0) {
        for (_, assigned) in same {
            let late_ms = assigned.saturating_sub(earliest);
            found.all += u64::from(late_ms > 0);
            found.too_long += u64::from(late_ms > tolerated_ms);
            found.most_ms = found.most_ms.max(late_ms);
        }
        earliest = same.iter().map(|(_, assigned)| *assigned).fold(earliest, u64::min);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(all: u64, too_long: u64, most_ms: u64) -> Overtaken {
        Overtaken { all, too_long, most_ms }
    }

    #[test]
    fn who_came_first_is_served_first() {
        assert_eq!(overtaken(&[], 0), found(0, 0, 0));
        assert_eq!(overtaken(&[(1, 10), (2, 10), (3, 11), (3, 12)], 0), found(0, 0, 0));
        assert_eq!(overtaken(&[(2, 10), (1, 10)], 0), found(0, 0, 0), "at the same time");
        assert_eq!(
            overtaken(&[(1, 15), (2, 10), (3, 11)], 4),
            found(1, 1, 5),
            "the first was last"
        );
        assert_eq!(overtaken(&[(1, 12), (2, 13), (3, 11)], 1), found(2, 1, 2));
    }
}
