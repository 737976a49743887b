//! The stored form of commands, byte by byte: what an older version wrote must mean the same.

use identity::clock::UnixTime;
use identity::entry::EntryId;
use identity::hex;

use super::*;
use crate::command::{
    DeleteEntries, Envelope, NEWEST_FORMAT, RequestId, SetClusterVersion, SetSetting,
};

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

fn delete() -> Envelope {
    Envelope {
        request_id: RequestId::from_bytes([0xab; 16]),
        at: UnixTime::from_secs(1_800_000_000),
        command: DeleteEntries {
            ids: vec![EntryId::parse("web").unwrap()],
        }
        .into(),
    }
}

/// Frame 1; format 1; request id; time; field 18 with one id.
const DELETE: &str = "0108011210abababababababababababababababab1880a4a7da06920105 0a03776562";

fn golden() -> Vec<u8> {
    bytes(&DELETE.replace(' ', ""))
}

#[test]
fn a_command_has_the_bytes_that_it_always_had() {
    assert_eq!(
        hex::lower(&encode_envelope(&delete())),
        hex::lower(&golden())
    );
    assert_eq!(decode_envelope(&golden()).unwrap(), delete());
}

#[test]
fn a_newer_frame_or_format_is_refused_not_skipped() {
    let mut newer_frame = golden();
    newer_frame[0] = 2;
    let mut newer_format = golden();
    newer_format[2] = 9;
    let to_newer = encode_envelope(&Envelope {
        command: SetClusterVersion {
            version: NEWEST_FORMAT + 1,
            voters: vec![1],
        }
        .into(),
        ..delete()
    });
    for (bytes, versions) in [
        (newer_frame, (2, Frame::VERSION.into())),
        (newer_format, (9, NEWEST_FORMAT)),
        (to_newer, (NEWEST_FORMAT + 1, NEWEST_FORMAT)),
    ] {
        match decode_envelope(&bytes) {
            Err(DecodeError::NewerFormat { found, known }) => assert_eq!((found, known), versions),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_unknown_command_is_refused_not_skipped() {
    // Field 200 instead of 18: what a newer version might add.
    let unknown = golden().iter().take(27).copied().collect::<Vec<_>>();
    let unknown = [unknown.as_slice(), &bytes("c20c050a03776562")].concat();
    let result = decode_envelope(&unknown);
    assert!(
        matches!(result, Err(DecodeError::UnknownCommand)),
        "{result:?}"
    );
}

#[test]
fn no_cut_or_flipped_byte_panics_and_a_cut_is_never_the_whole() {
    let whole = golden();
    for len in 0..whole.len() {
        let cut = decode_envelope(&whole[..len]);
        assert!(
            !matches!(cut, Ok(envelope) if envelope == delete()),
            "{len}"
        );
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[len] ^= 1 << bit;
            assert_ne!(decode_envelope(&flipped).ok(), Some(delete()));
        }
    }
}

#[test]
fn a_setting_goes_there_and_back() {
    let envelope = Envelope {
        command: SetSetting {
            key: "name".into(),
            value: vec![0, 255],
            only_if_absent: true,
        }
        .into(),
        ..delete()
    };
    assert_eq!(
        decode_envelope(&encode_envelope(&envelope)).unwrap(),
        envelope
    );
}
