//! What the authority promises, checked by parsers and verifiers that are not its own.

mod peer;
mod profile;
mod rotation;
mod server_svid;
