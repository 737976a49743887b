//! What `cluster status` and `cluster members` say of a change of members that is under way.

use proto::conclave::cluster::v1::{MemberStatus, Membership, MembershipChange, MissingVoters};

/// Lines to show, each a label and a text.
pub(super) fn lines(change: &MembershipChange) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(committed) = &change.committed {
        lines.push(("Committed", described(committed)));
    }
    if let Some(pending) = &change.pending {
        lines.push(("Pending", described(pending)));
    }
    let waits_for = match (change.waits_for.as_slice(), &change.pending) {
        ([], Some(_)) => "nobody: about to be committed".to_owned(),
        ([], None) => "the leader's next step".to_owned(),
        (missing, _) => named(missing),
    };
    lines.push(("Waits for", waits_for));
    lines
}

/// Sets of voters of each of which a majority must be there to write.
pub(super) fn voter_sets(change: &MembershipChange) -> Vec<(&'static str, &[u64])> {
    let newest = change.pending.as_ref().or(change.committed.as_ref());
    let Some(newest) = newest else {
        return Vec::new();
    };
    match newest.outgoing_voters.as_slice() {
        [] => vec![("voters", &newest.voters)],
        outgoing => vec![("old voters", outgoing), ("new voters", &newest.voters)],
    }
}

/// What to do when too few answer for the change to go on.
pub(super) fn warning(change: &MembershipChange, members: &[MemberStatus]) -> Option<String> {
    let answers = |id: &&u64| {
        let member = members.iter().find(|member| member.id == **id);
        member.is_some_and(|member| member.is_reachable)
    };
    let stuck = change.waits_for.iter().filter(|missing| {
        let answering = missing.members.iter().filter(answers).count();
        u32::try_from(answering).unwrap_or(u32::MAX) < missing.count
    });
    let stuck: Vec<MissingVoters> = stuck.cloned().collect();
    if stuck.is_empty() {
        return None;
    }
    let whom = named(&stuck);
    Some(format!(
        "nothing can be written before the change of members is acknowledged by {whom}. Start what is away again: \
         removing a member is refused until then. If that is lost for good, stop a member that is left and make a new \
         cluster of what it holds: conclave-server cluster recover -dryRun"
    ))
}

fn described(membership: &Membership) -> String {
    let mut text = counted("voter", &membership.voters);
    if !membership.outgoing_voters.is_empty() {
        let outgoing = counted("voter", &membership.outgoing_voters);
        text = format!("{text}, until all is done together with {outgoing}");
    }
    if !membership.learners.is_empty() {
        text = format!("{text}; {}", counted("learner", &membership.learners));
    }
    text
}

fn named(missing: &[MissingVoters]) -> String {
    let each = missing.iter().map(|missing| {
        let members = counted("member", &missing.members);
        match usize::try_from(missing.count) {
            Ok(count) if count < missing.members.len() => format!("{count} of {members}"),
            _ => members,
        }
    });
    each.collect::<Vec<_>>().join(" and ")
}

/// `voter 1`, `voters 1, 5`.
fn counted(noun: &str, ids: &[u64]) -> String {
    let numbers = ids.iter().map(u64::to_string).collect::<Vec<_>>();
    let plural = if ids.len() == 1 { "" } else { "s" };
    format!("{noun}{plural} {}", numbers.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(voters: &[u64], outgoing: &[u64], learners: &[u64]) -> Membership {
        Membership {
            voters: voters.to_vec(),
            outgoing_voters: outgoing.to_vec(),
            learners: learners.to_vec(),
        }
    }

    fn missing(count: u32, members: &[u64]) -> MissingVoters {
        MissingVoters {
            count,
            members: members.to_vec(),
        }
    }

    fn answering(ids: &[u64]) -> Vec<MemberStatus> {
        let member = |id: &u64| MemberStatus {
            id: *id,
            is_reachable: true,
            ..MemberStatus::default()
        };
        ids.iter().map(member).collect()
    }

    #[test]
    fn a_change_half_way_names_how_many_of_whom_are_missing() {
        let change = MembershipChange {
            committed: Some(membership(&[1, 2, 3, 4, 5], &[1, 2, 3], &[])),
            pending: None,
            index: 40,
            waits_for: vec![missing(1, &[2, 3]), missing(2, &[2, 3, 4, 5])],
        };
        let shown = lines(&change);
        assert_eq!(
            shown[0].1,
            "voters 1, 2, 3, 4, 5, until all is done together with voters 1, 2, 3"
        );
        assert_eq!(shown[1].0, "Waits for");
        assert_eq!(shown[1].1, "1 of members 2, 3 and 2 of members 2, 3, 4, 5");
        // One that answers gets it in a moment.
        let warned = warning(&change, &answering(&[1, 2])).unwrap();
        let expected = "acknowledged by 2 of members 2, 3, 4, 5. Start";
        assert!(warned.contains(expected), "{warned}");
        assert_eq!(warning(&change, &answering(&[1, 2, 4])), None);
    }

    #[test]
    fn a_change_that_waits_for_nobody_is_no_warning() {
        let mut change = MembershipChange {
            committed: Some(membership(&[1], &[], &[])),
            pending: Some(membership(&[1], &[], &[5])),
            index: 8,
            waits_for: Vec::new(),
        };
        assert_eq!(
            lines(&change),
            [
                ("Committed", "voter 1".to_owned()),
                ("Pending", "voter 1; learner 5".to_owned()),
                ("Waits for", "nobody: about to be committed".to_owned()),
            ]
        );
        assert_eq!(voter_sets(&change), [("voters", [1].as_slice())]);
        assert_eq!(warning(&change, &[]), None);
        change.committed = Some(membership(&[1, 5], &[1], &[]));
        change.pending = None;
        assert_eq!(
            lines(&change)[1],
            ("Waits for", "the leader's next step".to_owned())
        );
    }
}
