//! `agent.conf` as written: every key that there is, none judged yet.

use anyhow::Context as _;
use daemon::{
    config::{Findings, Plugin, take_feature_flags, take_health_checks, take_log, take_plugins},
    hcl::Object,
};

use super::{LoadArgs, flags::Texts, plugins};
use crate::endpoints::Method;

/// The keys that have a meaning, with the command line merged in.
pub(super) struct File {
    pub(super) texts: Texts,
    pub(super) admin_socket_path: Option<String>,
    pub(super) allow_unauthenticated_verifiers: bool,
    pub(super) allowed_foreign_jwt_claims: Vec<String>,
    pub(super) authorized_delegates: Vec<String>,
    pub(super) availability_target: Option<String>,
    pub(super) disable_sds_api: bool,
    pub(super) disable_workload_api: bool,
    pub(super) health_checks: Option<daemon::health::Options>,
    pub(super) insecure_bootstrap: bool,
    pub(super) jwt_svid_cache_max_size: Option<i64>,
    pub(super) log: daemon::log::Options,
    pub(super) log_selectors: Vec<String>,
    pub(super) plugins: Vec<Plugin>,
    pub(super) sds: SdsTexts,
    pub(super) server_addresses: Vec<String>,
    pub(super) server_port: Option<i64>,
    pub(super) experimental: Experimental,
    pub(super) workload_x509_svid_key_type: Option<String>,
    pub(super) x509_svid_cache_max_size: Option<i64>,
    pub(super) findings: Findings,
}

