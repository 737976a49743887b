//! The client's frames in, frames with legal authorities out; no I/O.
//!
//! Header blocks leave only as literals, so the reader's table stays empty and the only table to keep up
//! with is the client's, here.

use bytes::{Buf, Bytes, BytesMut};
use http::uri::Authority;

use super::frame::FrameHeader;
use crate::unix::hpack::{self, Decoder, Header, HpackError};

#[derive(Debug)]
pub(super) struct Rewriter {
    decoder: Decoder,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Before the first frame.
    Preface,
    /// Between frames.
    Frame,
    /// Within a frame that passes, with so much of its payload to come.
    Passing(usize),
    /// Within a header block that spans frames.
    Block(Block),
    /// Not HTTP/2: everything passes, and whoever reads it says what is wrong.
    Raw,
}

/// A header block up to the last frame that came of it.
#[derive(Debug)]
struct Block {
    stream: u32,
    /// Those of the HEADERS frame that outlive the rewriting.
    flags: u8,
    /// The priority fields, empty if there are none.
    priority: Bytes,
    fragments: BytesMut,
    frames: usize,
}

impl Rewriter {
    pub(super) fn new() -> Self {
        Self {
            decoder: Decoder::new(),
            state: State::Preface,
        }
    }

    /// How much of what comes next passes unchanged.
    pub(super) fn passing(&self) -> usize {
        match self.state {
            State::Passing(len) => len,
            State::Raw => usize::MAX,
            State::Preface | State::Frame | State::Block(_) => 0,
        }
    }

    /// Tells that so much was passed by without [`Rewriter::advance`].
    pub(super) fn passed(&mut self, len: usize) {
        if let State::Passing(left) = self.state {
            self.state = after_passing(left.saturating_sub(len));
        }
    }

