//! Decides as what a member starts: who it was, or who it becomes.
//!
//! What must hold: an id is used by one store only, so a member whose store is gone never comes back
//! as itself; and data of one cluster never meet another.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use daemon::bounded_file;
use identity::clock::Clock;
use identity::hex;
use raft_store::{Driver, FORMATS, FileSeal, Identity, Options, Start, Store};

use crate::config::{Cluster, Config, FirstStart};
use crate::peers::identity::{IdentityFile, IdentityFileError, PeerIdentity};
use crate::peers::join::{self, Applicant, Invite};
use crate::peers::listener::Listener;

/// As what a member starts, and what it shows to its peers at first.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) start: Start,
    pub(crate) identity: Option<PeerIdentity>,
}

/// Finds out, and joins if that is what the config asks for and there are no data.
///
/// # Errors
/// What is in the way, with the way out.
pub(crate) async fn begin(
    config: &Config,
    cluster: &Cluster,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Beginning> {
    let place = Place::of(config, cluster)?;
    match place.found {
        Some(found) => place.go_on(found),
        None => place.start_first(clock).await,
    }
}

/// Makes the store of the first member of a new cluster and waits until it serves.
///
/// # Errors
/// There are data already, or the store could not be made.
pub(crate) async fn found(config: &Config) -> anyhow::Result<(Store, Driver)> {
    let place = Place::of(config, a_member(config)?)?;
    place.ensure_empty()?;
    let seal = Box::new(place.seal.clone());
    let options = Options {
        start: Start::Member {
            address: place.cluster.peer_address.clone(),
        },
        api_address: place.cluster.api_address.clone(),
        program_version: PROGRAM_VERSION.to_owned(),
        ..Options::new(store_folder(&config.data_dir), seal)
    };
    Ok(Store::start(options, FOUNDED_WITHIN).await?)
}

/// Joins the cluster that `invite` is for, and keeps what the next start needs. Starts nothing;
/// returns who this host is now. Tells `tell` what keeps it waiting.
///
/// # Errors
/// There are data already, this host cannot listen for members, or the cluster refused; with the way out.
pub async fn join_cluster(
    config: &Config,
    invite: &str,
    clock: Arc<dyn Clock>,
    mut tell: impl FnMut(&str) + Send,
) -> anyhow::Result<Identity> {
    daemon::process::make_data_dir(&config.data_dir)?;
    let place = Place::of(config, a_member(config)?)?;
    place.ensure_empty()?;
    // Before the invitation is used up for an address where nobody would answer.
    drop(Listener::bind(&place.cluster.peer_address).await?);
    let joined = place.join(&invite.parse()?, clock, &mut tell).await?;
    Ok(Identity {
        cluster_id: joined.cluster_id,
        member_id: joined.member_id,
    })
}

/// Forgets what the member that `config` is for showed to its peers: after its store became that of a new
/// cluster, it is of no use.
///
/// # Errors
/// The file is there and cannot be removed.
pub fn forget_identity(config: &Config) -> Result<(), IdentityFileError> {
    let seal = FileSeal::at(&config.seal_key_path);
    IdentityFile::new(&config.data_dir, Box::new(seal)).remove()
}

fn a_member(config: &Config) -> anyhow::Result<&Cluster> {
    config.cluster.as_ref().context(
        "the config has no server.cluster.peer_address: a member needs one to be reached by",
    )
}

/// Where a member starts.
struct Place<'a> {
    config: &'a Config,
    cluster: &'a Cluster,
    file: IdentityFile,
    seal: FileSeal,
    /// Whose the store is, if there is one.
    found: Option<Identity>,
}

impl<'a> Place<'a> {
    fn of(config: &'a Config, cluster: &'a Cluster) -> anyhow::Result<Self> {
        let seal = FileSeal::at(&config.seal_key_path);
        let found = Store::identity_in(&store_folder(&config.data_dir))?;
        Ok(Self {
            config,
            cluster,
            file: IdentityFile::new(&config.data_dir, Box::new(seal.clone())),
            seal,
            found,
        })
    }

