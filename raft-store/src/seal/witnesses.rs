//! What was wrapped before, and holds the seal provider to the key that it was wrapped with.
//!
//! A provider's key may be replaced while the store runs. What was wrapped with another key opens at no
//! member, so nothing is wrapped, and no key handed out, that does not open what is there.

use identity::secret::SecretBytes;

use super::ring::context;
use super::{FileSeal, SealProvider, SealProviderError, Wrapped};
use crate::state::State;

/// Every data key of a state, as it was wrapped.
pub(crate) struct Witnesses(Vec<Wrapped>);

impl Witnesses {
    /// All that a start would open.
    pub(crate) fn of(state: &State) -> Self {
        let wrapped = state.data_keys().map(|key| Wrapped {
            context: context(key.id),
            bytes: key.wrapped.clone(),
        });
        Self(wrapped.collect())
    }

    /// Wraps with the key that wrapped these.
    pub(crate) fn wrap(
        &self,
        provider: &dyn SealProvider,
        context: &[u8],
        key: &SecretBytes,
    ) -> Result<Vec<u8>, SealProviderError> {
        provider.wrap_like(&self.0, context, key)
    }

    /// Whether the provider holds the key that wrapped these.
    pub(crate) fn check(&self, provider: &dyn SealProvider) -> Result<(), SealProviderError> {
        let opens = |one: &Wrapped| provider.unwrap(&one.context, &one.bytes).map(drop);
        self.0.iter().try_for_each(opens)
    }

    /// The key that wrapped these.
    pub(crate) fn export(&self, seal: &FileSeal) -> Result<SecretBytes, SealProviderError> {
        seal.export(&self.0)
    }
}
