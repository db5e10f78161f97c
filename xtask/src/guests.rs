//! Builds the example guests: core modules for `wasm32-unknown-unknown` that carry their component type, which the
//! server makes components of. They are kept in the repository, so that nothing else needs a Rust with that target.

mod c;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

const TARGET: &str = "wasm32-unknown-unknown";
/// The largest that may go into the repository. Rust 1.85 writes a tenth more than the Rust of today.
const MODULE_BYTES_MAX: usize = 120_000;
/// What all modules in Rust are built from, relative to the root; tests and readmes are not among it.
const SDK_SOURCES: [&str; 4] =
    ["guest-sdk/rust/Cargo.toml", "guest-sdk/rust/macros", "guest-sdk/rust/src", "guest-sdk/rust/wit"];

/// A workspace of guests in Rust.
struct Workspace {
    /// Relative to the root, as is the folder that their modules are kept in.
    dir: &'static str,
    prebuilt: &'static str,
}

const EXAMPLES: Workspace = Workspace { dir: "examples", prebuilt: "examples/prebuilt" };
const BAD_GUESTS: Workspace = Workspace { dir: "tests/guests/rust", prebuilt: "tests/guests/prebuilt" };

/// `cargo xtask guests`
pub(crate) fn build() -> Result<()> {
    let root = root();
    EXAMPLES.build(&root)?;
    BAD_GUESTS.build(&root)?;
    c::build(&root)
}

/// Builds the examples as they are now and returns the folder with the modules; `examples/prebuilt` stays as it is.
pub(crate) fn build_fresh() -> Result<PathBuf> {
    let root = root();
    EXAMPLES.compile(&root, &root.join("target/guests"))
}

/// `cargo xtask guests --check`. Other compilers give other bytes, so a difference is told and is no failure.
pub(crate) fn check() -> Result<()> {
    let root = root();
    // From nothing: what an earlier build left would be compared with itself.
    let target_dir = tempfile::tempdir()?;
    EXAMPLES.check(&root, target_dir.path())?;
    BAD_GUESTS.check(&root, target_dir.path())?;
    c::check(&root, target_dir.path())
}

pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

impl Workspace {
    fn build(&self, root: &Path) -> Result<()> {
        let names = self.names(root)?;
        let prebuilt = root.join(self.prebuilt);
        let kept = prebuilt.join("sources.sha256");
        let sources = self.sources_hash(root, &names)?;
        let all_there = names.iter().all(|name| prebuilt.join(module(name)).exists());
        if all_there && fs::read_to_string(&kept).is_ok_and(|hash| hash.trim() == sources) {
            println!("{}: up to date", self.dir);
            return Ok(());
        }
        let built = self.compile(root, &root.join("target/guests"))?;
        fs::create_dir_all(&prebuilt)?;
        for name in &names {
            let bytes = fs::read(built.join(module(name)))?;
            ensure!(bytes.len() <= MODULE_BYTES_MAX, "{name} has {} bytes, more than {MODULE_BYTES_MAX}", bytes.len());
            fs::write(prebuilt.join(module(name)), &bytes)?;
            println!("{}: {}, {} bytes", self.dir, module(name), bytes.len());
        }
        // Compiling may have changed the lock file.
        fs::write(kept, self.sources_hash(root, &names)? + "\n")?;
        Ok(())
    }

    fn check(&self, root: &Path, target_dir: &Path) -> Result<()> {
        let built = self.compile(root, target_dir)?;
        for name in self.names(root)? {
            let bytes = fs::read(built.join(module(&name)))?;
            let kept = fs::read(root.join(self.prebuilt).join(module(&name))).unwrap_or_default();
            let verdict = if bytes == kept { "identical" } else { "different" };
            println!("{}: {}, {} bytes here, {} kept: {verdict}", self.dir, module(&name), bytes.len(), kept.len());
        }
        Ok(())
    }

