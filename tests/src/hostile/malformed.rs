//! Bytes that are no commands, or hardly.

use super::{Attack, Setup, Target, noise, pong};
use crate::client::encode;

pub(super) const ATTACKS: &[Attack] = &[
    attack("QUIT and PING in one packet", 8, |target| {
        let count = target.flood(2, 50, || assert_eq!(target.last_words(b"QUIT\r\nPING\r\n"), "+OK\r\n"));
        format!("{count} times +OK and the end")
    }),
    attack("arrays of 2^31, 2^63-1 and 2^63 words", 8, |target| {
        refused(
            target,
            &["*2147483648\r\n", "*9223372036854775807\r\n", "*9223372036854775808\r\n"],
            "invalid multibulk length",
        )
    }),
    attack("arguments of 2^63-1 and 2^63 bytes", 8, |target| {
        refused(target, &["*1\r\n$9223372036854775807\r\n", "*1\r\n$9223372036854775808\r\n"], "invalid bulk length")
    }),
    attack("arrays in arrays, a million deep", 16, |target| {
        let nested = "*1\r\n".repeat(1_000_000);
        refused(target, &[&nested], "expected '$', got '*'")
    }),
    attack("commands of 1,048,576 words, and one more", 512, |target| {
        let most = encode(&vec!["DEL"; target.pick(1 << 16, 1 << 20)]);
        let count = target.flood(target.pick(1, 4), 1, || {
            let mut client = target.client();
            client.send_raw(&most);
            assert_eq!(client.receive().integer(), 0);
        });
        let over = String::from_utf8(encode(&vec!["DEL"; (1 << 20) + 1])).unwrap();
        let refused = refused(target, &[&over], "invalid multibulk length");
        format!("{count} times :0; {refused}")
    }),
    attack("lines without an end", 64, |target| {
        let long = "x".repeat(65 << 10);
        refused(target, &[&long, &format!("*{long}"), &format!("*1\r\n${long}")], "too big")
    }),
    attack("names of commands with NUL, CR LF and noise", 8, |target| {
        let count = target.flood(2, 50, || {
            let mut client = target.client();
            for name in [&b"\0"[..], b"\r\n+OK\r\n", b"GET\0", b"\xff\xfe\xfd", &noise(7, 1 << 16), b""] {
                client.call(&[name, b"\0\xff"]).assert_error("ERR unknown command '");
            }
            assert_eq!(client.call(&["PING"]), pong());
        });
        format!("{} times ERR unknown command", 6 * count)
    }),
    attack("HTTP, TLS and noise on the plain port", 8, |target| {
        let hello = crate::tls::Cert::new().client_hello();
        let count = target.flood(2, 20, || {
            assert!(target.last_words(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").contains("Redis protocol, not HTTP"));
            assert!(target.last_words(&hello).contains("does not speak TLS"), "a client is told so");
            for seed in 0..4 {
                // It may be taken for the beginning of a line, and then ends with the connection.
                let _ = std::io::Write::write_all(&mut target.stream(), &noise(seed, 4 << 10));
            }
        });
        format!("{count} times ERR of both")
    }),
];

const fn attack(name: &'static str, growth_max_mib: u64, run: fn(&Target<'_>) -> String) -> Attack {
    Attack { name, setup: Setup::Open, args: &[], growth_max_mib, run }
}

/// Each gets a protocol error with that text, and the end of its connection.
fn refused(target: &Target<'_>, requests: &[&str], error: &str) -> String {
    let count = target.flood(2, 5, || {
        for request in requests {
            let reply = target.last_words(request.as_bytes());
            // Of a connection that was reset with bytes unread the reply may be lost.
            let lost = request.len() > 64 << 10 && reply.is_empty();
            assert!(lost || reply.starts_with("-ERR Protocol error: ") && reply.contains(error), "{reply:?}");
        }
    });
    format!("{} times ERR {error}, closed", count * requests.len())
}
