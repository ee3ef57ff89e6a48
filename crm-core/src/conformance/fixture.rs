//! A store with known records in it, and what it should answer.

use proptest::collection::vec;
use uuid::Uuid;

use super::{
    CheckResult, Failure, Opener,
    collections::{ALL, PARTS, THINGS},
    failure::{ensure, ensure_equal},
    generate::{Numbers, id, record},
    property::{generate, runner},
};
use crate::{
    id::OrganizationId,
    store::{
        Change, Collection, Filter, Outcome, Query, Row, Scope, SharedStore, StoreResult, Value,
        evaluate::{self, RelatedRows},
        head,
    },
    time::Timestamp,
};

/// The organization that the checks work in.
pub(super) const OURS: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00a1);
/// Another, whose records must never be seen.
pub(super) const THEIRS: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00b2);

pub(super) const fn scope(organization: Uuid) -> Scope {
    Scope::Organization(OrganizationId(organization))
}

/// A new store with the suite's collections.
pub(super) async fn open(opener: &impl Opener) -> Result<SharedStore, Failure> {
    let store = opener.open().await;
    store.migrate(ALL, &|_, _, _| {}).await?;
    Ok(store)
}

/// A row of the collection with these values after those that every row begins with.
pub(super) fn row(organization: Uuid, id: Uuid, values: impl IntoIterator<Item = Value>) -> Row {
    let now = Value::Timestamp(Timestamp::from_milliseconds(1_700_000_000_000).unwrap_or_default());
    let head = [Value::Id(id), Value::Id(organization), Value::Integer(1), now.clone(), now];
    Row(head.into_iter().chain(values).collect())
}

/// Adds rows to a collection of the organization.
pub(super) async fn insert(
    store: &SharedStore,
    organization: Uuid,
    collection: &'static Collection,
    rows: Vec<Row>,
) -> StoreResult<Vec<Outcome>> {
    store.commit(scope(organization), vec![Change::Insert { collection, rows }]).await
}

/// Every row of the collection that the scope sees, by id.
pub(super) async fn all_rows(
    store: &SharedStore,
    scope: Scope,
    collection: &'static Collection,
) -> Result<Vec<Row>, Failure> {
    let page = store.find(scope, collection, &Query::new(Filter::ALL, 100_000)).await?;
    ensure!(!page.has_more, "{}: more rows than were asked for, which was all", collection.name);
    Ok(page.rows)
}

/// Things and parts of two organizations in a store, and the same in memory.
pub(super) struct Fixture {
    pub(super) store: SharedStore,
    pub(super) things: Vec<Row>,
    pub(super) parts: Vec<Row>,
}

impl RelatedRows for Fixture {
    fn visit(&self, collection: &'static Collection, visitor: &mut dyn FnMut(&Row)) {
        if collection.name == PARTS.name {
            self.parts.iter().for_each(visitor);
        }
    }
}

impl Fixture {
    /// A store with `count` random things and twice as many parts in each of two organizations.
    pub(super) async fn new(opener: &impl Opener, seed: u8, count: usize, numbers: Numbers) -> Result<Self, Failure> {
        let store = open(opener).await?;
        // Other input than the checks themselves make of the seed.
        let mut runner = runner(!seed);
        let mut fixture = Self { store, things: Vec::new(), parts: Vec::new() };
        for organization in [THEIRS, OURS] {
            let things = generate(&mut runner, &vec(record(&THINGS, numbers), count))?;
            let parts = generate(&mut runner, &vec(record(&PARTS, numbers), count * 2))?;
            let things: Vec<Row> =
                things.into_iter().map(|(seed, values)| row(organization, id(seed), values)).collect();
            let parts: Vec<Row> = parts
                .into_iter()
                .map(|(seed, mut values)| {
                    // Some things have many parts, some none, and some parts belong to nothing.
                    let thing = usize::try_from(seed % 1_009).unwrap_or(0) % (count * 4 / 3 + 1);
                    values[0] = things.get(thing).map_or(Value::Null, |thing| Value::Id(thing.id()));
                    row(organization, id(seed), values)
                })
                .collect();
            insert(&fixture.store, organization, &THINGS, things.clone()).await?;
            insert(&fixture.store, organization, &PARTS, parts.clone()).await?;
            (fixture.things, fixture.parts) = (things, parts);
        }
        // Their parts point to our things too.
        let strays = fixture.things.iter().take(5).zip(&fixture.parts).map(|(thing, part)| {
            let mut stray = part.clone();
            stray.0[head::ID] = Value::Id(id(part.id().as_u128() ^ 1));
            stray.0[head::ORGANIZATION_ID] = Value::Id(THEIRS);
            stray.0[5] = Value::Id(thing.id());
            stray
        });
        let strays = strays.collect();
        insert(&fixture.store, THEIRS, &PARTS, strays).await?;
        Ok(fixture)
    }

