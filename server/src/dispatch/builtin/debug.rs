//! `DEBUG`: for tests of this server, and in no server that is built to be used: this file is compiled in development
//! builds only.

use super::{ADMIN, Arg, Builtin, Call, Later, Run};
use crate::reply::Reply;

pub(super) const ROWS: &[Builtin] = &[Builtin {
    name: "DEBUG",
    arity: -2,
    flags: ADMIN,
    group: "server",
    summary: "Makes the server go wrong, for its tests",
    arguments: &[],
    run: Run::Family(MEMBERS),
}];

const MEMBERS: &[Builtin] = &[Builtin {
    name: "CORRUPT",
    arity: 3,
    flags: ADMIN,
    group: "",
    summary: "Flips a bit wherever the guest's memory has the pattern; returns in how many places",
    arguments: &[Arg::text("pattern")],
    run: Run::Later(corrupt),
}];

fn corrupt(call: Call<'_>) -> Later<'_> {
    Box::pin(async move {
        let [pattern] = call.args else { return Ok(Reply::Integer(0)) };
        Ok(Reply::Integer(call.dispatcher.backend.corrupt(pattern).await? as i64))
    })
}
