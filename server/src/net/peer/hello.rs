//! Who is on the other side: version, cluster, node, and proof of the cluster's secret.
//!
//! ```text
//! dialler                                              listener
//! 0 "uhaha-peer" u16 version nonce             →
//!                                              ←       u16 version nonce
//! cluster, from, to, HMAC("dial", all above)   →
//!                                              ←       welcome: cluster, node, HMAC("listen", all above), or why not
//! ```
//!
//! The secret itself is never sent, and a proof is good for one connection only: both nonces are in it.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;

use super::frame::Frame;
use super::{Error, HELLO_TIMEOUT, PROTOCOL_VERSION};
use crate::net::tls::Tls;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const MAGIC: &[u8; 11] = b"\0uhaha-peer";
const HELLO_BYTES_MAX: usize = 4096;

type Nonce = [u8; 32];

/// What the nodes of one cluster share. Empty if none was configured: then it proves nothing and keeps nobody out.
#[derive(Clone, Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(secret: impl Into<Vec<u8>>) -> Secret {
        Secret(secret.into())
    }

    /// A secret that follows from another one, which it does not give away. `purpose` keeps the secrets of several
    /// purposes apart.
    pub fn derived(purpose: &str, from: &str) -> Secret {
        Secret(Secret::new(from).prove(purpose, &[]))
    }

    fn mac(&self, role: &str, parts: &[&[u8]]) -> Hmac<Sha256> {
        // HMAC takes keys of every length (RFC 2104, section 2), so this cannot fail.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).unwrap_or_else(|_| unreachable!("any key length fits"));
        mac.update(role.as_bytes());
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac
    }

    fn prove(&self, role: &str, parts: &[&[u8]]) -> Vec<u8> {
        self.mac(role, parts).finalize().into_bytes().to_vec()
    }

    /// In constant time.
    fn verify(&self, proof: &[u8], role: &str, parts: &[&[u8]]) -> bool {
        self.mac(role, parts).verify_slice(proof).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret(none)" } else { "Secret(..)" })
    }
}

/// This node, as it introduces itself.
#[derive(Clone, Debug)]
pub struct Local {
    /// `None` while it belongs to no cluster and wants to join one.
    pub cluster: Option<[u8; 16]>,
    pub node_id: u64,
    pub secret: Secret,
    /// What connections are encrypted with.
    pub tls: Option<Tls>,
    /// Largest request or answer.
    pub frame_bytes_max: usize,
}

/// The node on the other side, which knows the secret. Without a cluster it may ask for nothing but to join this one,
/// and the service sees to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    pub cluster: Option<[u8; 16]>,
    pub node_id: u64,
}

