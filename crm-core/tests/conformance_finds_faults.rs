//! The suite is worth something only if it finds faults: here a sound store is broken in one way at a time, and the
//! check that is there for it must fail.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use crm_core::{
    conformance::{self, CheckResult},
    store::{
        AggregateRow, Aggregation, Assignment, Change, Collection, Comparison, FieldKind, Filter, Measured, Outcome,
        Page, Query, Row, Scope, SharedStore, Sort, Store, StoreError, StoreResult, Value, WhenUnmet,
        double::{Double, Meddler},
        evaluate, head,
        memory::MemoryStore,
    },
};
use futures::stream::{BoxStream, StreamExt as _};
use uuid::Uuid;

/// What is wrong with the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    /// SQL's `<>`: a missing value is not different.
    MissingIsNotDifferent,
    /// SQL's `LIKE`: `%` and `_` mean anything.
    WildcardsInContains,
    /// A list contains an element of which the text is a part.
    PartsOfElements,
    /// Trigrams only: a shorter term finds nothing.
    ShortTermsFindNothing,
    /// The order of the keys only: ties in any order.
    NoIdInTheOrder,
    /// Missing values always last.
    MissingLast,
    /// A page that says nothing of what follows.
    NeverMore,
    /// A position that is repeated.
    PageRepeatsItsStart,
    /// `get` in the order of the ids.
    GetSorts,
    /// A stream without end.
    StreamForgetsLimit,
    /// 64-bit sums.
    SumsWrap,
    /// The group of missing values is left out.
    NoMissingGroup,
    /// Related records are never there.
    NoRelatedRecords,
    /// Each change by itself.
    NotAtomic,
    /// A condition that is not looked at.
    ConditionIgnored,
    /// A version that is not looked at.
    VersionIgnored,
    /// Increments read, add and write.
    IncrementsLost,
    /// Claims that read first and write later.
    ClaimedTwice,
    /// Taken keys are overwritten.
    DuplicateIdsAccepted,
    /// Counts are over all organizations.
    CountLeaks,
    /// Money goes through doubles.
    MoneyIsADouble,
    /// Misuse is an empty answer.
    MisuseIsEmpty,
}

struct Broken {
    store: MemoryStore,
    fault: Fault,
    other: AtomicU64,
}

fn each_node(filter: &Filter, change: &impl Fn(Filter) -> Filter) -> Filter {
    match filter {
        Filter::And(filters) => Filter::And(filters.iter().map(|filter| each_node(filter, change)).collect()),
        Filter::Or(filters) => Filter::Or(filters.iter().map(|filter| each_node(filter, change)).collect()),
        Filter::Not(filter) => Filter::Not(Box::new(each_node(filter, change))),
        leaf => change(leaf.clone()),
    }
}

impl Broken {
    fn filter(&self, filter: &Filter) -> Filter {
        each_node(filter, &|leaf| match (self.fault, leaf) {
            (Fault::MissingIsNotDifferent, Filter::Compare { field, comparison: Comparison::NotEqual, value }) => {
                Filter::Exists { field: field.clone() }.and(Filter::compare(field, Comparison::NotEqual, value))
            }
            (Fault::WildcardsInContains, Filter::Contains { field, text })
                if field.kind == FieldKind::Text && text.contains(['%', '_']) =>
            {
                Filter::Exists { field }
            }
            (Fault::PartsOfElements, Filter::Contains { field, .. }) if field.kind == FieldKind::TextList => {
                Filter::Exists { field }
            }
            (Fault::ShortTermsFindNothing, Filter::Search { terms })
                if terms.iter().any(|term| term.chars().count() < 3) =>
            {
                Filter::NONE
            }
            (Fault::NoRelatedRecords, Filter::Related(related)) => {
                let mut related = related;
                related.filter = Filter::NONE;
                Filter::Related(related)
            }
            (_, leaf) => leaf,
        })
    }

    fn query(&self, query: &Query) -> Query {
        let mut query = Query { filter: self.filter(&query.filter), ..query.clone() };
        if self.fault == Fault::PageRepeatsItsStart
            && let Some(position) = &mut query.after
        {
            // As `>=` in place of `>`.
            position.id = Uuid::from_u128(if query.sort.last().is_some_and(|sort| sort.descending) {
                position.id.as_u128().saturating_add(1)
            } else {
                position.id.as_u128().saturating_sub(1)
            });
        }
        query
    }

