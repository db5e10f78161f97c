//! `uhaha-server export`: has the guest of a node that is not running write its state, in a form of its own, to a file.
//!
//! Nothing in the data directory changes. The file fits other versions of the module, other engines and other processors,
//! as an image does not: that is what it is for. A new cluster begins with it by `--import`.

use crate::guest::{self, Limits, PortableError};
use crate::module::Module;
use crate::replay::{self, Recalled};
use crate::storage::export::{self, Draft, ExportWriter, Header};
use serde::Serialize;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often a long export says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct Options {
    /// The node's own directory, or one that has only that one in it.
    pub data: PathBuf,
    /// The file to write.
    pub to: PathBuf,
    /// Without one, the example that wrote the log.
    pub module: Option<Module>,
    pub limits: Limits,
    /// Most bytes of state.
    pub bytes_max: u64,
}

/// Why a state cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    State(#[from] replay::Error),
    #[error("the state cannot be exported")]
    Save(#[from] PortableError),
    #[error(transparent)]
    File(#[from] export::Error),
    #[error("the guest could not be run")]
    Thread(#[source] io::Error),
}

/// What was exported.
#[derive(Debug, Serialize)]
pub struct Report {
    file: String,
    guest: String,
    version: String,
    module: String,
    state_version: u32,
    /// The last entry that the state includes; none before the first.
    index: Option<u64>,
    /// The machine's, in nanoseconds since the Unix epoch.
    clock: u64,
    /// Of the state.
    bytes: u64,
    /// Snapshots that could not be used, with the reason.
    skipped: Vec<String>,
}

/// Exports the state after the last entry that the node knew to be committed.
pub fn export(options: &Options) -> Result<Report, Error> {
    guest::on_guest_thread("export", || export_here(options)).unwrap_or_else(|error| Err(Error::Thread(error)))
}

fn export_here(options: &Options) -> Result<Report, Error> {
    // First, for it is soon found out whether it can be written.
    let draft = Draft::create(&options.to)?;
    let Options { data, to, module, limits, bytes_max } = options.clone();
    let Recalled { guest, mut machine, skipped } =
        replay::recall(&replay::Options { data, module: None, original: module, limits, from: None, until: None })?;
    let description = guest.description();
    let header = Header {
        guest: description.name.clone(),
        module: guest.hash().to_owned(),
        state_version: description.state_version,
        clock: machine.now(),
    };
    let writer = Progress { writer: draft.begin(&header, bytes_max)?, said: Instant::now() };
    let Progress { writer, .. } = machine.save(writer)?;
    let bytes = writer.finish()?;
    let Header { guest: name, module, state_version, clock } = header;
    Ok(Report {
        file: to.display().to_string(),
        guest: name,
        version: description.version.clone(),
        module,
        state_version,
        index: machine.applied(),
        clock,
        bytes,
        skipped,
    })
}

/// Tells a person now and then how far it is.
struct Progress {
    writer: ExportWriter,
    said: Instant,
}

impl Write for Progress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        if self.said.elapsed() >= PROGRESS_EVERY {
            self.said = Instant::now();
            // When stderr is gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "exported {} MiB", self.writer.bytes() >> 20);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "file           {}", self.file)?;
        writeln!(f, "guest          {} {}", self.guest, self.version)?;
        writeln!(f, "module         {}", self.module)?;
        writeln!(f, "state version  {}", self.state_version)?;
        match self.index {
            Some(index) => writeln!(f, "index          {index}")?,
            None => writeln!(f, "index          before the first entry")?,
        }
        self.skipped.iter().try_for_each(|skipped| writeln!(f, "skipped        {skipped}"))?;
        writeln!(f, "bytes          {}", self.bytes)
    }
}
