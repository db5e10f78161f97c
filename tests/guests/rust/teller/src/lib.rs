//! A guest built for `wasm32-wasip2`: Rust's standard library opens WASI streams for it and keeps them, which no memory
//! image could hold without the server's help.

use std::io::Read as _;
use std::time::{Duration, Instant, SystemTime};

use uhaha_guest::prelude::*;

#[derive(Default, Serialize, Deserialize)]
struct Teller {
    told: i64,
}

#[uhaha_guest::machine]
impl Teller {
    /// Prints a line and returns how many there have been.
    fn tell(&mut self, line: &str) -> i64 {
        println!("told {line}");
        self.count()
    }

    /// The same on standard error.
    fn warn(&mut self, line: &str) -> i64 {
        eprintln!("warned of {line}");
        self.count()
    }

    /// Reads all of standard input, sleeps, and returns how many bytes there were and that the clocks went on.
    fn wait(&mut self) -> Vec<i64> {
        let (began, at) = (Instant::now(), SystemTime::now());
        let mut input = Vec::new();
        let read = std::io::stdin().read_to_end(&mut input).map_or(-1, |bytes| bytes as i64);
        std::thread::sleep(Duration::from_secs(3600));
        let went_on = began.elapsed() > Duration::ZERO && at.elapsed().is_ok_and(|time| time > Duration::ZERO);
        vec![read, i64::from(went_on), self.count()]
    }

    /// Prints, then fails.
    fn fail(&mut self, line: &str) {
        self.told += 1;
        println!("failed to tell {line}");
        panic!("no more to tell");
    }

    /// Prints in a read, and returns how many lines there have been.
    fn retell(&self, line: &str) -> i64 {
        println!("retold {line}");
        self.told
    }

    /// Prints in a read, then fails.
    fn refuse(&self, line: &str) {
        println!("refused {line}");
        panic!("no more to tell");
    }
}

impl Teller {
    fn count(&mut self) -> i64 {
        self.told += 1;
        self.told
    }
}
