//! `--only growth`: what a command costs as keys, connections, nodes and the log become more.
//!
//! The model is that a cost goes with a power of what grows: 0 is a cost that stays, 1 one that grows as fast. The power
//! between two rows is shown, so that where a cost begins to grow is seen.

use super::load::{Ask, Cell, Load};
use super::process::{Server, free_port};
use super::report::{grouped, median};
use super::resp;
use super::service::Service;
use super::{Options, run_round};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Entries of the log after which the model is fitted, and those that it is asked about.
const LOGS: [u64; 4] = [10_000, 100_000, 300_000, 1_000_000];
const LOGS_ASKED: [u64; 2] = [10_000_000, 100_000_000];
/// Appended by one run, which must end in good time.
const ENTRIES_AT_A_TIME: u64 = 100_000;

/// What a command costs.
struct Cost {
    /// Microseconds of processor time of all nodes.
    cpu: f64,
    /// Commands a second.
    rate: f64,
    /// Mebibytes of the largest node.
    resident: f64,
}

pub(super) fn run(server: &Path, dir: &Path, options: &Options) -> Result<()> {
    fs::create_dir_all(dir)?;
    let growth = Growth { server, dir, options };
    growth.keys()?;
    growth.connections()?;
    growth.nodes()?;
    growth.log()
}

struct Growth<'a> {
    server: &'a Path,
    dir: &'a Path,
    options: &'a Options,
}

impl Growth<'_> {
    /// The first of the numbers, all of them, or those that are quickly measured.
    fn some<'n, T>(&self, numbers: &'n [T]) -> &'n [T] {
        if self.options.quick { &numbers[..numbers.len().min(3)] } else { numbers }
    }

    fn cost(&self, service: &Service, keys: Option<u32>, cell: Cell, command: &str) -> Result<Cost> {
        let load = Load { dir: self.dir, keys, run_time: self.options.run_time() };
        let words: Vec<&str> = command.split(' ').collect();
        let count = load.calibrate(service.leader(), cell, Ask::Command(&words))?;
        let round = |_| run_round(&load, service, cell, Ask::Command(&words), count);
        let rounds: Vec<_> = (0..self.options.rounds).map(round).collect::<Result<_>>()?;
        Ok(Cost {
            cpu: median(rounds.iter().map(|round| round.cpu)),
            rate: median(rounds.iter().map(|round| round.rate)),
            resident: median(rounds.iter().map(|round| round.resident)),
        })
    }

    /// Our server with kvdb and redis, in folders that are removed in the end.
    fn with_both(&self, measure: impl FnOnce([&Service; 2]) -> Result<()>) -> Result<()> {
        let ours = Service::ours(self.server, "builtin:kvdb", 1, &self.dir.join("ours"))?;
        let redis = Service::redis(&self.dir.join("redis"))?;
        measure([&ours, &redis])?;
        print!("{}", ours.remarks()?);
        drop((ours, redis));
        self.clear()
    }

    /// What SET and GET of so many keys cost each of them, and the memory of each.
    fn of_both(&self, services: [&Service; 2], keys: u32, cell: Cell) -> Result<(Vec<Cost>, String)> {
        let set = format!("SET key:__rand_int__ {}", "v".repeat(32));
        let (mut costs, mut resident) = (Vec::new(), Vec::new());
        for service in services {
            resp::fill(service.leader().port(), keys, 'a').context("filling")?;
            for command in [&*set, "GET key:__rand_int__"] {
                costs.push(self.cost(service, Some(keys), cell, command)?);
            }
            resident.extend(costs.last().map(|cost| mebibytes(cost.resident)));
        }
        Ok((costs, resident.join(", ")))
    }

    fn clear(&self) -> Result<()> {
        fs::remove_dir_all(self.dir).and_then(|()| fs::create_dir_all(self.dir)).context("removing what was measured")
    }

    fn keys(&self) -> Result<()> {
        let mut table = Table::begin(
            "Keys, 50 clients with 16 commands under way, values of 32 bytes",
            ["keys", "SET", "GET", "redis SET", "redis GET"],
            "resident, redis",
        );
        self.with_both(|services| {
            for keys in self.some(&[1_000, 10_000, 100_000, 1_000_000, 10_000_000]) {
                let (costs, resident) = self.of_both(services, *keys, Cell::new(50, 16))?;
                table.row(u64::from(*keys), &costs, &resident);
            }
            Ok(())
        })
    }

    fn connections(&self) -> Result<()> {
        let mut table = Table::begin(
            "Connections, each with one command under way, 100,000 keys",
            ["connections", "SET", "GET", "redis SET", "redis GET"],
            "resident, redis",
        );
        const KEYS: u32 = 100_000;
        self.with_both(|services| {
            for clients in self.some(&[1, 10, 100, 1_000, 5_000]) {
                let (costs, resident) = self.of_both(services, KEYS, Cell::new(*clients, 1))?;
                table.row(*clients, &costs, &resident);
            }
            Ok(())
        })
    }

    fn nodes(&self) -> Result<()> {
        let mut table = Table::begin(
            "Nodes on this machine, TICKET, all nodes together",
            ["nodes", "1×1", "50×1", "50×16"],
            "of a node, 50×16",
        );
        for nodes in self.some(&[1, 3, 5, 7]) {
            let service = Service::ours(self.server, "builtin:ticket", *nodes, &self.dir.join("ours"))?;
            let cells = [Cell::new(1, 1), Cell::new(50, 1), Cell::new(50, 16)];
            let costs: Vec<Cost> =
                cells.into_iter().map(|cell| self.cost(&service, None, cell, "TICKET")).collect::<Result<_>>()?;
            let each = costs.last().map_or(0.0, |cost| cost.cpu / *nodes as f64);
            table.row(*nodes as u64, &costs, &format!("{each:.1} µs"));
            drop(service);
            self.clear()?;
        }
        Ok(())
    }

    /// A log that nothing shortens, an entry for each command.
    fn log(&self) -> Result<()> {
        let mut table = Table::begin(
            "Entries of the log without a snapshot, TICKET of one client, without syncs",
            ["entries", "TICKET"],
            "restart, resident after it, on disk",
        );
        let args = ["--nosync", "--snapshot-log-entries", "1000000000", "--snapshot-log-bytes", "64GiB"];
        let start = || -> Result<(Service, Duration)> {
            let began = Instant::now();
            let mut server =
                Server::uhaha_at(self.server, "builtin:ticket", &self.dir.join("ours"), free_port()?, &args)?;
            server.wait_for_answer()?;
            Ok((Service::of("ours", server), began.elapsed()))
        };
        let load = Load { dir: self.dir, keys: None, run_time: self.options.run_time() };
        let mut points = Vec::new();
        let (mut service, mut there) = (start()?.0, 0);
        for entries in self.some(&LOGS) {
            let (mut cpu, mut rate) = (Vec::new(), Vec::new());
            while there < *entries {
                let count = ENTRIES_AT_A_TIME.min(entries - there);
                let round = run_round(&load, &service, Cell::new(1, 1), Ask::Command(&["TICKET"]), count)?;
                cpu.push(round.cpu);
                rate.push(round.rate);
                there += count;
            }
            service.stop()?;
            let (again, took) = start()?;
            service = again;
            let resident = service.usage()?.resident;
            let disk = bytes_below(&self.dir.join("ours"))? as f64 / (1 << 20) as f64;
            points.push((there as f64, [took.as_secs_f64(), resident, disk]));
            let cost = Cost { cpu: median(cpu.into_iter()), rate: median(rate.into_iter()), resident };
            let left = format!("{:.2} s, {}, {}", took.as_secs_f64(), mebibytes(resident), mebibytes(disk));
            table.row(there, &[cost], &left);
        }
        println!("\nBy lines through these, of the least squares:\n");
        println!("| entries | restart | resident | on disk |\n|---:|---:|---:|---:|");
        for entries in LOGS_ASKED {
            let at = |which: usize| line_at(entries as f64, points.iter().map(|(x, ys)| (*x, ys[which])));
            println!("| {} | {:.1} s | {} | {} |", grouped(entries as f64), at(0), mebibytes(at(1)), mebibytes(at(2)));
        }
        println!();
        drop(service);
        self.clear()
    }
}

