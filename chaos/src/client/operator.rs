//! What an administrator does, over an admin socket or over TLS.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use identity::{
    bundle::Bundle,
    dns_name::DnsName,
    pem::encode_certificates,
    secret::{KeyType, PrivateKey},
    spiffe_id::SpiffeId,
    trust_domain::TrustDomain,
    x509::generate_csr,
    x509_svid::X509Svid,
};
use proto::{
    convert,
    spire::api::{
        server::{
            agent::v1::{CreateJoinTokenRequest, ListAgentsRequest, agent_client::AgentClient},
            bundle::v1::{GetBundleRequest, bundle_client::BundleClient},
            entry::v1::{
                BatchCreateEntryRequest, BatchDeleteEntryRequest, BatchUpdateEntryRequest,
                CountEntriesRequest, GetEntryRequest, ListEntriesRequest,
                entry_client::EntryClient,
            },
            svid::v1::{MintX509svidRequest, svid_client::SvidClient},
        },
        types::{Agent, Entry, EntryMask, Selector, Spiffeid},
    },
};
use rustls_pki_types::CertificateDer;
use tonic::{Code, transport::Channel};

use super::{Outcome, within};
use crate::cluster::config::TRUST_DOMAIN;

/// The calls of one administrator; a clone shares the connection.
#[derive(Clone, Debug)]
pub struct Operator(Channel);

/// A client that waits longer than the server's own deadline for a write, so that no answer is cut off.
pub const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// Pages and batches of a thousand entries are larger than the usual limit.
const MAX_ANSWER_LEN_BYTES: usize = 64 << 20;
const PAGE_LEN: i32 = 1_000;

