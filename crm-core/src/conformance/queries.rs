//! What the store finds.

use futures::TryStreamExt as _;
use proptest::{collection::vec, prelude::Strategy as _};

use super::{
    CheckResult, Failure, Opener,
    collections::THINGS,
    failure::{ensure, ensure_equal},
    fixture::{Fixture, OURS, all_rows, ensure_same_rows, insert, open, row, same_row, scope},
    generate::{self, Numbers, id},
    property::{for_all, runner},
};
use crate::store::{FieldKind, FieldRef, Filter, Query, Row, Sort, Value};

/// Values of every kind come back as they went in, the smallest and largest among them.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn values_come_back(opener: &impl Opener) -> CheckResult {
    let store = open(opener).await?;
    let rows = vec(generate::record(&THINGS, Numbers::Any), 40).prop_map(|records| {
        records.into_iter().map(|(seed, values)| row(OURS, id(seed), values)).collect::<Vec<Row>>()
    });
    for_all(&mut runner(1), 5, &rows, async |rows| {
        insert(&store, OURS, &THINGS, rows.clone()).await?;
        let ids: Vec<_> = rows.iter().map(Row::id).collect();
        let answer = store.get(scope(OURS), &THINGS, &ids).await?;
        ensure_same_rows(&answer, &rows, "get what was inserted")?;
        // Room for the next try with the same ids.
        let change = crate::store::Change::DeleteWhere { collection: &THINGS, filter: Filter::ALL };
        store.commit(scope(OURS), vec![change]).await?;
        Ok(())
    })
    .await
}

/// Texts of many thousand characters are kept, found, sorted and compared whole.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn long_texts(opener: &impl Opener) -> CheckResult {
    let mut fixture = Fixture::new(opener, 2, 3, Numbers::Any).await?;
    let name = THINGS.position("name").unwrap_or(0);
    // Alike in far more letters than an index keeps of a text.
    let texts = ["x".repeat(20_000), format!("{}É end", "x".repeat(19_999)), "हि".repeat(6_000)];
    let template = fixture.things.clone();
    let rows: Vec<Row> = (0_u128..)
        .zip(template.iter().cycle().zip(texts.iter().flat_map(|text| [text.clone(), format!("{text}y")])))
        .map(|(place, (template, text))| {
            let mut row = template.clone();
            row.0[0] = Value::Id(id(place));
            row.0[name] = Value::Text(text);
            row
        })
        .collect();
    insert(&fixture.store, OURS, &THINGS, rows.clone()).await?;
    fixture.things.extend(rows.clone());
    let field = FieldRef::declared("name", FieldKind::Text);
    let sort = vec![Sort { field: field.clone(), descending: false }];
    for row in &rows {
        let filter = Filter::equal(field.clone(), row.0[name].clone());
        fixture.check_query(&Query::new(filter, 10)).await?;
    }
    for text in ["xe end", "XÉ END", "हिy", "xxxy"] {
        let filter = Filter::Contains { field: field.clone(), text: text.to_owned() };
        fixture.check_query(&Query::new(filter, 10).sorted(sort.clone())).await?;
        fixture.check_query(&Query::new(Filter::Search { terms: vec![text.to_owned()] }, 10)).await?;
    }
    fixture.check_query(&Query::new(Filter::ALL, 100).sorted(sort)).await
}

async fn check_filters(
    opener: &impl Opener,
    seed: u8,
    cases: usize,
    filters: proptest::strategy::BoxedStrategy<Filter>,
) -> CheckResult {
    for seed in [seed, seed + 100] {
        let fixture = Fixture::new(opener, seed, 60, Numbers::Any).await?;
        for_all(&mut runner(seed), cases / 2, &filters, async |filter| {
            fixture.check_query(&Query::new(filter, 1_000)).await
        })
        .await?;
    }
    Ok(())
}

