//! Changes as SQL: what the writer runs and how its answers are read.

use std::time::Duration;

use crm_core::store::{
    Assignment, Change, Collection, FieldKind, Filter, Outcome, Query, Row, Scope, Sort, StoreError, StoreResult,
    Value, WhenUnmet,
    evaluate::{check_change, check_claim, visible_organization},
    head,
};
use uuid::Uuid;

use crate::{
    compile::Rows,
    layout::{ALIAS, Layout, Layouts, shadow_name},
    plan::Plan,
    statement::{Statement, identifier},
};

/// How many rows one `INSERT` takes; the rest of a list is parted into these, so that few texts cover all lengths.
const CHUNKS: [usize; 4] = [32, 8, 2, 1];
/// What every program begins with: the savepoint of the one before it is done with, its own begins.
const SAVEPOINT: [&str; 2] = ["RELEASE c", "SAVEPOINT c"];
/// A section with as many arguments is run before the next is begun.
const SECTION: usize = 1000;

/// The error of a store that was closed.
pub(crate) fn closed() -> StoreError {
    StoreError::Unavailable { message: "the database is closed".to_owned(), retry_after: Duration::from_secs(1) }
}

/// What the writer runs for one caller, all or not at all.
pub(crate) struct Program {
    pub(crate) sections: Vec<Section>,
    /// The outcomes as far as they are known beforehand.
    pub(crate) outcomes: Vec<Outcome>,
}

/// Statements that are sent at once.
#[derive(Default)]
pub(crate) struct Section {
    pub(crate) statement: Statement,
    /// What each of the statements is.
    pub(crate) parts: Vec<Part>,
    arguments: usize,
}

/// One statement of a section.
pub(crate) struct Part {
    pub(crate) collection: &'static Collection,
    /// The change's place in the list.
    pub(crate) change: usize,
    pub(crate) kind: PartKind,
}

/// How the answer to a statement is read.
pub(crate) enum PartKind {
    /// Nothing is answered.
    Savepoint,
    /// Nothing is answered.
    Insert,
    /// So many rows were touched.
    Where,
    /// The new version, or nothing: then [`PartKind::Diagnosis`] follows and tells why.
    Update,
    /// One row was touched, or none, and then the diagnosis tells why.
    Delete,
    /// The version of a record that was not changed; nothing where it was, or where there is none.
    Diagnosis {
        /// The record.
        id: Uuid,
        /// The version that was expected.
        expected: Option<i64>,
        /// What follows from an unmet condition, where there is one.
        when_unmet: Option<WhenUnmet>,
    },
    /// The rows that were claimed.
    Claim,
}

impl Program {
    /// Compiles the changes of a commit.
    pub(crate) fn commit(layouts: &Layouts, scope: Scope, changes: &[Change]) -> StoreResult<Self> {
        let mut program = Self { sections: Vec::new(), outcomes: Vec::with_capacity(changes.len()) };
        if let Some(first) = changes.first() {
            program.section(0).savepoint(collection_of(first));
        }
        for (place, change) in changes.iter().enumerate() {
            check_change(scope, change)?;
            program.push(layouts, scope, place, change)?;
        }
        Ok(program)
    }

    /// Compiles a claim.
    pub(crate) fn claim(
        layouts: &Layouts,
        scope: Scope,
        collection: &'static Collection,
        filter: &Filter,
        sort: &[Sort],
        limit: usize,
        set: &[(usize, Value)],
    ) -> StoreResult<Self> {
        let organization = visible_organization(scope, collection)?;
        check_claim(collection, filter, sort, set)?;
        let layout = layouts.of(collection);
        let query = Query::new(filter.clone(), limit).sorted(sort.to_vec());
        let inner = Rows { alias: "c", ..Rows::new(layouts, &layout, organization, filter) };
        let plan = Plan::new(&inner, &query, |_| None);
        let assignments: Vec<Assignment> =
            set.iter().map(|(position, value)| Assignment::Set(*position, value.clone())).collect();
        let mut section = Section::default();
        section.savepoint(collection);
        let statement = section.begin();
        statement.push("UPDATE ").push(&layout.table).push(" AS t SET ");
        push_assignments(statement, &layout, &assignments);
        statement.push(" WHERE t.\"row\" IN (SELECT c.\"row\"");
        plan.push_block(statement, &inner, 0)?;
        statement.push(" LIMIT ").bind_integer(i64::try_from(limit).unwrap_or(i64::MAX)).push(") RETURNING ");
        let fields: Vec<String> = collection.fields.iter().map(|field| identifier(field.name)).collect();
        statement.push(&fields.join(","));
        section.parts.push(Part { collection, change: 0, kind: PartKind::Claim });
        Ok(Self { sections: vec![section], outcomes: Vec::new() })
    }

