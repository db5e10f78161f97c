//! What guests print: lines for the server's log, limited in rate and silent while old entries are replayed.

use super::bindings::Level;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A line is cut after this many bytes, and so is what a guest prints without a line end.
const LINE_BYTES_MAX: usize = 4096;

/// Where one instance's lines go. Clones share the rate and the unfinished lines.
#[derive(Clone)]
pub(super) struct Logs(Arc<Mutex<State>>);

struct State {
    silent: bool,
    lines_per_second: u32,
    /// The guest cannot see this clock; it only bounds what reaches the log.
    second: Instant,
    lines: u32,
    dropped: u64,
    /// Unfinished lines of standard output and standard error.
    unfinished: [Vec<u8>; 2],
    held: Option<Held>,
}

/// Lines of commands of which it is not known yet whether they will be undone and run again.
#[derive(Default)]
struct Held {
    /// At most those of a second.
    lines: Vec<(Level, String)>,
    dropped: u64,
    /// Those of before.
    unfinished: [Vec<u8>; 2],
}

impl Logs {
    pub(super) fn new(lines_per_second: u32) -> Logs {
        Logs(Arc::new(Mutex::new(State {
            silent: false,
            lines_per_second,
            second: Instant::now(),
            lines: 0,
            dropped: 0,
            unfinished: Default::default(),
            held: None,
        })))
    }

    pub(super) fn set_silent(&self, silent: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).silent = silent;
    }

    /// Keeps lines back from here on.
    pub(super) fn hold(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.held = Some(Held { unfinished: state.unfinished.clone(), ..Held::default() });
    }

    /// Logs what was kept back.
    pub(super) fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).release();
    }

    /// Goes on where the lines of an instance end that this one is to replace; what that one holds is never logged. Or a
    /// guest could log without limit by failing.
    pub(super) fn go_on_from(&self, replaced: &Logs) {
        let mut replaced = replaced.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unfinished = std::mem::take(&mut replaced.unfinished);
        let unfinished = replaced.held.take().map_or(unfinished, |held| held.unfinished);
        let (second, lines, dropped) = (replaced.second, replaced.lines, replaced.dropped);
        drop(replaced);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (state.second, state.lines, state.dropped, state.unfinished) = (second, lines, dropped, unfinished);
    }

    pub(super) fn line(&self, level: Level, message: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).line(level, message);
    }

    /// Takes what a guest writes to standard output (1) or standard error (2), line by line.
    pub(super) fn print(&self, stream: u32, bytes: &[u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.silent {
            return;
        }
        let (slot, level) = if stream == 2 { (1, Level::Warn) } else { (0, Level::Info) };
        let mut unfinished = std::mem::take(&mut state.unfinished[slot]);
        for byte in bytes {
            if *byte != b'\n' {
                unfinished.push(*byte);
            }
            if *byte == b'\n' || unfinished.len() >= LINE_BYTES_MAX {
                state.line(level, String::from_utf8_lossy(&unfinished).trim_end_matches('\r'));
                unfinished.clear();
            }
        }
        state.unfinished[slot] = unfinished;
    }
}

impl State {
    fn line(&mut self, level: Level, message: &str) {
        if self.silent {
            return;
        }
        let message = one_line(message);
        match &mut self.held {
            None => self.log(level, &message),
            Some(held) if held.lines.len() < self.lines_per_second as usize => held.lines.push((level, message)),
            Some(held) => held.dropped += 1,
        }
    }

    fn release(&mut self) {
        let Some(held) = self.held.take() else { return };
        for (level, message) in held.lines {
            self.log(level, &message);
        }
        self.dropped += held.dropped;
    }

    fn log(&mut self, level: Level, message: &str) {
        if self.second.elapsed() >= Duration::from_secs(1) {
            if self.dropped > 0 {
                tracing::warn!(lines = self.dropped, "log lines of the guest were dropped");
            }
            (self.second, self.lines, self.dropped) = (Instant::now(), 0, 0);
        }
        if self.lines >= self.lines_per_second {
            self.dropped += 1;
            return;
        }
        self.lines += 1;
        match level {
            Level::Debug => tracing::debug!(target: "guest", "{message}"),
            Level::Info => tracing::info!(target: "guest", "{message}"),
            Level::Warn => tracing::warn!(target: "guest", "{message}"),
            Level::Error => tracing::error!(target: "guest", "{message}"),
        }
    }
}

/// A guest must not be able to write what looks like lines of the server.
fn one_line(message: &str) -> String {
    let cut = &message[..message.floor_char_boundary(LINE_BYTES_MAX)];
    let mut line = String::with_capacity(cut.len());
    for char in cut.chars() {
        match char.is_control() {
            true => line.extend(char.escape_default()),
            false => line.push(char),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(logs: &Logs) -> (u32, u64, [Vec<u8>; 2]) {
        let state = logs.0.lock().unwrap();
        (state.lines, state.dropped, state.unfinished.clone())
    }

    #[test]
    fn lines_that_are_held_count_when_they_are_released() {
        let logs = Logs::new(2);
        logs.hold();
        (0..3).for_each(|_| logs.line(Level::Info, "held"));
        assert_eq!(counted(&logs).0, 0);
        logs.release();
        assert_eq!(counted(&logs), (2, 1, Default::default()));
    }

    #[test]
    fn who_replaces_an_instance_has_what_is_left_of_its_second_and_nothing_that_was_undone() {
        let (logs, second, third) = (Logs::new(10), Logs::new(10), Logs::new(10));
        logs.print(1, b"one\nbeg");
        logs.hold();
        logs.print(1, b"un\ntwo\n");
        second.go_on_from(&logs);
        assert_eq!(counted(&second), (1, 0, [b"beg".to_vec(), vec![]]));
        second.print(1, b"un\n");
        third.go_on_from(&second);
        assert_eq!(counted(&third), (2, 0, Default::default()));
    }

    #[test]
    fn a_message_stays_on_one_line_and_within_its_bound() {
        assert_eq!(one_line("as it is, ü"), "as it is, ü");
        assert_eq!(one_line("one\n2026-01-01 ERROR forged\x1b[2J"), "one\\n2026-01-01 ERROR forged\\u{1b}[2J");
        assert_eq!(one_line(&"ü".repeat(LINE_BYTES_MAX)), "ü".repeat(LINE_BYTES_MAX / 2));
    }
}