/// The `experimental` block.
#[derive(Default)]
pub(super) struct Experimental {
    pub(super) jwt_svid_cache_hit_timeout: Option<String>,
    /// Calls per second, by the name of the key; 0 for no limit.
    pub(super) rate_limits: Vec<(&'static str, i64)>,
    pub(super) require_pq_kem: bool,
    pub(super) sync_interval: Option<String>,
}

/// The `sds` block.
#[derive(Default)]
pub(super) struct SdsTexts {
    pub(super) default_svid_name: Option<String>,
    pub(super) default_bundle_name: Option<String>,
    pub(super) default_all_bundles_name: Option<String>,
    pub(super) disable_spiffe_cert_validation: bool,
}

impl File {
    /// Takes a document apart.
    ///
    /// # Errors
    /// When a key is unknown, a value has the wrong type, or the log settings are wrong.
    pub(super) fn take(mut document: Object, arguments: &LoadArgs) -> anyhow::Result<Self> {
        let mut findings = Findings::new();
        let health_checks = take_health_checks(&mut document, &mut findings)?;
        let plugins = take_plugins(&mut document, &plugins::KINDS, &mut findings)?;
        findings.refuse("", &mut document, &["telemetry"]);
        let agent = document.take_block("agent")?;
        let mut agent = agent.context("agent section must be configured")?;
        findings.finish("", &document);
        take_unsupported(&mut agent, &mut findings);
        let switches = arguments.switches;
        let mut is_on =
            |name, given| Ok::<_, anyhow::Error>(given || agent.take_bool(name)? == Some(true));
        let verifiers = switches.allow_unauthenticated_verifiers;
        let allow_unauthenticated_verifiers = is_on("allow_unauthenticated_verifiers", verifiers)?;
        let insecure_bootstrap = is_on("insecure_bootstrap", switches.insecure_bootstrap)?;
        let disable_workload_api = is_on("disable_workload_api", switches.disable_workload_api)?;
        let disable_sds_api = is_on("disable_sds_api", switches.disable_sds_api)?;
        let mut list = |name| agent.take_list(name).map(Option::unwrap_or_default);
        let mut file = Self {
            allow_unauthenticated_verifiers,
            insecure_bootstrap,
            disable_workload_api,
            disable_sds_api,
            allowed_foreign_jwt_claims: list("allowed_foreign_jwt_claims")?,
            authorized_delegates: list("authorized_delegates")?,
            server_addresses: list("server_addresses")?,
            log_selectors: list("log_selectors")?,
            sds: take_sds(&mut agent, &mut findings)?,
            texts: take_texts(&mut agent, &arguments.texts)?,
            admin_socket_path: agent.take_string("admin_socket_path")?,
            availability_target: agent.take_string("availability_target")?,
            jwt_svid_cache_max_size: agent.take_integer("jwt_svid_cache_max_size")?,
            log: take_log(&mut agent, &arguments.log)?,
            server_port: arguments.server_port.or(agent.take_integer("server_port")?),
            experimental: take_experimental(&mut agent, &mut findings)?,
            workload_x509_svid_key_type: agent.take_string("workload_x509_svid_key_type")?,
            x509_svid_cache_max_size: agent.take_integer("x509_svid_cache_max_size")?,
            health_checks,
            plugins,
            findings,
        };
        file.findings.finish("agent", &agent);
        file.findings = file.findings.without_unknown()?;
        Ok(file)
    }
}

fn take_texts(agent: &mut Object, given: &Texts) -> anyhow::Result<Texts> {
    let mut text = |name, given: &Option<String>| -> anyhow::Result<Option<String>> {
        let in_file = agent.take_string(name)?;
        Ok(given.clone().or(in_file).filter(|text| !text.is_empty()))
    };
    Ok(Texts {
        data_dir: text("data_dir", &given.data_dir)?,
        join_token: text("join_token", &given.join_token)?,
        join_token_file: text("join_token_file", &given.join_token_file)?,
        rebootstrap_delay: text("rebootstrap_delay", &given.rebootstrap_delay)?,
        rebootstrap_mode: text("rebootstrap_mode", &given.rebootstrap_mode)?,
        server_address: text("server_address", &given.server_address)?,
        socket_path: text("socket_path", &given.socket_path)?,
        trust_bundle_format: text("trust_bundle_format", &given.trust_bundle_format)?,
        trust_bundle_path: text("trust_bundle_path", &given.trust_bundle_path)?,
        trust_bundle_spiffe_workload_api: text("trust_bundle_spiffe_workload_api", &None)?,
        trust_bundle_unix_socket: text("trust_bundle_unix_socket", &None)?,
        trust_bundle_url: text("trust_bundle_url", &given.trust_bundle_url)?,
        trust_domain: text("trust_domain", &given.trust_domain)?,
    })
}

fn take_sds(agent: &mut Object, findings: &mut Findings) -> anyhow::Result<SdsTexts> {
    let Some(mut block) = agent.take_block("sds")? else {
        return Ok(SdsTexts::default());
    };
    let is_disabled = block.take_bool("disable_spiffe_cert_validation")?;
    let texts = SdsTexts {
        default_svid_name: block.take_string("default_svid_name")?,
        default_bundle_name: block.take_string("default_bundle_name")?,
        default_all_bundles_name: block.take_string("default_all_bundles_name")?,
        disable_spiffe_cert_validation: is_disabled.unwrap_or(false),
    };
    findings.finish("agent.sds", &block);
    Ok(texts)
}

/// The keys of features that never will be.
fn take_unsupported(agent: &mut Object, findings: &mut Findings) {
    let reason = "it is for profiles of Go programs; use perf(1)";
    let profiling = [
        "profiling_enabled",
        "profiling_port",
        "profiling_freq",
        "profiling_names",
    ];
    findings.explain("agent", agent, &profiling, reason);
}

/// Takes the `experimental` block apart.
fn take_experimental(agent: &mut Object, findings: &mut Findings) -> anyhow::Result<Experimental> {
    let Some(mut block) = agent.take_block("experimental")? else {
        return Ok(Experimental::default());
    };
    let section = "agent.experimental";
    findings.refuse(section, &mut block, &["broker"]);
    let reason = "entries are always synchronized by difference";
    findings.explain(
        section,
        &mut block,
        &["use_sync_authorized_entries"],
        reason,
    );
    take_feature_flags(&mut block, section, findings)?;
    for (key, instead) in [
        ("named_pipe_name", "socket_path"),
        ("admin_named_pipe_name", "admin_socket_path"),
    ] {
        anyhow::ensure!(
            block.take_any(key).is_empty(),
            "invalid configuration: {key} is not supported in this platform; please use {instead} instead"
        );
    }
    let experimental = Experimental {
        jwt_svid_cache_hit_timeout: block.take_string("jwt_svid_cache_hit_timeout")?,
        rate_limits: take_rate_limits(&mut block, findings)?,
        require_pq_kem: block.take_bool("require_pq_kem")?.unwrap_or(false),
        sync_interval: block.take_string("sync_interval")?,
    };
    findings.finish(section, &block);
    Ok(experimental)
}

fn take_rate_limits(
    experimental: &mut Object,
    findings: &mut Findings,
) -> anyhow::Result<Vec<(&'static str, i64)>> {
    let Some(mut block) = experimental.take_block("ratelimit")? else {
        return Ok(Vec::new());
    };
    let taken = RATE_LIMITED.into_iter().map(|(key, _)| {
        let limit = block.take_integer(key)?.unwrap_or(0);
        Ok::<_, anyhow::Error>((key, limit))
    });
    let taken = taken.collect::<Result<_, _>>()?;
    findings.finish("agent.experimental.ratelimit", &block);
    Ok(taken)
}

/// The keys of the `ratelimit` block.
pub(super) const RATE_LIMITED: [(&str, Method); 6] = [
    ("fetch_x509_svid", Method::FetchX509Svid),
    ("fetch_jwt_svid", Method::FetchJwtSvid),
    ("fetch_x509_bundles", Method::FetchX509Bundles),
    ("fetch_jwt_bundles", Method::FetchJwtBundles),
    ("stream_secrets", Method::StreamSecrets),
    ("fetch_secrets", Method::FetchSecrets),
];