    fn ensure_empty(&self) -> anyhow::Result<()> {
        match self.found {
            None => Ok(()),
            Some(found) => bail!(
                "{data_dir} holds member {member} of cluster {cluster} already; `run` continues \
                 it. For a new member, take an empty data_dir",
                data_dir = self.config.data_dir.display(),
                member = found.member_id,
                cluster = hex::lower(&found.cluster_id),
            ),
        }
    }

    /// Starts as the member whose store this is.
    fn go_on(&self, found: Identity) -> anyhow::Result<Beginning> {
        let own = hex::lower(&found.cluster_id);
        match &self.cluster.first_start {
            FirstStart::Continue => {}
            FirstStart::Bootstrap => {
                tracing::info!(
                    cluster_id = own,
                    "bootstrap is ignored: there are data already"
                );
            }
            FirstStart::Join(_) | FirstStart::JoinFile(_) => {
                // Used up long ago or not there any more, and then it says nothing.
                let invite = self.invite().ok();
                let is_foreign = |invite: &Invite| invite.cluster_id != found.cluster_id;
                if let Some(invite) = invite.filter(is_foreign) {
                    bail!(
                        "{data_dir} holds member {member} of cluster {own}, but the configured \
                         invite is for cluster {other}: remove the invite to go on, or give the \
                         new member an empty data_dir",
                        data_dir = self.config.data_dir.display(),
                        member = found.member_id,
                        other = hex::lower(&invite.cluster_id),
                    );
                }
                tracing::info!(cluster_id = own, "join is ignored: there are data already");
            }
        }
        let identity = match self.file.read() {
            Ok(kept) => kept.filter(|kept| {
                (kept.cluster_id, kept.member_id) == (found.cluster_id, found.member_id)
            }),
            Err(error) => {
                let cause = daemon::supervisor::chain(&error);
                tracing::warn!(
                    cause,
                    "peer identity cannot be used; a new one will be made"
                );
                None
            }
        };
        Ok(Beginning {
            start: Start::Member {
                address: self.cluster.peer_address.clone(),
            },
            identity,
        })
    }

    async fn start_first(&self, clock: Arc<dyn Clock>) -> anyhow::Result<Beginning> {
        match self.file.read()? {
            None => self.start_fresh(clock).await,
            Some(kept) if kept.has_started => self.start_over(&kept, clock).await,
            Some(kept) => match self.invite_if_configured()? {
                // The invite that it was admitted with, or none any more.
                None => Ok(self.as_admitted(kept)),
                Some(invite) if invite.cluster_id == kept.cluster_id => Ok(self.as_admitted(kept)),
                Some(invite) => self.join_and_start(&invite, clock).await,
            },
        }
    }

    async fn start_fresh(&self, clock: Arc<dyn Clock>) -> anyhow::Result<Beginning> {
        match &self.cluster.first_start {
            FirstStart::Bootstrap => Ok(Beginning {
                start: Start::Member {
                    address: self.cluster.peer_address.clone(),
                },
                identity: None,
            }),
            FirstStart::Join(_) | FirstStart::JoinFile(_) => {
                self.join_and_start(&self.invite()?, clock).await
            }
            FirstStart::Continue => bail!(
                "{data_dir} holds no data: for the first member of a new cluster set \
                 server.cluster.bootstrap = true; for a further one set server.cluster.join to \
                 what `conclave-server cluster invite` printed on a member",
                data_dir = self.config.data_dir.display(),
            ),
        }
    }

