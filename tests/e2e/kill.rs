//! `kill -9` in the middle of a pipelined load, twenty times on one data directory.

use std::sync::atomic::{AtomicUsize, Ordering};
use uhaha_tests::{Module, Node, Value, wait};

const ROUNDS: usize = 20;
const CONNECTIONS: usize = 4;
const DEPTH: usize = 64;

/// Every acknowledged ticket is greater than every ticket acknowledged before the kill, and none comes twice.
#[test]
fn no_acknowledged_ticket_is_ever_handed_out_again() {
    let node = Node::new(Module::ticket());
    let mut greatest = 0;
    for round in 0..ROUNDS {
        let server = node.start();
        let acknowledged = AtomicUsize::new(0);
        let address = server.address();
        let mut tickets: Vec<i64> = std::thread::scope(|scope| {
            let load = |_| scope.spawn(|| draw_tickets(address, &acknowledged));
            let loads: Vec<_> = (0..CONNECTIONS).map(load).collect();
            // Another moment in the life of the log each time.
            let enough = 1 + round * 397;
            wait::until("the load to run", || (acknowledged.load(Ordering::Relaxed) >= enough).then_some(()));
            server.kill();
            loads.into_iter().flat_map(|load| load.join().unwrap()).collect()
        });
        tickets.sort_unstable();
        assert!(tickets[0] > greatest, "round {round}: {} again, after {greatest}", tickets[0]);
        let twice = tickets.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(twice, None, "round {round}: a ticket was handed out twice");
        greatest = tickets[tickets.len() - 1];
    }
    let next = node.start().client().call(&["TICKET"]).integer();
    assert!(next > greatest, "{next} again, after {greatest}");
}

/// Draws tickets, so many at a time, until the server is gone; returns those whose reply came.
fn draw_tickets(address: std::net::SocketAddr, acknowledged: &AtomicUsize) -> Vec<i64> {
    let mut tickets = Vec::new();
    let Some(mut client) = uhaha_tests::Client::try_connect(address) else { return tickets };
    let request: Vec<u8> = (0..DEPTH).flat_map(|_| *b"*1\r\n$6\r\nTICKET\r\n").collect();
    while client.try_send_raw(&request).is_ok() {
        for _ in 0..DEPTH {
            match client.try_receive() {
                Ok(Some(Value::Integer(ticket))) => tickets.push(ticket),
                Ok(Some(other)) => panic!("TICKET gave {other:?}"),
                Ok(None) | Err(_) => return tickets,
            }
        }
        acknowledged.fetch_add(DEPTH, Ordering::Relaxed);
    }
    tickets
}