#[derive(Serialize, Deserialize)]
struct Dial {
    cluster: Option<[u8; 16]>,
    from: u64,
    to: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Hello {
    dial: Vec<u8>,
    proof: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
enum Welcome {
    Yes { remote: Vec<u8>, proof: Vec<u8> },
    No(String),
}

#[derive(Serialize, Deserialize)]
struct Listen {
    cluster: Option<[u8; 16]>,
    node_id: u64,
}

/// Introduces this node to `address`, where the node `to` is expected, or any.
pub(super) async fn dial<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    local: &Local,
    to: Option<u64>,
    address: &str,
) -> Result<Remote, Error> {
    let talk = async {
        let nonce = nonce()?;
        stream.write_all(MAGIC).await?;
        stream.write_u16_le(PROTOCOL_VERSION).await?;
        stream.write_all(&nonce).await?;
        stream.flush().await?;
        let version = stream.read_u16_le().await?;
        if version != PROTOCOL_VERSION {
            return Ok(Welcome::No(format!("it speaks version {version} between nodes, this one {PROTOCOL_VERSION}")));
        }
        let mut theirs: Nonce = [0; 32];
        stream.read_exact(&mut theirs).await?;
        let dial = encode(&Dial { cluster: local.cluster, from: local.node_id, to })?;
        let proof = local.secret.prove("dial", &[&nonce, &theirs, &dial]);
        write(stream, &Hello { dial: dial.clone(), proof }).await?;
        let welcome: Welcome = read(stream).await?;
        if let Welcome::Yes { remote, proof } = &welcome
            && !local.secret.verify(proof, "listen", &[&nonce, &theirs, &dial, remote])
        {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        Ok(welcome)
    };
    let talked =
        tokio::time::timeout(HELLO_TIMEOUT, talk).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let address = address.to_owned();
    match talked {
        Ok(Welcome::Yes { remote, .. }) => {
            let listen: Listen = decode(&remote).map_err(|source| Error::Connect { address, source })?;
            Ok(Remote { cluster: listen.cluster, node_id: listen.node_id })
        }
        Ok(Welcome::No(reason)) => Err(Error::Refused { address, reason }),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Error::Impostor { address }),
        Err(source) => Err(Error::Connect { address, source }),
    }
}

/// Lets a node introduce itself; an error is for the log of this node.
pub(super) async fn listen<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, local: &Local) -> io::Result<Remote> {
    let talk = async {
        let mut magic = [0; MAGIC.len()];
        stream.read_exact(&mut magic).await?;
        if magic != *MAGIC {
            return Err(invalid("it is no node of uhaha-server"));
        }
        let version = stream.read_u16_le().await?;
        let mut theirs: Nonce = [0; 32];
        stream.read_exact(&mut theirs).await?;
        let nonce = nonce()?;
        stream.write_u16_le(PROTOCOL_VERSION).await?;
        stream.write_all(&nonce).await?;
        stream.flush().await?;
        if version != PROTOCOL_VERSION {
            return Err(invalid(format!("it speaks version {version} between nodes, this one {PROTOCOL_VERSION}")));
        }
        let hello: Hello = read(stream).await?;
        let refusal = if !local.secret.verify(&hello.proof, "dial", &[&theirs, &nonce, &hello.dial]) {
            Err("the peer secret is wrong: it must be the same on all nodes".into())
        } else {
            admit(local, &decode(&hello.dial)?)
        };
        match refusal {
            Ok(remote) => {
                let listen = encode(&Listen { cluster: local.cluster, node_id: local.node_id })?;
                let proof = local.secret.prove("listen", &[&theirs, &nonce, &hello.dial, &listen]);
                write(stream, &Welcome::Yes { remote: listen, proof }).await?;
                Ok(remote)
            }
            Err(reason) => {
                write(stream, &Welcome::No(reason.clone())).await?;
                Err(invalid(reason))
            }
        }
    };
    tokio::time::timeout(HELLO_TIMEOUT, talk).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn admit(local: &Local, dial: &Dial) -> Result<Remote, String> {
    if let (Some(ours), Some(theirs)) = (local.cluster, dial.cluster)
        && ours != theirs
    {
        return Err("the nodes belong to different clusters".to_owned());
    }
    match dial.to {
        Some(to) if to != local.node_id => Err(format!("node {to} was expected here, this is node {}", local.node_id)),
        _ => Ok(Remote { cluster: dial.cluster, node_id: dial.from }),
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    Frame { kind: 0, id: 0, payload: encode(message)?.into() }.write(stream).await?;
    stream.flush().await
}

async fn read<T: for<'a> Deserialize<'a>>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let frame = Frame::read(stream, HELLO_BYTES_MAX).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    decode(&frame.payload)
}

fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(message).map_err(io::Error::other)
}

fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn nonce() -> io::Result<Nonce> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    Ok(nonce)
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever lets everybody in still has to prove that it knows the secret.
    #[tokio::test]
    async fn a_listener_without_the_secret_is_not_believed() {
        let (mut near, mut far) = tokio::io::duplex(4096);
        let impostor = tokio::spawn(async move {
            far.read_exact(&mut [0; MAGIC.len() + 2 + 32]).await.unwrap();
            far.write_u16_le(PROTOCOL_VERSION).await.unwrap();
            far.write_all(&[1; 32]).await.unwrap();
            let _: Hello = read(&mut far).await.unwrap();
            let remote = encode(&Listen { cluster: None, node_id: 1 }).unwrap();
            write(&mut far, &Welcome::Yes { remote, proof: vec![2; 32] }).await.unwrap();
        });
        let local = Local { cluster: None, node_id: 2, secret: Secret::new("s"), tls: None, frame_bytes_max: 1 << 20 };
        let error = dial(&mut near, &local, None, "there").await.unwrap_err();
        assert!(matches!(error, Error::Impostor { .. }), "{error}");
        impostor.await.unwrap();
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(..)");
        assert_eq!(format!("{:?}", Secret::default()), "Secret(none)");
    }
}
