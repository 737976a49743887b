//! The clients of a run: operators, attested nodes, workloads. They speak the wire and retry nothing, so that every
//! answer is in the history.

pub mod attested;
pub mod authority;
pub mod dial;
pub mod health;
pub mod mutual;
pub mod operator;
pub mod outcome;
pub mod stranger;
pub mod workload;

pub use attested::{Attested, attest, attest_with};
pub use operator::Operator;
pub use outcome::{Outcome, within};
