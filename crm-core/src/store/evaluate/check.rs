//! Whether filters, queries, rows and changes fit the declaration. What does not is a fault of the caller's code.

use uuid::Uuid;

use crate::{
    record::HEAD,
    store::{
        Aggregation, Assignment, Change, Collection, CustomIndex, Field, FieldKind, FieldRef, Filter, Group, Measure,
        Placement, Query, RelatedFilter, RelatedMeasure, Row, Scope, Sort, StoreError, StoreResult, Value, head,
    },
};

/// The organization whose rows of the collection a call in this scope sees; nothing where it sees those of all.
///
/// # Errors
/// [`StoreError::OutOfScope`] for a tenant collection under [`Scope::Installation`].
pub const fn visible_organization(scope: Scope, collection: &'static Collection) -> StoreResult<Option<Uuid>> {
    match (scope, collection.placement) {
        (Scope::Organization(organization), _) => Ok(Some(organization.0)),
        (Scope::Installation, Placement::Installation) => Ok(None),
        (Scope::Installation, Placement::Tenant) => Err(StoreError::OutOfScope { collection: collection.name }),
    }
}

/// Whether a declaration is sound: the fields of [`HEAD`] first, names used once, keys, indexes and searched fields
/// naming fields of a fitting kind.
///
/// # Errors
/// [`StoreError::Misuse`] naming what is not.
pub fn check_collection(collection: &'static Collection) -> StoreResult<()> {
    let name = collection.name;
    ensure(collection.fields.starts_with(&HEAD), || format!("{name}: does not begin with the fields of every record"))?;
    for (position, field) in collection.fields.iter().enumerate() {
        let at = || format!("{name}.{}", field.name);
        ensure(collection.position(field.name) == Some(position), || format!("{}: declared twice", at()))?;
        ensure(!field.folded || field.kind == FieldKind::Text, || format!("{}: only a text is folded", at()))?;
        ensure(!field.custom || field.kind == FieldKind::Json, || format!("{}: only JSON holds custom fields", at()))?;
    }
    let known = |part: &str, wanted: &str| {
        collection.field(wanted).ok_or_else(|| StoreError::Misuse(format!("{name}: {part} names no field: {wanted}")))
    };
    for key in collection.unique {
        ensure(!key.fields.is_empty(), || format!("{name}: the key {} has no fields", key.name))?;
        for wanted in key.fields {
            let field = known(key.name, wanted)?;
            ensure(!matches!(field.kind, FieldKind::TextList | FieldKind::Json), || {
                format!("{name}.{wanted}: lists and JSON are in no unique key")
            })?;
        }
    }
    for index in collection.indexes {
        for field in index.fields {
            known(index.name, field.name)?;
        }
        for wanted in index.covers {
            let field = known(index.name, wanted)?;
            ensure(!matches!(field.kind, FieldKind::TextList | FieldKind::Json), || {
                format!("{name}.{wanted}: lists and JSON are not kept beside an index")
            })?;
        }
    }
    for wanted in collection.search {
        let field = known("search", wanted)?;
        ensure(matches!(field.kind, FieldKind::Text | FieldKind::TextList), || {
            format!("{name}.{wanted}: only texts are searched")
        })?;
    }
    Ok(())
}

/// Whether a row fits: a value of the kind for each field, missing only where it may be, numbers finite, dates within
/// the years 1 to 9999.
///
/// # Errors
/// [`StoreError::Misuse`] naming the field.
pub fn check_row(collection: &'static Collection, row: &Row) -> StoreResult<()> {
    ensure(row.0.len() == collection.fields.len(), || {
        format!("{}: {} values for {} fields", collection.name, row.0.len(), collection.fields.len())
    })?;
    collection.fields.iter().zip(&row.0).try_for_each(|(field, value)| check_value(collection, field, value))
}

fn check_value(collection: &'static Collection, field: &Field, value: &Value) -> StoreResult<()> {
    let at = || format!("{}.{}", collection.name, field.name);
    match value.kind() {
        None => ensure(field.optional, || format!("{}: must not be missing", at())),
        Some(kind) => {
            ensure(kind == field.kind, || format!("{}: {kind:?} in place of {:?}", at(), field.kind))?;
            check_range(value, at)
        }
    }
}

