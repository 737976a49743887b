//! Commands on federation relationships.

use std::sync::Arc;

use identity::bundle::Bundle;
use identity::federation::FederationRelationship;

use crate::command::{
    CreateRelationship, CreateRelationshipOutcome, DeleteRelationship, SetBundleMode,
    SetFederatedBundle, UpdateRelationship, UpdateRelationshipOutcome,
};
use crate::state::State;
use crate::state::journal::Journal;

impl State {
    pub(super) fn create_relationship(
        &mut self,
        command: &CreateRelationship,
        journal: &mut Journal,
    ) -> CreateRelationshipOutcome {
        let relationship = &command.relationship;
        if self
            .relationships
            .find(&relationship.trust_domain)
            .is_some()
        {
            return CreateRelationshipOutcome::Exists;
        }
        self.replace_bundle(command.bundle.as_ref(), journal);
        let sequence = self.next_sequence();
        let created = self
            .relationships
            .put(sequence, relationship.clone(), journal);
        CreateRelationshipOutcome::Created(created)
    }

    pub(super) fn update_relationship(
        &mut self,
        command: &UpdateRelationship,
        journal: &mut Journal,
    ) -> UpdateRelationshipOutcome {
        let Some((sequence, present)) = self.relationships.find(&command.trust_domain) else {
            return UpdateRelationshipOutcome::NotFound;
        };
        let present = Arc::clone(present);
        self.replace_bundle(command.bundle.as_ref(), journal);
        let mut relationship = FederationRelationship::clone(&present);
        if let Some(url) = &command.url {
            relationship.endpoint.url = url.clone();
        }
        if let Some(profile) = &command.profile {
            relationship.endpoint.profile = profile.clone();
        }
        if relationship == *present {
            return UpdateRelationshipOutcome::Updated(present);
        }
        UpdateRelationshipOutcome::Updated(self.relationships.put(sequence, relationship, journal))
    }

    pub(super) fn delete_relationship(
        &mut self,
        command: &DeleteRelationship,
        journal: &mut Journal,
    ) -> bool {
        let found = self.relationships.find(&command.trust_domain);
        let Some((sequence, _)) = found else {
            return false;
        };
        self.relationships.remove(sequence, journal);
        true
    }

    fn replace_bundle(&mut self, bundle: Option<&Bundle>, journal: &mut Journal) {
        if let Some(bundle) = bundle {
            let set = SetFederatedBundle {
                bundle: bundle.clone(),
                mode: SetBundleMode::Set,
            };
            self.set_federated_bundle(&set, journal);
        }
    }
}
