//! The file of users.

use super::file::{self, CATEGORIES};
use super::{DEFAULT, User, Users};
use crate::dispatch::table::Table;
use crate::guest::spec::{CommandSpec, Description, Kind};
use std::sync::LazyLock;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let command = |name: &str, kind| CommandSpec {
        name: name.to_owned(),
        kind,
        arity: -1,
        summary: String::new(),
        group: String::new(),
        arguments: Vec::new(),
    };
    let commands = vec![command("SET", Kind::Write), command("GET", Kind::Read)];
    let description = Description { name: "app".to_owned(), version: String::new(), state_version: 0, commands };
    Table::new(&description).expect("it declares no command of ours")
});

/// The text of a file of users. What is understood means the same when it is written anew.
pub fn users(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(parsed) = file::parse(text) else {
        Users::default().set(None, Some(text)).expect_err("it was refused");
        return;
    };
    let users = Users::default();
    users.set(None, Some(text)).expect("it was understood");
    assert_eq!(users.all().len(), parsed.len());
    let default = parsed.get(DEFAULT);
    assert_eq!(users.stranger().is_some(), default.is_some_and(|user| user.enabled && user.open));
    for user in parsed.values() {
        same_again(user);
        let with = |rule: &str| {
            let line = format!("{} {rule}", shown(user));
            let parsed = file::parse(&line).expect("a line with one more rule");
            parsed[&user.name].rights(&TABLE)
        };
        let (all, none) = (with("+@all"), with("-@all"));
        for at in 0..TABLE.rows().len() as u32 {
            assert!(all.may(at) && !none.may(at), "the last rule wins");
        }
        assert!(none.subcommands.is_empty(), "the last rule wins");
        for (category, _) in CATEGORIES {
            let rights = with(&format!("-@all +@{category}"));
            assert!(!rights.rows.iter().all(|may| *may), "{category} is not all");
        }
    }
}

/// The line of a user without its passwords, which are not shown.
fn shown(user: &User) -> String {
    user.line().replace(" #(hidden)", "")
}

fn same_again(user: &User) {
    let parsed = file::parse(&shown(user)).expect("a line that we wrote");
    let again = &parsed[&user.name];
    assert_eq!((again.enabled, again.open, &again.rules), (user.enabled, user.open, &user.rules));
    let (rights, same) = (user.rights(&TABLE), again.rights(&TABLE));
    assert_eq!((&same.rows, &same.subcommands), (&rights.rows, &rights.subcommands));
}

#[cfg(test)]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let argon2 = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$G8AGMzKTpRyQBcHxAJV7jGWYMF2GbDYkMO0BfoUKCqs";
    let file = format!(
        "# operators\nuser alice on {argon2} +@all -client|kill\nuser app on #{sha256} ~* &* -@admin +@read +get\n\nuser \
         default off nopass nocommands +config|get\n"
    );
    vec![("users/file", file.into_bytes()), ("users/keys", b"user a on ~k* >secret".to_vec())]
}
