//! A workload that speaks mutual TLS with others, by what its agent gives it at the moment.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use identity::{
    bundle::{Bundle, X509Authority},
    clock::SystemClock,
    hex,
    secret::PrivateKey,
    spiffe_id::SpiffeId,
    tls::{
        ClientPolicy, KeyExchange, SharedTlsMaterial, TlsMaterial, client_config, server_config,
    },
    x509::{CertificateInfo, split_certificates},
    x509_svid::X509Svid,
};
use proto::workload::X509svidResponse;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::workload::Workload;

/// A workload with an identity.
#[derive(Clone)]
pub struct Peer {
    /// Who it is.
    pub spiffe_id: SpiffeId,
    /// Where it listens.
    pub address: SocketAddr,
    material: SharedTlsMaterial,
    held: watch::Receiver<Held>,
}

/// What its agent gave it last.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// The id of the root that its SVID depends on, in hex.
    pub root: String,
    /// How many roots it believes.
    pub roots: usize,
}

/// What keeps a peer going until it is dropped.
pub struct Life {
    workload: Workload,
    listener: TcpListener,
    peer: Peer,
    shown: watch::Sender<Held>,
}

impl Peer {
    /// The workload of the calling user at the agent behind `socket`, and what has to run for it.
    ///
    /// # Errors
    /// The agent gives no SVID in time.
    pub async fn new(socket: &Path) -> anyhow::Result<(Self, Life)> {
        let workload = Workload::connect(socket).await?;
        let first = crate::load::wait_for("an SVID for a workload", FIRST, async || {
            workload.x509(CALL).await.done()
        })
        .await?;
        let (svid, bundle) = read(&first)?;
        let held = held(&svid, &bundle)?;
        let spiffe_id = svid.spiffe_id().clone();
        let material = TlsMaterial::new(Some(svid), [Arc::new(bundle)])?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (shown, seen) = watch::channel(held);
        let peer = Self {
            spiffe_id,
            address: listener.local_addr()?,
            material: SharedTlsMaterial::new(material),
            held: seen,
        };
        let life = Life {
            workload,
            listener,
            peer: peer.clone(),
            shown,
        };
        Ok((peer, life))
    }

    /// What it holds, as that changes.
    #[must_use]
    pub fn held(&self) -> watch::Receiver<Held> {
        self.held.clone()
    }

    /// One whole handshake with `other`: each side has believed the other when this is done.
    ///
    /// # Errors
    /// One of them did not, or not in time.
    pub async fn shake_hands(&self, other: &Self) -> anyhow::Result<()> {
        let clock = Arc::new(SystemClock);
        let config = client_config(
            self.material.clone(),
            other.spiffe_id.clone(),
            KeyExchange::Any,
            clock,
        )?;
        let connector = TlsConnector::from(Arc::new(config));
        let shake = async {
            let tcp = TcpStream::connect(other.address).await?;
            let name = ServerName::from(other.address.ip());
            let mut tls = connector.connect(name, tcp).await?;
            // Under TLS 1.3 a client learns only from an answer that it was believed.
            tls.write_all(&[1]).await?;
            tls.read_u8().await
        };
        let shaken = timeout(CALL, shake).await.context("no handshake in time")?;
        shaken
            .map(drop)
            .with_context(|| format!("{} with {}", self.spiffe_id.path(), other.spiffe_id.path()))
    }
}

impl Life {
    /// Follows the agent, and answers handshakes, until it is dropped.
    ///
    /// # Errors
    /// The agent ends the subscription or gives what cannot be used.
    pub async fn run(self) -> anyhow::Result<()> {
        tokio::try_join!(self.follow(), self.serve())?;
        Ok(())
    }

    async fn follow(&self) -> anyhow::Result<()> {
        let mut messages = self.workload.watch().await?;
        while let Some(message) = messages.message().await? {
            let (svid, bundle) = read(&message)?;
            let now = held(&svid, &bundle)?;
            let material = TlsMaterial::new(Some(svid), [Arc::new(bundle)])?;
            self.peer.material.replace(material);
            self.shown.send_replace(now);
        }
        anyhow::bail!("the agent ended the subscription")
    }

    async fn serve(&self) -> anyhow::Result<()> {
        let policy = ClientPolicy {
            trust_domain: self.peer.spiffe_id.trust_domain().clone(),
            foreign_ids: BTreeSet::new(),
        };
        let clock = Arc::new(SystemClock);
        let config = server_config(self.peer.material.clone(), policy, KeyExchange::Any, clock)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut answers = tokio::task::JoinSet::new();
        loop {
            let (tcp, _) = self.listener.accept().await?;
            let acceptor = acceptor.clone();
            // The client counts what fails.
            answers.spawn(async move {
                let mut tls = acceptor.accept(tcp).await?;
                let byte = tls.read_u8().await?;
                tls.write_all(&[byte]).await?;
                tls.shutdown().await
            });
            while answers.try_join_next().is_some() {}
        }
    }
}

fn read(message: &X509svidResponse) -> anyhow::Result<(X509Svid, Bundle)> {
    let given = message.svids.first().context("no SVID in the message")?;
    let key = PrivateKey::from_pkcs8(&given.x509_svid_key)?;
    let svid = X509Svid::new(split_certificates(&given.x509_svid)?, key)?;
    let roots = split_certificates(&given.bundle)?.into_iter();
    let bundle = Bundle {
        x509_authorities: roots.map(X509Authority::new).collect::<Result<_, _>>()?,
        ..Bundle::empty(svid.spiffe_id().trust_domain().clone())
    };
    Ok((svid, bundle))
}

fn held(svid: &X509Svid, bundle: &Bundle) -> anyhow::Result<Held> {
    let top = svid.chain().last().context("an empty chain")?;
    let root = CertificateInfo::parse(top)?.authority_key_id;
    let root = root.context("a certificate without its issuer's key id")?;
    Ok(Held {
        root: hex::lower(&root),
        roots: bundle.x509_authorities.len(),
    })
}

const FIRST: Duration = Duration::from_secs(60);
const CALL: Duration = Duration::from_secs(10);
