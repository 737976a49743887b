//! The config files that we ship and that users have must load, and the full one must show every key.

use std::path::{Path, PathBuf};

use super::{Bootstrap, Config, LoadArgs, load, run_flags};

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load_with(path: &str, flags: &[&str]) -> anyhow::Result<Config> {
    let path = file(path).display().to_string();
    let arguments: Vec<_> = ["-config", &path]
        .iter()
        .chain(flags)
        .map(ToString::to_string)
        .collect();
    load(&LoadArgs::from_flags(&run_flags("run").parse(&arguments)?))
}

fn loaded(path: &str) -> Config {
    load_with(path, &[]).unwrap_or_else(|error| panic!("{path}: {error:#}"))
}

/// SPIRE's keys and ours, by section.
const KEYS: [(&str, &[&str]); 7] = [
    ("", &["agent", "plugins", "telemetry", "health_checks"]),
    (
        "agent",
        &[
            "admin_socket_path",
            "allow_unauthenticated_verifiers",
            "allowed_foreign_jwt_claims",
            "authorized_delegates",
            "availability_target",
            "data_dir",
            "disable_sds_api",
            "disable_workload_api",
            "experimental",
            "insecure_bootstrap",
            "join_token",
            "join_token_file",
            "jwt_svid_cache_max_size",
            "log_file",
            "log_format",
            "log_level",
            "log_selectors",
            "log_source_location",
            "profiling_enabled",
            "profiling_freq",
            "profiling_names",
            "profiling_port",
            "rebootstrap_delay",
            "rebootstrap_mode",
            "sds",
            "server_address",
            "server_addresses",
            "server_port",
            "socket_path",
            "trust_bundle_format",
            "trust_bundle_path",
            "trust_bundle_spiffe_workload_api",
            "trust_bundle_unix_socket",
            "trust_bundle_url",
            "trust_domain",
            "workload_x509_svid_key_type",
            "x509_svid_cache_max_size",
        ],
    ),
    (
        "experimental",
        &[
            "admin_named_pipe_name",
            "broker",
            "feature_flags",
            "jwt_svid_cache_hit_timeout",
            "named_pipe_name",
            "ratelimit",
            "require_pq_kem",
            "sync_interval",
            "use_sync_authorized_entries",
        ],
    ),
    (
        "ratelimit",
        &[
            "fetch_jwt_bundles",
            "fetch_jwt_svid",
            "fetch_secrets",
            "fetch_x509_bundles",
            "fetch_x509_svid",
            "stream_secrets",
        ],
    ),
    (
        "sds",
        &[
            "default_all_bundles_name",
            "default_bundle_name",
            "default_svid_name",
            "disable_spiffe_cert_validation",
        ],
    ),
    (
        "docker",
        &[
            "container_id_cgroup_matchers",
            "docker_socket_path",
            "docker_version",
            "podman_socket_path",
            "podman_socket_path_template",
            "sigstore",
            "use_new_container_locator",
            "verbose_container_locator_logs",
        ],
    ),
    ("unix", &["discover_workload_path", "workload_size_limit"]),
];

#[test]
fn shipped_configs_load() {
    let config = loaded("../deploy/conf/agent.conf");
    assert_eq!(config.explanations, Vec::<String>::new());
    assert_eq!(config.health_checks.unwrap().bind_port, 8082);
    let config = loaded("../deploy/conf/agent-full.conf");
    assert_eq!(config.server_addresses[2], ("2001:db8::3".to_owned(), 8081));
}

#[test]
fn full_config_shows_every_key() {
    let text = std::fs::read_to_string(file("../deploy/conf/agent-full.conf")).unwrap();
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

const BASE: &str = "agent { trust_domain = \"t\" server_address = \"h\" server_port = 1 insecure_bootstrap = true }";

#[test]
fn every_key_is_known_to_the_reader() {
    for (section, keys) in KEYS {
        for key in keys {
            let line = format!("{key} = 1");
            let text = match section {
                "" => format!("{BASE} {line}"),
                "agent" => format!("{BASE} agent {{ {line} }}"),
                "docker" | "unix" => format!(
                    "{BASE} plugins {{ WorkloadAttestor \"{section}\" {{ plugin_data {{ {line} }} }} }}"
                ),
                "ratelimit" => {
                    format!("{BASE} agent {{ experimental {{ ratelimit {{ {line} }} }} }}")
                }
                nested => format!("{BASE} agent {{ {nested} {{ {line} }} }}"),
            };
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("agent.conf");
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
    let config = loaded("tests/fixtures/agentvault-agent.conf");
    assert_eq!(config.trust_domain.as_str(), "agentvault.com");
    assert_eq!(config.server_addresses, [("spire-server".to_owned(), 8081)]);
    let [explanation] = config.explanations.as_slice() else {
        panic!("{:?}", config.explanations);
    };
    assert!(explanation.starts_with("agent.authorized_delegates has no effect: admin_socket_path"));
}

#[test]
fn minimal_config_loads_once_it_knows_how_to_trust() {
    let path = "tests/fixtures/minimal-agent.conf";
    let Err(error) = load_with(path, &[]) else {
        panic!("taken");
    };
    assert_eq!(
        format!("{error:#}"),
        "trust_bundle_path, trust_bundle_url, or trust_bundle_spiffe_workload_api must be configured unless insecure_bootstrap is set"
    );
    let config = load_with(path, &["-insecureBootstrap"]).unwrap_or_else(|e| panic!("{e:#}"));
    assert_eq!(config.bootstrap, Bootstrap::Insecure);
    assert_eq!(config.data_dir, Path::new("."));
    let config = load_with(path, &["-trustBundle", "/b"]).unwrap_or_else(|e| panic!("{e:#}"));
    assert!(
        matches!(config.bootstrap, Bootstrap::BundleFile { path, .. } if path == Path::new("/b"))
    );
}
