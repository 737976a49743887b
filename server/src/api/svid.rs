//! Owns the SVID service on the wire.

use std::time::Duration;

use identity::jwt_svid::JwtSvid;
use identity::trust_domain::TrustDomain;
use proto::convert;
use proto::spire::api::server::svid::v1 as wire;
use proto::spire::api::server::svid::v1::svid_server::Svid;
use proto::spire::api::types;
use tonic::{Request, Response, Status};

use crate::api::{audit, caller, status, status_svid};
use crate::endpoints::CallLimit;
use crate::svids::{NewX509Svid, SigningRequest, Svids};

/// The SVID service.
#[derive(Clone, Debug)]
pub struct SvidApi {
    svids: Svids,
    trust_domain: TrustDomain,
}

impl SvidApi {
    /// The service over `svids` of `trust_domain`.
    pub fn new(svids: Svids, trust_domain: TrustDomain) -> Self {
        Self {
            svids,
            trust_domain,
        }
    }

    fn check_jwt(&self) -> Result<(), Status> {
        if self.svids.issues_jwt_svids() {
            Ok(())
        } else {
            Err(status_svid::jwt_disabled())
        }
    }
}

#[tonic::async_trait]
impl Svid for SvidApi {
    async fn mint_x509svid(
        &self,
        request: Request<wire::MintX509svidRequest>,
    ) -> Result<Response<wire::MintX509svidResponse>, Status> {
        audit::note(&request, |request| {
            [
                ("csr", audit::hashed(&request.csr).into()),
                ("ttl", request.ttl.into()),
            ]
        });
        let request = request.into_inner();
        if request.csr.is_empty() {
            return Err(Status::invalid_argument("missing CSR"));
        }
        let minted = self.svids.mint_x509(&request.csr, seconds(request.ttl));
        let minted = minted.map_err(|error| status_svid::not_minted(&error))?;
        Ok(Response::new(wire::MintX509svidResponse {
            svid: Some(x509(&minted)),
        }))
    }

    async fn mint_jwtsvid(
        &self,
        request: Request<wire::MintJwtsvidRequest>,
    ) -> Result<Response<wire::MintJwtsvidResponse>, Status> {
        self.check_jwt()?;
        audit::note(&request, |request| {
            [
                ("spiffe_id", audit::id_text(request.id.as_ref()).into()),
                ("audience", request.audience.join(",").into()),
                ("ttl", request.ttl.into()),
            ]
        });
        let request = request.into_inner();
        let spiffe_id = convert::id::workload_id(&self.trust_domain, request.id.as_ref())
            .map_err(|error| status_svid::invalid("invalid SPIFFE ID", error))?;
        let minted = self
            .svids
            .mint_jwt(&spiffe_id, request.audience, seconds(request.ttl));
        let minted = minted.map_err(|error| status_svid::no_jwt_svid(&error))?;
        Ok(Response::new(wire::MintJwtsvidResponse {
            svid: Some(jwt(&minted)),
        }))
    }

    async fn batch_new_x509svid(
        &self,
        request: Request<wire::BatchNewX509svidRequest>,
    ) -> Result<Response<wire::BatchNewX509svidResponse>, Status> {
        let agent = caller::agent(&request)?;
        let limit = request.extensions().get::<CallLimit>().cloned();
        let trail = audit::trail(&request);
        let params = request.into_inner().params;
        if params.is_empty() {
            return Err(Status::invalid_argument("missing parameters"));
        }
        if let Some(limit) = limit {
            let count = u32::try_from(params.len()).unwrap_or(u32::MAX);
            let taken = limit.take(count).await;
            taken.map_err(|error| status::rate_limited(SIGNING_LIMIT, &error))?;
        }
        let mut results: Vec<_> = params.iter().map(incomplete).collect();
        let asked = trail.is_some().then(|| params.clone());
        let (places, requests) = complete(params, &results);
        let signed = self.svids.x509_for_agent(&agent, requests).await;
        let signed = signed.map_err(|error| status_svid::not_issued(&error))?;
        for (place, outcome) in std::iter::zip(places, signed) {
            results[place] = Some(match outcome {
                Ok(svid) => answered(status::item_ok(), Some(x509(&svid))),
                Err(error) => answered(status_svid::item(&error), None),
            });
        }
        let answer = wire::BatchNewX509svidResponse {
            results: results.into_iter().flatten().collect(),
        };
        audit::new_x509_svids(trail.as_ref(), asked.as_deref(), &answer);
        Ok(Response::new(answer))
    }

