//! The agent's own SVID: who holds it, and what a server's refusal means for it.

mod rotator;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use daemon::supervisor::chain;
use identity::bundle::Bundle;
use identity::clock::UnixTime;
use identity::lifetime::{rotate_at, rotate_at_for_availability};
use identity::spiffe_id::SpiffeId;
use identity::tls::{Issuers, SharedTlsMaterial, TaintedAuthorities, TlsError, TlsMaterial};
use identity::trust_domain::TrustDomain;
use identity::x509_svid::X509Svid;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{debug, error, info, warn};

use crate::attest::Attested;
use crate::client::{CallError, Demand};
use crate::jitter::jitter;
use crate::storage::{DataError, DataFile};

pub use rotator::{RenewError, Rotator};

/// The agent's SVID and bundle, in memory and on disk.
pub struct OwnSvid {
    trust_domain: TrustDomain,
    material: SharedTlsMaterial,
    data: Mutex<DataFile>,
    held: Mutex<Held>,
    availability_target: Option<Duration>,
    is_stored: AtomicBool,
    is_tainted: AtomicBool,
    must_reattest: AtomicBool,
    wake: Notify,
}

struct Held {
    svid: X509Svid,
    reattestable: bool,
    rotate_at: UnixTime,
}

impl OwnSvid {
    /// Takes over what an agent came up with.
    ///
    /// # Errors
    /// The TLS library refuses the key.
    pub fn new(
        trust_domain: TrustDomain,
        attested: Attested,
        data: DataFile,
        availability_target: Option<Duration>,
    ) -> Result<Self, TlsError> {
        let bundle = Arc::new(attested.bundle);
        let material = TlsMaterial::new(Some(attested.svid.clone()), [bundle])?;
        let rotate_at = rotation_time(&attested.svid, availability_target);
        Ok(Self {
            trust_domain,
            material: SharedTlsMaterial::new(material),
            data: Mutex::new(data),
            held: Mutex::new(Held {
                svid: attested.svid,
                reattestable: attested.reattestable,
                rotate_at,
            }),
            availability_target,
            is_stored: AtomicBool::new(true),
            is_tainted: AtomicBool::new(false),
            must_reattest: AtomicBool::new(false),
            wake: Notify::new(),
        })
    }

    /// What connections to the server are made with, always the latest.
    pub fn material(&self) -> SharedTlsMaterial {
        self.material.clone()
    }

    /// Who the agent is.
    pub fn spiffe_id(&self) -> SpiffeId {
        self.held.lock().svid.spiffe_id().clone()
    }

    /// Takes in the latest bundle of the own trust domain. An agent whose SVID depends on a tainted
    /// authority renews it at once.
    pub fn set_bundle(&self, bundle: &Bundle) {
        if bundle.x509_authorities.is_empty() {
            // With it the agent would never again believe any server.
            warn!("Bundle without X.509 authorities ignored");
            return;
        }
        // Kept until the material is set: a renewal in between would be undone, and the server
        // takes the SVID before it for an old one.
        let held = self.held.lock();
        let svid = held.svid.clone();
        if is_tainted(&svid, bundle) && !self.is_tainted.swap(true, Ordering::Relaxed) {
            info!("Agent SVID is tainted by a root authority, forcing rotation");
            self.wake.notify_one();
        }
        if self.bundle().is_none_or(|shown| *shown != *bundle) {
            self.set_material(TlsMaterial::new(Some(svid), [Arc::new(bundle.clone())]));
        }
        // Taken before the other is let go, so that the later bundle is the one that stays stored.
        let mut data = self.data.lock();
        drop(held);
        let authorities = bundle.x509_authorities.iter();
        let authorities = authorities.map(|one| one.certificate.clone()).collect();
        // Also where nothing is new: it may not have been stored when it was.
        if let Err(error) = data.store_bundle(authorities) {
            error!(error = %chain(&error), "Could not store bundle");
        }
    }

