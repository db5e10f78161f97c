//! The words after `inspect`, `replay` and `export`.
//!
//! All take the limits of a guest from where a node takes them, so that they find what a node would find.

use super::{Args, Error, GUEST, Task, help_or, layered};
use crate::config::Config;
use crate::config::units::ByteSize;
use crate::module::Module;
use clap::parser::ValueSource;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};
use std::ffi::OsString;
use std::path::PathBuf;

/// The limits of a guest begin so.
const LIMITS: &str = "guest-";

/// Tells what a module is made of and how it would be served, or why it would be refused.
#[derive(Parser)]
#[command(
    name = "uhaha-server inspect",
    override_usage = "uhaha-server inspect <PATH|builtin:NAME> [OPTIONS]",
    after_help = "Exit codes: 0 a node would serve it, 1 it would be refused, 2 wrong usage.",
    args_override_self = true,
    disable_help_flag = true,
    max_term_width = 110
)]
struct InspectArgs {
    /// The guest, as --module of a node takes it.
    #[arg(value_name = "PATH|builtin:NAME")]
    module: Module,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// Prints this help.
    #[arg(short, long, action = ArgAction::HelpShort)]
    help: Option<bool>,
}

/// What `inspect` is to do.
#[derive(Debug)]
pub struct Inspect {
    /// With the module, and the limits that it is loaded under.
    pub config: Box<Config>,
    pub json: bool,
}

pub(super) fn inspect(words: &[OsString], environment: Vec<(OsString, OsString)>) -> Result<Task, Error> {
    let (args, limits) = match parse::<InspectArgs>(words) {
        Ok(parsed) => parsed,
        Err(error) => return help_or(&error),
    };
    let mut node = layered(None, environment, limits)?.args;
    node.module = Some(args.module);
    Ok(Task::Inspect(Inspect { config: Box::new(Config::new(node)?), json: args.json }))
}

/// Applies the log of a node that is not running again, changes nothing, and tells what came of it; with another module,
/// the first reply that differs.
#[derive(Parser)]
#[command(
    name = "uhaha-server replay",
    override_usage = "uhaha-server replay --data <DIR> [OPTIONS]",
    after_help = "Exit codes: 0 replayed, and no reply differs; 1 one does, or it cannot be replayed; 2 wrong usage.",
    args_override_self = true,
    disable_help_flag = true,
    max_term_width = 110
)]
struct ReplayArgs {
    /// The data of the node: DIR/GUEST/ID, or a directory that has only that one in it.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The guest; without it, the one of the server's own that wrote the log. With another than wrote the log, both run,
    /// and the first reply that differs is told.
    #[arg(short, long, value_name = "PATH|builtin:NAME")]
    module: Option<Module>,
    /// The guest that wrote the log, if --module is another one and it is none of the server's own.
    #[arg(long, value_name = "PATH|builtin:NAME")]
    original: Option<Module>,
    /// Begins with the newest snapshot of this entry or one before it, not with the newest of all; 0 begins with the
    /// first entry.
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    /// Ends with this entry; without it, with the last one known to be committed.
    #[arg(long, value_name = "INDEX")]
    until: Option<u64>,
    /// Prints a line for each command, with its reply.
    #[arg(long)]
    trace: bool,
    /// Prints one JSON object, and one for each line of --trace before it.
    #[arg(long)]
    json: bool,
    /// Prints this help.
    #[arg(short, long, action = ArgAction::HelpShort)]
    help: Option<bool>,
}

/// What `replay` is to do.
#[derive(Debug)]
pub struct Replay {
    /// With the limits of the guest; its module is of no meaning.
    pub config: Box<Config>,
    pub data: PathBuf,
    pub module: Option<Module>,
    pub original: Option<Module>,
    pub from: Option<u64>,
    pub until: Option<u64>,
    pub trace: bool,
    pub json: bool,
}

