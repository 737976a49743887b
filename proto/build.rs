//! Compiles every `.proto` file below `proto/` to Rust, without an installed `protoc`.
//!
//! A new file needs no change here: its package becomes a module of the same path. What the files
//! say is kept as a descriptor set beside the code, so that tests and dynamic calls read the same
//! contract.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use prost::Message as _;

/// The module that takes the one package without a name, the Workload API.
const UNNAMED_PACKAGE_MODULE: &str = "workload";

/// Messages that hold a private key or a bearer token. `src/redacted.rs` gives them a `Debug` that
/// shows neither, so that no log line or panic text ever can.
const SECRET_BEARERS: [&str; 24] = [
    ".JWTSVID",
    ".WITSVID",
    ".ValidateJWTSVIDRequest",
    ".X509SVID",
    ".conclave.cluster.v1.CreateInviteResponse",
    ".conclave.cluster.v1.Invite",
    ".conclave.cluster.v1.PeerIdentity",
    ".envoy.config.core.v3.DataSource",
    ".envoy.service.discovery.v3.DiscoveryResponse",
    ".spiffe.broker.JWTSVID",
    ".spiffe.broker.X509SVID",
    ".spire.api.agent.delegatedidentity.v1.X509SVIDWithKey",
    ".spire.api.server.agent.v1.CreateJoinTokenRequest",
    ".spire.api.types.AttestationData",
    ".spire.api.types.JWTSVID",
    ".spire.api.types.JoinToken",
    ".plugin.StdioData",
    ".spire.hostservice.server.identityprovider.v1.X509Identity",
    ".spire.plugin.agent.nodeattestor.v1.Challenge",
    ".spire.plugin.agent.nodeattestor.v1.PayloadOrChallengeResponse",
    ".spire.plugin.server.nodeattestor.v1.AttestRequest",
    ".spire.plugin.server.nodeattestor.v1.AttestResponse",
    ".spire.service.common.config.v1.ConfigureRequest",
    ".spire.service.common.config.v1.ValidateRequest",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    collect_protos(root, &mut files)?;
    files.sort();

    let mut descriptors = protox::compile(&files, [root])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let mut config = tonic_prost_build::Config::new();
    // A message that knows its name can be put into an Any, or rendered by its descriptor.
    config.enable_type_names();
    // Passed through as it came, without a copy.
    config.bytes([".conclave.cluster.v1.Frame"]);
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .skip_debug(SECRET_BEARERS)
        .compile_fds_with_config(descriptors.clone(), config)?;

    let mut packages = Module::default();
    for file in &mut descriptors.file {
        // Positions and comments are only of use to the generator.
        file.source_code_info = None;
        if !file.package().starts_with("google.protobuf") {
            packages.insert(file.package());
        }
    }
    fs::write(out_dir.join("packages.rs"), packages.render())?;
    fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;
    Ok(())
}

fn collect_protos(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_protos(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    Ok(())
}

/// A part of a package's name as Rust and the generator's file names have it.
fn identifier(part: &str) -> String {
    match part {
        "type" => "r#type".to_owned(),
        part => part.to_owned(),
    }
}

/// The tree of packages, which the generated code's relative paths rely on.
#[derive(Default)]
struct Module {
    /// The generated file, if a package ends here.
    file: Option<String>,
    children: BTreeMap<String, Self>,
}

impl Module {
    fn insert(&mut self, package: &str) {
        if package.is_empty() {
            self.children
                .entry(UNNAMED_PACKAGE_MODULE.to_owned())
                .or_default()
                .file = Some("_.rs".to_owned());
            return;
        }
        let parts: Vec<_> = package.split('.').map(identifier).collect();
        let leaf = parts.iter().fold(self, |module, part| {
            module.children.entry(part.clone()).or_default()
        });
        leaf.file = Some(format!("{}.rs", parts.join(".")));
    }

    fn render(&self) -> String {
        let mut code = String::new();
        if let Some(file) = &self.file {
            writeln!(code, "include!(concat!(env!(\"OUT_DIR\"), \"/{file}\"));")
                .expect("a String takes every write");
        }
        for (name, module) in &self.children {
            writeln!(code, "pub mod {name} {{\n{}}}", module.render())
                .expect("a String takes every write");
        }
        code
    }
}
