//! What a private key looks like when it is written down.

/// The names of the kinds of document that hold a private key and are in `bytes`.
pub(super) fn private_keys(bytes: &[u8]) -> Vec<&'static str> {
    let found = MARKS
        .iter()
        .filter(|(_, mark)| super::contains(bytes, mark));
    found.map(|(name, _)| *name).collect()
}

/// PKCS#8 begins with version 0 and the algorithm (RFC 5208 §5), SEC 1 with version 1 and the octets of the key
/// (RFC 5915 §3), PEM with a line that says so (RFC 7468 §10); a JWK has a member called d (RFC 7518 §6.2.2).
const MARKS: &[(&str, &[u8])] = &[
    (
        "PKCS#8 of an elliptic-curve key",
        b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",
    ),
    (
        "PKCS#8 of a P-384 key",
        b"\x02\x01\x00\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",
    ),
    (
        "PKCS#8 of an RSA key",
        b"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01",
    ),
    (
        "PKCS#8 of an Ed25519 key",
        b"\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04",
    ),
    ("SEC 1 of a P-256 key", b"\x30\x77\x02\x01\x01\x04\x20"),
    (
        "SEC 1 of a P-256 key without its public key",
        b"\x30\x31\x02\x01\x01\x04\x20",
    ),
    ("SEC 1 inside PKCS#8", b"\x30\x6b\x02\x01\x01\x04\x20"),
    ("PEM of a private key", b"PRIVATE KEY-----"),
    ("JWK of a private key", b"\"d\":\""),
];
