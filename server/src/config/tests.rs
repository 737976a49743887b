//! Defaults, precedence and refusals of `server.conf`.

use std::path::Path;

use daemon::{config::validation_report, log::Level};

use super::*;

fn load_text(text: &str) -> anyhow::Result<Config> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.conf");
    std::fs::write(&path, text).unwrap();
    load(&LoadArgs::from_path(path))
}

/// A config with these lines in its `server` section.
fn with(lines: &str) -> String {
    format!("server {{\n  trust_domain = \"example.org\"\n  data_dir = \"/d\"\n  {lines}\n}}\n")
}

fn refusal(text: &str) -> String {
    let error = load_text(text).expect_err(text);
    validation_report("SPIRE server", &error)
        .trim_end()
        .trim_start_matches("SPIRE server configuration file is invalid: ")
        .to_owned()
}

#[test]
fn unset_keys_have_spires_defaults() {
    let config = load_text(&with("")).unwrap();
    assert_eq!(config.trust_domain.as_str(), "example.org");
    assert_eq!(
        (config.bind_address.as_str(), config.bind_port),
        ("0.0.0.0", 8081)
    );
    assert_eq!(
        config.socket_path,
        Path::new("/tmp/spire-server/private/api.sock")
    );
    assert_eq!(config.log, daemon::log::Options::default());
    assert_eq!(config.ca_key_type, KeyType::EcP256);
    assert_eq!(config.jwt_key_type, KeyType::EcP256);
    assert_eq!(config.ca_ttl, Duration::from_secs(86_400));
    assert_eq!(config.agent_ttl, Duration::from_secs(3600));
    assert_eq!(config.default_x509_svid_ttl, Duration::from_secs(3600));
    assert_eq!(config.default_jwt_svid_ttl, Duration::from_secs(300));
    assert_eq!(config.ca_subject, Subject::default());
    assert_eq!(config.rate_limit, RateLimit::default());
    assert_eq!(config.jwt_issuer, None);
    assert_eq!(config.prune_attested_nodes_expired_for, None);
    assert_eq!(config.prune_attested_nodes_batch_size, 1000);
    assert_eq!(config.health_checks, None);
    assert_eq!(config.seal_key_path, Path::new("/d/seal.key"));
    assert_eq!(config.explanations, Vec::<String>::new());
}

