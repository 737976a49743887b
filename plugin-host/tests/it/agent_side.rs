//! The plugins of agents.

use plugin_host::{Kind, agent_node_attestor, workload_attestor};
use tonic::Code;

use crate::world::{World, child_settings};

#[tokio::test]
async fn evidence_and_answers_of_a_node_come_through() {
    let settings = child_settings(Kind::AgentNodeAttestor, "order = \"evidence\"");
    let world = World::with(&settings).await;
    let (payload, mut conversation) = agent_node_attestor::begin(&world.plugin).await.unwrap();
    assert_eq!(payload, b"evidence");
    for challenge in ["one", "two"] {
        let answer = conversation.answer(challenge.into()).await.unwrap();
        assert_eq!(answer, format!("answer to {challenge}").into_bytes());
    }
    let nothing = conversation.answer("unanswerable".into()).await;
    assert_eq!(
        nothing.unwrap_err().to_string(),
        "nodeattestor(mine): plugin response missing challenge response"
    );
    world.stop().await;
}

#[tokio::test]
async fn node_without_evidence_is_told_of() {
    let world = World::with(&child_settings(Kind::AgentNodeAttestor, "")).await;
    let begun = agent_node_attestor::begin(&world.plugin).await.map(drop);
    assert_eq!(
        begun.unwrap_err().to_string(),
        "nodeattestor(mine): plugin response missing attestation payload"
    );
    world.stop().await;
}

#[tokio::test]
async fn workload_has_what_the_plugin_says() {
    for (order, wanted) in [
        ("x", vec!["pid:7".to_owned(), "order:x".to_owned()]),
        (
            "reference",
            vec!["reference:type.googleapis.com/spiffe.broker.WorkloadPIDReference".to_owned()],
        ),
    ] {
        let data = format!("order = \"{order}\"");
        let world = World::with(&child_settings(Kind::WorkloadAttestor, &data)).await;
        assert_eq!(
            workload_attestor::attest(&world.plugin, 7).await,
            Ok(wanted)
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn workload_attestor_that_fails_is_named() {
    for (order, code) in [
        ("deny", Code::PermissionDenied),
        ("crash", Code::Unavailable),
        ("hang", Code::DeadlineExceeded),
        ("huge", Code::ResourceExhausted),
    ] {
        let data = format!("order = \"{order}\"");
        let world = World::with(&child_settings(Kind::WorkloadAttestor, &data)).await;
        let error = workload_attestor::attest(&world.plugin, 7)
            .await
            .unwrap_err();
        assert_eq!(error.code, code, "{order}: {error}");
        assert!(
            error.to_string().starts_with("workloadattestor(mine): "),
            "{error}"
        );
        world.stop().await;
    }
}
