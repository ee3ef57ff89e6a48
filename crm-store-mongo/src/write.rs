//! Commits: changes as commands, in one transaction.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bson::{Document, RawDocumentBuf, doc};
use crm_core::store::{
    Assignment, Change, Collection, Filter, Money, Outcome, Row, Scope, StoreError, StoreResult, Value, WhenUnmet,
    evaluate::{self, check_change, visible_organization},
};
use mongodb::{
    ClientSession, Collection as Documents,
    options::{FindOptions, ReturnDocument},
};
use uuid::Uuid;

use crate::{
    compile::Rows,
    failure,
    layout::Layout,
    related::related,
    row, search,
    session::{Fault, Session},
    store::MongoStore,
};

/// Whether the change at the place can be made before all others: one of a single record, of which those before add other
/// records or change single ones themselves, none of them looks at others, and by which no unique key is taken or becomes
/// free.
fn is_first(changes: &[Change], place: usize) -> bool {
    let of_one = |change: &Change| match change {
        Change::Update { collection, condition, assignments, .. } => {
            let of_key = |assignment: &Assignment| {
                let (Assignment::Set(position, _) | Assignment::Increment(position, _)) = assignment;
                let name = collection.fields.get(*position).map(|field| field.name);
                collection.unique.iter().any(|key| key.fields.iter().any(|field| Some(*field) == name))
            };
            condition.as_ref().is_none_or(|(filter, _)| is_of_one_record(filter)) && !assignments.iter().any(of_key)
        }
        _ => false,
    };
    let Some(change @ Change::Update { id, .. }) = changes.get(place) else { return false };
    let looks_elsewhere = |before: &Change| match before {
        Change::UpdateWhere { filter, .. }
        | Change::DeleteWhere { filter, .. }
        | Change::Update { condition: Some((filter, _)), .. } => !is_of_one_record(filter),
        _ => false,
    };
    of_one(change)
        && !changes[..place].iter().any(looks_elsewhere)
        && changes[..place].iter().filter(|before| collection_of(before).name == collection_of(change).name).all(
            |before| match before {
                Change::Insert { rows, .. } => rows.iter().all(|row| row.id() != *id),
                before => of_one(before),
            },
        )
}

/// When a step has its turn, so that whoever else wants its record is met at the beginning.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Turn {
    /// A single record that others change too, such as the job that a commit belongs to.
    Contended,
    /// A single record as it was read.
    ByVersion,
    /// Everything else, in the order given.
    Rest,
}

/// What is to be written, prepared as far as it does not depend on what is there.
pub(crate) struct Program<'c> {
    scope: Scope,
    pub(crate) steps: Vec<Step<'c>>,
    /// The outcomes as far as they are known beforehand.
    outcomes: Vec<Outcome>,
}

/// One command, or a few that belong together.
pub(crate) enum Step<'c> {
    /// Adds documents: those of neighbouring changes of one collection at once.
    Insert { layout: Arc<Layout>, documents: Vec<RawDocumentBuf> },
    /// Any other change, with its place in the list.
    Change { place: usize, change: &'c Change, layout: Arc<Layout> },
}

impl<'c> Program<'c> {
    /// Checks and prepares the changes of a commit.
    pub(crate) fn new(store: &MongoStore, scope: Scope, changes: &'c [Change]) -> StoreResult<Self> {
        let mut program = Self { scope, steps: Vec::new(), outcomes: Vec::with_capacity(changes.len()) };
        for (place, change) in changes.iter().enumerate() {
            check_change(scope, change)?;
            let layout = store.layouts.of(collection_of(change));
            program.outcomes.push(match change {
                Change::Insert { rows, .. } => Outcome::Touched(rows.len() as u64),
                _ => Outcome::Unmet,
            });
            if let Change::Insert { rows, .. } = change {
                let encoded = rows.iter().map(|row| row::encode(&layout, row)).collect::<StoreResult<Vec<_>>>()?;
                match program.steps.last_mut() {
                    Some(Step::Insert { layout: before, documents }) if Arc::ptr_eq(before, &layout) => {
                        documents.extend(encoded);
                    }
                    _ if encoded.is_empty() => {}
                    _ => program.steps.push(Step::Insert { layout, documents: encoded }),
                }
            } else {
                program.steps.push(Step::Change { place, change, layout });
            }
        }
        Ok(program)
    }

