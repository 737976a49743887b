//! Good requests of every service, from those who may make them.

use prost::Message as _;
use proto::spire::api::server::{agent, bundle, entry, svid};
use proto::spire::api::types;

use super::{LOCAL, METHODS, NOBODY, STREAMS, attest, attest_request, csr};
use crate::input::{join, plain};
use crate::wire;
use crate::world::AUTHORITY;

/// Each RPC with nothing, and those that take much with a good request.
pub fn seeds() -> Vec<Vec<u8>> {
    let with_nothing = (0..METHODS.len())
        .filter_map(|number| u8::try_from(number).ok())
        .flat_map(|number| {
            [
                vec![number, LOCAL],
                vec![number, 4],
                vec![number, NOBODY, 0, 0],
            ]
        });
    let good = [of_agents(), of_entries(), of_lists(), of_signing()].concat();
    let good = good.into_iter().map(|(name, role, message)| {
        let path = format!("/spire.api.server.{name}");
        let number = METHODS.iter().position(|known| *known == path);
        let number = number.and_then(|number| u8::try_from(number).ok());
        let start = [number.unwrap_or_else(|| panic!("no RPC {path}")), role];
        match STREAMS.contains(&&*path) {
            true => join(&start, [message]),
            false => plain(&start, message),
        }
    });
    with_nothing.chain(good).collect()
}

/// An RPC behind `spire.api.server.`, who calls it, and a message that it takes.
type Good = (&'static str, u8, Vec<u8>);

fn of_agents() -> Vec<Good> {
    const ATTEST: &str = "agent.v1.Agent/AttestAgent";
    let evidence = proto::attestation::x509pop::Evidence {
        certificates: AUTHORITY.x509_svid("/node").chain().to_vec(),
    };
    let x509pop = attest("x509pop", evidence.to_payload());
    let renew = agent::v1::RenewAgentRequest {
        params: Some(agent::v1::AgentX509svidParams { csr: csr() }),
    };
    vec![
        (ATTEST, NOBODY, attest_request("seed").encode_to_vec()),
        (ATTEST, NOBODY, x509pop.encode_to_vec()),
        ("agent.v1.Agent/RenewAgent", 4, renew.encode_to_vec()),
    ]
}

fn of_entries() -> Vec<Good> {
    let create = entry::v1::BatchCreateEntryRequest {
        entries: vec![wire::entry("/a"), wire::entry("/b")],
        output_mask: Some(types::EntryMask::default()),
    };
    let update = entry::v1::BatchUpdateEntryRequest {
        entries: create.entries.clone(),
        ..entry::v1::BatchUpdateEntryRequest::default()
    };
    let delete = entry::v1::BatchDeleteEntryRequest {
        ids: vec!["entry-1".to_owned(), String::new()],
    };
    [
        ("entry.v1.Entry/BatchCreateEntry", 2, create.encode_to_vec()),
        (
            "entry.v1.Entry/BatchUpdateEntry",
            LOCAL,
            update.encode_to_vec(),
        ),
        (
            "entry.v1.Entry/BatchDeleteEntry",
            LOCAL,
            delete.encode_to_vec(),
        ),
    ]
    .to_vec()
}

/// The messages of `wire` that are requests, and a bundle.
fn of_lists() -> Vec<Good> {
    let requests = wire::seeds();
    let mut good: Vec<Good> = requests
        .iter()
        .filter_map(|seed| {
            let (kind, message) = seed.split_first()?;
            let name = match kind {
                5 => "bundle.v1.Bundle/AppendBundle",
                6 => "entry.v1.Entry/ListEntries",
                7 => "agent.v1.Agent/ListAgents",
                _ => return None,
            };
            Some((name, 2, message.to_vec()))
        })
        .collect();
    let mut other = proto::convert::bundle::to_wire(&AUTHORITY.bundle(), None);
    other.trust_domain = "other.org".to_owned();
    let set = bundle::v1::BatchSetFederatedBundleRequest {
        bundle: vec![other],
        output_mask: None,
    };
    let name = "bundle.v1.Bundle/BatchSetFederatedBundle";
    good.push((name, LOCAL, set.encode_to_vec()));
    good
}

fn of_signing() -> Vec<Good> {
    let mint = svid::v1::MintX509svidRequest {
        csr: csr(),
        ttl: 60,
    };
    let jwt = svid::v1::MintJwtsvidRequest {
        id: wire::entry("/w").spiffe_id,
        audience: vec!["a".to_owned()],
        ttl: 60,
    };
    let batch = svid::v1::BatchNewX509svidRequest {
        params: vec![svid::v1::NewX509svidParams {
            entry_id: "entry-1".to_owned(),
            csr: csr(),
        }],
    };
    let down = svid::v1::NewDownstreamX509caRequest {
        csr: csr(),
        preferred_ttl: 60,
    };
    vec![
        ("svid.v1.SVID/MintX509SVID", LOCAL, mint.encode_to_vec()),
        ("svid.v1.SVID/MintJWTSVID", LOCAL, jwt.encode_to_vec()),
        ("svid.v1.SVID/BatchNewX509SVID", 4, batch.encode_to_vec()),
        ("svid.v1.SVID/NewDownstreamX509CA", 3, down.encode_to_vec()),
    ]
}
