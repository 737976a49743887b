//! `cluster status` and `cluster members`.

use std::{collections::BTreeMap, time::Duration};

use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    duration::format_go,
    flags::Parsed,
};
use proto::{
    conclave::cluster::v1::{
        MemberStatus, StatusRequest, StatusResponse,
        member_status::{Disk, Role},
    },
    json,
};
use serde_json::Value;

use super::{change, connect, flags, table};
use crate::cli::api;

pub(super) fn command() -> Command {
    Command {
        words: "cluster status",
        synopsis: "Shows how every member of the cluster is.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || flags("cluster status"),
        run: |parsed, terminal| Box::pin(status(parsed, terminal)),
    }
}

pub(super) fn members_command() -> Command {
    Command {
        words: "cluster members",
        synopsis: "Lists the members of the cluster.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || flags("cluster members"),
        run: |parsed, terminal| Box::pin(members(parsed, terminal)),
    }
}

async fn ask(parsed: &Parsed) -> anyhow::Result<StatusResponse> {
    let mut client = connect(parsed).await?;
    Ok(api::answer(client.status(StatusRequest {}).await)?)
}

async fn status(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let status = ask(parsed).await?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&status)?),
        OutputFormat::Pretty => terminal.print(&pretty(&status)),
    }
    Ok(())
}

async fn members(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let status = ask(parsed).await?;
    match format {
        OutputFormat::Json => terminal.line(&members_json(&status)?),
        OutputFormat::Pretty => terminal.print(&members_pretty(&status)),
    }
    Ok(())
}

fn pretty(status: &StatusResponse) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| text.push_str(&labelled(label, value));
    line("Cluster", &status.cluster_id);
    line("Leader", &leader(status));
    line("Quorum", &quorum(status));
    for (label, value) in status.change.iter().flat_map(change::lines) {
        line(label, &value);
    }
    line("Format", &status.cluster_version.to_string());
    line("Answered by", &format!("member {}", status.answered_by));
    if !status.waiting.is_empty() {
        line("Serving", &format!("not yet, {}", status.waiting));
    }
    text.push('\n');
    let rows: Vec<_> = status.members.iter().map(row).collect();
    text.push_str(&table::render(HEADING, &rows));
    for warning in warnings(status) {
        text.push_str(&warned(&warning));
    }
    text
}

fn labelled(label: &str, value: &str) -> String {
    format!("{label:12}: {value}\n")
}

fn warned(warning: &str) -> String {
    format!("\nWarning: {warning}\n")
}

fn leader(status: &StatusResponse) -> String {
    match status.leader {
        0 => "none now: nothing can be written".to_owned(),
        leader => format!("member {leader}, term {}", status.term),
    }
}

fn quorum(status: &StatusResponse) -> String {
    let is_reachable = |id: &&u64| {
        let member = status.members.iter().find(|member| member.id == **id);
        member.is_some_and(|member| member.is_reachable)
    };
    let set = |(noun, voters): (&str, &[u64])| {
        let reachable = voters.iter().filter(is_reachable).count();
        let (quorum, all) = (voters.len() / 2 + 1, voters.len());
        format!("{quorum} of {all} {noun}, {reachable} reachable")
    };
    let voters = status.members.iter().filter(|member| votes(member));
    let voters: Vec<u64> = voters.map(|member| member.id).collect();
    let sets = match &status.change {
        Some(change) => change::voter_sets(change),
        None => vec![("voters", voters.as_slice())],
    };
    let sets: Vec<String> = sets.into_iter().map(set).collect();
    sets.join("; and ")
}

fn votes(member: &MemberStatus) -> bool {
    matches!(member.role(), Role::Leader | Role::Voter)
}

const HEADING: [&str; 11] = [
    "ID", "ROLE", "STATE", "PEERS AT", "VERSION", "FORMATS", "LAG", "CONTACT", "FRESH", "DISK",
    "HASH",
];

fn row(member: &MemberStatus) -> [String; 11] {
    let seen = |value: String| match member.is_reachable {
        true => value,
        false => NOTHING.to_owned(),
    };
    let hash: String = member.state_hash.chars().take(SHORT_HASH_LEN).collect();
    [
        member.id.to_string(),
        role(member).to_owned(),
        state(member).to_owned(),
        member.peer_address.clone(),
        member.program_version.clone(),
        formats(member),
        seen(member.log_lag.to_string()),
        age(member.last_contact_ms),
        seen(age(member.freshness_age_ms)),
        seen(disk(member)),
        seen(hash),
    ]
    .map(shown)
}

/// An empty cell would be mistaken for a gap between two others.
fn shown(cell: String) -> String {
    match cell.is_empty() {
        true => NOTHING.to_owned(),
        false => cell,
    }
}

