//! What is broken on purpose, one thing at a time, to see that the simulation notices.

use anyhow::{Result, ensure};

/// One thing that is broken.
pub(super) struct Mutation {
    pub(super) name: &'static str,
    /// For people, and the table in the book.
    pub(super) breaks: &'static str,
    /// Whether the simulation does it, by an option of the server or on the simulated disk; if not, `EDITS` do.
    pub(super) is_asked: bool,
    /// Arguments of the simulation, for what only some runs have.
    pub(super) words: &'static [&'static str],
}

/// One change of the server's source.
pub(super) struct Edit {
    /// The mutations that it belongs to.
    of: &'static [&'static str],
    /// Below `server/src`.
    file: &'static str,
    /// A text that is there once.
    stands: &'static str,
    /// With `BROKEN` where it is asked whether such a mutation is wanted.
    takes: &'static str,
}

/// The program with all edits breaks nothing unless this variable names a mutation.
pub(super) const WANTED: &str = "UHAHA_MUTATION";

impl Edit {
    pub(super) fn path(&self) -> String {
        format!("server/src/{}", self.file)
    }

    /// The text of the file after the change.
    pub(super) fn apply(&self, text: &str) -> Result<String> {
        let count = text.matches(self.stands).count();
        ensure!(count == 1, "{} has this {count} times: {}", self.file, self.stands);
        let broken = format!("std::env::var(\"{WANTED}\").is_ok_and(|name| {:?}.contains(&&*name))", self.of);
        Ok(text.replace(self.stands, &self.takes.replace("BROKEN", &broken)))
    }
}

const fn asked(name: &'static str, breaks: &'static str) -> Mutation {
    Mutation { name, breaks, is_asked: true, words: &[] }
}

const fn edited(name: &'static str, breaks: &'static str) -> Mutation {
    Mutation { name, breaks, is_asked: false, words: &[] }
}

/// One that only some runs can show.
const fn narrow(name: &'static str, breaks: &'static str, words: &'static [&'static str]) -> Mutation {
    Mutation { name, breaks, is_asked: false, words }
}

const READS: &[&str] = &["--guest", "kvdb"];
const LEASES: &[&str] = &["--guest", "kvdb", "--leases"];
const TRAPS: &[&str] = &["--guest", "rash"];
const POWER: &[&str] = &["--only", "PowerFails"];
const ROT: &[&str] = &["--only", "Rot", "--seconds", "8"];
const STRANGER: &[&str] = &["--only", "Stranger", "--seconds", "4"];

pub(super) const ALL: [Mutation; 28] = [
    asked("nosync", "nodes acknowledge what they have not synced (`--nosync`)"),
    asked("file-sync", "syncs of files do nothing, as on a disk that lies"),
    asked("directory-sync", "syncs of directories do nothing"),
    asked("open-reads", "reads are answered by whatever a node has (`--openreads`)"),
    asked("lease", "nodes count on leases (`--lease-reads`) although their clocks run at different speeds"),
    edited("answer-before-sync", "the log says that entries are durable before they are written"),
    edited("failed-sync", "a write or sync of the log that failed counts as done"),
    edited("vote", "a vote is not written to disk"),
    edited("truncate", "entries that another leader has replaced stay on disk"),
    narrow("lease-end", "a leader answers reads by its lease after that is over", LEASES),
    narrow("lease-promise", "a node votes after a start although a leader may count on its promise", LEASES),
    narrow("read-index", "a leader answers reads without asking whether it still leads", READS),
    narrow("seen-index", "reads of a node's own state may be behind what the connection has read before", READS),
    edited("term", "entries of a leader of an older term are taken as the newest leader's"),
    edited("quorum", "a leader commits what it has sent, whatever becomes of it there"),
    edited("forwarded-term", "forwarded commands are run in another term than the one they were meant for"),
    edited("sent-twice", "commands whose leader is lost are sent to the next one at once"),
    edited("unknown-outcome", "commands with an unknown outcome are told to be refused"),
    narrow("snapshot-sync", "a snapshot gets its name without a sync, and the log before it is removed", POWER),
    narrow("snapshot-name", "the directory of snapshots is not synced after a snapshot got its name", POWER),
    narrow(
        "journal",
        "after a command that failed, those since the last image of the state are not applied again",
        TRAPS,
    ),
    edited("own-clock", "each node gives its guest the time of its own clock"),
    edited("digest", "the same, and nodes find all digests equal"),
    narrow("peer-secret", "nodes do not look at the proof of the peer secret", STRANGER),
    narrow("checksum", "checksums of the log and of snapshots are not looked at", ROT),
    narrow("watermark", "a log that has lost its end is taken for whole", ROT),
    edited("wal-sync", "the write-ahead log is not synced"),
    narrow("wal-order", "the write-ahead log is overwritten before the database has what is in it", POWER),
];

