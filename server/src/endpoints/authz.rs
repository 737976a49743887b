//! Owns the table that says, for every RPC of the server, who may call it, what limits it, and
//! which listener serves it.
//!
//! An RPC that does not stand here is not served: the router knows no other list.

use crate::endpoints::Caller;
use crate::endpoints::rate_limit::LimitClass;

/// The rule of one RPC.
#[derive(Debug, Eq, PartialEq)]
pub struct Rule {
    /// The full method, `/package.Service/Method`.
    pub method: &'static str,
    /// The service that answers.
    pub api: Api,
    /// Who may call.
    pub callers: Callers,
    /// The rate limit.
    pub limit: LimitClass,
}

impl Rule {
    /// The rule of `method`, if the server has such an RPC.
    pub fn of(method: &str) -> Option<&'static Self> {
        RULES
            .binary_search_by(|rule| rule.method.cmp(method))
            .ok()
            .map(|index| &RULES[index])
    }

    /// Whether the listener that `caller` came through serves it.
    pub fn is_served_to(&self, caller: &Caller) -> bool {
        match caller {
            Caller::Local(_) => true,
            Caller::Tls { .. } => self.api.is_on_tcp(),
        }
    }

    /// Whether a server that does not serve yet answers it: what it says of itself.
    pub fn is_answered_early(&self) -> bool {
        self.api == Api::Health || self.method == "/conclave.cluster.v1.Cluster/Status"
    }

    /// The part of the method after the last slash.
    pub fn method_name(&self) -> &'static str {
        self.method
            .rsplit_once('/')
            .map_or(self.method, |(_, name)| name)
    }
}

/// Whether `service` is one that `caller`'s listener serves.
pub fn serves(service: &str, caller: &Caller) -> bool {
    RULES.iter().any(|rule| {
        let of_service = rule
            .method
            .strip_prefix('/')
            .and_then(|method| method.strip_prefix(service))
            .is_some_and(|rest| rest.starts_with('/'));
        of_service && rule.is_served_to(caller)
    })
}

/// Who may call an RPC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Callers {
    /// Everyone who reaches the listener.
    Any,
    /// Callers on the Unix socket.
    Local,
    /// Callers on the Unix socket and administrators.
    AdminOrLocal,
    /// Callers on the Unix socket, administrators and attested agents.
    AdminLocalOrAgent,
    /// Attested agents.
    Agent,
    /// Holders of an identity whose entry is marked downstream.
    Downstream,
}

/// A gRPC service of the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Api {
    /// `spire.api.server.agent.v1.Agent`
    Agent,
    /// `spire.api.server.bundle.v1.Bundle`
    Bundle,
    /// `conclave.cluster.v1.Cluster`
    Cluster,
    /// `spire.api.server.debug.v1.Debug`
    Debug,
    /// `spire.api.server.entry.v1.Entry`
    Entry,
    /// `grpc.health.v1.Health`
    Health,
    /// `spire.api.server.localauthority.v1.LocalAuthority`
    LocalAuthority,
    /// `spire.api.server.logger.v1.Logger`
    Logger,
    /// `spire.api.server.svid.v1.SVID`
    Svid,
    /// `conclave.sync.v1.Sync`
    Sync,
    /// `spire.api.server.trustdomain.v1.TrustDomain`
    TrustDomain,
}

impl Api {
    /// Whether the TLS listener serves it too. The Unix socket serves all.
    pub const fn is_on_tcp(self) -> bool {
        match self {
            Self::Agent
            | Self::Bundle
            | Self::Entry
            | Self::LocalAuthority
            | Self::Svid
            | Self::Sync
            | Self::TrustDomain => true,
            Self::Cluster | Self::Debug | Self::Health | Self::Logger => false,
        }
    }
}

const fn rule(method: &'static str, api: Api, callers: Callers, limit: LimitClass) -> Rule {
    Rule {
        method,
        api,
        callers,
        limit,
    }
}

