//! The only conversions between wire messages and the types of `identity`.
//!
//! What comes in is checked here and nowhere else; what goes out is cut by the caller's mask here.
//! A missing mask chooses every field. Sizes are bounded by the types of `identity` for each value
//! and by the transport's message limit for lists.

pub mod agent;
pub mod bundle;
pub mod entry;
mod error;
pub mod federation;
mod go_time;
pub mod id;
mod plugin;
pub mod selector;
pub mod status;
pub mod svid;

pub use error::ConvertError;
pub use plugin::{plugin_bundle, plugin_jwt_authorities, plugin_jwt_key, plugin_x509_authorities};
