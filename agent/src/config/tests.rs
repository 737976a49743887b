//! Defaults, precedence and refusals of `agent.conf`.

use std::path::Path;

use daemon::{config::validation_report, log::Level};

use super::*;

fn load_text(text: &str) -> anyhow::Result<Config> {
    load_flags(text, "")
}

fn load_flags(text: &str, flags: &str) -> anyhow::Result<Config> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.conf");
    std::fs::write(&path, text).unwrap();
    let line = format!("-config {} {flags}", path.display());
    let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    let parsed = run_flags("run").parse(&arguments).unwrap();
    load(&LoadArgs::from_flags(&parsed))
}

const SERVER: &str = "server_address = \"h\" server_port = \"8081\"";

/// A config that is complete but for a bootstrap, with these lines in its `agent` section.
fn unbootstrapped(lines: &str) -> String {
    format!("agent {{\n  trust_domain = \"example.org\"\n  {SERVER}\n  {lines}\n}}\n")
}

fn with(lines: &str) -> String {
    unbootstrapped(&format!("trust_bundle_path = \"/b\"\n  {lines}"))
}

fn refusal(text: &str) -> String {
    let Err(error) = load_text(text) else {
        panic!("taken: {text}");
    };
    validation_report("SPIRE agent", &error)
        .trim_end()
        .trim_start_matches("SPIRE agent configuration file is invalid: ")
        .to_owned()
}

#[test]
fn unset_keys_have_spires_defaults() {
    let config = load_text(&with("")).unwrap();
    assert_eq!(config.trust_domain.as_str(), "example.org");
    assert_eq!(config.server_addresses, [("h".to_owned(), 8081)]);
    assert_eq!(
        config.socket_path,
        Path::new("/tmp/spire-agent/public/api.sock")
    );
    assert_eq!(config.data_dir, Path::new("."));
    let bundle = Bootstrap::BundleFile {
        path: "/b".into(),
        format: BundleFormat::Pem,
    };
    assert_eq!(config.bootstrap, bundle);
    assert!(config.join_token.is_none());
    assert_eq!(config.sync_interval, Duration::from_secs(5));
    assert_eq!(config.x509_svid_cache_max_size, 1000);
    assert_eq!(config.jwt_svid_cache_max_size, 1000);
    assert_eq!(config.workload_x509_svid_key_type, KeyType::EcP256);
    assert_eq!(config.availability_target, None);
    assert!(!config.allow_unauthenticated_verifiers);
    assert!(!config.disable_workload_api && !config.disable_sds_api);
    let sds = Sds {
        default_svid_name: "default".to_owned(),
        default_bundle_name: "ROOTCA".to_owned(),
        default_all_bundles_name: "ALL".to_owned(),
        disable_spiffe_cert_validation: false,
    };
    assert_eq!(config.sds, sds);
    assert_eq!(config.admin_socket_path, None);
    assert_eq!(config.unix, Some(Unix::default()));
    assert_eq!(config.health_checks, None);
    assert_eq!(config.explanations, Vec::<String>::new());
}