    /// The store of a member is gone. Its id must not be used again: it may have voted.
    async fn start_over(
        &self,
        kept: &PeerIdentity,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Beginning> {
        let Some(invite) = self.invite_if_configured()? else {
            bail!(
                "the store of member {member} of cluster {cluster} is gone from {data_dir}: it can \
                 come back as a new member only. Make an invite on another member and set it as \
                 server.cluster.join; or remove everything in {data_dir} to start a new cluster",
                member = kept.member_id,
                cluster = hex::lower(&kept.cluster_id),
                data_dir = self.config.data_dir.display(),
            );
        };
        tracing::warn!(
            member_id = kept.member_id,
            "the store of this member is gone: joining as a new one"
        );
        self.join_and_start(&invite, clock).await
    }

    async fn join_and_start(
        &self,
        invite: &Invite,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Beginning> {
        let mut tell = |cause: &str| tracing::warn!(cause, "not let into the cluster yet");
        let joined = self.join(invite, clock, &mut tell).await?;
        Ok(self.as_admitted(joined))
    }

    async fn join(
        &self,
        invite: &Invite,
        clock: Arc<dyn Clock>,
        tell: &mut (dyn FnMut(&str) + Send),
    ) -> anyhow::Result<PeerIdentity> {
        let applicant = Applicant {
            trust_domain: &self.config.trust_domain,
            peer_address: &self.cluster.peer_address,
            api_address: &self.cluster.api_address,
            program_version: PROGRAM_VERSION,
            formats: (*FORMATS.start(), *FORMATS.end()),
        };
        // Boxed: a handshake and its retries take room that every start would have to make.
        let membership = Box::pin(join::join(invite, &applicant, clock, tell))
            .await
            .context("cannot join the cluster")?;
        self.seal.import(&membership.seal_key).with_context(|| {
            format!(
                "this host was admitted as member {}, but its seal key cannot be kept; once that \
                 is mended, join again with a new invite",
                membership.identity.member_id
            )
        })?;
        self.file.write(&membership.identity)?;
        tracing::info!(
            cluster_id = hex::lower(&membership.identity.cluster_id),
            member_id = membership.identity.member_id,
            "joined the cluster"
        );
        Ok(membership.identity)
    }

    fn as_admitted(&self, identity: PeerIdentity) -> Beginning {
        Beginning {
            start: Start::Joined {
                cluster_id: identity.cluster_id,
                member_id: identity.member_id,
                address: self.cluster.peer_address.clone(),
            },
            identity: Some(identity),
        }
    }

    fn invite_if_configured(&self) -> anyhow::Result<Option<Invite>> {
        match &self.cluster.first_start {
            FirstStart::Join(_) | FirstStart::JoinFile(_) => self.invite().map(Some),
            FirstStart::Continue | FirstStart::Bootstrap => Ok(None),
        }
    }

    fn invite(&self) -> anyhow::Result<Invite> {
        match &self.cluster.first_start {
            FirstStart::Join(text) => Ok(text.expose().parse()?),
            FirstStart::JoinFile(path) => invite_in(path),
            FirstStart::Continue | FirstStart::Bootstrap => bail!("no invite is configured"),
        }
    }
}

fn invite_in(path: &Path) -> anyhow::Result<Invite> {
    let text = bounded_file::read_text(path, MAX_INVITE_FILE_LEN_BYTES)
        .with_context(|| format!("cannot read join_file {}", path.display()))?;
    text.parse()
        .with_context(|| format!("join_file {}", path.display()))
}

/// Where the store is, below the data directory: operators keep other programs' files in that too.
pub(crate) fn store_folder(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("store")
}

/// What this program calls itself towards other members.
pub(crate) const PROGRAM_VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long the store of a first member may take until it serves.
const FOUNDED_WITHIN: Duration = Duration::from_secs(120);
const MAX_INVITE_FILE_LEN_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_file_than_any_invite_is_not_read() {
        let error = invite_in(Path::new("/dev/zero")).unwrap_err();
        let expected = "cannot read join_file /dev/zero: the file is longer than 65536 bytes";
        assert_eq!(format!("{error:#}"), expected);
    }
}
