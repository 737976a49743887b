//! The ring of data keys: rotation, wear, and members without the right seal key.

use std::sync::Arc;

use identity::clock::UnixTime;
use identity::secret::SecretBytes;
use raft_store::backup::BackupError;
use raft_store::{
    AcmeSecret, AcmeSecretKind, AddDataKey, AuthorityKind, AuthorityOutcome, AuthorityRecord,
    AuthorityState, CreateInvite, DataKey, FileSeal, InviteId, InviteRecord, KeepAcmeSecret,
    KeepAcmeSecretOutcome, PrepareAuthority, RecordName, RotateError, SealError, SealProvider as _,
    SealProviderError, Store,
};

use crate::fixture::{NOW, STARTS, close, open, options, proposal};
use crate::net::{Cluster, SOON};

fn secret(text: &str) -> SecretBytes {
    SecretBytes::new(text.as_bytes().to_vec())
}

async fn prepare(store: &Store, kind: AuthorityKind, id: &str) -> AuthorityOutcome {
    let name = RecordName::authority(kind, id);
    let authority = AuthorityRecord {
        kind,
        id: id.into(),
        state: AuthorityState::Prepared,
        issuer_id: None,
        certificate: None,
        public_key: vec![1],
        issued_at: NOW,
        not_after: UnixTime::from_secs(NOW.as_secs() + 1000),
        sealed_key: Some(store.seal(&name, &secret(id)).unwrap()),
        upstream_chain: None,
    };
    let command = PrepareAuthority { authority };
    store.propose(command, proposal()).await.unwrap()
}

fn authority(store: &Store, kind: AuthorityKind, id: &str) -> Arc<AuthorityRecord> {
    store.read(|state| state.authority(kind, id).cloned().unwrap())
}

fn opened(store: &Store, kind: AuthorityKind, id: &str) -> Vec<u8> {
    let record = authority(store, kind, id);
    let name = RecordName::authority(kind, id);
    let secret = store
        .unseal(&name, record.sealed_key.as_ref().unwrap())
        .unwrap();
    secret.expose().to_vec()
}

