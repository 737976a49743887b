//! `server.conf` as written: every key that there is, none judged yet.

use anyhow::Context as _;
use daemon::{
    config::{Findings, Plugin, take_feature_flags, take_health_checks, take_log, take_plugins},
    hcl::Object,
};
use identity::tls::KeyExchange;

use super::{LoadArgs, RateLimit, Subject, cluster, federation, plugins};
use crate::attest::IdSelector;
use crate::endpoints::AuditLog;

/// The keys that have a meaning, with the command line merged in.
pub(super) struct File {
    pub(super) admin_ids: Vec<String>,
    pub(super) agent_ttl: Option<String>,
    pub(super) audit_log: AuditLog,
    pub(super) bind_address: Option<String>,
    pub(super) bind_port: Option<i64>,
    pub(super) ca_key_type: Option<String>,
    pub(super) ca_subject: Option<Subject>,
    pub(super) ca_ttl: Option<String>,
    pub(super) cluster: cluster::Block,
    pub(super) data_dir: Option<String>,
    pub(super) default_jwt_svid_ttl: Option<String>,
    pub(super) default_x509_svid_ttl: Option<String>,
    pub(super) disable_jwt_svids: bool,
    pub(super) experimental: Experimental,
    pub(super) federation: federation::Block,
    pub(super) health_checks: Option<daemon::health::Options>,
    pub(super) jwt_issuer: Option<String>,
    pub(super) jwt_key_type: Option<String>,
    pub(super) log: daemon::log::Options,
    pub(super) plugins: Vec<Plugin>,
    pub(super) prune_attested_nodes_batch_size: Option<i64>,
    pub(super) prune_attested_nodes_expired_for: Option<String>,
    pub(super) prune_tofu_nodes: bool,
    pub(super) rate_limit: RateLimit,
    pub(super) socket_path: Option<String>,
    pub(super) trust_domain: Option<String>,
    pub(super) trusted_proxies: Vec<String>,
    pub(super) findings: Findings,
}

/// The keys of `experimental`.
#[derive(Default)]
pub(super) struct Experimental {
    pub(super) agent_id_selector: IdSelector,
    pub(super) key_exchange: KeyExchange,
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
        let server = document.take_block("server")?;
        let mut server = server.context("server section must be configured")?;
        findings.finish("", &document);
        take_unsupported(&mut server, &mut findings)?;
        let experimental = take_experimental(&mut server, &mut findings)?;
        let log = take_log(&mut server, &arguments.log)?;
        let mut text = |name| server.take_string(name);
        let given = |flag: &Option<String>, in_file: Option<String>| flag.clone().or(in_file);
        let mut file = Self {
            agent_ttl: text("agent_ttl")?,
            bind_address: given(&arguments.bind_address, text("bind_address")?),
            ca_key_type: text("ca_key_type")?,
            ca_ttl: text("ca_ttl")?,
            data_dir: given(&arguments.data_dir, text("data_dir")?),
            default_jwt_svid_ttl: text("default_jwt_svid_ttl")?,
            default_x509_svid_ttl: text("default_x509_svid_ttl")?,
            jwt_issuer: text("jwt_issuer")?,
            jwt_key_type: text("jwt_key_type")?,
            prune_attested_nodes_expired_for: text("prune_attested_nodes_expired_for")?,
            socket_path: given(&arguments.socket_path, text("socket_path")?),
            trust_domain: given(&arguments.trust_domain, text("trust_domain")?),
            admin_ids: server.take_list("admin_ids")?.unwrap_or_default(),
            bind_port: arguments.bind_port.or(server.take_integer("bind_port")?),
            ca_subject: take_subject(&mut server, &mut findings)?,
            disable_jwt_svids: server.take_bool("disable_jwt_svids")?.unwrap_or(false),
            prune_attested_nodes_batch_size: server
                .take_integer("prune_attested_nodes_batch_size")?,
            prune_tofu_nodes: server.take_bool("prune_tofu_nodes")?.unwrap_or(false),
            rate_limit: take_rate_limit(&mut server, &mut findings)?,
            trusted_proxies: server
                .take_list("proxy_protocol_trusted_cidrs")?
                .unwrap_or_default(),
            cluster: cluster::Block::take(&mut server, &mut findings)?,
            federation: federation::Block::take(&mut server, &mut findings)?,
            experimental,
            audit_log: match server.take_bool("audit_log_enabled")? {
                Some(true) => AuditLog::On,
                Some(false) | None => AuditLog::Off,
            },
            health_checks,
            log,
            plugins,
            findings,
        };
        file.findings.finish("server", &server);
        file.findings = file.findings.without_unknown()?;
        Ok(file)
    }
}

