//! Those who say that they are nodes.

use super::{Attack, Setup, Target, noise, pong, rest};
use std::io::Write;
use std::net::TcpStream;

/// What a node says first: the marker, the version and a number used once.
const GREETING: &[u8] = b"\0uhaha-peer\x02\0................................";

pub(super) const ATTACKS: &[Attack] = &[
    attack("the marker of a node, then nothing", 128, |target| {
        let mut held: Vec<TcpStream> = Vec::new();
        for _ in 0..target.pick(100, 4_000) {
            let mut stream = target.stream();
            stream.write_all(&GREETING[..1]).unwrap();
            held.push(stream);
        }
        target.hold();
        assert_eq!(target.client().call(&["PING"]), pong());
        held.iter_mut().for_each(|stream| assert_eq!(rest(stream), ""));
        format!("the end after 5 s, to {} of them", held.len())
    }),
    attack("introductions of wrong length, checksum, version and name", 64, |target| {
        let frame = |length: u32| [GREETING, &length.to_le_bytes(), &[0; 13]].concat();
        let cases = [
            frame(u32::MAX),
            frame(0),
            frame(1 << 30),
            [&frame(17)[..], b"xxxx"].concat(),
            [&GREETING[..11], b"\xff\xff", &GREETING[13..]].concat(),
            b"\0uhaha-poor................................".to_vec(),
            [b"\0", &noise(3, 4096)[..]].concat(),
        ];
        let count = target.flood(2, 10, || {
            for case in &cases {
                let mut stream = target.stream();
                let _ = stream.write_all(case);
                rest(&mut stream);
            }
        });
        format!("{} times the end", cases.len() * count)
    }),
    attack("greetings of nodes, and away", 64, |target| {
        let count = target.flood(4, 100, || target.stream().write_all(GREETING).unwrap());
        format!("nothing that anybody reads, {count} times")
    }),
];

const fn attack(name: &'static str, growth_max_mib: u64, run: fn(&Target<'_>) -> String) -> Attack {
    Attack { name, setup: Setup::Open, args: &[], growth_max_mib, run }
}
