//! What the decoders make of foreign bytes, for the fuzz targets.

use std::path::Path;

use identity::selector::SelectorSet;

use super::cgroup::Cgroups;
use super::engine::{Engine, EngineError, decode, places};
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

/// The selectors of the container `id` as whoever listens on `socket` says them.
///
/// # Errors
/// He says none.
pub async fn described(socket: &Path, id: &str) -> Result<Option<SelectorSet>, EngineError> {
    let engine = Engine::new(socket.to_owned(), None, places());
    let container = engine.container(id).await?;
    let image_id = match &container.image {
        Some(image) => engine.image_id(image).await?,
        None => String::new(),
    };
    Ok(selectors(&container, &image_id).ok())
}
