//! The Workload API on the agent's socket, as the SPIFFE standard and SPIRE's answers have it.
//!
//! Every call is attested by itself. A stream gets its first message at once if there is one, then
//! one for every change that its workload can see, and ends when the last identity goes or the
//! agent stops; it never ends well, because clients take that as "nothing more will come".

mod header;
mod render;
mod service;
mod updates;
mod validate;

pub use service::Service;

/// The name in log lines.
const SERVICE: &str = "WorkloadAPI";
