use super::FieldKind;

/// The places of the fields that every collection begins with.
pub mod head {
    /// `id`, [`FieldKind::Id`](super::FieldKind::Id).
    pub const ID: usize = 0;
    /// `organization_id`, [`FieldKind::Id`](super::FieldKind::Id); nil where the record is the installation's.
    pub const ORGANIZATION_ID: usize = 1;
    /// `version`, [`FieldKind::Integer`](super::FieldKind::Integer): 1 when inserted, one more after each change.
    pub const VERSION: usize = 2;
    /// `created_at`, [`FieldKind::Timestamp`](super::FieldKind::Timestamp).
    pub const CREATED_AT: usize = 3;
    /// `updated_at`, [`FieldKind::Timestamp`](super::FieldKind::Timestamp).
    pub const UPDATED_AT: usize = 4;
}

/// Who the records of a collection belong to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Placement {
    /// An organization each: its id leads the primary key, every unique key and every index.
    Tenant,
    /// The installation: the organization is an ordinary column, keys and indexes lead with their own fields.
    Installation,
}

/// One declared field.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Field {
    /// The name, in the database as in JSON.
    pub name: &'static str,
    /// What it holds.
    pub kind: FieldKind,
    /// Whether a value may be missing.
    pub optional: bool,
    /// Whether a text's folded form is kept beside it: needed for `contains`, `starts_with` and sorting.
    pub folded: bool,
    /// Whether this JSON holds custom fields, a flat object whose members filters may name.
    pub custom: bool,
}

/// A key that no two records of an organization (of the installation) share. Missing values never clash.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct UniqueKey {
    /// The name, unique in the collection.
    pub name: &'static str,
    /// The fields.
    pub fields: &'static [&'static str],
}

/// One field of an index.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct IndexField {
    /// The field. A folded text is indexed by its folded form; a list of text by element.
    pub name: &'static str,
    /// Whether it runs downward.
    pub descending: bool,
}

/// An index for a known query. The id always follows as the last of its fields, in the direction of the field before.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Index {
    /// The name, unique in the collection.
    pub name: &'static str,
    /// The fields.
    pub fields: &'static [IndexField],
    /// Further fields, neither lists nor JSON, that an engine may keep beside them, so that records can be counted and
    /// grouped by these without being read. They promise no order. An index of these alone is for nothing but counting:
    /// an engine keeps it small, or does without.
    pub covers: &'static [&'static str],
}

/// A kind of record, as a store sees it.
#[derive(Debug, Eq, Hash, PartialEq)]
pub struct Collection {
    /// The name of the table.
    pub name: &'static str,
    /// Who its records belong to.
    pub placement: Placement,
    /// The fields in order, those of [`head`] first.
    pub fields: &'static [Field],
    /// Unique keys besides the id.
    pub unique: &'static [UniqueKey],
    /// Indexes for known queries.
    pub indexes: &'static [Index],
    /// Text and list-of-text fields that `Filter::Search` looks in.
    pub search: &'static [&'static str],
}

impl Collection {
    /// The place of a field.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// A declared field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Whether the folded form of the field is kept: a text that is declared so, or a text or list that is searched.
    #[must_use]
    pub fn keeps_folded(&self, field: &Field) -> bool {
        match field.kind {
            FieldKind::Text => field.folded || self.search.contains(&field.name),
            FieldKind::TextList => self.search.contains(&field.name),
            _ => false,
        }
    }
}
