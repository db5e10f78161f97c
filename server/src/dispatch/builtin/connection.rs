//! What a connection says about itself: `PING ECHO QUIT RESET AUTH HELLO SELECT`.

use super::{Answer, Arg, Builtin, Call, FAST, Later, Run, STRANGER, integer, is, lossy};
use crate::dispatch::acl::{Busy, DEFAULT};
use crate::dispatch::error::{err, not_an_integer, syntax, wrong_arity};
use crate::dispatch::subscriptions::Subscriptions;
use crate::dispatch::{Client, Dispatcher, Resp};
use crate::reply::{ErrorCode, ErrorReply, Reply};
use crate::seldom::Seldom;

static FAILED: Seldom = Seldom::new();

/// The Redis whose dialect we speak: client libraries choose by it what to send.
pub(super) const REDIS_VERSION: &str = "7.2.0";

pub(super) const ROWS: &[Builtin] = &[
    Builtin {
        name: "PING",
        arity: -1,
        flags: FAST,
        group: "connection",
        summary: "Returns PONG, or the message",
        arguments: &[Arg::text("message").optional()],
        run: Run::Now(ping),
    },
    Builtin {
        name: "ECHO",
        arity: 2,
        flags: FAST,
        group: "connection",
        summary: "Returns the message",
        arguments: &[Arg::text("message")],
        run: Run::Now(|call| Ok(Reply::Bulk(call.args[0].clone()))),
    },
    Builtin {
        name: "QUIT",
        arity: -1,
        flags: STRANGER,
        group: "connection",
        summary: "Closes the connection",
        arguments: &[],
        run: Run::Now(quit),
    },
    Builtin {
        name: "RESET",
        arity: 1,
        flags: STRANGER,
        group: "connection",
        summary: "Puts the connection back to how it began",
        arguments: &[],
        run: Run::Now(reset),
    },
    Builtin {
        name: "AUTH",
        arity: -2,
        flags: STRANGER,
        group: "connection",
        summary: "Authenticates the connection",
        arguments: &[Arg::text("username").optional(), Arg::text("password")],
        run: Run::Later(auth),
    },
    Builtin {
        name: "HELLO",
        arity: -1,
        flags: STRANGER,
        group: "connection",
        summary: "Chooses the protocol version and tells about the server",
        arguments: &[
            Arg::integer("protover").optional(),
            Arg::text("username password").after("AUTH").optional(),
            Arg::text("clientname").after("SETNAME").optional(),
        ],
        run: Run::Later(hello),
    },
    Builtin {
        name: "SELECT",
        arity: 2,
        flags: FAST,
        group: "connection",
        summary: "Chooses the database, of which there is one: 0",
        arguments: &[Arg::integer("index")],
        run: Run::Now(select),
    },
];

fn ping(call: Call<'_>) -> Answer {
    match call.args {
        [] | [_] if call.client.is_subscribed() && call.client.resp() == Resp::V2 => {
            let message = call.args.first().cloned().unwrap_or_default();
            Ok(Reply::Array(vec![Reply::bulk("pong"), Reply::Bulk(message)]))
        }
        [] => Ok(Reply::Simple("PONG".into())),
        [message] => Ok(Reply::Bulk(message.clone())),
        _ => Err(wrong_arity("ping")),
    }
}

fn quit(call: Call<'_>) -> Answer {
    call.client.close();
    Ok(Reply::OK)
}

fn reset(call: Call<'_>) -> Answer {
    let stranger = call.dispatcher.options.users.stranger();
    call.dispatcher.sign_in(call.client, stranger);
    call.client.set_resp(Resp::V2);
    call.client.want_replies(true);
    call.client.read_here(call.dispatcher.options.open_reads);
    *call.client.subscriptions_mut() = Subscriptions::default();
    call.client.change_profile(|profile| profile.name.clear());
    Ok(Reply::Simple("RESET".into()))
}