#[test]
fn set_keys_are_taken() {
    let text = "agent {
        trust_domain = \"spiffe://example.org\"
        server_addresses = [\"a:1\", \"[::1]:2\"]
        insecure_bootstrap = true
        join_token = \"t\"
        x509_svid_cache_max_size = 8
        workload_x509_svid_key_type = \"rsa-2048\"
        availability_target = \"24h\"
        allow_unauthenticated_verifiers = true
        allowed_foreign_jwt_claims = [\"c\"]
        experimental { sync_interval = \"1s\" }
      }
      plugins {
        NodeAttestor \"join_token\" { plugin_data {} }
        KeyManager \"disk\" { plugin_data { directory = \"/d\" } }
        WorkloadAttestor \"unix\" { plugin_data { discover_workload_path = true workload_size_limit = -1 } }
      }
      health_checks { listener_enabled = true bind_port = 8082 }";
    let config = load_text(text).unwrap();
    let servers = [("a".to_owned(), 1), ("::1".to_owned(), 2)];
    assert_eq!(config.server_addresses, servers);
    assert_eq!(config.bootstrap, Bootstrap::Insecure);
    assert_eq!(config.join_token.unwrap().expose(), "t");
    assert_eq!(config.x509_svid_cache_max_size, 8);
    assert_eq!(config.workload_x509_svid_key_type, KeyType::Rsa2048);
    assert_eq!(
        config.availability_target,
        Some(Duration::from_secs(86_400))
    );
    assert!(config.allow_unauthenticated_verifiers);
    assert_eq!(config.allowed_foreign_jwt_claims, ["c"]);
    assert_eq!(config.sync_interval, Duration::from_secs(1));
    let unix = Unix {
        discover_workload_path: true,
        workload_size_limit: -1,
    };
    assert_eq!(config.unix, Some(unix));
    assert_eq!(config.health_checks.unwrap().bind_port, 8082);
    let disk = KeyManager::Disk {
        directory: "/d".into(),
    };
    assert_eq!(config.key_manager, disk);
    assert_eq!(config.explanations, Vec::<String>::new());
}

#[test]
fn flags_go_before_the_file() {
    let flags =
        "-serverAddress i -serverPort 2 -trustDomain t.org -dataDir e -socketPath s -logLevel error
        -trustBundle /c -trustBundleFormat spiffe -joinToken u -allowUnauthenticatedVerifiers";
    let config = load_flags(&with("join_token = \"t\""), flags).unwrap();
    assert_eq!(config.server_addresses, [("i".to_owned(), 2)]);
    assert_eq!(config.trust_domain.as_str(), "t.org");
    assert_eq!(config.data_dir, Path::new("e"));
    assert_eq!(config.socket_path, Path::new("s"));
    assert_eq!(config.log.level, Level::Error);
    let bundle = Bootstrap::BundleFile {
        path: "/c".into(),
        format: BundleFormat::Spiffe,
    };
    assert_eq!(config.bootstrap, bundle);
    assert_eq!(config.join_token.unwrap().expose(), "u");
    assert!(config.allow_unauthenticated_verifiers);
    let config = load_flags(&unbootstrapped(""), "-insecureBootstrap").unwrap();
    assert_eq!(config.bootstrap, Bootstrap::Insecure);
}

#[test]
fn join_token_comes_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let lines = with(&format!("join_token_file = \"{}\"", path.display()));
    assert!(refusal(&lines).starts_with("unable to read join token file \""));
    std::fs::write(&path, "secret\n").unwrap();
    let config = load_text(&lines).unwrap();
    assert_eq!(config.join_token.unwrap().expose(), "secret");
    std::fs::write(&path, " \n").unwrap();
    assert!(refusal(&lines).ends_with("is empty"));
    std::fs::write(&path, "x".repeat(4097)).unwrap();
    let expected =
        format!("unable to read join token file {path:?}: the file is longer than 4096 bytes");
    assert_eq!(refusal(&lines), expected);
}

#[test]
fn refusals_have_the_recorded_texts() {
    for (lines, expected) in [
        ("trust_domain = \"\"", "trust_domain must be configured"),
        ("server_address = \"\"", "server_address must be configured"),
        ("server_port = 0", "server_port must be configured"),
        (
            "insecure_bootstrap = true",
            "only one of insecure_bootstrap or trust_bundle_path can be specified, not both",
        ),
        (
            "log_level = \"LOUD\"",
            "could not start logger: unknown log level \"LOUD\"; must be one of [panic, fatal, error, warn, info, debug, trace]",
        ),
        (
            "sync_interval = \"x\"",
            "unknown configuration detected: agent.sync_interval (line 5)",
        ),
        (
            "experimental { sync_interval = \"x\" }",
            "could not parse synchronization interval \"x\": time: invalid duration \"x\"",
        ),
        (
            "join_token = \"a\" join_token_file = \"b\"",
            "only one of join_token or join_token_file can be specified, not both",
        ),
        (
            "availability_target = \"23h\"",
            "availability_target must be at least 24h0m0s",
        ),
        (
            "workload_x509_svid_key_type = \"rsa-4096\"",
            "error parsing workload_x509_svid_key_type: key type \"rsa-4096\" is unknown; must be one of [rsa-2048, ec-p256, ec-p384]",
        ),
        (
            "rebootstrap_mode = \"often\"",
            "unknown rebootstrap mode specified: often",
        ),
        (
            "experimental {\n broker {}\n }",
            "not supported yet: agent.experimental.broker (line 6)",
        ),
        (
            "server_addresses = [\"a:1\"]",
            "only one of server_addresses or server_address with server_port can be specified, not both",
        ),
        (
            "trust_bundle_format = \"der\"",
            "invalid value for trust_bundle_format, expected \"pem\" or \"spiffe\"",
        ),
    ] {
        assert_eq!(refusal(&with(lines)), expected, "{lines}");
    }
    assert_eq!(
        refusal(&unbootstrapped("")),
        "trust_bundle_path, trust_bundle_url, or trust_bundle_spiffe_workload_api must be configured unless insecure_bootstrap is set"
    );
    assert_eq!(
        refusal(&unbootstrapped("trust_bundle_url = \"http://b\"")),
        "trust bundle URL must start with https://"
    );
    assert_eq!(refusal(""), "agent section must be configured");
}

#[test]
fn ways_to_believe_the_first_server_are_one_each() {
    for (lines, expected) in [
        (
            "trust_bundle_url = \"https://b\" trust_bundle_path = \"/b\"",
            "only one of trust_bundle_url or trust_bundle_path can be specified, not both",
        ),
        (
            "insecure_bootstrap = true trust_bundle_url = \"https://b\" trust_bundle_path = \"/b\"",
            "only one of insecure_bootstrap, trust_bundle_url, or trust_bundle_path can be specified, not the three options",
        ),
        (
            "trust_bundle_path = \"/b\" trust_bundle_spiffe_workload_api = \"unix:///s\"",
            "only one of trust_bundle_path or trust_bundle_spiffe_workload_api can be specified, not both",
        ),
        (
            "trust_bundle_path = \"/b\" trust_bundle_unix_socket = \"/s\"",
            "if trust_bundle_unix_socket is specified, so must be trust_bundle_url",
        ),
        (
            "trust_bundle_url = \"https://b\" trust_bundle_unix_socket = \"/s\"",
            "trust bundle URL must start with http:// when used with trust bundle unix socket",
        ),
        (
            "trust_bundle_url = \"http://b?a=1&spire-x=2\" trust_bundle_unix_socket = \"/s\"",
            "trust_bundle_url query params can not start with spire-",
        ),
        (
            "insecure_bootstrap = true rebootstrap_mode = \"auto\"",
            "insecure_bootstrap option can not be used with rebootstrapping",
        ),
    ] {
        assert_eq!(refusal(&unbootstrapped(lines)), expected, "{lines}");
    }
    let taken = |lines: &str| load_text(&unbootstrapped(lines)).unwrap().bootstrap;
    assert_eq!(
        taken("trust_bundle_url = \"https://b\" trust_bundle_format = \"spiffe\""),
        Bootstrap::BundleUrl {
            url: "https://b".to_owned(),
            format: BundleFormat::Spiffe,
        }
    );
    assert_eq!(
        taken("trust_bundle_url = \"http://b?a=1\" trust_bundle_unix_socket = \"/s\""),
        Bootstrap::BundleSocket {
            socket: "/s".into(),
            url: "http://b?a=1".to_owned(),
            format: BundleFormat::Pem,
        }
    );
    assert_eq!(
        taken("trust_bundle_spiffe_workload_api = \"unix:///s\""),
        Bootstrap::WorkloadApi {
            socket: "/s".into()
        }
    );
}

#[test]
fn experimental_settings_are_taken_or_refused() {
    let text = "rebootstrap_mode = \"auto\" experimental {
        require_pq_kem = true jwt_svid_cache_hit_timeout = \"30s\"
        ratelimit { fetch_x509_svid = 7 stream_secrets = 0 }
      }";
    let config = load_text(&with(text)).unwrap();
    let rebootstrap = Rebootstrap {
        delay: Duration::from_secs(600),
        is_required: false,
    };
    assert_eq!(config.rebootstrap, Some(rebootstrap));
    assert_eq!(config.key_exchange, KeyExchange::PostQuantum);
    assert_eq!(config.jwt_svid_cache_hit_timeout, Duration::from_secs(30));
    let limits: Vec<_> = config.rate_limits.into_iter().collect();
    let seven = std::num::NonZeroU32::new(7).unwrap();
    assert_eq!(limits, [(crate::endpoints::Method::FetchX509Svid, seven)]);
    for (lines, expected) in [
        (
            "experimental { jwt_svid_cache_hit_timeout = \"4s\" }",
            "jwt_svid_cache_hit_timeout (4s) must be greater than 5s",
        ),
        (
            "experimental { jwt_svid_cache_hit_timeout = \"31s\" }",
            "jwt_svid_cache_hit_timeout (31s) must be less than 30s",
        ),
        (
            "experimental { ratelimit { fetch_secrets = -1 } }",
            "experimental.ratelimit.fetch_secrets must not be negative",
        ),
        (
            "experimental { ratelimit { fetch_wit_svid = 1 } }",
            "unknown configuration detected: agent.experimental.ratelimit.fetch_wit_svid (line 5)",
        ),
    ] {
        assert_eq!(refusal(&with(lines)), expected, "{lines}");
    }
}

