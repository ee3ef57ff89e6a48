//! How a collection lies in the file.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use crm_core::store::{
    Collection, Field, FieldKind, Index, Placement,
    plan::{Form, IndexColumn, index_columns},
};

use crate::{row::Shadow, statement::identifier};

/// The name under which a statement knows the rows of its collection.
pub(crate) const ALIAS: &str = "t";

/// A collection with the SQL names that follow from its declaration.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) collection: &'static Collection,
    /// The table, quoted.
    pub(crate) table: String,
    /// The fields in their order, as a statement selects them.
    pub(crate) selected: String,
    /// The fields in their order and the shadows, quoted, as a statement inserts them.
    pub(crate) inserted: String,
    /// The shadows: whose they are and what they hold.
    pub(crate) shadows: Vec<(usize, Shadow)>,
    /// The tables that index the elements of lists.
    pub(crate) elements: Vec<ElementTable>,
    /// For each field, whether an index has its folded form.
    folded_in_index: Vec<bool>,
}

/// A table with a row for each element of a list: what an index that names the list becomes.
#[derive(Debug)]
pub(crate) struct ElementTable {
    /// The name, not quoted.
    pub(crate) name: String,
    /// The list.
    pub(crate) list: &'static str,
    /// The columns before the id, in order and with their direction.
    pub(crate) columns: Vec<ElementColumn>,
}

/// A column of an [`ElementTable`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ElementColumn {
    /// An element of the list.
    Element,
    /// A column of the record.
    Copied {
        /// Its name, not quoted.
        name: String,
        /// The field that it belongs to.
        field: &'static str,
        /// Whether it runs downward.
        descending: bool,
    },
}

impl Layout {
    pub(crate) fn new(collection: &'static Collection) -> Self {
        let shadows: Vec<(usize, Shadow)> = collection
            .fields
            .iter()
            .enumerate()
            .filter_map(|(position, field)| Some((position, shadow(collection, field)?)))
            .collect();
        let selected: Vec<String> =
            collection.fields.iter().map(|field| format!("{ALIAS}.{}", identifier(field.name))).collect();
        let mut inserted: Vec<String> = collection.fields.iter().map(|field| identifier(field.name)).collect();
        inserted.extend(shadows.iter().map(|(position, _)| identifier(&shadow_name(&collection.fields[*position]))));
        let folded_in_index = collection
            .fields
            .iter()
            .map(|field| {
                let named = |index: &Index| index.fields.iter().any(|part| part.name == field.name);
                field.kind == FieldKind::Text
                    && shadow(collection, field).is_some()
                    && collection.indexes.iter().any(named)
            })
            .collect();
        Self {
            collection,
            table: identifier(collection.name),
            selected: selected.join(","),
            inserted: inserted.join(","),
            shadows,
            elements: collection.indexes.iter().filter_map(|index| ElementTable::of(collection, index)).collect(),
            folded_in_index,
        }
    }

    /// Whether the organization leads every key and index.
    pub(crate) const fn is_tenant(&self) -> bool {
        matches!(self.collection.placement, Placement::Tenant)
    }

    /// Whether an equality should name the folded form too, so that an index is of use to it.
    pub(crate) fn is_folded_in_index(&self, name: &str) -> bool {
        self.collection.position(name).is_some_and(|position| self.folded_in_index[position])
    }

    /// The table in which the elements of the list lead.
    pub(crate) fn element_table(&self, list: &str) -> Option<&ElementTable> {
        self.elements.iter().find(|table| table.list == list && table.columns.first() == Some(&ElementColumn::Element))
    }

    /// The full-text table, not quoted, where anything is searched.
    pub(crate) fn search_table(&self) -> Option<String> {
        (!self.collection.search.is_empty()).then(|| format!("{}_search", self.collection.name))
    }

    /// The columns of an index in order, with their direction, the id last; nothing for an index over a list.
    pub(crate) fn index_columns(&self, index: &Index) -> Option<Vec<(String, bool)>> {
        let columns = index_columns(self.collection, index)?;
        if columns.iter().any(|column| column.field.kind == FieldKind::TextList) {
            return None;
        }
        let name = |column: &IndexColumn| match column.form {
            Form::Value => column.field.name.to_owned(),
            Form::Folded => shadow_name(column.field),
        };
        Some(columns.iter().map(|column| (name(column), column.descending)).collect())
    }

    /// The name of a declared index, not quoted.
    pub(crate) fn index_name(&self, index: &Index) -> String {
        format!("{}_{}", self.collection.name, index.name)
    }
}

impl ElementTable {
    /// Whether the id runs downward: as the column before it does.
    pub(crate) fn id_descends(&self) -> bool {
        matches!(self.columns.last(), Some(ElementColumn::Copied { descending: true, .. }))
    }

    fn of(collection: &'static Collection, index: &Index) -> Option<Self> {
        let fields: Vec<(&'static Field, bool)> = index
            .fields
            .iter()
            .map(|part| Some((collection.field(part.name)?, part.descending)))
            .collect::<Option<_>>()?;
        let (list, _) = fields.iter().find(|(field, _)| field.kind == FieldKind::TextList)?;
        // A key of a table without rowids takes no missing values, so only the list is indexed beside such a field.
        let all_present = fields.iter().all(|(field, _)| !field.optional || field.kind == FieldKind::TextList);
        let mut columns = Vec::new();
        for (field, descending) in &fields {
            if field.name == list.name {
                columns.push(ElementColumn::Element);
            } else if all_present && field.kind != FieldKind::TextList {
                columns.extend(sort_columns(collection, field).into_iter().map(|name| ElementColumn::Copied {
                    name,
                    field: field.name,
                    descending: *descending,
                }));
            }
        }
        Some(Self { name: format!("{}_{}", collection.name, index.name), list: list.name, columns })
    }
}

/// The columns that an index or an order over the field has: a text's folded form, then the text.
pub(crate) fn sort_columns(collection: &'static Collection, field: &Field) -> Vec<String> {
    match shadow(collection, field) {
        Some(Shadow::Text) => vec![shadow_name(field), field.name.to_owned()],
        _ => vec![field.name.to_owned()],
    }
}

/// What is kept beside the field.
pub(crate) fn shadow(collection: &'static Collection, field: &Field) -> Option<Shadow> {
    match field.kind {
        FieldKind::Text if collection.keeps_folded(field) => Some(Shadow::Text),
        FieldKind::TextList if collection.keeps_folded(field) => Some(Shadow::Elements),
        FieldKind::Json if field.custom => Some(Shadow::Members),
        _ => None,
    }
}

/// The name of a shadow, not quoted.
pub(crate) fn shadow_name(field: &Field) -> String {
    format!("{}_folded", field.name)
}

/// The layouts that were asked for, made once each.
#[derive(Debug, Default)]
pub(crate) struct Layouts(RwLock<HashMap<&'static str, Arc<Layout>>>);

impl Layouts {
    pub(crate) fn of(&self, collection: &'static Collection) -> Arc<Layout> {
        // A layout is whole before it is put in, so a poisoned lock still guards sound ones.
        if let Some(layout) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(collection.name) {
            return Arc::clone(layout);
        }
        let layout = Arc::new(Layout::new(collection));
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(collection.name, Arc::clone(&layout));
        layout
    }
}
