//! Opening: the lock first, then log and state, then the keys.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Driver, Identity, Inner, OpenError, Options, Proposal, Start, Store};
use crate::codec::DecodeError;
use crate::command::{AddDataKey, AnnounceMember, AnnounceOutcome};
use crate::raft::{Member, ReadyError, StartError, StartOptions, WriteError};
use crate::record::MemberProfile;
use crate::seal::{KeyRing, SealError, SealProviderError, Witnesses, new_data_key};
use crate::state::LoadError;
use crate::storage::data_dir::{DataDir, LockError};
use crate::storage::{FilesClosed, Memory, OpenGuard, StorageError};

pub(super) async fn open(options: Options) -> Result<(Store, Driver), OpenError> {
    let announcement = announcement(&options);
    let path = options.data_dir;
    let (guard, files) = OpenGuard::new();
    let dir = DataDir::lock(&path, guard).map_err(|error| match error {
        LockError::Taken => OpenError::Locked { path: path.clone() },
        LockError::Storage(error) => storage_error(&path, error),
    })?;
    if DataDir::is_full(&path) {
        let source = "less than 4 MiB left".into();
        return Err(OpenError::DiskFull { path, source });
    }
    let dir = Arc::new(dir);
    let start = StartOptions {
        memory: Memory::new(Arc::clone(&dir)),
        dir,
        connector: options.connector,
        snapshot_every: options.limits.snapshot_every,
        snapshot_every_len_bytes: options.limits.snapshot_every_len_bytes,
        feed_capacity: options.limits.changes,
        start: options.start,
        runtime: options.runtime.unwrap_or_else(Handle::current),
        clock: Arc::clone(&options.clock),
    };
    let (member, model) = match Member::start(start).await {
        Ok(started) => started,
        Err(error) => {
            wait_until_free(&files).await;
            return Err(start_error(&path, error));
        }
    };
    let weak = Arc::downgrade(&member);
    let (leadership, seal, limits) = (member.leadership(), options.seal, options.limits);
    let store = Store(Arc::new(Inner {
        data_dir: path,
        clock: options.clock,
        model,
        member: RwLock::new(Some(member)),
        leadership,
        announcement,
        files: files.clone(),
        seal,
        ring: RwLock::new(KeyRing::new(limits.seals)),
        limits,
        proposals: Semaphore::new(limits.proposals),
    }));
    // What can be told now is not left for later: a wrong seal key, say.
    if let Err(error) = update_ring(&store) {
        // Already failing, and the log has everything: how the end went changes nothing.
        drop(store.close().await);
        wait_until_free(&files).await;
        return Err(error);
    }
    let driver = Driver {
        member: weak,
        files,
    };
    Ok((store, driver))
}

/// Waits until this member serves: it leads or follows, and the keys are open.
pub(super) async fn ready(store: &Store, deadline: Duration) -> Result<(), OpenError> {
    let deadline = Instant::now() + deadline;
    let member = store.member().map_err(|source| OpenError::Stopped {
        path: store.0.data_dir.clone(),
        source,
    })?;
    let ready = member.ready(deadline).await;
    ready.map_err(|error| match error {
        ReadyError::NoLeader => OpenError::NoLeader,
        ReadyError::Stopped(error) => start_error(&store.0.data_dir, error),
    })?;
    open_keys(store).await?;
    announce(store, &member, deadline).await?;
    member.note_ready();
    Ok(())
}

/// Tells the others where this member is and what it runs.
async fn announce(store: &Store, member: &Member, deadline: Instant) -> Result<(), OpenError> {
    let mut announcement = store.0.announcement.clone();
    announcement.id = member.identity().member_id;
    let address = announcement.profile.peer_address.clone();
    let announced = member.announce(announcement, deadline).await;
    match announced {
        Ok(AnnounceOutcome::Stored | AnnounceOutcome::Unchanged) => Ok(()),
        Ok(AnnounceOutcome::Removed) => Err(OpenError::Removed {
            path: store.0.data_dir.clone(),
        }),
        Ok(AnnounceOutcome::AddressTaken { by }) => Err(OpenError::AddressTaken { address, by }),
        Err(WriteError::NoLeader | WriteError::Undecided) => Err(OpenError::NoLeader),
        Err(WriteError::Stopped(stopped)) => Err(OpenError::Stopped {
            path: store.0.data_dir.clone(),
            source: stopped.into(),
        }),
    }
}