#[test]
fn sockets_and_who_calls_on_them_are_checked() {
    for (lines, expected) in [
        (
            "sds { default_name = \"a\" }",
            "unknown configuration detected: agent.sds.default_name (line 5)",
        ),
        (
            "authorized_delegates = [\"spiffe://other.org/d\"]",
            "error validating authorized delegate \"spiffe://other.org/d\": not a member of trust domain \"example.org\"",
        ),
        (
            "socket_path = \"run/x/../agent.sock\" admin_socket_path = \"./run/y/admin.sock\"",
            "admin socket cannot be in the same directory or a subdirectory as that containing the Workload API socket",
        ),
        (
            "admin_socket_path = \"/tmp/spire-agent/public/x/admin.sock\"",
            "admin socket cannot be in the same directory or a subdirectory as that containing the Workload API socket",
        ),
    ] {
        assert_eq!(refusal(&with(lines)), expected, "{lines}");
    }
}

#[test]
fn server_addresses_have_host_and_port() {
    for address in ["h", "h:0", "h:65536", ":1", "::1:2", "[::1]"] {
        let text = format!(
            "agent {{ trust_domain = \"t\" insecure_bootstrap = true server_addresses = [{address:?}] }}"
        );
        let expected = format!("server_addresses: {address:?} must be formatted as host:port");
        assert_eq!(refusal(&text), expected);
    }
}

