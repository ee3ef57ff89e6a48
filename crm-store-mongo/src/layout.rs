//! How a collection lies in the database.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use bson::{Bson, Document, doc};
use crm_core::store::{Collection, Field, FieldKind, FieldRef, Placement};
use uuid::Uuid;

use crate::{json, row::Shadow, search};

/// A collection with what follows from its declaration.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) collection: &'static Collection,
    /// What is kept beside the fields: whose it is and what it holds.
    pub(crate) shadows: Vec<(usize, Shadow)>,
    /// The places of the searched fields, in the order in which their trigrams lie.
    pub(crate) searched: Vec<usize>,
    /// Leaves out what is not declared.
    pub(crate) projection: Document,
    /// Held by the one of this process that claims.
    pub(crate) claiming: tokio::sync::Mutex<()>,
}

impl Layout {
    pub(crate) fn new(collection: &'static Collection) -> Self {
        let shadows: Vec<(usize, Shadow)> = collection
            .fields
            .iter()
            .enumerate()
            .filter_map(|(position, field)| Some((position, shadow(collection, field)?)))
            .collect();
        let searched: Vec<usize> = collection.search.iter().filter_map(|name| collection.position(name)).collect();
        let mut projection = doc! { "_id": 0 };
        for (position, shadow) in &shadows {
            projection.insert(shadow.name(collection.fields[*position].name), 0);
        }
        if !searched.is_empty() {
            projection.insert(search::TRIGRAMS, 0);
        }
        Self { collection, shadows, searched, projection, claiming: tokio::sync::Mutex::default() }
    }

    /// Whether the organization leads every key and index.
    pub(crate) const fn is_tenant(&self) -> bool {
        matches!(self.collection.placement, Placement::Tenant)
    }

    /// The `_id` of a record: an organization's is led by the organization, so that two of them may use the same id, and
    /// so that the records of one lie together, in the order of their ids.
    pub(crate) fn key(&self, organization: Uuid, id: Uuid) -> Bson {
        if self.is_tenant() { doc! { "o": organization, "i": id }.into() } else { id.into() }
    }

    /// The shadow of the field at the place.
    pub(crate) fn shadow(&self, position: usize) -> Option<Shadow> {
        self.shadows.iter().find(|(shadowed, _)| *shadowed == position).map(|(_, shadow)| *shadow)
    }

    /// Where among the searched fields the field is.
    pub(crate) fn searched(&self, position: usize) -> Option<usize> {
        self.searched.iter().position(|searched| *searched == position)
    }
}

/// What is kept beside the field.
fn shadow(collection: &'static Collection, field: &Field) -> Option<Shadow> {
    let searched = collection.search.contains(&field.name);
    match field.kind {
        FieldKind::Text if field.folded || searched => Some(Shadow::Text),
        FieldKind::TextList if searched => Some(Shadow::Elements),
        FieldKind::Json if field.custom => Some(Shadow::Members),
        _ => None,
    }
}

/// Where the value of the field lies.
pub(crate) fn path(field: &FieldRef) -> String {
    match &field.key {
        None => field.name.as_ref().to_owned(),
        Some(key) => {
            let member = format!("{}.{}", Shadow::Members.name(&field.name), json::escape(key));
            match json::way(field.kind) {
                Some(way) => format!("{member}.{way}"),
                None => member,
            }
        }
    }
}

/// Where the folded form of the text lies.
pub(crate) fn folded_path(field: &FieldRef) -> String {
    match &field.key {
        None => Shadow::Text.name(&field.name),
        Some(key) => format!("{}.{}.{}", Shadow::Members.name(&field.name), json::escape(key), json::FOLDED),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_custom_fields_have_no_dots_of_their_own() {
        let of = |key: &str, kind| path(&FieldRef::custom("custom", key, kind));
        assert_eq!(of("city", FieldKind::Text), "custom_values.city.text");
        assert_eq!(of("a.b", FieldKind::Money), "custom_values.a%2Eb.money");
        assert_eq!(of("", FieldKind::TextList), "custom_values.%.list");
        assert_eq!(of("$x", FieldKind::Json), "custom_values.%24x");
        assert_eq!(folded_path(&FieldRef::custom("custom", "city", FieldKind::Text)), "custom_values.city.folded");
        assert_eq!(path(&FieldRef::declared("name", FieldKind::Text)), "name");
        assert_eq!(folded_path(&FieldRef::declared("name", FieldKind::Text)), "name_folded");
    }
}