    /// Takes whole steps off `input` and appends what they become to `output`; a beginning stays in `input`.
    ///
    /// # Errors
    /// The connection cannot be followed any more and must end.
    pub(super) fn advance(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<(), RewriteError> {
        while !input.is_empty() {
            match &mut self.state {
                State::Preface => match input.len().min(PREFACE.len()) {
                    len if input[..len] != PREFACE[..len] => self.state = State::Raw,
                    len if len < PREFACE.len() => return Ok(()),
                    len => {
                        output.unsplit(input.split_to(len));
                        self.state = State::Frame;
                    }
                },
                State::Raw => output.unsplit(input.split()),
                State::Passing(left) => {
                    let len = input.len().min(*left);
                    output.unsplit(input.split_to(len));
                    self.passed(len);
                }
                State::Frame | State::Block(_) => {
                    let Some(header) = FrameHeader::peek(input) else {
                        return Ok(());
                    };
                    if !self.frame(header, input, output)? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes the frame, or its header if it passes; whether it was there in full.
    fn frame(
        &mut self,
        header: FrameHeader,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<bool, RewriteError> {
        let in_block = matches!(self.state, State::Block(_));
        match header.kind {
            FrameHeader::HEADERS if !in_block => {}
            FrameHeader::CONTINUATION if in_block => {}
            // Nothing may come between the frames of a block (RFC 9113 §6.10).
            _ if in_block => return Err(RewriteError::BrokenBlock),
            _ => {
                output.unsplit(input.split_to(FrameHeader::LEN));
                self.state = after_passing(header.len);
                return Ok(true);
            }
        }
        if header.len > FrameHeader::MAX_PAYLOAD_LEN {
            return Err(RewriteError::FrameTooLarge);
        }
        if input.len() < FrameHeader::LEN + header.len {
            return Ok(false);
        }
        input.advance(FrameHeader::LEN);
        let payload = input.split_to(header.len);
        let block = match std::mem::replace(&mut self.state, State::Frame) {
            State::Block(block) => block.continued(header, &payload)?,
            State::Frame | State::Preface | State::Passing(_) | State::Raw => {
                Block::begun(header, payload.freeze())?
            }
        };
        if header.has(FrameHeader::END_HEADERS) {
            block.rewrite(&mut self.decoder, output)?;
        } else {
            self.state = State::Block(block);
        }
        Ok(true)
    }
}

impl Block {
    /// Takes padding and priority off the payload of a HEADERS frame (RFC 9113 §6.2).
    fn begun(header: FrameHeader, mut payload: Bytes) -> Result<Self, RewriteError> {
        if header.has(FrameHeader::PADDED) {
            let padding = payload
                .try_get_u8()
                .map_err(|_short| RewriteError::BrokenBlock)?;
            let kept = payload.len().checked_sub(usize::from(padding));
            payload.truncate(kept.ok_or(RewriteError::BrokenBlock)?);
        }
        let mut priority = Bytes::new();
        if header.has(FrameHeader::PRIORITY) {
            if payload.len() < PRIORITY_LEN {
                return Err(RewriteError::BrokenBlock);
            }
            priority = payload.split_to(PRIORITY_LEN);
        }
        Ok(Self {
            stream: header.stream,
            flags: header.flags & (FrameHeader::END_STREAM | FrameHeader::PRIORITY),
            priority,
            fragments: BytesMut::from(payload),
            frames: 1,
        })
    }

    fn continued(mut self, header: FrameHeader, payload: &[u8]) -> Result<Self, RewriteError> {
        if header.stream != self.stream {
            return Err(RewriteError::BrokenBlock);
        }
        self.frames += 1;
        // Frames are counted too: empty ones would go on for ever.
        if self.fragments.len() + payload.len() > MAX_BLOCK_LEN || self.frames > MAX_BLOCK_FRAMES {
            return Err(RewriteError::BlockTooLarge);
        }
        self.fragments.extend_from_slice(payload);
        Ok(self)
    }

    /// Decodes, repairs and encodes the block, into as many frames as it takes.
    fn rewrite(self, decoder: &mut Decoder, output: &mut BytesMut) -> Result<(), RewriteError> {
        let mut headers = decoder.decode(&self.fragments)?;
        repair(&mut headers);
        let mut payload = BytesMut::from(&self.priority[..]);
        hpack::encode(&headers, &mut payload);
        let mut kind = FrameHeader::HEADERS;
        let mut flags = self.flags;
        loop {
            let fragment = payload.split_to(payload.len().min(FrameHeader::MAX_PAYLOAD_LEN));
            if payload.is_empty() {
                flags |= FrameHeader::END_HEADERS;
            }
            let header = FrameHeader {
                len: fragment.len(),
                kind,
                flags,
                stream: self.stream,
            };
            header.put(output);
            output.extend_from_slice(&fragment);
            if payload.is_empty() {
                return Ok(());
            }
            (kind, flags) = (FrameHeader::CONTINUATION, 0);
        }
    }
}

/// Why a connection cannot be followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum RewriteError {
    #[error("header block cannot be decoded")]
    Hpack(#[from] HpackError),
    #[error("header block is broken off or malformed")]
    BrokenBlock,
    #[error(
        "frame of a header block is larger than {} bytes",
        FrameHeader::MAX_PAYLOAD_LEN
    )]
    FrameTooLarge,
    #[error("header block is larger than {MAX_BLOCK_LEN} bytes or {MAX_BLOCK_FRAMES} frames")]
    BlockTooLarge,
}

/// What a client's connection begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PRIORITY_LEN: usize = 5;
const MAX_BLOCK_LEN: usize = 64 * 1024;
const MAX_BLOCK_FRAMES: usize = 64;

const AUTHORITY: &[u8] = b":authority";
const LOCALHOST: &[u8] = b"localhost";

fn after_passing(left: usize) -> State {
    match left {
        0 => State::Frame,
        left => State::Passing(left),
    }
}

/// Gives a request a legal authority; trailers, which have no method, are left alone.
fn repair(headers: &mut Vec<Header>) {
    if !headers.iter().any(|header| header.name == b":method"[..]) {
        return;
    }
    let localhost = Bytes::from_static(LOCALHOST);
    let mut is_missing = true;
    for header in headers.iter_mut().filter(|header| header.name == AUTHORITY) {
        is_missing = false;
        if !is_legal(&header.value) {
            header.value = localhost.clone();
        }
    }
    if is_missing {
        // In front: pseudo-header fields go before all others (RFC 9113 §8.3).
        let header = Header {
            name: Bytes::from_static(AUTHORITY),
            value: localhost,
            is_sensitive: false,
        };
        headers.insert(0, header);
    }
}

/// A host with an optional port, as the HTTP/2 library takes it.
fn is_legal(authority: &[u8]) -> bool {
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(byte);
    authority.iter().all(is_host) && Authority::try_from(authority).is_ok()
}
