//! Signing load: a node that asks each member directly for X.509- and JWT-SVIDs.

use std::time::Duration;

use tokio::time::Instant;

use super::{Background, target::Targets};
use crate::{
    client::attested::Signer,
    history::{Call, History},
};

/// One signature that was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signature {
    /// An X.509-SVID.
    X509,
    /// A JWT-SVID.
    Jwt,
}

/// Asks for signatures of every member that is a target, each at `pause`, kinds in turn.
pub fn sign(
    load: &mut Background,
    signers: Vec<Signer>,
    targets: &Targets,
    history: &History<Signature>,
    pause: Duration,
) {
    for (target, signer) in signers.into_iter().enumerate() {
        let (targets, history) = (targets.clone(), history.clone());
        load.every(pause, move |number| {
            let (targets, history, signer) = (targets.clone(), history.clone(), signer.clone());
            async move {
                if !targets.has(target) {
                    return;
                }
                let started = Instant::now();
                let (about, outcome) = if number.is_multiple_of(2) {
                    (Signature::X509, signer.x509(DEADLINE).await)
                } else {
                    (
                        Signature::Jwt,
                        signer.jwt(format!("{number}"), DEADLINE).await,
                    )
                };
                history.record(Call {
                    about,
                    target,
                    started,
                    ended: Instant::now(),
                    outcome,
                });
            }
        });
    }
}

const DEADLINE: Duration = Duration::from_secs(10);