impl Operator {
    /// Calls through `channel`.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self(channel)
    }

    /// A join token, for an agent that also gets the id of `path`.
    ///
    /// # Errors
    /// The server makes none.
    pub async fn join_token(&self, ttl_s: i32, path: Option<&str>) -> anyhow::Result<String> {
        let request = CreateJoinTokenRequest {
            ttl: ttl_s,
            token: String::new(),
            agent_id: path.map(wire_id),
        };
        let mut client = AgentClient::new(self.0.clone());
        let token = within(CALL_DEADLINE, client.create_join_token(request)).await;
        Ok(token.required().context("no join token")?.value)
    }

    /// The bundle of the trust domain.
    ///
    /// # Errors
    /// The server gives none.
    pub async fn bundle(&self) -> anyhow::Result<Arc<Bundle>> {
        let mut client = BundleClient::new(self.0.clone());
        let bundle = within(
            CALL_DEADLINE,
            client.get_bundle(GetBundleRequest::default()),
        )
        .await;
        let bundle = bundle.required().context("no bundle")?;
        Ok(Arc::new(convert::bundle::received(&bundle)?))
    }

    /// The X.509 authorities of the bundle in PEM.
    ///
    /// # Errors
    /// The server gives no bundle.
    pub async fn bundle_pem(&self) -> anyhow::Result<String> {
        let bundle = self.bundle().await?;
        let authorities = bundle.x509_authorities.iter();
        Ok(encode_certificates(
            authorities.map(|authority| &authority.certificate),
        ))
    }

    /// An X.509-SVID for `path`, made by the operator.
    ///
    /// # Errors
    /// The server mints none.
    pub async fn mint(&self, path: &str) -> anyhow::Result<X509Svid> {
        self.mint_named(path, &[]).await
    }

    /// As [`Operator::mint`], with these names of hosts in it.
    ///
    /// # Errors
    /// The server mints none.
    pub async fn mint_named(&self, path: &str, hosts: &[DnsName]) -> anyhow::Result<X509Svid> {
        let trust_domain = TrustDomain::parse(TRUST_DOMAIN)?;
        let id = SpiffeId::from_parts(&trust_domain, path)?;
        let key = PrivateKey::generate(KeyType::EcP256)?;
        let csr = generate_csr(&key, Some(&id), hosts)?;
        let mut client = SvidClient::new(self.0.clone());
        let call = client.mint_x509svid(MintX509svidRequest { csr, ttl: 0 });
        let minted = within(CALL_DEADLINE, call).await.required()?;
        let chain = minted.svid.context("no SVID in the answer")?.cert_chain;
        Ok(X509Svid::new(
            chain.into_iter().map(CertificateDer::from).collect(),
            key,
        )?)
    }

    /// Creates one entry and returns it as the server has it.
    pub async fn create(&self, entry: Entry) -> Outcome<Entry> {
        self.create_all(vec![entry])
            .await
            .and_then(|mut all| match all.pop() {
                Some(one) => one,
                None => Outcome::Undecided("an empty answer".to_owned()),
            })
    }

    /// Creates entries in one call.
    pub async fn create_all(&self, entries: Vec<Entry>) -> Outcome<Vec<Outcome<Entry>>> {
        let request = BatchCreateEntryRequest {
            entries,
            output_mask: None,
        };
        let mut client = self.entries();
        let answer = within(CALL_DEADLINE, client.batch_create_entry(request)).await;
        answer.and_then(|answer| {
            let results = answer.results.into_iter();
            Outcome::Done(
                results
                    .map(|result| item(result.status, result.entry))
                    .collect(),
            )
        })
    }

    /// Replaces the hint of an entry.
    pub async fn set_hint(&self, id: &str, hint: String) -> Outcome<Entry> {
        let request = BatchUpdateEntryRequest {
            entries: vec![Entry {
                id: id.to_owned(),
                hint,
                ..Entry::default()
            }],
            input_mask: Some(EntryMask {
                hint: true,
                ..EntryMask::default()
            }),
            output_mask: None,
        };
        let mut client = self.entries();
        let answer = within(CALL_DEADLINE, client.batch_update_entry(request)).await;
        answer.and_then(|mut answer| match answer.results.pop() {
            Some(result) => item(result.status, result.entry),
            None => Outcome::Undecided("an empty answer".to_owned()),
        })
    }

    /// Deletes entries.
    pub async fn delete(&self, ids: Vec<String>) -> Outcome<()> {
        let mut client = self.entries();
        let call = client.batch_delete_entry(BatchDeleteEntryRequest { ids });
        within(CALL_DEADLINE, call)
            .await
            .and_then(|_results| Outcome::Done(()))
    }

    /// The entry with `id`.
    pub async fn entry(&self, id: &str) -> Outcome<Entry> {
        let request = GetEntryRequest {
            id: id.to_owned(),
            output_mask: None,
        };
        within(CALL_DEADLINE, self.entries().get_entry(request)).await
    }

    /// How many entries there are.
    ///
    /// # Errors
    /// The server does not say.
    pub async fn count(&self) -> anyhow::Result<usize> {
        let mut client = self.entries();
        let answer = within(
            CALL_DEADLINE,
            client.count_entries(CountEntriesRequest::default()),
        )
        .await;
        Ok(usize::try_from(answer.required()?.count)?)
    }

    /// Every entry.
    ///
    /// # Errors
    /// The server does not list them.
    pub async fn list(&self) -> anyhow::Result<Vec<Entry>> {
        let mut all = Vec::new();
        let mut request = ListEntriesRequest {
            page_size: PAGE_LEN,
            ..ListEntriesRequest::default()
        };
        loop {
            let call = within(CALL_DEADLINE, self.entries().list_entries(request.clone())).await;
            let page = call.required().context("entries are not listed")?;
            all.extend(page.entries);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Every agent.
    ///
    /// # Errors
    /// The server does not list them.
    pub async fn agents(&self) -> anyhow::Result<Vec<Agent>> {
        let mut client =
            AgentClient::new(self.0.clone()).max_decoding_message_size(MAX_ANSWER_LEN_BYTES);
        let answer = within(
            CALL_DEADLINE,
            client.list_agents(ListAgentsRequest::default()),
        )
        .await;
        Ok(answer.required().context("agents are not listed")?.agents)
    }

    fn entries(&self) -> EntryClient<Channel> {
        EntryClient::new(self.0.clone()).max_decoding_message_size(MAX_ANSWER_LEN_BYTES)
    }
}

fn item(status: Option<proto::spire::api::types::Status>, entry: Option<Entry>) -> Outcome<Entry> {
    let status = status.unwrap_or_default();
    match (Code::from_i32(status.code), entry) {
        (Code::Ok, Some(entry)) => Outcome::Done(entry),
        (code, _) => Outcome::of_failure(code, &status.message),
    }
}

/// An id of the run's trust domain.
#[must_use]
pub fn wire_id(path: &str) -> Spiffeid {
    Spiffeid {
        trust_domain: TRUST_DOMAIN.to_owned(),
        path: path.to_owned(),
    }
}

/// An entry for `path` below `parent_path`, for the processes that `selector` matches.
#[must_use]
pub fn entry(path: &str, parent_path: &str, selector: (&str, &str)) -> Entry {
    Entry {
        spiffe_id: Some(wire_id(path)),
        parent_id: Some(wire_id(parent_path)),
        selectors: vec![Selector {
            r#type: selector.0.to_owned(),
            value: selector.1.to_owned(),
        }],
        ..Entry::default()
    }
}

/// An entry for `path` whose workloads are the processes of the calling user.
#[must_use]
pub fn own_entry(path: &str, parent_path: &str) -> Entry {
    let uid = rustix::process::getuid().as_raw();
    entry(path, parent_path, ("unix", &format!("uid:{uid}")))
}
