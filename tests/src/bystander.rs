//! A well-behaved client beside hostile ones: one command at a time, and how long each took.

use crate::client::encode;
use crate::tls;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How it reaches a server that serves kvdb.
#[derive(Clone, Debug)]
pub struct Way {
    pub address: SocketAddr,
    /// What to say first, if a password is wanted.
    pub auth: Option<Vec<String>>,
    /// The certificate of the server, if it speaks TLS.
    pub tls: Option<tls::Cert>,
}

/// How long calls took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// Who asks one thing at a time hardly sees in `p99` that everything stood still for a while.
    pub longest: Duration,
    pub calls: usize,
}

/// It asks until it is dropped.
#[derive(Debug)]
pub struct Bystander {
    latencies: Arc<Mutex<Vec<Duration>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bystander {
    pub fn start(way: &Way) -> Bystander {
        let mut stream = way.connect();
        let (latencies, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (latencies, stop) = (Arc::clone(&latencies), Arc::clone(&stop));
            move || {
                let requests = [
                    (encode(&["SET", "bystander", "1"]), &b"+OK\r\n"[..]),
                    (encode(&["GET", "bystander"]), b"$1\r\n1\r\n"),
                ];
                for (request, reply) in requests.iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let began = Instant::now();
                    exchange(&mut *stream, request, reply);
                    latencies.lock().unwrap_or_else(PoisonError::into_inner).push(began.elapsed());
                    // A client that does something with its replies.
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        Bystander { latencies, stop, thread: Some(thread) }
    }

    /// How long its calls took since this was last asked.
    pub fn waits(&self) -> Waits {
        let mut all = std::mem::take(&mut *self.latencies.lock().unwrap_or_else(PoisonError::into_inner));
        all.sort_unstable();
        let at = (all.len().saturating_sub(1) as f64 * 0.99).round() as usize;
        let [p99, longest] = [all.get(at), all.last()].map(|wait| wait.copied().unwrap_or_default());
        Waits { p99, longest, calls: all.len() }
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panicked)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panicked);
        }
    }
}

/// A stream, encrypted or not.
pub trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

impl Way {
    pub fn connect(&self) -> Box<dyn Stream> {
        let tcp = TcpStream::connect(self.address).expect("the server accepts a connection");
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(crate::wait::PATIENCE)).unwrap();
        let mut stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some(cert) => Box::new(cert.connect(tcp)),
        };
        if let Some(words) = &self.auth {
            exchange(&mut *stream, &encode(words), b"+OK\r\n");
        }
        stream
    }
}

/// Sends a request and takes its reply, which must be this one.
pub fn exchange(stream: &mut dyn Stream, request: &[u8], reply: &[u8]) {
    stream.write_all(request).expect("the server takes a request");
    let mut got = vec![0; reply.len()];
    stream.read_exact(&mut got).expect("the server answers");
    assert_eq!(got.escape_ascii().to_string(), reply.escape_ascii().to_string());
}