async fn invite(store: &Store, expires_at: UnixTime) -> bool {
    let id = InviteId::random();
    let verifier = store.seal(&RecordName::invite(&id), &secret("verifier"));
    let invite = InviteRecord {
        id,
        verifier: verifier.unwrap(),
        expires_at,
    };
    let command = CreateInvite { invite };
    store.propose(command, proposal()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_reseals_every_authority_and_drops_the_old_key() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    for kind in AuthorityKind::ALL {
        prepare(&store, kind, "a").await;
    }
    let stale = authority(&store, AuthorityKind::Jwt, "a")
        .sealed_key
        .clone();
    assert!(invite(&store, UnixTime::from_secs(NOW.as_secs() + 10)).await);

    let rotation = store.rotate_data_key(NOW).await.unwrap();
    assert_eq!(rotation.data_key, 2);
    assert_eq!(rotation.resealed, 4);
    // The invitation is still good and needs the old key.
    assert_eq!(rotation.kept, [1]);
    assert_eq!(store.tend_data_keys(NOW).await.unwrap(), None);
    let later = UnixTime::from_secs(NOW.as_secs() + 11);
    let tended = store.tend_data_keys(later).await.unwrap().unwrap();
    assert_eq!(tended.removed, [1]);
    for kind in AuthorityKind::ALL {
        let sealed_key = authority(&store, kind, "a").sealed_key.clone();
        assert_eq!(sealed_key.map(|sealed| sealed.key_id), Some(2));
        assert_eq!(opened(&store, kind, "a"), b"a");
    }
    // What was sealed before opens no more, in this process either.
    let name = RecordName::authority(AuthorityKind::Jwt, "a");
    let refused = store.unseal(&name, stale.as_ref().unwrap()).err();
    assert!(
        matches!(refused, Some(SealError::UnknownDataKey(1))),
        "{refused:?}"
    );
    close(store, driver).await;

    let (store, driver) = open(dir.path()).await.unwrap();
    assert_eq!(opened(&store, AuthorityKind::X509Root, "a"), b"a");
    let again = store.rotate_data_key(NOW).await.unwrap();
    assert_eq!(
        (again.data_key, again.removed.as_slice()),
        (3, [2].as_slice())
    );
    close(store, driver).await;
}

async fn keep_acme(store: &Store, kind: AcmeSecretKind, key: &str) -> KeepAcmeSecretOutcome {
    let secret = AcmeSecret {
        kind,
        directory_url: "https://ca.test/".into(),
        name: "a.test".into(),
        chain: Vec::new(),
        sealed_key: store.seal(&RecordName::acme(kind), &secret(key)).unwrap(),
    };
    let command = KeepAcmeSecret {
        secret,
        in_place_of: None,
    };
    store.propose(command, proposal()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_acme_server_gave_is_sealed_anew_and_opens_under_its_own_name() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    for (kind, key) in AcmeSecretKind::ALL.into_iter().zip(["one", "two"]) {
        let kept = keep_acme(&store, kind, key).await;
        assert_eq!(kept, KeepAcmeSecretOutcome::Kept);
    }
    let rotation = store.rotate_data_key(NOW).await.unwrap();
    assert_eq!((rotation.data_key, rotation.resealed), (2, 2));
    assert_eq!(rotation.removed, [1]);
    for (kind, key) in AcmeSecretKind::ALL.into_iter().zip(["one", "two"]) {
        let record = store.read(|state| state.acme_secret(kind).cloned().unwrap());
        assert_eq!(record.sealed_key.key_id, 2);
        let opened = store.unseal(&RecordName::acme(kind), &record.sealed_key);
        assert_eq!(opened.unwrap().expose(), key.as_bytes());
        for other in AcmeSecretKind::ALL.into_iter().filter(|one| *one != kind) {
            let refused = store.unseal(&RecordName::acme(other), &record.sealed_key);
            assert!(matches!(refused.err(), Some(SealError::DoesNotOpen(_))));
        }
    }
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_during_rotations_is_not_replaced_by_what_was_before() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    let kind = AcmeSecretKind::Certificate;
    keep_acme(&store, kind, "").await;
    let is_held = |key: &str| {
        let record = store.read(|state| state.acme_secret(kind).cloned().unwrap());
        let opened = store.unseal(&RecordName::acme(kind), &record.sealed_key);
        opened.unwrap().expose() == key.as_bytes()
    };
    // Some are on their way to the log while the one before them is sealed anew.
    let keeping = async {
        for number in 0.. {
            let key = number.to_string();
            let kept = keep_acme(&store, kind, &key).await;
            if kept == KeepAcmeSecretOutcome::Kept {
                assert!(is_held(&key), "{number} is not there");
                store.linearizable(SOON).await.unwrap();
                assert!(is_held(&key), "{number} was replaced");
            }
        }
    };
    let rotating = async {
        for _ in 0..30 {
            match store.rotate_data_key(NOW).await {
                Ok(_) | Err(RotateError::Overtaken) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::select! {
        () = keeping => {}
        () = rotating => {}
    }
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_stopped_half_way_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    prepare(&store, AuthorityKind::Jwt, "a").await;
    // All that a rotation did before its process died.
    let context = [b"conclave data key ".as_slice(), &2_u32.to_be_bytes()].concat();
    let seal = FileSeal::at(&dir.path().join("seal.key"));
    let wrapped = seal.wrap(&context, &SecretBytes::new(vec![5; 32])).unwrap();
    let key = DataKey { id: 2, wrapped };
    assert!(store.propose(AddDataKey { key }, proposal()).await.unwrap());

    let rotation = store.rotate_data_key(NOW).await.unwrap();
    assert_eq!((rotation.data_key, rotation.resealed), (2, 1));
    assert_eq!(rotation.removed, [1]);
    assert_eq!(opened(&store, AuthorityKind::Jwt, "a"), b"a");
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_without_the_seal_key_says_so_and_leaves_all_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    prepare(&store, AuthorityKind::Jwt, "a").await;
    std::fs::rename(dir.path().join("seal.key"), dir.path().join("away")).unwrap();
    let failed = store.rotate_data_key(NOW).await.unwrap_err();
    let RotateError::Provider(SealProviderError::Missing { location }) = failed else {
        panic!("{failed}");
    };
    assert!(location.ends_with("seal.key"), "{location}");
    assert_eq!(opened(&store, AuthorityKind::Jwt, "a"), b"a");
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_key_that_was_replaced_seals_nothing_and_is_not_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.limits.seals = 4;
    let (store, driver) = Store::start(options, STARTS).await.unwrap();
    prepare(&store, AuthorityKind::Jwt, "a").await;
    let path = dir.path().join("seal.key");
    let file = FileSeal::at(&path);
    let right = std::fs::read(&path).unwrap();
    store.check_seal_key().unwrap();
    assert!(store.export_seal_key(&file).unwrap().expose() == right);
    std::fs::write(&path, [9; 32]).unwrap();
    let is_wrong = |error: &SealProviderError| matches!(error, SealProviderError::Wrong { .. });
    assert!(is_wrong(&store.check_seal_key().unwrap_err()));
    assert!(is_wrong(&store.export_seal_key(&file).err().unwrap()));
    let failed = store.rotate_data_key(NOW).await.unwrap_err();
    let RotateError::Provider(cause) = &failed else {
        panic!("{failed}");
    };
    assert!(is_wrong(cause), "{cause}");
    assert!(cause.to_string().contains("seal.key"), "{cause}");
    // Nor does it by itself when the key is worn, nor for a backup.
    let name = RecordName::new("x");
    store.seal(&name, &secret("x")).unwrap();
    store.seal(&name, &secret("x")).unwrap();
    assert_eq!(store.seal(&name, &secret("x")).unwrap().key_id, 1);
    let failed = store.tend_data_keys(NOW).await.unwrap_err();
    assert!(matches!(failed, RotateError::Provider(_)), "{failed}");
    let failed = store.backup(NOW).await.err().unwrap();
    assert!(matches!(failed, BackupError::Seal(_)), "{failed}");
    assert_eq!(opened(&store, AuthorityKind::Jwt, "a"), b"a");

    std::fs::write(&path, right).unwrap();
    store.check_seal_key().unwrap();
    let rotation = store.tend_data_keys(NOW).await.unwrap().unwrap();
    assert_eq!((rotation.data_key, rotation.resealed), (2, 1));
    close(store, driver).await;
    let (store, driver) = open(dir.path()).await.unwrap();
    assert_eq!(opened(&store, AuthorityKind::Jwt, "a"), b"a");
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_key_stays_when_the_new_one_was_sealed_by_a_member_with_another_seal_key() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    let other = FileSeal::at(&dir.path().join("other.key"));
    other.create().unwrap();
    let context = [b"conclave data key ".as_slice(), &2_u32.to_be_bytes()].concat();
    let wrapped = other.wrap(&context, &secret("data key")).unwrap();
    let key = DataKey { id: 2, wrapped };
    assert!(store.propose(AddDataKey { key }, proposal()).await.unwrap());
    let is_refused = |failed: &RotateError| {
        matches!(
            failed,
            RotateError::Ring(SealError::Provider {
                id: 2,
                source: SealProviderError::Wrong { .. }
            })
        )
    };
    let failed = store.tend_data_keys(NOW).await.unwrap_err();
    assert!(is_refused(&failed), "{failed}");
    let failed = store.rotate_data_key(NOW).await.unwrap_err();
    assert!(matches!(failed, RotateError::Provider(_)), "{failed}");
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_tells_what_is_gone_also_when_another_task_dropped_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    prepare(&store, AuthorityKind::Jwt, "a").await;
    let tending = async {
        loop {
            store.tend_data_keys(NOW).await.ok();
            tokio::task::yield_now().await;
        }
    };
    let rotating = async {
        for old in 1..=20 {
            let rotation = store.rotate_data_key(NOW).await.unwrap();
            let told = (rotation.data_key, rotation.removed, rotation.kept);
            assert_eq!(told, (old + 1, vec![old], vec![]));
        }
    };
    tokio::select! {
        () = tending => {}
        () = rotating => {}
    }
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worn_data_key_is_renewed_before_it_is_used_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.limits.seals = 8;
    let (store, driver) = Store::start(options, STARTS).await.unwrap();
    prepare(&store, AuthorityKind::Jwt, "a").await;
    let name = RecordName::new("x");
    for _ in 0..5 {
        assert_eq!(store.tend_data_keys(NOW).await.unwrap(), None);
        store.seal(&name, &secret("x")).unwrap();
    }
    let rotation = store.tend_data_keys(NOW).await.unwrap().unwrap();
    assert_eq!((rotation.data_key, rotation.resealed), (2, 1));
    assert_eq!(opened(&store, AuthorityKind::Jwt, "a"), b"a");
    assert_eq!(store.seal(&name, &secret("x")).unwrap().key_id, 2);
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_on_one_member_reaches_all_and_two_at_once_do_no_harm() {
    let cluster = Cluster::of_three().await;
    let ids: Vec<u64> = cluster.members.keys().copied().collect();
    for kind in AuthorityKind::ALL {
        prepare(cluster.store(ids[0]), kind, "a").await;
    }
    let (one, other) = tokio::join!(
        cluster.store(ids[1]).rotate_data_key(NOW),
        cluster.store(ids[2]).rotate_data_key(NOW)
    );
    assert!(one.is_ok() || other.is_ok(), "{one:?}, {other:?}");
    // Whoever was overtaken left nothing that a tending does not clear away.
    cluster.store(ids[1]).rotate_data_key(NOW).await.unwrap();
    for id in ids {
        let store = cluster.store(id);
        store.linearizable(SOON).await.unwrap();
        for kind in AuthorityKind::ALL {
            assert_eq!(opened(store, kind, "a"), b"a", "on member {id}");
        }
    }
    cluster.stop().await;
}
