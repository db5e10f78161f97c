//! Which modules a log is applied to: the one that wrote it, and perhaps another.

use super::{Error, Options};
use crate::guest::{self, Guest};
use crate::module::Module;
use std::sync::Arc;

pub(super) struct Modules {
    /// The one that wrote the log.
    pub(super) original: Arc<Guest>,
    /// One that is compared with it.
    pub(super) other: Option<Arc<Guest>>,
}

impl Modules {
    /// `hash` is that of the module that wrote the log.
    pub(super) fn load(options: &Options, hash: &str) -> Result<Modules, Error> {
        let module = options.module.as_ref().map(|module| load(module, options)).transpose()?;
        if let Some(original) = module.as_ref().filter(|module| module.hash() == hash) {
            return Ok(Modules { original: Arc::clone(original), other: None });
        }
        let flag = if module.is_some() { "--original" } else { "--module" };
        let original = match &options.original {
            Some(original) => original.clone(),
            None => example(hash).ok_or_else(|| Error::NoModule { hash: hash.to_owned(), flag })?,
        };
        let loaded = load(&original, options)?;
        match loaded.hash() == hash {
            true => Ok(Modules { original: loaded, other: module }),
            false => Err(Error::NotOriginal {
                name: original.to_string(),
                theirs: loaded.hash().to_owned(),
                ours: hash.to_owned(),
            }),
        }
    }
}

/// The example with that hash.
fn example(hash: &str) -> Option<Module> {
    Module::examples().find(|module| module.read().is_ok_and(|bytes| guest::module_hash(&bytes) == hash))
}

fn load(module: &Module, options: &Options) -> Result<Arc<Guest>, Error> {
    let name = module.to_string();
    let bytes = module.read().map_err(|source| Error::ReadModule { name: name.clone(), source })?;
    // The cache of the node is beside its data, which does not change.
    let cache = tempfile::tempdir().map_err(Error::Cache)?;
    let guest = Guest::load(&bytes, options.limits, cache.path());
    guest.map(Arc::new).map_err(|source| Error::Module { name, source })
}