/// Single conditions, on declared and custom fields of every kind, find and count what the evaluator does.
///
/// # Errors
/// [`Failure`] with the smallest condition on which the store differs.
pub async fn conditions(opener: &impl Opener) -> CheckResult {
    check_filters(opener, 3, 500, generate::condition()).await
}

/// The exact opposite of every condition holds where the condition does not, also for missing values.
///
/// # Errors
/// [`Failure`] with the smallest condition on which the store differs.
pub async fn opposites(opener: &impl Opener) -> CheckResult {
    check_filters(opener, 4, 300, generate::condition().prop_map(Filter::negated).boxed()).await
}

/// Conditions nested into each other find and count what the evaluator does.
///
/// # Errors
/// [`Failure`] with the smallest filter on which the store differs.
pub async fn nested_filters(opener: &impl Opener) -> CheckResult {
    check_filters(opener, 5, 300, generate::filter()).await
}

/// A search finds terms of one, two, three and more letters in every searchable field, whatever the script.
///
/// # Errors
/// [`Failure`] with the smallest search on which the store differs.
pub async fn searches(opener: &impl Opener) -> CheckResult {
    check_filters(opener, 6, 300, generate::search()).await
}

/// What was changed or removed is found by its new texts and no longer by its old ones.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn searches_follow_changes(opener: &impl Opener) -> CheckResult {
    use crate::store::{Assignment, Change};

    let mut fixture = Fixture::new(opener, 7, 30, Numbers::Any).await?;
    let name = THINGS.position("name").unwrap_or(0);
    let labels = THINGS.position("labels").unwrap_or(0);
    let mut changes = Vec::new();
    for (place, row) in fixture.things.iter_mut().enumerate() {
        if place % 3 == 0 {
            let (text, list) = (format!("Changed Ünder {place}"), vec![format!("neu{place}"), "b".to_owned()]);
            row.0[name] = Value::Text(text);
            row.0[labels] = Value::TextList(list);
            row.0[crate::store::head::VERSION] = Value::Integer(2);
            changes.push(Change::Update {
                collection: &THINGS,
                id: row.id(),
                expected_version: None,
                condition: None,
                assignments: [name, labels].map(|field| Assignment::Set(field, row.0[field].clone())).to_vec(),
            });
        }
    }
    for row in fixture.things.iter().skip(1).step_by(3) {
        changes.push(Change::Delete { collection: &THINGS, id: row.id(), expected_version: None });
    }
    fixture.store.commit(scope(OURS), changes).await?;
    let mut place = 0;
    fixture.things.retain(|_| {
        place += 1;
        place % 3 != 2
    });
    for term in ["changed", "under", "UNDER 1", "neu", "n", "b", "ge", "e", "a"] {
        fixture.check_query(&Query::new(Filter::Search { terms: vec![term.to_owned()] }, 1_000)).await?;
    }
    for_all(&mut runner(7), 100, &generate::search(), async |filter| {
        fixture.check_query(&Query::new(filter, 1_000)).await
    })
    .await
}

/// Counts and sums over related records equal a loop over them, none being 0 and other organizations' left out.
///
/// # Errors
/// [`Failure`] with the smallest condition on which the store differs.
pub async fn related_records(opener: &impl Opener) -> CheckResult {
    check_filters(opener, 8, 300, generate::related()).await
}

/// A stream gives what one large page gives, and no more than its limit.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn streams(opener: &impl Opener) -> CheckResult {
    let fixture = Fixture::new(opener, 9, 50, Numbers::Any).await?;
    let queries = (generate::condition(), generate::sort(), proptest::sample::select(&[0_usize, 1, 7, 1_000][..]));
    for_all(&mut runner(9), 100, &queries, async |(filter, sort, limit)| {
        let query = Query::new(filter, limit).sorted(sort);
        let answer: Vec<Row> = fixture.store.stream(scope(OURS), &THINGS, query.clone()).try_collect().await?;
        let limit = if limit == 0 { usize::MAX } else { limit };
        let (rows, _) = fixture.expected(&Query { limit, ..query.clone() });
        ensure_same_rows(&answer, &rows, &format!("stream {query:#?}"))
    })
    .await
}

