//! Tokens that can be given out again. Bounded; no clock, no I/O.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use identity::clock::UnixTime;
use identity::spiffe_id::SpiffeId;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::client::JwtAnswer;

/// A token and its times.
pub struct CachedToken {
    token: Zeroizing<String>,
    key_id: Option<String>,
    issued_at: UnixTime,
    expires_at: UnixTime,
}

impl CachedToken {
    /// Takes over what the server issued.
    pub fn new(answer: JwtAnswer) -> Self {
        Self {
            key_id: key_id(&answer.token),
            token: answer.token,
            issued_at: answer.issued_at,
            expires_at: answer.expires_at,
        }
    }

    /// The token, which is a secret.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// When it was issued.
    pub fn issued_at(&self) -> UnixTime {
        self.issued_at
    }

    /// When it ends.
    pub fn expires_at(&self) -> UnixTime {
        self.expires_at
    }

    /// When a newer one should be asked for: at half of its life.
    pub fn refresh_at(&self) -> UnixTime {
        let lifetime = self.expires_at.saturating_duration_since(self.issued_at);
        self.issued_at.saturating_add(lifetime / 2)
    }
}

/// Whose token for whom.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TokenKey {
    spiffe_id: SpiffeId,
    audience: Box<[String]>,
}

impl TokenKey {
    /// The order of the audience does not matter.
    pub fn new(spiffe_id: &SpiffeId, audience: &[String]) -> Self {
        let mut audience: Box<[String]> = audience.into();
        audience.sort_unstable();
        Self {
            spiffe_id: spiffe_id.clone(),
            audience,
        }
    }
}

/// Up to a fixed number of tokens; the one used longest ago goes first.
pub struct TokenCache {
    max_tokens: usize,
    tokens: HashMap<TokenKey, Slot>,
    /// What these keys sign is not kept.
    tainted: HashSet<Box<str>>,
    uses: u64,
}

struct Slot {
    token: Arc<CachedToken>,
    last_used: u64,
}

impl TokenCache {
    /// A cache of up to `max_tokens`.
    pub fn new(max_tokens: usize) -> Self {
        Self {
            max_tokens,
            tokens: HashMap::new(),
            tainted: HashSet::new(),
            uses: 0,
        }
    }

    /// The token, which may have ended.
    pub fn get(&mut self, key: &TokenKey) -> Option<Arc<CachedToken>> {
        self.uses += 1;
        let slot = self.tokens.get_mut(key)?;
        slot.last_used = self.uses;
        Some(Arc::clone(&slot.token))
    }

    /// Keeps a token; makes room by dropping those that ended by `now`, else the one used longest
    /// ago.
    pub fn insert(&mut self, key: TokenKey, token: Arc<CachedToken>, now: UnixTime) {
        let is_tainted = |key_id: &String| self.tainted.contains(key_id.as_str());
        if self.max_tokens == 0 || token.key_id.as_ref().is_some_and(is_tainted) {
            return;
        }
        if !self.tokens.contains_key(&key) && self.tokens.len() >= self.max_tokens {
            self.make_room(now);
        }
        self.uses += 1;
        let last_used = self.uses;
        self.tokens.insert(key, Slot { token, last_used });
    }

    fn make_room(&mut self, now: UnixTime) {
        self.tokens.retain(|_, slot| now < slot.token.expires_at);
        if self.tokens.len() < self.max_tokens {
            return;
        }
        let oldest = self.tokens.iter().min_by_key(|(_, slot)| slot.last_used);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.tokens.remove(&key);
        }
    }

    /// Keeps nothing from now on that one of these keys has signed: a server may have signed it before its key was
    /// tainted, and the answer come after.
    pub fn set_tainted(&mut self, key_ids: HashSet<Box<str>>) {
        self.tainted = key_ids;
    }

    /// Drops the tokens signed by this key, and says how many there were.
    pub fn drop_signed_by(&mut self, key_id: &str) -> usize {
        let before = self.tokens.len();
        self.tokens
            .retain(|_, slot| slot.token.key_id.as_deref() != Some(key_id));
        before - self.tokens.len()
    }

    /// How many tokens are held.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// The `kid` in the header of a token.
fn key_id(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Header {
        kid: String,
    }
    let header = token.split('.').next()?;
    let header = BASE64_URL_SAFE_NO_PAD.decode(header).ok()?;
    Some(serde_json::from_slice::<Header>(&header).ok()?.kid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    fn key(path: &str, audience: &[&str]) -> TokenKey {
        let id = SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap();
        let audience: Vec<String> = audience.iter().map(ToString::to_string).collect();
        TokenKey::new(&id, &audience)
    }

    fn token(kid: &str, issued_at: i64, expires_at: i64) -> Arc<CachedToken> {
        let header = BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#));
        Arc::new(CachedToken::new(JwtAnswer {
            token: Zeroizing::new(format!("{header}.e30.c2ln")),
            issued_at: at(issued_at),
            expires_at: at(expires_at),
        }))
    }

    #[test]
    fn order_of_the_audience_does_not_matter() {
        let mut cache = TokenCache::new(2);
        cache.insert(key("/a", &["x", "y"]), token("k", 0, 100), at(0));
        assert!(cache.get(&key("/a", &["y", "x"])).is_some());
        assert!(cache.get(&key("/a", &["x"])).is_none());
        assert!(cache.get(&key("/b", &["x", "y"])).is_none());
    }

    #[test]
    fn token_is_refreshed_at_half_of_its_life() {
        assert_eq!(token("k", 100, 200).refresh_at(), at(150));
    }

    #[test]
    fn full_cache_drops_ended_tokens_then_the_one_used_longest_ago() {
        let mut cache = TokenCache::new(2);
        cache.insert(key("/ended", &["x"]), token("k", 0, 10), at(0));
        cache.insert(key("/a", &["x"]), token("k", 0, 100), at(0));
        cache.insert(key("/b", &["x"]), token("k", 0, 100), at(10));
        assert!(cache.get(&key("/ended", &["x"])).is_none());
        assert!(cache.get(&key("/a", &["x"])).is_some());
        cache.insert(key("/c", &["x"]), token("k", 0, 100), at(10));
        assert!(cache.get(&key("/b", &["x"])).is_none());
        assert!(cache.get(&key("/a", &["x"])).is_some());
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn tokens_of_a_tainted_key_are_dropped() {
        let mut cache = TokenCache::new(2);
        cache.insert(key("/a", &["x"]), token("old", 0, 100), at(0));
        cache.insert(key("/b", &["x"]), token("new", 0, 100), at(0));
        assert_eq!(cache.drop_signed_by("old"), 1);
        assert_eq!(cache.drop_signed_by("old"), 0);
        assert!(cache.get(&key("/a", &["x"])).is_none());
        assert!(cache.get(&key("/b", &["x"])).is_some());
    }

    #[test]
    fn token_that_comes_after_its_key_was_tainted_is_not_kept() {
        let mut cache = TokenCache::new(2);
        cache.set_tainted(["old".into()].into());
        cache.insert(key("/a", &["x"]), token("old", 0, 100), at(0));
        assert!(cache.get(&key("/a", &["x"])).is_none());
        cache.insert(key("/a", &["x"]), token("new", 0, 100), at(0));
        assert!(cache.get(&key("/a", &["x"])).is_some());
    }
}
