//! The node daemon: attests itself, syncs entries, serves the Workload API.

pub mod cli;
pub mod config;
