//! The `federation` block: where the own bundle is published, and with whom this trust domain
//! federates.

use std::path::PathBuf;
use std::time::Duration;

use acme::settings::{Settings, check_domain};
use anyhow::{Context as _, bail, ensure};
use daemon::config::{Findings, parse_duration};
use daemon::hcl::{Labelled, Object};
use identity::federation::{BundleEndpoint, BundleEndpointUrl, EndpointProfile};
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;

use crate::federation::{
    BundleEndpointSettings, EndpointProof, FederationSettings, StaticRelationships,
};

/// The block as written.
#[derive(Default)]
pub(super) struct Block {
    endpoint: Option<Endpoint>,
    federates_with: Vec<Relationship>,
}

struct Endpoint {
    address: String,
    port: Option<i64>,
    refresh_hint: Option<String>,
    /// Beside the profiles, where SPIRE had it first.
    old_acme: Option<Acme>,
    profiles: Vec<Profile>,
}

/// A profile of the own endpoint.
struct Profile {
    name: String,
    files: Option<Files>,
    acme: Option<Acme>,
}

struct Acme {
    directory_url: String,
    domain_name: String,
    email: String,
    tos_accepted: bool,
}

struct Files {
    certificate: String,
    key: String,
    sync_interval: Option<String>,
}

/// A relationship as written.
struct Relationship {
    trust_domain: String,
    url: String,
    /// The name of each profile with the id in it.
    profiles: Vec<(String, Option<String>)>,
}

impl Block {
    /// Takes the block out of the `server` section.
    ///
    /// # Errors
    /// A value has the wrong type.
    pub(super) fn take(server: &mut Object, findings: &mut Findings) -> anyhow::Result<Self> {
        let Some(mut block) = server.take_block("federation")? else {
            return Ok(Self::default());
        };
        let endpoint = block.take_block("bundle_endpoint")?;
        let endpoint = endpoint.map(|endpoint| Endpoint::take(endpoint, findings));
        let mut federates_with = Vec::new();
        for relationship in block.take_labelled("federates_with")? {
            federates_with.push(Relationship::take(relationship, findings)?);
        }
        findings.finish(SECTION, &block);
        Ok(Self {
            endpoint: endpoint.transpose()?,
            federates_with,
        })
    }

    /// The settings of a server of the trust domain `own`.
    ///
    /// # Errors
    /// A value is not acceptable, or does not go with another.
    pub(super) fn check(
        self,
        own: &TrustDomain,
        findings: &mut Findings,
    ) -> anyhow::Result<FederationSettings> {
        for relationship in &self.federates_with {
            relationship.check_url()?;
        }
        let endpoint = self.endpoint.map(|endpoint| endpoint.check(findings));
        let mut federates_with = StaticRelationships::new();
        for relationship in self.federates_with {
            let (trust_domain, endpoint) = relationship.check()?;
            ensure!(
                trust_domain != *own,
                "federation.federates_with[\"{trust_domain}\"] is the server's own trust domain"
            );
            federates_with.insert(trust_domain, endpoint);
        }
        Ok(FederationSettings {
            bundle_endpoint: endpoint.transpose()?,
            federates_with,
        })
    }
}

impl Endpoint {
    fn take(mut block: Object, findings: &mut Findings) -> anyhow::Result<Self> {
        let mut profiles = Vec::new();
        for profile in block.take_labelled("profile")? {
            profiles.push(Profile::take(profile, findings)?);
        }
        let old_acme = Acme::take(&mut block, ENDPOINT, findings)?;
        let endpoint = Self {
            address: block.take_string("address")?.unwrap_or_default(),
            port: block.take_integer("port")?,
            refresh_hint: block.take_string("refresh_hint")?,
            old_acme,
            profiles,
        };
        findings.finish(ENDPOINT, &block);
        Ok(endpoint)
    }