    /// The guests, which are the folders with a manifest.
    fn names(&self, root: &Path) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(root.join(self.dir))? {
            let entry = entry?;
            if entry.path().join("Cargo.toml").exists() {
                names.push(entry.file_name().into_string().ok().context("a guest with a name that is no text")?);
            }
        }
        names.sort();
        Ok(names)
    }

    fn sources_hash(&self, root: &Path, names: &[String]) -> Result<String> {
        let dir = root.join(self.dir);
        let mut files = Vec::new();
        for source in SDK_SOURCES {
            collect_files(&root.join(source), &mut files)?;
        }
        for manifest in ["Cargo.lock", "Cargo.toml"] {
            collect_files(&dir.join(manifest), &mut files)?;
        }
        for name in names {
            collect_files(&dir.join(name).join("Cargo.toml"), &mut files)?;
            collect_files(&dir.join(name).join("src"), &mut files)?;
        }
        hash(root, files)
    }

    /// Builds all guests in `target_dir` and returns the folder that they are in.
    fn compile(&self, root: &Path, target_dir: &Path) -> Result<PathBuf> {
        let toolchain = Toolchain::find(root)?;
        println!("guests: building with {}", toolchain.origin);
        let began = Instant::now();
        let cargo_home = match env::var_os("CARGO_HOME") {
            Some(home) => PathBuf::from(home),
            None => env::home_dir().context("no home directory")?.join(".cargo"),
        };
        // Panics name their source files: without the places of this machine, and the same bytes on every machine.
        let flags = [(&cargo_home, "cargo"), (&root.to_owned(), "uhaha")]
            .map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display()))
            .join("\x1f");
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(["build", "--release", "--target", TARGET])
            .current_dir(root.join(self.dir))
            .env("CARGO_TARGET_DIR", target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", flags);
        if let Some(rustc) = toolchain.rustc {
            cargo.env("RUSTC", rustc);
        }
        ensure!(cargo.status()?.success(), "the guests do not build");
        println!("guests: built in {:.1} s", began.elapsed().as_secs_f64());
        Ok(target_dir.join(TARGET).join("release"))
    }
}

fn module(name: &str) -> String {
    format!("{}.wasm", name.replace('-', "_"))
}

/// One hash of all files. Their times say nothing after a checkout.
fn hash(root: &Path, mut files: Vec<PathBuf>) -> Result<String> {
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
        let bytes = fs::read(&file)?;
        hash.update(format!("{name}\n{}\n", bytes.len()));
        hash.update(bytes);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn collect_files(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        // The lock file is not there before the first build.
        files.extend(path.exists().then(|| path.to_owned()));
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        collect_files(&entry?.path(), files)?;
    }
    Ok(())
}

/// A Rust that has the target.
struct Toolchain {
    /// None is the one at hand.
    rustc: Option<PathBuf>,
    origin: String,
}

impl Toolchain {
    fn find(root: &Path) -> Result<Self> {
        if has_target()? {
            return Ok(Toolchain { rustc: None, origin: "the installed target".to_owned() });
        }
        let unpacked = root.join("target/wasm-rust");
        let unpacked_at = |origin: String| Toolchain { rustc: Some(unpacked.join("rustc")), origin };
        if unpacked.join("ready").exists() {
            return Ok(unpacked_at("Debian's Rust, unpacked before".to_owned()));
        }
        println!("guests: no {TARGET} here, trying rustup");
        if succeeds(Command::new("rustup").args(["target", "add", TARGET])) && has_target()? {
            return Ok(Toolchain { rustc: None, origin: "the target that rustup added".to_owned() });
        }
        if Path::new("/etc/debian_version").exists() && cfg!(target_arch = "x86_64") {
            for release in ["trixie", "bookworm"] {
                println!("guests: unpacking the Rust of Debian {release}, which takes a minute");
                let script = root.join("xtask/rust-wasm-debian.sh");
                let mut unpack = Command::new("sh");
                unpack.arg(script).arg(release).arg(&unpacked);
                if unpack.status().is_ok_and(|status| status.success()) {
                    return Ok(unpacked_at(format!("the Rust of Debian {release}")));
                }
            }
        }
        bail!("no Rust for {TARGET}: try `rustup target add {TARGET}`")
    }
}

/// Whether the Rust at hand has a standard library for the target.
fn has_target() -> Result<bool> {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output()?;
    let path = String::from_utf8(output.stdout)?;
    Ok(fs::read_dir(path.trim()).is_ok_and(|mut files| files.next().is_some()))
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
