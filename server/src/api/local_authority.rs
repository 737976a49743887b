//! Owns the LocalAuthority service on the wire: rotation by hand.

use std::sync::Arc;

use proto::spire::api::server::localauthority::v1 as wire;
use proto::spire::api::server::localauthority::v1::local_authority_server::LocalAuthority;
use raft_store::AuthorityRecord;
use tonic::{Request, Response, Status};

use crate::api::status_authority::{self as status, Action};
use crate::ca::{LocalAuthorities, LocalAuthorityState, LocalKind};

/// The LocalAuthority service.
#[derive(Clone, Debug)]
pub struct LocalAuthorityApi {
    authorities: LocalAuthorities,
}

impl LocalAuthorityApi {
    /// The service that moves `authorities`.
    pub const fn new(authorities: LocalAuthorities) -> Self {
        Self { authorities }
    }

    fn state(&self, kind: LocalKind) -> Result<LocalAuthorityState, Status> {
        self.require(kind)?;
        let state = self.authorities.state(kind);
        state.map_err(|error| status::not_done(Action::Show, kind, &error))
    }

    async fn prepare(&self, kind: LocalKind) -> Result<wire::AuthorityState, Status> {
        self.require(kind)?;
        let prepared = self.authorities.prepare(kind).await;
        let prepared = prepared.map_err(|error| status::not_done(Action::Prepare, kind, &error))?;
        Ok(to_wire(&prepared))
    }

    async fn activate(&self, kind: LocalKind, id: &str) -> Result<wire::AuthorityState, Status> {
        self.require(kind)?;
        status::require_id(Action::Activate, id)?;
        let activated = self.authorities.activate(kind, id).await;
        let activated =
            activated.map_err(|error| status::not_done(Action::Activate, kind, &error))?;
        Ok(to_wire(&activated))
    }

    async fn taint(&self, kind: LocalKind, id: &str) -> Result<Arc<AuthorityRecord>, Status> {
        self.require(kind)?;
        self.require_own(Action::Taint, kind)?;
        status::require_id(Action::Taint, id)?;
        let tainted = self.authorities.taint(kind, id).await;
        tainted.map_err(|error| status::not_done(Action::Taint, kind, &error))
    }

    async fn revoke(&self, kind: LocalKind, id: &str) -> Result<wire::AuthorityState, Status> {
        self.require(kind)?;
        self.require_own(Action::Revoke, kind)?;
        status::require_id(Action::Revoke, id)?;
        let revoked = self.authorities.revoke(kind, id).await;
        let revoked = revoked.map_err(|error| status::not_done(Action::Revoke, kind, &error))?;
        Ok(named(&revoked))
    }

    fn require_own(&self, action: Action, kind: LocalKind) -> Result<(), Status> {
        let own = self.authorities.require_own(kind);
        own.map_err(|error| status::not_done(action, kind, &error))
    }

    fn require(&self, kind: LocalKind) -> Result<(), Status> {
        if kind == LocalKind::Jwt && !self.authorities.has_jwt() {
            return Err(status::jwt_disabled());
        }
        Ok(())
    }
}

fn to_wire(authority: &AuthorityRecord) -> wire::AuthorityState {
    wire::AuthorityState {
        expires_at: authority.not_after.as_secs(),
        upstream_authority_subject_key_id: authority
            .upstream_chain
            .as_ref()
            .and(authority.issuer_id.as_deref())
            .unwrap_or_default()
            .to_owned(),
        ..named(authority)
    }
}

/// Without its end, which SPIRE does not tell of what was revoked, nor of tainted JWT keys.
fn named(authority: &AuthorityRecord) -> wire::AuthorityState {
    wire::AuthorityState {
        authority_id: authority.id.to_string(),
        ..wire::AuthorityState::default()
    }
}

#[tonic::async_trait]
impl LocalAuthority for LocalAuthorityApi {
    async fn get_x509_authority_state(
        &self,
        _request: Request<wire::GetX509AuthorityStateRequest>,
    ) -> Result<Response<wire::GetX509AuthorityStateResponse>, Status> {
        let state = self.state(LocalKind::X509)?;
        Ok(Response::new(wire::GetX509AuthorityStateResponse {
            active: Some(to_wire(&state.active)),
            prepared: state.prepared.as_deref().map(to_wire),
            old: state.old.as_deref().map(to_wire),
        }))
    }

    async fn prepare_x509_authority(
        &self,
        _request: Request<wire::PrepareX509AuthorityRequest>,
    ) -> Result<Response<wire::PrepareX509AuthorityResponse>, Status> {
        let prepared_authority = Some(self.prepare(LocalKind::X509).await?);
        Ok(Response::new(wire::PrepareX509AuthorityResponse {
            prepared_authority,
        }))
    }

    async fn activate_x509_authority(
        &self,
        request: Request<wire::ActivateX509AuthorityRequest>,
    ) -> Result<Response<wire::ActivateX509AuthorityResponse>, Status> {
        let id = request.into_inner().authority_id;
        let activated_authority = Some(self.activate(LocalKind::X509, &id).await?);
        Ok(Response::new(wire::ActivateX509AuthorityResponse {
            activated_authority,
        }))
    }

    async fn taint_x509_authority(
        &self,
        request: Request<wire::TaintX509AuthorityRequest>,
    ) -> Result<Response<wire::TaintX509AuthorityResponse>, Status> {
        let id = request.into_inner().authority_id;
        let tainted = self.taint(LocalKind::X509, &id).await?;
        Ok(Response::new(wire::TaintX509AuthorityResponse {
            tainted_authority: Some(to_wire(&tainted)),
        }))
    }

