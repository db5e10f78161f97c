//! Compiled code on disk, so that only the first start of a module waits for the compiler.
//!
//! A file's name is the hash of the rewritten component together with all that compiled code depends on, so foreign
//! code is never found; its first 32 bytes are the hash of the rest, so damaged code is never run. Whoever can write
//! to the cache directory can run code as the server, just as whoever can write to the server's binary.
#![expect(unsafe_code, reason = "running code that was compiled earlier is what a cache is for")]

use super::engine::GuestEngine;
use super::hex;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use wasmtime::component::Component;

/// Older files beyond this many are removed when one is added.
const FILES_MAX: usize = 16;
const HASH_BYTES: usize = 32;
const EXTENSION: &str = "cwasm";

/// A directory of compiled components.
pub(super) struct Cache<'a> {
    engine: &'a GuestEngine,
    dir: &'a Path,
}

impl<'a> Cache<'a> {
    pub(super) fn new(engine: &'a GuestEngine, dir: &'a Path) -> Cache<'a> {
        Cache { engine, dir }
    }

    /// The component compiled earlier, or compiled now and kept. A cache that cannot be used only costs time.
    pub(super) fn component(&self, wasm: &[u8]) -> wasmtime::Result<Component> {
        let file = self.file(wasm);
        match self.load(&file) {
            Ok(Some(component)) => return Ok(component),
            Ok(None) => {}
            Err(reason) => {
                tracing::warn!(file = %file.display(), %reason, "compiled code is not usable; compiling again")
            }
        }
        let started = std::time::Instant::now();
        tracing::info!(bytes = wasm.len(), "compiling the module");
        let code = self.engine.engine.precompile_component(wasm)?;
        tracing::info!(elapsed = ?started.elapsed(), "compiled the module");
        if let Err(error) = self.save(&file, &code) {
            tracing::warn!(file = %file.display(), %error, "compiled code was not kept");
        }
        // SAFETY: the code was made by this engine just now.
        unsafe { Component::deserialize(&self.engine.engine, &code) }
    }

    fn file(&self, wasm: &[u8]) -> PathBuf {
        let mut hasher = Sha256::new();
        hasher.update(self.engine.compatibility());
        hasher.update(wasm);
        self.dir.join(hex(&hasher.finalize())).with_extension(EXTENSION)
    }

    fn load(&self, file: &Path) -> Result<Option<Component>, String> {
        let bytes = match fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let Some((hash, code)) = bytes.split_at_checked(HASH_BYTES) else { return Err("it is cut short".to_owned()) };
        if hash != Sha256::digest(code).as_slice() {
            return Err("its checksum is wrong".to_owned());
        }
        // SAFETY: the file's name and checksum say that this server wrote it for this very engine.
        unsafe { Component::deserialize(&self.engine.engine, code) }.map(Some).map_err(|error| error.to_string())
    }

    fn save(&self, file: &Path, code: &[u8]) -> io::Result<()> {
        fs::create_dir_all(self.dir)?;
        let mut temporary = tempfile::NamedTempFile::new_in(self.dir)?;
        temporary.write_all(&Sha256::digest(code))?;
        temporary.write_all(code)?;
        temporary.persist(file)?;
        self.prune()
    }

    fn prune(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.dir)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == EXTENSION) {
                files.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        files.sort();
        for (_, file) in files.iter().rev().skip(FILES_MAX) {
            fs::remove_file(file)?;
        }
        Ok(())
    }
}