    /// The same, with the records first that others may want too: they are ours from then on. Behind a long insert, a
    /// transaction would find them changed since it began, and so again at every attempt. Nothing where no order is
    /// better than the one given. What is wrong with a commit is told by that one.
    pub(crate) fn contended_first(self, changes: &[Change]) -> Result<Self, Self> {
        // Records that are changed by their version are many at times, and their writers lose to whoever comes first.
        let by_version: HashSet<Uuid> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Update { id, expected_version: Some(_), .. } => Some(*id),
                _ => None,
            })
            .collect();
        let turn = |step: &Step<'_>| match step {
            Step::Change { place, change: Change::Update { id, .. }, .. } if is_first(changes, *place) => {
                if by_version.contains(id) { Turn::ByVersion } else { Turn::Contended }
            }
            _ => Turn::Rest,
        };
        let Self { scope, steps, outcomes } = self;
        let mut turns: Vec<(Turn, Step<'_>)> = steps.into_iter().map(|step| (turn(&step), step)).collect();
        let is_as_given = turns.is_sorted_by_key(|(turn, _)| *turn);
        turns.sort_by_key(|(turn, _)| *turn);
        let ordered = Self { scope, steps: turns.into_iter().map(|(_, step)| step).collect(), outcomes };
        if is_as_given { Err(ordered) } else { Ok(ordered) }
    }

    /// Runs every step in the session's transaction, and answers the outcomes.
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<Vec<Outcome>, Fault> {
        let mut outcomes = self.outcomes.clone();
        for step in &self.steps {
            match step {
                Step::Insert { layout, documents } => {
                    let collection = session.store.collection(layout.collection);
                    collection
                        .insert_many(documents)
                        .session(&mut session.session)
                        .await
                        .map_err(|error| Fault::Writing(layout.collection, error))?;
                }
                Step::Change { place, change, layout } => {
                    outcomes[*place] = self.change(session, layout, *place, change).await?;
                }
            }
        }
        Ok(outcomes)
    }

    async fn change(
        &self,
        session: &mut Session<'_>,
        layout: &Layout,
        place: usize,
        change: &Change,
    ) -> Result<Outcome, Fault> {
        let organization = visible_organization(self.scope, layout.collection)?;
        let rows = Rows { layout, organization };
        match change {
            Change::Update { id, expected_version, condition, assignments, .. } => {
                let condition = match condition {
                    Some((filter, when_unmet)) => {
                        Some((related(session, organization, filter).await?.into_owned(), *when_unmet))
                    }
                    None => None,
                };
                let update = Update::new(rows, place, *id, *expected_version, condition, assignments)?;
                let collection = session.store.collection(layout.collection);
                let within = session.store.options.operation_timeout;
                match update.run(&collection, Some(&mut session.session), within).await? {
                    Some(version) => Ok(Outcome::Updated { version }),
                    None => update.explain(session).await?.ok_or_else(|| failure::crowded().into()),
                }
            }
            Change::Delete { id, expected_version, .. } => {
                let collection = session.store.collection(layout.collection);
                let filter = at_version(rows.record(*id), *expected_version);
                let removed = collection.delete_one(filter).session(&mut session.session).await?;
                if removed.deleted_count > 0 {
                    return Ok(Outcome::Touched(1));
                }
                Err(refused(session, &rows, *id, *expected_version).await?.into())
            }
            Change::UpdateWhere { filter, assignments, .. } => {
                let filter = related(session, organization, filter).await?;
                update_where(session, &rows, &filter, assignments).await.map(Outcome::Touched)
            }
            Change::DeleteWhere { filter, .. } => {
                let filter = related(session, organization, filter).await?;
                let matching = rows.matching(&filter, Vec::new())?;
                let collection = session.store.collection(layout.collection);
                let removed = collection.delete_many(matching).session(&mut session.session).await?;
                Ok(Outcome::Touched(removed.deleted_count))
            }
            Change::Insert { .. } => Err(StoreError::engine("an insert is a step of its own").into()),
        }
    }

    /// The collection and `_id` of a document that the program adds: where it is there, the program has run.
    pub(crate) fn evidence(&self) -> Option<(&'static Collection, bson::Bson)> {
        self.steps.iter().find_map(|step| match step {
            Step::Insert { layout, documents } => {
                let id = documents.first()?.get("_id").ok()??;
                Some((layout.collection, bson::Bson::try_from(id).ok()?))
            }
            Step::Change { .. } => None,
        })
    }

    /// The outcomes as far as they are known beforehand, and the one of the change at the place.
    pub(crate) fn outcomes(&self, known: Option<(usize, Outcome)>) -> Vec<Outcome> {
        let mut outcomes = self.outcomes.clone();
        if let Some((place, outcome)) = known {
            outcomes[place] = outcome;
        }
        outcomes
    }

    pub(crate) const fn scope(&self) -> Scope {
        self.scope
    }
}