    fn page(&self, collection: &'static Collection, mut page: Page, query: &Query) -> Page {
        match self.fault {
            Fault::NeverMore => page.has_more = false,
            Fault::NoIdInTheOrder if query.sort.is_empty() => page.rows.reverse(),
            Fault::MissingLast if query.sort.len() == 1 && !query.sort[0].descending => {
                let missing = |row: &Row| evaluate::field_value(collection, &query.sort[0].field, row).is_null();
                let (last, first): (Vec<Row>, Vec<Row>) = page.rows.into_iter().partition(missing);
                page.rows = first.into_iter().chain(last).collect();
            }
            Fault::MoneyIsADouble => page.rows.iter_mut().for_each(|row| *row = through_doubles(row)),
            _ => {}
        }
        page
    }
}

fn through_doubles(row: &Row) -> Row {
    let values = row.0.iter().map(|value| match value {
        Value::Money(money) => {
            let double = money.as_ten_thousandths() as f64;
            Value::Money(crm_core::store::Money::from_ten_thousandths(double as i64).unwrap_or_default())
        }
        value => value.clone(),
    });
    Row(values.collect())
}

#[async_trait]
impl Meddler for Broken {
    fn inner(&self) -> &dyn Store {
        &self.store
    }

    async fn get(&self, scope: Scope, collection: &'static Collection, ids: &[Uuid]) -> StoreResult<Vec<Row>> {
        let mut rows = self.store.get(scope, collection, ids).await?;
        match self.fault {
            Fault::GetSorts => rows.sort_by_key(Row::id),
            Fault::MoneyIsADouble => rows.iter_mut().for_each(|row| *row = through_doubles(row)),
            _ => {}
        }
        Ok(rows)
    }

    async fn find(&self, scope: Scope, collection: &'static Collection, query: &Query) -> StoreResult<Page> {
        match self.store.find(scope, collection, &self.query(query)).await {
            Err(StoreError::Misuse(_)) if self.fault == Fault::MisuseIsEmpty => Ok(Page::default()),
            page => page.map(|page| self.page(collection, page, query)),
        }
    }

    fn stream<'a>(
        &'a self,
        scope: Scope,
        collection: &'static Collection,
        mut query: Query,
    ) -> BoxStream<'a, StoreResult<Row>> {
        if self.fault == Fault::StreamForgetsLimit {
            query.limit = 0;
        }
        self.store.stream(scope, collection, query).boxed()
    }

    async fn count(&self, scope: Scope, collection: &'static Collection, filter: &Filter) -> StoreResult<u64> {
        let count = self.store.count(scope, collection, &self.filter(filter)).await?;
        Ok(if self.fault == Fault::CountLeaks { count + self.other.load(Ordering::Relaxed) } else { count })
    }

    async fn aggregate(
        &self,
        scope: Scope,
        collection: &'static Collection,
        aggregation: &Aggregation,
    ) -> StoreResult<Vec<AggregateRow>> {
        let mut rows = self.store.aggregate(scope, collection, aggregation).await?;
        match self.fault {
            Fault::SumsWrap => {
                for measure in rows.iter_mut().flat_map(|row| &mut row.measures) {
                    if let Measured::ExactSum { sum, .. } = measure {
                        *sum = i128::from(*sum as i64);
                    }
                }
            }
            Fault::NoMissingGroup => rows.retain(|row| row.groups.iter().all(|value| !value.is_null())),
            _ => {}
        }
        Ok(rows)
    }

    async fn commit(&self, scope: Scope, mut changes: Vec<Change>) -> StoreResult<Vec<Outcome>> {
        for change in &mut changes {
            match (self.fault, change) {
                (Fault::ConditionIgnored, Change::Update { condition, .. })
                    if condition.as_ref().is_some_and(|(_, when)| *when == WhenUnmet::Skip) =>
                {
                    *condition = None;
                }
                (
                    Fault::VersionIgnored,
                    Change::Update { expected_version, .. } | Change::Delete { expected_version, .. },
                ) => *expected_version = None,
                (Fault::IncrementsLost, Change::Update { collection, id, assignments, .. }) => {
                    let row = self.store.get(scope, collection, &[*id]).await?.pop();
                    tokio::task::yield_now().await;
                    for assignment in assignments {
                        if let (Assignment::Increment(field, Value::Integer(addend)), Some(row)) = (&*assignment, &row)
                            && let Value::Integer(before) = row.0[*field]
                            && let Some(sum) = before.checked_add(*addend)
                        {
                            *assignment = Assignment::Set(*field, Value::Integer(sum));
                        }
                    }
                }
                (Fault::DuplicateIdsAccepted, Change::Insert { collection, rows }) => {
                    for row in rows.iter() {
                        let change = Change::Delete { collection, id: row.id(), expected_version: None };
                        let _ = self.store.commit(scope, vec![change]).await;
                    }
                }
                (Fault::CountLeaks, Change::Insert { rows, .. }) => {
                    self.other.fetch_add(rows.len() as u64, Ordering::Relaxed);
                }
                _ => {}
            }
        }
        if self.fault != Fault::NotAtomic {
            return self.store.commit(scope, changes).await;
        }
        let mut outcomes = Vec::new();
        for change in changes {
            outcomes.extend(self.store.commit(scope, vec![change]).await?);
            tokio::task::yield_now().await;
        }
        Ok(outcomes)
    }

    async fn claim(
        &self,
        scope: Scope,
        collection: &'static Collection,
        filter: &Filter,
        sort: &[Sort],
        limit: usize,
        set: &[(usize, Value)],
    ) -> StoreResult<Vec<Row>> {
        if self.fault != Fault::ClaimedTwice {
            return self.store.claim(scope, collection, filter, sort, limit, set).await;
        }
        let query = Query::new(filter.clone(), limit).sorted(sort.to_vec());
        let mut rows = self.store.find(scope, collection, &query).await?.rows;
        tokio::task::yield_now().await;
        for row in &mut rows {
            let assignments = set.iter().map(|(field, value)| Assignment::Set(*field, value.clone())).collect();
            let change =
                Change::Update { collection, id: row.id(), expected_version: None, condition: None, assignments };
            self.store.commit(scope, vec![change]).await?;
            for (field, value) in set {
                row.0[*field] = value.clone();
            }
            row.0[head::VERSION] = Value::Integer(row.version() + 1);
        }
        Ok(rows)
    }
}

