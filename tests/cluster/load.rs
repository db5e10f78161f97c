//! Clients that draw tickets one after the other while something happens to the cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use uhaha_tests::{Client, Value, wait};

/// What one client saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) tickets: Vec<i64>,
    pub(crate) errors: Vec<String>,
    /// How often a connection ended that had been served.
    pub(crate) broken: usize,
}

/// Clients, one for each address, until `stop`.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    drawn: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Seen>>,
}

impl Load {
    pub(crate) fn start(addresses: &[SocketAddr]) -> Load {
        let (stop, drawn) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = |address: &SocketAddr| {
            let (address, stop, drawn) = (*address, Arc::clone(&stop), Arc::clone(&drawn));
            std::thread::spawn(move || draw(address, &stop, &drawn))
        };
        let clients = addresses.iter().map(client).collect();
        let load = Load { stop, drawn, clients };
        load.wait_for(20);
        load
    }

    /// Waits until so many more tickets were drawn by all clients together.
    pub(crate) fn wait_for(&self, tickets: usize) {
        let before = self.drawn.load(Ordering::Relaxed);
        wait::until("tickets", || (self.drawn.load(Ordering::Relaxed) >= before + tickets).then_some(()));
    }

    /// What each client saw, after a check that holds whatever happened: no ticket was given twice, and each client's
    /// rise.
    pub(crate) fn stop(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let seen: Vec<Seen> = self.clients.into_iter().map(|client| client.join().unwrap()).collect();
        for client in &seen {
            assert!(client.tickets.is_sorted(), "a client's tickets rise");
        }
        let mut all: Vec<i64> = seen.iter().flat_map(|client| client.tickets.iter().copied()).collect();
        all.sort_unstable();
        assert_eq!(all.windows(2).find(|pair| pair[0] == pair[1]), None, "a ticket was given twice");
        seen
    }
}

fn draw(address: SocketAddr, stop: &AtomicBool, drawn: &AtomicUsize) -> Seen {
    let mut seen = Seen::default();
    let mut client = None;
    // A connection that a stopping server never takes up is refused, only later.
    let mut served = false;
    while !stop.load(Ordering::Relaxed) {
        let Some(connected) = client.as_mut() else {
            client = Client::try_connect(address);
            if client.is_none() {
                // Only paces the asking of a node that is down.
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            continue;
        };
        match connected.try_call(&["TICKET"]) {
            Some(Value::Integer(ticket)) => {
                served = true;
                seen.tickets.push(ticket);
                drawn.fetch_add(1, Ordering::Relaxed);
            }
            Some(Value::Error(error)) => seen.errors.push(error),
            Some(other) => panic!("TICKET gave {other:?}"),
            None => {
                seen.broken += usize::from(std::mem::take(&mut served));
                client = None;
            }
        }
    }
    seen
}