    /// The only section, where what its statements touch cannot make the program fail: only the engine can.
    pub(crate) fn plain(&self) -> Option<&Section> {
        let [section] = self.sections.as_slice() else { return None };
        section
            .parts
            .iter()
            .all(|part| matches!(part.kind, PartKind::Savepoint | PartKind::Insert | PartKind::Where))
            .then_some(section)
    }

    fn push(&mut self, layouts: &Layouts, scope: Scope, place: usize, change: &Change) -> StoreResult<()> {
        match change {
            Change::Insert { collection, rows } => {
                let layout = layouts.of(collection);
                self.insert(&layout, place, rows);
                self.outcomes.push(Outcome::Touched(rows.len() as u64));
            }
            Change::Update { collection, id, expected_version, condition, assignments } => {
                let layout = layouts.of(collection);
                let organization = visible_organization(scope, collection)?;
                let section = self.section(assignments.len() + 8);
                let statement = section.begin();
                statement.push("UPDATE ").push(&layout.table).push(" AS t SET ");
                push_assignments(statement, &layout, assignments);
                push_record(statement, organization, *id);
                if let Some(version) = expected_version {
                    statement.push(" AND t.\"version\" = ").bind_integer(*version);
                }
                if let Some((filter, _)) = condition {
                    statement.push(" AND ");
                    Rows::new(layouts, &layout, organization, filter).push_condition(statement, filter, false)?;
                }
                statement.push(" RETURNING \"version\"");
                section.parts.push(Part { collection, change: place, kind: PartKind::Update });
                let when_unmet = condition.as_ref().map(|(_, when_unmet)| *when_unmet);
                section.diagnosis(&layout, organization, place, *id, *expected_version, when_unmet);
                self.outcomes.push(Outcome::Unmet);
            }
            Change::Delete { collection, id, expected_version } => {
                let layout = layouts.of(collection);
                let organization = visible_organization(scope, collection)?;
                let section = self.section(8);
                let statement = section.begin();
                statement.push("DELETE FROM ").push(&layout.table).push(" AS t");
                push_record(statement, organization, *id);
                if let Some(version) = expected_version {
                    statement.push(" AND t.\"version\" = ").bind_integer(*version);
                }
                section.parts.push(Part { collection, change: place, kind: PartKind::Delete });
                section.diagnosis(&layout, organization, place, *id, *expected_version, None);
                self.outcomes.push(Outcome::Touched(1));
            }
            Change::UpdateWhere { collection, filter, assignments } => {
                let layout = layouts.of(collection);
                let organization = visible_organization(scope, collection)?;
                let section = self.section(assignments.len() + 8);
                let statement = section.begin();
                let rows = Rows::new(layouts, &layout, organization, filter);
                statement.push("UPDATE ");
                rows.push_table(statement, filter);
                statement.push(" SET ");
                push_assignments(statement, &layout, assignments);
                rows.push_where(statement, filter)?;
                section.parts.push(Part { collection, change: place, kind: PartKind::Where });
                self.outcomes.push(Outcome::Touched(0));
            }
            Change::DeleteWhere { collection, filter } => {
                let layout = layouts.of(collection);
                let organization = visible_organization(scope, collection)?;
                let section = self.section(8);
                let statement = section.begin();
                let rows = Rows::new(layouts, &layout, organization, filter);
                statement.push("DELETE FROM ");
                rows.push_table(statement, filter);
                rows.push_where(statement, filter)?;
                section.parts.push(Part { collection, change: place, kind: PartKind::Where });
                self.outcomes.push(Outcome::Touched(0));
            }
        }
        Ok(())
    }

