//! The environment and the configuration file, as words of a command line.
//!
//! Each value is parsed alone first, so that a mistake is reported with the name of the variable or the key.

use super::{Args, Error, one_line, parse_words};
use clap::{ArgAction, CommandFactory};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

const PREFIX: &str = "UHAHA_";
/// Asked for on the command line only.
const TYPED_ONLY: &[&str] = &["hash-password", "help", "version"];
/// A file that named another could name itself.
const CONFIG: &str = "config";
/// Flags that are each other's opposite, so that `sync = false` has a meaning.
const OPPOSITES: &[(&str, &str)] = &[("sync", "nosync"), ("openreads", "noopenreads")];

/// Options by their long names, with what is to be put on the command line.
#[derive(Debug, Default)]
pub(super) struct Layer {
    words: Vec<(String, OsString)>,
    /// Flags that are said to be off, whatever a lower layer says.
    off: Vec<String>,
    pub(super) config: Option<PathBuf>,
    /// Variables that look like ours and are not.
    pub(super) unknown: Vec<String>,
}

impl Layer {
    /// What holds when `above` wins over this one.
    pub(super) fn under(mut self, above: Layer) -> Layer {
        self.words.retain(|(name, _)| !above.off.contains(name));
        self.words.extend(above.words);
        self
    }

    pub(super) fn words(self) -> impl Iterator<Item = OsString> {
        self.words.into_iter().map(|(_, word)| word)
    }

    fn set(&mut self, name: &str, is_flag: bool, value: &OsStr) -> Result<(), String> {
        let word = if is_flag {
            match truth(value).ok_or("expected true or false")? {
                true => format!("--{name}").into(),
                false => {
                    self.off.push(name.to_owned());
                    match opposite(name) {
                        Some(other) => format!("--{other}").into(),
                        None => return Ok(()),
                    }
                }
            }
        } else {
            let mut word = OsString::from(format!("--{name}="));
            word.push(value);
            word
        };
        parse_words(std::slice::from_ref(&word)).map_err(|error| one_line(&error))?;
        self.words.push((name.to_owned(), word));
        Ok(())
    }
}

pub(super) fn from_environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Layer, Error> {
    // In the order of the options, not of the environment, which has none.
    let mut variables: BTreeMap<OsString, OsString> = variables.into_iter().collect();
    let mut layer = Layer::default();
    for (name, is_flag) in options() {
        let variable = format!("{PREFIX}{}", name.replace('-', "_").to_ascii_uppercase());
        // Empty means not set: that is how a wrapper script takes a variable away.
        let Some(value) = variables.remove(OsStr::new(&variable)).filter(|value| !value.is_empty()) else {
            continue;
        };
        if name == CONFIG {
            layer.config = Some(PathBuf::from(value));
            continue;
        }
        layer.set(&name, is_flag, &value).map_err(|message| Error::Environment { variable, message })?;
    }
    // Not refused: Kubernetes sets such variables for a service that is called uhaha.
    let ours = variables.into_keys().filter_map(|name| name.into_string().ok());
    layer.unknown = ours.filter(|name| name.starts_with(PREFIX)).collect();
    Ok(layer)
}

pub(super) fn from_file(path: &Path) -> Result<Layer, Error> {
    let shown = || path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|error| Error::ReadFile { path: shown(), message: error.to_string() })?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let message = error.message().trim().replace('\n', " ");
        let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        Error::File { path: shown(), message: format!("line {line}: {message}") }
    })?;
    let mut layer = Layer::default();
    for (key, value) in &table {
        let wrong = |message: &str| Error::File { path: shown(), message: format!("{key}: {message}") };
        let known = options().into_iter().find(|(name, _)| name == key && name != CONFIG);
        let (name, is_flag) = known.ok_or_else(|| wrong("there is no such option"))?;
        let value = plain(value).ok_or_else(|| wrong("expected text, a number, true or false, or a list of texts"))?;
        layer.set(&name, is_flag, OsStr::new(&value)).map_err(|message| wrong(&message))?;
    }
    Ok(layer)
}

/// All long names that a variable or a key may have, and which of them are flags without a value.
fn options() -> Vec<(String, bool)> {
    let command = Args::command();
    let named = command.get_arguments().filter_map(|arg| {
        let name = arg.get_long()?.to_owned();
        Some((name, matches!(arg.get_action(), ArgAction::SetTrue)))
    });
    named.filter(|(name, _)| !TYPED_ONLY.contains(&name.as_str())).collect()
}

fn opposite(name: &str) -> Option<&'static str> {
    OPPOSITES.iter().find_map(|(one, other)| match name {
        _ if name == *one => Some(*other),
        _ if name == *other => Some(*one),
        _ => None,
    })
}

fn truth(value: &OsStr) -> Option<bool> {
    match value.to_str()?.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A TOML value as it would be typed; a list with commas.
fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(value) => Some(value.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
