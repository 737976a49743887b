//! A conversation with an ACME server whose every answer is given beforehand.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    vec,
};

use bytes::Bytes;
use http::{Method, Request, Response};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use crate::{
    certificate::Certificate,
    keeper::{Account, KeepError, Keeper},
    order::{OrderError, obtain_over},
    proof::ProofDigest,
    settings::Settings,
    transport::bearable,
};

/// What comes of ordering a certificate of `domain` from somebody who answers so, one after the other.
///
/// # Errors
/// As of every order; also that the answers have come to an end.
pub async fn ordered(
    settings: &Settings,
    domain: &str,
    answers: Vec<Response<Bytes>>,
) -> Result<Certificate, OrderError> {
    let told = Told(Arc::new(Mutex::new(answers.into_iter())));
    let connect = || Ok(Box::new(told.clone()) as Box<dyn HttpClient>);
    obtain_over(&connect, settings, domain, &Forgetful).await
}

#[derive(Clone)]
struct Told(Arc<Mutex<vec::IntoIter<Response<Bytes>>>>);

impl HttpClient for Told {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).next();
        let answer = next.ok_or(Error::Str("nothing more is said"));
        let is_directory = request.method() == Method::GET;
        let taken = answer.and_then(|answer| bearable(is_directory, answer));
        Box::pin(ready(taken))
    }
}

/// Keeps nothing.
struct Forgetful;

impl Keeper for Forgetful {
    async fn account(&self) -> Result<Option<Account>, KeepError> {
        Ok(None)
    }

    async fn keep_account(&self, _account: Account) -> Result<(), KeepError> {
        Ok(())
    }

    async fn certificate(&self, _domain: &str) -> Result<Option<Certificate>, KeepError> {
        Ok(None)
    }

    async fn keep_certificate(
        &self,
        _domain: &str,
        _certificate: Certificate,
    ) -> Result<(), KeepError> {
        Ok(())
    }

    async fn show_proof(&self, _domain: &str, _proof: ProofDigest) -> Result<(), KeepError> {
        Ok(())
    }

    async fn hide_proof(&self, _domain: &str) {}
}
