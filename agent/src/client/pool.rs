//! The connections that calls are made on: one in use, and one to another server that waits.
//!
//! The one that waits has its handshakes done, so that a server's end costs a call nothing but
//! being made again. [`Pool::keep`] replaces whichever is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::{Shutdown, chain};
use parking_lot::Mutex;
use tokio::sync::{Notify, RwLockWriteGuard};
use tokio::time::Instant;
use tracing::{debug, info};

use super::dial::{Choice, DialError, Dialer};
use super::link::{Link, LinkId};
use crate::backoff::FullJitter;
use crate::jitter::jitter;

/// The wait before a lost connection is replaced, when nobody needs it at once: thousands of agents
/// lose theirs in one moment, and the servers that are left have better things to do then than
/// thousands of handshakes.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const MAX_WAIT: Duration = Duration::from_secs(5);

/// After this time without a loss the waits start again.
const STABLE_AFTER: Duration = Duration::from_secs(15);

/// How long until an agent with one server looks whether there is another by now.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Connections made with the current SVID.
#[derive(Debug)]
pub(super) struct Pool {
    dialer: Dialer,
    slots: Mutex<Slots>,
    /// Held by the one call that dials while the others wait for what it brings.
    dialing: tokio::sync::Mutex<()>,
    /// Held alone by who replaces the SVID.
    replacing: tokio::sync::RwLock<()>,
    changed: Notify,
}

/// Says for as long as it lives that the SVID is being replaced.
#[must_use]
#[derive(Debug)]
pub struct Replacing<'a>(
    #[expect(dead_code, reason = "it is there to be dropped")] RwLockWriteGuard<'a, ()>,
);

#[derive(Debug, Default)]
struct Slots {
    /// How often the agent's SVID has changed.
    generation: u64,
    active: Option<Arc<Link>>,
    standby: Option<Arc<Link>>,
    /// Who failed last.
    avoided: Option<SocketAddr>,
}

/// What is missing.
enum Lack {
    Nothing,
    Active,
    Standby { other_than: SocketAddr },
}

impl Pool {
    pub(super) fn new(dialer: Dialer) -> Self {
        Self {
            dialer,
            slots: Mutex::default(),
            dialing: tokio::sync::Mutex::default(),
            replacing: tokio::sync::RwLock::default(),
            changed: Notify::new(),
        }
    }

    /// Whether `id` is the connection in use.
    pub(super) fn is_active(&self, id: LinkId) -> bool {
        let mut slots = self.slots.lock();
        slots.prune();
        slots.active.as_ref().is_some_and(|link| link.id() == id)
    }

    /// Whether a connection stands.
    pub(super) fn has_connection(&self) -> bool {
        let mut slots = self.slots.lock();
        slots.prune();
        slots.active.is_some() || slots.standby.is_some()
    }

