//! `COMMAND`: what can be called, ours and the guest's alike, in the shapes that client libraries and redis-cli read.

use super::{Answer, Arg, Builtin, Call, PLAIN, Run, help, is};
use crate::dispatch::error::{err, syntax};
use crate::dispatch::glob;
use crate::dispatch::table::{Parameter, Row, Target};
use crate::reply::{ErrorReply, Reply};

pub(super) const ROWS: &[Builtin] = &[Builtin {
    name: "COMMAND",
    arity: -1,
    flags: PLAIN,
    group: "server",
    summary: "Describes all commands",
    arguments: &[],
    run: Run::FamilyOr(MEMBERS, |call| Ok(Reply::Array(call.dispatcher.table.rows().iter().map(described).collect()))),
}];

const fn member(
    name: &'static str,
    arity: i32,
    summary: &'static str,
    arguments: &'static [Arg],
    run: fn(Call<'_>) -> Answer,
) -> Builtin {
    Builtin { name, arity, flags: PLAIN, group: "", summary, arguments, run: Run::Now(run) }
}

const FILTERS: &[Arg] = &[
    Arg::text("module-name").after("MODULE"),
    Arg::text("category").after("ACLCAT"),
    Arg::text("pattern").after("PATTERN"),
];
const NAMES: &[Arg] = &[Arg::text("command-name").optional().multiple()];

const MEMBERS: &[Builtin] = &[
    member("COUNT", 2, "Counts the commands", &[], |call| {
        Ok(Reply::Integer(call.dispatcher.table.rows().len() as i64))
    }),
    member("LIST", -2, "Lists the names", &[Arg::one_of("filterby", FILTERS).after("FILTERBY").optional()], list),
    member("INFO", -2, "Describes the named commands, or all", NAMES, info),
    member("DOCS", -2, "Documents the named commands, or all", NAMES, docs),
    member("GETKEYS", -3, "Returns the keys in a command", &[Arg::text("command"), Arg::text("arg").multiple()], keys),
    member("HELP", 2, "Prints this help.", &[], |_| help("COMMAND", MEMBERS)),
];

fn list(call: Call<'_>) -> Answer {
    let rows = call.dispatcher.table.rows().iter();
    let fits: Box<dyn Fn(&Row) -> bool> = match call.args {
        [] => Box::new(|_| true),
        [filter, by, value] if is(filter, "FILTERBY") => match () {
            () if is(by, "PATTERN") => Box::new(|row| glob::matches(value, row.name.as_bytes())),
            () if is(by, "ACLCAT") => Box::new(|row| categories(row).iter().any(|category| is(value, &category[1..]))),
            // There are no modules in Redis' sense.
            () if is(by, "MODULE") => Box::new(|_| false),
            () => return Err(syntax()),
        },
        _ => return Err(syntax()),
    };
    Ok(Reply::Array(rows.filter(|row| fits(row)).map(|row| Reply::bulk(row.name.as_str())).collect()))
}

fn info(call: Call<'_>) -> Answer {
    let table = &call.dispatcher.table;
    Ok(Reply::Array(match call.args {
        [] => table.rows().iter().map(described).collect(),
        names => names.iter().map(|name| table.find_full(name).map_or(Reply::Null, described)).collect(),
    }))
}

fn docs(call: Call<'_>) -> Answer {
    let table = &call.dispatcher.table;
    let rows: Vec<&Row> = match call.args {
        [] => table.rows().iter().collect(),
        names => names.iter().filter_map(|name| table.find_full(name)).collect(),
    };
    Ok(Reply::Map(rows.into_iter().map(|row| (Reply::bulk(row.name.as_str()), documented(row))).collect()))
}

fn keys(call: Call<'_>) -> Answer {
    let row = call.args.first().and_then(|name| call.dispatcher.table.find(name));
    let (_, row) = row.ok_or_else(|| err("Invalid command specified"))?;
    if row.keys.0 == 0 {
        return Err(err("The command has no key arguments"));
    }
    if !row.arity_fits(call.args.len()) {
        return Err(err("Invalid number of arguments specified for command"));
    }
    match row.keys_of(call.args) {
        keys if keys.is_empty() => Err::<Reply, ErrorReply>(err("The command has no key arguments")),
        keys => Ok(Reply::Array(keys.into_iter().cloned().map(Reply::Bulk).collect())),
    }
}

/// The ten fields of `COMMAND INFO`.
fn described(row: &Row) -> Reply {
    let (first, last, step) = row.keys;
    Reply::Array(vec![
        Reply::bulk(row.name.as_str()),
        Reply::Integer(i64::from(row.arity)),
        words(row.flags.iter().copied()),
        Reply::Integer(first),
        Reply::Integer(last),
        Reply::Integer(step),
        words(categories(row)),
        Reply::Array(vec![]),
        Reply::Array(key_specs(row)),
        Reply::Array(row.subcommands.iter().map(described).collect()),
    ])
}

fn words(words: impl IntoIterator<Item = &'static str>) -> Reply {
    Reply::Set(words.into_iter().map(|word| Reply::Simple(word.into())).collect())
}

fn categories(row: &Row) -> Vec<&'static str> {
    let mut categories = Vec::new();
    for (flag, category) in
        [("write", "@write"), ("readonly", "@read"), ("fast", "@fast"), ("admin", "@admin"), ("admin", "@dangerous")]
    {
        if row.flags.contains(&flag) {
            categories.push(category);
        }
    }
    if row.group == "connection" && matches!(row.target, Target::Builtin(_)) {
        categories.push("@connection");
    }
    categories
}

