//! Which files load, to what, and how the others are refused.

use std::{path::PathBuf, time::Duration};

use daemon::config::Expand;

use super::{Config, HealthChecks, Listen, Source, load};

const SOURCE: &str = "server_api { address = \"unix:///a.sock\" }";
const LISTEN: &str = "insecure_addr = \"127.0.0.1:80\"";

fn load_text(text: &str) -> anyhow::Result<Config> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("oidc.conf");
    std::fs::write(&path, text).unwrap();
    load(&path, Expand::Nothing)
}

fn loaded(text: &str) -> Config {
    load_text(&format!("domains = [\"a.test\"]\n{text}")).unwrap()
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = load_text(&format!("domains = [\"a.test\"]\n{text}")).unwrap_err();
    assert_eq!(format!("{error:#}"), expected, "{text}");
}

fn sample(name: &str) -> Config {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    load(&root.join("../deploy/conf").join(name), Expand::Nothing).unwrap()
}

#[test]
fn little_is_needed_and_the_rest_has_spires_defaults() {
    let config = loaded(&format!("{SOURCE}\n{LISTEN}"));
    assert_eq!(config.log.level, daemon::log::Level::default());
    assert_eq!(config.domains.names().collect::<Vec<_>>(), ["a.test"]);
    assert_eq!(config.server_path_prefix, "/");
    assert_eq!(config.poll_interval, Duration::from_secs(10));
    let socket = "/a.sock".into();
    assert_eq!(config.source, Source::ServerApi { socket });
    let address = "127.0.0.1:80".to_owned();
    assert_eq!(config.listen, Listen::Insecure { address });
    assert_eq!(config.health_checks, None);
    let config = loaded(&format!("{SOURCE}\n{LISTEN}\nhealth_checks {{}}"));
    let expected = HealthChecks {
        bind_port: 8008,
        live_path: "/live".to_owned(),
        ready_path: "/ready".to_owned(),
    };
    assert_eq!(config.health_checks, Some(expected));
    let serving = "serving_cert_file { cert_file_path = \"c\" key_file_path = \"k\" }";
    let config = loaded(&format!("{SOURCE}\n{serving}"));
    let expected = Listen::CertificateFiles {
        address: ":443".to_owned(),
        certificate: "c".into(),
        key: "k".into(),
        sync_interval: Duration::from_secs(60),
    };
    assert_eq!(config.listen, expected);
    assert!(config.holds_a_key());
}

#[test]
fn shipped_samples_load_and_the_full_one_shows_every_key() {
    let config = sample("oidc-provider.conf");
    assert_eq!(config.explanations, Vec::<String>::new());
    let config = sample("oidc-provider-full.conf");
    assert_eq!(config.poll_interval, Duration::from_secs(10));
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("../deploy/conf/oidc-provider-full.conf");
    let text = std::fs::read_to_string(path).unwrap();
    for key in KEYS.split_whitespace() {
        let shown = text.lines().any(|line| {
            let line = line.trim_start().trim_start_matches('#').trim_start();
            line.strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(" = ") || rest.starts_with(" {"))
        });
        assert!(shown, "{key}");
    }
}

/// What stands behind a "#" loads, too.
#[test]
fn the_sample_of_acme_loads() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = path.join("../deploy/conf/oidc-provider-full.conf");
    let text = std::fs::read_to_string(path).unwrap();
    let block = text.lines().skip_while(|line| *line != "# acme {");
    let block = block.take_while(|line| *line != "# }");
    let block: Vec<_> = block.map(|line| line.trim_start_matches("# ")).collect();
    let config = loaded(&format!("{SOURCE}\n{}\n}}", block.join("\n")));
    let Listen::Acme {
        address,
        settings,
        cache,
    } = config.listen
    else {
        panic!("{:?}", config.listen);
    };
    assert_eq!(settings.directory_url(), acme::settings::LETS_ENCRYPT);
    assert_eq!(address, ":443");
    assert_eq!(cache, Some("./.acme-cache".into()));
}

