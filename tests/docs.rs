//! The `console` blocks of the README and the book are transcripts: this runs them and compares what comes out.
//!
//! One bash session a page, in an empty directory, with `uhaha-server` on the PATH. A line that begins with `$ ` is a
//! command, the lines after it are its output. `...` alone on a line stands for any lines, inside a line for any text.
//! A command that ends in `&` starts a server; the next one waits until the port of its `--addr` accepts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Printed after each command, so that its output is known to be complete.
const MARK: &str = "-- end of the output of this command --";

/// A command and the lines that it must print.
struct Step {
    command: String,
    expected: Vec<String>,
}

#[test]
fn readme() {
    run(&uhaha_tests::root().join("README.md"));
}

#[test]
fn book() {
    let pages = pages(&uhaha_tests::root().join("docs/src"));
    assert!(pages.len() > 10, "the book is there");
    for page in pages {
        run(&page);
    }
}

fn pages(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(self::pages(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn run(page: &Path) {
    let steps = steps(&std::fs::read_to_string(page).unwrap());
    if steps.is_empty() {
        return;
    }
    let scratch = uhaha_tests::server::Scratch::new();
    let bin = uhaha_tests::server::binary().parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    // FAKETTY: redis-cli prints for a person, as on the page, although it writes into a pipe.
    let mut bash = Command::new("bash")
        .args(["--norc", "-c", &script(&steps)])
        .current_dir(scratch.path())
        .envs([("PATH", &*path), ("FAKETTY", "1")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash runs");
    let mut lines = BufReader::new(bash.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut wrong = String::new();
    for step in &steps {
        let output = lines.by_ref().take_while(|line| line != MARK);
        // Whether bash tells of a server that the page killed depends on when it looks.
        let output: Vec<String> = output.filter(|line| !line.contains(": line ") || !line.contains("Killed")).collect();
        if !matches(&step.expected, &output) {
            let (expected, output) = (step.expected.join("\n"), output.join("\n"));
            let _ = writeln!(wrong, "$ {}\n-- the page says\n{expected}\n-- it printed\n{output}\n", step.command);
        }
    }
    assert!(bash.wait().unwrap().success(), "{}: the session ends well", page.display());
    if !wrong.is_empty() {
        let _ = std::io::stderr().write_all(wrong.as_bytes());
        panic!("{}: {} is not true any more", page.display(), wrong.lines().next().unwrap_or_default());
    }
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command: command.to_owned(), expected: Vec::new() }),
                None => steps.last_mut().expect("a block begins with a command").expected.push(line.to_owned()),
            },
            (false, _) => {}
        }
    }
    steps
}

fn script(steps: &[Step]) -> String {
    // Whatever happens, no server outlives the session.
    let mut script = String::from("exec 2>&1\ntrap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null' EXIT\n");
    for (number, step) in steps.iter().enumerate() {
        let command = step.command.trim_end();
        match command.strip_suffix('&') {
            Some(server) => {
                let address = server.split("--addr ").nth(1).and_then(|rest| rest.split_whitespace().next());
                let port = address.and_then(|address| address.rsplit(':').next()).expect("a server has an --addr");
                let _ = writeln!(script, "{server} > server{number}.log 2>&1 &");
                let _ = writeln!(
                    script,
                    "for try in $(seq 600); do (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && break; \
                     sleep 0.05; done"
                );
            }
            None => {
                let _ = writeln!(script, "{command}");
            }
        }
        // On a line of its own, also after output that does not end one.
        let _ = writeln!(script, "printf '\\n%s\\n' '{MARK}'");
    }
    script.push_str("exit 0\n");
    script
}

fn matches(expected: &[String], output: &[String]) -> bool {
    // The newline before the mark leaves an empty line behind output that ends in one.
    let output = match output {
        [lines @ .., last] if last.is_empty() => lines,
        lines => lines,
    };
    lines_match(expected, output)
}

fn lines_match(expected: &[String], output: &[String]) -> bool {
    match (expected, output) {
        ([], []) => true,
        ([first, rest @ ..], _) if first.trim() == "..." => {
            (0..=output.len()).any(|skipped| lines_match(rest, &output[skipped..]))
        }
        ([first, rest @ ..], [line, lines @ ..]) => line_matches(first, line) && lines_match(rest, lines),
        _ => false,
    }
}

fn line_matches(expected: &str, line: &str) -> bool {
    let line = line.trim_end();
    let Some((start, rest)) = expected.trim_end().split_once("...") else { return expected.trim_end() == line };
    let Some(mut left) = line.strip_prefix(start) else { return false };
    let parts: Vec<&str> = rest.split("...").collect();
    let (last, middle) = parts.split_last().expect("split gives at least one part");
    for part in middle {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

#[test]
fn three_dots_stand_for_anything() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(lines_match(&lines("a\n...\nb"), &lines("a\nx\ny\nb")));
    assert!(lines_match(&lines("a ... c"), &lines("a b c")));
    assert!(!lines_match(&lines("a ... c"), &lines("a b")));
    assert!(!lines_match(&lines("a"), &lines("a\nb")));
    assert!(!lines_match(&lines("...\nb"), &lines("a")));
}
