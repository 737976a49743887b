//! Owns the question which entries an agent may see and sign for.
//!
//! It starts with the agent's own SPIFFE ID and those of the node aliases that apply to it, and
//! goes on to the children of every entry found. An alias, an entry below the server's ID, is not
//! itself among them. Every step is an index lookup; cycles end.

use std::collections::HashSet;
use std::sync::Arc;

use identity::entry::{EntryId, RegistrationEntry};
use identity::spiffe_id::SpiffeId;
use raft_store::{AgentRecord, State};

/// All entries that `agent` is authorized for.
pub fn authorized(state: &State, agent: &AgentRecord) -> Vec<Arc<RegistrationEntry>> {
    let mut found = Vec::new();
    let mut seen_parents = HashSet::new();
    let mut parents = vec![agent.spiffe_id.clone()];
    parents.extend(aliases(state, agent));
    while let Some(parent) = parents.pop() {
        let mut children = state.entries_by_parent(&parent).peekable();
        if children.peek().is_none() || !seen_parents.insert(parent.clone()) {
            continue;
        }
        for child in children {
            if is_in_own_domain(child, agent) {
                parents.push(child.spiffe_id.clone());
                found.push(Arc::clone(child));
            }
        }
    }
    found
}

/// The entry `id`, if `agent` is authorized for it.
pub fn authorized_entry(
    state: &State,
    agent: &AgentRecord,
    id: &EntryId,
) -> Option<Arc<RegistrationEntry>> {
    let entry = state.entry(id)?;
    let mut seen = HashSet::new();
    let mut parents = vec![entry.parent_id.clone()];
    if !is_in_own_domain(entry, agent) {
        return None;
    }
    while let Some(parent) = parents.pop() {
        if parent == agent.spiffe_id {
            return Some(Arc::clone(entry));
        }
        // An alias hands its children to nodes, but is itself handed to nobody.
        if parent.is_server() {
            continue;
        }
        for above in state.entries_by_spiffe_id(&parent) {
            if applies(above, agent) {
                return Some(Arc::clone(entry));
            }
            if is_in_own_domain(above, agent) && seen.insert(above.parent_id.clone()) {
                parents.push(above.parent_id.clone());
            }
        }
    }
    None
}

/// The SPIFFE IDs of the node aliases that apply to `agent`'s node.
fn aliases(state: &State, agent: &AgentRecord) -> Vec<SpiffeId> {
    // An alias has selectors, so none applies to a node without.
    if agent.selectors.is_empty() {
        return Vec::new();
    }
    let server = SpiffeId::server(agent.spiffe_id.trust_domain());
    state
        .entries_by_parent(&server)
        .filter(|entry| applies(entry, agent))
        .map(|entry| entry.spiffe_id.clone())
        .collect()
}

/// Whether `entry` is a node alias of `agent`'s node.
fn applies(entry: &RegistrationEntry, agent: &AgentRecord) -> bool {
    entry.parent_id.is_server()
        && is_in_own_domain(entry, agent)
        && !entry.selectors.is_empty()
        && entry.selectors.is_subset(&agent.selectors)
}

fn is_in_own_domain(entry: &RegistrationEntry, agent: &AgentRecord) -> bool {
    let own = agent.spiffe_id.trust_domain();
    entry.spiffe_id.trust_domain() == own && entry.parent_id.trust_domain() == own
}
