//! What is listed and counted, and that nobody waits for it.

use futures_util::poll;
use identity::selector::{MatchBehavior, Selector};

use super::testing::entry;
use super::*;
use crate::testing::TestStore;
use crate::walk::PART;

/// Enough for three parts of what most of them have in common.
const COUNT: usize = 2 * PART + 1_000;

/// How many go with one command.
const BATCH: usize = 500;

/// Most are below `/host` and called `/web`; each twentieth has another parent, and others another name. Few have the
/// hint `rare`, the first and the last among them.
fn numbered(number: usize) -> RegistrationEntry {
    let path = if number % 20 == 7 { "/other" } else { "/web" };
    let parent = if number % 20 == 3 { "/small" } else { "/host" };
    let is_rare = number.is_multiple_of(1_000) || number == COUNT - 1;
    RegistrationEntry {
        id: id(number),
        hint: if is_rare { "rare" } else { "" }.into(),
        ..entry(path, parent, &[&format!("unix:uid:{number}")])
    }
}

fn id(number: usize) -> EntryId {
    EntryId::parse(&format!("entry-{number:05}")).unwrap()
}

fn ids(numbers: &[usize]) -> Vec<EntryId> {
    numbers.iter().map(|number| id(*number)).collect()
}

async fn filled() -> (TestStore, Entries) {
    let test = TestStore::create().await;
    let entries = Entries::new(test.store.clone(), test.clock());
    let all: Vec<_> = (0..COUNT).map(numbered).collect();
    for batch in all.chunks(BATCH) {
        entries.create(batch.to_vec()).await.unwrap();
    }
    (test, entries)
}

/// A filter for each way to find entries, all of which lead to most of them.
fn ways() -> [EntryFilter; 3] {
    let common = numbered(0);
    let by_spiffe_id = EntryFilter {
        spiffe_id: Some(common.spiffe_id),
        ..EntryFilter::default()
    };
    let by_parent = EntryFilter {
        parent_id: Some(common.parent_id),
        ..EntryFilter::default()
    };
    [EntryFilter::default(), by_spiffe_id, by_parent]
}

/// Filters with further conditions.
fn narrow_filters() -> Vec<EntryFilter> {
    let with_hint = |filter: EntryFilter| EntryFilter {
        hint: Some("rare".into()),
        ..filter
    };
    let mut filters = ways().map(with_hint).to_vec();
    let [_, by_spiffe_id, _] = ways();
    let below_small = EntryFilter {
        parent_id: Some(numbered(3).parent_id),
        ..EntryFilter::default()
    };
    let with_both_ids = EntryFilter {
        parent_id: below_small.parent_id.clone(),
        ..by_spiffe_id
    };
    let of_nobody = EntryFilter {
        spiffe_id: Some(entry("/nobody", "/host", &[]).spiffe_id),
        ..EntryFilter::default()
    };
    let selector = Selector::parse("unix:uid:8000").unwrap();
    let with_selector = EntryFilter {
        selectors: Some((MatchBehavior::Superset, [selector].into_iter().collect())),
        ..EntryFilter::default()
    };
    filters.extend([below_small, with_both_ids, of_nobody, with_selector]);
    filters
}

/// What a look at each of all entries finds.
fn admitted(filter: &EntryFilter) -> Vec<usize> {
    let is_admitted = |number: &usize| filter::admits(filter, &numbered(*number));
    (0..COUNT).filter(is_admitted).collect()
}

async fn listed(entries: &Entries, filter: &EntryFilter, limit: usize) -> Vec<EntryId> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = entries.list(filter, after, limit).await;
        if page.entries.is_empty() {
            return found;
        }
        assert!(page.entries.len() <= limit);
        found.extend(page.entries.iter().map(|entry| entry.id.clone()));
        assert!(found.len() <= COUNT, "{filter:?} shows some again");
        after = page.last;
    }
}

#[tokio::test]
async fn filters_find_the_same_in_pages_of_any_size() {
    let (_test, entries) = filled().await;
    for filter in narrow_filters().into_iter().chain(ways()) {
        let expected = ids(&admitted(&filter));
        assert_eq!(entries.count(&filter).await, expected.len(), "{filter:?}");
        let sizes = [1, 7, PART - 1, PART, PART + 1, usize::MAX];
        for limit in sizes {
            let found = listed(&entries, &filter, limit).await;
            assert!(found == expected, "{limit} a page: {filter:?}");
        }
        let page = entries
            .list(&filter, Some(Sequence::new(u64::MAX)), 1)
            .await;
        assert!(page.entries.is_empty() && page.last.is_none());
    }
}

#[tokio::test]
async fn entries_can_be_written_while_others_are_listed_and_counted() {
    for way in ways() {
        let (_test, entries) = filled().await;
        let candidates = admitted(&way);
        let filter = EntryFilter {
            hint: Some("".into()),
            ..way
        };
        let mut counting = std::pin::pin!(entries.count(&filter));
        let mut listing = std::pin::pin!(entries.list(&filter, None, usize::MAX));
        assert!(poll!(counting.as_mut()).is_pending(), "{filter:?}");
        assert!(poll!(listing.as_mut()).is_pending(), "{filter:?}");

        // The last that was looked at goes, the next and another; their neighbours get other names and parents.
        let (looked_at, rest) = candidates.split_at(PART);
        let gone = [looked_at[PART - 1], rest[0], rest[2]];
        let moved = [looked_at[PART - 2], rest[1]];
        assert_eq!(entries.delete(ids(&gone)).await.unwrap(), [true; 3]);
        let elsewhere = entry("/elsewhere", "/elsewhere", &[]);
        let changes = moved.map(|number| EntryChange {
            spiffe_id: Some(elsewhere.spiffe_id.clone()),
            parent_id: Some(elsewhere.parent_id.clone()),
            ..EntryChange::new(id(number))
        });
        let outcomes = entries.update(changes.into()).await.unwrap();
        let is_updated = |outcome: &_| matches!(outcome, UpdateEntryOutcome::Updated(_));
        assert!(outcomes.iter().all(is_updated));

        let is_by_id = filter.spiffe_id.is_some() || filter.parent_id.is_some();
        let is_left =
            |number: &&usize| !(gone.contains(number) || is_by_id && moved.contains(number));
        let shown = looked_at.iter().chain(rest.iter().filter(is_left)).copied();
        let is_admitted = |number: &usize| filter::admits(&filter, &numbered(*number));
        let expected: Vec<usize> = shown.filter(is_admitted).collect();
        let page = listing.await;
        let listed: Vec<EntryId> = page.entries.iter().map(|one| one.id.clone()).collect();
        assert!(listed == ids(&expected), "{filter:?}");
        assert_eq!(counting.await, expected.len(), "{filter:?}");
    }
}
