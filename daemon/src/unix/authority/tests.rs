//! Conversations cut, bent and padded in every way, byte for byte.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::io::AsyncRead;

use super::{frame::FrameHeader, rewriter::RewriteError, *};
use crate::unix::hpack::{self, Decoder, Header};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let len = payload.len();
    FrameHeader {
        len,
        kind,
        flags,
        stream,
    }
    .put(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes.to_vec()
}

fn headers(fields: &[(&str, &str)]) -> Vec<Header> {
    let header = |(name, value): &(&str, &str)| Header {
        name: name.to_string().into(),
        value: value.to_string().into(),
        is_sensitive: false,
    };
    fields.iter().map(header).collect()
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = BytesMut::new();
    hpack::encode(&headers(fields), &mut block);
    block.to_vec()
}

fn rewritten(parts: &[&[u8]]) -> Result<Vec<u8>, RewriteError> {
    let mut rewriter = Rewriter::new();
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    for part in parts {
        input.extend_from_slice(part);
        rewriter.advance(&mut input, &mut output)?;
    }
    Ok(output.to_vec())
}

const HEADERS: u8 = FrameHeader::HEADERS;
const CONTINUATION: u8 = FrameHeader::CONTINUATION;
const END_HEADERS: u8 = FrameHeader::END_HEADERS;

#[test]
fn authority_is_replaced_where_it_is_missing_or_malformed() {
    for (given, expected) in [
        (None, "localhost"),
        (Some("localhost"), "localhost"),
        (Some("example.org:8081"), "example.org:8081"),
        (Some("[::1]:1"), "[::1]:1"),
        (Some("/tmp/a.sock"), "localhost"),
        (Some("%2Ftmp%2Fa.sock"), "localhost"),
        (Some(""), "localhost"),
        (Some("a_b"), "localhost"),
        (Some("a b"), "localhost"),
        (Some("user@host"), "localhost"),
        (Some("[::1"), "localhost"),
    ] {
        let mut fields = vec![(":method", "POST"), (":path", "/s/m")];
        fields.extend(given.map(|given| (":authority", given)));
        fields.push(("te", "trailers"));
        let request = frame(HEADERS, END_HEADERS, 1, &block(&fields));
        let mut output = &rewritten(&[PREFACE, &request]).unwrap()[PREFACE.len()..];
        let header = FrameHeader::peek(output).unwrap();
        assert_eq!(header.len + FrameHeader::LEN, output.len());
        output = &output[FrameHeader::LEN..];
        let decoded = Decoder::new().decode(output).unwrap();
        let authorities: Vec<_> = decoded
            .iter()
            .filter(|header| header.name == b":authority"[..])
            .collect();
        assert_eq!(authorities.len(), 1, "{given:?}");
        assert_eq!(authorities[0].value, expected.as_bytes(), "{given:?}");
        let last_pseudo = decoded.iter().rposition(|header| header.name[0] == b':');
        assert_eq!(last_pseudo, Some(2), "{given:?}");
    }
}

#[test]
fn padding_goes_priority_and_stream_end_stay() {
    let fields = [(":method", "GET"), (":authority", "/x")];
    let mut payload = vec![3];
    payload.extend(b"prior");
    payload.extend(block(&fields));
    payload.extend([0; 3]);
    let flags = END_HEADERS | FrameHeader::PADDED | FrameHeader::PRIORITY | FrameHeader::END_STREAM;
    let request = frame(HEADERS, flags, 7, &payload);
    let mut expected = b"prior".to_vec();
    expected.extend(block(&[(":method", "GET"), (":authority", "localhost")]));
    let expected = frame(HEADERS, flags & !FrameHeader::PADDED, 7, &expected);
    let output = rewritten(&[PREFACE, &request]).unwrap();
    assert_eq!(output, [PREFACE, &expected[..]].concat());
}

/// A connection with everything in it, and what it becomes.
fn conversation() -> (Vec<u8>, Vec<u8>) {
    let settings = frame(4, 0, 0, &[]);
    // Puts an authority and a custom field into the table; Huffman-coded, in three frames.
    let first = [
        &[0x83, 0x86, 0x84, 0x41, 0x88][..],
        // "/tmp/a.sock"
        &[0x61, 0x34, 0xd6, 0xc0, 0xd7, 0x41, 0xc9, 0xd7][..],
        &[0x40, 0x01, b'x', 0x01, b'y'][..],
    ]
    .concat();
    let data = frame(0, 1, 1, &vec![9; 20_000]);
    // Takes both from the table.
    let second = frame(HEADERS, END_HEADERS | 1, 3, &[0x83, 0x86, 0x84, 0xbf, 0xbe]);
    let trailers = frame(HEADERS, END_HEADERS | 1, 3, &[0xbe]);
    let input = [
        PREFACE,
        &settings,
        &frame(HEADERS, 0, 1, &first[..6]),
        &frame(CONTINUATION, 0, 1, &first[6..9]),
        &frame(CONTINUATION, END_HEADERS, 1, &first[9..]),
        &data,
        &second,
        &trailers,
    ]
    .concat();
    let request = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "localhost"),
        ("x", "y"),
    ]);
    let output = [
        PREFACE,
        &settings,
        &frame(HEADERS, END_HEADERS, 1, &request),
        &data,
        &frame(HEADERS, END_HEADERS | 1, 3, &request),
        &frame(HEADERS, END_HEADERS | 1, 3, &block(&[("x", "y")])),
    ]
    .concat();
    (input, output)
}

