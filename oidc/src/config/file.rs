//! The file as written: every key that there is, none judged yet.

use daemon::{config::Findings, hcl::Object};

/// The keys that have a meaning.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) log_format: Option<String>,
    pub(super) log_level: Option<String>,
    pub(super) log_path: Option<String>,
    pub(super) log_requests: bool,
    pub(super) domains: Vec<String>,
    pub(super) set_key_use: bool,
    pub(super) allow_insecure_scheme: bool,
    pub(super) insecure_addr: Option<String>,
    pub(super) listen_socket_path: Option<String>,
    pub(super) acme: Option<Acme>,
    pub(super) serving_cert_file: Option<ServingCertFile>,
    pub(super) server_api: Option<ServerApi>,
    pub(super) workload_api: Option<WorkloadApi>,
    pub(super) file: Option<BundleFile>,
    pub(super) health_checks: Option<HealthChecks>,
    pub(super) jwt_issuer: Option<String>,
    pub(super) jwks_uri: Option<String>,
    pub(super) server_path_prefix: Option<String>,
    pub(super) findings: Findings,
}

#[derive(Debug)]
pub(super) struct Acme {
    pub(super) directory_url: Option<String>,
    pub(super) email: Option<String>,
    pub(super) tos_accepted: bool,
    /// An empty one is another than none.
    pub(super) cache_dir: Option<String>,
    pub(super) addr: Option<String>,
}

#[derive(Debug)]
pub(super) struct ServingCertFile {
    pub(super) cert_file_path: Option<String>,
    pub(super) key_file_path: Option<String>,
    pub(super) addr: Option<String>,
    pub(super) file_sync_interval: Option<String>,
}

#[derive(Debug)]
pub(super) struct ServerApi {
    pub(super) address: Option<String>,
    pub(super) poll_interval: Option<String>,
}

#[derive(Debug)]
pub(super) struct WorkloadApi {
    pub(super) socket_path: Option<String>,
    pub(super) trust_domain: Option<String>,
    pub(super) poll_interval: Option<String>,
}

#[derive(Debug)]
pub(super) struct BundleFile {
    pub(super) path: Option<String>,
    pub(super) poll_interval: Option<String>,
}

#[derive(Debug)]
pub(super) struct HealthChecks {
    pub(super) bind_port: Option<i64>,
    pub(super) live_path: Option<String>,
    pub(super) ready_path: Option<String>,
}

impl File {
    /// Takes a document apart.
    ///
    /// # Errors
    /// When a key is unknown, or a value has the wrong type.
    pub(super) fn take(mut document: Object) -> anyhow::Result<Self> {
        let mut findings = Findings::new();
        take_pipe(&mut document, "experimental", &mut findings)?;
        let acme = take_acme(&mut document, &mut findings)?;
        let serving_cert_file = take_serving_cert_file(&mut document, &mut findings)?;
        let server_api = take_server_api(&mut document, &mut findings)?;
        let workload_api = take_workload_api(&mut document, &mut findings)?;
        let file = take_bundle_file(&mut document, &mut findings)?;
        let health_checks = take_health_checks(&mut document, &mut findings)?;
        let mut taken = Self {
            log_format: text(&mut document, "log_format")?,
            log_level: text(&mut document, "log_level")?,
            log_path: text(&mut document, "log_path")?,
            log_requests: document.take_bool("log_requests")?.unwrap_or(false),
            domains: document.take_list("domains")?.unwrap_or_default(),
            set_key_use: document.take_bool("set_key_use")?.unwrap_or(false),
            allow_insecure_scheme: document
                .take_bool("allow_insecure_scheme")?
                .unwrap_or(false),
            insecure_addr: text(&mut document, "insecure_addr")?,
            listen_socket_path: text(&mut document, "listen_socket_path")?,
            jwt_issuer: text(&mut document, "jwt_issuer")?,
            jwks_uri: text(&mut document, "jwks_uri")?,
            server_path_prefix: text(&mut document, "server_path_prefix")?,
            acme,
            serving_cert_file,
            server_api,
            workload_api,
            file,
            health_checks,
            findings,
        };
        taken.findings.finish("", &document);
        taken.findings = taken.findings.without_unknown()?;
        Ok(taken)
    }
}