#[test]
fn key_is_kept_in_the_data_directory_unless_said_otherwise() {
    let disk = KeyManager::Disk {
        directory: "e".into(),
    };
    let plugins = |manager| {
        let attestors = "NodeAttestor \"join_token\" {} WorkloadAttestor \"unix\" {}";
        format!("plugins {{ {attestors} KeyManager {manager} }}")
    };
    for (plugins, expected) in [
        (String::new(), disk.clone()),
        (plugins("\"disk\" {}"), disk),
        (plugins("\"memory\" {}"), KeyManager::Memory),
    ] {
        let text = with("data_dir = \"e\"") + &plugins;
        assert_eq!(load_text(&text).unwrap().key_manager, expected);
    }
}

#[test]
fn named_plugins_must_be_enough_and_there() {
    let report = |plugins: &str| refusal(&format!("{} plugins {{ {plugins} }}", with("")));
    let join = "NodeAttestor \"join_token\" {}";
    assert_eq!(
        report(join),
        "SPIRE agent configuration file is invalid.\nValidation errors:\n\tWorkloadAttestor:\n\t\tconstraint not satisfied: expected at least 1 but got 0"
    );
    assert_eq!(
        report(&format!("{join} WorkloadAttestor \"k8s\" {{}}")),
        "SPIRE agent configuration file is invalid.\nValidation errors:\n\tWorkloadAttestor \"k8s\":\n\t\tnot supported yet"
    );
    assert_eq!(
        report(&format!("{join} WorkloadAttestor \"nope\" {{}}")),
        "Could not validate configuration file: failed to load plugin \"nope\": no built-in plugin \"nope\" for type \"WorkloadAttestor\""
    );
    let attestors = format!("{join} {join} WorkloadAttestor \"unix\" {{}}");
    assert_eq!(
        report(&attestors),
        "SPIRE agent configuration file is invalid.\nValidation errors:\n\tNodeAttestor:\n\t\tconstraint not satisfied: expected exactly 1 but got 2"
    );
}