const NOTHING: &str = "-";
const SHORT_HASH_LEN: usize = 12;

fn role(member: &MemberStatus) -> &'static str {
    match member.role() {
        Role::Unknown => "unknown",
        Role::Leader => "leader",
        Role::Voter => "voter",
        Role::Learner => "learner",
        Role::Admitted => "admitted",
    }
}

fn state(member: &MemberStatus) -> &'static str {
    match member.is_reachable {
        true => "up",
        false => "unreachable",
    }
}

fn formats(member: &MemberStatus) -> String {
    match (member.formats_from, member.formats_to) {
        (0, 0) => NOTHING.to_owned(),
        (from, to) if from == to => from.to_string(),
        (from, to) => format!("{from}-{to}"),
    }
}

fn disk(member: &MemberStatus) -> String {
    match member.disk() {
        Disk::Unseen => NOTHING.to_owned(),
        Disk::Healthy => "healthy".to_owned(),
        Disk::Stalled => format!("stalled for {}", age(Some(member.disk_stalled_ms))),
        Disk::Full => "full".to_owned(),
    }
}

/// As precise as somebody who looks at it needs: `120ms`, `3.2s`, `1h4m10s`.
fn age(ms: Option<u32>) -> String {
    let Some(ms) = ms else {
        return NOTHING.to_owned();
    };
    let shown_ms = match ms {
        0..1_000 => ms,
        1_000..60_000 => ms / 100 * 100,
        _ => ms / 1_000 * 1_000,
    };
    format_go(Duration::from_millis(shown_ms.into()))
}

/// What nobody should have to find out by comparing columns.
fn warnings(status: &StatusResponse) -> Vec<String> {
    let mut warnings: Vec<String> = stuck(status).into_iter().collect();
    let mut by_index: BTreeMap<u64, &MemberStatus> = BTreeMap::new();
    for member in status.members.iter().filter(|member| member.is_reachable) {
        let first = by_index.entry(member.applied_index).or_insert(member);
        if first.state_hash != member.state_hash {
            warnings.push(format!(
                "members {} and {} hold different states at log entry {}",
                first.id, member.id, member.applied_index
            ));
        }
        if member.disk() == Disk::Full {
            warnings.push(format!("the disk of member {} is full", member.id));
        }
    }
    warnings.extend(clocks(status));
    warnings
}

/// Members whose clocks are not right within seconds, against the one in the middle.
fn clocks(status: &StatusResponse) -> Vec<String> {
    let times = status.members.iter();
    let times = times.filter_map(|member| Some((member.clock_ahead_s?, member.id)));
    let mut times: Vec<(i64, u64)> = times.collect();
    times.sort_unstable();
    let Some(&(middle, reference)) = times.get(times.len().saturating_sub(1) / 2) else {
        return Vec::new();
    };
    let differing = times.iter().filter_map(|(ahead_s, id)| {
        let apart = Duration::from_secs(ahead_s.abs_diff(middle));
        let direction = if *ahead_s > middle {
            "ahead of"
        } else {
            "behind"
        };
        (apart > CLOCKS_APART).then(|| {
            let apart = format_go(apart);
            format!("the clock of member {id} is {apart} {direction} that of member {reference}")
        })
    });
    differing.collect()
}

/// From when on clocks that differ are worth a warning; more than the times are read wrong by.
const CLOCKS_APART: Duration = Duration::from_secs(5);

/// What keeps a change of members, and all that is written, from going on.
fn stuck(status: &StatusResponse) -> Option<String> {
    change::warning(status.change.as_ref()?, &status.members)
}

fn members_pretty(status: &StatusResponse) -> String {
    let mut text = members_table(&status.members);
    let Some(change) = &status.change else {
        return text;
    };
    text.push('\n');
    for (label, value) in change::lines(change) {
        text.push_str(&labelled(label, &value));
    }
    if let Some(warning) = stuck(status) {
        text.push_str(&warned(&warning));
    }
    text
}

fn members_table(members: &[MemberStatus]) -> String {
    let rows = members.iter().map(|member| {
        [
            member.id.to_string(),
            role(member).to_owned(),
            member.peer_address.clone(),
            member.api_address.clone(),
            member.program_version.clone(),
        ]
        .map(shown)
    });
    let heading = ["ID", "ROLE", "PEERS AT", "AGENTS AT", "VERSION"];
    table::render(heading, &rows.collect::<Vec<_>>())
}

