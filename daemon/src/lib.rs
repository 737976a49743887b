//! What the long-running binaries share: command line, config language, logs, supervision, sockets, health.
//!
//! Holds no SPIFFE type and knows neither server nor agent.

pub mod bounded_file;
pub mod command_line;
pub mod config;
pub mod duration;
pub mod flags;
pub mod hcl;
pub mod health;
pub mod https;
pub mod log;
pub mod number;
pub mod port;
pub mod process;
pub mod router;
mod stop_signals;
pub mod supervisor;
pub mod unix;
pub mod web;