    fn insert(&mut self, layout: &Layout, place: usize, mut rows: &[Row]) {
        let width = layout.collection.fields.len() + layout.shadows.len();
        while let Some(chunk) = CHUNKS.into_iter().find(|chunk| *chunk <= rows.len()) {
            let (now, later) = rows.split_at(chunk);
            rows = later;
            let section = self.section(chunk * width);
            let statement = section.begin();
            statement.push("INSERT INTO ").push(&layout.table).push(" (").push(&layout.inserted).push(") VALUES ");
            for (number, row) in now.iter().enumerate() {
                statement.comma(number).push("(");
                for (position, value) in row.0.iter().enumerate() {
                    statement.comma(position);
                    if position == head::VERSION {
                        statement.push("1");
                    } else {
                        statement.bind_value(value);
                    }
                }
                for (position, shadow) in &layout.shadows {
                    let value = row.0.get(*position).and_then(|value| shadow.of(value));
                    statement.push(",").bind_optional_text(value);
                }
                statement.push(")");
            }
            section.parts.push(Part { collection: layout.collection, change: place, kind: PartKind::Insert });
        }
    }

    /// The section that takes a statement with so many arguments.
    fn section(&mut self, arguments: usize) -> &mut Section {
        let full = self.sections.last().is_none_or(|section| section.arguments + arguments > SECTION);
        if full {
            self.sections.push(Section::default());
        }
        let last = self.sections.len() - 1;
        let section = &mut self.sections[last];
        section.arguments += arguments;
        section
    }
}

impl Section {
    fn savepoint(&mut self, collection: &'static Collection) {
        for statement in SAVEPOINT {
            self.begin().push(statement);
            self.parts.push(Part { collection, change: 0, kind: PartKind::Savepoint });
        }
    }

    fn begin(&mut self) -> &mut Statement {
        if !self.parts.is_empty() {
            self.statement.push(";");
        }
        &mut self.statement
    }

    /// Writes the statement that tells why the one before touched nothing.
    fn diagnosis(
        &mut self,
        layout: &Layout,
        organization: Option<Uuid>,
        change: usize,
        id: Uuid,
        expected: Option<i64>,
        when_unmet: Option<WhenUnmet>,
    ) {
        let statement = self.begin();
        statement.push("SELECT t.\"version\" FROM ").push(&layout.table).push(" AS t");
        push_record(statement, organization, id);
        statement.push(" AND changes() = 0");
        let kind = PartKind::Diagnosis { id, expected, when_unmet };
        self.parts.push(Part { collection: layout.collection, change, kind });
    }
}

const fn collection_of(change: &Change) -> &'static Collection {
    match change {
        Change::Insert { collection, .. }
        | Change::Update { collection, .. }
        | Change::Delete { collection, .. }
        | Change::UpdateWhere { collection, .. }
        | Change::DeleteWhere { collection, .. } => collection,
    }
}

fn push_record(statement: &mut Statement, organization: Option<Uuid>, id: Uuid) {
    statement.push(" WHERE ");
    if let Some(organization) = organization {
        statement.push("t.\"organization_id\" = ").bind_id(organization).push(" AND ");
    }
    statement.push("t.\"id\" = ").bind_id(id);
}

fn push_assignments(statement: &mut Statement, layout: &Layout, assignments: &[Assignment]) {
    for assignment in assignments {
        let (Assignment::Set(position, value) | Assignment::Increment(position, value)) = assignment;
        let Some(field) = layout.collection.fields.get(*position) else { continue };
        let column = identifier(field.name);
        statement.push(&column).push(" = ");
        match assignment {
            Assignment::Set(..) => {
                statement.bind_value(value);
                if let Some((_, shadow)) = layout.shadows.iter().find(|(shadowed, _)| shadowed == position) {
                    statement.push(",").push(&identifier(&shadow_name(field))).push(" = ");
                    statement.bind_optional_text(shadow.of(value));
                }
            }
            Assignment::Increment(..) if field.kind == FieldKind::Integer => {
                // A sum that leaves 64 bits becomes a real number, which could round into range again: a text in its
                // place is refused by the column's type.
                let sum = |statement: &mut Statement| {
                    statement.push(&format!("ifnull({ALIAS}.{column},0) + ")).bind_value(value);
                };
                statement.push("iif(typeof(");
                sum(statement);
                statement.push(") = 'integer',");
                sum(statement);
                statement.push(",'out of range')");
            }
            Assignment::Increment(..) => {
                statement.push(&format!("ifnull({ALIAS}.{column},0) + ")).bind_value(value);
            }
        }
        statement.push(",");
    }
    statement.push("\"version\" = t.\"version\" + 1");
}
