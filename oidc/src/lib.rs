//! The OIDC discovery provider: publishes the keys that verify JWT-SVIDs where OpenID Connect looks for them.
//!
//! What must hold: a key is served only while its source has it, to callers who came by one of the
//! configured domains, and no key that signs tokens is ever held. The modules, from key to caller:
//!
//! - [`config`]: what `oidc-discovery-provider.conf` says, checked.
//! - [`source`]: where keys come from: a server, an agent or a file.
//! - [`key_set`]: the keys that were found last, and when.
//! - [`domains`]: by which names callers may come.
//! - [`discovery`]: the document that leads to the keys.
//! - [`documents`]: the two documents over HTTP.
//! - [`web_certificates`]: certificates of the domains, by ACME.
//! - [`health`]: whether keys are still being found.
//! - [`cli`], [`app`]: the command line, and the parts put together.

pub mod app;
pub mod cli;
pub mod config;
pub mod discovery;
pub mod documents;
pub mod domains;
pub mod health;
pub mod key_set;
pub mod source;
pub mod web_certificates;
