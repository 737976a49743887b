//! `cluster status` and `cluster members`.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

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

use super::{connect, table};
use crate::cli::api;

pub(super) fn command() -> Command {
    Command {
        words: "cluster status",
        synopsis: "Shows how every member of the cluster is.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || api::flags("cluster status"),
        run: |parsed, terminal| Box::pin(status(parsed, terminal)),
    }
}

pub(super) fn members_command() -> Command {
    Command {
        words: "cluster members",
        synopsis: "Lists the members of the cluster.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || api::flags("cluster members"),
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
        OutputFormat::Pretty => terminal.print(&members_table(&status.members)),
    }
    Ok(())
}

fn pretty(status: &StatusResponse) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        writeln!(text, "{label:12}: {value}").expect("a String takes every write");
    };
    line("Cluster", &status.cluster_id);
    line("Leader", &leader(status));
    line("Quorum", &quorum(status));
    line("Format", &status.cluster_version.to_string());
    line("Answered by", &format!("member {}", status.answered_by));
    if !status.waiting.is_empty() {
        line("Serving", &format!("not yet, {}", status.waiting));
    }
    text.push('\n');
    let rows: Vec<_> = status.members.iter().map(row).collect();
    text.push_str(&table::render(HEADING, &rows));
    for warning in warnings(status) {
        writeln!(text, "\nWarning: {warning}").expect("a String takes every write");
    }
    text
}

fn leader(status: &StatusResponse) -> String {
    match status.leader {
        0 => "none now: nothing can be written".to_owned(),
        leader => format!("member {leader}, term {}", status.term),
    }
}

fn quorum(status: &StatusResponse) -> String {
    let voters = || status.members.iter().filter(|member| votes(member));
    let reachable = voters().filter(|member| member.is_reachable).count();
    format!(
        "{} of {} voters, {reachable} reachable",
        status.quorum,
        voters().count()
    )
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
    let mut warnings = Vec::new();
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
    warnings
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
    Ok(json::one_line(&serde_json::json!({ "members": members })))
}

#[cfg(test)]
mod tests {
    use super::*;

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
