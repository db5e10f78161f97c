//! A ticket service.

use uhaha_guest::prelude::*;

#[derive(Default, Serialize, Deserialize)]
struct Ticket {
    last: u64,
}

#[uhaha_guest::machine]
impl Ticket {
    /// Returns a new ticket, greater than every ticket before.
    fn ticket(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

#[cfg(test)]
mod tests {
    use uhaha_guest::testing::Tester;

    use super::*;

    #[test]
    fn tickets_only_grow() {
        let mut machine = Tester::<Ticket>::new();
        for ticket in 1..=3 {
            assert_eq!(machine.call("TICKET", &[]), Reply::Integer(ticket));
        }
    }
}