/// A change of one record.
pub(crate) struct Update<'a> {
    rows: Rows<'a>,
    place: usize,
    id: Uuid,
    expected_version: Option<i64>,
    condition: Option<(Filter, WhenUnmet)>,
    assignments: &'a [Assignment],
    filter: Document,
    update: Document,
}

impl<'a> Update<'a> {
    pub(crate) fn new(
        rows: Rows<'a>,
        place: usize,
        id: Uuid,
        expected_version: Option<i64>,
        condition: Option<(Filter, WhenUnmet)>,
        assignments: &'a [Assignment],
    ) -> StoreResult<Self> {
        let mut more = within_range(rows.layout, assignments)?;
        more.extend(expected_version.map(|version| doc! { "version": version }));
        let everything = Filter::ALL;
        let filter = condition.as_ref().map_or(&everything, |(filter, _)| filter);
        Ok(Self {
            filter: rows.record_matching(id, filter, more)?,
            update: update_document(rows.layout, assignments)?,
            rows,
            place,
            id,
            expected_version,
            condition,
            assignments,
        })
    }

    /// Changes the record, if it is as it must be, and answers its new version. The server gives up after `within`.
    pub(crate) async fn run(
        &self,
        collection: &Documents<RawDocumentBuf>,
        session: Option<&mut ClientSession>,
        within: Duration,
    ) -> Result<Option<i64>, Fault> {
        let update = collection
            .find_one_and_update(self.filter.clone(), self.update.clone())
            .max_time(within)
            .projection(doc! { "_id": 0, "version": 1 })
            .return_document(ReturnDocument::After);
        let answer = match session {
            Some(session) => update.session(session).await,
            None => update.await,
        };
        let changed = answer.map_err(|error| Fault::Writing(self.rows.layout.collection, error))?;
        let Some(changed) = changed else { return Ok(None) };
        let version = changed.get("version").map_err(StoreError::engine)?.and_then(row::integer);
        version.map(Some).ok_or_else(|| StoreError::engine("a record has no version").into())
    }

    /// Why the record was not changed: an error, or a condition that does not hold. Nothing where the record is as it must
    /// be now, since somebody changed it meanwhile; in a transaction nobody does.
    pub(crate) async fn explain(&self, session: &mut Session<'_>) -> Result<Option<Outcome>, Fault> {
        let layout = self.rows.layout;
        let found = record(session, &self.rows, self.id).await?;
        let is_expected = |row: &Row| self.expected_version.is_none_or(|version| version == row.version());
        let Some(mut row) = found.as_ref().filter(|row| is_expected(row)).cloned() else {
            return Err(missing_or_other_version(layout.collection, self.id, found.as_ref()).into());
        };
        if let Some((filter, when_unmet)) = &self.condition {
            let meets = self.rows.record_matching(self.id, filter, Vec::new())?;
            if session.rows(layout, meets, one(layout)).await?.is_empty() {
                return match when_unmet {
                    WhenUnmet::Skip => Ok(Some(Outcome::Unmet)),
                    WhenUnmet::Abort => Err(StoreError::Unmet { change: self.place }.into()),
                };
            }
        }
        evaluate::apply(layout.collection, self.assignments, &mut row)?;
        Ok(None)
    }
}

/// Why a record was not removed.
pub(crate) async fn refused(
    session: &mut Session<'_>,
    rows: &Rows<'_>,
    id: Uuid,
    expected: Option<i64>,
) -> Result<StoreError, Fault> {
    let found = record(session, rows, id).await?;
    if found.as_ref().is_some_and(|row| expected.is_none_or(|expected| expected == row.version())) {
        return Ok(failure::crowded());
    }
    Ok(missing_or_other_version(rows.layout.collection, id, found.as_ref()))
}

fn missing_or_other_version(collection: &'static Collection, id: Uuid, found: Option<&Row>) -> StoreError {
    match found {
        Some(row) => StoreError::VersionConflict { collection: collection.name, id, found: row.version() },
        None => StoreError::NotFound { collection: collection.name, id },
    }
}

/// One row at most.
fn one(layout: &Layout) -> FindOptions {
    FindOptions::builder().limit(1).projection(layout.projection.clone()).build()
}

async fn record(session: &mut Session<'_>, rows: &Rows<'_>, id: Uuid) -> Result<Option<Row>, Fault> {
    Ok(session.rows(rows.layout, rows.record(id), one(rows.layout)).await?.pop())
}

/// The filter, and that the record has the version.
pub(crate) fn at_version(mut filter: Document, version: Option<i64>) -> Document {
    if let Some(version) = version {
        filter.insert("version", version);
    }
    filter
}

