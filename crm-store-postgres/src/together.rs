//! A commit as one statement.

use std::collections::{BTreeMap, HashSet};

use crm_core::store::{
    Assignment, Change, Comparison, Filter, Outcome, Scope, StoreResult, Value, evaluate::visible_organization,
};
use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

use crate::{
    alike::{Alike, alike},
    failure,
    layout::Layouts,
    pool::missing_row,
    row::integer,
    schema::REFUSE,
    statement::Statement,
    write::{self, OneRecord},
    writer::{COPIED, collection_of},
};

/// With more parts than this the planning costs more than the round trips.
const PARTS: usize = 24;
/// So many changes are looked at: others wait for the records of a long statement.
const CHANGES: usize = 5000;

/// A commit whose changes are parts of one statement.
pub(crate) struct Together {
    statement: Statement,
    /// The outcomes as far as they are known beforehand.
    outcomes: Vec<Outcome>,
    /// What each column of the answer tells.
    answers: Vec<Answer>,
}

/// What a column of the answer tells, of the change at the place.
enum Answer {
    /// The new version of the record.
    Version(usize),
    /// That the record was removed.
    Removed(usize),
    /// How many records were touched.
    Count(usize),
    /// The new versions of the records of alike changes.
    Versions(Vec<usize>),
}

impl Answer {
    /// Writes the column; it stops the statement where a record was not as it must be.
    fn push(&self, statement: &mut Statement, part: &str) {
        let refuse = format!("{REFUSE}('a record was changed meanwhile')");
        match self {
            Self::Version(_) => statement.push(&format!("coalesce((SELECT \"version\" FROM {part}),{refuse})")),
            Self::Removed(_) => statement.push(&format!("coalesce((SELECT 1::bigint FROM {part}),{refuse})")),
            Self::Count(_) => statement.push(&format!("(SELECT count(*) FROM {part})")),
            Self::Versions(places) => {
                statement.push("(SELECT CASE WHEN count(*) = ");
                statement.bind_integer(i64::try_from(places.len()).unwrap_or(i64::MAX));
                let versions = "array_agg(\"version\" ORDER BY place)";
                statement.push(&format!(" THEN {versions} ELSE ARRAY[{refuse}] END FROM {part})"))
            }
        };
    }
}

impl Together {
    pub(crate) fn statement(&self) -> Statement {
        self.statement.clone()
    }

    pub(crate) fn outcomes(&self, row: Option<&PgRow>) -> StoreResult<Vec<Outcome>> {
        let mut outcomes = self.outcomes.clone();
        let mut note = |place: usize, outcome: Outcome| {
            if let Some(known) = outcomes.get_mut(place) {
                *known = outcome;
            }
        };
        for (column, answer) in self.answers.iter().enumerate() {
            let row = row.ok_or_else(missing_row)?;
            match answer {
                Answer::Version(place) => note(*place, Outcome::Updated { version: integer(row, column)? }),
                Answer::Removed(place) => note(*place, Outcome::Touched(1)),
                Answer::Count(place) => {
                    let count = u64::try_from(integer(row, column)?).unwrap_or(0);
                    note(*place, Outcome::Touched(count));
                }
                Answer::Versions(places) => {
                    let versions: Vec<i64> = row.try_get(column).map_err(failure::running)?;
                    for (place, version) in places.iter().zip(versions) {
                        note(*place, Outcome::Updated { version });
                    }
                }
            }
        }
        Ok(outcomes)
    }
}

/// What a part of the statement makes.
enum Part<'a> {
    /// The change at the place.
    One(usize),
    /// Several that are alike.
    Alike(Alike<'a>),
}

