//! A new cluster with an old one's state.

use std::sync::Arc;

use identity::bundle::Bundle;
use identity::x509::CertificateInfo;
use rustls_pki_types::CertificateDer;

use crate::command::BeginEpoch;
use crate::record::{AuthorityKind, ClusterRecord, InviteId, JoinTokenHash, Revision, Sequence};
use crate::state::State;
use crate::state::journal::Journal;

impl State {
    /// The revision moves with the jump here, and by one more as with every command.
    pub(super) fn begin_epoch(&mut self, command: &BeginEpoch, journal: &mut Journal) {
        if self.epoch_id() == Some(command.epoch_id) {
            return;
        }
        let jumped = self.revision.as_u64().saturating_add(command.revision_jump);
        self.revision = Revision::new(jumped);
        let cluster = ClusterRecord {
            version: self.cluster_version(),
            epoch_id: Some(command.epoch_id),
        };
        self.cluster.put((), Arc::new(cluster), journal);
        self.move_bundles(command.sequence_jump, journal);
        self.forget_cluster(journal);
        self.put_member(command.survivor.clone(), journal);
    }

    /// Moves the sequences of bundles that hold an own authority: who saw a later one would take
    /// the restored bundle for an old one.
    fn move_bundles(&mut self, jump: u64, journal: &mut Journal) {
        let own: Vec<(Sequence, Arc<Bundle>)> = self
            .bundles
            .after(None)
            .filter(|(_, bundle)| self.is_own(bundle))
            .map(|(sequence, bundle)| (sequence, Arc::clone(bundle)))
            .collect();
        for (sequence, bundle) in own {
            let mut bundle = Arc::unwrap_or_clone(bundle);
            bundle.sequence = bundle.sequence.saturating_add(jump);
            self.bundles.put(sequence, bundle, journal);
        }
    }

    fn is_own(&self, bundle: &Bundle) -> bool {
        let roots = self.authorities(AuthorityKind::X509Root);
        let holds_root = roots
            .filter_map(|root| root.certificate.as_ref())
            .any(|certificate| {
                let mut held = bundle.x509_authorities.iter();
                held.any(|authority| authority.certificate == *certificate)
            });
        let mut keys = self.authorities(AuthorityKind::Jwt);
        let holds_key = keys.any(|key| {
            let mut held = bundle.jwt_authorities.iter();
            held.any(|authority| authority.key_id == key.id)
        });
        // Those that bring their upstream's roots with them.
        let mut intermediates = self.authorities(AuthorityKind::X509Intermediate);
        let below_held = intermediates.any(|one| {
            let chain = one.upstream_chain.as_ref();
            chain.is_some_and(|chain| {
                let last = chain.last().or(one.certificate.as_ref());
                last.is_some_and(|last| is_below(last, bundle))
            })
        });
        holds_root || holds_key || below_held
    }

    fn forget_cluster(&mut self, journal: &mut Journal) {
        let members: Vec<u64> = self.members().map(|member| member.id).collect();
        for id in members {
            self.forget_member(id, journal);
        }
        let invites: Vec<InviteId> = self.invites.iter().map(|(id, _)| *id).collect();
        for id in &invites {
            self.invites.remove(id, journal);
        }
        // One may have been used after the state was saved; used twice, it would admit two nodes.
        let tokens: Vec<JoinTokenHash> = self.join_tokens.iter().map(|(hash, _)| *hash).collect();
        for hash in &tokens {
            self.join_tokens.remove(hash, journal);
        }
        let peers = self.authorities.of_kind(AuthorityKind::Peer);
        let peers: Vec<Sequence> = peers.map(|(sequence, _)| sequence).collect();
        for sequence in peers {
            self.authorities.remove(sequence, journal);
        }
    }
}

/// Whether the certificate names the key of an authority of the bundle as its issuer's.
fn is_below(certificate: &CertificateDer<'_>, bundle: &Bundle) -> bool {
    let parsed = CertificateInfo::parse(certificate).ok();
    let issuer = parsed.and_then(|parsed| parsed.authority_key_id);
    let mut held = bundle.x509_authorities.iter();
    issuer.is_some() && held.any(|authority| authority.subject_key_id() == issuer)
}
