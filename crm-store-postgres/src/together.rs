//! A commit as one statement.

use std::collections::{BTreeMap, HashSet};

use crm_core::store::{Assignment, Change, Filter, Outcome, Scope, StoreResult, evaluate::visible_organization};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::{
    layout::Layouts,
    pool::missing_row,
    row::integer,
    schema::REFUSE,
    statement::Statement,
    write::{self, OneRecord},
    writer::{COPIED, collection_of},
};

/// With more changes than this the planning costs more than the round trips.
const CHANGES: usize = 24;

/// A commit whose changes are parts of one statement.
pub(crate) struct Together {
    statement: Statement,
    /// The outcomes as far as they are known beforehand.
    outcomes: Vec<Outcome>,
    /// Which change each column of the answer is of.
    answers: Vec<usize>,
}

impl Together {
    pub(crate) fn statement(&self) -> Statement {
        self.statement.clone()
    }

    pub(crate) fn outcomes(&self, row: Option<&PgRow>) -> StoreResult<Vec<Outcome>> {
        let mut outcomes = self.outcomes.clone();
        for (column, place) in self.answers.iter().enumerate() {
            let number = integer(row.ok_or_else(missing_row)?, column)?;
            if let Some(outcome) = outcomes.get_mut(*place) {
                *outcome = match outcome {
                    Outcome::Updated { .. } => Outcome::Updated { version: number },
                    Outcome::Touched(_) | Outcome::Unmet => Outcome::Touched(u64::try_from(number).unwrap_or(0)),
                };
            }
        }
        Ok(outcomes)
    }
}

/// The changes as one statement, where none can see another and their order makes no difference: the parts of a
/// statement see the state before it, and the server chooses which is run first.
pub(crate) fn together(layouts: &Layouts, scope: Scope, changes: &[Change]) -> StoreResult<Option<Together>> {
    if changes.len() < 2 || changes.len() > CHANGES || !is_unordered(changes) {
        return Ok(None);
    }
    // Records are locked in the order of their ids, as everywhere.
    let mut order: Vec<usize> = (0..changes.len()).collect();
    order.sort_by_key(|place| {
        let id = OneRecord::of(&changes[*place]).map(|(_, record)| record.id);
        (id.is_none(), collection_of(&changes[*place]).name, id, *place)
    });
    let mut statement = Statement::new("");
    let mut answers = Vec::new();
    let mut outcomes = vec![Outcome::Touched(0); changes.len()];
    let mut selected: Vec<String> = Vec::new();
    for place in order {
        let change = &changes[place];
        let collection = collection_of(change);
        let layout = layouts.of(collection);
        let organization = visible_organization(scope, collection)?;
        let part = format!("c{place}");
        let begin = |statement: &mut Statement| {
            let with = if statement.text().is_empty() { "WITH " } else { "," };
            statement.push(with).push(&part).push(" AS (");
        };
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
                let refuse = format!("{REFUSE}('a record was changed meanwhile')");
                if record.assignments.is_some() {
                    outcomes[place] = Outcome::Updated { version: 0 };
                    selected.push(format!("coalesce((SELECT \"version\" FROM {part}),{refuse})"));
                } else {
                    selected.push(format!("coalesce((SELECT 1::bigint FROM {part}),{refuse})"));
                }
                answers.push(place);
            }
            Change::UpdateWhere { filter, assignments, .. } => {
                begin(&mut statement);
                write::push_where(&mut statement, layouts, &layout, organization, filter, Some(assignments))?;
                statement.push(" RETURNING 1");
            }
            Change::DeleteWhere { filter, .. } => {
                begin(&mut statement);
                write::push_where(&mut statement, layouts, &layout, organization, filter, None)?;
                statement.push(" RETURNING 1");
            }
        }
        if matches!(change, Change::UpdateWhere { .. } | Change::DeleteWhere { .. }) {
            selected.push(format!("(SELECT count(*) FROM {part})"));
            answers.push(place);
        }
        statement.push(")");
    }
    if statement.text().is_empty() {
        return Ok(None);
    }
    statement.push(" SELECT ").push(&selected.join(","));
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
            Change::UpdateWhere { filter, .. } | Change::DeleteWhere { filter, .. } => touched.filters.push(filter),
        }
    }
    rows_in_all < COPIED
        && collections.values().all(|touched| {
            let by_filter = touched.filters.is_empty()
                || touched.changes == 1 && !touched.filters.iter().any(|filter| looks_elsewhere(filter));
            by_filter && (touched.of_keys == 0 || touched.changes == 1)
        })
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
