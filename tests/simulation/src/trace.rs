//! What happened, as lines for a person and as a hash of every single event.

use std::fmt::Write as _;
use std::io::Write as _;

/// Lines kept; a run that says more loses its oldest.
const LINES_MAX: usize = 400_000;

#[derive(Debug, Default)]
pub(crate) struct Trace {
    lines: std::collections::VecDeque<String>,
    hash: u64,
    events: u64,
    /// Where every event goes as text, to compare two runs that should be the same.
    every: Option<std::io::BufWriter<std::fs::File>>,
}

impl Trace {
    pub(crate) fn write_every_event(&mut self, file: std::fs::File) {
        self.every = Some(std::io::BufWriter::new(file));
    }

    /// One event of the machinery: who, what, and numbers that say what exactly.
    pub(crate) fn event(&mut self, now: u64, who: usize, what: &'static str, numbers: [u64; 2]) {
        self.events += 1;
        self.hash = fold(self.hash, now);
        self.hash = fold(self.hash, who as u64);
        self.hash = fold(self.hash, digest(what.as_bytes()));
        self.hash = fold(self.hash, numbers[0]);
        self.hash = fold(self.hash, numbers[1]);
        if let Some(every) = &mut self.every {
            // A run whose events cannot be written is only harder to explain.
            let _ = writeln!(every, "{now} {who} {what} {} {}", numbers[0], numbers[1]);
        }
    }

    pub(crate) fn say(&mut self, now: u64, host: &str, text: &str) {
        self.event(now, 0, "line", [digest(text.as_bytes()), 0]);
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        let mut line = String::new();
        // Writing to a string does not fail.
        let _ = write!(line, "{:>12.6} {host:<8} {text}", now as f64 / 1e9);
        if let Some(every) = &mut self.every {
            let _ = writeln!(every, "{line}");
        }
        self.lines.push_back(line);
    }

    pub(crate) fn lines(&self) -> impl ExactSizeIterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Of all events, in their order.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn flush(&mut self) {
        if let Some(every) = &mut self.every {
            let _ = every.flush();
        }
    }
}

fn fold(hash: u64, number: u64) -> u64 {
    (hash.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95)
}

/// FNV-1a in words: for a trace, not against anybody.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = fold(hash, u64::from_le_bytes(word));
    }
    hash
}
