//! `x509 mint`.

use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use daemon::{
    command_line::{Command, OutputFormat, Readers, Terminal, rfc3339_text, write_file},
    flags::Parsed,
};
use identity::{
    clock::{Clock as _, SystemClock},
    dns_name::DnsName,
    pem::{encode_certificates, encode_private_key},
    secret::{KeyType, PrivateKey, SecretBytes},
    spiffe_id::SpiffeId,
    x509::generate_csr,
};
use proto::spire::api::{
    server::{
        bundle::v1::{GetBundleRequest, bundle_client::BundleClient},
        svid::v1::{MintX509svidRequest, svid_client::SvidClient},
    },
    types::{Bundle, BundleMask, X509svid},
};
use rustls_pki_types::CertificateDer;
use serde::Serialize;

use super::{
    api,
    jwt::{is_capped, whole_seconds},
};

pub(super) fn mint_command() -> Command {
    Command {
        words: "x509 mint",
        synopsis: "Issues an X.509-SVID with a new key, without any entry.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            api::flags("x509 mint")
                .string("spiffeID", "", "SPIFFE ID for the SVID.")
                .list("dns", "DNS name for the SVID. May be repeated.")
                .duration(
                    "ttl",
                    Duration::ZERO,
                    "Lifetime of the SVID; 0 for the server's default.",
                )
                .string(
                    "write",
                    "",
                    "Folder to write svid.pem, key.pem and bundle.pem to.",
                )
        },
        run: |parsed, terminal| Box::pin(mint(parsed, terminal)),
    }
}

/// An SVID with its key and the roots that verify it.
struct Minted {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKey,
    roots: Vec<CertificateDer<'static>>,
}

async fn mint(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let id = parsed.string("spiffeID");
    anyhow::ensure!(!id.is_empty(), "spiffeID must be specified");
    let id = SpiffeId::parse(id)?;
    let dns_names = parsed.list("dns").iter().map(|name| DnsName::parse(name));
    let dns_names = dns_names.collect::<Result<Vec<_>, _>>()?;
    let ttl = parsed.duration("ttl");

    let key = PrivateKey::generate(KeyType::EcP256).context("unable to generate key")?;
    let request = MintX509svidRequest {
        csr: generate_csr(&key, Some(&id), &dns_names).context("unable to generate CSR")?,
        ttl: whole_seconds(ttl)?,
    };
    let asked_at = SystemClock.now();
    let svid = request_svid(parsed, request)
        .await
        .context("unable to mint SVID")?;
    let bundle = request_bundle(parsed)
        .await
        .context("unable to get bundle")?;
    anyhow::ensure!(
        !svid.cert_chain.is_empty(),
        "server response missing SVID chain"
    );
    anyhow::ensure!(
        !bundle.x509_authorities.is_empty(),
        "server response missing X.509 Root CAs"
    );

    if is_capped(asked_at, ttl, svid.expires_at) {
        terminal.error_line(&format!(
            "X509-SVID lifetime was capped shorter than specified ttl; expires {:?}",
            rfc3339_text(svid.expires_at)
        ));
    }
    let authorities = bundle.x509_authorities.into_iter();
    let minted = Minted {
        chain: svid
            .cert_chain
            .into_iter()
            .map(CertificateDer::from)
            .collect(),
        key,
        roots: authorities.map(|authority| authority.asn1.into()).collect(),
    };
    match (format, parsed.string("write")) {
        (OutputFormat::Json, _) => print_json(&minted, terminal),
        (OutputFormat::Pretty, "") => print(&minted, terminal),
        (OutputFormat::Pretty, folder) => write_files(&minted, folder, terminal),
    }
}

async fn request_svid(parsed: &Parsed, request: MintX509svidRequest) -> anyhow::Result<X509svid> {
    let mut client = SvidClient::new(api::connect(parsed).await?);
    let response = api::answer(client.mint_x509svid(request).await)?;
    Ok(response.svid.unwrap_or_default())
}

async fn request_bundle(parsed: &Parsed) -> anyhow::Result<Bundle> {
    let mut client = BundleClient::new(api::connect(parsed).await?);
    let request = GetBundleRequest {
        output_mask: Some(BundleMask {
            x509_authorities: true,
            ..BundleMask::default()
        }),
    };
    Ok(api::answer(client.get_bundle(request).await)?)
}

fn print(minted: &Minted, terminal: &mut Terminal) -> anyhow::Result<()> {
    terminal.print(&format!(
        "X509-SVID:\n{}\n",
        encode_certificates(&minted.chain)
    ));
    let key = encode_private_key(&minted.key);
    terminal.print("Private key:\n");
    terminal.print(secret_text(&key)?);
    terminal.print(&format!(
        "\nRoot CAs:\n{}",
        encode_certificates(&minted.roots)
    ));
    Ok(())
}

fn write_files(minted: &Minted, folder: &str, terminal: &mut Terminal) -> anyhow::Result<()> {
    let path = in_folder(folder, "svid.pem");
    write_file(
        &path,
        encode_certificates(&minted.chain).as_bytes(),
        Readers::All,
    )
    .context("unable to write SVID")?;
    terminal.line(&format!("X509-SVID written to {}", path.display()));

    let path = in_folder(folder, "key.pem");
    write_file(
        &path,
        encode_private_key(&minted.key).expose(),
        Readers::Owner,
    )
    .context("unable to write key")?;
    terminal.line(&format!("Private key written to {}", path.display()));

    let path = in_folder(folder, "bundle.pem");
    write_file(
        &path,
        encode_certificates(&minted.roots).as_bytes(),
        Readers::All,
    )
    .context("unable to write bundle")?;
    terminal.line(&format!("Root CAs written to {}", path.display()));
    Ok(())
}

/// `name` in `folder`, without the dot of a folder `.`, as users are told it.
fn in_folder(folder: &str, name: &str) -> PathBuf {
    let path = Path::new(folder).join(name);
    path.components()
        .filter(|part| *part != Component::CurDir)
        .collect()
}

/// The order of the keys is what scripts know.
#[derive(Serialize)]
struct Document {
    x509_svid: Vec<String>,
    private_key: String,
    root_cas: Vec<String>,
}

fn print_json(minted: &Minted, terminal: &mut Terminal) -> anyhow::Result<()> {
    let base64 = |certificates: &[CertificateDer<'_>]| {
        certificates
            .iter()
            .map(|der| STANDARD.encode(der))
            .collect()
    };
    let document = Document {
        x509_svid: base64(&minted.chain),
        private_key: STANDARD.encode(minted.key.pkcs8().expose()),
        root_cas: base64(&minted.roots),
    };
    terminal.line(&serde_json::to_string(&document)?);
    Ok(())
}

fn secret_text(secret: &SecretBytes) -> anyhow::Result<&str> {
    Ok(std::str::from_utf8(secret.expose())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_folder_is_not_named() {
        assert_eq!(in_folder(".", "svid.pem"), Path::new("svid.pem"));
        assert_eq!(
            in_folder("/tmp/x/", "svid.pem"),
            Path::new("/tmp/x/svid.pem")
        );
    }
}
