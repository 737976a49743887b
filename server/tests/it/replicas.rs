//! Three members of a cluster in this process: whatever a client asks, it may ask any of them.

use std::collections::BTreeSet;
use std::time::Duration;

use identity::secret::{KeyType, PrivateKey};
use identity::x509::generate_csr;
use proto::spire::api::server::agent::v1::agent_client::AgentClient;
use proto::spire::api::server::agent::v1::{BanAgentRequest, GetAgentRequest};
use proto::spire::api::server::entry::v1::entry_client::EntryClient;
use proto::spire::api::server::entry::v1::{
    GetAuthorizedEntriesRequest, GetEntryRequest, ListEntriesRequest,
};
use proto::spire::api::server::svid::v1::svid_client::SvidClient;
use proto::spire::api::server::svid::v1::{
    BatchNewX509svidRequest, MintJwtsvidRequest, NewX509svidParams,
};
use raft_store::{AuthorityKind, State};
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::watch::Watcher;
use crate::world::{Agent, World, attest_request, entry, wire_id};

/// The same agent at another member.
async fn at(member: &World, agent: &Agent) -> Agent {
    Agent {
        channel: member.holder(agent.svid.clone()).await,
        id: agent.id.clone(),
        svid: agent.svid.clone(),
    }
}

async fn sign(channel: &Channel, entry_id: &str) -> Result<i32, Status> {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let params = NewX509svidParams {
        entry_id: entry_id.to_owned(),
        csr: generate_csr(&key, None, &[]).unwrap(),
    };
    let request = BatchNewX509svidRequest {
        params: vec![params],
    };
    let answer = SvidClient::new(channel.clone())
        .batch_new_x509svid(request)
        .await?;
    let result = answer.into_inner().results.remove(0);
    Ok(result.status.unwrap().code)
}

async fn attest(member: &World, token: &str) -> Result<(), Status> {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let request = attest_request(token, generate_csr(&key, None, &[]).unwrap());
    let mut answers = AgentClient::new(member.anonymous().await)
        .attest_agent(tokio_stream::once(request))
        .await?
        .into_inner();
    answers
        .message()
        .await
        .map(|answer| assert!(answer.is_some()))
}

async fn ban(member: &World, agent: &Agent) {
    let id = Some(wire_id(agent.id.path()));
    let mut admin = AgentClient::new(member.admin().await);
    admin.ban_agent(BanAgentRequest { id }).await.unwrap();
}

async fn authorized(channel: &Channel) -> Result<usize, Status> {
    let answer = EntryClient::new(channel.clone())
        .get_authorized_entries(GetAuthorizedEntriesRequest::default())
        .await?;
    Ok(answer.into_inner().entries.len())
}