    pub(super) fn matches(&self, filter: &Filter, row: &Row) -> bool {
        evaluate::matches_with(&THINGS, filter, row, self)
    }

    /// The things of the query in its order, and whether more follow.
    pub(super) fn expected(&self, query: &Query) -> (Vec<Row>, bool) {
        let mut rows: Vec<&Row> = self
            .things
            .iter()
            .filter(|row| self.matches(&query.filter, row))
            .filter(|row| {
                query
                    .after
                    .as_ref()
                    .is_none_or(|after| evaluate::compare_to_position(&THINGS, query, row, after).is_gt())
            })
            .collect();
        rows.sort_by(|left, right| evaluate::compare_rows(&THINGS, query, left, right));
        let rows: Vec<&Row> = rows.into_iter().skip(usize::try_from(query.skip).unwrap_or(usize::MAX)).collect();
        let has_more = rows.len() > query.limit;
        (rows.into_iter().take(query.limit).cloned().collect(), has_more)
    }

    /// Whether the store answers the query and the count of its filter as the evaluator does.
    pub(super) async fn check_query(&self, query: &Query) -> CheckResult {
        let page = self.store.find(scope(OURS), &THINGS, query).await.map_err(|error| told(&error, query))?;
        let (rows, has_more) = self.expected(query);
        ensure_same_rows(&page.rows, &rows, &format!("find {query:#?}"))?;
        ensure_equal!(page.has_more, has_more, "whether more rows follow, find {query:#?}");
        if query.after.is_none() && query.skip == 0 {
            let count = self.store.count(scope(OURS), &THINGS, &query.filter).await.map_err(|e| told(&e, query))?;
            let expected = self.things.iter().filter(|row| self.matches(&query.filter, row)).count() as u64;
            ensure_equal!(count, expected, "count {:#?}", query.filter);
        }
        Ok(())
    }
}

fn told(error: &crate::store::StoreError, query: &Query) -> Failure {
    Failure::new(format!("{error} ({error:?}), find {query:#?}"))
}

/// Whether two rows hold the same values, JSON being compared by meaning.
pub(super) fn same_row(left: &Row, right: &Row) -> bool {
    left.0.len() == right.0.len() && left.0.iter().zip(&right.0).all(|(left, right)| same_value(left, right))
}

fn same_value(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Json(left), Value::Json(right)) => same_json(&left.to_value(), &right.to_value()),
        (left, right) => left == right,
    }
}

fn same_json(left: &serde_json::Value, right: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};

    match (left, right) {
        (Number(left), Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => left == right,
            _ => left.as_f64() == right.as_f64(),
        },
        (Array(left), Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same_json(left, right))
        }
        (Object(left), Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, value)| right.get(key).is_some_and(|other| same_json(value, other)))
        }
        _ => left == right,
    }
}

/// Whether the store answered these rows in this order, and if not, where they part.
pub(super) fn ensure_same_rows(answer: &[Row], expected: &[Row], what: &str) -> CheckResult {
    if answer.len() == expected.len() && answer.iter().zip(expected).all(|(left, right)| same_row(left, right)) {
        return Ok(());
    }
    let place = answer.iter().zip(expected).take_while(|(left, right)| same_row(left, right)).count();
    let lacking = expected.iter().find(|row| !answer.iter().any(|other| other.id() == row.id()));
    let needless = answer.iter().find(|row| !expected.iter().any(|other| other.id() == row.id()));
    Err(Failure::new(format!(
        "{what}\n  the store answered {} rows, the reference {}; they part at row {place}\n  the store:     {:?}\n  \
         the reference: {:?}\n  lacking:       {lacking:?}\n  needless:      {needless:?}",
        answer.len(),
        expected.len(),
        answer.get(place),
        expected.get(place),
    )))
}