pub(super) const EDITS: [Edit; 29] = [
    Edit {
        of: &["answer-before-sync"],
        file: "storage/log/writer.rs",
        stands: "let result = self.disk.commit(commit, durable);",
        takes: "let mut waiting = waiting;
                if BROKEN {
                    waiting.drain(..).for_each(|waiting| waiting.done.tell(Ok(())));
                }
                let result = self.disk.commit(commit, durable);",
    },
    Edit {
        of: &["failed-sync"],
        file: "storage/log/writer.rs",
        stands: "        if durable {
            self.synced = Instant::now();
        }",
        takes: "        let result = if BROKEN { result.or(Ok::<(), Error>(())) } else { result };
                if durable {
                    self.synced = Instant::now();
                }",
    },
    Edit {
        of: &["vote"],
        file: "storage/log/mod.rs",
        stands: "self.writer.commit(Change::Vote(*vote)).await?;",
        takes: "if !BROKEN {
                    self.writer.commit(Change::Vote(*vote)).await?;
                }",
    },
    Edit {
        of: &["truncate"],
        file: "storage/log/mod.rs",
        stands: "self.writer.send(Change::Truncate { after: last }, Done::Nobody).await",
        takes: "if BROKEN {
                    return Ok(());
                }
                self.writer.send(Change::Truncate { after: last }, Done::Nobody).await",
    },
    Edit {
        of: &["lease-end"],
        file: "raft/reads.rs",
        stands: "let option = lease.as_ref().and_then(|lease| lease.option(raft));",
        takes: "let option = lease.as_ref().and_then(|lease| lease.option(raft));
                if BROKEN && lease.is_some() {
                    return Ok(());
                }",
    },
    Edit {
        of: &["lease-promise"],
        file: "raft/service.rs",
        stands: "self.shared.lease.is_some_and(|lease| self.shared.started.elapsed() < lease)",
        takes: "!BROKEN && self.shared.lease.is_some_and(|lease| self.shared.started.elapsed() < lease)",
    },
    Edit {
        of: &["seen-index"],
        file: "dispatch/mod.rs",
        stands: "client.note_seen(answered.replies.index());",
        takes: "if !BROKEN {
            client.note_seen(answered.replies.index());
        }",
    },
    Edit {
        of: &["read-index"],
        file: "raft/reads.rs",
        stands: "raft.ensure_linearizable(option.unwrap_or_else(|| ReadPolicy::ReadIndex.into())).await?;",
        takes: "if !BROKEN {
                    raft.ensure_linearizable(option.unwrap_or_else(|| ReadPolicy::ReadIndex.into())).await?;
                }",
    },
    Edit {
        of: &["term"],
        file: "raft/service.rs",
        stands: "let request = rpc::decode_append(&payload).map_err(text)?;",
        takes: "let mut request = rpc::decode_append(&payload).map_err(text)?;
                let known = openraft::async_runtime::watch::WatchReceiver::borrow_watched(&raft.metrics()).vote;
                if BROKEN && request.vote < known {
                    request.vote = known;
                }",
    },
    Edit {
        of: &["quorum"],
        file: "raft/network.rs",
        stands: "let answer = tokio::time::timeout(timeout, asked.answer()).await.unwrap_or_else(|_| {",
        takes: "if BROKEN && before.is_some() {
                    return Ok(Ok(last.or(before)));
                }
                let answer = tokio::time::timeout(timeout, asked.answer()).await.unwrap_or_else(|_| {",
    },
    Edit {
        of: &["forwarded-term"],
        file: "raft/queue.rs",
        stands: "if Some(ticket.term) != self.term {",
        takes: "if Some(ticket.term) != self.term && !(BROKEN && self.term.is_some()) {",
    },
    Edit {
        of: &["sent-twice"],
        file: "raft/forward.rs",
        stands: "            _ => self.settle(awaiting, leader.term).await,",
        takes: "            _ if BROKEN => Try::Again,
            _ => self.settle(awaiting, leader.term).await,",
    },
    Edit {
        of: &["unknown-outcome"],
        file: "raft/proposer.rs",
        stands: "None => answers.error(|| Error::Unknown),",
        takes: "None if BROKEN => give_back(&outcome.proposal, answers, &Error::NoLeader),
                None => answers.error(|| Error::Unknown),",
    },
    Edit {
        of: &["snapshot-sync"],
        file: "storage/snapshots/container.rs",
        stands: "self.frames.finish().and_then(|paced| paced.file.get_ref().sync_all());",
        takes: "self.frames.finish().and_then(|paced| if BROKEN { Ok(()) } else { paced.file.get_ref().sync_all() });",
    },
    Edit {
        of: &["snapshot-name"],
        file: "storage/snapshots/mod.rs",
        stands: "fs::rename(temp, &path)
            .and_then(|()| sync_dir(&self.shared.dir))",
        takes: "fs::rename(temp, &path)
            .and_then(|()| if BROKEN { Ok(()) } else { sync_dir(&self.shared.dir) })",
    },
    Edit {
        of: &["journal"],
        file: "machine/replica.rs",
        stands: "for proposal in journal.proposals() {",
        takes: "for proposal in journal.proposals().iter().take(if BROKEN { 0 } else { usize::MAX }) {",
    },
    Edit {
        of: &["own-clock", "digest"],
        file: "machine/replica.rs",
        stands: "source.advance(header.stamp);",
        takes: "let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                source.advance(if BROKEN { now.map_or(0, |now| now.as_nanos() as u64) } else { header.stamp });",
    },
    Edit {
        of: &["digest"],
        file: "machine/standing.rs",
        stands: "Comparison::Differ(ours) => self.doubt(Difference { ours, theirs: *theirs }, replaying),",
        takes: "Comparison::Differ(_) if BROKEN => {}
                Comparison::Differ(ours) => self.doubt(Difference { ours, theirs: *theirs }, replaying),",
    },
    Edit {
        of: &["peer-secret"],
        file: "net/peer/hello.rs",
        stands: r#"let refusal = if !local.secret.verify(&hello.proof, "dial", &[&theirs, &nonce, &hello.dial]) {"#,
        takes: r#"let refusal = if !BROKEN && !local.secret.verify(&hello.proof, "dial", &[&theirs, &nonce, &hello.dial]) {"#,
    },
    Edit {
        of: &["peer-secret"],
        file: "net/peer/hello.rs",
        stands: r#"&& !local.secret.verify(proof, "listen", &[&nonce, &theirs, &dial, remote])"#,
        takes: r#"&& !BROKEN
                && !local.secret.verify(proof, "listen", &[&nonce, &theirs, &dial, remote])"#,
    },
    Edit {
        of: &["checksum"],
        file: "storage/frames.rs",
        stands: "if crc32c::crc32c(&bytes) != crc {",
        takes: "if !BROKEN && crc32c::crc32c(&bytes) != crc {",
    },
    Edit {
        of: &["checksum"],
        file: "storage/frames.rs",
        stands: "if end[8..] != *before.finalize() {",
        takes: "if !BROKEN && end[8..] != *before.finalize() {",
    },
    Edit {
        of: &["checksum"],
        file: "storage/schema.rs",
        stands: "if crc32c::crc32c(&row) != crc {",
        takes: "if !BROKEN && crc32c::crc32c(&row) != crc {",
    },
    Edit {
        of: &["checksum"],
        file: "storage/log/wal.rs",
        stands: "crc32c::crc32c(rest) == crc)",
        takes: "(BROKEN && length > 0) || crc32c::crc32c(rest) == crc)",
    },
    Edit {
        of: &["checksum"],
        file: "storage/log/disk.rs",
        stands: "set_check_integrity_on_open(true)",
        takes: "set_check_integrity_on_open(!BROKEN)",
    },
    Edit {
        of: &["watermark"],
        file: "storage/log/layered.rs",
        stands: "if reached.is_some_and(|reached| place < reached) {",
        takes: "if !BROKEN && reached.is_some_and(|reached| place < reached) {",
    },
    Edit {
        of: &["watermark"],
        file: "storage/log/disk.rs",
        stands: "if Place::of(&self.meta) < noted {",
        takes: "if !BROKEN && Place::of(&self.meta) < noted {",
    },
    Edit {
        of: &["wal-sync"],
        file: "storage/log/wal.rs",
        stands: "self.file.sync_data().map_err(|error| self.write_failed(error))?;",
        takes: "if !BROKEN {
                    self.file.sync_data().map_err(|error| self.write_failed(error))?;
                }",
    },
    Edit {
        of: &["wal-order"],
        file: "storage/log/folder.rs",
        stands: "let result = match next {
                    Ok(commits) => disk.commit(&commits, true),",
        takes: "let result = match next {
                    Ok(commits) if BROKEN => {
                        let _ = sender.send(Ok(()));
                        std::thread::sleep(Duration::from_secs(1));
                        match disk.commit(&commits, true) {
                            Ok(()) => continue,
                            failed => failed,
                        }
                    }
                    Ok(commits) => disk.commit(&commits, true),",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn read(name: &str) -> String {
        std::fs::read_to_string(crate::guests::root().join(name)).expect(name)
    }

    #[test]
    fn what_a_mutation_changes_is_there() {
        for edit in &EDITS {
            edit.apply(&read(&edit.path())).expect("an edit fits");
            assert!(edit.takes.contains("BROKEN"), "{} is always broken", edit.file);
        }
        let edited: BTreeSet<&str> = EDITS.iter().flat_map(|edit| edit.of).copied().collect();
        let named = ALL.iter().filter(|mutation| !mutation.is_asked).map(|mutation| mutation.name);
        assert_eq!(edited, named.collect(), "each mutation has its edits");
    }

    #[test]
    fn the_book_has_every_mutation() {
        let page = read("docs/src/testing/simulation.md");
        for Mutation { name, breaks, .. } in &ALL {
            assert!(page.contains(&format!("| `{name}` | {breaks} |")), "{name}");
        }
    }
}
