//! Many connections, and what can be done with them.

use super::{Attack, Setup, Target, pong, rest};
use crate::client::{Value, encode, words};
use crate::{ok, wait};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

pub(super) const ATTACKS: &[Attack] = &[
    attack("silent connections", 320, |target| {
        let silent: Vec<TcpStream> = (0..target.pick(500, 9_000)).map(|_| target.stream()).collect();
        target.hold();
        assert_eq!(target.client().call(&["PING"]), pong());
        format!("nothing, to {} of them; others are served", silent.len())
    }),
    Attack {
        args: &["--max-clients", "300"],
        ..attack("more connections than there may be", 32, |target| {
            let mut held: Vec<TcpStream> = (0..320).map(|_| target.stream()).collect();
            let mut last = held.split_off(318);
            last.iter_mut().for_each(|stream| assert_eq!(rest(stream), "-ERR max number of clients reached\r\n"));
            let count = target.flood(2, 50, || {
                let mut stream = target.stream();
                let _ = stream.write_all(b"PING\r\n");
                let reply = rest(&mut stream);
                assert!(["", "-ERR max number of clients reached\r\n"].contains(&&*reply), "{reply:?}");
            });
            format!("{count} times ERR max number of clients reached")
        })
    },
    attack("connections that come and go, half of them reset", 64, |target| {
        let count = target.flood(4, 250, || {
            drop(target.stream());
            let stream = target.stream();
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        });
        format!("nothing, {} times", 2 * count)
    }),
    attack("half-closed connections, some within a command", 64, |target| {
        let count = target.flood(4, 100, || {
            let mut closed: Vec<TcpStream> = (0..5).map(|_| target.stream()).collect();
            for (stream, bytes) in closed.iter_mut().zip([&b""[..], b"*2\r\n$3\r\nGE", b"PING\r\n", b"PI", b"*1\r\n"]) {
                stream.write_all(bytes).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            }
            let replies: Vec<String> = closed.iter_mut().map(rest).collect();
            assert_eq!(replies, ["", "", "+PONG\r\n", "", ""]);
        });
        format!("{} times the end, after the replies", 5 * count)
    }),
    attack("HELLO, again and again", 32, |target| {
        let hellos = encode(&["HELLO", "2"]).repeat(100);
        let count = target.flood(4, 20, || {
            let mut client = target.client();
            client.send_raw(&hellos);
            for _ in 0..100 {
                client.receive().array();
            }
        });
        format!("{} replies", 100 * count)
    }),
    attack("CLIENT KILL, ten at a time", 64, |target| {
        let count = target.flood(4, 20, || {
            let mut victims: Vec<_> = (0..10).map(|_| target.client()).collect();
            let ids: Vec<String> =
                victims.iter_mut().map(|victim| victim.call(&["CLIENT", "ID"]).integer().to_string()).collect();
            let mut killer = target.client();
            for id in &ids {
                assert_eq!(killer.call(&["CLIENT", "KILL", "ID", id]).integer(), 1);
            }
            victims.iter_mut().for_each(|victim| assert!(matches!(victim.try_receive(), Ok(None) | Err(_))));
        });
        format!("{} killed", 10 * count)
    }),
    attack("names of 1,024 bytes, and CLIENT LIST of them all", 640, |target| {
        let name = "n".repeat(1024);
        let mut named: Vec<_> = (0..target.pick(200, 4_000)).map(|_| target.client()).collect();
        for client in &mut named {
            assert_eq!(client.call(&["CLIENT", "SETNAME", &name]), ok());
            assert_eq!(client.call(&["CLIENT", "SETINFO", "LIB-NAME", &name]), ok());
            client.call(&["CLIENT", "SETNAME", &format!("{name}n")]).assert_error("ERR Client names cannot be longer");
        }
        let lists = target.flood(4, 2, || {
            let list = target.client().call(&words("CLIENT LIST"));
            assert!(list.text().lines().count() > named.len());
        });
        format!("OK, ERR for longer ones; {lists} lists")
    }),
    attack("CLIENT LIST ID with a million ids", 640, |target| {
        let clients: Vec<_> = (0..target.pick(200, 2_000)).map(|_| target.client()).collect();
        let ids: Vec<String> = (1_000_000..2_000_000).map(|id: u32| id.to_string()).collect();
        let list: Vec<&str> = words("CLIENT LIST ID").into_iter().chain(ids.iter().map(String::as_str)).collect();
        let request = encode(&list);
        let count = target.flood(target.pick(1, 2), 1, || {
            let mut client = target.client();
            client.send_raw(&request);
            assert_eq!(client.receive().text(), "");
        });
        drop(clients);
        format!("{count} empty lists")
    }),
    attack("subscribers to everything, who never read", 192, |target| {
        let pattern = |number: usize| format!("{number}{}", "*".repeat(250));
        let all: Vec<String> = (0..64).map(pattern).collect();
        let mut subscribe = vec!["PSUBSCRIBE"];
        subscribe.extend(all.iter().map(String::as_str));
        let request = encode(&subscribe);
        let mut held: Vec<TcpStream> = Vec::new();
        for _ in 0..target.pick(100, 1_000) {
            let mut stream = target.stream();
            stream.write_all(&request).unwrap();
            held.push(stream);
        }
        target.hold();
        let mut greedy = target.client();
        greedy.send_raw(&request);
        (0..64).for_each(|_| drop(greedy.receive()));
        assert!(
            matches!(greedy.call(&["PSUBSCRIBE", "one more"]), Value::Error(error) if error.contains("at most 64"))
        );
        format!("{} subscriptions, ERR for more", 64 * held.len())
    }),
    Attack {
        args: &["--idle-timeout", "1s"],
        ..attack("first bytes that never come, with --idle-timeout 1s", 64, |target| {
            let mut silent: Vec<TcpStream> = (0..target.pick(200, 4_000)).map(|_| target.stream()).collect();
            wait::until("the silent ones to be sent away", || {
                silent.iter_mut().all(|stream| matches!(stream.read(&mut [0]), Ok(0))).then_some(())
            });
            format!("the end, to {} of them", silent.len())
        })
    },
];

const fn attack(name: &'static str, growth_max_mib: u64, run: fn(&Target<'_>) -> String) -> Attack {
    Attack { name, setup: Setup::Open, args: &[], growth_max_mib, run }
}
