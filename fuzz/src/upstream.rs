//! What stands above a server: the certificates that an upstream signed, and the identity that an agent's Workload
//! API has for this server.

use std::sync::LazyLock;

use identity::bundle::X509Authority;
use identity::testing::TestPki;
use identity::x509::CertificateInfo;
use prost::Message as _;
use proto::workload::{X509svid, X509svidResponse};
use rustls_pki_types::CertificateDer;
use server::ca::is_usable;
use server::upstream::{Minted, is_identity};

use crate::input::{Input, join, plain};
use crate::world::{AUTHORITY, KEY, NOW, OWN};

/// A byte that says what follows: an answer of the Workload API, or what an upstream signed.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 2 {
        0 => minted(input),
        _ => {
            if let Ok(update) = X509svidResponse::decode(input.rest()) {
                is_identity(update, &OWN);
            }
        }
    }
}

/// How many certificates are the chain, then all of them.
fn minted(mut input: Input<'_>) {
    let chain_len = usize::from(input.byte());
    let mut chain: Vec<_> = input
        .pieces(MAX_CERTIFICATES)
        .into_iter()
        .map(|der| CertificateDer::from(der.to_vec()))
        .collect();
    let roots = chain.split_off(chain_len.min(chain.len()));
    let roots = roots.into_iter().map(|certificate| X509Authority {
        certificate,
        tainted: false,
    });
    let minted = Minted {
        chain: chain.clone(),
        roots: roots.collect(),
    };
    if is_usable(minted, &KEY, &OWN, NOW) {
        let own = CertificateInfo::parse(&chain[0]).expect("what is usable can be read");
        assert!(own.is_ca && own.is_valid_at(NOW));
        assert_eq!(own.public_key_der, KEY.public_key_der());
    }
}

const MAX_CERTIFICATES: usize = 16;

static ROOT: LazyLock<TestPki> = LazyLock::new(|| TestPki::root("root", NOW));

/// An authority below a root, and below one in between; the identity of a server.
pub fn seeds() -> Vec<Vec<u8>> {
    let between = ROOT.below("between");
    let [direct, deep] = [&*ROOT, &between].map(|above| above.below_with("own", KEY.clone()));
    let root = ROOT.certificate();
    let svid = AUTHORITY.x509_svid("/below");
    let update = X509svidResponse {
        svids: vec![X509svid {
            spiffe_id: svid.spiffe_id().to_string(),
            x509_svid: svid.chain().iter().flat_map(|one| one.to_vec()).collect(),
            x509_svid_key: svid.key().pkcs8().expose().to_vec(),
            bundle: AUTHORITY.bundle().x509_authorities[0].certificate.to_vec(),
            hint: String::new(),
        }],
        ..X509svidResponse::default()
    };
    vec![
        join(&[0, 1], [direct.certificate(), root]),
        join(&[0, 2], [deep.certificate(), between.certificate(), root]),
        plain(&[1], update.encode_to_vec()),
    ]
}
