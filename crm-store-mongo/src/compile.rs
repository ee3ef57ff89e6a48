//! Filters as MongoDB's query documents.
//!
//! MongoDB's conditions are two-valued as the contract's are: a comparison with a field that is not there is false, and
//! `$ne`, `$nin` and `$nor` are exact opposites. Every field holds values of one type, and custom fields are looked at
//! where they lie in the type that is asked for (see [`crate::json`]), so type bracketing never hides anything.

use bson::{Bson, Document, doc};
use crm_core::store::{
    Comparison, FieldKind, FieldRef, Filter, StoreError, StoreResult, Value,
    fold::{end_of_prefix, fold},
    plan::{Bound, Column, Form, Range},
};
use uuid::Uuid;

use crate::{
    layout::{Layout, folded_path, path},
    row, search,
};

/// Lists of ids up to this are looked up by `_id`.
const LOOKED_UP: usize = 1000;

/// The records that a command speaks of.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) layout: &'a Layout,
    /// Whose records; of all where nothing.
    pub(crate) organization: Option<Uuid>,
}

/// The condition that no document meets.
pub(crate) fn never() -> Document {
    doc! { "_id": { "$in": [] } }
}

/// The value of an operand, which is never missing.
pub(crate) fn operand(value: &Value) -> StoreResult<Bson> {
    Ok(row::to_bson(value)?.unwrap_or(Bson::Null))
}

fn operands(values: &[Value]) -> StoreResult<Vec<Bson>> {
    values.iter().map(operand).collect()
}

/// All of the conditions as one document.
pub(crate) fn all(mut conditions: Vec<Document>) -> Document {
    match conditions.len() {
        0 => Document::new(),
        1 => conditions.remove(0),
        _ => doc! { "$and": conditions },
    }
}

fn opposite(condition: Document) -> Document {
    doc! { "$nor": [condition] }
}

