//! `Backtrace`: where in the guest a call failed, by the names that the module has for its functions.
//!
//! For people, and of this node alone: it depends on how the code was compiled, so it must never become part of a reply
//! that the log decides.

use super::instrument;
use std::fmt;
use wasmtime::{FrameInfo, WasmBacktrace};

/// The innermost are the ones that matter.
const FRAMES_MAX: usize = 20;
/// Of one frame. Names of generic functions can be longer than anybody reads.
const FRAME_BYTES_MAX: usize = 256;

/// Functions of the guest, the innermost first, as `module!function`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backtrace(Vec<String>);

impl Backtrace {
    /// Empty when the error has none.
    pub(super) fn of(error: &wasmtime::Error) -> Backtrace {
        let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames).unwrap_or_default();
        let own = frames.iter().filter(|frame| frame.module().name() != Some(instrument::KEEPER_NAME));
        Backtrace(own.take(FRAMES_MAX).map(shown).collect())
    }

    pub fn frames(&self) -> &[String] {
        &self.0
    }
}

/// On one line, for the log.
impl fmt::Display for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" < "))
    }
}

fn shown(frame: &FrameInfo) -> String {
    let function = match frame.func_name() {
        // Without the hash at the end, which tells nobody anything.
        Some(name) => format!("{:#}", rustc_demangle::demangle(name)),
        None => format!("function {}", frame.func_index()),
    };
    printable(match frame.module().name() {
        Some(module) => format!("{module}!{function}"),
        None => function,
    })
}

/// Names are the module's to choose; they must not break a line of the log, nor fill it.
fn printable(name: String) -> String {
    let mut name: String = name.chars().map(|char| if char.is_control() { '?' } else { char }).collect();
    if name.len() > FRAME_BYTES_MAX {
        name.truncate(name.floor_char_boundary(FRAME_BYTES_MAX));
        name.push('…');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_on_its_line_and_within_its_bound() {
        assert_eq!(printable("a!b\n\x1b[31mc".into()), "a!b??[31mc");
        let long = printable("ü".repeat(FRAME_BYTES_MAX));
        assert_eq!(long, format!("{}…", "ü".repeat(FRAME_BYTES_MAX / 2)));
    }
}
