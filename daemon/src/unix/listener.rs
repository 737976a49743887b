//! Listening on a Unix socket.
//!
//! A live socket is never taken away from its owner; a stale one is replaced. The socket file goes when the
//! listener does, unless somebody else has put another one there.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream},
};
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::{
    Peer,
    authority::Repair,
    slots::{Slot, Slots},
};

/// How the socket and the folders made for it may be accessed.
#[derive(Clone, Copy, Debug)]
pub struct BindOptions {
    /// Permission bits of the socket; connecting takes the write bit.
    pub socket_mode: u32,
    /// Permission bits of folders that have to be made; those that exist are left alone.
    pub directory_mode: u32,
}

/// Binds a Unix socket, making its parent folders.
///
/// # Errors
/// [`BindError::InUse`] when a process listens there, [`BindError::NotASocket`] when the path is something
/// else; neither touches the path.
pub async fn bind(path: &Path, options: BindOptions) -> Result<Listener, BindError> {
    let failed = |step| {
        let path = path.to_owned();
        move |source| BindError::Io { step, path, source }
    };
    make_parents(path, options.directory_mode).map_err(failed("make folders for"))?;
    remove_stale(path).await?;
    let listener = UnixListener::bind(path).map_err(failed("bind"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(options.socket_mode))
        .map_err(failed("set permissions of"))?;
    let file = SocketFile::of(path).map_err(failed("look up"))?;
    Ok(Listener {
        listener,
        file,
        slots: Slots::by_open_files(),
    })
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    file: SocketFile,
    slots: Slots,
}

impl Listener {
    /// The socket's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Accepts connections for ever: failures to accept are logged and tried again, so no item is an error.
    ///
    /// The type is what [`tonic::transport::Server::serve_with_incoming_shutdown`] takes.
    pub fn incoming(self) -> impl Stream<Item = io::Result<Connection>> + Send {
        futures_util::stream::unfold(self, |listener| async {
            let connection = listener.accept().await;
            Some((Ok(connection), listener))
        })
    }

    /// Waits for the next connection whose user has a place left. Cancel-safe.
    pub async fn accept(&self) -> Connection {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match Peer::of(&stream) {
                    Ok(peer) => match self.slots.take(peer.uid()) {
                        Some(slot) => return Connection::new(stream, peer, slot),
                        None => debug!(uid = peer.uid(), "user has too many connections"),
                    },
                    Err(error) => debug!(%error, "connection of an unknown user dropped"),
                },
                Err(error) => {
                    warn!(%error, socket = %self.file.path.display(), "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// An accepted connection.
///
/// What is read from it is the client's HTTP/2 with every `:authority` made legal.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    repair: Repair,
    peer: Peer,
    _slot: Slot,
}

impl Connection {
    fn new(stream: UnixStream, peer: Peer, slot: Slot) -> Self {
        Self {
            stream,
            repair: Repair::new(),
            peer,
            _slot: slot,
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.repair
            .poll_read(Pin::new(&mut this.stream), context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error("another process listens on {}", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The path is a file of another kind, which is not ours to remove.
    #[error("{} exists and is not a socket", path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{step} {}", path.display())]
    Io {
        /// What was tried.
        step: &'static str,
        /// The socket.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
}

/// After a failed accept (out of file descriptors, mostly), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A live but busy owner may let a probe wait; then it is alive.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The socket's file as it was bound; removed on drop if it is still that one.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |found: fs::Metadata| found.dev() == self.device && found.ino() == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Made one by one: the process's umask must not narrow what workloads have to pass through.
fn make_parents(path: &Path, mode: u32) -> io::Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let missing: Vec<_> = parent
        .ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
        .collect();
    for folder in missing.into_iter().rev() {
        match fs::DirBuilder::new().mode(mode).create(folder) {
            Ok(()) => fs::set_permissions(folder, fs::Permissions::from_mode(mode))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Io {
        step: "replace",
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            let path = path.to_owned();
            return Err(BindError::NotASocket { path });
        }
        Ok(_) => {}
    }
    match tokio::time::timeout(PROBE_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(Err(error)) => Err(failed(error)),
        Ok(Ok(_)) | Err(_) => {
            let path = path.to_owned();
            Err(BindError::InUse { path })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: BindOptions = BindOptions {
        socket_mode: 0o777,
        directory_mode: 0o755,
    };

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn parents_and_modes_are_made_and_the_file_goes_with_the_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/api.sock");
        let listener = bind(&path, OPTIONS).await.unwrap();
        assert_eq!(listener.path(), path);
        assert_eq!(mode(&path), 0o777);
        assert_eq!(mode(&folder.path().join("a")), 0o755);
        assert_eq!(mode(&folder.path().join("a/b")), 0o755);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn live_socket_is_refused_and_stale_one_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let owner = UnixListener::bind(&path).unwrap();
        let refused = bind(&path, OPTIONS).await;
        assert!(
            matches!(refused, Err(BindError::InUse { .. })),
            "{refused:?}"
        );
        drop(owner);
        assert!(path.exists());
        bind(&path, OPTIONS).await.unwrap();
    }

    #[tokio::test]
    async fn other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        fs::write(&path, "precious").unwrap();
        let refused = bind(&path, OPTIONS).await;
        assert!(
            matches!(refused, Err(BindError::NotASocket { .. })),
            "{refused:?}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn successors_socket_survives_the_predecessors_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let first = bind(&path, OPTIONS).await.unwrap();
        fs::remove_file(&path).unwrap();
        let second = bind(&path, OPTIONS).await.unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
    }

    #[tokio::test]
    async fn accepted_connection_knows_its_peer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let listener = bind(&path, OPTIONS).await.unwrap();
        let (connection, client) = tokio::join!(listener.accept(), UnixStream::connect(&path));
        client.unwrap();
        let pid = u32::try_from(connection.peer().process().unwrap().pid()).unwrap();
        assert_eq!(pid, std::process::id());
    }
}