fn broken(fault: Fault) -> impl Fn() -> std::future::Ready<SharedStore> {
    move || {
        let store: SharedStore =
            Arc::new(Double(Broken { store: MemoryStore::new(), fault, other: AtomicU64::new(0) }));
        std::future::ready(store)
    }
}

fn assert_found(fault: Fault, result: &CheckResult) {
    assert!(result.is_err(), "{fault:?} is not found");
}

macro_rules! finds {
    ($($name:ident: $fault:ident by $check:ident;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $name() {
            assert_found(Fault::$fault, &conformance::$check(&broken(Fault::$fault)).await);
        }
    )+};
}

finds! {
    finds_missing_values_that_do_not_differ: MissingIsNotDifferent by conditions;
    finds_wildcards_in_contains: WildcardsInContains by conditions;
    finds_parts_of_elements: PartsOfElements by conditions;
    finds_short_terms_that_find_nothing: ShortTermsFindNothing by searches;
    finds_orders_without_the_id: NoIdInTheOrder by orders_and_pages;
    finds_missing_values_at_the_wrong_end: MissingLast by orders_and_pages;
    finds_pages_that_tell_of_no_more: NeverMore by orders_and_pages;
    finds_pages_that_repeat_their_start: PageRepeatsItsStart by orders_and_pages;
    finds_rows_in_another_order_than_asked: GetSorts by get_keeps_the_order;
    finds_streams_without_end: StreamForgetsLimit by streams;
    finds_sums_that_wrap: SumsWrap by sums_do_not_overflow;
    finds_groups_without_missing_values: NoMissingGroup by aggregates;
    finds_related_records_that_are_left_out: NoRelatedRecords by related_records;
    finds_halves_of_commits: NotAtomic by failed_commits_leave_nothing;
    finds_readers_of_half_a_commit: NotAtomic by readers_see_whole_commits;
    finds_conditions_that_are_ignored: ConditionIgnored by conditional_changes;
    finds_versions_that_are_ignored: VersionIgnored by versions;
    finds_races_for_a_version: VersionIgnored by races_for_a_version;
    finds_increments_that_are_lost: IncrementsLost by increments_are_not_lost;
    finds_records_claimed_twice: ClaimedTwice by claims_hand_out_each_record_once;
    finds_duplicates: DuplicateIdsAccepted by unique_keys;
    finds_duplicates_in_random_commits: DuplicateIdsAccepted by random_commits;
    finds_counts_over_all_organizations: CountLeaks by organizations_are_sealed_off;
    finds_money_in_doubles: MoneyIsADouble by values_come_back;
    finds_misuse_that_is_accepted: MisuseIsEmpty by misuse_is_refused;
}

#[tokio::test]
async fn the_whole_suite_names_the_check_that_failed() {
    let failure = conformance::run(&broken(Fault::GetSorts)).await.expect_err("the fault is found");
    assert!(failure.to_string().starts_with("values_come_back: "), "{failure}");
}