/// Changes every record that matches.
async fn update_where(
    session: &mut Session<'_>,
    rows: &Rows<'_>,
    filter: &Filter,
    assignments: &[Assignment],
) -> Result<u64, Fault> {
    let collection = rows.layout.collection;
    let in_range = within_range(rows.layout, assignments)?;
    if !in_range.is_empty() {
        let outside = rows.matching(filter, vec![doc! { "$nor": [crate::compile::all(in_range)] }])?;
        if let Some(mut row) = session.rows(rows.layout, outside, one(rows.layout)).await?.pop() {
            evaluate::apply(collection, assignments, &mut row)?;
        }
    }
    let matching = rows.matching(filter, Vec::new())?;
    let changed = session
        .store
        .collection(collection)
        .update_many(matching, update_document(rows.layout, assignments)?)
        .session(&mut session.session)
        .await
        .map_err(|error| Fault::Writing(collection, error))?;
    Ok(changed.matched_count)
}

/// The update that makes the assignments and bumps the version.
pub(crate) fn update_document(layout: &Layout, assignments: &[Assignment]) -> StoreResult<Document> {
    let (mut set, mut unset) = (Document::new(), Document::new());
    let mut increments = doc! { "version": 1_i64 };
    for assignment in assignments {
        let (Assignment::Set(position, value) | Assignment::Increment(position, value)) = assignment;
        let Some(field) = layout.collection.fields.get(*position) else { continue };
        let shadow = layout.shadow(*position);
        let (written, shadowed) = row::with_shadow(value, shadow)?;
        if let Assignment::Increment(..) = assignment {
            if let Some(written) = written {
                increments.insert(field.name, written);
            }
            continue;
        }
        let mut put = |name: String, value: Option<bson::Bson>| match value {
            Some(value) => set.insert(name, value),
            None => unset.insert(name, ""),
        };
        put(field.name.to_owned(), written);
        if let Some(shadow) = shadow {
            put(shadow.name(field.name), shadowed);
        }
        if let Some(place) = layout.searched(*position) {
            set.insert(format!("{}.{place}.in", search::TRIGRAMS), search::trigrams_of_value(value));
        }
    }
    let mut update = doc! { "$inc": increments };
    if !set.is_empty() {
        update.insert("$set", set);
    }
    if !unset.is_empty() {
        update.insert("$unset", unset);
    }
    Ok(update)
}

/// The conditions under which no increment leaves the range of its field.
fn within_range(layout: &Layout, assignments: &[Assignment]) -> StoreResult<Vec<Document>> {
    let mut conditions = Vec::new();
    for assignment in assignments {
        let Assignment::Increment(position, addend) = assignment else { continue };
        let Some(field) = layout.collection.fields.get(*position) else { continue };
        let limit = match addend {
            Value::Integer(addend) if *addend > 0 => doc! { "$lte": i64::MAX - addend },
            Value::Integer(addend) if *addend < 0 => doc! { "$gte": i64::MIN - addend },
            Value::Money(addend) => {
                let addend = addend.as_ten_thousandths();
                let (operator, limit) = if addend > 0 {
                    ("$lte", Money::MAX.as_ten_thousandths() - addend)
                } else {
                    ("$gte", Money::MIN.as_ten_thousandths() - addend)
                };
                let limit = Money::from_ten_thousandths(limit).unwrap_or_default();
                doc! { operator: crate::compile::operand(&Value::Money(limit))? }
            }
            Value::Number(addend) => {
                let sum = doc! { "$add": [{ "$ifNull": [format!("${}", field.name), 0.0] }, *addend] };
                conditions.push(doc! { "$expr": { "$lte": [{ "$abs": sum }, f64::MAX] } });
                continue;
            }
            _ => continue,
        };
        let compared = doc! { field.name: limit };
        conditions.push(if field.optional {
            doc! { "$or": [{ field.name: { "$exists": false } }, compared] }
        } else {
            compared
        });
    }
    Ok(conditions)
}

pub(crate) const fn collection_of(change: &Change) -> &'static Collection {
    match change {
        Change::Insert { collection, .. }
        | Change::Update { collection, .. }
        | Change::Delete { collection, .. }
        | Change::UpdateWhere { collection, .. }
        | Change::DeleteWhere { collection, .. } => collection,
    }
}

/// Whether the filter looks at the record alone, so that one command can decide it.
pub(crate) fn is_of_one_record(filter: &Filter) -> bool {
    match filter {
        Filter::And(filters) | Filter::Or(filters) => filters.iter().all(is_of_one_record),
        Filter::Not(filter) => is_of_one_record(filter),
        Filter::Related(_) => false,
        _ => true,
    }
}
