//! The words after `inspect`.
//!
//! It takes the limits of a guest from where a node takes them, so that it finds what a node would find.

use super::{Args, Error, GUEST, Task, help_or, layered};
use crate::config::Config;
use crate::module::Module;
use clap::parser::ValueSource;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};
use std::ffi::OsString;

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
