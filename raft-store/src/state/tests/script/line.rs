//! One line of a script, taken apart into what commands are made of.

use std::collections::BTreeMap;

use identity::bundle::{JwtAuthority, X509Authority};
use identity::clock::UnixTime;
use identity::selector::{Selector, SelectorSet};
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;
use rustls_pki_types::CertificateDer;

use crate::record::{MemberProfile, Sealed};

pub(super) struct Line<'a> {
    pub(super) words: Vec<&'a str>,
    pub(super) options: BTreeMap<&'a str, &'a str>,
}

impl Line<'_> {
    pub(super) fn word(&self, index: usize) -> &str {
        self.words[index]
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.words.contains(&name)
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.options.get(name).map(|value| value.parse().unwrap())
    }

    pub(super) fn unsigned(&self, name: &str) -> Option<u64> {
        self.options.get(name).map(|value| value.parse().unwrap())
    }

    pub(super) fn seconds(&self, name: &str) -> u32 {
        self.options
            .get(name)
            .map_or(0, |secs| secs.parse().unwrap())
    }

    /// The names of a list, of which those with a `!` behind them are marked.
    pub(super) fn marked(&self, name: &str) -> impl Iterator<Item = (&str, bool)> {
        self.list(name).into_iter().map(|one| {
            let unmarked = one.strip_suffix('!');
            (unmarked.unwrap_or(one), unmarked.is_some())
        })
    }

    /// A range of formats, `oldest-newest`.
    pub(super) fn formats(&self) -> std::ops::RangeInclusive<u32> {
        let formats = self.options.get("formats").copied().unwrap_or("1-1");
        let (oldest, newest) = formats.split_once('-').unwrap();
        oldest.parse().unwrap()..=newest.parse().unwrap()
    }

    pub(super) fn profile(&self) -> MemberProfile {
        MemberProfile {
            peer_address: self.text("peer"),
            api_address: self.text("api"),
            program_version: "1.0".into(),
            formats: self.formats(),
        }
    }

    pub(super) fn text(&self, name: &str) -> Box<str> {
        self.options.get(name).copied().unwrap_or_default().into()
    }

    pub(super) fn sealed(&self) -> Sealed {
        Sealed {
            key_id: self.options.get("key").map_or(1, |id| id.parse().unwrap()),
            nonce: [0; 12],
            ciphertext: vec![1],
        }
    }

    pub(super) fn time(&self, name: &str) -> UnixTime {
        UnixTime::from_secs(self.number(name).unwrap_or(9000))
    }

    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        let list = self.options.get(name).copied().unwrap_or_default();
        list.split(',').filter(|item| !item.is_empty()).collect()
    }

    pub(super) fn x509(&self) -> Vec<X509Authority> {
        let certificate = |name: &&str| X509Authority {
            certificate: CertificateDer::from(name.as_bytes().to_vec()),
            tainted: false,
        };
        self.list("x509").iter().map(certificate).collect()
    }

    pub(super) fn jwt(&self) -> Vec<JwtAuthority> {
        let key = |name: &&str| JwtAuthority {
            key_id: (*name).into(),
            public_key: name.as_bytes().to_vec(),
            expires_at: Some(self.time("expires")),
            tainted: false,
        };
        self.list("jwt").iter().map(key).collect()
    }
}

pub(super) fn id(path: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org/{path}")).unwrap()
}

pub(super) fn trust_domain(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

pub(super) fn selectors(list: &[&str]) -> SelectorSet {
    list.iter()
        .map(|text| Selector::parse(text).unwrap())
        .collect()
}
