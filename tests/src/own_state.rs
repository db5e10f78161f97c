//! What reads of a node's own state promise: a value that was written, none that is too old, and on one connection never an
//! older one than before.
//!
//! Values are unique, so each tells which write it is of. Nothing is concluded from a write whose place in the order is
//! open: one is behind another only if it had returned before the other was called.

use std::collections::BTreeMap;

/// When a write was called, and when it was done at the latest, if that is known. All times are of one clock.
#[derive(Clone, Copy, Debug)]
struct Write {
    called: u64,
    returned: Option<u64>,
}

impl Write {
    fn is_before(self, other: Write) -> bool {
        self.returned.is_some_and(|returned| returned < other.called)
    }
}

/// All writes that may have been done.
#[derive(Debug, Default)]
pub struct Writes {
    /// By value, of each key.
    of_key: BTreeMap<String, BTreeMap<String, Write>>,
}

/// What one read has shown.
#[derive(Clone, Copy, Debug)]
pub struct Read<'a> {
    pub connection: u64,
    pub key: &'a str,
    pub value: &'a str,
    pub called: u64,
    pub returned: u64,
}

impl Writes {
    /// `returned` is not known of a write whose outcome is not.
    pub fn add(&mut self, key: &str, value: &str, called: u64, returned: Option<u64>) {
        self.of_key.entry(key.to_owned()).or_default().insert(value.to_owned(), Write { called, returned });
    }

    /// Looks at reads in the order in which each connection made them.
    pub fn reads(&self, age_max: Option<u64>) -> Reads<'_> {
        Reads { writes: self, age_max, last: BTreeMap::new() }
    }
}

/// Reads while they are looked at.
#[derive(Debug)]
pub struct Reads<'a> {
    writes: &'a Writes,
    age_max: Option<u64>,
    /// What each connection has read last of each key.
    last: BTreeMap<(u64, String), (String, Write)>,
}

impl Reads<'_> {
    /// What is wrong with the next read, if anything is.
    pub fn check(&mut self, read: Read<'_>) -> Result<(), String> {
        let Read { connection, key, value, called, returned } = read;
        let of_key = self.writes.of_key.get(key);
        let write = of_key.and_then(|of_key| of_key.get(value)).filter(|write| write.called < returned);
        let (Some(of_key), Some(write)) = (of_key, write) else {
            return Err(format!("nobody had written {value} to {key}"));
        };
        if let Some(age_max) = self.age_max {
            let is_too_old = |newer: &Write| {
                write.is_before(*newer) && newer.returned.is_some_and(|returned| returned + age_max < called)
            };
            if let Some((newer, _)) = of_key.iter().find(|(_, newer)| is_too_old(newer)) {
                return Err(format!("{value} of {key} was read too long after the newer {newer}"));
            }
        }
        match self.last.insert((connection, key.to_owned()), (value.to_owned(), *write)) {
            Some((newer, before)) if write.is_before(before) => {
                Err(format!("a connection read {value} of {key}, after the newer {newer}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of reads by one connection, at these times, after `a` was written from 0 to 10, `b` from 20 to 30, and
    /// `c` from 40 on, nobody knows until when.
    fn said(age_max: Option<u64>, reads: &[(&'static str, u64)]) -> Vec<String> {
        let mut writes = Writes::default();
        for (value, called, returned) in [("a", 0, Some(10)), ("b", 20, Some(30)), ("c", 40, None)] {
            writes.add("k", value, called, returned);
        }
        let mut checked = writes.reads(age_max);
        let read =
            |(value, at): &(&'static str, u64)| Read { connection: 1, key: "k", value, called: *at, returned: at + 5 };
        reads.iter().filter_map(|one| checked.check(read(one)).err()).collect()
    }

    #[test]
    fn what_may_be_is_let_through() {
        assert!(said(Some(100), &[("a", 12), ("a", 60), ("b", 70), ("c", 80), ("c", 90)]).is_empty());
    }

    #[test]
    fn what_may_not_be_is_found() {
        assert_eq!(said(None, &[("d", 50)]), ["nobody had written d to k"]);
        assert_eq!(said(None, &[("b", 10)]), ["nobody had written b to k"], "not yet");
        assert_eq!(said(None, &[("b", 50), ("a", 60)]), ["a connection read a of k, after the newer b"]);
        assert_eq!(said(Some(100), &[("a", 131)]), ["a of k was read too long after the newer b"]);
    }
}