/// The changes as one statement, where none can see another and their order makes no difference: the parts of a
/// statement see the state before it, and the server chooses which is run first.
pub(crate) fn together(layouts: &Layouts, scope: Scope, changes: &[Change]) -> StoreResult<Option<Together>> {
    if changes.len() < 2 || changes.len() > CHANGES || !is_unordered(changes) {
        return Ok(None);
    }
    let Some((groups, rest)) = alike(changes, PARTS) else { return Ok(None) };
    // Records are locked in the order of their ids, as everywhere.
    let one = |place: usize| {
        let id = OneRecord::of(&changes[place]).map(|(_, record)| record.id);
        ((id.is_none(), collection_of(&changes[place]).name, id), Part::One(place))
    };
    let several = |group| ((false, Alike::collection(&group).name, group.first_id()), Part::Alike(group));
    let mut parts: Vec<_> = rest.into_iter().map(one).chain(groups.into_iter().map(several)).collect();
    parts.sort_by_key(|(order, _)| *order);
    let mut statement = Statement::new("");
    let mut answers = Vec::new();
    let mut outcomes = vec![Outcome::Touched(0); changes.len()];
    for (number, (_, part)) in parts.into_iter().enumerate() {
        let name = format!("c{number}");
        let begin = |statement: &mut Statement| {
            let with = if statement.text().is_empty() { "WITH " } else { "," };
            statement.push(with).push(&name).push(" AS (");
        };
        let place = match part {
            Part::One(place) => place,
            Part::Alike(group) => {
                let collection = group.collection();
                let organization = visible_organization(scope, collection)?;
                begin(&mut statement);
                group.push(&mut statement, layouts, &layouts.of(collection), organization)?;
                statement.push(")");
                answers.push((name, Answer::Versions(group.places())));
                continue;
            }
        };
        let change = &changes[place];
        let collection = collection_of(change);
        let layout = layouts.of(collection);
        let organization = visible_organization(scope, collection)?;
        match change {
            Change::Insert { rows, .. } => {
                outcomes[place] = Outcome::Touched(rows.len() as u64);
                if rows.is_empty() {
                    continue;
                }
                begin(&mut statement);
                write::push_insert(&mut statement, &layout, rows);
            }
            Change::Update { .. } | Change::Delete { .. } => {
                let Some((_, record)) = OneRecord::of(change) else { continue };
                begin(&mut statement);
                record.push(&mut statement, layouts, &layout, organization)?;
                if record.assignments.is_some() {
                    answers.push((name, Answer::Version(place)));
                } else {
                    answers.push((name, Answer::Removed(place)));
                }
            }
            Change::UpdateWhere { filter, assignments, .. } => {
                begin(&mut statement);
                write::push_where(&mut statement, layouts, &layout, organization, filter, Some(assignments))?;
                statement.push(" RETURNING 1");
                answers.push((name, Answer::Count(place)));
            }
            Change::DeleteWhere { filter, .. } => {
                begin(&mut statement);
                write::push_where(&mut statement, layouts, &layout, organization, filter, None)?;
                statement.push(" RETURNING 1");
                answers.push((name, Answer::Count(place)));
            }
        }
        statement.push(")");
    }
    if statement.text().is_empty() {
        return Ok(None);
    }
    statement.push(" SELECT ");
    for (column, (part, answer)) in answers.iter().enumerate() {
        answer.push(statement.comma(column), part);
    }
    let answers = answers.into_iter().map(|(_, answer)| answer).collect();
    Ok(Some(Together { statement, outcomes, answers }))
}

/// What a commit does to one collection.
#[derive(Default)]
struct Touched<'a> {
    ids: HashSet<Uuid>,
    changes: usize,
    /// Changes by which a unique key can become free or taken, beside inserts.
    of_keys: usize,
    filters: Vec<&'a Filter>,
}

fn is_unordered(changes: &[Change]) -> bool {
    let mut collections: BTreeMap<&str, Touched<'_>> = BTreeMap::new();
    let mut rows_in_all = 0;
    for change in changes {
        let collection = collection_of(change);
        let touched = collections.entry(collection.name).or_default();
        touched.changes += 1;
        let assigns_key = |assignments: &[Assignment]| {
            assignments.iter().any(|assignment| {
                let (Assignment::Set(position, _) | Assignment::Increment(position, _)) = assignment;
                let name = collection.fields.get(*position).map(|field| field.name);
                collection.unique.iter().any(|key| key.fields.iter().any(|field| Some(*field) == name))
            })
        };
        match change {
            Change::Insert { rows, .. } => {
                rows_in_all += rows.len();
                if !rows.iter().all(|row| touched.ids.insert(row.id())) {
                    return false;
                }
            }
            Change::Update { id, condition, assignments, .. } => {
                touched.of_keys += usize::from(assigns_key(assignments));
                if !touched.ids.insert(*id) || condition.as_ref().is_some_and(|(filter, _)| looks_elsewhere(filter)) {
                    return false;
                }
            }
            Change::Delete { id, .. } => {
                touched.of_keys += usize::from(!collection.unique.is_empty());
                if !touched.ids.insert(*id) {
                    return false;
                }
            }
            Change::UpdateWhere { filter, assignments, .. } => match named(filter) {
                // It is about these records alone.
                Some(ids) if !looks_elsewhere(filter) => {
                    touched.of_keys += usize::from(assigns_key(assignments));
                    if !ids.into_iter().all(|id| touched.ids.insert(id)) {
                        return false;
                    }
                }
                _ => touched.filters.push(filter),
            },
            Change::DeleteWhere { filter, .. } => touched.filters.push(filter),
        }
    }
    rows_in_all < COPIED
        && collections.values().all(|touched| {
            let by_filter = touched.filters.is_empty()
                || touched.changes == 1 && !touched.filters.iter().any(|filter| looks_elsewhere(filter));
            by_filter && (touched.of_keys == 0 || touched.changes == 1)
        })
}

/// The records that a filter names, where it matches no others.
fn named(filter: &Filter) -> Option<Vec<Uuid>> {
    let id = |value: &Value| match value {
        Value::Id(id) => Some(*id),
        _ => None,
    };
    match filter {
        Filter::And(filters) => filters.iter().find_map(named),
        Filter::Compare { field, comparison: Comparison::Equal, value } if field.name == "id" => Some(vec![id(value)?]),
        Filter::In { field, values } if field.name == "id" => {
            let mut ids = values.iter().map(id).collect::<Option<Vec<Uuid>>>()?;
            ids.sort_unstable();
            ids.dedup();
            Some(ids)
        }
        _ => None,
    }
}

/// Whether a filter looks at other records than the one it is about.
fn looks_elsewhere(filter: &Filter) -> bool {
    match filter {
        Filter::And(filters) | Filter::Or(filters) => filters.iter().any(looks_elsewhere),
        Filter::Not(filter) => looks_elsewhere(filter),
        Filter::Related(_) => true,
        _ => false,
    }
}