impl Rows<'_> {
    /// What the records of the organization that match meet, and the further conditions.
    pub(crate) fn matching(&self, filter: &Filter, more: Vec<Document>) -> StoreResult<Document> {
        let mut conditions = Vec::new();
        if let Some(organization) = self.organization {
            conditions.push(doc! { "organization_id": organization });
        }
        if self.layout.collection.indexes.is_empty() {
            // Only `_id` is led by the organization.
            conditions.extend(self.key_range());
        }
        self.push(&mut conditions, filter)?;
        conditions.extend(more);
        Ok(all(conditions))
    }

    /// What the record with the id meets, if it matches and meets the further conditions too.
    pub(crate) fn record_matching(&self, id: Uuid, filter: &Filter, more: Vec<Document>) -> StoreResult<Document> {
        let mut conditions = vec![self.record(id)];
        self.push(&mut conditions, filter)?;
        conditions.extend(more);
        Ok(all(conditions))
    }

    /// What the record with the id meets, if it is one that the command may speak of.
    pub(crate) fn record(&self, id: Uuid) -> Document {
        let key = self.layout.key(self.organization.unwrap_or_default(), id);
        match self.organization {
            Some(organization) if !self.layout.is_tenant() => doc! { "_id": key, "organization_id": organization },
            _ => doc! { "_id": key },
        }
    }

    /// Adds the conditions that together are the filter.
    fn push(&self, conditions: &mut Vec<Document>, filter: &Filter) -> StoreResult<()> {
        match filter {
            Filter::And(filters) => return filters.iter().try_for_each(|filter| self.push(conditions, filter)),
            Filter::Compare { field, comparison: Comparison::Equal, value: Value::Id(id) } if is_id(field) => {
                conditions.push(self.record(*id));
            }
            Filter::In { field, values } if is_id(field) && values.len() <= LOOKED_UP => {
                let keys = values.iter().map(|value| match value {
                    Value::Id(id) => self.layout.key(self.organization.unwrap_or_default(), *id),
                    _ => Bson::Null,
                });
                let keys: Vec<Bson> = keys.collect();
                conditions.push(doc! { "_id": { "$in": keys } });
            }
            Filter::Search { terms } => search::push_terms(conditions, self.layout, terms)?,
            other => conditions.push(self.condition(other)?),
        }
        Ok(())
    }

    fn condition(&self, filter: &Filter) -> StoreResult<Document> {
        Ok(match filter {
            Filter::And(filters) => self.list(filters, "$and", Document::new())?,
            Filter::Or(filters) => self.list(filters, "$or", never())?,
            Filter::Not(filter) => self.negated(filter)?,
            Filter::Compare { field, comparison, value } => self.compared(field, *comparison, value)?,
            Filter::In { field, values } => {
                let among = doc! { path(field): { "$in": operands(values)? } };
                match self.indexed_folded(field) {
                    Some(folded) => {
                        let forms: Vec<Bson> = values.iter().filter_map(folded_operand).collect();
                        doc! { "$and": [{ folded: { "$in": forms } }, among] }
                    }
                    None => among,
                }
            }
            Filter::Contains { field, text } if field.kind == FieldKind::TextList => {
                doc! { path(field): { "$eq": text } }
            }
            Filter::Contains { field, text } => doc! { folded_path(field): search::containing(&fold(text))? },
            Filter::StartsWith { field, text } => {
                let prefix = fold(text);
                let mut within = Document::new();
                if let Some(end) = end_of_prefix(&prefix) {
                    within.insert("$lt", end);
                }
                within.insert("$gte", prefix);
                doc! { folded_path(field): within }
            }
            Filter::Exists { field } if field.kind == FieldKind::TextList => {
                doc! { format!("{}.0", path(field)): { "$exists": true } }
            }
            Filter::Exists { field } if field.kind == FieldKind::Json => doc! { path(field): { "$exists": true } },
            // A field that is missing is as null to MongoDB, and only JSON can be null.
            Filter::Exists { field } => doc! { path(field): { "$ne": null } },
            Filter::Search { terms } => {
                let mut conditions = Vec::new();
                search::push_terms(&mut conditions, self.layout, terms)?;
                all(conditions)
            }
            Filter::Related(related) => {
                // What relates is found beforehand and its ids stand here instead.
                return Err(StoreError::engine(format!("{} was not looked up", related.collection.name)));
            }
        })
    }

    fn list(&self, filters: &[Filter], operator: &str, empty: Document) -> StoreResult<Document> {
        let mut conditions: Vec<Document> =
            filters.iter().map(|filter| self.condition(filter)).collect::<StoreResult<_>>()?;
        Ok(match conditions.len() {
            0 => empty,
            1 => conditions.remove(0),
            _ => doc! { operator: conditions },
        })
    }

    fn negated(&self, filter: &Filter) -> StoreResult<Document> {
        Ok(match filter {
            Filter::Not(filter) => self.condition(filter)?,
            Filter::Compare { field, comparison: Comparison::Equal, value } => {
                self.compared(field, Comparison::NotEqual, value)?
            }
            Filter::Compare { field, comparison: Comparison::NotEqual, value } => {
                self.compared(field, Comparison::Equal, value)?
            }
            Filter::In { field, values } => doc! { path(field): { "$nin": operands(values)? } },
            Filter::Exists { field } if !matches!(field.kind, FieldKind::TextList | FieldKind::Json) => {
                doc! { path(field): { "$eq": null } }
            }
            Filter::And(filters) if filters.is_empty() => never(),
            other => opposite(self.condition(other)?),
        })
    }

    fn compared(&self, field: &FieldRef, comparison: Comparison, value: &Value) -> StoreResult<Document> {
        let condition = doc! { path(field): { operator(comparison): operand(value)? } };
        Ok(match (comparison, self.indexed_folded(field), folded_operand(value)) {
            (Comparison::Equal, Some(folded), Some(form)) => doc! { "$and": [{ folded: { "$eq": form } }, condition] },
            _ => condition,
        })
    }

    /// Where the folded form lies that indexes have before the text.
    fn indexed_folded(&self, field: &FieldRef) -> Option<String> {
        let kept = match &field.key {
            Some(_) => true,
            None => self.layout.collection.field(&field.name).is_some_and(|it| self.layout.collection.keeps_folded(it)),
        };
        (field.kind == FieldKind::Text && kept).then(|| folded_path(field))
    }

    /// The conditions of a range of an order. `by_key` says whether the order runs by `_id`.
    pub(crate) fn within(&self, range: &Range, by_key: bool) -> StoreResult<Vec<Document>> {
        let mut conditions = Vec::new();
        for bound in &range.0 {
            match bound {
                Bound::Equal(column, value) => {
                    conditions.push(doc! { column_path(column): { "$eq": operand(value)? } });
                }
                Bound::Missing(column) => conditions.push(doc! { column_path(column): { "$eq": null } }),
                Bound::Present(column) => conditions.push(doc! { column_path(column): { "$ne": null } }),
                Bound::After { columns, values, descending } => {
                    let operator = if *descending { "$lt" } else { "$gt" };
                    for (column, value) in columns.iter().zip(values) {
                        conditions.push(match value {
                            Value::Id(id) if by_key && is_id(&column.field) => {
                                doc! { "_id": { operator: self.layout.key(self.organization.unwrap_or_default(), *id) } }
                            }
                            value => doc! { column_path(column): { operator: operand(value)? } },
                        });
                    }
                }
            }
        }
        Ok(conditions)
    }

    /// The whole range of the organization's records in the order of `_id`.
    pub(crate) fn key_range(&self) -> Vec<Document> {
        match self.organization {
            Some(organization) if self.layout.is_tenant() => vec![doc! { "_id": {
                "$gte": self.layout.key(organization, Uuid::nil()),
                "$lte": self.layout.key(organization, Uuid::max()),
            } }],
            _ => Vec::new(),
        }
    }
}

/// Whether the field is the record's id.
pub(crate) fn is_id(field: &FieldRef) -> bool {
    field.key.is_none() && field.name == "id"
}

fn folded_operand(value: &Value) -> Option<Bson> {
    match value {
        Value::Text(text) => Some(Bson::String(fold(text))),
        _ => None,
    }
}

/// Where what the column is made of lies.
pub(crate) fn column_path(column: &Column) -> String {
    match column.form {
        Form::Value => path(&column.field),
        Form::Folded => folded_path(&column.field),
    }
}

pub(crate) const fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "$eq",
        Comparison::NotEqual => "$ne",
        Comparison::Less => "$lt",
        Comparison::LessOrEqual => "$lte",
        Comparison::Greater => "$gt",
        Comparison::GreaterOrEqual => "$gte",
    }
}