const KEYS: &str = "log_format log_level log_path log_requests domains set_key_use allow_insecure_scheme \
    insecure_addr listen_socket_path acme directory_url email tos_accepted cache_dir serving_cert_file cert_file_path key_file_path addr \
    file_sync_interval server_api address poll_interval workload_api socket_path trust_domain file path \
    health_checks bind_port live_path ready_path jwt_issuer jwks_uri server_path_prefix";

/// Those of the integration suite of SPIRE, but for the paths.
#[test]
fn the_files_of_spires_suite_load() {
    let config = loaded(
        "log_level = \"DEBUG\"\nlisten_socket_path = \"/o/p.sock\"\nworkload_api {\n socket_path = \"/o/w.sock\"\n trust_domain = \"domain.test\"\n}",
    );
    let path = "/o/p.sock".into();
    assert_eq!(config.listen, Listen::Socket { path });
    let Source::WorkloadApi {
        socket,
        trust_domain,
    } = config.source
    else {
        panic!("{:?}", config.source);
    };
    assert_eq!(socket, PathBuf::from("/o/w.sock"));
    assert_eq!(trust_domain.as_str(), "domain.test");
}

#[test]
fn what_is_missing_or_twice_is_told_in_spires_words() {
    let both =
        "either acme, serving_cert_file, insecure_addr or listen_socket_path must be configured";
    refused(SOURCE, both);
    refused(
        LISTEN,
        "exactly one of the server_api, workload_api, or file sections must be configured",
    );
    refused(
        &format!("{LISTEN}\n{SOURCE}\nfile {{ path = \"a\" }}"),
        "the server_api, workload_api, and file sections are mutually exclusive",
    );
    let serving = "serving_cert_file { cert_file_path = \"c\" key_file_path = \"k\" }";
    for (listen, expected) in [
        (
            format!("{serving}\n{LISTEN}"),
            "serving_cert_file and insecure_addr are mutually exclusive",
        ),
        (
            format!("{serving}\nlisten_socket_path = \"s\""),
            "serving_cert_file and listen_socket_path are mutually exclusive",
        ),
        (
            format!("{LISTEN}\nlisten_socket_path = \"s\""),
            "insecure_addr and listen_socket_path are mutually exclusive",
        ),
        (
            "serving_cert_file { key_file_path = \"k\" }".to_owned(),
            "cert_file_path must be configured in the serving_cert_file configuration section",
        ),
    ] {
        refused(&format!("{SOURCE}\n{listen}"), expected);
    }
    for (source, expected) in [
        (
            "server_api {}",
            "address must be configured in the server_api configuration section",
        ),
        (
            "server_api { address = \"a:80\" }",
            "address must use the unix name system in the server_api configuration section",
        ),
        (
            "workload_api { socket_path = \"s\" }",
            "trust_domain must be configured in the workload_api configuration section",
        ),
        (
            "workload_api { trust_domain = \"t\" }",
            "socket_path must be configured in the workload_api configuration section",
        ),
        (
            "file { path = \"a\" poll_interval = \"x\" }",
            "invalid poll_interval in the file configuration section: time: invalid duration \"x\"",
        ),
    ] {
        refused(&format!("{LISTEN}\n{source}"), expected);
    }
    let error = load_text(&format!("{LISTEN}\n{SOURCE}")).unwrap_err();
    assert_eq!(error.to_string(), "at least one domain must be configured");
}

const ACME: &str = "acme { tos_accepted = true email = \"a@b.test\" }";

#[test]
fn acme_takes_spires_keys_and_defaults() {
    let config = loaded(&format!("{SOURCE}\n{ACME}"));
    assert!(config.holds_a_key());
    let Listen::Acme {
        address,
        settings,
        cache,
    } = config.listen
    else {
        panic!("{:?}", config.listen);
    };
    assert_eq!(address, ":443");
    assert_eq!(cache, Some("./.acme-cache".into()));
    assert_eq!(settings.email(), "a@b.test");
    let directory = "https://acme-v02.api.letsencrypt.org/directory";
    assert_eq!(settings.directory_url(), directory);
    let config = loaded(&format!(
        "{SOURCE}\nacme {{ tos_accepted = true email = \"a@b\" cache_dir = \"\" addr = \":1\" directory_url = \"https://a/\" }}"
    ));
    let Listen::Acme {
        address,
        settings,
        cache,
    } = config.listen
    else {
        panic!("{:?}", config.listen);
    };
    assert_eq!((&*address, cache), (":1", None));
    assert_eq!(settings.directory_url(), "https://a/");
}