/// Where the keys are, in the form of Redis 7, for clients which do not look at first, last and step.
fn key_specs(row: &Row) -> Vec<Reply> {
    let (first, last, step) = row.keys;
    if first == 0 {
        return Vec::new();
    }
    // Counted from the first key, or from the end of the command if negative.
    let last = if last < 0 { last } else { last - first };
    let access = if row.flags.contains(&"write") { ["RW", "update"] } else { ["RO", "access"] };
    let typed = |name: &str, spec| Reply::fields([("type", Reply::bulk(name)), ("spec", spec)]);
    vec![Reply::fields([
        ("flags", words(access)),
        ("begin_search", typed("index", Reply::fields([("index", Reply::Integer(first))]))),
        (
            "find_keys",
            typed(
                "range",
                Reply::fields([
                    ("lastkey", Reply::Integer(last)),
                    ("keystep", Reply::Integer(step)),
                    ("limit", Reply::Integer(0)),
                ]),
            ),
        ),
    ])]
}

/// What redis-cli shows as hint and help.
fn documented(row: &Row) -> Reply {
    let mut fields = vec![
        ("summary", Reply::bulk(row.summary.as_str())),
        ("since", Reply::bulk(row.since.as_str())),
        ("group", Reply::bulk(row.group.as_str())),
    ];
    if !row.arguments.is_empty() {
        fields.push(("arguments", Reply::Array(row.arguments.iter().map(parameter).collect())));
    }
    if !row.subcommands.is_empty() {
        let subcommands = row.subcommands.iter().map(|sub| (Reply::bulk(sub.name.as_str()), documented(sub))).collect();
        fields.push(("subcommands", Reply::Map(subcommands)));
    }
    Reply::fields(fields)
}

fn parameter(parameter: &Parameter) -> Reply {
    let mut fields = vec![
        ("name", Reply::bulk(parameter.name.as_str())),
        ("type", Reply::bulk(parameter.parameter_type)),
        ("display_text", Reply::bulk(parameter.name.as_str())),
    ];
    if parameter.parameter_type == "key" {
        fields.push(("key_spec_index", Reply::Integer(0)));
    }
    if !parameter.token.is_empty() {
        fields.push(("token", Reply::bulk(parameter.token.as_str())));
    }
    let flags = [("optional", parameter.optional), ("multiple", parameter.multiple)];
    let flags: Vec<&'static str> = flags.iter().filter(|(_, set)| *set).map(|(flag, _)| *flag).collect();
    if !flags.is_empty() {
        fields.push(("flags", words(flags)));
    }
    if !parameter.choices.is_empty() {
        fields.push(("arguments", Reply::Array(parameter.choices.iter().map(self::parameter).collect())));
    }
    Reply::fields(fields)
}
