//! Each layer's options, from the configuration.

use super::credentials::Credentials;
use crate::config::Config;
use crate::dispatch::Redirect;
use crate::net::peer::Local;
use crate::settings::REPLIES_BYTES_CEILING;
use crate::storage::schema::{ClusterId, Identity};
use crate::type_config::{self, NodeId};
use crate::{dispatch, net, raft, redis, time};
use std::collections::BTreeMap;

/// Of `--clients-memory`, this part may be on its way to clients beside what they hold.
const UNDELIVERED_PART: usize = 4;

pub(super) fn listener(config: &Config, credentials: &Credentials) -> net::Options {
    net::Options {
        addresses: config.addresses.clone(),
        connections_max: config.clients,
        first_byte_timeout: config.idle_timeout,
        keepalive: config.keepalive,
        tls: credentials.tls(),
        ..net::Options::default()
    }
}

/// Larger than anything that one node has to tell another: a command, a batch of them, or all replies to one.
fn frame_bytes_max(config: &Config) -> usize {
    config.request_bytes.max(config.batch_bytes).max(REPLIES_BYTES_CEILING as usize) + (64 << 20)
}

/// How this node introduces itself to others.
pub(super) fn local(
    config: &Config,
    credentials: &Credentials,
    cluster: Option<ClusterId>,
    node_id: NodeId,
) -> impl Fn() -> Local + Clone + use<> {
    let credentials = credentials.clone();
    let frame_bytes_max = frame_bytes_max(config);
    let cluster = cluster.map(|cluster| cluster.0);
    move || Local { cluster, node_id, secret: credentials.secret(), tls: credentials.tls(), frame_bytes_max }
}

pub(super) fn time(config: &Config) -> time::Options {
    time::Options { servers: config.ntp.clone(), interval: config.ntp_interval }
}

pub(super) fn raft(
    config: &Config,
    identity: &Identity,
    address: &str,
    founders: BTreeMap<NodeId, type_config::Node>,
) -> raft::Options {
    let node = type_config::Node { name: identity.node_name.clone(), address: address.to_owned() };
    raft::Options {
        module: identity.module.clone(),
        founders,
        forward: config.redirect == Redirect::Forward,
        leader_wait: config.leader_wait,
        lease_reads: config.lease_reads,
        heartbeat: config.heartbeat,
        election_timeout_min: config.election_timeout,
        election_timeout_max: config.election_timeout * 2,
        clock_skew_max: config.clock_skew_max,
        tick: config.tick,
        batch_commands_max: config.batch_commands,
        batch_bytes_max: config.batch_bytes,
        queue_commands_max: config.queue_commands,
        queue_bytes_max: config.queue_bytes,
        undelivered_bytes_max: config.clients_memory / UNDELIVERED_PART,
        mark_every: config.digest_interval,
        snapshot_log_entries: config.snapshot_log_entries,
        snapshot_log_bytes: config.snapshot_log_bytes,
        ..raft::Options::new(identity.node_id, node)
    }
}

pub(super) fn dispatch(config: &Config, credentials: &Credentials) -> dispatch::Options {
    dispatch::Options {
        users: credentials.users(),
        clients_max: config.clients,
        clients_memory_bytes_max: config.clients_memory,
        redirect: config.redirect,
        open_reads: config.open_reads,
        staleness_max: config.staleness_max,
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
