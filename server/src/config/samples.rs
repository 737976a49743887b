//! The config files that we ship and that users have must load, and the full one must show every key.

use std::path::{Path, PathBuf};

use identity::{federation::EndpointProfile, spiffe_id::SpiffeId, trust_domain::TrustDomain};

use super::{Config, FirstStart, LoadArgs, load, run_flags};
use crate::federation::EndpointProof;

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn loaded(path: &str) -> Config {
    load(&LoadArgs::from_path(file(path))).unwrap_or_else(|error| panic!("{path}: {error:#}"))
}

/// SPIRE's keys and ours, by section.
const KEYS: [(&str, &[&str]); 7] = [
    ("", &["server", "plugins", "telemetry", "health_checks"]),
    (
        "server",
        &[
            "admin_ids",
            "agent_ttl",
            "audit_log_enabled",
            "bind_address",
            "bind_port",
            "ca_key_type",
            "ca_subject",
            "ca_ttl",
            "cluster",
            "data_dir",
            "default_jwt_svid_ttl",
            "default_x509_svid_ttl",
            "disable_jwt_svids",
            "experimental",
            "federation",
            "jwt_issuer",
            "jwt_key_type",
            "log_file",
            "log_format",
            "log_level",
            "log_source_location",
            "max_attested_node_info_staleness",
            "profiling_enabled",
            "profiling_freq",
            "profiling_names",
            "profiling_port",
            "proxy_protocol_trusted_cidrs",
            "prune_attested_nodes_batch_size",
            "prune_attested_nodes_expired_for",
            "prune_tofu_nodes",
            "ratelimit",
            "socket_path",
            "trust_domain",
        ],
    ),
    ("ca_subject", &["common_name", "country", "organization"]),
    (
        "experimental",
        &[
            "agent_spiffe_id_as_selector",
            "auth_opa_policy_engine",
            "cache_reload_interval",
            "event_timeout",
            "events_based_cache",
            "feature_flags",
            "full_cache_reload_interval",
            "named_pipe_name",
            "prune_events_older_than",
            "require_pq_kem",
            "sql_transaction_timeout",
            "wit_issuer",
            "wit_key_type",
        ],
    ),
    (
        "cluster",
        &[
            "bootstrap",
            "join",
            "join_file",
            "peer_address",
            "seal",
            "signing_max_staleness",
        ],
    ),
    ("federation", &["bundle_endpoint", "federates_with"]),
    ("ratelimit", &["attestation", "signing"]),
];

#[test]
fn shipped_configs_load() {
    let config = loaded("../deploy/conf/server.conf");
    assert_eq!(config.explanations, Vec::<String>::new());
    assert_eq!(config.health_checks.unwrap().bind_port, 8080);
    let config = loaded("../deploy/conf/server-full.conf");
    assert_eq!(
        config.admin_ids[0].as_str(),
        "spiffe://example.org/operator"
    );
    assert_eq!(
        config.seal_key_path,
        Path::new("/var/lib/conclave/server/seal.key")
    );
    let config = loaded("../deploy/conf/server-cluster.conf");
    assert_eq!(config.explanations, Vec::<String>::new());
    let cluster = config.cluster.unwrap();
    assert_eq!(cluster.api_address, "10.0.0.1:8081");
    assert!(matches!(cluster.first_start, FirstStart::Bootstrap));
}

#[test]
fn full_config_shows_every_key() {
    let text = std::fs::read_to_string(file("../deploy/conf/server-full.conf")).unwrap();
    for (section, keys) in KEYS {
        for key in keys {
            let is_shown = text.lines().any(|line| {
                let line = line.trim_start_matches([' ', '#']);
                line.strip_prefix(key)
                    .is_some_and(|rest| rest.starts_with([' ', '=', '{']))
            });
            assert!(is_shown, "{section}.{key}");
        }
    }
}

/// What stands behind a "#" loads, too.
#[test]
fn the_sample_of_acme_loads() {
    let text = std::fs::read_to_string(file("../deploy/conf/server-full.conf")).unwrap();
    let lines = text.lines().map(|line| line.trim_start_matches([' ', '#']));
    let acme = lines.skip_while(|line| *line != "acme {");
    let acme = acme.take_while(|line| *line != "}");
    let acme: Vec<_> = acme
        .filter(|line| line.ends_with('{') || line.contains(" = "))
        .collect();
    let acme = acme.join("\n");
    let endpoint =
        format!("bundle_endpoint {{ port = 443 profile \"https_web\" {{ {acme} }} }} }}");
    let text = format!("{BASE} server {{ federation {{ {endpoint} }} }}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.conf");
    std::fs::write(&path, text).unwrap();
    let config = load(&LoadArgs::from_path(path)).unwrap();
    let proof = config.federation.bundle_endpoint.unwrap().proof;
    let EndpointProof::Acme { domain, settings } = proof else {
        panic!("{proof:?}");
    };
    assert_eq!(&*domain, "bundle.example.org");
    assert_eq!(settings.directory_url(), acme::settings::LETS_ENCRYPT);
    assert_eq!(settings.email(), "admin@example.org");
    assert!(settings.terms_accepted());
}

const BASE: &str = "server { trust_domain = \"t\" data_dir = \"/d\" }";

#[test]
fn every_key_is_known_to_the_reader() {
    for (section, keys) in KEYS {
        for key in keys {
            let line = format!("{key} = 1");
            let text = match section {
                "" => format!("{BASE} {line}"),
                "server" => format!("{BASE} server {{ {line} }}"),
                nested => format!("{BASE} server {{ {nested} {{ {line} }} }}"),
            };
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("server.conf");
            std::fs::write(&path, text).unwrap();
            // The value is wrong for most, but the key is never unknown.
            let outcome = load(&LoadArgs::from_path(path));
            let error = outcome.map_or_else(|error| format!("{error:#}"), |_| String::new());
            assert!(
                !error.contains("unknown configuration"),
                "{section}.{key}: {error}"
            );
        }
    }
}

#[test]
fn configs_of_users_load() {
    let config = loaded("tests/fixtures/agentvault-server.conf");
    assert_eq!(config.trust_domain.as_str(), "agentvault.com");
    assert_eq!(
        config.jwt_issuer.as_deref(),
        Some("spiffe://agentvault.com")
    );
    assert_eq!(config.ca_subject.organization, ["AgentVault"]);
    assert_eq!(config.ca_subject.common_name, "AgentVault CA");
    assert_eq!(config.explanations, Vec::<String>::new());
}

#[test]
fn federated_config_of_users_loads() {
    let path = file("tests/fixtures/federated-server.conf");
    let path = path.display().to_string();
    let arguments = ["-config", &path, "-dataDir", "/d"].map(str::to_owned);
    let parsed = run_flags("run").parse(&arguments).unwrap();
    let federation = load(&LoadArgs::from_flags(&parsed)).unwrap().federation;
    let endpoint = federation.bundle_endpoint.unwrap();
    assert_eq!(endpoint.address, "0.0.0.0:8443");
    assert!(matches!(endpoint.proof, EndpointProof::ServerSvid));
    let partner = TrustDomain::parse("partner.example.com").unwrap();
    let at = &federation.federates_with[&partner];
    assert_eq!(at.url.as_str(), "https://spire.partner.example.com:8443");
    let id = "spiffe://partner.example.com/spire/server";
    assert_eq!(
        at.profile,
        EndpointProfile::HttpsSpiffe {
            endpoint_spiffe_id: SpiffeId::parse(id).unwrap()
        }
    );
}
