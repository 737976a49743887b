//! Reads a client's HTTP/2 and will make every `:authority` legal on the way.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    net::UnixStream,
};

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Repair;

impl Repair {
    pub(super) fn new() -> Self {
        Self
    }

    pub(super) fn poll_read(
        &self,
        stream: Pin<&mut UnixStream>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        stream.poll_read(context, buffer)
    }
}