/// Sorted by method.
#[rustfmt::skip]
const RULES: &[Rule] = &[
    rule("/conclave.cluster.v1.Cluster/Backup", Api::Cluster, Callers::Local, LimitClass::Unlimited),
    rule("/conclave.cluster.v1.Cluster/CreateInvite", Api::Cluster, Callers::Local, LimitClass::Unlimited),
    rule("/conclave.cluster.v1.Cluster/Leave", Api::Cluster, Callers::Local, LimitClass::Unlimited),
    rule("/conclave.cluster.v1.Cluster/RemoveMember", Api::Cluster, Callers::Local, LimitClass::Unlimited),
    rule("/conclave.cluster.v1.Cluster/RotateSeal", Api::Cluster, Callers::Local, LimitClass::Unlimited),
    rule("/conclave.cluster.v1.Cluster/Status", Api::Cluster, Callers::Local, LimitClass::Unlimited),
    rule("/conclave.cluster.v1.Cluster/Transfer", Api::Cluster, Callers::Local, LimitClass::Unlimited),
    rule("/conclave.sync.v1.Sync/Watch", Api::Sync, Callers::Agent, LimitClass::Unlimited),
    rule("/grpc.health.v1.Health/Check", Api::Health, Callers::Local, LimitClass::Unlimited),
    rule("/grpc.health.v1.Health/List", Api::Health, Callers::Local, LimitClass::Unlimited),
    rule("/grpc.health.v1.Health/Watch", Api::Health, Callers::Local, LimitClass::Unlimited),
    rule("/spire.api.server.agent.v1.Agent/AttestAgent", Api::Agent, Callers::Any, LimitClass::Attestation),
    rule("/spire.api.server.agent.v1.Agent/BanAgent", Api::Agent, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.agent.v1.Agent/CountAgents", Api::Agent, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.agent.v1.Agent/CreateJoinToken", Api::Agent, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.agent.v1.Agent/DeleteAgent", Api::Agent, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.agent.v1.Agent/GetAgent", Api::Agent, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.agent.v1.Agent/ListAgents", Api::Agent, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.agent.v1.Agent/PostStatus", Api::Agent, Callers::Agent, LimitClass::PostStatus),
    rule("/spire.api.server.agent.v1.Agent/RenewAgent", Api::Agent, Callers::Agent, LimitClass::SigningX509),
    rule("/spire.api.server.bundle.v1.Bundle/AppendBundle", Api::Bundle, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.bundle.v1.Bundle/BatchCreateFederatedBundle", Api::Bundle, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.bundle.v1.Bundle/BatchDeleteFederatedBundle", Api::Bundle, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.bundle.v1.Bundle/BatchSetFederatedBundle", Api::Bundle, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.bundle.v1.Bundle/BatchUpdateFederatedBundle", Api::Bundle, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.bundle.v1.Bundle/CountBundles", Api::Bundle, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.bundle.v1.Bundle/GetBundle", Api::Bundle, Callers::Any, LimitClass::Unlimited),
    rule("/spire.api.server.bundle.v1.Bundle/GetFederatedBundle", Api::Bundle, Callers::AdminLocalOrAgent, LimitClass::Unlimited),
    rule("/spire.api.server.bundle.v1.Bundle/ListFederatedBundles", Api::Bundle, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.bundle.v1.Bundle/PublishJWTAuthority", Api::Bundle, Callers::Downstream, LimitClass::PublishKey),
    rule("/spire.api.server.bundle.v1.Bundle/PublishWITAuthority", Api::Bundle, Callers::Downstream, LimitClass::PublishKey),
    rule("/spire.api.server.debug.v1.Debug/GetInfo", Api::Debug, Callers::Local, LimitClass::Unlimited),
    rule("/spire.api.server.entry.v1.Entry/BatchCreateEntry", Api::Entry, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.entry.v1.Entry/BatchDeleteEntry", Api::Entry, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.entry.v1.Entry/BatchUpdateEntry", Api::Entry, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.entry.v1.Entry/CountEntries", Api::Entry, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.entry.v1.Entry/GetAuthorizedEntries", Api::Entry, Callers::Agent, LimitClass::Unlimited),
    rule("/spire.api.server.entry.v1.Entry/GetEntry", Api::Entry, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.entry.v1.Entry/ListEntries", Api::Entry, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.entry.v1.Entry/SyncAuthorizedEntries", Api::Entry, Callers::Agent, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/ActivateJWTAuthority", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/ActivateWITAuthority", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/ActivateX509Authority", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/GetJWTAuthorityState", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/GetWITAuthorityState", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/GetX509AuthorityState", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/PrepareJWTAuthority", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/PrepareWITAuthority", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/PrepareX509Authority", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/RevokeJWTAuthority", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/RevokeWITAuthority", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/RevokeX509Authority", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/RevokeX509UpstreamAuthority", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/TaintJWTAuthority", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/TaintWITAuthority", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/TaintX509Authority", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.localauthority.v1.LocalAuthority/TaintX509UpstreamAuthority", Api::LocalAuthority, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.logger.v1.Logger/GetLogger", Api::Logger, Callers::Local, LimitClass::Unlimited),
    rule("/spire.api.server.logger.v1.Logger/ResetLogLevel", Api::Logger, Callers::Local, LimitClass::Unlimited),
    rule("/spire.api.server.logger.v1.Logger/SetLogLevel", Api::Logger, Callers::Local, LimitClass::Unlimited),
    rule("/spire.api.server.svid.v1.SVID/BatchNewWITSVID", Api::Svid, Callers::Agent, LimitClass::SigningWit),
    rule("/spire.api.server.svid.v1.SVID/BatchNewX509SVID", Api::Svid, Callers::Agent, LimitClass::SigningX509),
    rule("/spire.api.server.svid.v1.SVID/MintJWTSVID", Api::Svid, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.svid.v1.SVID/MintWITSVID", Api::Svid, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.svid.v1.SVID/MintX509SVID", Api::Svid, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.svid.v1.SVID/NewDownstreamX509CA", Api::Svid, Callers::Downstream, LimitClass::SigningX509),
    rule("/spire.api.server.svid.v1.SVID/NewJWTSVID", Api::Svid, Callers::Agent, LimitClass::SigningJwt),
    rule("/spire.api.server.trustdomain.v1.TrustDomain/BatchCreateFederationRelationship", Api::TrustDomain, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.trustdomain.v1.TrustDomain/BatchDeleteFederationRelationship", Api::TrustDomain, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.trustdomain.v1.TrustDomain/BatchUpdateFederationRelationship", Api::TrustDomain, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.trustdomain.v1.TrustDomain/GetFederationRelationship", Api::TrustDomain, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.trustdomain.v1.TrustDomain/ListFederationRelationships", Api::TrustDomain, Callers::AdminOrLocal, LimitClass::Unlimited),
    rule("/spire.api.server.trustdomain.v1.TrustDomain/RefreshBundle", Api::TrustDomain, Callers::AdminOrLocal, LimitClass::Unlimited),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn rules_are_sorted_so_that_each_is_found() {
        for rule in RULES {
            assert_eq!(Rule::of(rule.method), Some(rule), "{}", rule.method);
        }
        assert_eq!(Rule::of("/spire.api.server.entry.v1.Entry/Nope"), None);
        assert_eq!(Rule::of(""), None);
    }

    #[test]
    fn every_rpc_of_the_server_has_a_rule_and_no_rule_is_without_an_rpc() {
        let descriptors = FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
        let mut described = BTreeSet::new();
        for file in &descriptors.file {
            let package = file.package();
            let is_spires = package.starts_with("spire.api.server.") || package == "grpc.health.v1";
            let is_ours = |service: &str| OWN_SERVICES.contains(&(package, service));
            for service in &file.service {
                if !is_spires && !is_ours(service.name()) {
                    continue;
                }
                for method in &service.method {
                    described.insert(format!("/{package}.{}/{}", service.name(), method.name()));
                }
            }
        }
        let ruled = RULES.iter().map(|rule| rule.method.to_owned()).collect();
        assert_eq!(described, ruled);
    }

    /// Services of ours that the endpoints serve; the others belong to the peer listener.
    const OWN_SERVICES: [(&str, &str); 2] = [
        ("conclave.cluster.v1", "Cluster"),
        ("conclave.sync.v1", "Sync"),
    ];

    #[test]
    fn a_cluster_is_seen_and_changed_by_local_callers_only() {
        let cluster: Vec<_> = RULES
            .iter()
            .filter(|rule| rule.api == Api::Cluster)
            .collect();
        assert_eq!(cluster.len(), 7);
        for rule in cluster {
            assert_eq!(rule.callers, Callers::Local, "{}", rule.method);
            assert!(!rule.api.is_on_tcp());
        }
    }

    #[test]
    fn rules_are_those_of_spire() {
        let recorded: Vec<String> = include_str!("../../tests/data/authz.tsv")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        let spires = RULES
            .iter()
            .filter(|rule| !rule.method.starts_with("/conclave."));
        let mut ruled: Vec<String> = spires.map(row).collect();
        ruled.sort();
        assert_eq!(ruled, recorded);
    }

    fn row(rule: &Rule) -> String {
        let callers = match rule.callers {
            Callers::Any => "any",
            Callers::Local => "local",
            Callers::AdminOrLocal => "admin,local",
            Callers::AdminLocalOrAgent => "admin,agent,local",
            Callers::Agent => "agent",
            Callers::Downstream => "downstream",
        };
        let limit = match rule.limit {
            LimitClass::Unlimited => "none",
            LimitClass::Attestation => "attestation:1/s",
            LimitClass::SigningX509 => "signing-x509:500/s(shared)",
            LimitClass::SigningJwt => "signing-jwt:500/s",
            LimitClass::SigningWit => "signing-wit:500/s",
            LimitClass::PublishKey => "pushkey:500/s(shared)",
            LimitClass::PostStatus => "poststatus:10/s",
        };
        let listeners = if rule.api.is_on_tcp() {
            "tcp,uds"
        } else {
            "uds"
        };
        format!("{}\t{callers}\t{limit}\t{listeners}", rule.method)
    }
}