    /// Does what a server demanded with the refusal `cause`.
    ///
    /// # Errors
    /// The agent has to end; its stored SVID is gone, so that the next start attests.
    pub fn obey(&self, demand: Demand, cause: &CallError) -> Result<(), OwnSvidError> {
        match demand {
            Demand::ShutDown => {
                let error = chain(cause);
                warn!(error, "Agent is banned: removing SVID and shutting down");
                self.forget();
                Err(OwnSvidError::Banned)
            }
            Demand::ReattestExpired if !self.held.lock().reattestable => {
                // As an agent that is cut off: it serves what it holds, and the rotator ends it.
                debug!(error = %chain(cause), "Agent SVID has expired; serving what is held");
                Ok(())
            }
            Demand::Reattest | Demand::ReattestExpired => {
                let error = chain(cause);
                warn!(error, "Agent needs to re-attest; will attempt to re-attest");
                if !self.held.lock().reattestable {
                    self.give_up(&"attestation method is not re-attestable");
                    return Err(OwnSvidError::MustReattest);
                }
                self.must_reattest.store(true, Ordering::Relaxed);
                self.wake.notify_one();
                Ok(())
            }
        }
    }

    /// Removes the stored SVID, so that the next start attests.
    pub fn forget(&self) {
        let mut data = self.data.lock();
        self.is_stored.store(true, Ordering::Relaxed);
        if let Err(error) = data.delete_svid() {
            error!(error = %chain(&error), "Failed to remove SVID");
        }
    }

    /// Since when no server was believed, this time included; `now` if that cannot be noted.
    pub fn disbelieved_since(&self, now: UnixTime) -> UnixTime {
        self.data
            .lock()
            .disbelieved_since(now)
            .unwrap_or_else(|error| {
                error!(error = %chain(&error), "Could not store since when no server is believed");
                now
            })
    }

    /// Notes that a server was believed.
    pub fn believed(&self) {
        if let Err(error) = self.data.lock().believed() {
            error!(error = %chain(&error), "Could not store that a server was believed");
        }
    }

    /// Removes the stored SVID and bundle, so that the next start is as the first.
    ///
    /// # Errors
    /// They are still stored.
    pub fn start_over(&self) -> Result<(), DataError> {
        let mut data = self.data.lock();
        self.is_stored.store(true, Ordering::Relaxed);
        data.start_over()
    }

    fn give_up(&self, error: &dyn std::fmt::Display) {
        error!(%error, "Agent failed re-attestation; removing SVID and shutting down");
        self.forget();
    }

    fn replace(&self, svid: X509Svid, reattestable: bool) {
        self.store(&mut self.data.lock(), &svid, reattestable);
        self.show(svid, reattestable);
        self.must_reattest.store(false, Ordering::Relaxed);
    }

    /// Stores the SVID that is held if that has failed so far: servers take the one before it for an old one.
    fn store_again(&self) {
        if self.is_stored.load(Ordering::Relaxed) {
            return;
        }
        let (svid, reattestable) = {
            let held = self.held.lock();
            (held.svid.clone(), held.reattestable)
        };
        let mut data = self.data.lock();
        // Not one that was forgotten meanwhile.
        if !self.is_stored.load(Ordering::Relaxed) {
            self.store(&mut data, &svid, reattestable);
        }
    }

    fn store(&self, data: &mut DataFile, svid: &X509Svid, reattestable: bool) {
        let stored = data.store_svid(svid.chain().to_vec(), reattestable);
        let was_stored = self.is_stored.swap(stored.is_ok(), Ordering::Relaxed);
        match (stored, was_stored) {
            (Ok(()), true) => {}
            (Ok(()), false) => info!("SVID stored after all"),
            (Err(error), true) => warn!(error = %chain(&error), "Could not store SVID; retrying"),
            (Err(error), false) => debug!(error = %chain(&error), "Could not store SVID"),
        }
    }

    /// Whether an SVID whose key the disk does not take would be worse than the one held.
    ///
    /// A server takes the one before for an old one as soon as the new one is used. An agent that
    /// cannot attest again and starts anew is lost then, if the disk has the old one alone. So it
    /// keeps that one for most of its life.
    fn awaits_disk(&self, now: UnixTime) -> bool {
        let is_stored = self.is_stored.load(Ordering::Relaxed);
        let held = self.held.lock();
        is_stored && !held.reattestable && !self.must_be_replaced() && now < held.last_quarter()
    }

    /// `wait`, but not beyond the time from which on the disk is not waited for.
    fn at_last_quarter(&self, wait: Duration, now: UnixTime) -> Duration {
        let left = self
            .held
            .lock()
            .last_quarter()
            .saturating_duration_since(now);
        match left.is_zero() {
            true => wait,
            false => wait.min(left),
        }
    }

