//! Commands about entries, join tokens and agents.

use identity::clock::UnixTime;
use identity::dns_name::DnsName;
use identity::entry::{AdditionalAttributes, EntryId, RegistrationEntry};

use super::line::{Line, id, selectors, trust_domain};
use crate::command::*;
use crate::record::{JoinTokenHash, PublicKeyHash};

pub(super) fn command(line: &Line<'_>) -> Option<Command> {
    let secs = |name| UnixTime::from_secs(line.number(name).unwrap_or(0));
    Some(match line.word(0) {
        "create" => CreateEntries {
            entries: vec![entry(line)],
        }
        .into(),
        "update" => UpdateEntries {
            changes: vec![change(line)],
        }
        .into(),
        "delete" => DeleteEntries {
            ids: vec![EntryId::parse(line.word(1)).unwrap()],
        }
        .into(),
        "prune-entries" => PruneEntries {
            expired_before: secs("before"),
            limit: 10,
        }
        .into(),
        "token" => CreateJoinToken {
            hash: JoinTokenHash::of(line.word(1).as_bytes()),
            expires_at: line.time("expires"),
            alias: line
                .options
                .contains_key("sel")
                .then(|| Box::new(entry(line))),
        }
        .into(),
        "discard" => DiscardJoinToken {
            hash: JoinTokenHash::of(line.word(1).as_bytes()),
        }
        .into(),
        "prune-tokens" => PruneJoinTokens {
            expired_before: secs("before"),
            limit: 10,
        }
        .into(),
        _ => return None,
    })
}

pub(super) fn agent_command(line: &Line<'_>) -> Option<Command> {
    Some(match line.word(0) {
        "attest" => AttestAgent {
            spiffe_id: id(line.word(1)),
            attestation_type: line
                .options
                .get("type")
                .copied()
                .unwrap_or("join_token")
                .into(),
            serial: line.options["serial"].into(),
            not_after: line.time("until"),
            can_reattest: line.has("reattestable"),
            selectors: selectors(&line.list("sel")),
            redeem: line
                .options
                .get("token")
                .map(|token| JoinTokenHash::of(token.as_bytes())),
        }
        .into(),
        "redeem" => RedeemJoinToken {
            spiffe_id: id(&format!("spire/agent/join_token/{}", line.word(1))),
            serial: line.options["serial"].into(),
            not_after: line.time("until"),
            selectors: selectors(&line.list("sel")),
            token: JoinTokenHash::of(line.word(1).as_bytes()),
            public_key: PublicKeyHash::of(line.options["key"].as_bytes()),
        }
        .into(),
        "renew" => RenewAgent {
            spiffe_id: id(line.word(1)),
            new_serial: line.options["serial"].into(),
            new_not_after: line.time("until"),
        }
        .into(),
        "promote" => PromoteAgentSerial {
            spiffe_id: id(line.word(1)),
            serial: line.options["serial"].into(),
        }
        .into(),
        "ban" => BanAgent {
            spiffe_id: id(line.word(1)),
        }
        .into(),
        "delete-agent" => DeleteAgent {
            spiffe_id: id(line.word(1)),
        }
        .into(),
        "version" => SetAgentVersion {
            spiffe_id: id(line.word(1)),
            version: line.word(2).into(),
        }
        .into(),
        "prune-agents" => PruneAgents {
            expired_before: line.time("before"),
            include_non_reattestable: line.has("all"),
            limit: 10,
        }
        .into(),
        _ => return None,
    })
}

fn entry(line: &Line<'_>) -> RegistrationEntry {
    RegistrationEntry {
        id: EntryId::parse(line.word(1)).unwrap(),
        spiffe_id: id(line.options.get("spiffe").copied().unwrap_or("web")),
        parent_id: id(line.options.get("parent").copied().unwrap_or("host")),
        selectors: selectors(&line.list("sel")),
        x509_svid_ttl_s: line.seconds("ttl"),
        jwt_svid_ttl_s: line.seconds("jwt-ttl"),
        federates_with: line
            .list("federates")
            .into_iter()
            .map(trust_domain)
            .collect(),
        admin: line.has("admin"),
        downstream: line.has("downstream"),
        expires_at: line.number("expires").map(UnixTime::from_secs),
        dns_names: line
            .list("dns")
            .into_iter()
            .map(|name| DnsName::parse(name).unwrap())
            .collect(),
        // Ignored: a new entry starts at 0.
        revision: 7,
        store_svid: line.has("store-svid"),
        hint: line.text("hint"),
        additional_attributes: line.has("jti").then_some(AdditionalAttributes {
            disable_x509_svid_prefetch: false,
            jwt_svid_include_jti: true,
        }),
        created_at: UnixTime::from_secs(1000),
    }
}

fn change(line: &Line<'_>) -> EntryChange {
    let mut change = EntryChange::new(EntryId::parse(line.word(1)).unwrap());
    change.spiffe_id = line.options.get("spiffe").map(|path| id(path));
    let list = line.options.contains_key("sel").then(|| line.list("sel"));
    change.selectors = list.map(|list| selectors(&list));
    change.hint = line.options.get("hint").map(|hint| (*hint).into());
    let names = line
        .options
        .contains_key("federates")
        .then(|| line.list("federates"));
    change.federates_with = names.map(|names| names.into_iter().map(trust_domain).collect());
    change
}
