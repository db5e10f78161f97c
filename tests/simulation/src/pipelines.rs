//! A client that sends writes and reads together. Each read shows what the write before it has written, whatever becomes
//! of the nodes meanwhile: nobody else knows the key.

use crate::client::{STOP, connect};
use crate::faults;
use crate::os::{self, HostId};
use crate::rng::Rng;
use crate::verdict::report;
use std::sync::atomic::Ordering;
use uhaha_tests::client::{Client as Connection, Value, encode, ok};

pub(crate) struct Pipelines {
    /// `HOST:PORT` of all nodes that there may be.
    pub(crate) nodes: Vec<String>,
    pub(crate) think_ns: u64,
    pub(crate) rng: Rng,
}

impl Pipelines {
    pub(crate) fn start(self, host: HostId) {
        os::spawn_on(host, "pipelines", move || self.run());
    }

    fn run(mut self) {
        let mut number = 0;
        while !STOP.load(Ordering::Relaxed) {
            self.think();
            let address = self.rng.pick::<String>(&self.nodes).clone();
            let Some(mut connection) = connect(&address, &mut self.rng) else { continue };
            // A node takes a new client's replies for large ones, and runs its writes and reads apart.
            let mut is_there = connection.try_call(&["GET", "p"]).is_some();
            while is_there && !STOP.load(Ordering::Relaxed) && !self.rng.one_in(20) {
                number += 1;
                is_there = self.send(&format!("p{number}"), &mut connection);
                self.think();
            }
        }
    }

    fn think(&mut self) {
        let wait = self.rng.between(1_000_000, self.think_ns);
        os::sleep(wait);
    }

    /// Whether all was answered.
    fn send(&mut self, key: &str, to: &mut Connection) -> bool {
        let values: Vec<String> = (1..=self.rng.between(2, 6)).map(|value| value.to_string()).collect();
        let pair = |value: &String| [encode(&["SET", key, value]), encode(&["GET", key])].concat();
        let request: Vec<u8> = values.iter().flat_map(pair).collect();
        if to.try_send_raw(&request).is_err() {
            return false;
        }
        for value in &values {
            let (Ok(Some(written)), Ok(Some(read))) = (to.try_receive(), to.try_receive()) else { return false };
            os::say(&format!("SET {key} {value}, GET {key} -> {written:?}, {read:?}"));
            let is_right = match &read {
                Value::Error(_) => true,
                Value::Bulk(read) => written != ok() || **read == *value.as_bytes(),
                _ => written != ok(),
            };
            if !is_right {
                report("reads among writes", &format!("after {value} was written to {key} the next read is {read:?}"));
            }
        }
        faults::count_many("(pipelines of writes and reads)", 1);
        true
    }
}