    /// Takes `svid` for all connections from now on.
    fn show(&self, svid: X509Svid, reattestable: bool) {
        let mut held = self.held.lock();
        let bundle = self.bundle();
        // A server that lags behind may have signed it with what is tainted meanwhile. With `held` taken, since a
        // bundle that arrives now looks at the SVID before.
        let is_tainted = bundle.as_ref().is_some_and(|own| is_tainted(&svid, own));
        self.is_tainted.store(is_tainted, Ordering::Relaxed);
        self.set_material(TlsMaterial::new(Some(svid.clone()), bundle));
        *held = Held {
            rotate_at: rotation_time(&svid, self.availability_target),
            svid,
            reattestable,
        };
    }

    fn bundle(&self) -> Option<Arc<Bundle>> {
        self.material.load().bundle(&self.trust_domain).cloned()
    }

    fn set_material(&self, material: Result<TlsMaterial, TlsError>) {
        match material {
            Ok(material) => self.material.replace(material),
            Err(error) => error!(error = %chain(&error), "Could not use SVID for TLS"),
        }
    }

    /// Whether the SVID is of no use any more, or soon will not be.
    fn must_be_replaced(&self) -> bool {
        self.is_tainted.load(Ordering::Relaxed) || self.must_reattest.load(Ordering::Relaxed)
    }

    /// How long until the SVID is due; zero when it is.
    fn due_in(&self, now: UnixTime) -> Duration {
        if self.must_be_replaced() {
            return Duration::ZERO;
        }
        self.held.lock().rotate_at.saturating_duration_since(now)
    }
}

impl Held {
    /// When the last quarter of the SVID's life begins.
    fn last_quarter(&self) -> UnixTime {
        let (not_before, not_after) = (self.svid.not_before(), self.svid.not_after());
        let lifetime = not_after.saturating_duration_since(not_before);
        not_after.saturating_sub(lifetime / 4)
    }
}

fn is_tainted(svid: &X509Svid, bundle: &Bundle) -> bool {
    TaintedAuthorities::of(bundle).stand_behind(&Issuers::of(svid.chain()))
}

fn rotation_time(svid: &X509Svid, availability_target: Option<Duration>) -> UnixTime {
    let (not_before, not_after) = (svid.not_before(), svid.not_after());
    match availability_target {
        Some(target) => rotate_at_for_availability(not_before, not_after, target, jitter()),
        None => rotate_at(not_before, not_after, jitter()),
    }
}