/// What is announced of a member; its id is known once it is open.
fn announcement(options: &Options) -> AnnounceMember {
    let peer_address = match &options.start {
        Start::Alone => "",
        Start::Member { address } | Start::Joined { address, .. } => address,
    };
    AnnounceMember {
        id: 0,
        profile: MemberProfile {
            peer_address: peer_address.into(),
            api_address: options.api_address.as_str().into(),
            program_version: options.program_version.as_str().into(),
            formats: options.formats.clone(),
        },
    }
}

pub(super) fn identity_in(data_dir: &Path) -> Result<Option<Identity>, OpenError> {
    let raft = DataDir::raft_in(data_dir);
    crate::raft::identity_in(&raft).map_err(|error| storage_error(data_dir, error))
}

/// Waits until a store that failed has closed its files, so that the next try finds them free.
async fn wait_until_free(files: &FilesClosed) {
    if tokio::time::timeout(CLOSING, files.wait()).await.is_err() {
        tracing::warn!("store files are still open");
    }
}

/// Unwraps the data keys, or makes the first one.
async fn open_keys(store: &Store) -> Result<(), OpenError> {
    if store.read(|state| state.data_keys().next().is_none()) {
        // Of several members that come here at once, one is first; its key is everybody's.
        let seal = &*store.0.seal;
        seal.create().map_err(OpenError::Seal)?;
        let witnesses = store.read(Witnesses::of);
        let key = new_data_key(FIRST_DATA_KEY, &witnesses, seal).map_err(OpenError::Seal)?;
        let proposal = Proposal::new(store.0.clock.now());
        let added = store.propose(AddDataKey { key }, proposal).await;
        added.map_err(OpenError::FirstKey)?;
    }
    update_ring(store)
}

fn update_ring(store: &Store) -> Result<(), OpenError> {
    store.update_ring().map_err(|error| match error {
        SealError::Provider { source, .. } => OpenError::Seal(source),
        SealError::NoDataKey
        | SealError::UnknownDataKey(_)
        | SealError::UsedUp(_)
        | SealError::DoesNotOpen(_)
        | SealError::Cryptography => OpenError::Seal(SealProviderError::Damaged),
    })
}

fn start_error(path: &Path, error: StartError) -> OpenError {
    let path_buf = path.to_owned();
    match error {
        StartError::Storage(error) => storage_error(path, error),
        StartError::LogMissing => OpenError::LogMissing { path: path_buf },
        StartError::StateMissing => OpenError::StateMissing { path: path_buf },
        StartError::Removed => OpenError::Removed { path: path_buf },
        StartError::NotAlone => OpenError::NotAlone { path: path_buf },
        StartError::RunsElsewhere { address } => OpenError::RunsElsewhere {
            path: path_buf,
            address,
        },
        StartError::OtherMember(found) => OpenError::OtherMember {
            path: path_buf,
            found,
        },
        StartError::Newer(stopped) => OpenError::NewerFormat {
            path: path_buf,
            source: stopped.into(),
        },
        StartError::Raft(stopped) if DataDir::is_full(path) => OpenError::DiskFull {
            path: path_buf,
            source: stopped.into(),
        },
        StartError::Raft(stopped) => OpenError::Stopped {
            path: path_buf,
            source: stopped.into(),
        },
    }
}

fn storage_error(path: &Path, error: StorageError) -> OpenError {
    let path_buf = path.to_owned();
    if DataDir::is_full(path) {
        return OpenError::DiskFull {
            path: path_buf,
            source: error.into(),
        };
    }
    match &error {
        StorageError::Unreadable {
            source: DecodeError::NewerFormat { .. },
            ..
        }
        | StorageError::Load(LoadError::Row {
            source: DecodeError::NewerFormat { .. },
            ..
        }) => OpenError::NewerFormat {
            path: path_buf,
            source: error.into(),
        },
        StorageError::Foreign { .. } => OpenError::Foreign {
            path: path_buf,
            source: error,
        },
        StorageError::Corrupt { .. } | StorageError::Unreadable { .. } | StorageError::Load(_) => {
            OpenError::Corrupt {
                path: path_buf,
                source: error,
            }
        }
        StorageError::Engine { source, .. }
            if matches!(
                source.kind(),
                rocksdb::ErrorKind::Corruption
                    | rocksdb::ErrorKind::NotFound
                    | rocksdb::ErrorKind::InvalidArgument
            ) =>
        {
            OpenError::Corrupt {
                path: path_buf,
                source: error,
            }
        }
        StorageError::Engine { .. } | StorageError::File { .. } => OpenError::Storage {
            path: path_buf,
            source: error,
        },
    }
}

const FIRST_DATA_KEY: u32 = 1;

/// How long the files of a failed store may take to close.
const CLOSING: Duration = Duration::from_secs(10);
