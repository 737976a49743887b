//! What keeps a server from starting: each is named, with the way out, and nothing is lost.

use std::path::Path;
use std::sync::Arc;

use daemon::supervisor::{Shutdown, chain};
use identity::clock::SystemClock;
use identity::trust_domain::TrustDomain;
use server::app::App;
use server::config::Config;

use crate::world::{World, config, entry};

async fn refused(config: &Config) -> String {
    let started = App::start(config, Arc::new(SystemClock), Shutdown::new()).await;
    let error = started.err().unwrap();
    chain(error.as_ref())
}

fn config_in(folder: &Path) -> Config {
    config(folder.to_owned())
}

#[tokio::test]
async fn data_of_another_trust_domain_are_refused_and_kept() {
    let mut world = World::start().await;
    world.create(vec![entry("/web", "/p")]).await;
    world.stop().await.unwrap();
    let mut other = config_in(world.folder());
    other.trust_domain = TrustDomain::parse("other.test").unwrap();
    let error = refused(&other).await;
    assert!(
        error.contains(
            "belongs to trust domain \"example.org\", but the config says \"other.test\""
        ),
        "{error}"
    );
    let world = world.restart().await;
    assert_eq!(world.count_entries().await, 1);
}

#[tokio::test]
async fn second_server_on_the_same_data_is_refused_and_the_first_goes_on() {
    let world = World::start().await;
    let mut second = config_in(world.folder());
    second.socket_path = world.folder().join("second.sock");
    let error = refused(&second).await;
    assert!(error.contains("is in use by another process"), "{error}");
    world.create(vec![entry("/web", "/p")]).await;
    assert_eq!(world.count_entries().await, 1);
}

#[tokio::test]
async fn taken_address_and_socket_are_named() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config_in(folder.path());
    config.bind_port = world.address().port();
    let error = refused(&config).await;
    let expected = format!("cannot listen on 127.0.0.1:{}", config.bind_port);
    assert!(error.contains(&expected), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let mut config = config_in(folder.path());
    config.socket_path = world.folder().join("api.sock");
    let error = refused(&config).await;
    assert!(error.contains("cannot listen on unix socket"), "{error}");
    assert_eq!(world.count_entries().await, 0);
}
