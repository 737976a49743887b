//! Key sets: SPIFFE bundle documents, and the plain sets of the Workload API and OpenID Connect.

use identity::bundle::{Bundle, JwtAuthority, KeyUse, jwt_authorities_from_jwks, openid_jwks};
use identity::secret::{KeyType, PrivateKey};

use crate::world::{AUTHORITY, OWN};

/// One document.
pub fn run(data: &[u8]) {
    if let Ok(bundle) = Bundle::from_spiffe_jwks(&OWN, data) {
        written_again(&bundle);
    }
    if let Ok(authorities) = jwt_authorities_from_jwks(data) {
        for key_use in [KeyUse::Unsaid, KeyUse::Signature] {
            let again = jwt_authorities_from_jwks(&openid_jwks(&authorities, key_use));
            assert_eq!(again.ok().as_ref(), Some(&authorities));
        }
    }
}

fn written_again(bundle: &Bundle) {
    let json = bundle.to_spiffe_jwks();
    match Bundle::from_spiffe_jwks(&OWN, json.as_bytes()) {
        Ok(again) => {
            assert_eq!(again.jwt_authorities, bundle.jwt_authorities);
            assert_eq!(again.sequence, bundle.sequence);
            assert_eq!(again.refresh_hint_s, bundle.refresh_hint_s);
            // A root with a key that JOSE has no name for is left out.
            let mut roots = again.x509_authorities.iter();
            assert!(roots.all(|root| bundle.x509_authorities.contains(root)));
        }
        // Nothing is left that JOSE has a name for: `null`, as SPIRE writes it.
        Err(_) => assert!(bundle.jwt_authorities.is_empty(), "{json}"),
    }
    let plain = jwt_authorities_from_jwks(&bundle.jwt_jwks());
    assert_eq!(plain.ok().as_ref(), Some(&bundle.jwt_authorities));
}

/// A document with roots and keys of each kind, in each form.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut bundle = AUTHORITY.bundle();
    bundle.refresh_hint_s = 300;
    for (key_id, kind) in [("p384", KeyType::EcP384), ("rsa", KeyType::Rsa2048)] {
        let key = PrivateKey::generate(kind).expect("a key is made");
        bundle.jwt_authorities.push(JwtAuthority {
            key_id: key_id.into(),
            public_key: key.public_key_der().to_vec(),
            expires_at: None,
            tainted: false,
        });
    }
    let ed25519 = r#"{"keys":[{"use":"jwt-svid","kty":"OKP","crv":"Ed25519","kid":"e","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    vec![
        bundle.to_spiffe_jwks().into_bytes(),
        bundle.jwt_jwks(),
        openid_jwks(&bundle.jwt_authorities, KeyUse::Signature),
        ed25519.as_bytes().to_vec(),
        br#"{"keys":null,"spiffe_sequence":18446744073709551615,"spiffe_refresh_hint":-1}"#
            .to_vec(),
    ]
}