#[test]
fn set_keys_are_taken() {
    let config = load_text(&format!(
        "{} health_checks {{ listener_enabled = true }}",
        with(
            "bind_port = \"9\" ca_key_type = \"RSA-2048\" agent_ttl = \"2h\" ca_ttl = \"30h\"
             jwt_issuer = \"i\" ratelimit { signing = false } ca_subject { common_name = \"CN\" }
             admin_ids = [\"spiffe://other.org/a\"] log_level = \"debug\" disable_jwt_svids = true
             prune_attested_nodes_expired_for = \"24h\" prune_tofu_nodes = true
             cluster { seal \"file\" { path = \"/k\" } peer_address = \"a.test:8083\" join_file = \"/i\" }"
        )
    ))
    .unwrap();
    let cluster = config.cluster.unwrap();
    assert_eq!(cluster.peer_address, "a.test:8083");
    assert_eq!(cluster.api_address, "a.test:9");
    assert_eq!(cluster.signing_max_staleness, Duration::from_secs(600));
    let FirstStart::JoinFile(path) = cluster.first_start else {
        panic!("{:?}", cluster.first_start);
    };
    assert_eq!(path, Path::new("/i"));
    assert_eq!(config.bind_port, 9);
    assert_eq!(config.jwt_key_type, KeyType::Rsa2048);
    assert_eq!(config.agent_ttl, Duration::from_secs(7200));
    assert_eq!(config.jwt_issuer.as_deref(), Some("i"));
    assert!(config.rate_limit.attestation && !config.rate_limit.signing);
    assert_eq!(config.ca_subject.organization, Vec::<String>::new());
    assert_eq!(config.ca_subject.common_name, "CN");
    assert_eq!(config.admin_ids[0].as_str(), "spiffe://other.org/a");
    assert_eq!(config.log.level, Level::Debug);
    let day = Some(Duration::from_secs(86_400));
    assert_eq!(config.prune_attested_nodes_expired_for, day);
    assert!(config.disable_jwt_svids && config.prune_tofu_nodes);
    assert_eq!(
        config.health_checks,
        Some(daemon::health::Options::default())
    );
    assert_eq!(config.seal_key_path, Path::new("/k"));
}

#[test]
fn flags_go_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.conf");
    std::fs::write(&path, with("bind_port = 1 log_level = \"warn\"")).unwrap();
    let line = format!(
        "-config {} -serverPort 2 -bindAddress ::1 -trustDomain t.org -dataDir e -socketPath s -logLevel error",
        path.display()
    );
    let arguments: Vec<_> = line.split(' ').map(str::to_owned).collect();
    let parsed = run_flags("run").parse(&arguments).unwrap();
    let config = load(&LoadArgs::from_flags(&parsed)).unwrap();
    assert_eq!((config.bind_address.as_str(), config.bind_port), ("::1", 2));
    assert_eq!(config.trust_domain.as_str(), "t.org");
    assert_eq!(config.data_dir, Path::new("e"));
    assert_eq!(config.socket_path, Path::new("s"));
    assert_eq!(config.log.level, Level::Error);
}

#[test]
fn refusals_have_the_recorded_texts() {
    for (lines, expected) in [
        ("trust_domain = \"\"", "trust_domain must be configured"),
        (
            "trust_domain = \"Bad Domain\"",
            "could not parse trust_domain \"Bad Domain\": trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores",
        ),
        ("data_dir = \"\"", "data_dir must be configured"),
        (
            "bind_port = 0",
            "bind_address and bind_port must be configured",
        ),
        (
            "bind_address = \"127.0.0.1\" bind_port = 99999",
            "could not resolve bind address \"127.0.0.1:99999\": address 99999: invalid port",
        ),
        (
            "ca_ttl = \"soon\"",
            "could not parse default CA ttl \"soon\": time: invalid duration \"soon\"",
        ),
        (
            "ca_key_type = \"dsa\"",
            "error parsing ca_key_type: key type \"dsa\" is unknown; must be one of [rsa-2048, rsa-4096, ec-p256, ec-p384]",
        ),
        (
            "log_format = \"xml\"",
            "could not start logger: unknown log format \"xml\"; must be one of [text, json]",
        ),
        (
            "no_such_key = \"x\"",
            "unknown configuration detected: server.no_such_key (line 4)",
        ),
        (
            "experimental { nope = 1 } ratelimit { all = true }",
            "unknown configuration detected: server.experimental.nope (line 4), server.ratelimit.all (line 4)",
        ),
        (
            "profiling_enabled = true\n profiling_port = 1\n",
            "not supported yet: server.profiling_enabled (line 4)",
        ),
        (
            "admin_ids = [\"x\"]",
            "could not parse admin ID \"x\": scheme is missing or invalid",
        ),
        (
            "experimental { feature_flags = [\"x\"] }",
            "unknown feature flag(s): \"x\"",
        ),
        (
            "bind_port = \"x\"",
            "bind_port (line 4) must be a whole number",
        ),
    ] {
        assert_eq!(refusal(&with(lines)), expected, "{lines}");
    }
    assert_eq!(refusal("telemetry {}"), "server section must be configured");
    let telemetry = format!("{} telemetry {{ Prometheus {{}} }}", with(""));
    assert_eq!(refusal(&telemetry), "not supported yet: telemetry (line 6)");
}

#[test]
fn listeners_need_ports_of_their_own() {
    let peers = |address| format!("cluster {{ peer_address = \"{address}\" }}");
    let bundle = "federation { bundle_endpoint { port = 8443 profile \"https_spiffe\" {} } }";
    let health = "health_checks { listener_enabled = true bind_port = \"8081\" }";
    let health_elsewhere = health.replace("8081", "8082");
    for (lines, sections, expected) in [
        (
            peers("127.0.0.1:8081"),
            "",
            "server.bind_port (0.0.0.0:8081) and server.cluster.peer_address (127.0.0.1:8081)",
        ),
        (
            format!("{} {bundle}", peers("10.0.0.1:8443")),
            "",
            "server.cluster.peer_address (10.0.0.1:8443) and federation.bundle_endpoint.port ([::]:8443)",
        ),
        (
            String::new(),
            health,
            "server.bind_port (0.0.0.0:8081) and health_checks.bind_port (127.0.0.1:8081)",
        ),
    ] {
        let refused = refusal(&format!("{} {sections}", with(&lines)));
        let expected = format!(
            "{expected} ask for the same port of this host, which only one listener can have: give \
             one of them another"
        );
        assert_eq!(refused, expected);
    }
    let apart = format!("{} {bundle}", peers("10.0.0.1:8083"));
    load_text(&format!("{} {health_elsewhere}", with(&apart))).unwrap();
}

#[test]
fn plugins_are_used_explained_or_refused() {
    let config = load_text(&format!(
        "{} plugins {{ DataStore \"sql\" {{ plugin_data {{ database_type = \"mysql\" }} }}
        NodeAttestor \"join_token\" {{ plugin_data {{}} }} KeyManager \"disk\" {{}} }}",
        with("")
    ))
    .unwrap();
    assert_eq!(
        config.explanations,
        [
            "DataStore \"sql\" is accepted and ignored: the store is built in and replicated",
            "KeyManager \"disk\" is accepted and ignored: authority keys are kept sealed in the replicated store",
        ]
    );
    let external = "plugins { KeyManager \"hsm\" { plugin_cmd = \"/x\" } }";
    let config = load_text(&format!("{} {external}", with(""))).unwrap();
    assert_eq!(
        config.explanations,
        [
            "KeyManager \"hsm\" is accepted and ignored: its program is not run, authority keys are kept sealed in the replicated store; an UpstreamAuthority keeps the root's key elsewhere"
        ]
    );
    let report = |plugins: &str| refusal(&format!("{} plugins {{ {plugins} }}", with("")));
    assert_eq!(
        report("KeyManager \"disk\" {} KeyManager \"memory\" {}"),
        "SPIRE server configuration file is invalid.\nValidation errors:\n\tKeyManager:\n\t\tconstraint not satisfied: expected exactly 1 but got 2"
    );
    assert_eq!(
        report("NodeAttestor \"nope\" {}"),
        "Could not validate configuration file: failed to load plugin \"nope\": no built-in plugin \"nope\" for type \"NodeAttestor\""
    );
    assert_eq!(
        report("NodeAttestor \"x509pop\" {} Notifier \"own\" { plugin_cmd = \"/x\" }"),
        "SPIRE server configuration file is invalid.\nValidation errors:\n\tNodeAttestor \"x509pop\":\n\t\tone of ca_bundle_path or ca_bundle_paths must be configured\n\tNotifier \"own\":\n\t\tnot supported yet"
    );
    assert_eq!(
        report("NodeAttestor \"join_token\" {} NodeAttestor \"join_token\" {}"),
        "SPIRE server configuration file is invalid.\nValidation errors:\n\tNodeAttestor \"join_token\":\n\t\tconfigured twice"
    );
}

#[test]
fn upstream_authorities_are_taken() {
    use crate::upstream::{DiskFiles, SpireSettings, UpstreamSettings};
    use identity::tls::KeyExchange;

    let take = |block: &str| {
        let text = format!("{} plugins {{ UpstreamAuthority {block} }}", with(""));
        load_text(&text).unwrap().upstream.unwrap()
    };
    let disk = DiskFiles {
        certificates: "/c".into(),
        key: "/k".into(),
        bundle: None,
    };
    // None of the files is opened.
    assert_eq!(
        take(
            "\"disk\" { plugin_data { cert_file_path = \"/c\" key_file_path = \"/k\" bundle_file_path = \"\" } }"
        ),
        UpstreamSettings::Disk(disk.clone())
    );
    let bundle = Some("/b".into());
    assert_eq!(
        take(
            "\"disk\" { plugin_data = { cert_file_path = \"/c\" key_file_path = \"/k\" bundle_file_path = \"/b\" } }"
        ),
        UpstreamSettings::Disk(DiskFiles { bundle, ..disk })
    );
    let data = "server_address = \"root\" server_port = 8081 workload_api_socket = \"/s\"";
    let spire = SpireSettings {
        host: "root".to_owned(),
        port: 8081,
        workload_api_socket: "/s".into(),
        key_exchange: KeyExchange::Any,
    };
    assert_eq!(
        take(&format!("\"spire\" {{ plugin_data {{ {data} }} }}")),
        UpstreamSettings::Spire(spire.clone())
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("upstream.conf");
    std::fs::write(
        &path,
        format!("{data}\nexperimental {{ require_pq_kem = true }}"),
    )
    .unwrap();
    let key_exchange = KeyExchange::PostQuantum;
    assert_eq!(
        take(&format!("\"spire\" {{ plugin_data_file = {path:?} }}")),
        UpstreamSettings::Spire(SpireSettings {
            key_exchange,
            ..spire
        })
    );
}

#[test]
fn keys_that_a_quantum_computer_undoes_are_refused_on_request() {
    use identity::tls::KeyExchange;
    for (text, expected) in [
        ("", KeyExchange::Any),
        ("experimental { require_pq_kem = false }", KeyExchange::Any),
        (
            "experimental { require_pq_kem = true }",
            KeyExchange::PostQuantum,
        ),
    ] {
        let config = load_text(&with(text)).unwrap();
        assert_eq!(config.key_exchange, expected, "{text}");
        assert!(config.explanations.is_empty(), "{:?}", config.explanations);
    }
}

#[test]
fn what_is_wrong_with_an_upstream_authority_is_told_in_spires_words() {
    let report = |plugins: &str| {
        let report = refusal(&format!("{} plugins {{ {plugins} }}", with("")));
        let lines = report.lines().skip(2).map(|line| line.trim().to_owned());
        lines.collect::<Vec<_>>()
    };
    assert_eq!(
        report(
            "NodeAttestor \"x509pop\" { plugin_data_file = \"conf/server/x509pop.conf\" }
             UpstreamAuthority \"disk\" { plugin_data {} }"
        ),
        [
            "NodeAttestor \"x509pop\":",
            "failed to read plugin configuration: open conf/server/x509pop.conf: no such file or directory",
            "UpstreamAuthority \"disk\":",
            "'cert_file_path' and 'key_file_path' must be set and not empty",
        ]
    );
    assert_eq!(
        report(
            "UpstreamAuthority \"spire\" { plugin_data {
                server_port = 99999 wrong = 1
                experimental { workload_api_named_pipe_name = \"p\" other = 1 }
             } }"
        ),
        [
            "UpstreamAuthority \"spire\":",
            "unknown configurations detected: experimental.other",
            "server_address is required",
            "server_port \"99999\" is not a TCP port",
            "configuration: workload_api_named_pipe_name is not supported on this platform; please use workload_api_socket instead",
            "workload_api_socket is required",
            "unknown configurations detected: wrong",
        ]
    );
    let disk = "{ plugin_data { cert_file_path = \"/c\" key_file_path = \"/k\" } }";
    assert_eq!(
        report(&format!(
            "UpstreamAuthority \"disk\" {disk} UpstreamAuthority \"disk\" {disk}"
        )),
        [
            "UpstreamAuthority:",
            "constraint not satisfied: expected at most 1 but got 2",
        ]
    );
}

#[test]
fn x509pop_is_taken_with_spires_defaults() {
    use crate::attest::NodeAttestorSettings;
    use crate::attest::x509pop::{ClientAddress, Trust};
    let take = |data: &str| {
        let text = format!(
            "{} plugins {{ NodeAttestor \"x509pop\" {{ plugin_data {{ {data} }} }} }}",
            with("")
        );
        let mut taken = load_text(&text).unwrap().node_attestors;
        let NodeAttestorSettings::X509Pop(settings) = taken.remove(0) else {
            panic!("another attestor");
        };
        settings
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let authority = identity::testing::TestAuthority::new("other.test");
    std::fs::write(&path, authority.bundle().to_pem()).unwrap();
    let settings = take(&format!("ca_bundle_path = {path:?}"));
    assert_eq!(settings.trust, Trust::ExternalPki(vec![path.clone()]));
    assert!(settings.agent_path_template.is_none());
    assert_eq!(
        (settings.max_intermediates, settings.max_rsa_key_size_bits),
        (4, 8192)
    );
    assert_eq!(settings.client_address, ClientAddress::Ignored);
    let settings = take(&format!(
        "ca_bundle_paths = [{path:?}, {path:?}] verify_client_ip = true max_intermediates = 1
         agent_path_template = \"/{{{{ .SerialNumberHex }}}}\""
    ));
    assert_eq!(settings.trust, Trust::ExternalPki(vec![path.clone(), path]));
    assert_eq!(settings.max_intermediates, 1);
    assert_eq!(settings.client_address, ClientAddress::Verified);
    for (data, prefix) in [
        ("mode = \"spiffe\"", "/spire-exchange/"),
        ("mode = \"spiffe\" svid_prefix = \"/a\"", "/a/"),
        ("mode = \"spiffe\" spiffe_prefix = \"\"", "/"),
    ] {
        let path_prefix = prefix.to_owned();
        assert_eq!(take(data).trust, Trust::Spiffe { path_prefix });
    }
}

#[test]
fn all_that_is_wrong_with_a_plugin_is_told_at_once() {
    let report = |data: &str| {
        let text = format!(
            "{} plugins {{ NodeAttestor \"x509pop\" {{ plugin_data {{ {data} }} }} }}",
            with("")
        );
        let report = refusal(&text);
        let lines = report.lines().skip(2).map(|line| line.trim().to_owned());
        lines.collect::<Vec<_>>()
    };
    let title = "NodeAttestor \"x509pop\":";
    assert_eq!(
        report(
            "ca_bundle_path = \"/nope.pem\" agent_path_template = \"/{{ .Nope }}\" nope = 1
             max_intermediates = 0 max_rsa_key_size = -1"
        ),
        [
            title,
            "unknown configurations detected: nope",
            "unable to load trust bundle \"/nope.pem\": open /nope.pem: no such file or directory",
            "failed to parse agent svid template: \"/{{ .Nope }}\": no field \"Nope\"; there are DNSNames, EmailAddresses, Fingerprint, IPAddresses, IsCA, Issuer, PluginName, SVIDPathTrimmed, SerialNumber, SerialNumberHex, Subject, TrustDomain, URIs, URISanSelectors",
            "max_intermediates must be greater than 0",
            "max_rsa_key_size must be greater than 0",
        ]
    );
    assert_eq!(
        report(
            "mode = \"spiffe\" ca_bundle_path = \"/x\" svid_prefix = \"a\" spiffe_prefix = \"b\""
        ),
        [
            title,
            "you can not use ca_bundle_path or ca_bundle_paths in spiffe mode",
            "spiffe_prefix and svid_prefix are the same, only one can be configured",
        ]
    );
    assert_eq!(
        report("mode = \"x\""),
        [title, "mode can only be either spiffe or external_pki"]
    );
    assert_eq!(
        report("ca_bundle_path = [1]"),
        [
            title,
            "unable to decode configuration: ca_bundle_path (line 6) must be a string"
        ]
    );
}

#[test]
fn lifetimes_that_an_authority_cannot_hold_are_told() {
    let config = load_text(&with("ca_ttl = \"1h\" default_jwt_svid_ttl = \"10m\"")).unwrap();
    assert_eq!(
        config.explanations,
        [
            "agent_ttl of 1h0m0s may be cut short by the end of an authority with ca_ttl 1h0m0s: set it to 10m0s or less, or ca_ttl to 6h0m0s or more",
            "default_x509_svid_ttl of 1h0m0s may be cut short by the end of an authority with ca_ttl 1h0m0s: set it to 10m0s or less, or ca_ttl to 6h0m0s or more",
        ]
    );
    let config = load_text(&with("ca_ttl = \"8760h\" agent_ttl = \"200h\"")).unwrap();
    assert_eq!(
        config.explanations,
        [
            "agent_ttl of 200h0m0s may be cut short by the end of an authority with ca_ttl 8760h0m0s: set it to 168h0m0s or less"
        ]
    );
}

#[test]
fn keys_without_meaning_are_explained() {
    let config = load_text(&with(
        "max_attested_node_info_staleness = \"5s\"
         experimental { events_based_cache = true cache_reload_interval = \"1s\" }
         cluster { signing_max_staleness = \"10m\" }",
    ))
    .unwrap();
    let named: Vec<_> = config
        .explanations
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(
        named,
        [
            "server.max_attested_node_info_staleness",
            "server.experimental.cache_reload_interval",
            "server.experimental.events_based_cache",
            "server.cluster.signing_max_staleness",
        ]
    );
}