pub(super) fn replay(words: &[OsString], environment: Vec<(OsString, OsString)>) -> Result<Task, Error> {
    let (args, limits) = match parse::<ReplayArgs>(words) {
        Ok(parsed) => parsed,
        Err(error) => return help_or(&error),
    };
    let mut node = layered(None, environment, limits)?.args;
    let module = args.module.or_else(|| node.module.clone());
    node.module = module.clone().or_else(|| Module::examples().next());
    let ReplayArgs { data, original, from, until, trace, json, .. } = args;
    let config = Box::new(Config::new(node)?);
    Ok(Task::Replay(Replay { config, data, module, original, from, until, trace, json }))
}

/// Has the guest of a node that is not running write its state, as it stands after the last entry known to be committed,
/// in a form of its own to a file, for --import of a new cluster. Changes nothing else.
#[derive(Parser)]
#[command(
    name = "uhaha-server export",
    override_usage = "uhaha-server export --data <DIR> --to <FILE> [OPTIONS]",
    after_help = "Exit codes: 0 exported, 1 it cannot be exported, 2 wrong usage.",
    args_override_self = true,
    disable_help_flag = true,
    max_term_width = 110
)]
struct ExportArgs {
    /// The data of the node: DIR/GUEST/ID, or a directory that has only that one in it.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The file to write; one that is there is replaced once the new one is whole.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// The guest that wrote the log; without it, the one of the server's own.
    #[arg(short, long, value_name = "PATH|builtin:NAME")]
    module: Option<Module>,
    /// Most bytes of state.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(EXPORT_BYTES_MAX))]
    max_bytes: ByteSize,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// Prints this help.
    #[arg(short, long, action = ArgAction::HelpShort)]
    help: Option<bool>,
}

/// Some times what fits a guest with a memory of 32 bits.
const EXPORT_BYTES_MAX: u64 = 16 << 30;

/// What `export` is to do.
#[derive(Debug)]
pub struct Export {
    /// With the limits of the guest; its module is of no meaning.
    pub config: Box<Config>,
    pub data: PathBuf,
    pub to: PathBuf,
    pub module: Option<Module>,
    pub bytes_max: u64,
    pub json: bool,
}

pub(super) fn export(words: &[OsString], environment: Vec<(OsString, OsString)>) -> Result<Task, Error> {
    let (args, limits) = match parse::<ExportArgs>(words) {
        Ok(parsed) => parsed,
        Err(error) => return help_or(&error),
    };
    let mut node = layered(None, environment, limits)?.args;
    let module = args.module.or_else(|| node.module.clone());
    node.module = module.clone().or_else(|| Module::examples().next());
    let ExportArgs { data, to, max_bytes: ByteSize(bytes_max), json, .. } = args;
    Ok(Task::Export(Export { config: Box::new(Config::new(node)?), data, to, module, bytes_max, json }))
}

/// The subcommand's own arguments, and the words that set limits.
fn parse<A: FromArgMatches + CommandFactory>(words: &[OsString]) -> Result<(A, Vec<OsString>), clap::Error> {
    let node = Args::command();
    let limits: Vec<clap::Arg> = node
        .get_arguments()
        .filter(|arg| arg.get_long().is_some_and(|name| name.starts_with(LIMITS)))
        .map(|arg| arg.clone().help_heading(GUEST))
        .collect();
    let command = A::command().args(&limits);
    let program = OsString::from(command.get_name());
    let matches = command.try_get_matches_from(std::iter::once(program).chain(words.iter().cloned()))?;
    let mut typed = Vec::new();
    for arg in &limits {
        let id = arg.get_id().as_str();
        let (Some(name), Some(ValueSource::CommandLine)) = (arg.get_long(), matches.value_source(id)) else { continue };
        for value in matches.get_raw(id).into_iter().flatten() {
            let mut word = OsString::from(format!("--{name}="));
            word.push(value);
            typed.push(word);
        }
    }
    Ok((A::from_arg_matches(&matches)?, typed))
}
