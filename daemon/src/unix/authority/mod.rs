//! Makes every `:authority` on a connection legal before the HTTP/2 library sees it.
//!
//! Over a Unix socket there is no host to name, and gRPC libraries send what they have: the socket's path,
//! percent-encoded or not, nothing, a name with an underscore. The library resets such a stream before any
//! handler runs. So the client's frames are read here first: header blocks are decoded, their authority is
//! replaced by `localhost` where it is missing or malformed, and they are encoded anew without the table
//! that client and decoder share; all other frames pass as they are.

mod frame;
mod rewriter;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use self::rewriter::Rewriter;

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Repair {
    rewriter: Rewriter,
    /// Read from the client, not looked at yet.
    input: BytesMut,
    /// For the reader.
    output: BytesMut,
}

impl Repair {
    pub(super) fn new() -> Self {
        Self {
            rewriter: Rewriter::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
        }
    }

    /// Reads from `stream` what the HTTP/2 library is to see.
    ///
    /// # Errors
    /// Those of the stream, and [`io::ErrorKind::InvalidData`] for a header block that cannot be decoded.
    pub(super) fn poll_read(
        &mut self,
        mut stream: Pin<&mut impl AsyncRead>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if self.output.has_remaining() {
                let len = self.output.remaining().min(buffer.remaining());
                buffer.put_slice(&self.output[..len]);
                self.output.advance(len);
                return Poll::Ready(Ok(()));
            }
            let passing = self.rewriter.passing();
            if self.input.is_empty() && passing >= DIRECT_MIN_LEN {
                let read = ready!(read_at_most(stream.as_mut(), context, buffer, passing))?;
                self.rewriter.passed(read);
                return Poll::Ready(Ok(()));
            }
            if ready!(self.fill(stream.as_mut(), context))? == 0 {
                return Poll::Ready(Ok(()));
            }
            self.rewriter
                .advance(&mut self.input, &mut self.output)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    fn fill(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut chunk = [0; CHUNK_LEN];
        let mut chunk = ReadBuf::new(&mut chunk);
        ready!(stream.poll_read(context, &mut chunk))?;
        self.input.extend_from_slice(chunk.filled());
        Poll::Ready(Ok(chunk.filled().len()))
    }
}

/// What the HTTP/2 library sees of a conversation that comes in `parts`, as far as it is whole; `None` if the
/// connection cannot be followed.
#[cfg(feature = "fuzzing")]
pub fn repaired<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut rewriter = Rewriter::new();
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    for part in parts {
        input.extend_from_slice(part);
        rewriter.advance(&mut input, &mut output).ok()?;
    }
    Some(output.to_vec())
}

/// What is read ahead at a time: small requests, frame headers and all, come in one call.
const CHUNK_LEN: usize = 4096;

/// From here on a frame's payload goes straight into the reader's buffer.
const DIRECT_MIN_LEN: usize = CHUNK_LEN;

fn read_at_most(
    stream: Pin<&mut impl AsyncRead>,
    context: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
    limit: usize,
) -> Poll<io::Result<usize>> {
    let limit = limit.min(buffer.remaining());
    let mut limited = ReadBuf::new(buffer.initialize_unfilled_to(limit));
    ready!(stream.poll_read(context, &mut limited))?;
    let read = limited.filled().len();
    buffer.advance(read);
    Poll::Ready(Ok(read))
}

#[cfg(test)]
mod tests;