fn members_json(status: &StatusResponse) -> anyhow::Result<String> {
    const SHOWN: [&str; 5] = [
        "api_address",
        "id",
        "peer_address",
        "program_version",
        "role",
    ];
    let mut document = json::message_value(status)?;
    let members = document.get_mut("members").map(Value::take);
    let mut members = members.unwrap_or_default();
    for member in members.as_array_mut().into_iter().flatten() {
        if let Value::Object(fields) = member {
            fields.retain(|name, _| SHOWN.contains(&name.as_str()));
        }
    }
    let mut shown = serde_json::json!({ "members": members });
    if let Some(change) = document.get_mut("change") {
        shown["change"] = change.take();
    }
    Ok(json::one_line(&shown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::conclave::cluster::v1::{Membership, MembershipChange, MissingVoters};

    fn member(id: u64, role: Role) -> MemberStatus {
        MemberStatus {
            id,
            role: role.into(),
            peer_address: format!("10.0.0.{id}:8083"),
            api_address: format!("10.0.0.{id}:8081"),
            program_version: "0.1.0".to_owned(),
            formats_from: 1,
            formats_to: 1,
            is_reachable: true,
            last_contact_ms: Some(40),
            applied_index: 512,
            log_lag: 0,
            revision: 300,
            state_hash: "0123456789abcdef".repeat(2),
            freshness_age_ms: Some(4_321),
            disk: Disk::Healthy.into(),
            disk_stalled_ms: 0,
            snapshot_index: None,
            clock_ahead_s: Some(0),
        }
    }

    fn status() -> StatusResponse {
        let leader = MemberStatus {
            last_contact_ms: None,
            ..member(1, Role::Leader)
        };
        let behind = MemberStatus {
            applied_index: 500,
            log_lag: 12,
            formats_to: 2,
            disk: Disk::Stalled.into(),
            disk_stalled_ms: 1_750,
            ..member(5, Role::Learner)
        };
        let gone = MemberStatus {
            id: 9,
            role: Role::Voter.into(),
            peer_address: "10.0.0.9:8083".to_owned(),
            last_contact_ms: Some(3_850_999),
            ..MemberStatus::default()
        };
        StatusResponse {
            cluster_id: "ab".repeat(16),
            cluster_version: 1,
            answered_by: 1,
            leader: 1,
            term: 4,
            members: vec![leader, behind, gone],
            quorum: 2,
            waiting: String::new(),
            change: None,
        }
    }

    /// The second of two members is away in the middle of its promotion.
    fn waiting_for_the_second() -> StatusResponse {
        let leader = member(1, Role::Leader);
        let away = MemberStatus {
            is_reachable: false,
            last_contact_ms: Some(9_000),
            ..member(5, Role::Learner)
        };
        let membership = |voters: &[u64], outgoing: &[u64], learners: &[u64]| Membership {
            voters: voters.to_vec(),
            outgoing_voters: outgoing.to_vec(),
            learners: learners.to_vec(),
        };
        StatusResponse {
            members: vec![leader, away],
            change: Some(MembershipChange {
                committed: Some(membership(&[1], &[], &[5])),
                pending: Some(membership(&[1, 5], &[1], &[])),
                index: 12,
                waits_for: vec![MissingVoters {
                    count: 1,
                    members: vec![5],
                }],
            }),
            ..status()
        }
    }

    #[test]
    fn a_change_that_cannot_go_on_is_shown_with_the_way_out() {
        let status = waiting_for_the_second();
        let change = "\
Committed   : voter 1; learner 5
Pending     : voters 1, 5, until all is done together with voter 1
Waits for   : member 5
";
        let warning = "
Warning: nothing can be written before the change of members is acknowledged by member 5. Start what is away \
again: removing a member is refused until then. If that is lost for good, stop a member that is left and make a new \
cluster of what it holds: conclave-server cluster recover -dryRun
";
        let expected = format!(
            "\
Cluster     : abababababababababababababababab
Leader      : member 1, term 4
Quorum      : 1 of 1 old voters, 1 reachable; and 2 of 2 new voters, 1 reachable
{change}Format      : 1
Answered by : member 1

ID  ROLE     STATE        PEERS AT       VERSION  FORMATS  LAG  CONTACT  FRESH  DISK     HASH
1   leader   up           10.0.0.1:8083  0.1.0    1        0    40ms     4.3s   healthy  0123456789ab
5   learner  unreachable  10.0.0.5:8083  0.1.0    1        -    9s       -      -        -
{warning}"
        );
        assert_eq!(pretty(&status), expected);
        let expected = format!(
            "\
ID  ROLE     PEERS AT       AGENTS AT      VERSION
1   leader   10.0.0.1:8083  10.0.0.1:8081  0.1.0
5   learner  10.0.0.5:8083  10.0.0.5:8081  0.1.0

{change}{warning}"
        );
        assert_eq!(members_pretty(&status), expected);
    }

    #[test]
    fn json_has_a_change_only_while_one_is_under_way() {
        let change = concat!(
            r#""change":{"committed":{"learners":["5"],"outgoing_voters":[],"voters":["1"]},"index":"12","#,
            r#""pending":{"learners":[],"outgoing_voters":["1"],"voters":["1","5"]},"#,
            r#""waits_for":[{"count":1,"members":["5"]}]}"#,
        );
        let stuck = waiting_for_the_second();
        for text in [
            json::render_message(&stuck).unwrap(),
            members_json(&stuck).unwrap(),
        ] {
            assert!(text.contains(change), "{text}");
        }
        for text in [
            json::render_message(&status()).unwrap(),
            members_json(&status()).unwrap(),
        ] {
            assert!(!text.contains("change"), "{text}");
        }
    }

    #[test]
    fn a_status_shows_each_member_and_what_is_unknown_of_one_that_does_not_answer() {
        let expected = "\
Cluster     : abababababababababababababababab
Leader      : member 1, term 4
Quorum      : 2 of 2 voters, 1 reachable
Format      : 1
Answered by : member 1

ID  ROLE     STATE        PEERS AT       VERSION  FORMATS  LAG  CONTACT  FRESH  DISK              HASH
1   leader   up           10.0.0.1:8083  0.1.0    1        0    -        4.3s   healthy           0123456789ab
5   learner  up           10.0.0.5:8083  0.1.0    1-2      12   40ms     4.3s   stalled for 1.7s  0123456789ab
9   voter    unreachable  10.0.0.9:8083  -        -        -    1h4m10s  -      -                 -
";
        assert_eq!(pretty(&status()), expected);
    }

    #[test]
    fn a_cluster_without_leader_and_members_that_differ_are_said() {
        let mut status = status();
        status.leader = 0;
        status.waiting = "it waits for a quorum".to_owned();
        status.members[1].applied_index = 512;
        status.members[1].state_hash = "f".repeat(32);
        status.members[1].disk = Disk::Full.into();
        let text = pretty(&status);
        assert!(
            text.contains("\nLeader      : none now: nothing can be written\n"),
            "{text}"
        );
        let serving = "\nAnswered by : member 1\nServing     : not yet, it waits for a quorum\n";
        assert!(text.contains(serving), "{text}");
        let warnings = "\n\
            Warning: members 1 and 5 hold different states at log entry 512\n\
            \n\
            Warning: the disk of member 5 is full\n";
        assert!(text.ends_with(warnings), "{text}");
    }

    #[test]
    fn clocks_that_differ_are_said() {
        let with_clocks = |ahead_s: &[i64]| {
            let members = (1..).zip(ahead_s).map(|(id, ahead_s)| MemberStatus {
                clock_ahead_s: Some(*ahead_s),
                ..member(id, Role::Voter)
            });
            clocks(&StatusResponse {
                members: members.collect(),
                ..status()
            })
        };
        assert!(with_clocks(&[0, 5, -2]).is_empty());
        let ahead = "the clock of member 3 is 72h0m1s ahead of that of member 2";
        assert_eq!(with_clocks(&[0, 1, 259_202]), [ahead]);
        let behind = "the clock of member 1 is 2m0s behind that of member 2";
        assert_eq!(with_clocks(&[0, 120, 121]), [behind]);
        let apart = "the clock of member 2 is 1h0m0s ahead of that of member 1";
        assert_eq!(with_clocks(&[0, 3_600]), [apart]);
    }

    #[test]
    fn json_has_whole_hashes_and_leaves_out_what_is_unknown() {
        let text = json::render_message(&status()).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let members = value["members"].as_array().unwrap();
        assert_eq!(members[0]["state_hash"], "0123456789abcdef".repeat(2));
        assert_eq!(members[0]["role"], "LEADER");
        assert_eq!(members[1]["disk_stalled_ms"], 1_750);
        assert_eq!(members[2]["is_reachable"], false);
        assert!(members[2].get("freshness_age_ms").is_none(), "{text}");
    }

    #[test]
    fn members_are_listed_with_their_addresses() {
        let status = status();
        let expected = "\
ID  ROLE     PEERS AT       AGENTS AT      VERSION
1   leader   10.0.0.1:8083  10.0.0.1:8081  0.1.0
5   learner  10.0.0.5:8083  10.0.0.5:8081  0.1.0
";
        assert_eq!(members_table(&status.members[..2]), expected);
        let json = members_json(&status).unwrap();
        let first = r#"{"members":[{"api_address":"10.0.0.1:8081","id":"1","peer_address":"10.0.0.1:8083","program_version":"0.1.0","role":"LEADER"},"#;
        assert!(json.starts_with(first), "{json}");
    }
}