/// `get` answers in the order of the ids it was asked for, leaving out what is not there.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn get_keeps_the_order(opener: &impl Opener) -> CheckResult {
    let fixture = Fixture::new(opener, 10, 20, Numbers::Any).await?;
    let theirs = all_rows(&fixture.store, scope(super::fixture::THEIRS), &THINGS).await?;
    let ids = vec(0_usize..40, 0..30);
    for_all(&mut runner(10), 40, &ids, async |mut places| {
        // Each id once: what an id asked for twice answers is not promised.
        let mut seen = std::collections::BTreeSet::new();
        places.retain(|place| seen.insert(*place));
        let ids: Vec<_> = places
            .iter()
            .enumerate()
            .map(|(at, place)| match (fixture.things.get(*place), theirs.get(at % theirs.len().max(1))) {
                (Some(row), _) => row.id(),
                (None, Some(their)) if at % 2 == 0 => their.id(),
                _ => id(*place as u128),
            })
            .collect();
        let expected: Vec<Row> = places.iter().filter_map(|place| fixture.things.get(*place)).cloned().collect();
        let answer = fixture.store.get(scope(OURS), &THINGS, &ids).await?;
        ensure_same_rows(&answer, &expected, &format!("get {ids:?}"))
    })
    .await
}

/// The indexes of custom fields change no answer: not when made, when made again, nor when dropped.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn custom_indexes_change_no_answer(opener: &impl Opener) -> CheckResult {
    use crate::store::CustomIndex;

    let mut fixture = Fixture::new(opener, 11, 40, Numbers::Any).await?;
    let indexes: Vec<CustomIndex> = generate::KEYS
        .iter()
        .zip(generate::CUSTOM_KINDS.iter().cycle())
        .map(|(key, kind)| CustomIndex { collection: &THINGS, field: "fields", key: (*key).to_owned(), kind: *kind })
        .collect();
    for index in indexes.iter().chain(&indexes) {
        fixture.store.create_custom_index(scope(OURS), index).await.map_err(|e| at_index(e, index))?;
    }
    // Rows written after the indexes, too.
    let more = generate::record(&THINGS, Numbers::Any).prop_map(|(seed, values)| row(OURS, id(seed), values));
    for _ in 0..20 {
        let row = super::property::generate(&mut runner(u8::try_from(fixture.things.len()).unwrap_or(0)), &more)?;
        insert(&fixture.store, OURS, &THINGS, vec![row.clone()]).await?;
        fixture.things.push(row);
    }
    let custom = generate::condition().prop_filter("on a custom field", |filter| match filter {
        Filter::Compare { field, .. }
        | Filter::In { field, .. }
        | Filter::Contains { field, .. }
        | Filter::StartsWith { field, .. }
        | Filter::Exists { field } => field.key.is_some(),
        _ => false,
    });
    let queries = (custom, generate::sort());
    for round in 0..2 {
        for_all(&mut runner(11 + round), 150, &queries, async |(filter, sort)| {
            fixture.check_query(&Query::new(filter, 1_000).sorted(sort)).await
        })
        .await?;
        for index in &indexes {
            fixture.store.drop_custom_index(scope(OURS), index).await.map_err(|e| at_index(e, index))?;
        }
    }
    Ok(())
}

fn at_index(error: crate::store::StoreError, index: &crate::store::CustomIndex) -> Failure {
    Failure::from(error).within(&format!("the index of {:?} as {:?}", index.key, index.kind))
}