    async fn taint_x509_upstream_authority(
        &self,
        request: Request<wire::TaintX509UpstreamAuthorityRequest>,
    ) -> Result<Response<wire::TaintX509UpstreamAuthorityResponse>, Status> {
        let subject_key_id = request.into_inner().subject_key_id.to_lowercase();
        let tainted = self.authorities.taint_upstream(&subject_key_id).await;
        tainted.map_err(|error| status::upstream_not_moved(Action::Taint, &error))?;
        Ok(Response::new(wire::TaintX509UpstreamAuthorityResponse {
            upstream_authority_subject_key_id: subject_key_id,
        }))
    }

    async fn revoke_x509_authority(
        &self,
        request: Request<wire::RevokeX509AuthorityRequest>,
    ) -> Result<Response<wire::RevokeX509AuthorityResponse>, Status> {
        let id = request.into_inner().authority_id;
        let revoked_authority = Some(self.revoke(LocalKind::X509, &id).await?);
        Ok(Response::new(wire::RevokeX509AuthorityResponse {
            revoked_authority,
        }))
    }

    async fn revoke_x509_upstream_authority(
        &self,
        request: Request<wire::RevokeX509UpstreamAuthorityRequest>,
    ) -> Result<Response<wire::RevokeX509UpstreamAuthorityResponse>, Status> {
        let subject_key_id = request.into_inner().subject_key_id.to_lowercase();
        let revoked = self.authorities.revoke_upstream(&subject_key_id).await;
        revoked.map_err(|error| status::upstream_not_moved(Action::Revoke, &error))?;
        Ok(Response::new(wire::RevokeX509UpstreamAuthorityResponse {
            upstream_authority_subject_key_id: subject_key_id,
        }))
    }

    async fn get_jwt_authority_state(
        &self,
        _request: Request<wire::GetJwtAuthorityStateRequest>,
    ) -> Result<Response<wire::GetJwtAuthorityStateResponse>, Status> {
        let state = self.state(LocalKind::Jwt)?;
        Ok(Response::new(wire::GetJwtAuthorityStateResponse {
            active: Some(to_wire(&state.active)),
            prepared: state.prepared.as_deref().map(to_wire),
            old: state.old.as_deref().map(to_wire),
        }))
    }

    async fn prepare_jwt_authority(
        &self,
        _request: Request<wire::PrepareJwtAuthorityRequest>,
    ) -> Result<Response<wire::PrepareJwtAuthorityResponse>, Status> {
        let prepared_authority = Some(self.prepare(LocalKind::Jwt).await?);
        Ok(Response::new(wire::PrepareJwtAuthorityResponse {
            prepared_authority,
        }))
    }

    async fn activate_jwt_authority(
        &self,
        request: Request<wire::ActivateJwtAuthorityRequest>,
    ) -> Result<Response<wire::ActivateJwtAuthorityResponse>, Status> {
        let id = request.into_inner().authority_id;
        let activated_authority = Some(self.activate(LocalKind::Jwt, &id).await?);
        Ok(Response::new(wire::ActivateJwtAuthorityResponse {
            activated_authority,
        }))
    }

    async fn taint_jwt_authority(
        &self,
        request: Request<wire::TaintJwtAuthorityRequest>,
    ) -> Result<Response<wire::TaintJwtAuthorityResponse>, Status> {
        let id = request.into_inner().authority_id;
        let tainted = self.taint(LocalKind::Jwt, &id).await?;
        Ok(Response::new(wire::TaintJwtAuthorityResponse {
            tainted_authority: Some(named(&tainted)),
        }))
    }

    async fn revoke_jwt_authority(
        &self,
        request: Request<wire::RevokeJwtAuthorityRequest>,
    ) -> Result<Response<wire::RevokeJwtAuthorityResponse>, Status> {
        let id = request.into_inner().authority_id;
        let revoked_authority = Some(self.revoke(LocalKind::Jwt, &id).await?);
        Ok(Response::new(wire::RevokeJwtAuthorityResponse {
            revoked_authority,
        }))
    }

    async fn get_wit_authority_state(
        &self,
        _request: Request<wire::GetWitAuthorityStateRequest>,
    ) -> Result<Response<wire::GetWitAuthorityStateResponse>, Status> {
        Err(status::wit_missing())
    }

    async fn prepare_wit_authority(
        &self,
        _request: Request<wire::PrepareWitAuthorityRequest>,
    ) -> Result<Response<wire::PrepareWitAuthorityResponse>, Status> {
        Err(status::wit_missing())
    }

    async fn activate_wit_authority(
        &self,
        _request: Request<wire::ActivateWitAuthorityRequest>,
    ) -> Result<Response<wire::ActivateWitAuthorityResponse>, Status> {
        Err(status::wit_missing())
    }

    async fn taint_wit_authority(
        &self,
        _request: Request<wire::TaintWitAuthorityRequest>,
    ) -> Result<Response<wire::TaintWitAuthorityResponse>, Status> {
        Err(status::wit_missing())
    }

    async fn revoke_wit_authority(
        &self,
        _request: Request<wire::RevokeWitAuthorityRequest>,
    ) -> Result<Response<wire::RevokeWitAuthorityResponse>, Status> {
        Err(status::wit_missing())
    }
}