    fn check(self, findings: &mut Findings) -> anyhow::Result<BundleEndpointSettings> {
        let hint = self.refresh_hint.as_deref();
        let hint = parse_duration(hint, "federation.bundle_endpoint.refresh_hint")?;
        let hint = hint.unwrap_or(DEFAULT_REFRESH_HINT);
        if hint >= HIGH_REFRESH_HINT {
            findings.note(
                "federation.bundle_endpoint.refresh_hint is high: others may learn of new \
                 authorities too late, 5m is a good value",
            );
        }
        if hint < LOW_REFRESH_HINT {
            findings.note(
                "federation.bundle_endpoint.refresh_hint is low: nobody refreshes more often than \
                 every minute",
            );
        }
        let port = self.port.filter(|port| *port != 0);
        let port = port.context("federation.bundle_endpoint.port must be configured")?;
        let port = u16::try_from(port)
            .ok()
            .with_context(|| format!("federation.bundle_endpoint.port {port} is no port"))?;
        let address = match self.address.contains(':') {
            true => format!("[{}]:{port}", self.address.trim_matches(['[', ']'])),
            false => format!("{}:{port}", self.address),
        };
        ensure!(
            self.old_acme.is_none() || self.profiles.is_empty(),
            "either bundle endpoint 'acme' or 'profile' can be set, but not both"
        );
        ensure!(self.profiles.len() <= 1, ONE_PROFILE);
        let proof = match (self.profiles.into_iter().next(), self.old_acme) {
            (Some(profile), _) => profile.check()?,
            (None, Some(acme)) => {
                findings.note(
                    "federation.bundle_endpoint.acme is deprecated: it belongs into the profile \
                     \"https_web\"",
                );
                acme.check("federation.bundle_endpoint.acme")?
            }
            (None, None) => {
                findings.note(
                    "federation.bundle_endpoint has no profile, https_spiffe is taken: configure one",
                );
                EndpointProof::ServerSvid
            }
        };
        if port != ACME_PORT && matches!(proof, EndpointProof::Acme { .. }) {
            findings.note(
                "federation.bundle_endpoint.port is not 443, where an ACME server looks: something \
                 must forward its connections to here",
            );
        }
        Ok(BundleEndpointSettings {
            address,
            refresh_hint: hint,
            proof,
        })
    }
}

impl Profile {
    fn take(mut profile: Labelled, findings: &mut Findings) -> anyhow::Result<Self> {
        let section = format!("{ENDPOINT}.profile.{}", profile.label);
        let mut taken = Self {
            name: profile.label,
            files: None,
            acme: None,
        };
        if taken.name == WEB {
            taken.acme = Acme::take(&mut profile.body, &section, findings)?;
            if let Some(mut files) = profile.body.take_block("serving_cert_file")? {
                taken.files = Some(Files {
                    certificate: files.take_string("cert_file_path")?.unwrap_or_default(),
                    key: files.take_string("key_file_path")?.unwrap_or_default(),
                    sync_interval: files.take_string("file_sync_interval")?,
                });
                findings.finish(&format!("{section}.serving_cert_file"), &files);
            }
        }
        findings.finish(&section, &profile.body);
        Ok(taken)
    }

    fn check(self) -> anyhow::Result<EndpointProof> {
        match (self.name.as_str(), self.files, self.acme) {
            (SPIFFE, _, _) => Ok(EndpointProof::ServerSvid),
            (WEB, Some(files), None) => files.check(),
            (WEB, None, Some(acme)) => acme.check("federation.bundle_endpoint.profile acme"),
            (WEB, Some(_), Some(_)) => bail!(
                "malformed https_web profile configuration: either 'acme' or 'serving_cert_file' \
                 can be set, but not both"
            ),
            (WEB, None, None) => bail!(
                "malformed https_web profile configuration: 'acme' or 'serving_cert_file' is required"
            ),
            _ => bail!(
                "unknown bundle endpoint profile configured; current supported profiles are \
                 \"https_spiffe\" and \"https_web\""
            ),
        }
    }
}

impl Acme {
    fn take(
        parent: &mut Object,
        section: &str,
        findings: &mut Findings,
    ) -> anyhow::Result<Option<Self>> {
        let Some(mut block) = parent.take_block("acme")? else {
            return Ok(None);
        };
        let taken = Self {
            directory_url: block.take_string("directory_url")?.unwrap_or_default(),
            domain_name: block.take_string("domain_name")?.unwrap_or_default(),
            email: block.take_string("email")?.unwrap_or_default(),
            tos_accepted: block.take_bool("tos_accepted")?.unwrap_or(false),
        };
        findings.finish(&format!("{section}.acme"), &block);
        Ok(Some(taken))
    }