    /// Begins to replace the SVID, until the guard is dropped.
    pub(super) async fn replace(&self) -> Replacing<'_> {
        Replacing(self.replacing.write().await)
    }

    /// Returns once nobody replaces the SVID.
    pub(super) async fn replaced(&self) {
        drop(self.replacing.read().await);
    }

    /// Lets the next call use a new connection, because the agent has another SVID now.
    pub(super) fn renew(&self) {
        let mut slots = self.slots.lock();
        slots.generation += 1;
        let links = [slots.active.take(), slots.standby.take()];
        drop(slots);
        for link in links.into_iter().flatten() {
            link.retire();
        }
        self.changed.notify_one();
    }

    /// A connection to a server that is not one of `tried`. Where one is there already it costs
    /// nothing; several callers at once wait for the same one.
    pub(super) async fn link(&self, tried: &[SocketAddr]) -> Result<Arc<Link>, DialError> {
        loop {
            if let Some(found) = self.slots.lock().pick(tried) {
                return Ok(found);
            }
            let _turn = self.dialing.lock().await;
            let (generation, last) = {
                let mut slots = self.slots.lock();
                if let Some(found) = slots.pick(tried) {
                    return Ok(found);
                }
                (slots.generation, slots.avoided)
            };
            let choice = Choice {
                except: tried,
                last,
            };
            let link = Arc::new(self.dialer.open(choice).await?);
            let mut slots = self.slots.lock();
            // Otherwise the SVID has changed since the handshake began.
            if slots.generation == generation {
                slots.put_active(Arc::clone(&link));
                drop(slots);
                info!(address = %link.address(), "Connected to server");
                self.changed.notify_one();
                return Ok(link);
            }
        }
    }

    /// The connection is broken: nobody uses it any more.
    pub(super) fn give_up(&self, link: &Link) {
        let was_in_use = !link.has_ended();
        link.retire();
        let mut slots = self.slots.lock();
        slots.avoided = Some(link.address());
        slots.prune();
        drop(slots);
        if was_in_use {
            info!(address = %link.address(), "Connection to server given up");
        }
        self.changed.notify_one();
    }

    /// The server cannot help now: further calls begin with another one, if there is another.
    pub(super) fn demote(&self, link: &Link) {
        let mut slots = self.slots.lock();
        slots.avoided = Some(link.address());
        slots.prune();
        if slots
            .active
            .as_ref()
            .is_some_and(|one| one.id() == link.id())
        {
            slots.change_over();
        }
        drop(slots);
        self.changed.notify_one();
    }

    /// Replaces lost connections until `shutdown`.
    pub(super) async fn keep(&self, shutdown: Shutdown) {
        tokio::select! {
            () = shutdown.requested() => {}
            () = self.replace_lost() => {}
        }
    }

    async fn replace_lost(&self) {
        let mut backoff = FullJitter::new(FIRST_WAIT, MAX_WAIT);
        let mut last: Option<Instant> = None;
        loop {
            let lack = self.lack();
            if matches!(lack, Lack::Nothing) {
                self.loss().await;
                continue;
            }
            // A connection that soon ends is no better than one that was not made.
            let is_stable = last.is_none_or(|at| at.elapsed() >= STABLE_AFTER);
            if is_stable {
                backoff.reset();
            }
            if !is_stable || matches!(lack, Lack::Standby { .. }) {
                tokio::time::sleep(backoff.next(jitter())).await;
            }
            last = Some(Instant::now());
            let made = match self.lack() {
                Lack::Nothing => continue,
                Lack::Active => self.link(&[]).await.map(|_link| ()),
                Lack::Standby { other_than } => self.add_standby(other_than).await,
            };
            match made {
                Ok(()) => {}
                Err(DialError::NoOther) => tokio::select! {
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                    () = self.loss() => {}
                },
                Err(error) => debug!(error = %chain(&error), "Failed to connect to server"),
            }
        }
    }

    /// Returns when a connection is lost, found or made. Cancel-safe.
    async fn loss(&self) {
        let (active, standby) = {
            let slots = self.slots.lock();
            (slots.active.clone(), slots.standby.clone())
        };
        let end = async |link: Option<Arc<Link>>| match link {
            Some(link) => link.ended().await,
            None => std::future::pending().await,
        };
        tokio::select! {
            () = end(active) => {}
            () = end(standby) => {}
            () = self.changed.notified() => {}
        }
    }

    fn lack(&self) -> Lack {
        let mut slots = self.slots.lock();
        slots.prune();
        if slots.active.is_none() && slots.standby.is_some() {
            slots.change_over();
        }
        match (&slots.active, &slots.standby) {
            (None, _) => Lack::Active,
            (Some(active), None) => Lack::Standby {
                other_than: active.address(),
            },
            (Some(_), Some(_)) => Lack::Nothing,
        }
    }

    async fn add_standby(&self, other_than: SocketAddr) -> Result<(), DialError> {
        let (generation, last) = {
            let slots = self.slots.lock();
            (slots.generation, slots.avoided)
        };
        let choice = Choice {
            except: &[other_than],
            last,
        };
        let link = Arc::new(self.dialer.open(choice).await?);
        let mut slots = self.slots.lock();
        if slots.generation == generation {
            slots.put_standby(link);
        }
        Ok(())
    }
}

impl Slots {
    /// A connection that stands, the one in use first; the one that waits comes into use.
    fn pick(&mut self, tried: &[SocketAddr]) -> Option<Arc<Link>> {
        self.prune();
        let is_new = |link: &&Arc<Link>| !tried.contains(&link.address());
        if let Some(link) = self.active.as_ref().filter(is_new) {
            return Some(Arc::clone(link));
        }
        let link = self.standby.as_ref().filter(is_new).map(Arc::clone)?;
        self.change_over();
        Some(link)
    }

    /// The one in reserve comes into use, and the other way round.
    fn change_over(&mut self) {
        std::mem::swap(&mut self.active, &mut self.standby);
        if let Some(link) = &self.active {
            info!(address = %link.address(), "Changed over to another server");
        }
    }

    /// The one in use before waits from now on, unless it leads to the same server: the keeper may
    /// have been as quick.
    fn put_active(&mut self, link: Arc<Link>) {
        let address = link.address();
        if let Some(before) = self.active.replace(link) {
            self.standby = Some(before);
        }
        self.standby.take_if(|link| link.address() == address);
        self.prune();
    }

    fn put_standby(&mut self, link: Arc<Link>) {
        self.prune();
        match &self.active {
            None => self.active = Some(link),
            Some(active) if active.address() != link.address() => self.standby = Some(link),
            // The calls got there first.
            Some(_) => {}
        }
    }

    fn prune(&mut self) {
        self.active.take_if(|link| link.has_ended());
        self.standby.take_if(|link| link.has_ended());
    }
}