fn check_range(value: &Value, at: impl Fn() -> String) -> StoreResult<()> {
    match value {
        Value::Number(number) => ensure(number.is_finite(), || format!("{}: not a finite number", at())),
        Value::Date(date) => ensure(date.year() >= 1, || format!("{}: before the year 1", at())),
        _ => Ok(()),
    }
}

/// Whether a filter fits the collection.
///
/// # Errors
/// [`StoreError::Misuse`] naming the first field that is unknown, of another kind, or asked what it cannot answer.
pub fn check_filter(collection: &'static Collection, filter: &Filter) -> StoreResult<()> {
    check_node(collection, filter, false)
}

fn check_node(collection: &'static Collection, filter: &Filter, inside_related: bool) -> StoreResult<()> {
    match filter {
        Filter::And(filters) | Filter::Or(filters) => {
            filters.iter().try_for_each(|filter| check_node(collection, filter, inside_related))
        }
        Filter::Not(filter) => check_node(collection, filter, inside_related),
        Filter::Compare { field, value, .. } => {
            check_field(collection, field)?;
            let at = || described(collection, field);
            ensure(!matches!(field.kind, FieldKind::TextList | FieldKind::Json), || {
                format!("{}: lists and JSON are not compared", at())
            })?;
            check_operand(collection, field, field.kind, value)
        }
        Filter::In { field, values } => {
            check_field(collection, field)?;
            let kind = match field.kind {
                FieldKind::TextList => FieldKind::Text,
                FieldKind::Json => return misuse(format!("{}: JSON is not compared", described(collection, field))),
                kind => kind,
            };
            values.iter().try_for_each(|value| check_operand(collection, field, kind, value))
        }
        Filter::Contains { field, .. } => {
            check_field(collection, field)?;
            if field.kind == FieldKind::TextList { Ok(()) } else { check_folded(collection, field) }
        }
        Filter::StartsWith { field, .. } => {
            check_field(collection, field)?;
            check_folded(collection, field)
        }
        Filter::Exists { field } => check_field(collection, field).map(|_| ()),
        Filter::Search { terms } => {
            let name = collection.name;
            ensure(!inside_related, || format!("{name}: no search over related records"))?;
            ensure(!collection.search.is_empty(), || format!("{name}: has no searchable fields"))?;
            ensure(terms.iter().all(|term| !term.is_empty()), || format!("{name}: an empty search term"))
        }
        Filter::Related(related) => {
            ensure(!inside_related, || format!("{}: related records inside related records", collection.name))?;
            check_related(collection, related)
        }
    }
}

fn check_related(collection: &'static Collection, related: &RelatedFilter) -> StoreResult<()> {
    let other = related.collection;
    let name = other.name;
    ensure(collection.placement == Placement::Tenant && other.placement == Placement::Tenant, || {
        format!("{name}: only organizations' records are related")
    })?;
    ensure(other.field(related.key).is_some_and(|field| field.kind == FieldKind::Id), || {
        format!("{name}.{}: holds no id", related.key)
    })?;
    let kind = match related.measure {
        RelatedMeasure::Count => FieldKind::Integer,
        RelatedMeasure::Sum(summed) => match other.field(summed).map(|field| field.kind) {
            Some(kind @ (FieldKind::Integer | FieldKind::Money)) => kind,
            _ => return misuse(format!("{name}.{summed}: only integers and money are summed over related records")),
        },
    };
    ensure(related.value.kind() == Some(kind), || format!("{name}: the operand is not of the kind {kind:?}"))?;
    check_node(other, &related.filter, true)
}