fn authority_ids(member: &World) -> BTreeSet<String> {
    member.store().read(|state: &State| {
        let all = AuthorityKind::ALL.into_iter();
        let ids = all.flat_map(|kind| state.authorities(kind).map(|one| one.id.to_string()));
        ids.collect()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_member_answered_every_member_knows() {
    let members = World::cluster().await;
    let [one, two, three] = &members;
    // Made here, used there, and used up everywhere.
    for (maker, user) in [(one, two), (two, three), (three, one)] {
        let token = maker.join_token().await;
        attest(user, &token).await.unwrap();
        for member in &members {
            let refused = attest(member, &token).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
        }
    }
    for (maker, user) in [(two, one), (one, three), (three, two)] {
        let path = format!("/made-at-{}", maker.address().port());
        let ids = maker.create(vec![entry(&path, "/p")]).await;
        let found = user
            .entries()
            .await
            .get_entry(GetEntryRequest {
                id: ids[0].clone(),
                output_mask: None,
            })
            .await
            .unwrap();
        assert_eq!(found.into_inner().spiffe_id.unwrap().path, path);
        let agent = maker.agent().await;
        let id = Some(wire_id(agent.id.path()));
        let mut admin = AgentClient::new(user.admin().await);
        let request = GetAgentRequest {
            id,
            output_mask: None,
        };
        admin.get_agent(request).await.unwrap();
        // The first call elsewhere, with a certificate that was signed here.
        authorized(&at(user, &agent).await.channel).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn list_begun_at_one_member_goes_on_at_another() {
    let members = World::cluster().await;
    let entries = (0..9).map(|number| entry(&format!("/w{number}"), "/p"));
    members[0].create(entries.collect()).await;
    let mut page_token = String::new();
    let mut paths = Vec::new();
    for place in 0.. {
        let request = ListEntriesRequest {
            page_size: 2,
            page_token,
            ..ListEntriesRequest::default()
        };
        let member = &members[place % 3];
        // A member may be a moment behind; what it answered, the next has applied.
        member.store().linearizable(PATIENCE).await.unwrap();
        let page = member.entries().await.list_entries(request).await.unwrap();
        let page = page.into_inner();
        let listed = page.entries.into_iter();
        paths.extend(listed.map(|entry| entry.spiffe_id.unwrap().path));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let expected: Vec<String> = (0..9).map(|number| format!("/w{number}")).collect();
    assert_eq!(paths, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn entry_made_at_one_member_is_told_by_another_at_once() {
    let [one, two, three] = World::cluster().await;
    let agent = one.agent().await;
    let mine = agent.id.path();
    let mut watcher = Watcher::start(&at(&three, &agent).await).await;
    let mut expected = Vec::new();
    let mut slowest = Duration::ZERO;
    for number in 0..50 {
        let path = format!("/w{number:02}");
        let begun = Instant::now();
        two.create(vec![entry(&path, mine)]).await;
        expected.push(path);
        let paths: Vec<&str> = expected.iter().map(String::as_str).collect();
        watcher.wait_for(&paths).await;
        slowest = slowest.max(begun.elapsed());
    }
    assert_eq!(watcher.resets, 1);
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_goes_on_at_another_member_where_it_was() {
    let members = World::cluster().await;
    let agent = members[0].agent().await;
    let mine = agent.id.path();
    members[0].create(vec![entry("/w", mine)]).await;
    let mut watcher = Watcher::start(&at(&members[0], &agent).await).await;
    let mut expected = vec!["/w".to_owned()];
    for round in 0..6 {
        let path = format!("/w{round}");
        members[round % 3].create(vec![entry(&path, mine)]).await;
        expected.push(path);
        let there = at(&members[(round + 1) % 3], &agent).await;
        watcher.resume(&there).await;
        let paths: Vec<&str> = expected.iter().map(String::as_str).collect();
        watcher.wait_for(&paths).await;
    }
    assert_eq!(watcher.resets, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn banned_agent_is_out_everywhere_within_a_second() {
    let members = World::cluster().await;
    for banner in &members {
        let agent = banner.agent().await;
        let mut watchers = Vec::new();
        let mut channels = Vec::new();
        for member in &members {
            let there = at(member, &agent).await;
            authorized(&there.channel).await.unwrap();
            watchers.push(Watcher::start(&there).await);
            channels.push(there.channel);
        }
        ban(banner, &agent).await;
        let deadline = Instant::now() + Duration::from_secs(1);
        for channel in &channels {
            while authorized(channel).await.is_ok() {
                assert!(Instant::now() < deadline);
                sleep(Duration::from_millis(5)).await;
            }
        }
        for mut watcher in watchers {
            let status = watcher.wait_for_end().await;
            assert_eq!(status.code(), Code::PermissionDenied);
        }
        assert!(Instant::now() < deadline);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_changes_of_leader_make_no_key() {
    let members = World::cluster().await;
    let before = authority_ids(&members[0]);
    let agent = members[0].agent().await;
    let ids = members[0].create(vec![entry("/w", agent.id.path())]).await;
    let mut channels = Vec::new();
    for member in &members {
        channels.push(at(member, &agent).await.channel);
    }
    for _ in 0..20 {
        members[1]
            .store()
            .transfer_leadership(None, PATIENCE)
            .await
            .unwrap();
        for channel in &channels {
            assert_eq!(sign(channel, &ids[0]).await.unwrap(), 0);
        }
    }
    for member in &members {
        member.store().linearizable(PATIENCE).await.unwrap();
        assert_eq!(authority_ids(member), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_is_cut_off_signs_for_a_while_and_then_says_why_not() {
    let limit = Duration::from_secs(15);
    let members = World::cluster_with(|cluster| cluster.signing_max_staleness = limit).await;
    let [mut one, mut two, three] = members;
    let agent = one.agent().await;
    let ids = one.create(vec![entry("/w", agent.id.path())]).await;
    let there = at(&three, &agent).await;
    let mut watcher = Watcher::start(&there).await;
    watcher.wait_for(&["/w"]).await;
    one.stop().await.unwrap();
    let last_seen = Instant::now();
    two.stop().await.unwrap();
    let alone = Instant::now();
    // Without any leader, and for as long as it may.
    let deadline = last_seen + limit - Duration::from_secs(5);
    while Instant::now() < deadline {
        assert_eq!(sign(&there.channel, &ids[0]).await.unwrap(), 0);
        sleep(Duration::from_millis(100)).await;
    }
    // Its agents are sent to others long before.
    let status = watcher.wait_for_end().await;
    assert_eq!(status.code(), Code::Unavailable);
    let deadline = alone + limit + Duration::from_secs(3);
    while sign(&there.channel, &ids[0]).await.unwrap() == 0 {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(100)).await;
    }
    let request = MintJwtsvidRequest {
        id: Some(wire_id("/w")),
        audience: vec!["x".to_owned()],
        ttl: 0,
    };
    let refused = SvidClient::new(three.admin().await)
        .mint_jwtsvid(request)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(
        refused.message().contains("signing is suspended"),
        "{refused:?}"
    );
    // What it does not know, it does not deny.
    let token = "3b0ab7b6-0c5e-4d59-a7b6-6ac0b2a2c2a8";
    let unsure = attest(&three, token).await.unwrap_err();
    assert_eq!(unsure.code(), Code::Unavailable, "{unsure:?}");
}

const PATIENCE: Duration = Duration::from_secs(20);