    async fn new_jwtsvid(
        &self,
        request: Request<wire::NewJwtsvidRequest>,
    ) -> Result<Response<wire::NewJwtsvidResponse>, Status> {
        self.check_jwt()?;
        let agent = caller::agent(&request)?;
        audit::note(&request, |request| {
            [
                ("registration_id", request.entry_id.as_str().into()),
                ("audience", request.audience.join(",").into()),
            ]
        });
        let request = request.into_inner();
        let issued = self
            .svids
            .jwt_for_agent(&agent, &request.entry_id, request.audience)
            .await;
        let issued = issued.map_err(|error| status_svid::no_jwt_svid(&error))?;
        Ok(Response::new(wire::NewJwtsvidResponse {
            svid: Some(jwt(&issued)),
        }))
    }

    async fn mint_witsvid(
        &self,
        _request: Request<wire::MintWitsvidRequest>,
    ) -> Result<Response<wire::MintWitsvidResponse>, Status> {
        Err(status_svid::wit_disabled())
    }

    async fn batch_new_witsvid(
        &self,
        request: Request<wire::BatchNewWitsvidRequest>,
    ) -> Result<Response<wire::BatchNewWitsvidResponse>, Status> {
        if request.get_ref().params.is_empty() {
            return Err(Status::invalid_argument("missing parameters"));
        }
        Err(status_svid::wit_disabled())
    }

    async fn new_downstream_x509ca(
        &self,
        request: Request<wire::NewDownstreamX509caRequest>,
    ) -> Result<Response<wire::NewDownstreamX509caResponse>, Status> {
        audit::note(&request, |request| {
            [("csr", audit::hashed(&request.csr).into())]
        });
        let request = request.into_inner();
        let issued = self
            .svids
            .downstream_authority(&request.csr, seconds(request.preferred_ttl));
        let issued = issued.map_err(|error| status_svid::no_downstream_authority(&error))?;
        Ok(Response::new(wire::NewDownstreamX509caResponse {
            ca_cert_chain: issued
                .chain
                .iter()
                .map(|certificate| certificate.to_vec())
                .collect(),
            x509_authorities: issued.roots.iter().map(|root| root.to_vec()).collect(),
        }))
    }
}

const SIGNING_LIMIT: &str = "rejecting request due to certificate signing rate limiting";

/// A lifetime in seconds; nothing or less leaves it to the server.
fn seconds(ttl: i32) -> Option<Duration> {
    u64::try_from(ttl)
        .ok()
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
}

type BatchResult = wire::batch_new_x509svid_response::Result;

/// The answer to an item that lacks a part, if it does.
fn incomplete(params: &wire::NewX509svidParams) -> Option<BatchResult> {
    let missing = match params {
        params if params.entry_id.is_empty() => "missing entry ID",
        params if params.csr.is_empty() => "missing CSR",
        _ => return None,
    };
    Some(answered(
        status::item(tonic::Code::InvalidArgument, missing),
        None,
    ))
}

/// The items that have no answer yet, with their places.
fn complete(
    params: Vec<wire::NewX509svidParams>,
    results: &[Option<BatchResult>],
) -> (Vec<usize>, Vec<SigningRequest>) {
    std::iter::zip(params, results)
        .enumerate()
        .filter(|(_, (_, result))| result.is_none())
        .map(|(place, (params, _))| {
            (
                place,
                SigningRequest {
                    entry_id: params.entry_id,
                    csr: params.csr,
                },
            )
        })
        .unzip()
}

fn answered(status: types::Status, svid: Option<types::X509svid>) -> BatchResult {
    BatchResult {
        status: Some(status),
        svid,
    }
}

fn x509(svid: &NewX509Svid) -> types::X509svid {
    convert::svid::x509(&svid.spiffe_id, &svid.issued.chain, svid.issued.not_after)
}

fn jwt(svid: &JwtSvid) -> types::Jwtsvid {
    let issued_at = svid
        .issued_at()
        .expect("every JWT-SVID that is signed here says when");
    convert::svid::jwt(svid.spiffe_id(), svid.token(), issued_at, svid.expires_at())
}
