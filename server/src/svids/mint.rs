//! Owns SVIDs and authorities that are issued without an entry, on the word of the caller.

use std::time::Duration;

use identity::dns_name::DnsName;
use identity::jwt_svid::JwtSvid;
use identity::spiffe_id::SpiffeId;
use identity::x509::Csr;
use proto::convert;

use super::{DownstreamAuthority, IssueError, NewX509Svid, Svids};
use crate::ca::{DistinguishedName, JwtSvidParams, SvidSubject, X509SvidParams};

impl Svids {
    /// Signs an X.509-SVID with the names of a signing request.
    ///
    /// # Errors
    /// Why none was issued.
    pub fn mint_x509(&self, csr: &[u8], ttl: Option<Duration>) -> Result<NewX509Svid, IssueError> {
        let csr = verified(csr)?;
        let spiffe_id = match csr.uri_sans() {
            [] => return Err(IssueError::NoUriName),
            [uri] => SpiffeId::parse(uri).map_err(IssueError::UriName)?,
            _ => return Err(IssueError::SeveralUriNames),
        };
        convert::id::check_workload(self.ca.trust_domain(), &spiffe_id)
            .map_err(IssueError::NotAWorkload)?;
        let dns_names = dns_names(&csr)?;
        let subject = DistinguishedName::from_request(&csr).map_err(IssueError::Subject)?;
        let issued = self.ca.sign_x509_svid(&X509SvidParams {
            spiffe_id: &spiffe_id,
            public_key_der: csr.spki_der(),
            dns_names: &dns_names,
            ttl,
            subject: if subject.is_empty() {
                SvidSubject::Workload
            } else {
                SvidSubject::Custom(subject)
            },
        })?;
        Ok(NewX509Svid { spiffe_id, issued })
    }

    /// Signs a JWT-SVID.
    ///
    /// # Errors
    /// Why none was issued.
    pub fn mint_jwt(
        &self,
        spiffe_id: &SpiffeId,
        audience: Vec<String>,
        ttl: Option<Duration>,
    ) -> Result<JwtSvid, IssueError> {
        if audience.is_empty() {
            return Err(IssueError::NoAudience);
        }
        let params = JwtSvidParams {
            spiffe_id,
            audience,
            ttl,
            include_jti: false,
        };
        Ok(self.ca.sign_jwt_svid(params)?)
    }

    /// Signs the CA certificate of a downstream server. Only the key of the signing request counts.
    ///
    /// # Errors
    /// Why none was issued.
    pub fn downstream_authority(
        &self,
        csr: &[u8],
        ttl: Option<Duration>,
    ) -> Result<DownstreamAuthority, IssueError> {
        let csr = verified(csr)?;
        let own = self.ca.trust_domain();
        let bundle = self
            .store
            .read(|state| state.bundle(own).cloned())
            .ok_or(IssueError::NoBundle)?;
        let chain = self.ca.sign_downstream_authority(csr.spki_der(), ttl)?;
        let roots = bundle
            .x509_authorities
            .iter()
            .map(|root| root.certificate.clone())
            .collect();
        Ok(DownstreamAuthority { chain, roots })
    }
}

fn verified(csr: &[u8]) -> Result<Csr, IssueError> {
    let csr = Csr::parse(csr).map_err(IssueError::MalformedCsr)?;
    csr.verify_signature().map_err(IssueError::CsrSignature)?;
    Ok(csr)
}

fn dns_names(csr: &Csr) -> Result<Vec<DnsName>, IssueError> {
    let names: Vec<DnsName> = csr
        .dns_names()
        .iter()
        .map(|name| DnsName::parse(name))
        .collect::<Result<_, _>>()
        .map_err(IssueError::DnsName)?;
    DnsName::check_overlap(&names).map_err(IssueError::DnsName)?;
    Ok(names)
}
