//! Plugins that are programs of their own: SPIRE's external plugins, in whatever language.
//!
//! A plugin is a child process that speaks gRPC on a socket of its own, found by the line that it prints
//! (`handshake`). What must hold: whatever a plugin does, the process that runs it stays alive and
//! answers. A plugin that dies or hangs is started again (`keeper`), a call has a deadline, an answer
//! and a line of output have a longest length, and every error names the plugin. Nothing that a plugin
//! says is believed here beyond its type: who asks checks it.
//!
//! The typed calls are in [`server_node_attestor`], [`agent_node_attestor`], [`workload_attestor`] and
//! [`upstream_authority`].

pub mod agent_node_attestor;
mod broker;
mod call;
mod checksum;
mod connection;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handshake;
pub mod host_services;
mod introduction;
mod keeper;
mod life;
mod output;
mod plugin;
mod plugins;
mod process;
pub mod server_node_attestor;
mod settings;
#[cfg(feature = "testing")]
pub mod testing;
pub mod upstream_authority;
pub mod workload_attestor;

pub use self::call::CallError;
pub use self::handshake::{Address, HandshakeError, parse as parse_handshake};
pub use self::host_services::HostServices;
pub use self::life::StartError;
pub use self::plugin::Plugin;
pub use self::plugins::{LoadError, Plugins, ValidateError};
pub use self::settings::{Data, Kind, Settings};
