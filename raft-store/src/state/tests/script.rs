//! The script language: one command a line, `----`, then the answer and the revision.
//!
//! Words are separated by spaces; `name=value` words are options. Time is `at=`, 1000 unless told;
//! the place in the log is `index=`, 0 unless told.
//! `again` repeats the command before it with the same request id.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use identity::bundle::{Bundle, JwtAuthority, X509Authority};
use identity::clock::UnixTime;
use identity::dns_name::DnsName;
use identity::entry::{AdditionalAttributes, EntryId, RegistrationEntry};
use identity::federation::{
    BundleEndpoint, BundleEndpointUrl, EndpointProfile, FederationRelationship,
};
use identity::selector::{Selector, SelectorSet};
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;
use rustls_pki_types::CertificateDer;

use crate::command::*;
use crate::record::{
    AcmeSecret, AcmeSecretKind, AuthorityKind, AuthorityRecord, AuthorityState, DataKey, InviteId,
    InviteRecord, JoinTokenHash, MemberProfile, MemberRecord, PublicKeyHash, Sealed,
};
use crate::state::State;

/// Runs a script and compares, or with `REWRITE=1`, records.
pub(super) fn check(name: &str, script: &str) {
    let actual = run(script);
    if std::env::var_os("REWRITE").is_some() {
        let path = format!(
            "{}/src/state/tests/scripts/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        std::fs::write(path, actual).unwrap();
    } else {
        assert_eq!(actual, script, "REWRITE=1 records the answers anew");
    }
}

fn run(script: &str) -> String {
    let mut state = State::default();
    let mut last: Option<(u64, Envelope)> = None;
    let mut actual = String::new();
    let mut is_answer = false;
    for (number, line) in (0_u128..).zip(script.lines()) {
        match line {
            "" => {
                is_answer = false;
                actual.push('\n');
            }
            _ if is_answer => {}
            "----" => {
                is_answer = true;
                actual.push_str("----\n");
                let (index, envelope) = last.as_ref().expect("a command before its answer");
                let applied = state.apply(*index, envelope);
                let revision = state.revision();
                writeln!(actual, "{}, revision {revision}", brief(&applied.outcome)).unwrap();
            }
            _ => {
                writeln!(actual, "{line}").unwrap();
                if !line.starts_with('#') && line != "again" {
                    last = Some(parse(line, number));
                }
            }
        }
    }
    actual
}

struct Line<'a> {
    words: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
}

impl Line<'_> {
    fn word(&self, index: usize) -> &str {
        self.words[index]
    }

    fn has(&self, name: &str) -> bool {
        self.words.contains(&name)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.options.get(name).map(|value| value.parse().unwrap())
    }

    fn unsigned(&self, name: &str) -> Option<u64> {
        self.options.get(name).map(|value| value.parse().unwrap())
    }

    fn seconds(&self, name: &str) -> u32 {
        self.options
            .get(name)
            .map_or(0, |secs| secs.parse().unwrap())
    }

    /// The names of a list, of which those with a `!` behind them are marked.
    fn marked(&self, name: &str) -> impl Iterator<Item = (&str, bool)> {
        self.list(name).into_iter().map(|one| {
            let unmarked = one.strip_suffix('!');
            (unmarked.unwrap_or(one), unmarked.is_some())
        })
    }

    /// A range of formats, `oldest-newest`.
    fn formats(&self) -> std::ops::RangeInclusive<u32> {
        let formats = self.options.get("formats").copied().unwrap_or("1-1");
        let (oldest, newest) = formats.split_once('-').unwrap();
        oldest.parse().unwrap()..=newest.parse().unwrap()
    }

    fn profile(&self) -> MemberProfile {
        MemberProfile {
            peer_address: self.text("peer"),
            api_address: self.text("api"),
            program_version: "1.0".into(),
            formats: self.formats(),
        }
    }

    fn text(&self, name: &str) -> Box<str> {
        self.options.get(name).copied().unwrap_or_default().into()
    }

    fn sealed(&self) -> Sealed {
        Sealed {
            key_id: self.options.get("key").map_or(1, |id| id.parse().unwrap()),
            nonce: [0; 12],
            ciphertext: vec![1],
        }
    }

    fn time(&self, name: &str) -> UnixTime {
        UnixTime::from_secs(self.number(name).unwrap_or(9000))
    }

    fn list(&self, name: &str) -> Vec<&str> {
        let list = self.options.get(name).copied().unwrap_or_default();
        list.split(',').filter(|item| !item.is_empty()).collect()
    }

    fn x509(&self) -> Vec<X509Authority> {
        let certificate = |name: &&str| X509Authority {
            certificate: CertificateDer::from(name.as_bytes().to_vec()),
            tainted: false,
        };
        self.list("x509").iter().map(certificate).collect()
    }

    fn jwt(&self) -> Vec<JwtAuthority> {
        let key = |name: &&str| JwtAuthority {
            key_id: (*name).into(),
            public_key: name.as_bytes().to_vec(),
            expires_at: Some(self.time("expires")),
            tainted: false,
        };
        self.list("jwt").iter().map(key).collect()
    }
}

