//! What clients send over a Unix socket before the HTTP/2 library sees it: frames and header blocks.

use daemon::unix::repaired;

use crate::input::Input;

/// A conversation as the socket gives it, the length of a piece in the first byte.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let step = usize::from(input.byte()) + 1;
    let conversation = input.rest();
    let whole = repaired([conversation]);
    // However it is cut, it means the same.
    assert_eq!(repaired(conversation.chunks(step)), whole);
    if let Some(repaired_once) = whole {
        // What is legal is left alone.
        assert_eq!(
            repaired([&repaired_once[..]]).as_ref(),
            Some(&repaired_once)
        );
    }
}

/// Conversations with literals, indexed and Huffman-coded fields, padding and continuations.
pub fn seeds() -> Vec<Vec<u8>> {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let len = u8::try_from(payload.len()).expect("seeds are short");
        [&[0, 0, len, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    // RFC 7541 C.4.1: GET http://www.example.com/, its authority Huffman-coded.
    let huffman: &[u8] = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
    let socket: &[u8] = b"\x83\x86\x84\x41\x0b/tmp/a.sock\x40\x02te\x08trailers";
    let settings = frame(4, 0, 0, &[]);
    let start = |step: u8| [&[step], PREFACE, &settings].concat();
    let data = frame(0, 1, 1, b"\0\0\0\0\0");
    vec![
        [start(255), frame(1, 4, 1, huffman), data.clone()].concat(),
        [start(3), frame(1, 4, 1, socket), data].concat(),
        [
            start(9),
            frame(1, 0, 1, &socket[..9]),
            frame(9, 4, 1, &socket[9..]),
            frame(
                1,
                0x2c,
                3,
                &[&[2, 0, 0, 0, 0, 15][..], b"\xbe\x86\x84", &[0, 0]].concat(),
            ),
        ]
        .concat(),
        b"\x10GET / HTTP/1.1\r\n\r\n".to_vec(),
    ]
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