#[test]
fn x509pop_is_taken_or_all_that_is_wrong_told() {
    use crate::attest::x509pop::Source;
    let text = |data: &str| {
        format!(
            "{} plugins {{ KeyManager \"memory\" {{}} WorkloadAttestor \"unix\" {{}}
             NodeAttestor \"x509pop\" {{ plugin_data {{ {data} }} }} }}",
            with("")
        )
    };
    let taken = |data: &str| {
        let taken = load_text(&text(data)).unwrap().node_attestor;
        let Some(NodeAttestorSettings::X509Pop(source)) = taken else {
            panic!("x509pop expected");
        };
        source
    };
    // The files may come later.
    assert_eq!(
        taken("private_key_path = \"/k\" certificate_path = \"/c\" intermediates_path = \"\""),
        Source::Files {
            private_key: "/k".into(),
            certificate: "/c".into(),
            intermediates: None,
        }
    );
    for address in ["unix:///run/a.sock", "unix:/run/a.sock", "/run/a.sock"] {
        assert_eq!(
            taken(&format!("spiffe_endpoint_socket = \"{address}\"")),
            Source::WorkloadApi("/run/a.sock".into())
        );
    }
    assert_eq!(
        refusal(&text("nope = 1")),
        "SPIRE agent configuration file is invalid.\nValidation errors:\n\tNodeAttestor \"x509pop\":\n\t\tunknown configurations detected: nope\n\t\tprivate_key_path is required\n\t\tcertificate_path is required"
    );
}

