//! Builds the guests of examples and tests: core modules for `wasm32-unknown-unknown` that carry their component type,
//! which the server makes components of. They are kept in the repository, so that nothing else needs a Rust with that
//! target.

mod c;
mod interpreted;

pub(crate) use interpreted::{javascript, python};

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

const TARGET: &str = "wasm32-unknown-unknown";
/// For guests that are to use WASI, which come out as components.
const WASI_TARGET: &str = "wasm32-wasip2";
const WASI_GUESTS: [&str; 1] = ["teller"];
/// The largest that may go into the repository. Rust 1.85 writes a tenth more than the Rust of today.
const MODULE_BYTES_MAX: usize = 120_000;
/// With an adapter to WASI 0.2 in it.
const WASI_MODULE_BYTES_MAX: usize = 160_000;
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
    let target_dir = root.join("target/guests");
    EXAMPLES.compile(&root, &target_dir)?;
    Ok(target_dir.join(TARGET).join("release"))
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
        let target_dir = root.join("target/guests");
        self.compile(root, &target_dir)?;
        fs::create_dir_all(&prebuilt)?;
        for name in &names {
            let bytes = fs::read(built(&target_dir, name))?;
            let most = if target_of(name) == TARGET { MODULE_BYTES_MAX } else { WASI_MODULE_BYTES_MAX };
            ensure!(bytes.len() <= most, "{name} has {} bytes, more than {most}", bytes.len());
            fs::write(prebuilt.join(module(name)), &bytes)?;
            println!("{}: {}, {} bytes", self.dir, module(name), bytes.len());
        }
        // Compiling may have changed the lock file.
        fs::write(kept, self.sources_hash(root, &names)? + "\n")?;
        Ok(())
    }

    fn check(&self, root: &Path, target_dir: &Path) -> Result<()> {
        self.compile(root, target_dir)?;
        for name in self.names(root)? {
            let bytes = fs::read(built(target_dir, &name))?;
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

    /// Builds all guests in `target_dir`.
    fn compile(&self, root: &Path, target_dir: &Path) -> Result<()> {
        let names = self.names(root)?;
        for target in [TARGET, WASI_TARGET] {
            let names: Vec<&String> = names.iter().filter(|name| target_of(name) == target).collect();
            if !names.is_empty() {
                self.compile_for(target, &names, root, target_dir)?;
            }
        }
        Ok(())
    }

    fn compile_for(&self, target: &str, names: &[&String], root: &Path, target_dir: &Path) -> Result<()> {
        let toolchain = Toolchain::find(root, target)?;
        println!("guests: building for {target} with {}", toolchain.origin);
        let began = Instant::now();
        let cargo_home = match env::var_os("CARGO_HOME") {
            Some(home) => PathBuf::from(home),
            None => env::home_dir().context("no home directory")?.join(".cargo"),
        };
        // Panics name their source files: without the places of this machine, and the same bytes on every machine.
        let flags = [(&cargo_home, "cargo"), (&root.to_owned(), "uhaha")]
            .map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display()))
            .join("\x1f");
        let mut cargo = crate::cargo::command();
        cargo
            .args(["build", "--release", "--target", target])
            .args(names.iter().flat_map(|name| ["--package", name.as_str()]))
            .current_dir(root.join(self.dir))
            .env("CARGO_TARGET_DIR", target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", flags);
        if let Some(rustc) = toolchain.rustc {
            cargo.env("RUSTC", rustc);
        }
        ensure!(cargo.status()?.success(), "the guests do not build");
        println!("guests: built in {:.1} s", began.elapsed().as_secs_f64());
        Ok(())
    }
}

fn target_of(name: &str) -> &'static str {
    if WASI_GUESTS.contains(&name) { WASI_TARGET } else { TARGET }
}

/// Where a guest is after it was built.
fn built(target_dir: &Path, name: &str) -> PathBuf {
    target_dir.join(target_of(name)).join("release").join(module(name))
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
    fn find(root: &Path, target: &str) -> Result<Self> {
        if has_target(target)? {
            return Ok(Toolchain { rustc: None, origin: "the installed target".to_owned() });
        }
        let unpacked = root.join("target/wasm-rust");
        let unpacked_at = |origin: String| Toolchain { rustc: Some(unpacked.join("rustc")), origin };
        if unpacked.join("ready").exists() && unpacked.join("usr/lib/rustlib").join(target).exists() {
            return Ok(unpacked_at("Debian's Rust, unpacked before".to_owned()));
        }
        println!("guests: no {target} here, trying rustup");
        if succeeds(Command::new("rustup").args(["target", "add", target])) && has_target(target)? {
            return Ok(Toolchain { rustc: None, origin: "the target that rustup added".to_owned() });
        }
        if Path::new("/etc/debian_version").exists() && cfg!(target_arch = "x86_64") {
            let releases: &[&str] = if target == TARGET { &["trixie", "bookworm"] } else { &["trixie"] };
            for release in releases {
                println!("guests: unpacking the Rust of Debian {release}, which takes a minute");
                let script = root.join("xtask/rust-wasm-debian.sh");
                let mut unpack = Command::new("sh");
                unpack.arg(script).arg(release).arg(&unpacked);
                if unpack.status().is_ok_and(|status| status.success()) {
                    return Ok(unpacked_at(format!("the Rust of Debian {release}")));
                }
            }
        }
        bail!("no Rust for {target}: try `rustup target add {target}`")
    }
}

/// Whether the Rust at hand has a standard library for the target.
fn has_target(target: &str) -> Result<bool> {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output()?;
    let path = String::from_utf8(output.stdout)?;
    Ok(fs::read_dir(path.trim()).is_ok_and(|mut files| files.next().is_some()))
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