/// Why the agent cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum OwnSvidError {
    /// The server banned it.
    #[error("agent is banned")]
    Banned,
    /// The server wants it to attest again, which it cannot do.
    #[error("agent needs to re-attest, and the attestation method is not re-attestable")]
    MustReattest,
    /// Its SVID ended, and the server refuses to attest it again.
    #[error("current SVID has already expired and rotation failed")]
    Expired(#[source] Box<RenewError>),
    /// Its SVID ended, so did those of all workloads, and it cannot attest again by itself.
    #[error(
        "agent SVID has expired and its join token is spent; make a new token with \
         `conclave-server token generate` and restart the agent with it"
    )]
    TokenSpent(#[source] Box<RenewError>),
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::AtomicU64;

    use identity::testing::TestAuthority;

    use super::*;

    fn own(authority: &TestAuthority, directory: &Path) -> OwnSvid {
        let attested = Attested {
            svid: authority.x509_svid("/spire/agent/x"),
            bundle: authority.bundle(),
            reattestable: false,
        };
        let data = DataFile::open(directory).unwrap();
        OwnSvid::new(authority.trust_domain().clone(), attested, data, None).unwrap()
    }

    /// One whose data directory is gone, and where that was.
    fn own_without_disk(authority: &TestAuthority, directory: &Path) -> (OwnSvid, PathBuf) {
        let data_dir = directory.join("data");
        std::fs::create_dir(&data_dir).unwrap();
        let own = own(authority, &data_dir);
        std::fs::remove_dir(&data_dir).unwrap();
        (own, data_dir)
    }

    #[test]
    fn bundle_that_arrives_during_a_renewal_does_not_undo_it() {
        let directory = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new("example.org");
        let own = own(&authority, directory.path());
        let shown = own.material();
        let arrived = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let renewals = scope.spawn(|| {
                let svids = [(); 2].map(|()| authority.x509_svid("/spire/agent/x"));
                for svid in svids.iter().cycle().take(60) {
                    own.show(svid.clone(), false);
                    // One bundle was on its way, and the next one would mend what it had spoilt.
                    let before = arrived.load(Ordering::SeqCst);
                    while arrived.load(Ordering::SeqCst) < before + 2 {
                        let material = shown.load();
                        assert_eq!(material.svid().unwrap().serial(), svid.serial());
                    }
                }
            });
            let mut bundle = authority.bundle();
            while !renewals.is_finished() {
                bundle.sequence += 1;
                own.set_bundle(&bundle);
                arrived.fetch_add(1, Ordering::SeqCst);
            }
        });
    }

    #[test]
    fn bundle_that_could_not_be_stored_is_stored_when_it_comes_again() {
        let directory = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new("example.org");
        let (own, data_dir) = own_without_disk(&authority, directory.path());
        let bundle = authority.bundle();
        own.set_bundle(&bundle);
        std::fs::create_dir(&data_dir).unwrap();
        own.set_bundle(&bundle);
        let stored = DataFile::open(&data_dir).unwrap().data().bundle.clone();
        assert_eq!(stored, [bundle.x509_authorities[0].certificate.clone()]);
    }

    #[test]
    fn svid_that_could_not_be_stored_is_stored_later() {
        let directory = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new("example.org");
        let (own, data_dir) = own_without_disk(&authority, directory.path());
        let renewed = authority.x509_svid("/spire/agent/x");
        own.replace(renewed.clone(), false);
        own.store_again();
        std::fs::create_dir(&data_dir).unwrap();
        own.store_again();
        let stored = DataFile::open(&data_dir).unwrap().data().svid.clone();
        assert_eq!(stored, renewed.chain());
        // Once is enough.
        std::fs::remove_dir_all(&data_dir).unwrap();
        own.store_again();
        assert!(own.is_stored.load(Ordering::Relaxed));
    }

    #[test]
    fn disk_that_takes_nothing_is_waited_for_while_the_svid_on_it_lasts() {
        let directory = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new("example.org");
        let own = own(&authority, directory.path());
        let (not_before, not_after) = {
            let held = own.held.lock();
            (held.svid.not_before(), held.svid.not_after())
        };
        let life = not_after.saturating_duration_since(not_before);
        let at = |part: f64| not_before.saturating_add(life.mul_f64(part));
        assert!(own.awaits_disk(at(0.5)));
        assert!(!own.awaits_disk(at(0.8)));
        let secs = Duration::from_secs;
        assert_eq!(own.at_last_quarter(secs(1), at(0.5)), secs(1));
        assert!(own.at_last_quarter(life, at(0.5)) <= life.mul_f64(0.26));
        assert_eq!(own.at_last_quarter(secs(1), at(0.8)), secs(1));
        // It is not on the disk.
        let blocker = directory.path().join("agent-data.json.tmp");
        std::fs::create_dir(&blocker).unwrap();
        own.replace(authority.x509_svid("/spire/agent/x"), false);
        assert!(!own.awaits_disk(at(0.5)));
        own.store_again();
        assert!(!own.awaits_disk(at(0.5)));
        std::fs::remove_dir(&blocker).unwrap();
        own.store_again();
        assert!(own.awaits_disk(at(0.5)));
        // A server wants it to be replaced.
        own.must_reattest.store(true, Ordering::Relaxed);
        assert!(!own.awaits_disk(at(0.5)));
    }

    #[test]
    fn forgotten_svid_is_not_stored_later() {
        let directory = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new("example.org");
        let own = own(&authority, directory.path());
        let blocker = directory.path().join("agent-data.json.tmp");
        std::fs::create_dir(&blocker).unwrap();
        own.replace(authority.x509_svid("/spire/agent/x"), false);
        std::fs::remove_dir(&blocker).unwrap();
        own.forget();
        own.store_again();
        let stored = DataFile::open(directory.path()).unwrap();
        assert!(stored.data().svid.is_empty());
    }

    #[test]
    fn bundle_without_authorities_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new("example.org");
        let own = own(&authority, directory.path());
        own.set_bundle(&Bundle::empty(authority.trust_domain().clone()));
        assert_eq!(*own.bundle().unwrap(), authority.bundle());
    }
}
