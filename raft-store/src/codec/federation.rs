//! Federation relationships and the commands on them.

use identity::bundle::Bundle;
use identity::federation::{
    BundleEndpoint, BundleEndpointUrl, EndpointProfile, FederationRelationship,
};

use super::field::{spiffe_id, trust_domain};
use super::{DecodeError, Stored, wire};
use crate::command::{CreateRelationship, DeleteRelationship, UpdateRelationship};

impl Stored for EndpointProfile {
    type Message = wire::EndpointProfile;

    fn to_message(&self) -> wire::EndpointProfile {
        let endpoint_spiffe_id = match self {
            Self::HttpsWeb => String::new(),
            Self::HttpsSpiffe { endpoint_spiffe_id } => endpoint_spiffe_id.to_string(),
        };
        wire::EndpointProfile { endpoint_spiffe_id }
    }

    fn from_message(profile: wire::EndpointProfile) -> Result<Self, DecodeError> {
        if profile.endpoint_spiffe_id.is_empty() {
            return Ok(Self::HttpsWeb);
        }
        let endpoint_spiffe_id = spiffe_id(&profile.endpoint_spiffe_id)?;
        Ok(Self::HttpsSpiffe { endpoint_spiffe_id })
    }
}

impl Stored for FederationRelationship {
    type Message = wire::FederationRelationship;

    fn to_message(&self) -> wire::FederationRelationship {
        wire::FederationRelationship {
            trust_domain: self.trust_domain.as_str().to_owned(),
            url: self.endpoint.url.as_str().to_owned(),
            profile: Some(self.endpoint.profile.to_message()),
        }
    }

    fn from_message(relationship: wire::FederationRelationship) -> Result<Self, DecodeError> {
        let profile = relationship.profile.ok_or(DecodeError::Field("profile"))?;
        Ok(Self {
            trust_domain: trust_domain(&relationship.trust_domain)?,
            endpoint: BundleEndpoint {
                url: endpoint_url(&relationship.url)?,
                profile: Stored::from_message(profile)?,
            },
        })
    }
}

impl Stored for CreateRelationship {
    type Message = wire::CreateRelationship;

    fn to_message(&self) -> wire::CreateRelationship {
        wire::CreateRelationship {
            relationship: Some(self.relationship.to_message()),
            bundle: self.bundle.as_ref().map(Stored::to_message),
        }
    }

    fn from_message(command: wire::CreateRelationship) -> Result<Self, DecodeError> {
        let relationship = command.relationship;
        let relationship = relationship.ok_or(DecodeError::Field("relationship"))?;
        Ok(Self {
            relationship: Stored::from_message(relationship)?,
            bundle: bundle(command.bundle)?,
        })
    }
}

impl Stored for UpdateRelationship {
    type Message = wire::UpdateRelationship;

    fn to_message(&self) -> wire::UpdateRelationship {
        wire::UpdateRelationship {
            trust_domain: self.trust_domain.as_str().to_owned(),
            url: self.url.as_ref().map(|url| url.as_str().to_owned()),
            profile: self.profile.as_ref().map(Stored::to_message),
            bundle: self.bundle.as_ref().map(Stored::to_message),
        }
    }

    fn from_message(command: wire::UpdateRelationship) -> Result<Self, DecodeError> {
        Ok(Self {
            trust_domain: trust_domain(&command.trust_domain)?,
            url: command.url.as_deref().map(endpoint_url).transpose()?,
            profile: command.profile.map(Stored::from_message).transpose()?,
            bundle: bundle(command.bundle)?,
        })
    }
}

impl Stored for DeleteRelationship {
    type Message = wire::DeleteRelationship;

    fn to_message(&self) -> wire::DeleteRelationship {
        wire::DeleteRelationship {
            trust_domain: self.trust_domain.as_str().to_owned(),
        }
    }

    fn from_message(command: wire::DeleteRelationship) -> Result<Self, DecodeError> {
        Ok(Self {
            trust_domain: trust_domain(&command.trust_domain)?,
        })
    }
}

fn bundle(bundle: Option<wire::Bundle>) -> Result<Option<Bundle>, DecodeError> {
    bundle.map(Stored::from_message).transpose()
}

fn endpoint_url(text: &str) -> Result<BundleEndpointUrl, DecodeError> {
    BundleEndpointUrl::parse(text)
        .ok()
        .ok_or(DecodeError::Field("bundle endpoint URL"))
}