fn auth(call: Call<'_>) -> Later<'_> {
    Box::pin(async move {
        let Call { dispatcher, client, args } = call;
        match args {
            [_] if dispatcher.options.users.stranger().is_some() => {
                Err(err("AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?"))
            }
            [password] => authenticate(dispatcher, client, DEFAULT.as_bytes(), password).await,
            [user, password] => authenticate(dispatcher, client, user, password).await,
            _ => Err(syntax()),
        }
        .map(|()| Reply::OK)
    })
}

async fn authenticate(
    dispatcher: &Dispatcher,
    client: &mut Client,
    user: &[u8],
    password: &[u8],
) -> Result<(), ErrorReply> {
    match dispatcher.options.users.authenticate(user, password).await {
        Ok(Some(user)) => {
            dispatcher.sign_in(client, Some(user));
            Ok(())
        }
        Err(Busy) => Err(ErrorReply {
            code: ErrorCode::Busy,
            message: "Too many passwords are being checked, try again later".to_owned(),
        }),
        Ok(None) => {
            if let Some(left_out) = FAILED.may_log() {
                tracing::warn!(client = client.id(), left_out, "authentication failed");
            }
            Err(ErrorReply {
                code: ErrorCode::WrongPass,
                message: "invalid username-password pair or user is disabled.".to_owned(),
            })
        }
    }
}

/// Nothing changes unless all of it is right.
fn hello(call: Call<'_>) -> Later<'_> {
    Box::pin(hello_now(call))
}

async fn hello_now(call: Call<'_>) -> Answer {
    let Call { dispatcher, client, args } = call;
    let (version, mut options) = match args.split_first() {
        None => (client.resp(), &[][..]),
        Some((version, options)) => {
            let version: i64 =
                integer(version).ok_or_else(|| err("Protocol version is not an integer or out of range"))?;
            let resp = match version {
                2 => Resp::V2,
                3 => Resp::V3,
                _ => {
                    let message = "unsupported protocol version".to_owned();
                    return Err(ErrorReply { code: ErrorCode::NoProto, message });
                }
            };
            (resp, options)
        }
    };
    let mut credentials = None;
    let mut name = None;
    while let [option, rest @ ..] = options {
        options = match rest {
            [user, password, rest @ ..] if is(option, "AUTH") => {
                credentials = Some((user, password));
                rest
            }
            [value, rest @ ..] if is(option, "SETNAME") => {
                name = Some(client_name(value)?);
                rest
            }
            _ => return Err(err(format!("Syntax error in HELLO option '{}'", lossy(option)))),
        };
    }
    match credentials {
        Some((user, password)) => authenticate(dispatcher, client, user, password).await?,
        None if !client.is_authenticated() => {
            let message = "HELLO must be called with the client already authenticated, otherwise the HELLO <proto> \
                           AUTH <user> <pass> option can be used to authenticate the client and select the RESP \
                           protocol version at the same time"
                .to_owned();
            return Err(ErrorReply { code: ErrorCode::NoAuth, message });
        }
        None => {}
    }
    if let Some(name) = name {
        client.change_profile(|profile| profile.name = name);
    }
    client.set_resp(version);
    Ok(Reply::fields([
        ("server", Reply::bulk(env!("CARGO_PKG_NAME"))),
        ("version", Reply::bulk(REDIS_VERSION)),
        ("proto", Reply::Integer(version.number())),
        ("id", Reply::Integer(client.id() as i64)),
        ("mode", Reply::bulk("standalone")),
        ("role", Reply::bulk(role(dispatcher))),
        ("modules", Reply::Array(vec![])),
    ]))
}

/// Redis' words for the roles, which client libraries look for.
pub(super) fn role(dispatcher: &Dispatcher) -> &'static str {
    if dispatcher.backend.is_leader() { "master" } else { "slave" }
}

/// A name that a client gives itself: printable, without blanks, and of a length to be kept.
pub(super) fn client_name(name: &[u8]) -> Result<String, ErrorReply> {
    const BYTES_MAX: usize = 1024;
    if name.len() > BYTES_MAX {
        return Err(err(format!("Client names cannot be longer than {BYTES_MAX} bytes.")));
    }
    if !name.iter().all(u8::is_ascii_graphic) {
        return Err(err("Client names cannot contain spaces, newlines or special characters."));
    }
    Ok(lossy(name))
}

fn select(call: Call<'_>) -> Answer {
    match integer::<i32>(&call.args[0]) {
        Some(0) => Ok(Reply::OK),
        Some(_) => Err(err("DB index is out of range")),
        None => Err(not_an_integer()),
    }
}
