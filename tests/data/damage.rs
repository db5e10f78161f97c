//! Damaged files, one at a time: nothing wrong is served, and whoever reads the log has one line to go by.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use uhaha_tests::fixtures::{self, DATA, KILLED, STOPPED};
use uhaha_tests::flips::{Outcome, Random, Subject, of_every_kind};
use uhaha_tests::server::{Ended, Scratch, files};
use uhaha_tests::{Module, Node, int};

/// A sample of what `cargo xtask flips` does with every byte. The seed is printed when it fails.
#[test]
fn a_sample_of_all_damages_does_no_harm() {
    const SAMPLE: usize = 300;
    let seed = u64::from(std::process::id());
    let mut random = Random::new(seed);
    for fixture in fixtures::all() {
        let scratch = Scratch::new();
        fixture.unpack(scratch.path());
        let subject = Subject::new(&fixtures::nodes(scratch.path())[0]);
        for file in subject.files() {
            let all = of_every_kind(subject.bytes(&file).len(), &mut random);
            let some: Vec<_> = (0..SAMPLE).map(|_| all[random.below(all.len())].clone()).collect();
            for outcome in subject.damage(&file, &some).keys() {
                assert!(!matches!(outcome, Outcome::Wrong(_)), "seed {seed}, {fixture:?}: {outcome:?}");
            }
        }
    }
}

/// A node that was killed, on a scratch of its own.
struct Killed {
    scratch: Scratch,
    own: PathBuf,
}

impl Killed {
    fn new() -> Killed {
        let scratch = Scratch::new();
        fixtures::named(KILLED).pop().unwrap().unpack(scratch.path());
        let own = fixtures::nodes(scratch.path()).pop().unwrap();
        Killed { scratch, own }
    }

    fn node(&self) -> Node {
        let module = Module::file(fixtures::module(self.scratch.path()));
        Node::bare().data_of(module, self.scratch.path().join(DATA)).args(&["--guest-fuel", "1000000"])
    }

    fn log(&self) -> PathBuf {
        self.own.join("log.redb")
    }

    fn wal(&self) -> PathBuf {
        self.own.join("log.wal")
    }

    /// It does not start, and the only line says what is damaged and what to do.
    #[track_caller]
    fn assert_refused(&self, words: &[&str]) {
        let quiet = self.node().args(&["--level", "error"]);
        let ended = quiet.run_to_end();
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        let line = last_line(&ended);
        for word in words.iter().chain(&["RAFT SERVER REMOVE 1", "--join", "--restore"]) {
            assert!(line.contains(word), "{word:?} is not in {line}");
        }
        // It does not help to try again.
        assert_eq!(last_line(&quiet.run_to_end()), line);
    }
}

/// The only one that is no report of a panic inside redb.
#[track_caller]
fn last_line(ended: &Ended) -> String {
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| !line.contains("ERROR panic")).collect();
    assert_eq!(lines.len(), 1, "{}", ended.stderr);
    lines[0].to_owned()
}

fn change(file: &Path, at: usize, change: impl Fn(u8) -> u8) {
    let byte = fs::read(file).unwrap()[at];
    OpenOptions::new().write(true).open(file).unwrap().write_all_at(&[change(byte)], at as u64).unwrap();
}

fn find(file: &Path, text: &[u8]) -> Vec<usize> {
    let bytes = fs::read(file).unwrap();
    let places = bytes.windows(text.len()).enumerate().filter(|(_, window)| *window == text);
    places.map(|(at, _)| at).collect()
}

#[test]
fn a_damaged_log_is_refused_by_one_line_that_says_what_to_do() {
    let node = Killed::new();
    let good = fs::read(node.log()).unwrap();
    // The magic number, and both slots of the last commits.
    for at in [[3].as_slice(), &[64 + 100, 192 + 100]] {
        at.iter().for_each(|at| change(&node.log(), *at, |byte| !byte));
        node.assert_refused(&["log.redb is damaged"]);
        fs::write(node.log(), &good).unwrap();
    }
    fs::write(node.log(), &good[..good.len() / 2]).unwrap();
    node.assert_refused(&["log.redb"]);
    fs::remove_file(node.log()).unwrap();
    node.assert_refused(&["log.redb is missing"]);
    fs::write(node.log(), &good).unwrap();
    let good = fs::read(node.wal()).unwrap();
    // Its beginning, and a command in the middle.
    change(&node.wal(), 3, |byte| !byte);
    node.assert_refused(&["log.wal is damaged: it does not begin as it should"]);
    fs::write(node.wal(), &good).unwrap();
    change(&node.wal(), find(&node.wal(), b"RANDOM")[1], |byte| byte ^ 1);
    node.assert_refused(&[LESS]);
    fs::remove_file(node.wal()).unwrap();
    node.assert_refused(&[LESS]);
    fs::write(node.wal(), &good).unwrap();
    assert_eq!(node.node().start().client().call(&["INCR"]), int(11));
}

const LESS: &str = "log.redb and log.wal have less than was synced to them before";

/// What would be taken for the end of a crash: it would go on with the commit before.
#[test]
fn a_log_that_lost_its_last_commit_is_refused() {
    let node = Killed::new();
    let server = node.node().start();
    assert_eq!(server.client().call(&["INCR"]), int(11));
    let before = fs::read(node.wal()).unwrap();
    assert_eq!(server.client().call(&["INCR"]), int(12));
    server.kill();
    fs::write(node.wal(), &before).unwrap();
    node.assert_refused(&[LESS]);
}

#[test]
fn a_log_without_its_watermark_is_refused() {
    let node = Killed::new();
    let mark = node.own.join("WATERMARK");
    fs::write(&mark, "other").unwrap();
    node.assert_refused(&["WATERMARK is damaged"]);
    fs::remove_file(&mark).unwrap();
    node.assert_refused(&["WATERMARK is missing"]);
}

/// Nobody can tell a good state from the damaged one, so an export does neither.
#[test]
fn a_damaged_log_is_neither_replayed_nor_exported() {
    let scratch = Scratch::new();
    fixtures::named(STOPPED).pop().unwrap().unpack(scratch.path());
    let own = fixtures::nodes(scratch.path()).pop().unwrap();
    for at in find(&own.join("log.redb"), b"changed again") {
        change(&own.join("log.redb"), at, |byte| byte ^ 1);
    }
    let module = fixtures::module(scratch.path());
    let to = scratch.path().join("state.export");
    for tool in [&["replay"][..], &["export", "--to", to.to_str().unwrap()]] {
        let data = ["--data", own.to_str().unwrap(), "--module", module.to_str().unwrap()];
        let ended = Node::bare().args(tool).args(&data).run_to_end();
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{}", ended.stderr);
        assert!(ended.stderr.contains("log.redb is damaged"), "{}", ended.stderr);
    }
    assert!(!to.exists());
}

/// Compiled code is checked before it is run.
#[test]
fn damaged_compiled_code_is_compiled_again() {
    let node = Killed::new();
    node.node().start().kill();
    let cache = files(&node.scratch.path().join(DATA).join("cache"));
    assert_eq!(cache.len(), 1);
    let bytes = fs::metadata(&cache[0]).unwrap().len() as usize;
    for at in [0, 31, 32, bytes / 2, bytes - 1] {
        change(&cache[0], at, |byte| byte ^ 4);
        let server = node.node().start();
        server.wait_for_log("compiled code is not usable; compiling again");
        server.kill();
        // Two compilations of a module need not have the same bytes, so that it is used shows that it is whole.
        let server = node.node().start();
        assert!(!server.log().contains("compiling"), "byte {at}: {}", server.log());
        server.kill();
    }
}
