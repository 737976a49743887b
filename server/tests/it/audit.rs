//! The audit log of a real server, as an operator's tools read it.

use std::fs;

use crate::golden::world::World;

/// The lines of the audit log so far, each as its pairs.
fn lines(world: &World) -> Vec<serde_json::Value> {
    let log = fs::read_to_string(world.path("server.log")).unwrap();
    log.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|line| line["type"] == "audit")
        .collect()
}

/// A server with the audit log on, after a few commands.
async fn audited() -> World {
    let mut world = World::new().unwrap();
    let path = world.path("server.conf");
    let config = fs::read_to_string(&path).unwrap();
    let switches = "server {\n  audit_log_enabled = true\n  log_format = \"json\"";
    fs::write(&path, config.replacen("server {", switches, 1)).unwrap();
    world.start_server().await.unwrap();
    let create = [
        "entry",
        "create",
        "-spiffeID",
        "spiffe://example.org/w",
        "-parentID",
        "spiffe://example.org/p",
        "-selector",
        "unix:uid:1",
    ];
    world.server(&create).await.unwrap();
    world.server(&create).await.unwrap();
    world
        .server(&["token", "generate", "-spiffeID", "spiffe://example.org/h"])
        .await
        .unwrap();
    world
        .server(&[
            "agent",
            "evict",
            "-spiffeID",
            "spiffe://example.org/spire/agent/x",
        ])
        .await
        .unwrap();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_and_item_is_told_with_who_made_it() {
    let world = audited().await;
    let lines = lines(&world);
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["method"].as_str().unwrap(),
                line["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("BatchCreateEntry", "success"),
            ("BatchCreateEntry", "error"),
            ("CreateJoinToken", "success"),
            ("DeleteAgent", "error"),
        ]
    );
    let created = &lines[0];
    for (name, value) in [
        ("msg", "API accessed"),
        ("level", "info"),
        ("service", "entry.v1.Entry"),
        ("authorized_as", "local"),
        ("authorized_via", "transport"),
        ("spiffe_id", "spiffe://example.org/w"),
        ("parent_id", "spiffe://example.org/p"),
        ("selectors", "unix:uid:1"),
    ] {
        assert_eq!(created[name], value, "{created}");
    }
    assert_eq!(created["caller_uid"], rustix::process::getuid().as_raw());
    assert!(
        created["caller_path"]
            .as_str()
            .unwrap()
            .ends_with("conclave-server")
    );
    assert_eq!(created["x509_svid_ttl"], 0);
    assert_eq!(lines[1]["status_code"], "AlreadyExists");
    assert_eq!(lines[1]["status_message"], "similar entry already exists");
    assert_eq!(lines[2]["spiffe_id"], "spiffe://example.org/h");
    assert!(
        !lines[2].to_string().contains("join_token/"),
        "no token is told"
    );
    assert_eq!(lines[3]["status_code"], "NotFound");
    assert_eq!(lines[3]["spiffe_id"], "spiffe://example.org/spire/agent/x");
    let ids: std::collections::BTreeSet<_> = lines
        .iter()
        .map(|line| line["request_id"].to_string())
        .collect();
    assert_eq!(ids.len(), 4);
}
