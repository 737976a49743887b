//! What a member makes of what is in the log, and of not being able to ask the others.

use acme::settings::Settings;
use identity::secret::KeyType;
use raft_store::{AnnounceMember, FORMATS, MemberProfile};
use rcgen::CertificateParams;

use super::*;
use crate::testing::TestStore;

const DOMAIN: &str = "bundle.test";
const DIRECTORY: &str = "https://ca.test/directory";
const PROVEN: ProofDigest = ProofDigest::from_bytes([7; 32]);

fn member(test: &TestStore, domain: &str, directory: &str) -> WebCertificate {
    let settings = Settings::new(directory, "a@bundle.test", true).unwrap();
    WebCertificate::new(test.store.clone(), test.clock(), domain, &settings)
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyType::EcP256).unwrap()
}

fn account() -> Account {
    Account {
        directory_url: DIRECTORY.into(),
        url: Some("https://ca.test/account/1".into()),
        key: key(),
    }
}

fn certificate(domain: &str) -> Certificate {
    let key = key();
    let params = CertificateParams::new([domain.to_owned()]).unwrap();
    let leaf = params.self_signed(&key).unwrap().der().clone();
    Certificate::new(domain, vec![leaf], key).unwrap()
}

#[tokio::test]
async fn who_cannot_ask_the_others_proves_nothing_and_goes_on_from_nothing() {
    let test = TestStore::create().await;
    let member = member(&test, DOMAIN, DIRECTORY);
    member.show_proof(DOMAIN, PROVEN).await.unwrap();
    member.keep_account(account()).await.unwrap();
    let kept = certificate(DOMAIN);
    member.keep_certificate(DOMAIN, kept.clone()).await.unwrap();
    assert_eq!(member.proof(DOMAIN).await, Some(PROVEN));
    assert!(member.account().await.unwrap().is_some());
    assert!(member.certificate(DOMAIN).await.unwrap().is_some());

    // It reads on, and there may be something later.
    test.store.clone().close().await.unwrap();
    assert!(test.store.read(|state| state.setting(PROOF).is_some()));
    assert_eq!(member.proof(DOMAIN).await, None);
    // An account or a certificate that it does not know of is not ordered a second time.
    assert!(member.account().await.is_err());
    assert!(member.certificate(DOMAIN).await.is_err());
    let shown = member.current().unwrap();
    assert_eq!(
        shown.chain(),
        kept.chain(),
        "it is shown for as long as it lives"
    );
}

#[tokio::test]
async fn a_proof_is_for_its_domain_alone_and_ends_with_its_order() {
    let test = TestStore::create().await;
    let member_of = |domain| member(&test, domain, DIRECTORY);
    let (mine, other) = (member_of(DOMAIN), member_of("other.test"));
    mine.hide_proof(DOMAIN).await;
    assert_eq!(mine.proof(DOMAIN).await, None);
    mine.show_proof(DOMAIN, PROVEN).await.unwrap();
    assert_eq!(mine.proof(DOMAIN).await, Some(PROVEN));
    for asked in ["other.test", "bundle.test.", "a.bundle.test", ""] {
        assert_eq!(mine.proof(asked).await, None, "{asked:?}");
    }
    // The config of a member names another domain than that of the one that orders.
    assert_eq!(other.proof("other.test").await, None);
    assert_eq!(other.proof(DOMAIN).await, None);

    mine.hide_proof(DOMAIN).await;
    assert_eq!(mine.proof(DOMAIN).await, None);
    let hidden = test.store.read(State::revision);
    mine.hide_proof(DOMAIN).await;
    assert_eq!(test.store.read(State::revision), hidden, "written twice");
}

