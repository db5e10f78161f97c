//! Bytes that are no text, wherever text or bytes can stand.

use super::{Trio, readers};
use uhaha_tests::{Module, Value};

const NO_TEXT: &[u8] = b"\xff\xfe\x80";

#[test]
fn arguments_and_bulk_strings_may_be_any_bytes() {
    let mut trio = Trio::start(Module::bad("bytes"));
    let every: Vec<u8> = (0..=255).collect();
    for bytes in [NO_TEXT, &every, b"\r\n$1\r\n", b"\0", b""] {
        assert_eq!(trio.adds(&[b"BULK", bytes]), Value::Bulk(bytes.to_vec().into()));
        for mut reader in readers(&trio.cluster) {
            assert_eq!(reader.call(&[b"RBULK", bytes]), Value::Bulk(bytes.to_vec().into()));
        }
    }
    trio.agree();
}

#[test]
fn replies_errors_and_log_lines_that_are_no_text_are_traps() {
    let mut trio = Trio::start(Module::bad("bytes"));
    for command in ["SIMPLE", "VERBATIM", "NUMBER", "ERROR", "REFUSE", "NOTE"] {
        let reason = trio.fails(&[command.as_bytes(), NO_TEXT], "TRAP");
        assert!(reason.contains("utf-8"), "{command}: {reason}");
    }
    trio.fails_to_read(&[b"RNOTE", NO_TEXT], "TRAP RNOTE: ");
    // A number of digits that are text, but no digits.
    assert_eq!(trio.fails(&["NUMBER", "12x"], "TRAP"), "a reply has a malformed big number");
    trio.agree();
}

#[test]
fn a_line_end_in_a_line_cannot_break_the_protocol() {
    let mut trio = Trio::start(Module::bad("bytes"));
    assert_eq!(trio.adds(&["SIMPLE", "a\r\n:1\r\n"]), Value::Simple("a  :1  ".to_owned()));
    trio.adds(&["REFUSE", "no\r\n:1"]).assert_error("ERR no  :1");
    trio.adds(&["ERROR", "NO way\n"]).assert_error("NO way ");
    // A code ends with a blank.
    trio.adds(&["ERROR", "NO\nway"]).assert_error("ERR NO way");
    trio.adds(&["NOTE", "one\nline\x1b[31m"]);
    trio.agree();
}

#[test]
fn a_command_whose_name_is_no_text_is_unknown() {
    let mut trio = Trio::start(Module::bad("bytes"));
    trio.counts();
    for name in [NO_TEXT, b"INCR\xff", b"\xc3\x28", b"", b"\0", b"a\r\nb"] {
        trio.client.call(&[name, NO_TEXT]).assert_error("ERR unknown command '");
        trio.counts();
    }
    trio.agree();
}
