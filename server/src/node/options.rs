//! Each layer's options, from the configuration.

use crate::config::Config;
use crate::storage::schema::Identity;
use crate::type_config;
use crate::{dispatch, guest, net, raft, redis};

pub(super) fn listener(config: &Config) -> net::Options {
    net::Options {
        addresses: config.addresses.clone(),
        connections_max: config.clients,
        first_byte_timeout: config.idle_timeout,
        keepalive: config.keepalive,
        ..net::Options::default()
    }
}

pub(super) fn guest(config: &Config) -> guest::Limits {
    guest::Limits {
        fuel_max: config.guest_fuel,
        memory_bytes_max: usize::try_from(config.guest_memory_bytes).unwrap_or(usize::MAX),
        reply_bytes_max: config.guest_reply_bytes,
        ..guest::Limits::default()
    }
}

pub(super) fn raft(config: &Config, identity: &Identity, address: &str) -> raft::Options {
    let node = type_config::Node { name: identity.node_name.clone(), address: address.to_owned() };
    raft::Options {
        tick: config.tick,
        batch_commands_max: config.batch_commands,
        batch_bytes_max: config.batch_bytes,
        queue_commands_max: config.queue_commands,
        queue_bytes_max: config.queue_bytes,
        snapshot_log_entries: config.snapshot_log_entries,
        snapshot_log_bytes: config.snapshot_log_bytes,
        ..raft::Options::new(identity.node_id, node)
    }
}

pub(super) fn dispatch(config: &Config) -> dispatch::Options {
    dispatch::Options {
        password: config.password.clone(),
        clients_max: config.clients,
        redirect: config.redirect,
        snapshot_read_bytes_max: config.snapshot_read_bytes,
        sync: config.sync,
        idle_timeout: config.idle_timeout,
        argument_bytes_max: config.argument_bytes,
    }
}

pub(super) fn redis(config: &Config) -> redis::Options {
    redis::Options {
        request_bytes_max: config.request_bytes,
        argument_bytes_max: config.argument_bytes,
        args_max: config.args,
        inline_bytes_max: config.inline_bytes,
        pipeline_commands_max: config.pipeline_commands,
        output_timeout: config.output_timeout,
        idle_timeout: config.idle_timeout,
        ..redis::Options::default()
    }
}
