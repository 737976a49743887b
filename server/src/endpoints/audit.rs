//! Owns the audit log: one line for each admitted call, or for each item of a batch, with SPIRE's
//! words and fields.
//!
//! The router opens a trail, the service that answers notes what was asked for, and whoever knows
//! the outcome closes it. Off, there is no trail, and noting costs nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use http::Response;
use identity::hex;
use parking_lot::Mutex;
use serde_json::Value;
use tonic::body::Body;
use tonic::{Code, Request, Status};

use crate::endpoints::authz::Rule;
use crate::endpoints::{AdminSource, Caller, CallerRole};

/// What is told of a call, by name.
pub type Fields = BTreeMap<&'static str, Value>;

/// The trail of one call; the router puts it into the request's extensions.
#[derive(Clone, Debug)]
pub struct AuditTrail(Arc<Trail>);

#[derive(Debug)]
struct Trail {
    call: Fields,
    noted: Mutex<Fields>,
    /// Items were told one by one, or the service tells the outcome itself.
    is_told_elsewhere: AtomicBool,
}

impl AuditTrail {
    /// The trail of a call by `caller`, admitted as `role` under `rule`.
    pub fn open(rule: &Rule, caller: &Caller, role: &CallerRole) -> Self {
        let service = rule.method.trim_start_matches('/');
        let service = service.split('/').next().unwrap_or_default();
        let service = service.strip_prefix("spire.api.server.").unwrap_or(service);
        let service = match service {
            "logger.v1.Logger" => "Logger",
            "grpc.health.v1.Health" => "Health",
            other => other,
        };
        let (role, means) = admission(role);
        let mut call = Fields::from([
            ("type", "audit".into()),
            ("subsystem_name", "api".into()),
            ("request_id", uuid::Uuid::new_v4().to_string().into()),
            ("service", service.into()),
            ("method", rule.method_name().into()),
            ("authorized_as", role.into()),
            ("authorized_via", means.into()),
        ]);
        match caller {
            Caller::Local(peer) => {
                call.insert("caller_uid", peer.uid().into());
                call.insert("caller_gid", peer.gid().into());
                let program = peer.process().map(|one| one.proc_path().join("exe"));
                if let Some(Ok(path)) = program.map(std::fs::read_link) {
                    call.insert("caller_path", path.to_string_lossy().into());
                }
            }
            Caller::Tls { address, identity } => {
                call.insert("caller_addr", address.to_string().into());
                if let Some(peer) = identity {
                    call.insert("caller_id", peer.spiffe_id.as_str().into());
                }
            }
        }
        Self(Arc::new(Trail {
            call,
            noted: Mutex::default(),
            is_told_elsewhere: AtomicBool::new(false),
        }))
    }

    /// The outcome of a call whose answer has begun.
    pub(super) fn close(&self, answer: &Response<Body>) {
        let refusal =
            Status::from_header_map(answer.headers()).filter(|status| status.code() != Code::Ok);
        match refusal {
            Some(status) => self.tell(outcome(status.code(), status.message())),
            None if self.0.is_told_elsewhere.load(Ordering::Relaxed) => {}
            None => self.tell(outcome(Code::Ok, "")),
        }
    }

    /// Says how a call ended that answers with a stream.
    pub fn end(&self, ended: Result<(), &Status>) {
        self.tell(match ended {
            Ok(()) => outcome(Code::Ok, ""),
            Err(status) => outcome(status.code(), status.message()),
        });
    }

    /// The service will say how the call ended.
    pub fn leave_open(&self) {
        self.0.is_told_elsewhere.store(true, Ordering::Relaxed);
    }

    /// Adds to the line of the call.
    pub fn note(&self, name: &'static str, value: impl Into<Value>) {
        self.0.noted.lock().insert(name, value.into());
    }

    /// Tells of one item of a batch.
    pub fn item(&self, code: Code, message: &str, fields: Fields) {
        self.leave_open();
        let mut told = outcome(code, message);
        told.extend(fields);
        self.tell(told);
    }

    fn tell(&self, told: Fields) {
        let mut line = self.0.call.clone();
        line.extend(self.0.noted.lock().clone());
        line.extend(told);
        let line = serde_json::to_string(&line).unwrap_or_default();
        tracing::info!(spread_fields = line.as_str(), "API accessed");
    }
}

/// The trail of the call that `request` is, if there is one.
pub fn trail<T>(request: &Request<T>) -> Option<AuditTrail> {
    request.extensions().get::<AuditTrail>().cloned()
}

/// What is told of a signing request: enough to find it again, and nothing of its content.
pub fn hashed(bytes: &[u8]) -> String {
    hex::lower(digest(&SHA256, bytes).as_ref())
}

/// As whom a caller was admitted, and how that is known.
fn admission(role: &CallerRole) -> (&'static str, &'static str) {
    match role {
        CallerRole::Nobody => ("nobody", ""),
        CallerRole::Local => ("local", "transport"),
        CallerRole::Admin(AdminSource::Config) => ("admin", "config"),
        CallerRole::Admin(AdminSource::Entry) => ("admin", "entries"),
        CallerRole::Downstream => ("downstream", "entries"),
        CallerRole::Agent(_) => ("agent", "datastore"),
    }
}

fn outcome(code: Code, message: &str) -> Fields {
    match code {
        Code::Ok => Fields::from([("status", "success".into())]),
        code => Fields::from([
            ("status", "error".into()),
            ("status_code", format!("{code:?}").into()),
            ("status_message", message.into()),
        ]),
    }
}
