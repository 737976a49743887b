//! One certificate from an ACME server, from the account to the chain (RFC 8555 §7).

use std::time::Duration;

use daemon::https::NoRoots;
use identity::{
    pem::{PemError, decode_certificates},
    secret::{KeyError, KeyType, PrivateKey},
};
use instant_acme::{
    Account as Signer, AuthorizationStatus, ChallengeType, Error, HttpClient, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tracing::{info, warn};

use crate::{
    certificate::{Certificate, CertificateError},
    keeper::{Account, KeepError, Keeper},
    proof::ProofDigest,
    settings::Settings,
    transport::Transport,
};

/// Obtains a certificate of `domain` from the ACME server of `settings`.
///
/// Cancel-safe: what was begun is left at the ACME server, where it runs out.
pub(crate) async fn obtain(
    settings: &Settings,
    domain: &str,
    keeper: &impl Keeper,
) -> Result<Certificate, OrderError> {
    let connect = || {
        let transport = Transport::new(settings)?;
        Ok(Box::new(transport) as Box<dyn HttpClient>)
    };
    obtain_over(&connect, settings, domain, keeper).await
}

/// What speaks HTTP with the ACME server.
pub(crate) type Connect<'a> = &'a (dyn Fn() -> Result<Box<dyn HttpClient>, NoRoots> + Send + Sync);

/// The same over what `connect` makes.
pub(crate) async fn obtain_over(
    connect: Connect<'_>,
    settings: &Settings,
    domain: &str,
    keeper: &impl Keeper,
) -> Result<Certificate, OrderError> {
    let mut order = place(connect, settings, domain, keeper).await?;
    prove(&mut order, domain, keeper).await?;
    let key = PrivateKey::generate(KeyType::EcP256).map_err(OrderError::Key)?;
    let mut params = CertificateParams::new([domain.to_owned()]).map_err(OrderError::Request)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params
        .serialize_request(&key)
        .map_err(OrderError::Request)?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&POLLS).await?;
    let chain = decode_certificates(chain.as_bytes()).map_err(OrderError::Chain)?;
    Certificate::new(domain, chain, key).map_err(OrderError::Certificate)
}

/// Orders, under the account that is kept or a new one.
async fn place(
    connect: Connect<'_>,
    settings: &Settings,
    domain: &str,
    keeper: &impl Keeper,
) -> Result<Order, OrderError> {
    let names = [Identifier::Dns(domain.to_owned())];
    let order = NewOrder::new(&names);
    let kept = keeper.account().await?;
    let kept = kept.filter(|account| *account.directory_url == *settings.directory_url());
    if let Some(kept) = kept {
        let placed = match resume(connect, settings, kept).await {
            Ok(account) => account.new_order(&order).await.map_err(OrderError::Server),
            Err(error) => Err(error),
        };
        match placed {
            Err(OrderError::Server(Error::Api(problem)))
                if is_of(&problem, "accountDoesNotExist") =>
            {
                warn!(
                    directory_url = settings.directory_url(),
                    "the ACME server does not know the account any more, a new one is made"
                );
            }
            placed => return placed,
        }
    }
    let account = register(connect, settings, keeper).await?;
    Ok(account.new_order(&order).await?)
}

async fn resume(
    connect: Connect<'_>,
    settings: &Settings,
    kept: Account,
) -> Result<Signer, OrderError> {
    let builder = Signer::builder_with_http(connect()?);
    let directory = settings.directory_url().to_owned();
    let pkcs8 = PrivatePkcs8KeyDer::from(kept.key.pkcs8().expose());
    if let Some(url) = kept.url {
        return Ok(builder.from_parts(url.into(), pkcs8, directory).await?);
    }
    let key = instant_acme::Key::from_pkcs8_der(pkcs8.clone_key())?;
    let (account, _credentials) = builder
        .from_key((key, pkcs8.clone_key().into()), directory)
        .await?;
    Ok(account)
}

async fn register(
    connect: Connect<'_>,
    settings: &Settings,
    keeper: &impl Keeper,
) -> Result<Signer, OrderError> {
    let contact = format!("mailto:{}", settings.email());
    let wanted = NewAccount {
        contact: &[&contact],
        terms_of_service_agreed: settings.terms_accepted(),
        only_return_existing: false,
    };
    let directory_url = settings.directory_url();
    let builder = Signer::builder_with_http(connect()?);
    let made = builder
        .create(&wanted, directory_url.to_owned(), None)
        .await;
    let (account, credentials) = made.map_err(|error| match settings.terms_accepted() {
        true => OrderError::Server(error),
        false => OrderError::Terms(error),
    })?;
    if settings.terms_accepted() {
        info!(
            directory_url,
            email = settings.email(),
            "ACME Terms of Service accepted"
        );
    }
    let key = PrivateKey::from_pkcs8(credentials.private_key().secret_pkcs8_der());
    let kept = Account {
        directory_url: directory_url.into(),
        url: Some(account.id().into()),
        key: key.map_err(OrderError::Key)?,
    };
    keeper.keep_account(kept).await?;
    Ok(account)
}