/// A text; an empty one is none.
fn text(object: &mut Object, name: &str) -> anyhow::Result<Option<String>> {
    let text = object.take_string(name)?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// The names of Windows' pipes.
fn take_pipe(object: &mut Object, section: &str, findings: &mut Findings) -> anyhow::Result<()> {
    let Some(mut block) = object.take_block("experimental")? else {
        return Ok(());
    };
    let pipes = ["listen_named_pipe_name", "named_pipe_name"];
    findings.explain(section, &mut block, &pipes, "it is for Windows");
    findings.finish(section, &block);
    Ok(())
}

fn take_acme(document: &mut Object, findings: &mut Findings) -> anyhow::Result<Option<Acme>> {
    let Some(mut block) = document.take_block("acme")? else {
        return Ok(None);
    };
    let taken = Acme {
        directory_url: text(&mut block, "directory_url")?,
        email: text(&mut block, "email")?,
        tos_accepted: block.take_bool("tos_accepted")?.unwrap_or(false),
        cache_dir: block.take_string("cache_dir")?,
        addr: text(&mut block, "addr")?,
    };
    findings.finish("acme", &block);
    Ok(Some(taken))
}

fn take_serving_cert_file(
    document: &mut Object,
    findings: &mut Findings,
) -> anyhow::Result<Option<ServingCertFile>> {
    let Some(mut block) = document.take_block("serving_cert_file")? else {
        return Ok(None);
    };
    let taken = ServingCertFile {
        cert_file_path: text(&mut block, "cert_file_path")?,
        key_file_path: text(&mut block, "key_file_path")?,
        addr: text(&mut block, "addr")?,
        file_sync_interval: text(&mut block, "file_sync_interval")?,
    };
    findings.finish("serving_cert_file", &block);
    Ok(Some(taken))
}

fn take_server_api(
    document: &mut Object,
    findings: &mut Findings,
) -> anyhow::Result<Option<ServerApi>> {
    let Some(mut block) = document.take_block("server_api")? else {
        return Ok(None);
    };
    take_pipe(&mut block, "server_api.experimental", findings)?;
    let taken = ServerApi {
        address: text(&mut block, "address")?,
        poll_interval: text(&mut block, "poll_interval")?,
    };
    findings.finish("server_api", &block);
    Ok(Some(taken))
}

fn take_workload_api(
    document: &mut Object,
    findings: &mut Findings,
) -> anyhow::Result<Option<WorkloadApi>> {
    let Some(mut block) = document.take_block("workload_api")? else {
        return Ok(None);
    };
    take_pipe(&mut block, "workload_api.experimental", findings)?;
    let taken = WorkloadApi {
        socket_path: text(&mut block, "socket_path")?,
        trust_domain: text(&mut block, "trust_domain")?,
        poll_interval: text(&mut block, "poll_interval")?,
    };
    findings.finish("workload_api", &block);
    Ok(Some(taken))
}

fn take_bundle_file(
    document: &mut Object,
    findings: &mut Findings,
) -> anyhow::Result<Option<BundleFile>> {
    let Some(mut block) = document.take_block("file")? else {
        return Ok(None);
    };
    let taken = BundleFile {
        path: text(&mut block, "path")?,
        poll_interval: text(&mut block, "poll_interval")?,
    };
    findings.finish("file", &block);
    Ok(Some(taken))
}

fn take_health_checks(
    document: &mut Object,
    findings: &mut Findings,
) -> anyhow::Result<Option<HealthChecks>> {
    let Some(mut block) = document.take_block("health_checks")? else {
        return Ok(None);
    };
    let taken = HealthChecks {
        bind_port: block.take_integer("bind_port")?,
        live_path: text(&mut block, "live_path")?,
        ready_path: text(&mut block, "ready_path")?,
    };
    findings.finish("health_checks", &block);
    Ok(Some(taken))
}
