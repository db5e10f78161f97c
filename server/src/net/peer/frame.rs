//! `Frame`: one request or answer on the wire.
//!
//! ```text
//! u32 length of what follows │ u8 kind │ u64 id │ u32 crc32c of payload │ payload        little endian
//! ```
//!
//! An answer has the id of its request. TCP's own checksum misses one damaged segment in some thousands.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const HEADER_BYTES: usize = 1 + 8 + 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) id: u64,
    pub(super) payload: Bytes,
}

impl Frame {
    /// Writes it, and flushes nothing.
    pub(super) async fn write(&self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let length = u32::try_from(HEADER_BYTES + self.payload.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut header = BytesMut::with_capacity(4 + HEADER_BYTES);
        header.put_u32_le(length);
        header.put_u8(self.kind);
        header.put_u64_le(self.id);
        header.put_u32_le(crc32c::crc32c(&self.payload));
        stream.write_all(&header).await?;
        stream.write_all(&self.payload).await
    }

    /// Reads one; `None` at the end of the stream.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> io::Result<Option<Frame>> {
        let length = match stream.read_u32_le().await {
            Ok(length) => length as usize,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        };
        if !(HEADER_BYTES..=HEADER_BYTES + bytes_max).contains(&length) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        // The buffer grows with what has come, not with what was promised.
        let mut bytes = BytesMut::new();
        let mut rest = stream.take(length as u64);
        while rest.limit() > 0 {
            if rest.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let (kind, id, crc) = (bytes.get_u8(), bytes.get_u64_le(), bytes.get_u32_le());
        let payload = bytes.freeze();
        if crc32c::crc32c(&payload) != crc {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum of a frame does not match"));
        }
        Ok(Some(Frame { kind, id, payload }))
    }
}