/// Proves that the domain is served here, unless the ACME server knows it.
async fn prove(order: &mut Order, domain: &str, keeper: &impl Keeper) -> Result<(), OrderError> {
    // One name was ordered, so one is to be proven.
    if order.state().authorizations.len() != 1 {
        return Err(OrderError::Unexpected(
            "it wants other than one name proven",
        ));
    }
    let proven = match have_looked(order, domain, keeper).await {
        Ok(Look::Needless) => return be_ready(order).await,
        Ok(Look::Begun) => be_ready(order).await,
        Err(error) => Err(error),
    };
    keeper.hide_proof(domain).await;
    proven
}

/// Whether the ACME server looks at the domain.
enum Look {
    Begun,
    Needless,
}

/// Shows what the ACME server looks for, and has it look.
async fn have_looked(
    order: &mut Order,
    domain: &str,
    keeper: &impl Keeper,
) -> Result<Look, OrderError> {
    let mut authorizations = order.authorizations();
    let next = authorizations.next().await;
    let mut authorization = next.ok_or(OrderError::Unexpected("it names no authorization"))??;
    let names_the_domain = matches!(
        authorization.identifier().identifier,
        Identifier::Dns(name) if *name == *domain
    );
    match authorization.status {
        AuthorizationStatus::Valid if names_the_domain => return Ok(Look::Needless),
        AuthorizationStatus::Pending if names_the_domain => {}
        _ => return Err(OrderError::Unexpected(OTHER_AUTHORIZATION)),
    }
    let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
    let mut challenge = challenge.ok_or(OrderError::NoChallenge)?;
    let digest = challenge.key_authorization().digest();
    let digest = digest.as_ref().try_into().ok();
    let digest = digest.ok_or(OrderError::Unexpected("a digest has another length"))?;
    keeper
        .show_proof(domain, ProofDigest::from_bytes(digest))
        .await?;
    challenge.set_ready().await?;
    Ok(Look::Begun)
}

async fn be_ready(order: &mut Order) -> Result<(), OrderError> {
    match order.poll_ready(&POLLS).await {
        Ok(OrderStatus::Ready) => Ok(()),
        // Some say what they found in the order.
        Err(Error::Api(problem)) if order.state().status == OrderStatus::Invalid => {
            Err(OrderError::NotProven(Some(problem)))
        }
        Err(error) => Err(error.into()),
        Ok(_) => Err(OrderError::NotProven(finding(order).await)),
    }
}

/// What the ACME server says that it found, if it says so.
async fn finding(order: &mut Order) -> Option<Problem> {
    let mut authorizations = order.authorizations();
    let mut authorization = authorizations.next().await?.ok()?;
    let state = authorization.refresh().await.ok()?;
    state
        .challenges
        .iter()
        .find_map(|challenge| challenge.error.clone())
}

/// Whether the problem is of this type (RFC 8555 §6.7).
fn is_of(problem: &Problem, kind: &str) -> bool {
    let found = problem.r#type.as_deref();
    found.and_then(|found| found.strip_prefix("urn:ietf:params:acme:error:")) == Some(kind)
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// The ACME server refused, did not answer, or not as it must.
    #[error("the ACME server refused, or gave no usable answer")]
    Server(#[from] Error),
    /// It refused, and its terms were not agreed to.
    #[error(
        "the ACME server gave no account; its terms of service have not been accepted: read them, and set \
         tos_accepted to true"
    )]
    Terms(#[source] Error),
    /// It did not find the proof.
    #[error(
        "the ACME server did not find the proof: it must reach the domain on port 443, and so come to this \
         listener"
    )]
    NotProven(#[source] Option<Problem>),
    /// It knows no way of proof that works here.
    #[error("the ACME server offers no tls-alpn-01 challenge for the domain")]
    NoChallenge,
    /// It said something that does not go with what was asked.
    #[error("the ACME server is not to be followed: {0}")]
    Unexpected(&'static str),
    /// What it issued cannot be read.
    #[error("the ACME server issued no chain of certificates")]
    Chain(#[source] PemError),
    /// What it issued is not what was asked for.
    #[error("the ACME server issued something else")]
    Certificate(#[source] CertificateError),
    /// No key was made.
    #[error("no key")]
    Key(#[source] KeyError),
    /// No request was made.
    #[error("no certificate request")]
    Request(#[source] rcgen::Error),
    /// Something could not be kept.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// Nobody can be believed.
    #[error("the ACME server cannot be believed")]
    Roots(#[from] NoRoots),
    /// It took too long.
    #[error("no certificate within {}", daemon::duration::format_go(*.0))]
    TooLong(Duration),
}

const OTHER_AUTHORIZATION: &str = "its authorization is not a pending one for the domain";

/// An ACME server looks at once or says how long it takes; those that look from several places need a
/// quarter of a minute.
const POLLS: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(90));