#[tokio::test]
async fn what_another_acme_server_issued_is_shown_and_replaced() {
    let test = TestStore::create().await;
    let kept = certificate(DOMAIN);
    let before = member(&test, DOMAIN, DIRECTORY);
    before.keep_certificate(DOMAIN, kept.clone()).await.unwrap();
    before.keep_account(account()).await.unwrap();

    let moved = member(&test, DOMAIN, "https://elsewhere.test/directory");
    assert!(moved.certificate(DOMAIN).await.unwrap().is_none());
    assert_eq!(moved.current().unwrap().chain(), kept.chain());
    let account = moved.account().await.unwrap().unwrap();
    assert_eq!(&*account.directory_url, DIRECTORY);
    let renamed = member(&test, "other.test", DIRECTORY);
    assert!(renamed.certificate("other.test").await.unwrap().is_none());
    assert!(renamed.current().is_none());

    assert_eq!(before.current().unwrap().chain(), kept.chain());
    let next = certificate(DOMAIN);
    moved.keep_certificate(DOMAIN, next.clone()).await.unwrap();
    assert_eq!(before.current().unwrap().chain(), next.chain());
}

#[tokio::test]
async fn keys_are_sealed_under_the_names_of_what_they_are_for() {
    let test = TestStore::create().await;
    let member = member(&test, DOMAIN, DIRECTORY);
    let (account, certificate) = (account(), certificate(DOMAIN));
    member.keep_account(account.clone()).await.unwrap();
    member
        .keep_certificate(DOMAIN, certificate.clone())
        .await
        .unwrap();
    let keys = [&account.key, certificate.key()];
    for (kind, key) in AcmeSecretKind::ALL.into_iter().zip(keys) {
        let record = member.record(kind).unwrap();
        let opened = member.open(&record).unwrap();
        assert_eq!(opened.public_key_der(), key.public_key_der());
    }
    // A key is of no use in another's place.
    let record = member.record(AcmeSecretKind::Account).unwrap();
    let misplaced = AcmeSecret {
        kind: AcmeSecretKind::Certificate,
        name: DOMAIN.into(),
        ..AcmeSecret::clone(&record)
    };
    let command = KeepAcmeSecret {
        secret: misplaced,
        in_place_of: None,
    };
    test.store
        .propose(command, member.proposal())
        .await
        .unwrap();
    assert!(member.current().is_none());
}

#[tokio::test]
async fn nothing_is_ordered_before_every_member_understands_what_is_kept() {
    let older = TestStore::understanding(1..=KeepAcmeSecret::FORMAT - 1).await;
    let member = member(&older, DOMAIN, DIRECTORY);
    let refused = member.keep_account(account()).await.unwrap_err();
    assert!(chain(&refused).contains("format"), "{}", chain(&refused));
    assert!(member.record(AcmeSecretKind::Account).is_none());
    let mut kept = std::pin::pin!(until_kept(&older.store));
    tokio::select! {
        biased;
        () = kept.as_mut() => panic!("not waited for"),
        set = member.set_proof(Vec::new()) => set.unwrap(),
    }
    tokio::join!(understand_all(&older), kept);
    member.keep_account(account()).await.unwrap();
}

/// Has the member announce that it understands every format, as a newer program does.
async fn understand_all(test: &TestStore) {
    let id = test.store.status().unwrap().member_id;
    let announcement = AnnounceMember {
        id,
        profile: MemberProfile {
            peer_address: "".into(),
            api_address: "".into(),
            program_version: "test".into(),
            formats: FORMATS,
        },
    };
    let proposal = Proposal::new(test.clock().now());
    test.store.propose(announcement, proposal).await.unwrap();
}

#[tokio::test]
async fn few_strangers_at_a_time_have_a_quorum_asked() {
    let test = TestStore::create().await;
    let member = member(&test, DOMAIN, DIRECTORY);
    member.show_proof(DOMAIN, PROVEN).await.unwrap();
    let others: Vec<_> = (0..MAX_LOOKS)
        .map(|_| member.looks.try_acquire().unwrap())
        .collect();
    let mut look = std::pin::pin!(member.proof(DOMAIN));
    for _ in 0..3 {
        tokio::select! {
            biased;
            shown = look.as_mut() => panic!("{shown:?} beside {MAX_LOOKS} others"),
            confirmed = member.confirm() => confirmed.unwrap(),
        }
    }
    drop(others);
    assert_eq!(look.await, Some(PROVEN));
}
