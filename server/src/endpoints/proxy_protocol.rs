//! Owns the PROXY protocol (haproxy's `proxy-protocol.txt`, versions 1 and 2): what a trusted load
//! balancer says about where a connection really comes from.
//!
//! Only the address is taken, for rate limits, logs and attestors; who a caller is, its certificate
//! says. A header from anybody else ends the connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;

/// Networks whose headers are believed; none switches the protocol off.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TrustedProxies(Box<[Network]>);

impl TrustedProxies {
    /// The proxies in `networks`.
    pub fn new(networks: Vec<Network>) -> Self {
        Self(networks.into())
    }

    /// Where `stream` comes from: what a trusted proxy says, or else `peer`. A header is read off
    /// the stream.
    ///
    /// # Errors
    /// The header is malformed, cut short, or comes from somebody who is not trusted.
    pub(super) async fn origin(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
    ) -> io::Result<SocketAddr> {
        if self.0.is_empty() {
            return Ok(peer);
        }
        let mut first = [0];
        // A TLS handshake begins with neither.
        if stream.peek(&mut first).await? == 0 || ![V1[0], V2[0]].contains(&first[0]) {
            return Ok(peer);
        }
        let address = peer.ip().to_canonical();
        if !self.0.iter().any(|network| network.contains(address)) {
            return Err(malformed(
                "PROXY header from an address that is not trusted",
            ));
        }
        let told = match first[0] == V2[0] {
            true => read_v2(stream).await?,
            false => read_v1(stream).await?,
        };
        Ok(told.unwrap_or(peer))
    }
}

/// Addresses that have their first bits in common.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    address: IpAddr,
    prefix_len: u8,
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.prefix_len);
                let first = |address: Ipv4Addr| u32::from(address).checked_shr(shift);
                first(own) == first(other)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix_len);
                let first = |address: Ipv6Addr| u128::from(address).checked_shr(shift);
                first(own) == first(other)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    /// Reads `10.0.0.0/8`.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let refused = || NotANetwork(text.to_owned());
        let (address, prefix_len) = text.split_once('/').ok_or_else(refused)?;
        let address: IpAddr = address.parse().map_err(|_error| refused())?;
        let prefix_len = u8::try_from(number(prefix_len).ok_or_else(refused)?);
        let prefix_len = prefix_len.map_err(|_error| refused())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        match prefix_len <= longest {
            true => Ok(Self {
                address,
                prefix_len,
            }),
            false => Err(refused()),
        }
    }
}

/// A text that names no network.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("invalid CIDR address: {0}")]
pub struct NotANetwork(String);

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, with its line end.
const V1_MAX_LEN_BYTES: usize = 107;

/// The longest rest of a header of version 2: more than addresses and all extensions in use.
const V2_MAX_LEN_BYTES: usize = 2048;

/// A line of text; `None` if the proxy does not know, or speaks for itself.
async fn read_v1(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut line = Vec::with_capacity(V1_MAX_LEN_BYTES);
    while !line.ends_with(b"\r\n") {
        if line.len() == V1_MAX_LEN_BYTES {
            return Err(malformed("PROXY header without an end"));
        }
        line.push(stream.read_u8().await?);
    }
    let line = std::str::from_utf8(&line).map_err(|_error| malformed(NOT_A_HEADER))?;
    let mut words = line.trim_end().split(' ');
    if words.next() != Some("PROXY") {
        return Err(malformed(NOT_A_HEADER));
    }
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let [
        Some(source),
        Some(_destination),
        Some(port),
        Some(_port),
        None,
    ] = [
        words.next(),
        words.next(),
        words.next(),
        words.next(),
        words.next(),
    ]
    else {
        return Err(malformed(NOT_A_HEADER));
    };
    let source: IpAddr = source.parse().map_err(|_error| malformed(NOT_A_HEADER))?;
    let port = number(port).ok_or_else(|| malformed(NOT_A_HEADER))?;
    let is_of_family = match family {
        "TCP4" => source.is_ipv4(),
        "TCP6" => source.is_ipv6(),
        _ => false,
    };
    match is_of_family {
        true => Ok(Some(SocketAddr::new(source, port))),
        false => Err(malformed(NOT_A_HEADER)),
    }
}

/// Binary:
///
/// | offset | length | content |
/// |---|---|---|
/// | 0 | 12 | signature |
/// | 12 | 1 | version 2 in the upper half, command in the lower: 0 local, 1 proxy |
/// | 13 | 1 | family in the upper half: 1 IPv4, 2 IPv6; protocol in the lower: 1 stream |
/// | 14 | 2 | length of the rest, big-endian |
/// | 16 | 4 or 16 | source, then destination of the same length |
/// | | 2 | port of the source, then of the destination; extensions follow |
async fn read_v2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut start = [0; 16];
    stream.read_exact(&mut start).await?;
    let len = usize::from(u16::from_be_bytes([start[14], start[15]]));
    if start[..12] != *V2 || start[12] >> 4 != 2 || len > V2_MAX_LEN_BYTES {
        return Err(malformed(NOT_A_HEADER));
    }
    let mut rest = vec![0; len];
    stream.read_exact(&mut rest).await?;
    match (start[12] & 0xf, start[13]) {
        // A proxy that looks whether the server lives.
        (0, _) => Ok(None),
        (1, 0x11) => {
            let source: [u8; 4] = part(&rest, 0)?;
            Ok(Some(SocketAddr::new(source.into(), port(&rest, 8)?)))
        }
        (1, 0x21) => {
            let source: [u8; 16] = part(&rest, 0)?;
            Ok(Some(SocketAddr::new(source.into(), port(&rest, 32)?)))
        }
        (1, _) => Ok(None),
        _ => Err(malformed(NOT_A_HEADER)),
    }
}

