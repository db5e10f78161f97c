//! `Rows`: where the rows of the log begin and how large they are.
//!
//! The database could tell, but it reads a row as a whole to find its key, and rows may have megabytes.

use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: VecDeque<Bounds>,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// The index of its first record, which is its key.
    first: u64,
    bytes: usize,
}

/// Rows at the beginning that hold nothing above an index.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stale {
    /// The key of the last of them; `None` if there are none.
    pub(super) last: Option<u64>,
    /// Whether there are more behind them.
    pub(super) more: bool,
}

impl Rows {
    pub(super) fn push(&mut self, first: u64, bytes: usize) {
        self.rows.push_back(Bounds { first, bytes });
    }

    /// Forgets those that begin at `from` or behind it.
    pub(super) fn truncate(&mut self, from: u64) {
        let left = self.rows.partition_point(|row| row.first < from);
        self.rows.truncate(left);
    }

    /// The key of the last one.
    pub(super) fn last(&self) -> Option<u64> {
        self.rows.back().map(|row| row.first)
    }

    /// Forgets the first rows that hold nothing above `upto`, up to these limits but one at least. `end` is the last
    /// index of the log.
    pub(super) fn take_stale(&mut self, upto: u64, end: u64, rows_max: usize, bytes_max: usize) -> Stale {
        let mut stale = Stale { last: None, more: false };
        let (mut rows, mut bytes) = (0, 0);
        while let Some(row) = self.rows.front().copied() {
            let above = self.rows.get(1).map_or(end.saturating_add(1), |next| next.first);
            if above > upto.saturating_add(1) {
                break;
            }
            rows += 1;
            bytes += row.bytes;
            if stale.last.is_some() && (rows > rows_max || bytes > bytes_max) {
                stale.more = true;
                break;
            }
            stale.last = Some(row.first);
            self.rows.pop_front();
        }
        stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(firsts: impl IntoIterator<Item = u64>) -> Rows {
        let mut rows = Rows::default();
        firsts.into_iter().for_each(|first| rows.push(first, 10));
        rows
    }

    #[test]
    fn what_holds_something_above_stays() {
        let stale = |upto, end| rows([1, 4, 9]).take_stale(upto, end, 10, 1000);
        assert_eq!(stale(2, 12), Stale { last: None, more: false });
        assert_eq!(stale(3, 12), Stale { last: Some(1), more: false });
        assert_eq!(stale(11, 12), Stale { last: Some(4), more: false });
        assert_eq!(stale(12, 12), Stale { last: Some(9), more: false });
        assert_eq!(stale(u64::MAX, u64::MAX), Stale { last: Some(9), more: false });
    }

    #[test]
    fn some_are_taken_at_a_time() {
        let mut few = rows(1..=5);
        assert_eq!(few.take_stale(5, 5, 2, 1000), Stale { last: Some(2), more: true });
        assert_eq!(few.take_stale(5, 5, 10, 5), Stale { last: Some(3), more: true });
        assert_eq!(few.take_stale(5, 5, 10, 20), Stale { last: Some(5), more: false });
        assert_eq!(few.take_stale(5, 5, 10, 20), Stale { last: None, more: false });
    }

    #[test]
    fn rows_are_forgotten_from_an_index_on() {
        let mut cut = rows([1, 4, 9]);
        cut.truncate(9);
        assert_eq!(cut.last(), Some(4));
        cut.truncate(2);
        assert_eq!(cut.last(), Some(1));
        cut.truncate(0);
        assert_eq!(cut.last(), None);
    }
}
