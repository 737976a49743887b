//! Owns the question which entries an agent may see and sign for.
//!
//! It starts with the agent's own SPIFFE ID and those of the node aliases that apply to it, and
//! goes on to the children of every entry found. An alias, an entry below the server's ID, is not
//! itself among them. Every step is an index lookup; cycles end.

use std::collections::HashSet;
use std::sync::Arc;

use identity::entry::{EntryId, RegistrationEntry};
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;
use raft_store::{AgentRecord, State};

/// All entries that `agent` is authorized for.
pub fn authorized(state: &State, agent: &AgentRecord) -> Vec<Arc<RegistrationEntry>> {
    let mut found = Vec::new();
    let mut seen_parents = HashSet::new();
    let mut parents = roots(state, agent);
    while let Some(parent) = parents.pop() {
        let mut children = state.entries_by_parent(&parent, None).peekable();
        if children.peek().is_none() || !seen_parents.insert(parent.clone()) {
            continue;
        }
        for (_, child) in children {
            if is_in_domain(child, agent.spiffe_id.trust_domain()) {
                parents.push(child.spiffe_id.clone());
                found.push(Arc::clone(child));
            }
        }
    }
    found
}

/// The SPIFFE IDs below which everything is `agent`'s: its own, and those of the node aliases that
/// apply to it. Sorted, each once.
pub(crate) fn roots(state: &State, agent: &AgentRecord) -> Vec<SpiffeId> {
    let mut roots = aliases(state, agent);
    roots.push(agent.spiffe_id.clone());
    roots.sort();
    roots.dedup();
    roots
}

/// The entry `id`, if `agent` is authorized for it.
pub fn authorized_entry(
    state: &State,
    agent: &AgentRecord,
    id: &EntryId,
) -> Option<Arc<RegistrationEntry>> {
    let entry = state.entry(id)?;
    let own = agent.spiffe_id.trust_domain();
    let mut seen = HashSet::new();
    let mut parents = vec![entry.parent_id.clone()];
    if !is_in_domain(entry, own) {
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
        for (_, above) in state.entries_by_spiffe_id(&parent, None) {
            if applies(above, agent) {
                return Some(Arc::clone(entry));
            }
            if is_in_domain(above, own) && seen.insert(above.parent_id.clone()) {
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
        .entries_by_parent(&server, None)
        .filter(|(_, entry)| applies(entry, agent))
        .map(|(_, entry)| entry.spiffe_id.clone())
        .collect()
}

/// Whether `entry` is a node alias of `agent`'s node.
pub(crate) fn applies(entry: &RegistrationEntry, agent: &AgentRecord) -> bool {
    entry.parent_id.is_server()
        && is_in_domain(entry, agent.spiffe_id.trust_domain())
        && !entry.selectors.is_empty()
        && entry.selectors.is_subset(&agent.selectors)
}

/// Whether `entry` is one of the trust domain `own`, which is all that agents are given.
pub(crate) fn is_in_domain(entry: &RegistrationEntry, own: &TrustDomain) -> bool {
    entry.spiffe_id.trust_domain() == own && entry.parent_id.trust_domain() == own
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use identity::clock::UnixTime;
    use identity::selector::Selector;
    use identity::trust_domain::TrustDomain;
    use raft_store::{CreateEntries, Proposal, Store};

    use crate::entries::testing::entry;
    use crate::testing::{NOW, TestStore};

    use super::*;

    const SERVER: &str = "/spire/server";

    fn agent(selectors: &[&str]) -> AgentRecord {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        AgentRecord {
            spiffe_id: SpiffeId::from_parts(&trust_domain, "/spire/agent/x/1").unwrap(),
            attestation_type: "x".into(),
            serial: "1".into(),
            not_after: UnixTime::from_secs(i64::MAX),
            new_serial: "".into(),
            new_not_after: None,
            can_reattest: true,
            agent_version: "".into(),
            selectors: selectors
                .iter()
                .map(|selector| Selector::parse(selector).unwrap())
                .collect(),
            admission: None,
        }
    }

    /// Paths of the entries that are authorized, found both ways: downwards from the agent, and
    /// upwards from each entry there is.
    fn authorized_paths(store: &Store, agent: &AgentRecord) -> BTreeSet<String> {
        store.read(|state| {
            let mut down: Vec<_> = authorized(state, agent);
            let mut up: Vec<_> = state
                .entries_after(None)
                .filter_map(|(_, entry)| authorized_entry(state, agent, &entry.id))
                .collect();
            down.sort_by_key(|entry| entry.id.clone());
            up.sort_by_key(|entry| entry.id.clone());
            assert_eq!(down, up);
            down.iter()
                .map(|entry| entry.spiffe_id.path().to_owned())
                .collect()
        })
    }

    async fn check(entries: &[(&str, &str, &[&str])], agent: &AgentRecord, expected: &[&str]) {
        let test_store = TestStore::create().await;
        let entries = entries
            .iter()
            .map(|(path, parent, selectors)| entry(path, parent, selectors))
            .collect();
        test_store
            .store
            .propose(CreateEntries { entries }, Proposal::new(NOW))
            .await
            .unwrap();
        let expected = expected.iter().copied().map(str::to_owned).collect();
        assert_eq!(authorized_paths(&test_store.store, agent), expected);
    }

    #[tokio::test]
    async fn alias_hands_on_its_children_if_the_node_has_all_its_selectors() {
        let entries: &[(&str, &str, &[&str])] = &[
            ("/fleet", SERVER, &["x:a"]),
            ("/other", SERVER, &["x:a", "x:z"]),
            ("/web", "/fleet", &["unix:uid:1"]),
            ("/sidecar", "/web", &["unix:uid:2"]),
            ("/not-here", "/other", &["unix:uid:1"]),
        ];
        check(entries, &agent(&["x:a", "x:b"]), &["/web", "/sidecar"]).await;
        check(entries, &agent(&["x:b"]), &[]).await;
        check(entries, &agent(&[]), &[]).await;
    }

    #[tokio::test]
    async fn own_children_and_theirs_are_authorized_and_cycles_end() {
        let agent_path = "/spire/agent/x/1";
        let entries: &[(&str, &str, &[&str])] = &[
            ("/a", agent_path, &["a:1"]),
            ("/b", "/a", &["a:1"]),
            ("/a", "/b", &["a:2"]),
            ("/stranger", "/d", &["a:1"]),
            ("/d", "/stranger", &["a:1"]),
            ("/b", "/d", &["a:1"]),
            ("/elsewhere", "/spire/agent/x/2", &["a:1"]),
        ];
        check(entries, &agent(&[]), &["/a", "/b"]).await;
    }

    #[tokio::test]
    async fn entry_that_several_ways_lead_to_is_found_once() {
        let agent_path = "/spire/agent/x/1";
        let entries: &[(&str, &str, &[&str])] = &[
            ("/fleet", SERVER, &["x:a"]),
            ("/fleet", SERVER, &["x:b"]),
            ("/fleet", agent_path, &["x:b"]),
            ("/web", "/fleet", &["unix:uid:1"]),
        ];
        check(entries, &agent(&["x:a", "x:b"]), &["/fleet", "/web"]).await;
    }
}
