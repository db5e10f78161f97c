//! A key-value database with expiry.

mod glob;
mod hash;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use uhaha_guest::prelude::*;

#[derive(Default, Serialize, Deserialize)]
struct Database {
    entries: HashMap<Bytes, Entry, hash::Build>,
    /// Expiring keys, soonest first: a tick looks only at what has expired.
    expiring: BTreeSet<(Time, Bytes)>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    value: Bytes,
    expires: Option<Time>,
}

#[uhaha_guest::machine]
impl Database {
    /// Sets a key to a value, for a number of seconds if given.
    fn set(&mut self, #[key] key: Bytes, value: Bytes, #[token = "EX"] seconds: Option<f64>) -> Result<(), Error> {
        let expires = seconds.map(expires_in).transpose()?;
        if !self.expiring.is_empty() {
            self.remove(&key);
        }
        if let Some(time) = expires {
            self.expiring.insert((time, key.clone()));
        }
        self.entries.insert(key, Entry { value, expires });
        Ok(())
    }

    /// Returns the value of a key.
    fn get(&self, key: Key<'_>) -> Option<&Bytes> {
        let entry = self.entries.get(&*key).filter(|entry| entry.is_live())?;
        Some(&entry.value)
    }

    /// Deletes keys and returns how many there were.
    fn del(&mut self, key: &[Key<'_>]) -> usize {
        key.iter().filter_map(|key| self.remove(key)).filter(Entry::is_live).count()
    }

    /// Returns all keys that match a pattern, in no order.
    fn keys(&self, pattern: &[u8]) -> Vec<&Bytes> {
        let live = self.entries.iter().filter(|(_, entry)| entry.is_live());
        live.map(|(key, _)| key).filter(|key| glob::matches(pattern, key)).collect()
    }

    /// Returns the number of keys.
    fn dbsize(&self) -> usize {
        let now = Time::now();
        let expired = self.expiring.iter().take_while(|(time, _)| *time <= now).count();
        self.entries.len() - expired
    }

    #[tick]
    fn expire(&mut self) -> bool {
        let now = Time::now();
        while let Some((time, key)) = self.expiring.pop_first() {
            if time > now {
                self.expiring.insert((time, key));
                return true;
            }
            self.entries.remove(&key);
        }
        false
    }
}

impl Database {
    fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let (key, entry) = self.entries.remove_entry(key)?;
        if let Some(time) = entry.expires {
            self.expiring.remove(&(time, key));
        }
        Some(entry)
    }
}

impl Entry {
    /// Whether it has not expired; the tick that removes it may be yet to come.
    fn is_live(&self) -> bool {
        self.expires.is_none_or(|time| time > Time::now())
    }
}

fn expires_in(seconds: f64) -> Result<Time, Error> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(Time::now() + duration),
        _ => Err(Error::new("invalid expire time in 'set' command")),
    }
}

#[cfg(test)]
mod tests;
