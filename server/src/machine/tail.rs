//! `Tail`: the last entries that were applied, for the evidence when a replica turns out to be odd.

use crate::proposal::Proposal;
use crate::replies::Replies;
use std::collections::VecDeque;
use std::fmt::Write;

const ENTRIES_MAX: usize = 64;
/// Of proposals and replies together, but for a single larger entry.
const BYTES_MAX: usize = 1 << 20;
/// What is shown of one word or reply, and of one entry's commands.
const SHOWN_BYTES_MAX: usize = 256;
const SHOWN_COMMANDS_MAX: usize = 64;

#[derive(Default)]
pub(super) struct Tail {
    entries: VecDeque<(u64, Proposal, Replies)>,
    bytes: usize,
}

impl Tail {
    pub(super) fn push(&mut self, index: u64, proposal: Proposal, replies: Replies) {
        self.bytes += bytes(&proposal, &replies);
        self.entries.push_back((index, proposal, replies));
        while self.entries.len() > ENTRIES_MAX || (self.bytes > BYTES_MAX && self.entries.len() > 1) {
            let Some((_, proposal, replies)) = self.entries.pop_front() else { break };
            self.bytes -= bytes(&proposal, &replies);
        }
    }

    /// One line a command, oldest first, cut short where it is long.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (index, proposal, replies) in &self.entries {
            let Ok((header, commands)) = proposal.decode() else { continue };
            let seed = header.seed.map_or(String::new(), |seed| format!(", seed {seed}"));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "entry {index}, stamp {}{seed}, {} commands", header.stamp, header.count);
            for (command, reply) in commands.iter().zip(replies.iter()).take(SHOWN_COMMANDS_MAX) {
                text.push(' ');
                command.words().iter().for_each(|word| text.push_str(&format!(" {}", shown(word))));
                let _ = writeln!(text, " → {}", shown(reply.as_bytes()));
            }
        }
        text
    }
}

fn bytes(proposal: &Proposal, replies: &Replies) -> usize {
    proposal.as_bytes().len() + replies.bytes()
}

fn shown(bytes: &[u8]) -> String {
    let cut = if bytes.len() > SHOWN_BYTES_MAX { "…" } else { "" };
    format!("\"{}\"{cut}", bytes[..bytes.len().min(SHOWN_BYTES_MAX)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use bytes::Bytes;

    fn entry(argument: usize) -> (Proposal, Replies) {
        let command = Command::new(vec![Bytes::from("ECHO"), Bytes::from("x".repeat(argument))]).unwrap();
        (Proposal::encode(7, None, &[], [command].iter()), Replies::new(Bytes::from_static(b":1\r\n"), vec![4]))
    }

    #[test]
    fn the_last_entries_are_kept_within_bounds() {
        let mut tail = Tail::default();
        for index in 1..=1000 {
            let (proposal, replies) = entry(10);
            tail.push(index, proposal, replies);
        }
        assert_eq!((tail.entries.len(), tail.entries[0].0), (ENTRIES_MAX, 1001 - ENTRIES_MAX as u64));
        for index in 1001..=1005 {
            let (proposal, replies) = entry(BYTES_MAX / 2 - 1000);
            tail.push(index, proposal, replies);
        }
        assert_eq!(tail.entries.len(), 2);
        let (proposal, replies) = entry(2 * BYTES_MAX);
        tail.push(1006, proposal, replies);
        assert_eq!((tail.entries.len(), tail.entries[0].0), (1, 1006));
        assert_eq!(tail.bytes, bytes(&tail.entries[0].1, &tail.entries[0].2));
    }

    #[test]
    fn entries_are_shown_cut_short_and_without_control_characters() {
        let mut tail = Tail::default();
        let (proposal, replies) = entry(1000);
        tail.push(9, proposal, replies);
        let cut = "x".repeat(SHOWN_BYTES_MAX);
        assert_eq!(tail.text(), format!("entry 9, stamp 7, 1 commands\n  \"ECHO\" \"{cut}\"… → \":1\\r\\n\"\n"));
    }
}
