//! `ACL`: who may call what, as far as it may be seen. What changes it is the file of users.

use super::{ADMIN, Answer, Arg, Builtin, Call, PLAIN, Run, help, lossy};
use crate::dispatch::acl::{CATEGORIES, categories};
use crate::dispatch::error::err;
use crate::reply::Reply;

pub(super) const ROWS: &[Builtin] = &[Builtin {
    name: "ACL",
    arity: -2,
    flags: PLAIN,
    group: "connection",
    summary: "Shows users and what they may call",
    arguments: &[],
    run: Run::Family(MEMBERS),
}];

const fn member(
    name: &'static str,
    arity: i32,
    flags: &'static [&'static str],
    summary: &'static str,
    arguments: &'static [Arg],
    run: fn(Call<'_>) -> Answer,
) -> Builtin {
    Builtin { name, arity, flags, group: "", summary, arguments, run: Run::Now(run) }
}

const MEMBERS: &[Builtin] = &[
    member("WHOAMI", 2, PLAIN, "Returns the user of this connection", &[], |call| {
        Ok(Reply::bulk(call.client.user_name()))
    }),
    member("LIST", 2, ADMIN, "Returns the users and their rules, without their passwords", &[], |call| {
        let users = call.dispatcher.options.users.all();
        Ok(Reply::Array(users.iter().map(|user| Reply::bulk(user.line())).collect()))
    }),
    member("USERS", 2, ADMIN, "Returns the names of the users", &[], |call| {
        let users = call.dispatcher.options.users.all();
        Ok(Reply::Array(users.iter().map(|user| Reply::bulk(user.name.as_str())).collect()))
    }),
    member(
        "CAT",
        -2,
        PLAIN,
        "Returns the categories, or the commands of one",
        &[Arg::text("category").optional()],
        cat,
    ),
    member("HELP", 2, PLAIN, "Prints this help.", &[], |_| help("ACL", MEMBERS)),
];

fn cat(call: Call<'_>) -> Answer {
    let Some(category) = call.args.first().map(|category| lossy(category).to_ascii_lowercase()) else {
        return Ok(Reply::Array(CATEGORIES.iter().map(|(name, _)| Reply::bulk(*name)).collect()));
    };
    if !CATEGORIES.iter().any(|(name, _)| *name == category) {
        return Err(err(format!("Unknown category '{category}'")));
    }
    let rows = call.dispatcher.table.rows().iter().flat_map(|row| std::iter::once(row).chain(&row.subcommands));
    let rows = rows.filter(|row| categories(row).any(|of| of == category));
    Ok(Reply::Array(rows.map(|row| Reply::bulk(row.name.as_str())).collect()))
}
