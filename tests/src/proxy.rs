//! A TCP proxy that goes wrong as it is told: slow, in pieces, silent in one direction or in both, or cutting
//! connections. A node behind it advertises its address, so that peers and clients come this way.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How long a read waits before it looks whether something has changed.
const LOOK: Duration = Duration::from_millis(20);
const CHUNK: usize = 16 << 10;
/// What trickles at a time.
const TRICKLE: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    Pass,
    /// Each piece is late by so much.
    Delay(Duration),
    /// A few bytes at a time.
    Trickle,
    /// Connections stay open and new ones are taken, but nothing passes.
    Silent,
    /// Only what the server says passes.
    Deaf,
    /// Only what the server hears passes.
    Mute,
    /// Connections are cut, and new ones as soon as they are made.
    Cut,
    /// Connections are cut in the middle of something, one piece in so many.
    Flaky(u32),
}

/// Dropped, it ends with all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    /// And for whom it goes wrong, if not for all.
    mode: Mutex<(Mode, Option<IpAddr>)>,
    ended: AtomicBool,
}

impl Proxy {
    pub fn start(listen: SocketAddr, to: SocketAddr) -> io::Result<Proxy> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { to, mode: Mutex::new((Mode::Pass, None)), ended: AtomicBool::new(false) });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Ok(Proxy { address, shared })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, also for connections that are there.
    pub fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = (mode, None);
    }

    /// The same for connections from one address only; others pass.
    pub fn set_for(&self, from: IpAddr, mode: Mode) {
        *self.shared.mode.lock().unwrap() = (mode, Some(from));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn mode(&self, from: IpAddr) -> Mode {
        match *self.mode.lock().unwrap() {
            (mode, only) if only.is_none_or(|only| only == from) => mode,
            _ => Mode::Pass,
        }
    }

    fn is_over(&self, mode: Mode) -> bool {
        mode == Mode::Cut || self.ended.load(Ordering::Relaxed)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.ended.load(Ordering::Relaxed) {
        let Ok((client, from)) = listener.accept() else {
            // Nobody came: only paces the looks.
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A connection that fails is just over, as any may be.
            let _ = relay(client, from.ip(), &shared);
        });
    }
}

fn relay(client: TcpStream, from: IpAddr, shared: &Arc<Shared>) -> io::Result<()> {
    client.set_nonblocking(false)?;
    if shared.mode(from) == Mode::Cut {
        return Ok(());
    }
    let server = TcpStream::connect(shared.to)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    }
    let (client_read, server_write) = (client.try_clone()?, server.try_clone()?);
    thread::scope(|scope| {
        scope.spawn(|| copy(client_read, server_write, from, shared, Mode::Deaf));
        copy(server, client, from, shared, Mode::Mute);
    });
    Ok(())
}

/// One direction, in which nothing passes in the mode `shut`.
fn copy(mut input: TcpStream, mut output: TcpStream, from: IpAddr, shared: &Shared, shut: Mode) {
    let mut random = fastrand::Rng::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let mode = shared.mode(from);
        if shared.is_over(mode) {
            break;
        }
        if mode == Mode::Silent || mode == shut {
            // Until the mode is another one.
            thread::sleep(LOOK);
            continue;
        }
        let bytes = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        if pass(&chunk[..bytes], &mut output, mode, &mut random).is_err() {
            break;
        }
    }
    // The other direction ends with this one; both may be closed already.
    let _ = input.shutdown(Shutdown::Both);
    let _ = output.shutdown(Shutdown::Both);
}

fn pass(bytes: &[u8], output: &mut TcpStream, mode: Mode, random: &mut fastrand::Rng) -> io::Result<()> {
    match mode {
        Mode::Delay(delay) => thread::sleep(delay),
        Mode::Trickle => {
            for piece in bytes.chunks(TRICKLE) {
                output.write_all(piece)?;
                thread::sleep(Duration::from_micros(500));
            }
            return Ok(());
        }
        Mode::Flaky(one_in) if random.u32(..one_in) == 0 => {
            output.write_all(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        _ => {}
    }
    output.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait;

    /// Answers each line with itself.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut stream));
            }
        });
        address
    }

    fn proxy() -> Proxy {
        Proxy::start("127.0.0.1:0".parse().unwrap(), echo()).unwrap()
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        stream
    }

    fn ask(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(bytes)?;
        let mut answer = vec![0; bytes.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn bytes_pass_whole_late_and_in_pieces() {
        let proxy = proxy();
        let mut stream = connect(&proxy);
        for mode in [Mode::Pass, Mode::Delay(Duration::from_millis(5)), Mode::Trickle, Mode::Flaky(u32::MAX)] {
            proxy.set(mode);
            assert_eq!(ask(&mut stream, &[7; 1000]).unwrap(), [7; 1000], "{mode:?}");
        }
    }

    #[test]
    fn what_is_held_back_comes_later() {
        for mode in [Mode::Silent, Mode::Deaf, Mode::Mute] {
            let proxy = proxy();
            let mut stream = connect(&proxy);
            assert_eq!(ask(&mut stream, b"before").unwrap(), b"before");
            proxy.set(mode);
            // Whoever was reading has seen the mode after one look.
            thread::sleep(2 * LOOK);
            assert!(ask(&mut stream, b"during").is_err(), "{mode:?}");
            proxy.set(Mode::Pass);
            let mut answer = [0; 6];
            wait::until("the answer", || stream.read_exact(&mut answer).ok());
            assert_eq!(&answer, b"during");
        }
    }

    #[test]
    fn connections_are_cut_for_whom_it_is_said() {
        let proxy = proxy();
        let mut stream = connect(&proxy);
        assert_eq!(ask(&mut stream, b"a").unwrap(), b"a");
        proxy.set_for("10.0.0.1".parse().unwrap(), Mode::Cut);
        assert_eq!(ask(&mut stream, b"b").unwrap(), b"b");
        proxy.set_for("127.0.0.1".parse().unwrap(), Mode::Cut);
        wait::until("the end", || ask(&mut stream, b"c").is_err().then_some(()));
        assert!(ask(&mut connect(&proxy), b"d").is_err());
        proxy.set(Mode::Pass);
        assert_eq!(ask(&mut connect(&proxy), b"e").unwrap(), b"e");
    }
}