/// A table that is printed as its rows come.
struct Table {
    /// Of the last row: what grows, and the costs.
    last: Option<(u64, Vec<f64>)>,
}

impl Table {
    fn begin<const N: usize>(title: &str, columns: [&str; N], more: &str) -> Table {
        println!(
            "\n## Growth: {title}\n\nOf a command: microseconds of processor time, its power since the row above, and how many \
             a second.\n"
        );
        println!("| {} | {more} |\n|{}", columns.join(" | "), "---:|".repeat(N + 1));
        Table { last: None }
    }

    fn row(&mut self, number: u64, costs: &[Cost], more: &str) {
        let cells = costs.iter().enumerate().map(|(column, cost)| {
            let power = self.last.as_ref().map(|(before, costs)| {
                format!(" ({:+.2})", power((*before as f64, costs[column]), (number as f64, cost.cpu)))
            });
            format!("{:.1}{}, {}/s", cost.cpu, power.unwrap_or_default(), grouped(cost.rate))
        });
        let cells: Vec<String> = cells.collect();
        println!("| {} | {} | {more} |", grouped(number as f64), cells.join(" | "));
        self.last = Some((number, costs.iter().map(|cost| cost.cpu).collect()));
    }
}

/// The power of x that y goes with from one point to another.
fn power(from: (f64, f64), to: (f64, f64)) -> f64 {
    (to.1 / from.1).ln() / (to.0 / from.0).ln()
}

/// Where the line of the least squares through points is at `x`.
fn line_at(x: f64, points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let count = points.clone().count().max(1) as f64;
    let mean_x = points.clone().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.clone().map(|(_, y)| y).sum::<f64>() / count;
    let above: f64 = points.clone().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let below: f64 = points.map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope = if below > 0.0 { above / below } else { 0.0 };
    mean_y + slope * (x - mean_x)
}

fn mebibytes(count: f64) -> String {
    format!("{} MiB", grouped(count))
}

fn bytes_below(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let (entry, path) = entry.map(|entry| (entry.metadata(), entry.path()))?;
        let entry = entry?;
        bytes += if entry.is_dir() { bytes_below(&path)? } else { entry.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_that_stays_has_power_0_and_one_that_doubles_with_twice_as_much_1() {
        assert_eq!(power((10.0, 3.0), (1000.0, 3.0)), 0.0);
        assert!((power((10.0, 3.0), (1000.0, 300.0)) - 1.0).abs() < 1e-9);
        assert!((power((10.0, 300.0), (1000.0, 3.0)) + 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_line_goes_on_beyond_its_points() {
        let points = [(1.0, 5.0), (2.0, 7.0), (3.0, 9.0)];
        assert!((line_at(10.0, points.into_iter()) - 23.0).abs() < 1e-9);
        assert_eq!(line_at(10.0, [(1.0, 5.0)].into_iter()), 5.0);
    }
}