#[test]
fn conversation_comes_out_the_same_however_it_is_cut() {
    let (input, expected) = conversation();
    assert_eq!(rewritten(&[&input]).unwrap(), expected);
    for len in [1, 2, 3, 7, 8, 9, 10, 100, 4096] {
        let parts: Vec<_> = input.chunks(len).collect();
        assert_eq!(rewritten(&parts).unwrap(), expected, "{len}");
    }
}

/// Gives what it holds in pieces of a length, waking its reader between them.
struct Pieces<'a> {
    rest: &'a [u8],
    len: usize,
    is_ready: bool,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.is_ready = !self.is_ready;
        if !self.is_ready {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let len = self.len.min(self.rest.len()).min(buffer.remaining());
        let (piece, rest) = self.rest.split_at(len);
        buffer.put_slice(piece);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

fn read_all(input: &[u8], piece_len: usize, buffer_len: usize) -> io::Result<Vec<u8>> {
    let mut pieces = Pieces {
        rest: input,
        len: piece_len,
        is_ready: false,
    };
    let mut repair = Repair::new();
    let mut context = Context::from_waker(Waker::noop());
    let mut output = Vec::new();
    loop {
        let mut buffer = vec![0; buffer_len];
        let mut buffer = ReadBuf::new(&mut buffer);
        match repair.poll_read(Pin::new(&mut pieces), &mut context, &mut buffer) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Ok(output),
            Poll::Ready(Ok(())) => output.extend_from_slice(buffer.filled()),
            Poll::Ready(Err(error)) => return Err(error),
        }
    }
}

#[test]
fn reader_sees_the_rewritten_conversation_whatever_the_buffers() {
    let (input, expected) = conversation();
    for (piece_len, buffer_len) in [(1, 1), (7, 3), (4096, 4096), (100_000, 100_000), (50, 9000)] {
        let output = read_all(&input, piece_len, buffer_len).unwrap();
        assert!(output == expected, "{piece_len} {buffer_len}");
    }
    assert_eq!(
        read_all(b"GET / HTTP/1.1\r\n\r\n", 3, 5).unwrap(),
        b"GET / HTTP/1.1\r\n\r\n"
    );
    assert_eq!(
        read_all(b"PRI * HTTP/2.1", 100, 100).unwrap(),
        b"PRI * HTTP/2.1"
    );
    let broken = [PREFACE, &frame(HEADERS, END_HEADERS, 1, &[0x80])].concat();
    let error = read_all(&broken, 100, 100).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn blocks_are_bounded_and_whole() {
    let begin = frame(HEADERS, 0, 1, &[0x83]);
    let more = frame(CONTINUATION, 0, 1, &[0; 16_384]);
    let empty = frame(CONTINUATION, 0, 1, &[]);
    for (frames, expected) in [
        (
            [vec![&begin], vec![&more; 4]].concat(),
            RewriteError::BlockTooLarge,
        ),
        (
            [vec![&begin], vec![&empty; 64]].concat(),
            RewriteError::BlockTooLarge,
        ),
        (
            vec![&frame(HEADERS, 0, 1, &[0; 16_385])],
            RewriteError::FrameTooLarge,
        ),
        (
            vec![&begin, &frame(0, 0, 1, &[])],
            RewriteError::BrokenBlock,
        ),
        (
            vec![&begin, &frame(CONTINUATION, 0, 3, &[])],
            RewriteError::BrokenBlock,
        ),
        (vec![&begin, &begin], RewriteError::BrokenBlock),
        (
            vec![&frame(HEADERS, FrameHeader::PADDED, 1, &[])],
            RewriteError::BrokenBlock,
        ),
        (
            vec![&frame(HEADERS, FrameHeader::PADDED, 1, &[2, 0])],
            RewriteError::BrokenBlock,
        ),
        (
            vec![&frame(HEADERS, FrameHeader::PRIORITY, 1, &[0; 4])],
            RewriteError::BrokenBlock,
        ),
    ] {
        let parts: Vec<&[u8]> = std::iter::once(PREFACE)
            .chain(frames.iter().map(|frame| frame.as_slice()))
            .collect();
        assert_eq!(rewritten(&parts), Err(expected));
    }
}

#[test]
fn large_blocks_leave_in_frames_of_legal_size() {
    let long = "v".repeat(20_000);
    let fields = [
        (":method", "GET"),
        (":authority", "localhost"),
        ("x", &long),
    ];
    let encoded = block(&fields);
    let (head, tail) = encoded.split_at(16_384);
    let input = [
        PREFACE,
        &frame(HEADERS, 0, 1, head),
        &frame(CONTINUATION, END_HEADERS, 1, tail),
    ]
    .concat();
    assert_eq!(rewritten(&[&input]).unwrap(), input);
}

#[test]
fn truncated_and_bent_conversations_never_panic() {
    let (input, _) = conversation();
    // The long payload passes unseen; one byte of it stands for all.
    let interesting = (0..200).chain(input.len() - 40..input.len());
    for at in interesting {
        read_all(&input[..at], 4096, 4096).ok();
        for bit in 0..8 {
            let mut bent = input.clone();
            bent[at] ^= 1 << bit;
            read_all(&bent, 4096, 4096).ok();
        }
    }
}
