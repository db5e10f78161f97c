//! `INFO`: the state of the server in Redis' sections and names, and three sections of our own.

use super::cluster::{Shard, offset};
use super::connection::{REDIS_VERSION, role};
use super::{Answer, Call, is, raft, verbatim};
use crate::dispatch::{Dispatcher, host_and_port};
use crate::raft::{ClockStatus, Visible};
use bytes::Bytes;
use std::fmt::Display;
use std::sync::Arc;

type Section = (&'static str, fn(&Dispatcher, &mut Lines));

const SECTIONS: &[Section] = &[
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", cpu),
    ("Cluster", |_, lines| lines.put("cluster_enabled", 1)),
    ("Keyspace", |_, _| {}),
    ("Raft", |dispatcher, lines| raft::fields(dispatcher).iter().for_each(|(name, value)| lines.put(name, value))),
    ("Machine", machine),
    ("Time", time),
];

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn put(&mut self, name: &str, value: impl Display) {
        self.0.push_str(&format!("{name}:{value}\r\n"));
    }
}

pub(super) fn info(call: Call<'_>) -> Answer {
    let mut lines = Lines::default();
    for (name, write) in SECTIONS {
        if is_asked(call.args, name) {
            if !lines.0.is_empty() {
                lines.0.push_str("\r\n");
            }
            lines.0.push_str(&format!("# {name}\r\n"));
            write(call.dispatcher, &mut lines);
        }
    }
    Ok(verbatim(lines.0))
}

fn is_asked(args: &[Bytes], section: &str) -> bool {
    let every = ["default", "all", "everything"];
    args.is_empty() || args.iter().any(|arg| is(arg, section) || every.iter().any(|word| is(arg, word)))
}

fn server(dispatcher: &Dispatcher, lines: &mut Lines) {
    let status = dispatcher.backend.status();
    let uptime = dispatcher.clients.uptime().as_secs();
    lines.put("redis_version", REDIS_VERSION);
    lines.put("redis_mode", "standalone");
    lines.put("server_name", env!("CARGO_PKG_NAME"));
    lines.put("server_version", env!("CARGO_PKG_VERSION"));
    lines.put("os", std::env::consts::OS);
    lines.put("arch_bits", usize::BITS);
    lines.put("process_id", std::process::id());
    lines.put("tcp_port", host_and_port(&status.node.address).1);
    lines.put("uptime_in_seconds", uptime);
    lines.put("uptime_in_days", uptime / 86_400);
}

fn clients(dispatcher: &Dispatcher, lines: &mut Lines) {
    lines.put("connected_clients", dispatcher.clients.count());
    lines.put("maxclients", dispatcher.clients.most());
    lines.put("blocked_clients", 0);
}

fn memory(dispatcher: &Dispatcher, lines: &mut Lines) {
    let resident = proc_status("VmRSS:").unwrap_or(0) * 1024;
    let peak = proc_status("VmHWM:").unwrap_or(0) * 1024;
    lines.put("used_memory", resident);
    lines.put("used_memory_rss", resident);
    lines.put("used_memory_peak", peak);
    lines.put("used_memory_state", dispatcher.backend.machine().memory_bytes);
    lines.put("mem_clients_normal", dispatcher.clients.memory_bytes());
    lines.put("maxmemory", 0);
    lines.put("maxmemory_policy", "noeviction");
}

/// A field of `/proc/self/status`, where there is one.
fn proc_status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

fn persistence(dispatcher: &Dispatcher, lines: &mut Lines) {
    let status = dispatcher.backend.status();
    lines.put("loading", 0);
    lines.put("aof_enabled", 1);
    lines.put("log_sync", if dispatcher.options.sync { "always" } else { "no" });
    lines.put("last_log_index", status.last_log_index());
    lines.put("last_snapshot_index", status.snapshot_index());
    lines.put("rdb_changes_since_last_save", status.applied_index().saturating_sub(status.snapshot_index()));
}

fn stats(dispatcher: &Dispatcher, lines: &mut Lines) {
    dispatcher.stats.fields().iter().for_each(|(name, value)| lines.put(name, value));
    lines.put("evicted_clients", dispatcher.clients.evicted());
}

