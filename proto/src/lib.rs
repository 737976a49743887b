//! The wire contracts: generated messages, clients and servers, and the only conversions between
//! them and the domain types of `identity`.
//!
//! Every package under `proto/` is a module of the same path (`spire::api::types`, …); the Workload
//! API, which has no package, is [`workload`]. No generated type is to enter a service module:
//! it is converted once, here.

pub mod attestation;
pub mod convert;
pub mod descriptors;
pub mod json;
mod redacted;

pub use descriptors::FILE_DESCRIPTOR_SET;
pub use generated::*;

#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "the generator's house style is not ours, and nobody edits its output"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}
