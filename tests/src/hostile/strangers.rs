//! Those who have not said who they are, or not finished the handshake of TLS.

use super::{Attack, Setup, Target, noise, rest};
use crate::bystander::exchange;
use crate::client::encode;
use std::io::{Read, Write};
use std::net::TcpStream;

pub(super) const ATTACKS: &[Attack] = &[
    attack("wrong passwords, kept as Argon2", Setup::Users, 256, |target| {
        let request = encode(&["AUTH", "app", "wrong"]);
        let nobody = encode(&["AUTH", "nobody", "wrong"]);
        let count = target.flood(target.pick(8, 100), 2, || {
            let mut stream = target.stream();
            stream.write_all(&[&request[..], &nobody].concat()).unwrap();
            let mut replies = Vec::new();
            let mut byte = [0];
            while replies.iter().filter(|byte| **byte == b'\n').count() < 2 {
                assert_eq!(stream.read(&mut byte).unwrap(), 1);
                replies.push(byte[0]);
            }
            for reply in String::from_utf8(replies).unwrap().lines() {
                assert!(reply.starts_with("-WRONGPASS ") || reply.starts_with("-BUSY "), "{reply}");
            }
        });
        // Somebody with the right one gets in meanwhile and afterwards.
        drop(target.way.connect());
        format!("{} times WRONGPASS or BUSY", 2 * count)
    }),
    attack("large requests before AUTH", Setup::Users, 64, |target| {
        let cases = [
            ("*11\r\n".to_owned(), "unauthenticated multibulk length"),
            ("*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n$16385\r\n".to_owned(), "unauthenticated bulk length"),
        ];
        let count = target.flood(4, 20, || {
            for (request, error) in &cases {
                assert_eq!(target.last_words(request.as_bytes()), format!("-ERR Protocol error: {error}\r\n"));
            }
        });
        format!("{} times ERR unauthenticated … length, closed", 2 * count)
    }),
    attack("pipelines of commands before AUTH", Setup::Users, 64, |target| {
        let request = [encode(&["GET", "x"]).repeat(1000), encode(&["QUIT"])].concat();
        let count = target.flood(4, 2, || {
            let mut stream = target.stream();
            stream.write_all(&request).unwrap();
            let replies = rest(&mut stream);
            assert_eq!(replies.matches("-NOAUTH Authentication required.\r\n").count(), 1000);
        });
        format!("{} times NOAUTH", 1000 * count)
    }),
    attack("noise that begins as TLS does, and plain text", Setup::Tls, 64, |target| {
        let count = target.flood(4, 20, || {
            let mut noise = noise(11, 8 << 10);
            noise[..5].copy_from_slice(&[0x16, 3, 1, 0x1f, 0]);
            target.last_words(&noise);
            target.last_words(&[0x16, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff]);
            assert_eq!(target.last_words(b"PING\r\n"), "-ERR this port speaks TLS\r\n");
        });
        format!("{} times an alert or ERR, and the end", 3 * count)
    }),
    // TLS 1.3 has no renegotiation; what is left of it is new keys on request.
    attack("handshakes and new keys within a session", Setup::Tls, 64, |target| {
        let cert = target.way.tls.as_ref().expect("it speaks TLS");
        let count = target.flood(2, 10, || {
            let mut session = cert.connect(target.stream());
            exchange(&mut session, &encode(&["PING"]), b"+PONG\r\n");
            // Bare, where only what is encrypted is understood.
            session.sock.write_all(&cert.client_hello()).unwrap();
            rest(&mut session.sock);
            let mut session = cert.connect(target.stream());
            for _ in 0..100 {
                exchange(&mut session, &encode(&["PING"]), b"+PONG\r\n");
                session.conn.refresh_traffic_keys().unwrap();
            }
            for _ in 0..1000 {
                session.conn.refresh_traffic_keys().unwrap();
                if session.conn.write_tls(&mut session.sock).is_err() {
                    break;
                }
            }
            rest(&mut session.sock);
        });
        format!("PONG with new keys, and the end to a bare ClientHello and to new keys without end; {count} times")
    }),
    attack("ClientHello, then nothing", Setup::Tls, 256, |target| {
        let hello = target.way.tls.as_ref().expect("it speaks TLS").client_hello();
        let mut held: Vec<TcpStream> = Vec::new();
        for _ in 0..target.pick(100, 2_000) {
            let mut stream = target.stream();
            stream.write_all(&hello).unwrap();
            held.push(stream);
        }
        target.hold();
        drop(target.way.connect());
        format!("ServerHello, and the end after 10 s; {} of them", held.len())
    }),
    attack("ClientHello and away", Setup::Tls, 128, |target| {
        let hello = target.way.tls.as_ref().expect("it speaks TLS").client_hello();
        let count = target.flood(4, 50, || target.stream().write_all(&hello).unwrap());
        format!("nothing that anybody reads, {count} times")
    }),
];

const fn attack(name: &'static str, setup: Setup, growth_max_mib: u64, run: fn(&Target<'_>) -> String) -> Attack {
    Attack { name, setup, args: &[], growth_max_mib, run }
}