fn replication(dispatcher: &Dispatcher, lines: &mut Lines) {
    let shard = Shard::new(dispatcher);
    let applied = dispatcher.backend.status().applied_index();
    lines.put("role", role(dispatcher));
    if dispatcher.backend.is_leader() {
        let online: Vec<&Visible> = shard.replicas().filter(|node| node.online).collect();
        lines.put("connected_slaves", online.len());
        for (number, node) in online.into_iter().enumerate() {
            let (host, port) = host_and_port(&node.member.node.address);
            let offset = offset(node);
            lines.put(
                &format!("slave{number}"),
                format_args!("ip={host},port={port},state=online,offset={offset},lag=0"),
            );
        }
    } else {
        let leader = shard.master().map(|master| master.member.node.address.as_str()).unwrap_or_default();
        let (host, port) = host_and_port(leader);
        lines.put("master_host", host);
        lines.put("master_port", port);
        lines.put("master_link_status", if shard.view.settled { "up" } else { "down" });
        lines.put("slave_repl_offset", applied);
        lines.put("slave_read_only", 1);
    }
    lines.put("master_repl_offset", applied);
}

fn cpu(_: &Dispatcher, lines: &mut Lines) {
    // Linux counts in hundredths of a second towards programs, whatever the kernel's own clock is.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program may hold blanks and brackets; the fields after its last bracket do not.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    let mut seconds = || fields.next().and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0) / 100.0;
    let user = seconds();
    let system = seconds();
    lines.put("used_cpu_sys", format_args!("{system:.6}"));
    lines.put("used_cpu_user", format_args!("{user:.6}"));
}

fn machine(dispatcher: &Dispatcher, lines: &mut Lines) {
    let description = dispatcher.backend.description();
    let status = dispatcher.backend.machine();
    lines.put("machine_name", &description.name);
    lines.put("machine_version", &description.version);
    lines.put("machine_commands", description.commands.len());
    lines.put("machine_now", status.now);
    lines.put("machine_boottime", status.boot);
    lines.put("machine_applied_index", status.applied.map_or(0, |log_id| log_id.index));
    lines.put("machine_memory_bytes", status.memory_bytes);
    lines.put("machine_fuel", status.fuel);
    lines.put("machine_traps", status.traps);
    lines.put("machine_standing", status.standing.as_str());
    lines.put("machine_digest", status.digests.running);
    lines.put("machine_digest_index", status.digests.index);
    lines.put("machine_digest_verified_index", status.verified);
    lines.put("machine_digest_incomparable", status.incomparable);
    lines.put("machine_digest_differences", status.differences);
    let wanted = dispatcher.backend.wanted_settings();
    let active = status.settings.unwrap_or_else(|| Arc::clone(&wanted));
    lines.put("machine_engine", &active.engine);
    lines.put("machine_settings_agreed", u8::from(active == wanted));
}

fn time(dispatcher: &Dispatcher, lines: &mut Lines) {
    let ClockStatus { clock, skew, skew_max, others } = dispatcher.backend.clock_status();
    lines.put("time_source", clock.source);
    lines.put("time_now", clock.now);
    let synchronized = clock.synchronized.map_or("unknown", |synchronized| if synchronized { "yes" } else { "no" });
    lines.put("time_synchronized", synchronized);
    if let Some(error) = clock.error {
        lines.put("time_error_us", error.as_micros());
    }
    lines.put("time_ahead_of_system_us", clock.offset / 1000);
    for (number, server) in clock.servers.iter().enumerate() {
        let (name, state, stratum) = (&server.name, server.state, server.stratum);
        let (ahead, delay) = (server.offset / 1000, server.delay.as_micros());
        let value = format_args!("name={name},state={state},ahead_us={ahead},delay_us={delay},stratum={stratum}");
        lines.put(&format!("time_server{number}"), value);
    }
    lines.put("time_skew_limit_us", skew_max.as_micros());
    if let Some(skew) = skew {
        lines.put("time_skew_us", skew.ahead() / 1000);
        lines.put("time_skew_error_us", skew.error().as_micros());
    }
    for (number, (id, skew)) in others.iter().enumerate() {
        let (ahead, error) = (skew.ahead() / 1000, skew.error().as_micros());
        lines.put(&format!("time_node{number}"), format_args!("id={id},ahead_us={ahead},error_us={error}"));
    }
}
