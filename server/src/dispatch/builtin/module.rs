//! `MODULE`: which guest this node runs.

use super::{Answer, Builtin, Call, PLAIN, Run, help};
use crate::guest::spec::ModuleInfo;
use crate::reply::Reply;

pub(super) const ROWS: &[Builtin] = &[Builtin {
    name: "MODULE",
    arity: -2,
    flags: PLAIN,
    group: "server",
    summary: "Tells about the modules that the cluster knows",
    arguments: &[],
    run: Run::Family(MEMBERS),
}];

const fn member(name: &'static str, summary: &'static str, run: fn(Call<'_>) -> Answer) -> Builtin {
    Builtin { name, arity: 2, flags: PLAIN, group: "", summary, arguments: &[], run: Run::Now(run) }
}

const MEMBERS: &[Builtin] = &[
    member("INFO", "Returns what the module is that the cluster runs", |call| {
        Ok(Reply::fields(fields(call.dispatcher.backend.module())))
    }),
    member("LIST", "Returns the modules and which of them is active", |call| {
        let mut fields = fields(call.dispatcher.backend.module());
        fields.push(("active", truth(true)));
        Ok(Reply::Array(vec![Reply::fields(fields)]))
    }),
    member("HELP", "Prints this help.", |_| help("MODULE", MEMBERS)),
];

fn fields(module: ModuleInfo) -> Vec<(&'static str, Reply)> {
    let description = &module.description;
    vec![
        ("name", Reply::bulk(&description.name)),
        ("version", Reply::bulk(&description.version)),
        ("hash", Reply::bulk(module.hash)),
        ("size", Reply::bulk(module.bytes.to_string())),
        ("commands", Reply::bulk(description.commands.len().to_string())),
        ("batch", truth(module.batch)),
        ("tick", truth(module.tick)),
        ("portable", truth(module.portable)),
        ("state_version", Reply::bulk(description.state_version.to_string())),
        ("engine", Reply::bulk(module.engine)),
    ]
}

fn truth(value: bool) -> Reply {
    Reply::bulk(value.to_string())
}