#[test]
fn docker_is_taken_or_all_that_is_wrong_told() {
    use crate::attestor::docker::{Locator, Settings};
    let text = |data: &str| {
        format!(
            "{} plugins {{ KeyManager \"memory\" {{}} NodeAttestor \"join_token\" {{}}
             WorkloadAttestor \"docker\" {{ plugin_data {{ {data} }} }} }}",
            with("")
        )
    };
    let taken = |data: &str| load_text(&text(data)).unwrap().docker.unwrap();
    assert_eq!(taken(""), Settings::default());
    assert!(load_text(&text("")).unwrap().unix.is_none());
    assert_eq!(load_text(&with("")).unwrap().docker, None);
    let settings = taken(
        "docker_socket_path = \"unix:///d.sock\" docker_version = \"1.41\"
         podman_socket_path = \"unix:///p.sock\" verbose_container_locator_logs = true
         use_new_container_locator = true",
    );
    assert_eq!(settings.socket, Path::new("/d.sock"));
    assert_eq!(settings.version.unwrap().to_string(), "1.41");
    assert_eq!(settings.podman_socket, Path::new("/p.sock"));
    assert!(settings.is_verbose && !settings.rootless_podman.is_believed);
    let settings = taken("podman_socket_path_template = \"unix:///run/user/%d/p.sock\"");
    assert!(settings.rootless_podman.is_believed);
    let matchers = "container_id_cgroup_matchers = [\"/docker/<id>\"]";
    let settings = taken(&format!("{matchers} use_new_container_locator = false"));
    assert!(matches!(settings.locator, Locator::ByPatterns(_)));

    let problems = |data: &str| {
        let refusal = refusal(&text(data));
        let problems = refusal
            .split_once("WorkloadAttestor \"docker\":\n\t\t")
            .unwrap();
        problems.1.replace("\n\t\t", "|")
    };
    assert!(
        problems(matchers).starts_with(
            "the new container locator and custom cgroup matchers cannot both be used"
        )
    );
    assert_eq!(
        problems(
            "docker_host = \"x\" sigstore {} docker_version = \"1\" docker_socket_path = \"tcp://h:2375\""
        ),
        "sigstore is not supported yet|unknown configurations detected: docker_host|unable to parse docker host \"tcp://h:2375\": it must be unix:// and the path of a socket|invalid API version (1): must be formatted <major>.<minor>"
    );
    assert_eq!(
        problems("podman_socket_path_template = \"unix:///p.sock\""),
        "invalid podman_socket_path_template: template must contain exactly one %d UID placeholder"
    );
    assert!(problems("docker_version = {}").starts_with("unable to decode configuration: "));
}

#[test]
fn delegates_and_admin_socket_are_explained() {
    let delegates = "authorized_delegates = [\"spiffe://example.org/d\"]";
    let config = load_text(&with(delegates)).unwrap();
    assert_eq!(
        config.authorized_delegates[0].as_str(),
        "spiffe://example.org/d"
    );
    assert_eq!(
        config.explanations,
        [
            "agent.authorized_delegates has no effect: admin_socket_path is not configured, so there is no socket for delegates"
        ]
    );
    let socket = format!("{delegates} admin_socket_path = \"/tmp/admin/api.sock\"");
    let config = load_text(&with(&socket)).unwrap();
    assert_eq!(config.explanations, Vec::<String>::new());
    assert_eq!(
        config.admin_socket_path.as_deref(),
        Some(Path::new("/tmp/admin/api.sock"))
    );
}

#[test]
fn admin_socket_may_be_anywhere_when_workloads_have_none() {
    let lines = "admin_socket_path = \"/tmp/spire-agent/public/admin.sock\" disable_sds_api = true";
    assert!(refusal(&with(lines)).starts_with("admin socket cannot be"));
    let config = load_text(&with(&format!("{lines} disable_workload_api = true"))).unwrap();
    assert!(config.disable_workload_api && config.disable_sds_api);
}

#[test]
fn equal_names_of_bundles_are_explained() {
    let config = load_text(&with("sds { default_bundle_name = \"ALL\" }")).unwrap();
    assert_eq!(config.sds.default_bundle_name, "ALL");
    assert_eq!(config.sds.default_all_bundles_name, "ALL");
    assert_eq!(config.sds.default_svid_name, "default");
    let [explanation] = config.explanations.as_slice() else {
        panic!("{:?}", config.explanations);
    };
    assert!(explanation.contains("\"default_all_bundles_name\" will be ignored"));
}

#[test]
fn profiling_is_explained() {
    let config = load_text(&with("profiling_enabled = true")).unwrap();
    assert_eq!(
        config.explanations,
        [
            "agent.profiling_enabled is accepted and ignored: it is for profiles of Go programs; use perf(1)"
        ]
    );
}
