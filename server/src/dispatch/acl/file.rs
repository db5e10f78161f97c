//! The file of users, in the words of Redis' ACL files.
//!
//! ```text
//! # the operators
//! user alice on $argon2id$v=19$m=19456,t=2,p=1$… +@all
//! # an application: the guest's commands, and what every connection needs
//! user app on #5e88… +@read +@write +@connection
//! user default off
//! ```
//!
//! Each line is a user: `on` or `off`, passwords as Argon2 hashes (`--hash-password` makes one) or as SHA-256 in hex,
//! `nopass`, and rules: `+` or `-` before a command, a `family|subcommand` or an `@category`, of which later ones win.
//! Rules about keys and channels are refused: the server does not know the guest's keys.

use super::hash::Stored;
use super::{Rule, User, What};
use crate::dispatch::table::{Row, Target};
use crate::guest::spec::Kind;
use std::collections::BTreeMap;

/// A name and whether a command is in it.
type Category = (&'static str, fn(&Row) -> bool);

/// The categories that there are besides `all`, and what is in them.
pub(in crate::dispatch) const CATEGORIES: [Category; 5] = [
    ("admin", |row| row.flags.contains(&"admin")),
    ("connection", |row| row.group == "connection" && !row.flags.contains(&"admin")),
    ("read", |row| matches!(row.target, Target::Guest(Kind::Read))),
    ("server", |row| matches!(row.target, Target::Builtin(_)) && !row.flags.contains(&"admin")),
    ("write", |row| matches!(row.target, Target::Guest(Kind::Write | Kind::Intermediate))),
];

/// Why the file is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("line {0}: expected `user NAME RULE …`")]
    NoUser(usize),
    #[error("line {0}: user {1} is there twice")]
    Twice(usize, String),
    #[error("line {0}: the hash of a password is malformed")]
    Hash(usize),
    #[error("line {0}: there is no category {1}; ACL CAT lists them")]
    Category(usize, String),
    #[error("line {0}: passwords stand here as hashes only; --hash-password makes one")]
    PlainPassword(usize),
    #[error("line {0}: {1:?} limits keys or channels, which the server does not know")]
    Keys(usize, String),
    #[error("line {0}: {1:?} is no rule")]
    Rule(usize, String),
}

/// The categories of a command, `all` among them.
pub(in crate::dispatch) fn categories(row: &Row) -> impl Iterator<Item = &'static str> + '_ {
    let own = CATEGORIES.iter().filter(|(_, holds)| holds(row)).map(|(name, _)| *name);
    std::iter::once("all").chain(own)
}

pub(super) fn parse(text: &str) -> Result<BTreeMap<String, User>, Error> {
    let mut users = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split_whitespace();
        let Some(first) = words.next().filter(|word| !word.starts_with('#')) else { continue };
        let name = words.next().filter(|_| first == "user").ok_or(Error::NoUser(number))?;
        let mut user =
            User { name: name.to_owned(), enabled: false, passwords: Vec::new(), open: false, rules: Vec::new() };
        for word in words {
            apply(&mut user, word, number)?;
        }
        if users.insert(name.to_owned(), user).is_some() {
            return Err(Error::Twice(number, name.to_owned()));
        }
    }
    Ok(users)
}

fn apply(user: &mut User, word: &str, number: usize) -> Result<(), Error> {
    let mut rule = |allow, what| user.rules.push(Rule { allow, what });
    match word {
        "on" => user.enabled = true,
        "off" => user.enabled = false,
        "nopass" => user.open = true,
        "allcommands" => rule(true, What::Category("all".to_owned())),
        "nocommands" => rule(false, What::Category("all".to_owned())),
        // What every user has anyway.
        "~*" | "allkeys" | "&*" | "allchannels" => {}
        _ => match word.split_at_checked(1) {
            Some(("$", _)) => user.passwords.push(Stored::argon2(word).ok_or(Error::Hash(number))?),
            Some(("#", hex)) => user.passwords.push(Stored::sha256(hex).ok_or(Error::Hash(number))?),
            Some((">" | "<", _)) => return Err(Error::PlainPassword(number)),
            Some(("~" | "%" | "&", _)) => return Err(Error::Keys(number, word.to_owned())),
            Some((sign @ ("+" | "-"), what)) if !what.is_empty() => {
                let what = what.to_ascii_lowercase();
                let what = match what.strip_prefix('@') {
                    Some(name) if name == "all" || CATEGORIES.iter().any(|(known, _)| *known == name) => {
                        What::Category(name.to_owned())
                    }
                    Some(name) => return Err(Error::Category(number, name.to_owned())),
                    None => What::Command(what),
                };
                rule(sign == "+", what);
            }
            _ => return Err(Error::Rule(number, word.to_owned())),
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::acl::hash_password;

    #[test]
    fn every_mistake_is_named_with_its_line() {
        for (text, error) in [
            ("\n# x\nuser\n", Error::NoUser(3)),
            ("alice on", Error::NoUser(1)),
            ("user a on\nuser a off", Error::Twice(2, "a".into())),
            ("user a on $argon2id$nonsense", Error::Hash(1)),
            ("user a on #abc", Error::Hash(1)),
            ("user a on >secret", Error::PlainPassword(1)),
            ("user a on +@nope", Error::Category(1, "nope".into())),
            ("user a on ~k*", Error::Keys(1, "~k*".into())),
            ("user a on maybe", Error::Rule(1, "maybe".into())),
        ] {
            assert_eq!(parse(text).unwrap_err(), error, "{text}");
        }
    }

    #[tokio::test]
    async fn passwords_are_checked_by_their_hashes() {
        let argon2 = hash_password("slow").unwrap();
        let sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"; // "secret"
        let users = crate::dispatch::Users::default();
        let file = format!("user alice on {argon2} +@all\nuser bob on #{sha256} +@read\nuser eve off nopass +@all");
        users.set(None, Some(&file)).unwrap();
        for (name, password, right) in [
            ("alice", "slow", true),
            ("alice", "secret", false),
            ("bob", "secret", true),
            ("bob", "", false),
            ("eve", "", false),
            ("nobody", "slow", false),
            ("default", "", false),
        ] {
            let user = users.authenticate(name.as_bytes(), password.as_bytes()).await.unwrap();
            assert_eq!(user.is_some(), right, "{name} {password}");
        }
        assert!(users.stranger().is_none(), "a file without an open default user lets nobody in");
        assert!(users.all().iter().all(|user| !user.line().contains("argon2") && !user.line().contains(sha256)));
    }
}
