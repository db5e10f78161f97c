//! How many files the process may open. A node that cannot open its log, or reach another node, because clients have
//! all descriptors would be of no use to any of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the node itself may need: files, memories of the guest, other nodes, and visitors of the lobby.
const RESERVED: u64 = 256;

/// Raises the limit of the process as far as it may and needs to be; how many of `clients` can be served then.
pub fn provide(clients: usize) -> usize {
    let wanted = (clients as u64).saturating_add(RESERVED);
    let limit = getrlimit(Resource::Nofile);
    let mut current = limit.current;
    if current.is_some_and(|current| current < wanted) {
        let raised = limit.maximum.map_or(wanted, |most| most.min(wanted));
        match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }) {
            Ok(()) => current = Some(raised),
            Err(error) => tracing::debug!(%error, raised, "the limit of open files stays as it is"),
        }
    }
    served(clients, current)
}

fn served(clients: usize, limit: Option<u64>) -> usize {
    let Some(limit) = limit else { return clients };
    let served = usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(usize::MAX).clamp(1, clients.max(1));
    if served < clients {
        tracing::warn!(
            limit,
            clients = served,
            "the process may open too few files for --max-clients: fewer clients are served"
        );
    }
    served
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_kept_for_the_node() {
        for (clients, limit, expected) in
            [(100, None, 100), (100, Some(1024), 100), (1000, Some(1024), 768), (1000, Some(64), 1)]
        {
            assert_eq!(served(clients, limit), expected);
        }
    }
}
