//! An invite, taken apart and put together wrong: what a member must refuse.

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message as _;
use proto::conclave::cluster::v1::Invite;

/// What every invite begins with.
pub const PREFIX: &str = "conclave-invite-v1.";
/// The check value at its end protects from typing errors only, so a forger makes a right one.
const CHECK_LEN_BYTES: usize = 4;

/// The same invite with what `change` does to it.
///
/// # Errors
/// The text is no invite.
pub fn forged(text: &str, change: impl FnOnce(&mut Invite)) -> anyhow::Result<String> {
    let encoded = text.strip_prefix(PREFIX).context("not an invite")?;
    let bytes = URL_SAFE_NO_PAD
        .decode(encoded)
        .context("an invite that is no base64url")?;
    let (message, _check) = bytes
        .split_last_chunk::<CHECK_LEN_BYTES>()
        .context("a short invite")?;
    let mut invite = Invite::decode(message).context("an invite without its message")?;
    change(&mut invite);
    let mut bytes = invite.encode_to_vec();
    let check = digest(&SHA256, &bytes);
    bytes.extend_from_slice(&check.as_ref()[..CHECK_LEN_BYTES]);
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}
