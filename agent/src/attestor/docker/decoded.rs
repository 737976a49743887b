//! What the decoders make of foreign bytes, for the fuzz targets.

use identity::selector::SelectorSet;

use super::cgroup::Cgroups;
use super::engine::decode;
use super::locator::Locator;
use super::mountinfo::container;
use super::selectors;

/// The container that the groups of a process name, and whether the claim stands with itself.
pub fn claim(text: &[u8], locator: &Locator) -> Option<(String, bool)> {
    let groups = Cgroups::parse(text).ok()?;
    groups.podman();
    groups.are_roots();
    let claim = groups.claim(locator).ok()??;
    let stands = claim.stands_with(&claim.clone());
    Some((claim.id, stands))
}

/// The container that mounts name.
pub fn own_container(text: &[u8]) -> Option<String> {
    container(text).ok()?
}

/// The selectors of a container as an engine describes it.
pub fn container_selectors(json: &[u8], image_id: &str) -> Option<SelectorSet> {
    let container = decode("/containers/id/json", json).ok()?;
    selectors(&container, image_id).ok()
}