/// What the header at the beginning of `bytes` says, and how much is left behind it.
#[cfg(feature = "fuzzing")]
pub async fn told_origin(bytes: &[u8]) -> io::Result<(Option<SocketAddr>, usize)> {
    let mut rest = bytes;
    let told = match bytes.first() == V2.first() {
        true => read_v2(&mut rest).await?,
        false => read_v1(&mut rest).await?,
    };
    Ok((told, rest.len()))
}

/// A number in digits alone.
fn number(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    let part = bytes.get(at..at + N).and_then(|part| part.try_into().ok());
    part.ok_or_else(|| malformed(NOT_A_HEADER))
}

fn port(bytes: &[u8], at: usize) -> io::Result<u16> {
    part(bytes, at).map(u16::from_be_bytes)
}

const NOT_A_HEADER: &str = "malformed PROXY header";

fn malformed(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn v1(text: &str) -> Result<Option<String>, String> {
        let told = read_v1(&mut text.as_bytes()).await;
        told.map(|told| told.map(|told| told.to_string()))
            .map_err(|error| error.to_string())
    }

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2, &[0x20 | command, family], &len, rest].concat()
    }

    async fn v2(header: &[u8]) -> Result<Option<String>, String> {
        let told = read_v2(&mut &*header).await;
        told.map(|told| told.map(|told| told.to_string()))
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_line_tells_the_source() {
        let told = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(
            v1("PROXY TCP4 10.1.2.3 10.0.0.1 567 8081\r\n").await,
            told("10.1.2.3:567")
        );
        assert_eq!(
            v1("PROXY TCP6 fd00::1 fd00::2 1 2\r\n").await,
            told("[fd00::1]:1")
        );
        assert_eq!(v1("PROXY UNKNOWN and more\r\n").await, Ok(None));
        for broken in [
            "PROXY TCP4 fd00::1 fd00::2 1 2\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 567\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 567 1 1\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 99999 1\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 +567 1\r\n",
            "PRIXY TCP4 10.1.2.3 10.0.0.1 567 1\r\n",
            "PROXY TCP4",
        ] {
            v1(broken).await.unwrap_err();
        }
        let endless = "PROXY ".repeat(100);
        assert_eq!(
            v1(&endless).await,
            Err("PROXY header without an end".to_owned())
        );
    }

    #[tokio::test]
    async fn bytes_tell_the_source() {
        let four = [10, 1, 2, 3, 10, 0, 0, 1, 2, 0, 3, 0, 0xff];
        assert_eq!(
            v2(&header(1, 0x11, &four)).await,
            Ok(Some("10.1.2.3:512".to_owned()))
        );
        let mut six = [0; 36];
        (six[0], six[15], six[33]) = (0xfd, 1, 7);
        assert_eq!(
            v2(&header(1, 0x21, &six)).await,
            Ok(Some("[fd00::1]:7".to_owned()))
        );
        assert_eq!(v2(&header(0, 0, &[])).await, Ok(None));
        assert_eq!(v2(&header(1, 0x31, &[0; 216])).await, Ok(None));
        for broken in [
            header(1, 0x11, &four[..9]),
            header(2, 0x11, &four),
            header(1, 0x11, &[0; V2_MAX_LEN_BYTES + 1]),
        ] {
            v2(&broken).await.unwrap_err();
        }
        let whole = header(1, 0x11, &four);
        for len in 0..whole.len() {
            v2(&whole[..len]).await.unwrap_err();
        }
    }

    #[test]
    fn networks_contain_what_begins_like_them() {
        let contains = |network: &str, address: &str| {
            let network: Network = network.parse().unwrap();
            network.contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("10.0.0.1/32", "10.0.0.1") && !contains("10.0.0.1/32", "10.0.0.2"));
        assert!(contains("0.0.0.0/0", "1.2.3.4") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("fd00::/16", "fd00:1::") && !contains("fd00::/16", "fd01::"));
        assert!(contains("::/0", "fd00::1"));
        for broken in [
            "10.0.0.0",
            "10.0.0.0/33",
            "::/129",
            "x/8",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
        ] {
            let error = broken.parse::<Network>().unwrap_err();
            assert_eq!(error.to_string(), format!("invalid CIDR address: {broken}"));
        }
    }
}