    fn check(self, block: &str) -> anyhow::Result<EndpointProof> {
        let needed = [("domain_name", &self.domain_name), ("email", &self.email)];
        for (key, value) in needed {
            ensure!(!value.is_empty(), "{block}.{key} must be configured");
        }
        check_domain(&self.domain_name).with_context(|| block.to_owned())?;
        let settings = Settings::new(&self.directory_url, &self.email, self.tos_accepted);
        Ok(EndpointProof::Acme {
            domain: self.domain_name.into(),
            settings: settings.with_context(|| block.to_owned())?,
        })
    }
}

impl Files {
    fn check(self) -> anyhow::Result<EndpointProof> {
        let path = |text: String, key: &str| {
            ensure!(
                !text.is_empty(),
                "federation.bundle_endpoint.profile serving_cert_file.{key} must be configured"
            );
            Ok(PathBuf::from(text))
        };
        let interval = parse_duration(self.sync_interval.as_deref(), "file_sync_interval")?;
        Ok(EndpointProof::CertificateFiles {
            certificate: path(self.certificate, "cert_file_path")?,
            key: path(self.key, "key_file_path")?,
            sync_interval: interval
                .filter(|interval| !interval.is_zero())
                .unwrap_or(DEFAULT_SYNC_INTERVAL),
        })
    }
}

impl Relationship {
    fn take(mut block: Labelled, findings: &mut Findings) -> anyhow::Result<Self> {
        let section = format!("{SECTION}.federates_with.{}", block.label);
        let mut profiles = Vec::new();
        for mut profile in block.body.take_labelled("bundle_endpoint_profile")? {
            let id = match profile.label == SPIFFE {
                true => profile.body.take_string("endpoint_spiffe_id")?,
                false => None,
            };
            let section = format!("{section}.bundle_endpoint_profile.{}", profile.label);
            findings.finish(&section, &profile.body);
            profiles.push((profile.label, id));
        }
        let url = block.body.take_string("bundle_endpoint_url")?;
        findings.finish(&section, &block.body);
        Ok(Self {
            trust_domain: block.label,
            url: url.unwrap_or_default(),
            profiles,
        })
    }

    fn key(&self) -> String {
        let trust_domain = &self.trust_domain;
        format!("federation.federates_with[\"{trust_domain}\"].bundle_endpoint_url")
    }

    fn check_url(&self) -> anyhow::Result<()> {
        let (key, url) = (self.key(), &self.url);
        ensure!(!url.is_empty(), "{key} must be configured");
        let scheme = url.get(..8).unwrap_or_default();
        ensure!(
            scheme.eq_ignore_ascii_case("https://"),
            "{key} must use the HTTPS protocol; URL found: {url:?}"
        );
        Ok(())
    }

    fn check(self) -> anyhow::Result<(TrustDomain, BundleEndpoint)> {
        let name = &self.trust_domain;
        let what = || format!("error parsing federation relationship for trust domain {name:?}");
        let trust_domain = TrustDomain::parse(name).with_context(what)?;
        let url = BundleEndpointUrl::parse(&self.url).with_context(|| self.key())?;
        ensure!(
            !self.profiles.is_empty(),
            "federation configuration for trust domain {name:?}: missing bundle endpoint \
             configuration"
        );
        let [(profile, id)] = self.profiles.as_slice() else {
            return Err(anyhow::anyhow!(ONE_PROFILE)).with_context(what);
        };
        let profile = match profile.as_str() {
            WEB => EndpointProfile::HttpsWeb,
            SPIFFE => EndpointProfile::HttpsSpiffe {
                endpoint_spiffe_id: SpiffeId::parse(id.as_deref().unwrap_or_default())
                    .context("could not get endpoint SPIFFE ID")
                    .with_context(what)?,
            },
            _ => {
                return Err(anyhow::anyhow!(NO_PROFILE)).with_context(what);
            }
        };
        Ok((trust_domain, BundleEndpoint { url, profile }))
    }
}

const SECTION: &str = "server.federation";
const ENDPOINT: &str = "server.federation.bundle_endpoint";
const WEB: &str = "https_web";
const SPIFFE: &str = "https_spiffe";

const ONE_PROFILE: &str = "exactly one bundle endpoint profile is expected";
const NO_PROFILE: &str = "no bundle endpoint profile defined; current supported profiles are \
                          \"https_spiffe\" and \"https_web\"";

