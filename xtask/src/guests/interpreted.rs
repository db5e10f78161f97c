//! The examples in JavaScript and Python, each with the interpreter in it. They are large, and no two builds give the same
//! bytes, so they are not kept in the repository: the compilers come from npm and PyPI, and all is put beside the build.

use super::{collect_files, hash, root};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

struct Example {
    /// Relative to the root, as is the folder that it is built in.
    source: &'static str,
    dir: &'static str,
    module: &'static str,
    /// Package and version.
    compiler: &'static str,
    /// Installs the compiler into the folder, and compiles into a file there.
    install: fn(&Example, dir: &Path) -> Result<()>,
    compile: fn(&Example, root: &Path, dir: &Path) -> Command,
}

const JAVASCRIPT: Example = Example {
    source: "examples/js/ticket",
    dir: "target/guests/js",
    module: "ticket_js.wasm",
    compiler: "componentize-qjs@0.4.5",
    install: |example, dir| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]);
        run(npm.arg("--prefix").arg(dir).arg(example.compiler))
    },
    compile: |example, root, dir| {
        let mut compile = Command::new(dir.join("node_modules/.bin/componentize-qjs"));
        compile.arg("--js").arg(root.join(example.source).join("ticket.js")).arg("--wit").arg(root.join("wit"));
        compile.args(["--world", "machine", "--sync", "--opt-size", "--output"]).arg(dir.join(example.module));
        compile
    },
};

const PYTHON: Example = Example {
    source: "examples/python/ticket",
    dir: "target/guests/python",
    module: "ticket_python.wasm",
    compiler: "componentize-py==0.25.1",
    install: |example, dir| {
        run(Command::new("python3").args(["-m", "venv"]).arg(dir.join("venv")))?;
        let mut pip = Command::new(dir.join("venv/bin/python"));
        run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", example.compiler]))
    },
    compile: |example, root, dir| {
        let mut compile = Command::new(dir.join("venv/bin/componentize-py"));
        compile.arg("--wit-path").arg(root.join("wit")).args(["--world", "machine", "--quiet", "componentize"]);
        compile.arg("--python-path").arg(root.join(example.source)).args(["app", "--output"]);
        compile.arg(dir.join(example.module));
        compile
    },
};

/// `cargo xtask guests js`
pub(crate) fn javascript() -> Result<()> {
    JAVASCRIPT.build()
}

/// `cargo xtask guests python`
pub(crate) fn python() -> Result<()> {
    PYTHON.build()
}

impl Example {
    /// Builds the module, unless that has been done with these sources and this compiler.
    fn build(&self) -> Result<()> {
        let root = root();
        let (dir, built) = (root.join(self.dir), root.join(self.dir).join("built"));
        let mut sources = Vec::new();
        collect_files(&root.join(self.source), &mut sources)?;
        collect_files(&root.join("wit"), &mut sources)?;
        let wanted = format!("{} {}\n", self.compiler, hash(&root, sources)?);
        if fs::read_to_string(&built).is_ok_and(|built| built == wanted) {
            println!("{}: up to date", self.source);
            return Ok(());
        }
        fs::create_dir_all(&dir)?;
        (self.install)(self, &dir).with_context(|| format!("{} could not be installed", self.compiler))?;
        run(&mut (self.compile)(self, &root, &dir)).with_context(|| format!("{} does not compile", self.source))?;
        println!("{}: {}, {} bytes", self.source, self.module, fs::metadata(dir.join(self.module))?.len());
        // Last, so that a build that was cut short is done again.
        fs::write(built, wanted)?;
        Ok(())
    }
}

fn run(command: &mut Command) -> Result<()> {
    // Python would leave its compiled code beside the source.
    let status = command.env("PYTHONDONTWRITEBYTECODE", "1").status();
    let status = status.with_context(|| format!("{} does not run", command.get_program().to_string_lossy()))?;
    ensure!(status.success(), "{} failed", command.get_program().to_string_lossy());
    Ok(())
}
