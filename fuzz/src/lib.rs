//! Fuzz targets: one module for each family of decoders of foreign bytes.
//!
//! A module has `run`, which takes any bytes, panics where something that must hold does not, and holds and
//! does no more than in proportion to them; and `seeds`, which our own encoders made. [`target`] makes a
//! program of it that libFuzzer drives.

pub mod foreign;
pub mod heap;
pub mod input;
pub mod world;

pub mod acme;
pub mod agent_answers;
pub mod agent_api;
pub mod agent_calls;
pub mod agent_storage;
pub mod attestation;
pub mod certificate;
pub mod command_line;
pub mod config;
pub mod containers;
pub mod csr;
pub mod edges;
pub mod federation;
pub mod hcl;
pub mod http2_authority;
pub mod join;
pub mod jwks;
pub mod jwt;
pub mod names;
pub mod pem;
pub mod plugin;
pub mod server_api;
pub mod store_apply;
pub mod store_backup;
pub mod store_codec;
pub mod store_snapshot;
pub mod template;
pub mod trust_sources;
pub mod upstream;
pub mod web;
pub mod wire;

pub use libfuzzer_sys;

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

/// Makes the program of the target in the module with this name.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        $crate::target!($name, $crate::heap::FLOOR);
    };
    ($name:ident, $floor:expr) => {
        #[global_allocator]
        static HEAP: $crate::heap::Counted = $crate::heap::Counted;

        use $crate::libfuzzer_sys;

        libfuzzer_sys::fuzz_target!(
            init: $crate::begin($crate::$name::seeds),
            |data: &[u8]| $crate::heap::bounded($floor, data.len(), || $crate::$name::run(data))
        );
    };
}

/// Writes the seeds, and nothing else, where the environment names a folder for them.
pub fn begin(seeds: fn() -> Vec<Vec<u8>>) {
    // Whoever writes to a stranger that hung up is told by an error, as in every program that begins in Rust.
    let taken = world::alone(async { signal(SignalKind::pipe()) });
    drop(taken.expect("signals are taken"));
    let Some(folder) = std::env::var_os("FUZZ_SEEDS") else {
        return;
    };
    for (number, seed) in seeds().iter().enumerate() {
        let path = Path::new(&folder).join(format!("seed-{number:03}"));
        std::fs::write(&path, seed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    std::process::exit(0);
}
