//! What most of several servers agree on, by the intersection algorithm of RFC 5905, section 11.2.1, in the simple form
//! of Marzullo: each server's answer is a span that holds the true time if the server is right, and the time that most
//! spans share is taken. A server whose span has no part in it is wrong, however many minutes it is off.

use std::time::Duration;

/// The true time, minus that of a clock of ours, as one server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// In nanoseconds.
    pub(super) offset: i64,
    pub(super) error: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agreement {
    pub(super) offset: i64,
    pub(super) error: Duration,
    /// The positions of those who agree.
    pub(super) members: Vec<usize>,
}

impl Candidate {
    fn span(&self) -> (i64, i64) {
        let error = i64::try_from(self.error.as_nanos()).unwrap_or(i64::MAX);
        (self.offset.saturating_sub(error), self.offset.saturating_add(error))
    }

    fn contains(&self, offset: i64) -> bool {
        let (low, high) = self.span();
        (low..=high).contains(&offset)
    }
}

/// `None` unless more than half of them agree.
pub(super) fn agree(candidates: &[Candidate]) -> Option<Agreement> {
    let sharing = |offset| candidates.iter().filter(|candidate| candidate.contains(offset)).count();
    // The span that most share begins where one of theirs does.
    let lows = candidates.iter().map(|candidate| candidate.span().0);
    let (count, low) = lows.map(|low| (sharing(low), low)).max()?;
    if count * 2 <= candidates.len() {
        return None;
    }
    let members: Vec<usize> = (0..candidates.len()).filter(|position| candidates[*position].contains(low)).collect();
    let high = members.iter().map(|position| candidates[*position].span().1).min()?;
    let mut offsets: Vec<i64> = members.iter().map(|position| candidates[*position].offset).collect();
    offsets.sort_unstable();
    let offset = offsets[offsets.len() / 2].clamp(low, high);
    let error = Duration::from_nanos(high.abs_diff(offset).max(offset.abs_diff(low)));
    Some(Agreement { offset, error, members })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn candidate(offset: i64, error_ms: u64) -> Candidate {
        Candidate { offset, error: Duration::from_millis(error_ms) }
    }

    fn agreed(candidates: &[Candidate]) -> Option<(i64, Vec<usize>)> {
        agree(candidates).map(|agreement| (agreement.offset, agreement.members))
    }

    #[test]
    fn one_that_is_far_off_is_left_out() {
        let (good, better, wrong) = (candidate(5_000_000, 20), candidate(8_000_000, 10), candidate(3600 * SECOND, 1));
        assert_eq!(agreed(&[good, wrong, better]), Some((8_000_000, vec![0, 2])));
        assert_eq!(agreed(&[wrong, good, better, wrong, better]), Some((8_000_000, vec![1, 2, 4])));
        let error = agree(&[good, better]).unwrap().error;
        assert_eq!(error, Duration::from_millis(10), "what the spans share is from -2 to 18 ms");
    }

    #[test]
    fn one_alone_is_believed_and_no_minority_is() {
        assert_eq!(agreed(&[]), None);
        assert_eq!(agreed(&[candidate(7, 1)]), Some((7, vec![0])));
        assert_eq!(agreed(&[candidate(0, 1), candidate(SECOND, 1)]), None);
        assert_eq!(agreed(&[candidate(0, 1), candidate(SECOND, 1), candidate(2 * SECOND, 1)]), None);
        assert_eq!(agreed(&[candidate(0, 1), candidate(0, 1), candidate(SECOND, 1), candidate(SECOND, 1)]), None);
    }

    #[test]
    fn a_wide_span_does_not_move_what_narrow_ones_say() {
        let wide = candidate(900_000_000, 1000);
        let agreement = agree(&[wide, candidate(1_000, 1), candidate(2_000, 1)]).unwrap();
        assert_eq!(agreement.members, [0, 1, 2]);
        assert_eq!(agreement.offset, 2_000);
        assert!(agreement.error <= Duration::from_millis(2));
    }

    #[test]
    fn no_offset_overflows() {
        let extremes = [candidate(i64::MIN, 1), candidate(i64::MAX, 1), candidate(i64::MAX, u64::MAX / 2)];
        assert!(agree(&extremes).is_some());
    }
}
