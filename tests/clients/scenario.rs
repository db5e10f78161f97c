//! The scenario, and how a client's replies are compared with it.

pub(crate) const TEXT: &str = include_str!("scenario.txt");

/// Commands and what comes of them.
pub(crate) fn steps() -> Vec<(Vec<&'static str>, &'static str)> {
    let lines = TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let steps = lines.map(|line| {
        let (command, reply) = line.split_once(" => ").unwrap();
        (command.split_whitespace().collect(), reply)
    });
    steps.collect()
}

/// Asserts that a client saw the reply. An error need only say what is expected, for clients trim errors.
#[track_caller]
pub(crate) fn assert_reply(client: &str, command: &[&str], expected: &str, reply: &str) {
    let same = match expected.strip_prefix("(error)") {
        Some(part) => reply.starts_with("(error)") && reply.contains(part.trim_start()),
        None => reply == expected,
    };
    assert!(same, "{client}: {command:?} gave {reply:?}, not {expected:?}");
}
