//! A member on its way: everything towards its peers, from before its store is open until the door
//! is.

use std::io;
use std::sync::Arc;

use anyhow::Context as _;
use daemon::supervisor::Shutdown;
use identity::clock::Clock;
use identity::tls::SharedTlsMaterial;
use raft_store::{FileSeal, Options, Start, Store};
use tokio::task::JoinSet;

use crate::ca::Ca;
use crate::config::{Cluster, Config};
use crate::peers::connector::Connector;
use crate::peers::identity::{IdentityFile, IdentityTask, PeerIdentity, first_material};
use crate::peers::join::{Admission, Invitations};
use crate::peers::listener::{Door, Listener};
use crate::peers::moves::Moves;
use crate::peers::runtime::PeerRuntime;
use crate::peers::start::{Beginning, begin};

/// A member whose address is bound and whose name is known, if it is not the first one.
#[derive(Debug)]
pub(crate) struct Arrival {
    runtime: PeerRuntime,
    listener: Listener,
    connector: Connector,
    material: SharedTlsMaterial,
    kept: Option<PeerIdentity>,
    start: Start,
    peer_address: String,
    api_address: String,
    seal: FileSeal,
    file: IdentityFile,
    clock: Arc<dyn Clock>,
}

/// A member that its peers can talk to.
pub(crate) struct Member {
    /// Keeps its certificate; to be run once the state is as new as the cluster's.
    pub(crate) identity: IdentityTask,
    /// Makes invites.
    pub(crate) invitations: Invitations,
    /// Must outlive the store.
    pub(crate) runtime: PeerRuntime,
}

impl Arrival {
    /// Binds the address and finds out who this member is; joins the cluster if it has yet to.
    ///
    /// # Errors
    /// What is in the way, with the way out.
    pub(crate) async fn new(
        config: &Config,
        cluster: &Cluster,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let listener = Listener::bind(&cluster.peer_address).await?;
        let Beginning { start, identity } = begin(config, cluster, Arc::clone(clock)).await?;
        let material = first_material(identity.as_ref())?;
        let seal = FileSeal::at(&config.seal_key_path);
        Ok(Self {
            runtime: PeerRuntime::start().context("no threads for talking to peers")?,
            listener,
            connector: Connector::new(material.clone(), Arc::clone(clock), &cluster.peer_address),
            material,
            kept: identity,
            start,
            peer_address: cluster.peer_address.clone(),
            api_address: cluster.api_address.clone(),
            file: IdentityFile::new(&config.data_dir, Box::new(seal.clone())),
            seal,
            clock: Arc::clone(clock),
        })
    }

    /// The options of a store, made those of this member.
    pub(crate) fn complete(&self, options: Options) -> Options {
        Options {
            connector: Arc::new(self.connector.clone()),
            start: self.start.clone(),
            runtime: Some(self.runtime.handle()),
            api_address: self.api_address.clone(),
            ..options
        }
    }

    /// Opens the door; returns what is to be run until `closed`, and the member.
    ///
    /// # Errors
    /// There is an identity, but it cannot be used or kept.
    pub(crate) async fn open_door(
        self,
        store: &Store,
        ca: &Ca,
        closed: Shutdown,
    ) -> anyhow::Result<(impl Future<Output = io::Result<()>> + use<>, Member)> {
        let status = store.status().context("the store has stopped")?;
        let admission = Admission {
            cluster_id: status.cluster_id,
            store: store.clone(),
            ca: ca.clone(),
            clock: Arc::clone(&self.clock),
            seal: self.seal.clone(),
            connector: self.connector,
        };
        let (heard, moves) = Moves::new(store.clone(), Arc::clone(&self.clock));
        let door = Door::new(
            store.clone(),
            heard,
            admission,
            self.material.clone(),
            Arc::clone(&self.clock),
        )?;
        let mut identity = IdentityTask::new(
            store.clone(),
            ca.clone(),
            Arc::clone(&self.clock),
            self.file,
            (self.material, self.kept),
        );
        identity.prepare().await?;
        let (handle, listener) = (self.runtime.handle(), self.listener);
        let listening = async move {
            let mut serving = JoinSet::new();
            let served = async move {
                let served = tokio::join!(listener.serve(door, closed), moves.run());
                served.0
            };
            serving.spawn_on(served, &handle);
            match serving.join_next().await {
                Some(served) => served.map_err(io::Error::other)?,
                None => Ok(()),
            }
        };
        let member = Member {
            identity,
            invitations: Invitations {
                store: store.clone(),
                ca: ca.clone(),
                clock: self.clock,
                seal: self.seal,
                own_address: self.peer_address,
            },
            runtime: self.runtime,
        };
        Ok((listening, member))
    }
}
