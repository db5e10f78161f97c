//! Where the guest comes from: a file, or one of the examples that the server carries in itself.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

/// The examples, as `cargo xtask guests` built them.
const BUILTIN: [(&str, &[u8]); 3] = [
    ("ticket", include_bytes!("../../examples/prebuilt/ticket.wasm")),
    ("kvdb", include_bytes!("../../examples/prebuilt/kvdb.wasm")),
    ("timeseries", include_bytes!("../../examples/prebuilt/timeseries.wasm")),
];

/// What `--module` names.
#[derive(Clone, PartialEq, Eq)]
pub enum Module {
    Path(PathBuf),
    /// An example, by its name and its bytes.
    Builtin(&'static str, &'static [u8]),
}

impl Module {
    pub fn examples() -> impl Iterator<Item = Module> {
        BUILTIN.into_iter().map(|(name, bytes)| Module::Builtin(name, bytes))
    }

    pub fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Module::Path(path) => std::fs::read(path),
            Module::Builtin(_, bytes) => Ok(bytes.to_vec()),
        }
    }
}

/// As it is typed: the bytes of an example are of no use to anybody.
impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Module {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Module, &'static str> {
        match text.strip_prefix("builtin:") {
            Some(name) => BUILTIN
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(name, bytes)| Module::Builtin(name, bytes))
                .ok_or("expected builtin:ticket, builtin:kvdb or builtin:timeseries"),
            None if text.is_empty() => Err("expected a path"),
            None => Ok(Module::Path(PathBuf::from(text))),
        }
    }
}

/// As it is typed.
impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Module::Path(path) => write!(f, "{}", path.display()),
            Module::Builtin(name, _) => write!(f, "builtin:{name}"),
        }
    }
}
