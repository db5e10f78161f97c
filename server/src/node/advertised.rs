//! The address that others are told.

use crate::config::Config;
use crate::net::Address;
use std::net::{SocketAddr, UdpSocket};

#[derive(Debug, thiserror::Error)]
#[error(
    "--advertise is missing: the node listens on every interface, and none of the --join addresses is one of this \
     machine with port {port}; advertise an address at which the other nodes reach it"
)]
pub struct Error {
    port: u16,
}

/// What others are told to call this node by, given what it is bound to.
pub(super) async fn advertised(config: &Config, bound: &[SocketAddr]) -> Result<String, Error> {
    if let Some(advertise) = &config.advertise {
        return Ok(advertise.to_string());
    }
    // A port of 0 was chosen by the system, so the bound port is the true one.
    let port = bound.first().map_or(0, SocketAddr::port);
    match config.addresses.first() {
        Some(address) if !address.is_everywhere() => Ok(Address::new(address.host(), port).to_string()),
        // The commands of all nodes are to be the same, so which of the addresses is its own is found out.
        _ if config.bootstrap_expect > 1 => own(&config.join, port).await.ok_or(Error { port }),
        _ => Ok(Address::new("127.0.0.1", port).to_string()),
    }
}

async fn own(addresses: &[Address], port: u16) -> Option<String> {
    for address in addresses.iter().filter(|address| address.port() == port) {
        let resolved = tokio::net::lookup_host((address.host(), port)).await;
        // Only addresses of this machine can be bound; port 0 is always free.
        if resolved.is_ok_and(|mut resolved| resolved.any(|found| UdpSocket::bind((found.ip(), 0)).is_ok())) {
            return Some(address.to_string());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, Task};

    fn config(line: &str) -> Config {
        let words = ["uhaha-server", "-m", "builtin:ticket"].into_iter().chain(line.split_whitespace());
        match cli::parse(words.map(Into::into), []).unwrap() {
            Task::Run(config) => *config,
            _ => panic!("{line}"),
        }
    }

    #[tokio::test]
    async fn the_node_is_called_by_what_it_is_bound_to_or_told() {
        let bound = ["0.0.0.0:7001".parse().unwrap()];
        for (line, expected) in [
            ("-a db1:0", "db1:7001"),
            ("-a [::1]:0", "[::1]:7001"),
            ("-a :7001", "127.0.0.1:7001"),
            ("-a :7001 --advertise db1:99", "db1:99"),
            ("-a :7001 --id n --bootstrap-expect 3 -j 198.51.100.1:7001,127.0.0.1:9,127.0.0.2:7001", "127.0.0.2:7001"),
        ] {
            assert_eq!(advertised(&config(line), &bound).await.unwrap(), expected, "{line}");
        }
        let stranger = config("-a :7001 --id n --bootstrap-expect 3 -j 198.51.100.1:7001,198.51.100.2:7001");
        assert!(advertised(&stranger, &bound).await.is_err());
    }
}