fn id(path: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org/{path}")).unwrap()
}

fn trust_domain(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

fn selectors(list: &[&str]) -> SelectorSet {
    list.iter()
        .map(|text| Selector::parse(text).unwrap())
        .collect()
}

/// The command of one line, and its place in the log.
pub(super) fn parse(text: &str, number: u128) -> (u64, Envelope) {
    let (options, words) = text
        .split(' ')
        .partition::<Vec<_>, _>(|word| word.contains('='));
    let options = options.iter().map(|word| word.split_once('=').unwrap());
    let line = Line {
        words,
        options: options.collect(),
    };
    let envelope = Envelope {
        request_id: RequestId::from_bytes(number.to_be_bytes()),
        at: UnixTime::from_secs(line.number("at").unwrap_or(1000)),
        command: command(&line),
    };
    (line.unsigned("index").unwrap_or(0), envelope)
}

fn command(line: &Line<'_>) -> Command {
    let secs = |name| UnixTime::from_secs(line.number(name).unwrap_or(0));
    match line.word(0) {
        "create" => CreateEntries {
            entries: vec![entry(line)],
        }
        .into(),
        "update" => UpdateEntries {
            changes: vec![change(line)],
        }
        .into(),
        "delete" => DeleteEntries {
            ids: vec![EntryId::parse(line.word(1)).unwrap()],
        }
        .into(),
        "prune-entries" => PruneEntries {
            expired_before: secs("before"),
            limit: 10,
        }
        .into(),
        "token" => CreateJoinToken {
            hash: JoinTokenHash::of(line.word(1).as_bytes()),
            expires_at: line.time("expires"),
            alias: line
                .options
                .contains_key("sel")
                .then(|| Box::new(entry(line))),
        }
        .into(),
        "discard" => DiscardJoinToken {
            hash: JoinTokenHash::of(line.word(1).as_bytes()),
        }
        .into(),
        "prune-tokens" => PruneJoinTokens {
            expired_before: secs("before"),
            limit: 10,
        }
        .into(),
        _ => agent_command(line),
    }
}

fn agent_command(line: &Line<'_>) -> Command {
    match line.word(0) {
        "attest" => AttestAgent {
            spiffe_id: id(line.word(1)),
            attestation_type: line
                .options
                .get("type")
                .copied()
                .unwrap_or("join_token")
                .into(),
            serial: line.options["serial"].into(),
            not_after: line.time("until"),
            can_reattest: line.has("reattestable"),
            selectors: selectors(&line.list("sel")),
            redeem: line
                .options
                .get("token")
                .map(|token| JoinTokenHash::of(token.as_bytes())),
        }
        .into(),
        "redeem" => RedeemJoinToken {
            spiffe_id: id(&format!("spire/agent/join_token/{}", line.word(1))),
            serial: line.options["serial"].into(),
            not_after: line.time("until"),
            selectors: selectors(&line.list("sel")),
            token: JoinTokenHash::of(line.word(1).as_bytes()),
            public_key: PublicKeyHash::of(line.options["key"].as_bytes()),
        }
        .into(),
        "renew" => RenewAgent {
            spiffe_id: id(line.word(1)),
            new_serial: line.options["serial"].into(),
            new_not_after: line.time("until"),
        }
        .into(),
        "promote" => PromoteAgentSerial {
            spiffe_id: id(line.word(1)),
            serial: line.options["serial"].into(),
        }
        .into(),
        "ban" => BanAgent {
            spiffe_id: id(line.word(1)),
        }
        .into(),
        "delete-agent" => DeleteAgent {
            spiffe_id: id(line.word(1)),
        }
        .into(),
        "version" => SetAgentVersion {
            spiffe_id: id(line.word(1)),
            version: line.word(2).into(),
        }
        .into(),
        "prune-agents" => PruneAgents {
            expired_before: line.time("before"),
            include_non_reattestable: line.has("all"),
            limit: 10,
        }
        .into(),
        _ => bundle_command(line),
    }
}

fn bundle_command(line: &Line<'_>) -> Command {
    let sequence = line
        .number("sequence")
        .map(|number| u64::try_from(number).unwrap());
    match line.word(0) {
        "append" => AppendAuthorities {
            trust_domain: trust_domain(line.word(1)),
            x509: line.x509(),
            jwt: line.jwt(),
        }
        .into(),
        "set-bundle" | "create-bundle" => SetFederatedBundle {
            bundle: Bundle {
                trust_domain: trust_domain(line.word(1)),
                x509_authorities: line.x509(),
                jwt_authorities: line.jwt(),
                refresh_hint_s: 0,
                sequence: sequence.unwrap_or(0),
            },
            mode: match line.word(0) {
                "create-bundle" => SetBundleMode::Create,
                _ => SetBundleMode::Set,
            },
        }
        .into(),
        "update-bundle" => UpdateFederatedBundle {
            trust_domain: trust_domain(line.word(1)),
            change: BundleChange {
                sequence,
                ..BundleChange::default()
            },
        }
        .into(),
        "delete-bundle" => DeleteFederatedBundle {
            trust_domain: trust_domain(line.word(1)),
            mode: match line.word(2) {
                "restrict" => DeleteBundleMode::Restrict,
                "dissociate" => DeleteBundleMode::Dissociate,
                "delete" => DeleteBundleMode::Delete,
                other => panic!("{other}"),
            },
        }
        .into(),
        "prune-bundle" => PruneBundle {
            trust_domain: trust_domain(line.word(1)),
            expired_before: line.time("before"),
        }
        .into(),
        _ => federation_command(line),
    }
}

fn federation_command(line: &Line<'_>) -> Command {
    let url = || {
        let url = line.options.get("url");
        url.map(|url| BundleEndpointUrl::parse(url).unwrap())
    };
    let profile = || match line.options.get("endpoint") {
        Some(path) => EndpointProfile::HttpsSpiffe {
            endpoint_spiffe_id: id(path),
        },
        None => EndpointProfile::HttpsWeb,
    };
    let bundle = || {
        let given = line.options.contains_key("x509");
        given.then(|| Bundle {
            x509_authorities: line.x509(),
            ..Bundle::empty(trust_domain(line.word(1)))
        })
    };
    match line.word(0) {
        "federate" => CreateRelationship {
            relationship: FederationRelationship {
                trust_domain: trust_domain(line.word(1)),
                endpoint: BundleEndpoint {
                    url: url().unwrap(),
                    profile: profile(),
                },
            },
            bundle: bundle(),
        }
        .into(),
        "refederate" => UpdateRelationship {
            trust_domain: trust_domain(line.word(1)),
            url: url(),
            profile: (line.has("web") || line.options.contains_key("endpoint")).then(profile),
            bundle: bundle(),
        }
        .into(),
        "separate" => DeleteRelationship {
            trust_domain: trust_domain(line.word(1)),
        }
        .into(),
        _ => member_command(line),
    }
}

fn member_command(line: &Line<'_>) -> Command {
    let number = || line.word(1).parse().unwrap();
    let invite = || {
        let mut bytes = [0; 16];
        bytes[..line.word(1).len()].copy_from_slice(line.word(1).as_bytes());
        InviteId::from_bytes(bytes)
    };
    match line.word(0) {
        "invite" => CreateInvite {
            invite: InviteRecord {
                id: invite(),
                verifier: line.sealed(),
                expires_at: line.time("expires"),
            },
        }
        .into(),
        "prune-invites" => PruneInvites {
            expired_before: line.time("before"),
            limit: 10,
        }
        .into(),
        "admit" => AdmitMember {
            invite: invite(),
            profile: line.profile(),
        }
        .into(),
        "announce" => AnnounceMember {
            id: number(),
            profile: line.profile(),
        }
        .into(),
        "remove-member" => RemoveMember { id: number() }.into(),
        "cluster-version" => SetClusterVersion {
            version: line.word(1).parse().unwrap(),
            voters: line
                .list("voters")
                .iter()
                .map(|id| id.parse().unwrap())
                .collect(),
        }
        .into(),
        "epoch" => BeginEpoch {
            epoch_id: [line.word(1).as_bytes()[0]; 16],
            revision_jump: 1000,
            sequence_jump: 500,
            survivor: MemberRecord {
                id: line.unsigned("survivor").unwrap(),
                profile: line.profile(),
                admitted_at: line.time("at"),
                is_removed: false,
            },
        }
        .into(),
        _ => key_command(line),
    }
}

fn key_command(line: &Line<'_>) -> Command {
    match line.word(0) {
        "data-key" => AddDataKey {
            key: DataKey {
                id: line.word(1).parse().unwrap(),
                wrapped: vec![1],
            },
        }
        .into(),
        "remove-data-key" => RemoveDataKey {
            id: line.word(1).parse().unwrap(),
        }
        .into(),
        "keep-acme" => KeepAcmeSecret {
            secret: AcmeSecret {
                kind: match line.word(1) {
                    "account" => AcmeSecretKind::Account,
                    _ => AcmeSecretKind::Certificate,
                },
                directory_url: "https://ca.example/".into(),
                name: line.word(2).into(),
                chain: line
                    .list("chain")
                    .into_iter()
                    .map(|name| CertificateDer::from(name.as_bytes().to_vec()))
                    .collect(),
                sealed_key: Sealed {
                    nonce: [line.word(2).as_bytes()[0]; 12],
                    ..line.sealed()
                },
            },
            in_place_of: line
                .options
                .get("instead-of")
                .map(|name| [name.as_bytes()[0]; 12]),
        }
        .into(),
        word if word.ends_with("-upstream") => upstream_command(line),
        _ => authority_command(line),
    }
}

fn upstream_command(line: &Line<'_>) -> Command {
    let trust_domain = trust_domain("example.org");
    let roots = line.marked("roots").map(|(name, tainted)| X509Authority {
        certificate: CertificateDer::from(name.as_bytes().to_vec()),
        tainted,
    });
    let roots: Vec<_> = roots.collect();
    let certificates = roots.iter().map(|root| root.certificate.clone()).collect();
    match line.word(0) {
        "prepare-upstream" => PrepareBelowUpstream {
            authority: authority(AuthorityKind::X509Intermediate, line.word(1).into(), line),
            roots,
            trust_domain,
            at_most: 3,
            only_if_none_is_coming: line.has("if-none"),
        }
        .into(),
        "sync-upstream" => {
            let jwt = line.marked("jwt").map(|(key_id, tainted)| JwtAuthority {
                key_id: key_id.into(),
                public_key: vec![1],
                expires_at: None,
                tainted,
            });
            SyncUpstreamBundle {
                trust_domain,
                x509: roots,
                jwt: jwt.collect(),
            }
            .into()
        }
        "taint-upstream" => TaintUpstreamAuthority {
            trust_domain,
            subject_key_id: line.word(1).into(),
            certificates,
        }
        .into(),
        "revoke-upstream" => RevokeUpstreamAuthority {
            trust_domain,
            subject_key_id: line.word(1).into(),
            certificates,
        }
        .into(),
        other => panic!("unknown command {other}"),
    }
}

fn authority_command(line: &Line<'_>) -> Command {
    if line.word(0) == "setting" {
        return SetSetting {
            key: line.word(1).into(),
            value: line.word(2).into(),
            only_if_absent: line.has("if-absent"),
        }
        .into();
    }
    let kind = match line.word(1) {
        "root" => AuthorityKind::X509Root,
        "intermediate" => AuthorityKind::X509Intermediate,
        "jwt" => AuthorityKind::Jwt,
        "peer" => AuthorityKind::Peer,
        other => panic!("{other}"),
    };
    let id: Box<str> = line.word(2).into();
    let trust_domain = trust_domain("example.org");
    match line.word(0) {
        "prepare" => PrepareAuthority {
            authority: authority(kind, id, line),
        }
        .into(),
        "successor" => PrepareSuccessor {
            authority: authority(kind, id, line),
            trust_domain,
            at_most: 3,
        }
        .into(),
        "publish" => PublishAuthority {
            kind,
            id,
            trust_domain,
        }
        .into(),
        "activate" => ActivateAuthority { kind, id }.into(),
        "activate-through" => ActivateRoot {
            id,
            intermediate: authority(AuthorityKind::X509Intermediate, line.word(3).into(), line),
        }
        .into(),
        "taint" => TaintAuthority {
            kind,
            id,
            trust_domain,
        }
        .into(),
        "revoke" => RevokeAuthority {
            kind,
            id,
            trust_domain,
        }
        .into(),
        "reseal" => ResealAuthority {
            kind,
            id,
            sealed_key: line.sealed(),
        }
        .into(),
        "remove" => RemoveAuthority {
            kind,
            id,
            trust_domain,
        }
        .into(),
        other => panic!("unknown command {other}"),
    }
}

fn authority(kind: AuthorityKind, id: Box<str>, line: &Line<'_>) -> AuthorityRecord {
    AuthorityRecord {
        kind,
        state: AuthorityState::Active,
        issuer_id: line.options.get("issuer").map(|id| (*id).into()),
        certificate: (kind != AuthorityKind::Jwt)
            .then(|| CertificateDer::from(id.as_bytes().to_vec())),
        public_key: id.as_bytes().to_vec(),
        id,
        issued_at: UnixTime::from_secs(1000),
        not_after: UnixTime::from_secs(9000),
        sealed_key: Some(line.sealed()),
        upstream_chain: line.options.contains_key("chain").then(|| {
            let chain = line.list("chain").into_iter().filter(|name| *name != "-");
            chain
                .map(|name| CertificateDer::from(name.as_bytes().to_vec()))
                .collect()
        }),
    }
}

fn entry(line: &Line<'_>) -> RegistrationEntry {
    RegistrationEntry {
        id: EntryId::parse(line.word(1)).unwrap(),
        spiffe_id: id(line.options.get("spiffe").copied().unwrap_or("web")),
        parent_id: id(line.options.get("parent").copied().unwrap_or("host")),
        selectors: selectors(&line.list("sel")),
        x509_svid_ttl_s: line.seconds("ttl"),
        jwt_svid_ttl_s: line.seconds("jwt-ttl"),
        federates_with: line
            .list("federates")
            .into_iter()
            .map(trust_domain)
            .collect(),
        admin: line.has("admin"),
        downstream: line.has("downstream"),
        expires_at: line.number("expires").map(UnixTime::from_secs),
        dns_names: line
            .list("dns")
            .into_iter()
            .map(|name| DnsName::parse(name).unwrap())
            .collect(),
        // Ignored: a new entry starts at 0.
        revision: 7,
        store_svid: line.has("store-svid"),
        hint: line.text("hint"),
        additional_attributes: line.has("jti").then_some(AdditionalAttributes {
            disable_x509_svid_prefetch: false,
            jwt_svid_include_jti: true,
        }),
        created_at: UnixTime::from_secs(1000),
    }
}

fn change(line: &Line<'_>) -> EntryChange {
    let mut change = EntryChange::new(EntryId::parse(line.word(1)).unwrap());
    change.spiffe_id = line.options.get("spiffe").map(|path| id(path));
    let list = line.options.contains_key("sel").then(|| line.list("sel"));
    change.selectors = list.map(|list| selectors(&list));
    change.hint = line.options.get("hint").map(|hint| (*hint).into());
    let names = line
        .options
        .contains_key("federates")
        .then(|| line.list("federates"));
    change.federates_with = names.map(|names| names.into_iter().map(trust_domain).collect());
    change
}

fn shown(entry: &RegistrationEntry) -> String {
    let federates: Vec<&str> = entry
        .federates_with
        .iter()
        .map(TrustDomain::as_str)
        .collect();
    let RegistrationEntry {
        id,
        spiffe_id,
        revision,
        ..
    } = entry;
    let path = spiffe_id.path();
    format!("{id} {path} r{revision} federates {federates:?}")
}

fn bundle(bundle: &Bundle) -> String {
    let x509 = bundle.x509_authorities.len();
    let jwt = bundle.jwt_authorities.len();
    let tainted_roots = bundle.x509_authorities.iter().filter(|one| one.tainted);
    let tainted_keys = bundle.jwt_authorities.iter().filter(|one| one.tainted);
    let tainted = match tainted_roots.count() + tainted_keys.count() {
        0 => String::new(),
        count => format!(", {count} tainted"),
    };
    format!(
        "{} sequence {}, {x509} x509, {jwt} jwt{tainted}",
        bundle.trust_domain, bundle.sequence
    )
}

fn relationship(relationship: &FederationRelationship) -> String {
    let FederationRelationship {
        trust_domain,
        endpoint: BundleEndpoint { url, profile },
    } = relationship;
    match profile {
        EndpointProfile::HttpsWeb => format!("{trust_domain} {url} web"),
        EndpointProfile::HttpsSpiffe { endpoint_spiffe_id } => {
            format!("{trust_domain} {url} {endpoint_spiffe_id}")
        }
    }
}

fn brief(outcome: &Outcome) -> String {
    match outcome {
        Outcome::CreateEntries(outcomes) => match &outcomes[0] {
            CreateEntryOutcome::Created(entry) => format!("created {}", shown(entry)),
            CreateEntryOutcome::Similar(entry) => format!("similar to {}", shown(entry)),
            CreateEntryOutcome::Invalid(rule) => format!("rejected: {rule}"),
            other => format!("rejected: {other:?}"),
        },
        Outcome::UpdateEntries(outcomes) => match &outcomes[0] {
            UpdateEntryOutcome::Updated(entry) => format!("updated {}", shown(entry)),
            UpdateEntryOutcome::Similar(entry) => format!("similar to {}", shown(entry)),
            UpdateEntryOutcome::Invalid(rule) => format!("rejected: {rule}"),
            other => format!("rejected: {other:?}"),
        },
        Outcome::CreateJoinToken(CreateJoinTokenOutcome::AliasSimilar(entry)) => {
            format!("alias similar to {}", shown(entry))
        }
        Outcome::AppendAuthorities(now) | Outcome::SyncUpstreamBundle(now) => bundle(now),
        Outcome::TaintUpstreamAuthority(UpstreamOutcome::Done(now))
        | Outcome::RevokeUpstreamAuthority(UpstreamOutcome::Done(now)) => bundle(now),
        Outcome::SetFederatedBundle(SetBundleOutcome::Created(now)) => {
            format!("created {}", bundle(now))
        }
        Outcome::SetFederatedBundle(SetBundleOutcome::Set(now)) => format!("set {}", bundle(now)),
        Outcome::UpdateFederatedBundle(UpdateBundleOutcome::Updated(now)) => {
            format!("updated {}", bundle(now))
        }
        Outcome::CreateRelationship(CreateRelationshipOutcome::Created(now)) => {
            format!("created {}", relationship(now))
        }
        Outcome::UpdateRelationship(UpdateRelationshipOutcome::Updated(now)) => {
            format!("updated {}", relationship(now))
        }
        Outcome::PruneBundle(PruneBundleOutcome::Pruned(now)) => format!("pruned {}", bundle(now)),
        Outcome::PrepareAuthority(outcome)
        | Outcome::PublishAuthority(outcome)
        | Outcome::ActivateAuthority(outcome)
        | Outcome::RemoveAuthority(outcome)
        | Outcome::PrepareSuccessor(outcome)
        | Outcome::ActivateRoot(outcome)
        | Outcome::TaintAuthority(outcome)
        | Outcome::RevokeAuthority(outcome)
        | Outcome::PrepareBelowUpstream(outcome) => match outcome {
            AuthorityOutcome::Done(record) => format!("{} {:?}", record.id, record.state),
            other => format!("rejected: {other:?}"),
        },
        other => format!("{other:?}"),
    }
}
