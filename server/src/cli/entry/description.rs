//! The entries that a command line describes, by flags or by a JSON document.

use anyhow::Context as _;
use daemon::{
    command_line::{Terminal, path_error_text},
    flags::{FlagSet, Parsed},
};
use identity::spiffe_id::SpiffeId;
use proto::{
    convert,
    spire::api::types::{Entry, entry::AdditionalAttributes},
};

use super::document;
use crate::cli::shared_flags::selectors;

/// A document of this size holds some hundred thousand entries, far above what one call takes.
const MAX_DOCUMENT_LEN_BYTES: u64 = 64 * 1024 * 1024;

/// The flags that `entry create` and `entry update` share.
pub(super) fn flags(flags: FlagSet) -> FlagSet {
    flags
        .string(
            "entryID",
            "",
            "ID of the entry; the server chooses one for a new entry without.",
        )
        .string(
            "parentID",
            "",
            "SPIFFE ID of the agent or node that may issue the identity.",
        )
        .string("spiffeID", "", "SPIFFE ID that the workload gets.")
        .list(
            "selector",
            "Selector type:value that the workload must have. May be repeated.",
        )
        .integer(
            "x509SVIDTTL",
            0,
            "Lifetime of X.509-SVIDs in seconds; 0 for the server's default.",
        )
        .alias("ttl", "x509SVIDTTL")
        .integer(
            "jwtSVIDTTL",
            0,
            "Lifetime of JWT-SVIDs in seconds; 0 for the server's default.",
        )
        .list(
            "federatesWith",
            "Trust domain whose bundle the workload gets too. May be repeated.",
        )
        .boolean(
            "admin",
            "The workload may use the server's administrative API.",
        )
        .boolean("storeSVID", "The agent stores the SVID through a plugin.")
        .boolean("downstream", "The workload is a server below this one.")
        .integer(
            "entryExpiry",
            0,
            "Time, in seconds since 1970, from which the entry is gone.",
        )
        .list("dns", "DNS name for the X.509-SVID. May be repeated.")
        .string(
            "hint",
            "",
            "What the workload may choose between several identities by.",
        )
        .boolean(
            "disableX509SVIDPrefetch",
            "The agent gets the X.509-SVID only when it is asked for.",
        )
        .boolean("jwtSVIDIncludeJTI", "JWT-SVIDs carry an ID of their own.")
        .string(
            "data",
            "",
            "File with entries in JSON, instead of the other flags; - for standard input.",
        )
}

/// The flags that must be there when no document is named.
pub(super) fn check(parsed: &Parsed) -> anyhow::Result<()> {
    anyhow::ensure!(
        !parsed.list("selector").is_empty(),
        "at least one selector is required"
    );
    Ok(())
}

/// Lifetimes and the end must not be negative.
pub(super) fn check_times(parsed: &Parsed) -> anyhow::Result<()> {
    anyhow::ensure!(
        parsed.integer("x509SVIDTTL") >= 0,
        "a positive x509-SVID TTL is required"
    );
    anyhow::ensure!(
        parsed.integer("jwtSVIDTTL") >= 0,
        "a positive JWT-SVID TTL is required"
    );
    anyhow::ensure!(
        parsed.integer("entryExpiry") >= 0,
        "-entryExpiry must not be negative: give the end in seconds since 1970, or 0 for none"
    );
    Ok(())
}

/// Who may issue the identity.
pub(super) enum Parent {
    /// The agent or node of `-parentID`.
    Named,
    /// The server itself: the entry groups agents.
    Server,
}

/// The entry that the flags describe.
pub(super) fn from_flags(parsed: &Parsed, parent: &Parent) -> anyhow::Result<Entry> {
    let id = SpiffeId::parse(parsed.string("spiffeID"))?;
    let parent_id = match parent {
        Parent::Named => SpiffeId::parse(parsed.string("parentID"))?,
        Parent::Server => SpiffeId::server(id.trust_domain()),
    };
    let seconds = |flag: &str| {
        i32::try_from(parsed.integer(flag))
            .ok()
            .with_context(|| format!("the value of -{flag} is too large"))
    };
    Ok(Entry {
        id: parsed.string("entryID").to_owned(),
        spiffe_id: Some(convert::id::to_wire(&id)),
        parent_id: Some(convert::id::to_wire(&parent_id)),
        selectors: selectors(parsed.list("selector"))?,
        x509_svid_ttl: seconds("x509SVIDTTL")?,
        jwt_svid_ttl: seconds("jwtSVIDTTL")?,
        federates_with: parsed.list("federatesWith").to_vec(),
        admin: parsed.boolean("admin"),
        downstream: parsed.boolean("downstream"),
        expires_at: parsed.integer("entryExpiry"),
        dns_names: parsed.list("dns").to_vec(),
        store_svid: parsed.boolean("storeSVID"),
        hint: parsed.string("hint").to_owned(),
        additional_attributes: attributes(parsed, AdditionalAttributes::default()),
        ..Entry::default()
    })
}

/// Whether a flag says something about the additional attributes.
pub(super) fn names_attributes(parsed: &Parsed) -> bool {
    parsed.is_set("disableX509SVIDPrefetch") || parsed.is_set("jwtSVIDIncludeJTI")
}

/// `before` with what the flags say; nothing if they say nothing.
pub(super) fn attributes(
    parsed: &Parsed,
    mut before: AdditionalAttributes,
) -> Option<AdditionalAttributes> {
    if parsed.is_set("disableX509SVIDPrefetch") {
        before.disable_x509_svid_prefetch = parsed.boolean("disableX509SVIDPrefetch");
    }
    if parsed.is_set("jwtSVIDIncludeJTI") {
        before.jwt_svid_include_jti = parsed.boolean("jwtSVIDIncludeJTI");
    }
    names_attributes(parsed).then_some(before)
}

/// The entries of the document that `-data` names; none without the flag.
pub(super) fn from_document(
    parsed: &Parsed,
    terminal: &mut Terminal,
) -> anyhow::Result<Option<Vec<Entry>>> {
    match parsed.string("data") {
        "" => Ok(None),
        path => {
            let bytes = read_document(path, terminal)?;
            document::entries(&bytes).map(Some)
        }
    }
}

/// The bytes of a JSON document, from a file or from standard input.
pub(super) fn read_document(path: &str, terminal: &mut Terminal) -> anyhow::Result<Vec<u8>> {
    terminal
        .read_file_or_input(path, MAX_DOCUMENT_LEN_BYTES)
        .map_err(|error| anyhow::Error::msg(path_error_text("open", path.as_ref(), &error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_before_1970_is_refused_and_zero_is_none() {
        let check = |expiry: &str| {
            let arguments = ["-entryExpiry", expiry].map(str::to_owned);
            let parsed = flags(FlagSet::new("entry create")).parse(&arguments);
            check_times(&parsed.unwrap()).map_err(|error| error.to_string())
        };
        let refused =
            "-entryExpiry must not be negative: give the end in seconds since 1970, or 0 for none";
        assert_eq!(check("-5"), Err(refused.to_owned()));
        assert_eq!(check("0"), Ok(()));
    }
}