/// Orders of several keys in both directions, over declared and custom fields: every page reached by position and
/// by skipping is the page that the evaluator cuts, and the pages together are the whole.
///
/// # Errors
/// [`Failure`] with the smallest query on which the store differs.
pub async fn orders_and_pages(opener: &impl Opener) -> CheckResult {
    let fixture = Fixture::new(opener, 12, 50, Numbers::Any).await?;
    let queries = (proptest::option::weighted(0.5, generate::condition()), generate::sort(), 1_usize..20);
    for_all(&mut runner(12), 120, &queries, async |(filter, sort, limit)| {
        let mut query = Query::new(filter.unwrap_or(Filter::ALL), limit).sorted(sort);
        let (whole, _) = fixture.expected(&Query { limit: usize::MAX, ..query.clone() });
        let mut walked: Vec<Row> = Vec::new();
        loop {
            let skipping = Query { skip: walked.len() as u64, after: None, ..query.clone() };
            fixture.check_query(&skipping).await?;
            fixture.check_query(&query).await?;
            let page = fixture.store.find(scope(OURS), &THINGS, &query).await?;
            walked.extend(page.rows);
            let Some(last) = walked.last().filter(|_| page.has_more) else { break };
            query.after = Some(crate::store::evaluate::position(&THINGS, &query.sort, last));
        }
        ensure_same_rows(&walked, &whole, &format!("all pages of {query:#?}"))
    })
    .await
}

/// A page may begin at a position where no row is.
///
/// # Errors
/// [`Failure`] with the smallest query on which the store differs.
pub async fn pages_after_any_position(opener: &impl Opener) -> CheckResult {
    use crate::store::Position;

    let fixture = Fixture::new(opener, 13, 50, Numbers::Any).await?;
    let queries = generate::sort().prop_flat_map(|sort| {
        let keys: Vec<_> = sort
            .iter()
            .map(|sort| {
                proptest::option::weighted(0.7, generate::value(sort.field.kind, Numbers::Any))
                    .prop_map(Option::unwrap_or_default)
                    .boxed()
            })
            .collect();
        (keys, proptest::arbitrary::any::<u128>(), 0_u64..5, 1_usize..20).prop_map(move |(keys, seed, skip, limit)| {
            let after = Some(Position { keys, id: id(seed) });
            Query { after, skip, ..Query::new(Filter::ALL, limit).sorted(sort.clone()) }
        })
    });
    for_all(&mut runner(13), 250, &queries, async |query| fixture.check_query(&query).await).await
}

/// Rows inserted while somebody walks the pages move no other row into or out of them.
///
/// # Errors
/// [`Failure`] where a row appears twice or never.
pub async fn pages_stay_stable_under_inserts(opener: &impl Opener) -> CheckResult {
    let fixture = Fixture::new(opener, 14, 40, Numbers::Any).await?;
    let record = generate::record(&THINGS, Numbers::Any);
    let mut random = runner(14);
    for round in 0..8 {
        let sort = super::property::generate(&mut random, &generate::sort())?;
        let before = all_rows(&fixture.store, scope(OURS), &THINGS).await?;
        let mut query = Query::new(Filter::ALL, 7).sorted(sort);
        let mut walked: Vec<Row> = Vec::new();
        loop {
            let page = fixture.store.find(scope(OURS), &THINGS, &query).await?;
            walked.extend(page.rows);
            let Some(last) = walked.last().filter(|_| page.has_more) else { break };
            query.after = Some(crate::store::evaluate::position(&THINGS, &query.sort, last));
            ensure!(walked.len() < 1_000, "round {round}: the pages never end, {query:#?}");
            let (seed, values) = super::property::generate(&mut random, &record)?;
            insert(&fixture.store, OURS, &THINGS, vec![row(OURS, id(seed), values)]).await?;
        }
        for row in &before {
            let times = walked.iter().filter(|other| same_row(other, row)).count();
            ensure_equal!(times, 1, "round {round}: how often {} appears in pages of {query:#?}", row.id());
        }
        let mut ids: Vec<_> = walked.iter().map(Row::id).collect();
        ids.sort();
        ids.dedup();
        ensure_equal!(ids.len(), walked.len(), "round {round}: distinct rows in pages of {query:#?}");
    }
    Ok(())
}
