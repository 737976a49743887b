//! Invites as text: what an operator carries from a member to the host that is to become one.
//!
//! The text holds a secret that is good once and for minutes; it has no `Debug` that shows it.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::hex;
use identity::secret::SecretBytes;
use identity::tls::AuthorityPin;
use prost::Message as _;
use proto::conclave::cluster::v1 as wire;
use zeroize::Zeroizing;

use crate::peers::name;

/// What a joiner needs to know to get in.
pub struct Invite {
    /// Which cluster.
    pub(crate) cluster_id: [u8; 16],
    /// Which invite.
    pub(crate) id: [u8; 16],
    /// Proves that the invite was handed over.
    pub(crate) secret: SecretBytes,
    /// SHA-256 of the public key of the cluster's active peer authority.
    pub(crate) authority_spki_sha256: [u8; 32],
    /// Where members listen, to be tried in turn. Not empty.
    pub(crate) addresses: Vec<String>,
}

impl Invite {
    /// By what a member of the cluster is recognised.
    pub(crate) fn pin(&self) -> AuthorityPin {
        AuthorityPin {
            trust_domain: name::trust_domain(&self.cluster_id),
            spki_sha256: self.authority_spki_sha256,
        }
    }

    /// The text to hand over. It is as secret as the invite.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut message = Zeroizing::new(self.to_wire().encode_to_vec());
        let check = check(&message);
        message.extend_from_slice(&check);
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 2 * message.len()));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(&*message, &mut text);
        text
    }

    fn to_wire(&self) -> wire::Invite {
        wire::Invite {
            cluster_id: self.cluster_id.to_vec(),
            invite_id: self.id.to_vec(),
            secret: self.secret.expose().to_vec(),
            authority_spki_sha256: self.authority_spki_sha256.to_vec(),
            addresses: self.addresses.clone(),
        }
    }
}

impl FromStr for Invite {
    type Err = InviteError;

    /// Reads what [`Invite::to_text`] made; white space around it does not matter.
    fn from_str(text: &str) -> Result<Self, InviteError> {
        let text = text.trim();
        if text.len() > MAX_TEXT_LEN_BYTES {
            return Err(InviteError::TooLong);
        }
        let encoded = text.strip_prefix(PREFIX).ok_or(InviteError::Prefix)?;
        let message = URL_SAFE_NO_PAD.decode(encoded).map(Zeroizing::new);
        let message = message.map_err(|_position| InviteError::Damaged)?;
        let (message, found) = message.split_last_chunk().ok_or(InviteError::Damaged)?;
        if *found != check(message) {
            return Err(InviteError::Damaged);
        }
        let wire = wire::Invite::decode(message).map_err(|_field| InviteError::Damaged)?;
        let secret = Zeroizing::new(wire.secret);
        let has_addresses = (1..=MAX_ADDRESSES).contains(&wire.addresses.len());
        if secret.len() != SECRET_LEN_BYTES || !has_addresses {
            return Err(InviteError::Damaged);
        }
        let damaged = |_bytes: Vec<u8>| InviteError::Damaged;
        let spki = wire.authority_spki_sha256;
        Ok(Self {
            cluster_id: wire.cluster_id.try_into().map_err(damaged)?,
            id: wire.invite_id.try_into().map_err(damaged)?,
            secret: SecretBytes::from(&secret[..]),
            authority_spki_sha256: spki.try_into().map_err(damaged)?,
            addresses: wire.addresses,
        })
    }
}

impl fmt::Debug for Invite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Invite")
            .field("cluster_id", &hex::lower(&self.cluster_id))
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// Tells a text that was cut short or mistyped before anything is tried with it. It protects from
/// nothing else.
fn check(message: &[u8]) -> [u8; CHECK_LEN_BYTES] {
    let digest = digest(&SHA256, message);
    let mut check = [0; CHECK_LEN_BYTES];
    check.copy_from_slice(&digest.as_ref()[..CHECK_LEN_BYTES]);
    check
}

/// Why a text is no invite. Never shows the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InviteError {
    /// It does not begin as an invite does.
    #[error(
        "this is no invite: it does not begin with {PREFIX:?}; take all of what `cluster invite` printed"
    )]
    Prefix,
    /// It is longer than any invite.
    #[error("this is no invite: it is too long")]
    TooLong,
    /// Something is missing or changed.
    #[error(
        "the invite is damaged or cut short; copy all of it, or make a new one with `cluster invite`"
    )]
    Damaged,
}

/// Random bytes of the secret.
pub(crate) const SECRET_LEN_BYTES: usize = 32;

/// More addresses are not put into an invite: one that answers is enough.
pub(crate) const MAX_ADDRESSES: usize = 16;

const CHECK_LEN_BYTES: usize = 4;
const PREFIX: &str = "conclave-invite-v1.";
const MAX_TEXT_LEN_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn invite() -> Invite {
        Invite {
            cluster_id: [1; 16],
            id: [2; 16],
            secret: SecretBytes::new(vec![3; 32]),
            authority_spki_sha256: [4; 32],
            addresses: vec!["a.test:8083".to_owned(), "[::1]:8083".to_owned()],
        }
    }

    #[test]
    fn text_is_read_back() {
        let invite = invite();
        let text = invite.to_text();
        let read: Invite = format!(" {}\n", text.as_str()).parse().unwrap();
        assert_eq!(read.to_text(), text);
        assert_eq!(read.addresses, invite.addresses);
        assert!(read.secret == invite.secret);
    }

    #[test]
    fn damaged_texts_are_refused_and_not_shown() {
        let text = invite().to_text();
        for len in 0..text.len() {
            let refused = text[..len].parse::<Invite>().unwrap_err();
            assert!(!refused.to_string().contains("AwMDAwMD"), "{refused}");
        }
        assert_eq!("".parse::<Invite>().unwrap_err(), InviteError::Prefix);
        let long = format!("{PREFIX}{}", "A".repeat(MAX_TEXT_LEN_BYTES));
        assert_eq!(long.parse::<Invite>().unwrap_err(), InviteError::TooLong);
        let mut nowhere = invite();
        nowhere.addresses.clear();
        let refused = nowhere.to_text().parse::<Invite>().unwrap_err();
        assert_eq!(refused, InviteError::Damaged);
        let shown = format!("{:?}", invite());
        assert!(!shown.contains("[3, 3"), "{shown}");
    }
}