const DEFAULT_REFRESH_HINT: Duration = Duration::from_secs(5 * 60);
const LOW_REFRESH_HINT: Duration = Duration::from_secs(60);
const HIGH_REFRESH_HINT: Duration = Duration::from_secs(24 * 3600);
const ACME_PORT: u16 = 443;
const DEFAULT_SYNC_INTERVAL: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(block: &str) -> anyhow::Result<(FederationSettings, Vec<String>)> {
        let mut server = daemon::hcl::parse(&format!("federation {{ {block} }}"))?;
        let mut findings = Findings::new();
        let block = Block::take(&mut server, &mut findings)?;
        findings = findings.without_unknown()?;
        let own = TrustDomain::parse("example.org")?;
        let settings = block.check(&own, &mut findings)?;
        Ok((settings, findings.into_explanations()?))
    }

    fn refused(block: &str, expected: &str) {
        let Err(error) = read(block) else {
            panic!("taken: {block}");
        };
        assert_eq!(format!("{error:#}"), expected, "{block}");
    }

    fn endpoint(block: &str) -> (BundleEndpointSettings, Vec<String>) {
        let (settings, explanations) = read(&format!("bundle_endpoint {{ {block} }}")).unwrap();
        (settings.bundle_endpoint.unwrap(), explanations)
    }

    #[test]
    fn endpoints_are_read_with_their_proof() {
        let (settings, explanations) = endpoint("address = \"::1\" port = 8443");
        assert_eq!(settings.address, "[::1]:8443");
        assert_eq!(settings.refresh_hint, Duration::from_secs(300));
        assert!(matches!(settings.proof, EndpointProof::ServerSvid));
        assert_eq!(explanations.len(), 1, "{explanations:?}");

        let files = r#"serving_cert_file { cert_file_path = "c" key_file_path = "k" }"#;
        let web = format!(r#"port = 1 refresh_hint = "10s" profile "https_web" {{ {files} }}"#);
        let (settings, explanations) = endpoint(&web);
        assert_eq!(settings.address, ":1");
        let EndpointProof::CertificateFiles { sync_interval, .. } = settings.proof else {
            panic!("{settings:?}");
        };
        assert_eq!(sync_interval, Duration::from_secs(3600));
        assert!(
            explanations[0].contains("refresh_hint is low"),
            "{explanations:?}"
        );
        let (_, explanations) = endpoint(r#"port = 1 profile "https_spiffe" {}"#);
        assert!(explanations.is_empty(), "{explanations:?}");
    }

    #[test]
    fn acme_is_read_in_its_profile_and_where_it_was_before() {
        let acme = r#"acme { domain_name = "a.test" email = "a@b.test" tos_accepted = true }"#;
        let profile = format!(r#"port = 443 profile "https_web" {{ {acme} }}"#);
        let (settings, explanations) = endpoint(&profile);
        assert!(explanations.is_empty(), "{explanations:?}");
        let EndpointProof::Acme { domain, settings } = settings.proof else {
            panic!("{settings:?}");
        };
        assert_eq!((&*domain, settings.email()), ("a.test", "a@b.test"));
        assert_eq!(settings.directory_url(), acme::settings::LETS_ENCRYPT);
        assert!(settings.terms_accepted());

        let acme = r#"acme { domain_name = "a.test" email = "a@b" directory_url = "https://c/" }"#;
        let (settings, explanations) = endpoint(&format!("port = 8443 {acme}"));
        assert!(
            explanations[0].contains("acme is deprecated"),
            "{explanations:?}"
        );
        assert!(
            explanations[1].contains("port is not 443"),
            "{explanations:?}"
        );
        let EndpointProof::Acme { settings, .. } = settings.proof else {
            panic!("{settings:?}");
        };
        assert_eq!(settings.directory_url(), "https://c/");
        assert!(!settings.terms_accepted());
    }

    #[test]
    fn acme_that_cannot_be_is_refused() {
        let check = |block: &str, expected: &str| {
            refused(&format!("bundle_endpoint {{ {block} }}"), expected);
        };
        let acme = "federation.bundle_endpoint.profile acme";
        let check_acme = |lines: &str, expected: &str| {
            let block = format!(r#"port = 1 profile "https_web" {{ acme {{ {lines} }} }}"#);
            check(&block, expected);
        };
        check_acme("", &format!("{acme}.domain_name must be configured"));
        check_acme(
            r#"domain_name = "a.test""#,
            &format!("{acme}.email must be configured"),
        );
        check_acme(
            r#"domain_name = "*.test" email = "a@b""#,
            &format!(
                "{acme}: domain name \"*.test\" must be the name of a host in lower case, punycode \
                 encoded, without a wildcard"
            ),
        );
        check_acme(
            r#"domain_name = "a.test" email = "a@b" directory_url = "http://a/""#,
            &format!("{acme}: directory_url \"http://a/\" is no https:// URL"),
        );
        check_acme(
            r#"domain = "a.test""#,
            "unknown configuration detected: \
             server.federation.bundle_endpoint.profile.https_web.acme.domain (line 1)",
        );
        check(
            "port = 1 acme {}",
            "federation.bundle_endpoint.acme.domain_name must be configured",
        );
        check(
            r#"port = 1 acme { domain_name = "a.test" }"#,
            "federation.bundle_endpoint.acme.email must be configured",
        );
        check(
            r#"port = 1 profile "https_web" { acme {} serving_cert_file {} }"#,
            "malformed https_web profile configuration: either 'acme' or 'serving_cert_file' can be \
             set, but not both",
        );
    }

    #[test]
    fn endpoints_that_cannot_be_are_refused() {
        let check = |block: &str, expected: &str| {
            refused(&format!("bundle_endpoint {{ {block} }}"), expected);
        };
        check("", "federation.bundle_endpoint.port must be configured");
        check(
            "port = 65536",
            "federation.bundle_endpoint.port 65536 is no port",
        );
        check(
            r#"port = 1 profile "https_web" {} profile "https_spiffe" {}"#,
            "exactly one bundle endpoint profile is expected",
        );
        check(
            r#"port = 1 profile "https_web" {}"#,
            "malformed https_web profile configuration: 'acme' or 'serving_cert_file' is required",
        );
        check(
            r#"port = 1 profile "ftp" {}"#,
            "unknown bundle endpoint profile configured; current supported profiles are \
             \"https_spiffe\" and \"https_web\"",
        );
        check(
            r#"port = 1 profile "https_web" { serving_cert_file { key_file_path = "k" } }"#,
            "federation.bundle_endpoint.profile serving_cert_file.cert_file_path must be configured",
        );
        check(
            r#"port = 1 profile "https_spiffe" {} acme {}"#,
            "either bundle endpoint 'acme' or 'profile' can be set, but not both",
        );
        check(
            "port = 1 prot = 2",
            "unknown configuration detected: server.federation.bundle_endpoint.prot (line 1)",
        );
    }

    #[test]
    fn relationships_that_cannot_be_are_refused() {
        let check = |name: &str, block: &str, expected: &str| {
            refused(
                &format!("federates_with \"{name}\" {{ {block} }}"),
                expected,
            );
        };
        let web = r#"bundle_endpoint_profile "https_web" {}"#;
        let url = r#"bundle_endpoint_url = "https://a/""#;
        let key = "federation.federates_with[\"a\"].bundle_endpoint_url";
        check("a", web, &format!("{key} must be configured"));
        check(
            "a",
            &format!(r#"bundle_endpoint_url = "http://a/" {web}"#),
            &format!("{key} must use the HTTPS protocol; URL found: \"http://a/\""),
        );
        check(
            "a",
            &format!(r#"bundle_endpoint_url = "https://u@a/" {web}"#),
            &format!("{key}: bundle endpoint URL must not contain user info"),
        );
        let missing = "federation configuration for trust domain \"a\": missing bundle endpoint \
                       configuration";
        check("a", url, missing);
        let what = "error parsing federation relationship for trust domain";
        check(
            "a",
            &format!(r#"{url} bundle_endpoint_profile "https_spiffe" {{}}"#),
            &format!("{what} \"a\": could not get endpoint SPIFFE ID: cannot be empty"),
        );
        check(
            "a",
            &format!("{url} {web} {web}"),
            &format!("{what} \"a\": {ONE_PROFILE}"),
        );
        check(
            "a",
            &format!(r#"{url} bundle_endpoint_profile "x" {{}}"#),
            &format!("{what} \"a\": {NO_PROFILE}"),
        );
        check(
            "BAD",
            &format!("{url} {web}"),
            &format!(
                "{what} \"BAD\": trust domain characters are limited to lowercase letters, \
                 numbers, dots, dashes, and underscores"
            ),
        );
        check(
            "example.org",
            &format!("{url} {web}"),
            "federation.federates_with[\"example.org\"] is the server's own trust domain",
        );
    }
}
