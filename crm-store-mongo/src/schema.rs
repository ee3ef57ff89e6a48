//! The indexes that follow from a declaration.

use bson::{Bson, Document, doc};
use crm_core::store::{
    CustomIndex, FieldKind, FieldRef, Index, UniqueKey,
    plan::{Column, IndexColumn, index_columns, sort_columns},
};
use uuid::Uuid;

use crate::{compile::column_path, json, layout::Layout, search};

/// The version of what this program makes of declarations. A database with a larger one is from a newer program.
pub(crate) const VERSION: i64 = 1;

/// The name of the index that holds a unique key.
pub(crate) fn key_name(key: &UniqueKey) -> String {
    format!("key_{}", key.name)
}

/// The name of the index that serves a known query.
pub(crate) fn index_name(index: &Index) -> String {
    format!("index_{}", index.name)
}

/// The indexes of the collection besides that of `_id`, as `createIndexes` takes them.
pub(crate) fn indexes(layout: &Layout) -> Vec<Document> {
    let collection = layout.collection;
    let mut indexes = Vec::new();
    for key in collection.unique {
        let mut columns = leading(layout);
        columns.extend(key.fields.iter().map(|field| ((*field).to_owned(), Bson::Int32(1))));
        let mut index = doc! { "name": key_name(key), "key": columns, "unique": true };
        // A field that is missing is not there, and what is not there clashes with nothing.
        let present: Document = key
            .fields
            .iter()
            .filter(|field| collection.field(field).is_some_and(|field| field.optional))
            .map(|field| ((*field).to_owned(), Bson::Document(doc! { "$exists": true })))
            .collect();
        if !present.is_empty() {
            index.insert("partialFilterExpression", present);
        }
        indexes.push(index);
    }
    for index in collection.indexes {
        let mut listed = false;
        let Some(columns) = index_columns(collection, index) else { continue };
        let columns = columns.into_iter().filter(|column| {
            // An index has room for one list.
            let again = listed && column.field.kind == FieldKind::TextList;
            listed |= column.field.kind == FieldKind::TextList;
            !again
        });
        let key: Document = columns.map(|column| (index_path(&column), direction(column.descending))).collect();
        indexes.push(doc! { "name": index_name(index), "key": key });
    }
    if !layout.searched.is_empty() {
        let mut key = leading(layout);
        key.insert(search::TRIGRAMS_PATH, 1);
        key.insert("id", 1);
        indexes.push(doc! { "name": "search", "key": key });
    }
    indexes
}

fn leading(layout: &Layout) -> Document {
    if layout.is_tenant() {
        doc! { "organization_id": 1 }
    } else {
        Document::new()
    }
}

fn direction(descending: bool) -> Bson {
    Bson::Int32(if descending { -1 } else { 1 })
}

fn index_path(column: &IndexColumn) -> String {
    column_path(&Column { field: FieldRef::declared(column.field.name, column.field.kind), form: column.form })
}

/// The name of an index on a custom field: everything that it is of.
pub(crate) fn custom_index_name(field: &FieldRef, organization: Uuid) -> Option<String> {
    let key = json::escape(field.key.as_deref()?);
    Some(format!("custom_{}_{}_{}_{key}", field.name, organization.simple(), json::way(field.kind)?))
}

/// An index on a custom field, of one organization's records only, so that the organization need not lead it.
pub(crate) fn custom_index(index: &CustomIndex, organization: Uuid) -> Option<Document> {
    let field = FieldRef::custom(index.field, index.key.clone(), index.kind);
    let columns = sort_columns(index.collection, &field);
    let mut key: Document = columns.iter().map(|column| (column_path(column), direction(false))).collect();
    key.insert("id", 1);
    Some(doc! {
        "name": custom_index_name(&field, organization)?,
        "key": key,
        "partialFilterExpression": { "organization_id": organization },
    })
}
