//! `Pace`: how many commands to run together, so that their replies together stay small.
//!
//! How large a reply is shows only once it is there. So the number begins small, doubles while the replies are, and
//! halves when they are not: large batches where they help, and bounded memory where every reply is large.

/// Replies together above this make the next batch smaller.
const REPLY_BYTES_LARGE: usize = 4 << 20;
const COMMANDS_FIRST: usize = 64;

/// The number of commands for the next batch.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    commands: usize,
    commands_max: usize,
}

impl Pace {
    pub fn new(commands_max: usize) -> Pace {
        Pace { commands: COMMANDS_FIRST.min(commands_max).max(1), commands_max: commands_max.max(1) }
    }

    /// At least 1.
    pub fn commands(&self) -> usize {
        self.commands
    }

    /// Learns from a batch whose replies had so many bytes.
    pub fn answered(&mut self, reply_bytes: usize) {
        self.commands = if reply_bytes > REPLY_BYTES_LARGE {
            (self.commands / 2).max(1)
        } else {
            self.commands.saturating_mul(2).min(self.commands_max)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_while_replies_are_small_and_shrinks_when_they_are_large() {
        let mut pace = Pace::new(1000);
        assert_eq!(pace.commands(), 64);
        (0..10).for_each(|_| pace.answered(100));
        assert_eq!(pace.commands(), 1000);
        (0..20).for_each(|_| pace.answered(1 << 30));
        assert_eq!(pace.commands(), 1);
        assert_eq!(Pace::new(0).commands(), 1);
    }
}
