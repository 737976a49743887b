//! What a server's node attestor says comes through, and nothing else does.

use plugin_host::server_node_attestor::{Origin, Step, Verdict, begin};
use plugin_host::{CallError, Kind, Plugin};
use tonic::Code;

use crate::world::{World, child_settings};

const AGENT: &str = "spiffe://example.org/spire/agent/mine/a";

async fn ask(plugin: &Plugin, order: &str) -> Result<Step, CallError> {
    begin(plugin, order.as_bytes(), &Origin::default())
        .await
        .map(|(step, _)| step)
}

#[tokio::test]
async fn verdict_with_configuration_and_origin_comes_through() {
    let world = World::with(&child_settings(Kind::ServerNodeAttestor, "a = 1")).await;
    let origin = Origin {
        client_ip: Some("192.0.2.7".to_owned()),
        untrusted_host: Some("server.example.org".to_owned()),
    };
    let (step, _) = begin(&world.plugin, format!("id {AGENT}").as_bytes(), &origin)
        .await
        .unwrap();
    let wanted = Step::Verdict(Verdict {
        spiffe_id: AGENT.to_owned(),
        selector_values: vec![
            "configured:example.org a = 1".to_owned(),
            "origin:192.0.2.7 server.example.org".to_owned(),
        ],
        can_reattest: true,
    });
    assert_eq!(step, wanted);
    world.stop().await;
}

#[tokio::test]
async fn challenge_is_answered() {
    let world = World::with(&child_settings(Kind::ServerNodeAttestor, "")).await;
    for (answer, is_right) in [("answer to question", true), ("guess", false)] {
        let order = format!("challenge {AGENT}");
        let begun = begin(&world.plugin, order.as_bytes(), &Origin::default()).await;
        let (step, mut conversation) = begun.unwrap();
        assert_eq!(step, Step::Challenge(b"question".to_vec()));
        match conversation.answer(answer.into()).await {
            Ok(Step::Verdict(verdict)) => assert!(is_right && verdict.spiffe_id == AGENT),
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert!(!is_right);
                assert_eq!(error.to_string(), "nodeattestor(mine): wrong answer");
                assert_eq!(error.code, Code::PermissionDenied);
            }
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn services_of_the_host_are_found_through_the_broker() {
    let world = World::with(&child_settings(Kind::ServerNodeAttestor, "")).await;
    let known = ask(
        &world.plugin,
        "known spiffe://example.org/spire/agent/mine/known",
    )
    .await;
    assert_eq!(
        known.unwrap_err().to_string(),
        "nodeattestor(mine): agent is known"
    );
    assert!(ask(&world.plugin, &format!("known {AGENT}")).await.is_ok());
    let Ok(Step::Verdict(verdict)) = ask(&world.plugin, &format!("identity {AGENT}")).await else {
        panic!("no verdict");
    };
    assert_eq!(
        verdict.selector_values,
        ["2 certificates, key: true, 1 authorities of example.org"]
    );
    world.stop().await;
}

#[tokio::test]
async fn answers_that_are_none_are_named() {
    let world = World::with(&child_settings(Kind::ServerNodeAttestor, "")).await;
    for (order, code, text) in [
        (
            "deny",
            Code::PermissionDenied,
            "nodeattestor(mine): not convinced",
        ),
        (
            "nothing",
            Code::Internal,
            "nodeattestor(mine): plugin closed stream unexpectedly",
        ),
        (
            "id ",
            Code::Internal,
            "nodeattestor(mine): plugin response missing agent ID",
        ),
    ] {
        let error = ask(&world.plugin, order).await.unwrap_err();
        assert_eq!((error.code, error.to_string().as_str()), (code, text));
    }
    let error = ask(&world.plugin, "huge").await.unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted);
    assert!(
        error.text.contains("decoded message length too large"),
        "{error}"
    );
    assert!(ask(&world.plugin, &format!("id {AGENT}")).await.is_ok());
    world.stop().await;
}