/// Whether the reference names a declared field of its kind, or a member that can be of its kind.
fn check_field(collection: &'static Collection, field: &FieldRef) -> StoreResult<&'static Field> {
    let at = || described(collection, field);
    let Some(declared) = collection.field(&field.name) else { return misuse(format!("{}: no such field", at())) };
    if field.key.is_some() {
        ensure(declared.custom, || format!("{}: the field holds no custom fields", at()))?;
        ensure(field.kind != FieldKind::Id, || format!("{}: a custom field is no id", at()))?;
    } else {
        ensure(declared.kind == field.kind, || format!("{}: is {:?}, not {:?}", at(), declared.kind, field.kind))?;
    }
    Ok(declared)
}

fn check_folded(collection: &'static Collection, field: &FieldRef) -> StoreResult<()> {
    let folded = field.key.is_some() || collection.field(&field.name).is_some_and(|declared| declared.folded);
    ensure(field.kind == FieldKind::Text && folded, || format!("{}: is no folded text", described(collection, field)))
}

fn check_operand(collection: &'static Collection, field: &FieldRef, kind: FieldKind, value: &Value) -> StoreResult<()> {
    let at = || described(collection, field);
    ensure(value.kind() == Some(kind), || format!("{}: the operand is not of the kind {kind:?}", at()))?;
    check_range(value, at)
}

fn described(collection: &'static Collection, field: &FieldRef) -> String {
    match &field.key {
        Some(key) => format!("{}.{}[{key:?}]", collection.name, field.name),
        None => format!("{}.{}", collection.name, field.name),
    }
}

fn check_sort(collection: &'static Collection, sort: &[Sort]) -> StoreResult<()> {
    for sort in sort {
        check_field(collection, &sort.field)?;
        match sort.field.kind {
            FieldKind::TextList | FieldKind::Json => {
                return misuse(format!("{}: lists and JSON have no order", described(collection, &sort.field)));
            }
            FieldKind::Text => check_folded(collection, &sort.field)?,
            _ => {}
        }
    }
    Ok(())
}

/// Whether a query fits the collection.
///
/// # Errors
/// [`StoreError::Misuse`] naming what does not.
pub fn check_query(collection: &'static Collection, query: &Query) -> StoreResult<()> {
    check_filter(collection, &query.filter)?;
    check_sort(collection, &query.sort)?;
    let Some(position) = &query.after else { return Ok(()) };
    ensure(position.keys.len() == query.sort.len(), || {
        format!("{}: a position of {} keys in an order of {}", collection.name, position.keys.len(), query.sort.len())
    })?;
    query.sort.iter().zip(&position.keys).try_for_each(|(sort, key)| {
        if key.is_null() { Ok(()) } else { check_operand(collection, &sort.field, sort.field.kind, key) }
    })
}

/// Whether an aggregation fits the collection.
///
/// # Errors
/// [`StoreError::Misuse`] naming what does not.
pub fn check_aggregation(collection: &'static Collection, aggregation: &Aggregation) -> StoreResult<()> {
    check_filter(collection, &aggregation.filter)?;
    for group in &aggregation.groups {
        match group {
            Group::Field(field) => {
                check_field(collection, field)?;
                ensure(field.kind != FieldKind::Json, || {
                    format!("{}: JSON is not grouped by", described(collection, field))
                })?;
            }
            Group::Interval { field, bounds } => {
                check_field(collection, field)?;
                let at = || described(collection, field);
                ensure(field.kind == FieldKind::Timestamp, || format!("{}: is no timestamp", at()))?;
                ensure(bounds.len() > 1 && bounds.is_sorted_by(|left, right| left < right), || {
                    format!("{}: the bounds of intervals ascend and are two at least", at())
                })?;
            }
        }
    }
    aggregation.measures.iter().try_for_each(|measure| check_measure(collection, measure))
}

fn check_measure(collection: &'static Collection, measure: &Measure) -> StoreResult<()> {
    use FieldKind::{Integer, Json, Money, Number, TextList, Timestamp};

    let (field, fits): (_, fn(FieldKind) -> bool) = match measure {
        Measure::Count => return Ok(()),
        Measure::Sum(field) => (field, |kind| matches!(kind, Integer | Number | Money)),
        Measure::Minimum(field) | Measure::Maximum(field) | Measure::Distinct(field) => {
            (field, |kind| !matches!(kind, TextList | Json))
        }
        Measure::Percentile { field, per_mille } => {
            ensure(*per_mille <= 1000, || format!("{}: {per_mille} is no per mille", described(collection, field)))?;
            (field, |kind| matches!(kind, Integer | Number | Money | Timestamp))
        }
    };
    check_field(collection, field)?;
    ensure(fits(field.kind), || format!("{}: {:?} is not measured so", described(collection, field), field.kind))
}

/// Whether assignments fit the collection: values of the fields' kinds, each field assigned once, and none of the
/// fields that are the store's own (id, version, and a tenant's organization).
///
/// # Errors
/// [`StoreError::Misuse`] naming the field.
pub fn check_assignments(collection: &'static Collection, assignments: &[Assignment]) -> StoreResult<()> {
    for (place, assignment) in assignments.iter().enumerate() {
        let (Assignment::Set(position, value) | Assignment::Increment(position, value)) = assignment;
        let Some(field) = collection.fields.get(*position) else {
            return misuse(format!("{}: no field {position}", collection.name));
        };
        let at = || format!("{}.{}", collection.name, field.name);
        let own = matches!(*position, head::ID | head::VERSION)
            || *position == head::ORGANIZATION_ID && collection.placement == Placement::Tenant;
        ensure(!own, || format!("{}: is not assigned", at()))?;
        let again = assignments[..place].iter().any(|earlier| {
            let (Assignment::Set(earlier, _) | Assignment::Increment(earlier, _)) = earlier;
            earlier == position
        });
        ensure(!again, || format!("{}: assigned twice", at()))?;
        check_value(collection, field, value)?;
        if matches!(assignment, Assignment::Increment(..)) {
            ensure(matches!(value, Value::Integer(_) | Value::Number(_) | Value::Money(_)), || {
                format!("{}: nothing to add", at())
            })?;
        }
    }
    Ok(())
}

/// Whether a change fits its collection and the scope.
///
/// # Errors
/// [`StoreError::OutOfScope`] for a tenant collection outside an organization, or a row of another organization;
/// [`StoreError::Misuse`] naming what does not fit the declaration.
pub fn check_change(scope: Scope, change: &Change) -> StoreResult<()> {
    match change {
        Change::Insert { collection, rows } => {
            let organization = visible_organization(scope, collection)?;
            for row in rows {
                check_row(collection, row)?;
                if collection.placement == Placement::Tenant
                    && row.0.get(head::ORGANIZATION_ID) != organization.map(Value::Id).as_ref()
                {
                    return Err(StoreError::OutOfScope { collection: collection.name });
                }
            }
            Ok(())
        }
        Change::Update { collection, condition, assignments, .. } => {
            visible_organization(scope, collection)?;
            if let Some((filter, _)) = condition {
                check_filter(collection, filter)?;
            }
            check_assignments(collection, assignments)
        }
        Change::Delete { collection, .. } => visible_organization(scope, collection).map(|_| ()),
        Change::UpdateWhere { collection, filter, assignments } => {
            visible_organization(scope, collection)?;
            check_filter(collection, filter)?;
            check_assignments(collection, assignments)
        }
        Change::DeleteWhere { collection, filter } => {
            visible_organization(scope, collection)?;
            check_filter(collection, filter)
        }
    }
}

/// Whether what a claim asks for and sets fits the collection.
///
/// # Errors
/// [`StoreError::Misuse`] naming what does not.
pub fn check_claim(
    collection: &'static Collection,
    filter: &Filter,
    sort: &[Sort],
    set: &[(usize, Value)],
) -> StoreResult<()> {
    check_filter(collection, filter)?;
    check_sort(collection, sort)?;
    let assignments: Vec<Assignment> =
        set.iter().map(|(position, value)| Assignment::Set(*position, value.clone())).collect();
    check_assignments(collection, &assignments)
}

/// Whether an index is of a custom field that can have one.
///
/// # Errors
/// [`StoreError::Misuse`] naming what it is not.
pub fn check_custom_index(index: &CustomIndex) -> StoreResult<()> {
    let at = || format!("{}.{}[{:?}]", index.collection.name, index.field, index.key);
    ensure(index.collection.field(index.field).is_some_and(|field| field.custom), || {
        format!("{}: the field holds no custom fields", at())
    })?;
    ensure(!matches!(index.kind, FieldKind::Id | FieldKind::Json), || {
        format!("{}: {:?} is not indexed", at(), index.kind)
    })
}

fn ensure(holds: bool, message: impl FnOnce() -> String) -> StoreResult<()> {
    if holds { Ok(()) } else { misuse(message()) }
}

const fn misuse<T>(message: String) -> StoreResult<T> {
    Err(StoreError::Misuse(message))
}
