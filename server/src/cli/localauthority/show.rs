//! The three slots of one kind, as `show` prints them.

use proto::spire::api::server::localauthority::v1::AuthorityState;

use super::block::Block;

/// The authorities of one kind.
pub(super) struct Slots<'a> {
    pub(super) active: Option<&'a AuthorityState>,
    pub(super) prepared: Option<&'a AuthorityState>,
    pub(super) old: Option<&'a AuthorityState>,
}

impl Slots<'_> {
    /// A paragraph each, also about those that are not there.
    pub(super) fn paragraphs(&self, block: Block) -> String {
        let kind = block.kind();
        let paragraph = |title: &str, slot: Option<&AuthorityState>| {
            let body = slot.map_or_else(
                || format!("  No {} {kind} authority found\n", title.to_lowercase()),
                |authority| block.of(authority),
            );
            format!("{title} {kind} authority:\n{body}")
        };
        [
            paragraph("Active", self.active),
            paragraph("Prepared", self.prepared),
            paragraph("Old", self.old),
        ]
        .join("\n")
    }
}
