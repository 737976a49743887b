//! The examples of RFC 7541, and what no encoder sends.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn check(decoder: &mut Decoder, block: &str, expected: &[(&str, &str)]) {
    let headers = decoder.decode(&hex(block)).unwrap();
    let decoded: Vec<_> = headers
        .iter()
        .map(|header| {
            let text = |bytes| std::str::from_utf8(bytes).unwrap();
            (text(&header.name), text(&header.value))
        })
        .collect();
    assert_eq!(decoded, expected);
    // What is encoded again decodes to the same without any memory.
    let mut again = BytesMut::new();
    encode(&headers, &mut again);
    assert_eq!(Decoder::new().decode(&again).unwrap(), headers);
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
];

#[test]
fn request_examples_of_rfc_7541_decode() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for [first, second, third] in [plain, huffman] {
        let mut decoder = Decoder::new();
        check(&mut decoder, first, &GET);
        let mut cached = GET.to_vec();
        cached.push(("cache-control", "no-cache"));
        check(&mut decoder, second, &cached);
        let custom = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        check(&mut decoder, third, &custom);
    }
}

#[test]
fn table_forgets_the_oldest_when_full() {
    // Appendix C.5 with its table of 256 bytes: the third response finds the first one's date gone.
    let mut decoder = Decoder::new();
    let first = "3fe1 01 48 0333 3032 580770726976617465 611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54 6e1768747470733a2f2f7777772e6578616d706c652e636f6d";
    let mut fields = [
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ];
    check(&mut decoder, first, &fields);
    fields[0].1 = "307";
    check(&mut decoder, "4803 3330 37c1 c0bf", &fields);
    // Index 65 was the status 302 before it was evicted.
    fields[0].1 = "307";
    check(&mut decoder, "c1 c0 bf", &[fields[1], fields[2], fields[3]]);
    assert_eq!(decoder.decode(&[0xc2]), Err(HpackError::Index));
}

#[test]
fn sensitive_fields_stay_sensitive() {
    let block = hex("1008 7061 7373 776f 7264 0673 6563 7265 74");
    let headers = Decoder::new().decode(&block).unwrap();
    assert!(headers[0].is_sensitive);
    let mut again = BytesMut::new();
    encode(&headers, &mut again);
    assert_eq!(again, block);
}

#[test]
fn long_strings_are_encoded_with_long_lengths() {
    for len in [0, 126, 127, 128, 254, 255, 16_510, 16_511] {
        let header = Header {
            name: Bytes::from_static(b"x"),
            value: vec![b'v'; len].into(),
            is_sensitive: false,
        };
        let mut block = BytesMut::new();
        encode(std::slice::from_ref(&header), &mut block);
        assert_eq!(Decoder::new().decode(&block), Ok(vec![header]), "{len}");
    }
}

#[test]
fn malformed_blocks_are_refused() {
    for (block, expected) in [
        ("80", HpackError::Index),
        ("be", HpackError::Index),
        ("7f", HpackError::Truncated),
        ("ffff ffff ffff 7f", HpackError::Integer),
        ("4005 61", HpackError::Truncated),
        ("00 8101 00", HpackError::Huffman),
        ("00 81ff 00", HpackError::Huffman),
        ("00 84ff ffff ff 00", HpackError::Huffman),
        ("3fe2 1f", HpackError::TableSize),
        ("82 20", HpackError::TableSize),
    ] {
        let decoded = Decoder::new().decode(&hex(block));
        assert_eq!(decoded, Err(expected), "{block}");
    }
}

#[test]
fn decoded_size_is_bounded_however_small_the_block() {
    let mut block = hex("40 01 78 7f a1 1e");
    block.extend(vec![b'v'; 4000]);
    let mut decoder = Decoder::new();
    assert_eq!(decoder.decode(&block).unwrap().len(), 1);
    assert_eq!(decoder.decode(&[0xbe; 15]).unwrap().len(), 15);
    assert_eq!(decoder.decode(&[0xbe; 17]), Err(HpackError::TooLarge));
}

#[test]
fn truncated_and_bent_blocks_never_panic() {
    let block = hex(
        "3fe101 8286 84be 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf 1008 7061 7373 776f 7264 0673 6563 7265 74",
    );
    for end in 0..block.len() {
        Decoder::new().decode(&block[..end]).ok();
    }
    for at in 0..block.len() {
        for value in 0..=255 {
            let mut bent = block.clone();
            bent[at] = value;
            Decoder::new().decode(&bent).ok();
        }
    }
}
