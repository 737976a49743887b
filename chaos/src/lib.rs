//! Black-box cluster runs: starts real servers and agents as processes, injects faults, records what clients were
//! told, checks it, and prints figures.
//!
//! What must hold: nothing here links the server or the agent, so a run sees what a client sees; a run in which the
//! fault did not bite is no run; nothing that was started outlives it.

pub mod arguments;
pub mod check;
pub mod client;
pub mod cluster;
pub mod etcd;
pub mod fault;
pub mod figures;
pub mod history;
pub mod load;
pub mod random;
pub mod report;
pub mod scan;
pub mod scenario;
