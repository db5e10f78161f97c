//! The module's bytes: from a file, or one of the examples that the server carries in itself.

use crate::config::Module;
use std::io;

/// The examples, as `cargo xtask guests` built them.
const BUILTIN: [(&str, &[u8]); 3] = [
    ("ticket", include_bytes!("../../examples/prebuilt/ticket.wasm")),
    ("kvdb", include_bytes!("../../examples/prebuilt/kvdb.wasm")),
    ("timeseries", include_bytes!("../../examples/prebuilt/timeseries.wasm")),
];

/// Why there are no bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
    #[error("there is no such built-in module; there are builtin:ticket, builtin:kvdb and builtin:timeseries")]
    UnknownBuiltin,
}

pub fn read(module: &Module) -> Result<Vec<u8>, Error> {
    match module {
        Module::Path(path) => std::fs::read(path).map_err(Error::Read),
        Module::Builtin(name) => {
            let found = BUILTIN.iter().find(|(known, _)| known == name);
            found.map(|(_, bytes)| bytes.to_vec()).ok_or(Error::UnknownBuiltin)
        }
    }
}