#[test]
fn acme_that_cannot_be_is_refused_in_spires_words() {
    for (listen, expected) in [
        (
            "acme { email = \"a@b.test\" }".to_owned(),
            "tos_accepted must be set to true in the acme configuration section",
        ),
        (
            "acme { tos_accepted = true }".to_owned(),
            "email must be configured in the acme configuration section",
        ),
        (
            format!("{ACME}\n{LISTEN}"),
            "insecure_addr and the acme section are mutually exclusive",
        ),
        (
            format!("{ACME}\nlisten_socket_path = \"s\""),
            "listen_socket_path and the acme section are mutually exclusive",
        ),
        (
            format!("{ACME}\nserving_cert_file {{ cert_file_path = \"c\" key_file_path = \"k\" }}"),
            "acme and serving_cert_file are mutually exclusive",
        ),
        (
            "acme { tos_accepted = true email = \"nobody\" }".to_owned(),
            "invalid acme configuration section: email \"nobody\" is no e-mail address",
        ),
        (
            "acme { tos_accepted = true email = \"a@b\" directory_url = \"http://a/\" }".to_owned(),
            "invalid acme configuration section: directory_url \"http://a/\" is no https:// URL",
        ),
        (
            "acme { domain_name = \"a\" }".to_owned(),
            "unknown configuration detected: acme.domain_name (line 3)",
        ),
    ] {
        refused(&format!("{SOURCE}\n{listen}"), expected);
    }
    let error = load_text(&format!("domains = [\"10.0.0.1\"]\n{SOURCE}\n{ACME}"));
    assert_eq!(
        format!("{:#}", error.unwrap_err()),
        "the acme section cannot be used with all domains: domain name \"10.0.0.1\" must be the name of a \
         host in lower case, punycode encoded, without a wildcard"
    );
}

#[test]
fn values_that_would_mislead_are_refused() {
    for (line, expected) in [
        (
            "jwt_issuer = \"a.test\"",
            "the jwt_issuer url must contain a scheme",
        ),
        (
            "jwt_issuer = \"https:///a\"",
            "the jwt_issuer url must contain a host",
        ),
        (
            "jwt_issuer = \"https://a b\"",
            "the jwt_issuer url could not be parsed: \"https://a b\"",
        ),
        (
            "jwks_uri = \"/keys\"",
            "the jwks_uri setting could not be parsed: no scheme",
        ),
        (
            "server_path_prefix = \"a\"",
            "server_path_prefix \"a\" must begin with a slash",
        ),
        (
            "health_checks { bind_port = \"70000\" }",
            "health_checks.bind_port is no port: out of range integral type conversion attempted",
        ),
        (
            "health_checks { live_path = \"/a\" ready_path = \"/a\" }",
            "health_checks.live_path and ready_path must not be the same",
        ),
        (
            "domain = \"a\"",
            "unknown configuration detected: domain (line 4)",
        ),
    ] {
        refused(&format!("{SOURCE}\n{LISTEN}\n{line}"), expected);
    }
}

#[test]
fn an_issuer_alone_and_pipes_are_explained() {
    let config = loaded(&format!(
        "{SOURCE}\n{LISTEN}\njwt_issuer = \"https://i.test\"\nexperimental {{ listen_named_pipe_name = \"p\" }}"
    ));
    assert_eq!(
        config.explanations,
        [
            "experimental.listen_named_pipe_name is accepted and ignored: it is for Windows",
            "jwt_issuer also decides where the keys are said to be, since jwks_uri is not set"
        ]
    );
}