/// The keys of features that are not there yet.
fn take_unsupported(server: &mut Object, findings: &mut Findings) -> anyhow::Result<()> {
    findings.refuse_if_on("server", server, &["profiling_enabled"])?;
    let reason = "it belongs to profiling, which is off";
    let profiling = ["profiling_port", "profiling_freq", "profiling_names"];
    findings.explain("server", server, &profiling, reason);
    let reason = "agent records are in memory and never stale";
    findings.explain(
        "server",
        server,
        &["max_attested_node_info_staleness"],
        reason,
    );
    Ok(())
}

fn take_experimental(server: &mut Object, findings: &mut Findings) -> anyhow::Result<Experimental> {
    let Some(mut block) = server.take_block("experimental")? else {
        return Ok(Experimental::default());
    };
    let section = "server.experimental";
    findings.refuse(section, &mut block, &["auth_opa_policy_engine"]);
    let taken = Experimental {
        agent_id_selector: match block.take_bool("agent_spiffe_id_as_selector")? {
            Some(true) => IdSelector::Added,
            Some(false) | None => IdSelector::Absent,
        },
        key_exchange: match block.take_bool("require_pq_kem")? {
            Some(true) => KeyExchange::PostQuantum,
            Some(false) | None => KeyExchange::Any,
        },
    };
    let reason = "entries are served from memory as they change, there is no cache to tune";
    let cache_keys = [
        "cache_reload_interval",
        "event_timeout",
        "events_based_cache",
        "full_cache_reload_interval",
        "prune_events_older_than",
        "sql_transaction_timeout",
    ];
    findings.explain(section, &mut block, &cache_keys, reason);
    let reason = "it belongs to the feature flag wit-svid, which is off";
    findings.explain(section, &mut block, &["wit_key_type", "wit_issuer"], reason);
    take_feature_flags(&mut block, section, findings)?;
    anyhow::ensure!(
        block.take_any("named_pipe_name").is_empty(),
        "invalid configuration: named_pipe_name is not supported in this platform; please use socket_path instead"
    );
    findings.finish(section, &block);
    Ok(taken)
}

fn take_subject(server: &mut Object, findings: &mut Findings) -> anyhow::Result<Option<Subject>> {
    let Some(mut block) = server.take_block("ca_subject")? else {
        return Ok(None);
    };
    let subject = Subject {
        country: block.take_list("country")?.unwrap_or_default(),
        organization: block.take_list("organization")?.unwrap_or_default(),
        common_name: block.take_string("common_name")?.unwrap_or_default(),
    };
    findings.finish("server.ca_subject", &block);
    let nothing = Subject {
        country: Vec::new(),
        organization: Vec::new(),
        common_name: String::new(),
    };
    Ok((subject != nothing).then_some(subject))
}

fn take_rate_limit(server: &mut Object, findings: &mut Findings) -> anyhow::Result<RateLimit> {
    let Some(mut block) = server.take_block("ratelimit")? else {
        return Ok(RateLimit::default());
    };
    let limits = RateLimit {
        attestation: block.take_bool("attestation")?.unwrap_or(true),
        signing: block.take_bool("signing")?.unwrap_or(true),
    };
    findings.finish("server.ratelimit", &block);
    Ok(limits)
}
