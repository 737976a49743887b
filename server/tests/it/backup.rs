//! Backups by the operator's commands, and the way back from them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::process::Command;

use crate::world::{World, entry};

/// What the binary did: whether it succeeded, and all that it printed.
async fn run(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conclave-server"));
    let output = command.args(arguments).output().await.unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(printed).unwrap())
}

async fn succeed(arguments: &[&str]) -> String {
    let (is_well, printed) = run(arguments).await;
    assert!(is_well, "{printed}");
    printed
}

async fn fail(arguments: &[&str]) -> String {
    let (is_well, printed) = run(arguments).await;
    assert!(!is_well, "{printed}");
    printed
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A config that a server of [`World`] could have been started with.
fn write_config(folder: &Path) -> String {
    let path = folder.join("server.conf");
    let text = format!(
        "server {{ trust_domain = \"example.org\" bind_address = \"127.0.0.1\"\n\
         data_dir = {:?}\n cluster {{ seal \"file\" {{ path = {:?} }} }} }}\n\
         plugins {{ NodeAttestor \"join_token\" {{ plugin_data {{}} }} }}\n",
        folder.join("data"),
        folder.join("seal.key"),
    );
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_backup_is_opened_before_it_gets_its_name_and_restores_into_empty_folders_only() {
    let world = World::start().await;
    world.create(vec![entry("/web", "/p")]).await;
    let (socket, file) = (
        world.folder().join("api.sock"),
        world.folder().join("backup"),
    );
    let backup = [
        "cluster",
        "backup",
        "-socketPath",
        text(&socket),
        "-file",
        text(&file),
    ];

    let other_key = world.folder().join("other.key");
    let printed = fail(&[&backup[..], &["-sealKey", text(&other_key)]].concat()).await;
    assert!(
        printed.contains("cannot be opened again and was dropped"),
        "{printed}"
    );
    assert!(!file.exists());

    let printed = succeed(&backup).await;
    assert!(
        printed.contains("Holds        : 1 registration entry"),
        "{printed}"
    );
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let printed = fail(&backup).await;
    assert!(printed.contains("is there already"), "{printed}");

    // Restored beside the old one, with the same seal key.
    let new = tempfile::tempdir().unwrap();
    std::fs::copy(world.folder().join("seal.key"), new.path().join("seal.key")).unwrap();
    let config = write_config(new.path());
    let restore = [
        "cluster",
        "restore",
        "-config",
        &config,
        "-file",
        text(&file),
    ];
    let printed = succeed(&restore).await;
    assert!(
        printed.contains("with everything that was restored"),
        "{printed}"
    );
    let printed = fail(&restore).await;
    assert!(printed.contains("is not empty"), "{printed}");
    let restored = World::start_in(new).await;
    assert_eq!(restored.count_entries().await, 1);
    restored.create(vec![entry("/more", "/p")]).await;
}

#[tokio::test]
async fn recovery_says_what_may_be_lost_before_it_changes_anything() {
    let mut world = World::start().await;
    world.create(vec![entry("/web", "/p")]).await;
    let config = write_config(world.folder());
    let recover = ["cluster", "recover", "-config", config.as_str()];
    let printed = fail(&recover).await;
    assert!(
        printed.contains("is in use by another process"),
        "{printed}"
    );
    world.stop().await.unwrap();

    for further in ["-dryRun", "-iUnderstandDataLoss"] {
        let other = ["-trustDomain", "other.test", further];
        let printed = fail(&[&recover[..], &other].concat()).await;
        let refused = "belongs to trust domain \"example.org\", but the config says \"other.test\"";
        assert!(printed.contains(refused), "{printed}");
        assert!(!printed.contains("What may be lost"), "{printed}");
    }

    let planned = succeed(&[&recover[..], &["-dryRun"]].concat()).await;
    assert!(planned.contains("What may be lost"), "{planned}");
    let printed = fail(&recover).await;
    assert!(printed.starts_with(&planned), "{printed}");
    assert!(
        printed.contains("nothing was changed; give -iUnderstandDataLoss"),
        "{printed}"
    );
    let printed = succeed(&[&recover[..], &["--i-understand-data-loss"]].concat()).await;
    assert!(
        printed.contains("with everything that was recovered"),
        "{printed}"
    );
    let world = world.restart().await;
    assert_eq!(world.count_entries().await, 1);
}
