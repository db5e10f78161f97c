//! The guests that tests serve.

use std::path::PathBuf;

const LARGE_BYTES: u64 = 1 << 20;

/// What `--module` is given.
#[derive(Clone, Debug)]
pub struct Module(pub String);

impl Module {
    pub fn ticket() -> Module {
        Module::example("ticket")
    }

    pub fn kvdb() -> Module {
        Module::example("kvdb")
    }

    pub fn timeseries() -> Module {
        Module::example("timeseries")
    }

    /// The guest that does everything wrong.
    pub fn hostile() -> Module {
        Module::bad("hostile")
    }

    /// One of the guests that are made for tests.
    pub fn bad(name: &str) -> Module {
        Module::file(crate::root().join(format!("tests/guests/{name}.wat")))
    }

    /// The one that fails in the ways of Rust.
    pub fn rash() -> Module {
        Module::file(crate::root().join("tests/guests/prebuilt/rash.wasm"))
    }

    /// The ticket service in C, without the SDK.
    pub fn ticket_in_c() -> Module {
        Module::file(crate::root().join("examples/prebuilt/ticket_c.wasm"))
    }

    /// The ticket service in JavaScript, which is too large to be kept.
    pub fn ticket_in_javascript() -> Module {
        Module::built("js/ticket_js.wasm", "cargo xtask guests js")
    }

    /// The same in Python.
    pub fn ticket_in_python() -> Module {
        Module::built("python/ticket_python.wasm", "cargo xtask guests python")
    }

    /// The one for WASI 0.2, which keeps what it printed to.
    pub fn teller() -> Module {
        Module::file(crate::root().join("tests/guests/prebuilt/teller.wasm"))
    }

    fn built(file: &str, how: &str) -> Module {
        let path = crate::root().join("target/guests").join(file);
        assert!(path.exists(), "{} is needed: run {how}", path.display());
        Module::file(path)
    }

    /// Whether compiling it takes so long that tests share what was compiled: it brings an interpreter.
    pub(crate) fn is_large(&self) -> bool {
        std::fs::metadata(&self.0).is_ok_and(|file| file.len() > LARGE_BYTES)
    }

    pub fn file(path: PathBuf) -> Module {
        Module(path.to_str().expect("the workspace has a path of text").to_owned())
    }

    /// The one that the server carries, or with `UHAHA_TEST_GUESTS=DIR` the one that was built there: the same tests
    /// pass with both, so the two cannot drift apart.
    fn example(name: &str) -> Module {
        match std::env::var_os("UHAHA_TEST_GUESTS") {
            Some(dir) => Module::file(PathBuf::from(dir).join(format!("{name}.wasm"))),
            None => Module(format!("builtin:{name}")),
        }
    }
}
