//! The command line, the environment and the configuration file, and the words in which they say things.

use super::{Error, Task, parse};
use crate::config::units::{ByteSize, Count, Interval};
use crate::config::{Addresses, NtpServers};
use crate::fuzzing::scratch;
use crate::module::Module;
use crate::net::Address;
use std::ffi::{OsStr, OsString};
use std::fmt::{Debug, Display};
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;

/// Lines: `-` before a word of the command line, `=` before a variable of the environment, `:` before a value; the rest is
/// the configuration file.
///
/// It is a task or a mistake that is told in one line; a value means the same as it is shown.
pub fn options(data: &[u8]) {
    let mut words = vec![OsString::from("uhaha-server")];
    let mut environment = Vec::new();
    let mut file = Vec::new();
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        match text.split_first() {
            Some((b'-', word)) => words.push(OsStr::from_bytes(word).to_owned()),
            Some((b'=', variable)) => {
                let at = variable.iter().position(|byte| *byte == b'=').unwrap_or(variable.len());
                let (name, value) = variable.split_at(at);
                let value = value.strip_prefix(b"=").unwrap_or_default();
                environment.push((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned()));
            }
            Some((b':', value)) => drop(std::str::from_utf8(value).map(values)),
            _ => file.extend_from_slice(line),
        }
    }
    let dir = scratch();
    if !file.is_empty() {
        let path = dir.path().join("config");
        std::fs::write(&path, &file).expect("a file can be written");
        environment.push((OsString::from("UHAHA_CONFIG"), path.into()));
    }
    match parse(words, environment) {
        Ok(Task::Run(config)) => assert!(!config.addresses.is_empty()),
        Ok(_) => {}
        Err(error) => {
            let (Error::Usage(text) | Error::Environment { message: text, .. } | Error::File { message: text, .. }) =
                &error
            else {
                return;
            };
            assert!(!text.contains('\n'), "more than a line: {text}");
        }
    }
}

fn values(text: &str) {
    same::<ByteSize>(text);
    same::<Interval>(text);
    same::<Count>(text);
    same::<Address>(text);
    same::<Module>(text);
    for address in text.parse::<Addresses>().into_iter().flat_map(|addresses| addresses.0) {
        assert_eq!(address.to_string().parse().ok(), Some(address));
    }
    for server in text.parse::<NtpServers>().into_iter().flat_map(|servers| servers.0) {
        assert_eq!(server.to_string().parse().ok(), Some(server));
    }
}

fn same<T: FromStr + Display + Debug + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse().ok().as_ref(), Some(&value), "{value} means something else");
    }
}

#[cfg(test)]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let node = "-m\n-builtin:ticket\n---addr=127.0.0.1:11001,[::1]:0\n=UHAHA_MAX_CLIENTS=100\n=UHAHA_SYNC=false\n";
    let file =
        "max-clients = 100\njoin = [\"a:1\", \"b:2\"]\ntick = \"200ms\"\nnosync = true\n---module\n-builtin:kvdb\n";
    let values = ":1.5GiB\n:1h 30m\n:1_000\n:[::1]:80\n::80\n:builtin:kvdb\n:a.example,[::1]:123\n";
    vec![
        ("options/node", node.into()),
        ("options/file", file.into()),
        ("options/values", values.into()),
        ("options/inspect", b"-inspect\n-builtin:ticket\n---json\n---guest-memory\n-1GiB\n".to_vec()),
        ("options/replay", b"-replay\n---data\n-somewhere\n---from\n-7\n---trace\n".to_vec()),
    ]
}
