use std::{collections::HashMap, fmt, sync::Arc};

use super::{
    Operator,
    token::{joined, nearest, quoted},
};
use crate::{
    record::{Column, FieldType},
    store::{Collection, FieldKind, FieldRef, Sort},
    time::Timestamp,
};

/// What the values of a field are, as a rule sees them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RuleType {
    /// True or false.
    Boolean,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// An exact decimal.
    Money,
    /// A text.
    Text,
    /// An instant.
    Timestamp,
    /// A day of the calendar.
    Date,
    /// An id.
    Id,
    /// A list of texts.
    List,
    /// A list of ids, kept as a list of texts.
    IdList,
    /// Whole days since an instant.
    Days,
    /// Free-form JSON, of which can be asked only whether it is there.
    Json,
}

impl RuleType {
    /// The type of a stored field.
    #[must_use]
    pub const fn of(kind: FieldKind) -> Self {
        match kind {
            FieldKind::Bool => Self::Boolean,
            FieldKind::Integer => Self::Integer,
            FieldKind::Number => Self::Number,
            FieldKind::Money => Self::Money,
            FieldKind::Text => Self::Text,
            FieldKind::Timestamp => Self::Timestamp,
            FieldKind::Date => Self::Date,
            FieldKind::Id => Self::Id,
            FieldKind::TextList => Self::List,
            FieldKind::Json => Self::Json,
        }
    }

    /// How a store keeps it.
    #[must_use]
    pub const fn stored(self) -> FieldKind {
        match self {
            Self::Boolean => FieldKind::Bool,
            Self::Integer => FieldKind::Integer,
            Self::Number => FieldKind::Number,
            Self::Money => FieldKind::Money,
            Self::Text => FieldKind::Text,
            Self::Timestamp | Self::Days => FieldKind::Timestamp,
            Self::Date => FieldKind::Date,
            Self::Id => FieldKind::Id,
            Self::List | Self::IdList => FieldKind::TextList,
            Self::Json => FieldKind::Json,
        }
    }

    /// The type for a person.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Money => "an amount of money",
            Self::Text => "a text",
            Self::Timestamp => "an instant",
            Self::Date => "a date",
            Self::Id => "an id",
            Self::List => "a list of texts",
            Self::IdList => "a list of ids",
            Self::Days => "a number of whole days",
            Self::Json => "free-form JSON",
        }
    }
}

/// Brings an operand to the form in which its field is stored, or says what is wrong with it.
pub type Normalise = Arc<dyn Fn(&str) -> Result<String, String> + Send + Sync>;

/// A field that rules, filters and orders may name.
#[derive(Clone)]
pub struct CatalogField {
    pub(crate) name: String,
    pub(crate) kind: RuleType,
    pub(crate) stored: FieldRef,
    pub(crate) folded: bool,
    pub(crate) element: bool,
    pub(crate) options: Vec<String>,
    pub(crate) phrase: String,
    normalise: Option<Normalise>,
}

impl fmt::Debug for CatalogField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogField")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("stored", &self.stored)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl CatalogField {
    fn new(name: String, kind: RuleType, stored: FieldRef) -> Self {
        let phrase = name.strip_prefix("custom.").unwrap_or(&name).replace('_', " ");
        Self { name, kind, stored, folded: false, element: false, options: Vec::new(), phrase, normalise: None }
    }

    /// A declared column, under its own name.
    #[must_use]
    pub fn column<T: FieldType>(column: Column<T>) -> Self {
        Self::new(column.name().to_owned(), RuleType::of(T::KIND), column.field())
    }

    /// A custom field, named `custom.<key>`: the member `key` of the JSON column `column`.
    #[must_use]
    pub fn custom(column: &'static str, key: impl Into<String>, kind: RuleType) -> Self {
        let key = key.into();
        Self::new(format!("custom.{key}"), kind, FieldRef::custom(column, key, kind.stored()))
    }

    /// Whole days since the instant in the column: `floor((as_of - instant) / 86 400 s)`. Reads as "`phrase` more
    /// than 5 days", such as "inactive for".
    #[must_use]
    pub fn days_since<T: FieldType>(name: &str, column: Column<T>, phrase: &str) -> Self {
        Self { phrase: phrase.to_owned(), ..Self::new(name.to_owned(), RuleType::Days, column.field()) }
    }

    /// Under another name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self.phrase = name.replace('_', " ");
        self
    }

    /// A list of texts that are ids.
    #[must_use]
    pub fn of_ids(mut self) -> Self {
        if self.kind == RuleType::List {
            self.kind = RuleType::IdList;
        }
        self
    }

    /// Asks for one element of a list: `==` means that the list has it, so that `group == x` can be said of `group_ids`.
    #[must_use]
    pub const fn element(mut self) -> Self {
        self.element = true;
        self
    }

    /// Only these values (elements, for a list) occur.
    #[must_use]
    pub fn options<S: Into<String>>(mut self, options: impl IntoIterator<Item = S>) -> Self {
        self.options = options.into_iter().map(Into::into).collect();
        self
    }

    /// Operands of `==`, `!=`, `in` and `not_in` are brought to the stored form first.
    #[must_use]
    pub fn normalised(mut self, normalise: impl Fn(&str) -> Result<String, String> + Send + Sync + 'static) -> Self {
        self.normalise = Some(Arc::new(normalise));
        self
    }

    /// How a sentence calls the field.
    #[must_use]
    pub fn phrase(mut self, phrase: &str) -> Self {
        phrase.clone_into(&mut self.phrase);
        self
    }

    /// The name that rules use.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its values are.
    #[must_use]
    pub const fn kind(&self) -> RuleType {
        self.kind
    }

    /// The stored field behind it.
    #[must_use]
    pub const fn stored(&self) -> &FieldRef {
        &self.stored
    }

    /// The operators that it takes.
    pub fn operators(&self) -> impl Iterator<Item = Operator> + '_ {
        Operator::ALL.into_iter().filter(|operator| self.takes(*operator))
    }

    /// Whether it takes the operator.
    #[must_use]
    pub fn takes(&self, operator: Operator) -> bool {
        operator.fits(self.kind, self.folded, !self.options.is_empty(), self.element)
    }

    /// Whether a list can be ordered by it.
    #[must_use]
    pub const fn is_sortable(&self) -> bool {
        match self.kind {
            RuleType::List | RuleType::IdList | RuleType::Json => false,
            RuleType::Text => self.folded,
            _ => true,
        }
    }

    /// The order by it. More days since an instant is an earlier instant.
    #[must_use]
    pub fn sort(&self, descending: bool) -> Sort {
        Sort { field: self.stored.clone(), descending: descending != matches!(self.kind, RuleType::Days) }
    }

    /// A count or sum over related records, so that its bound is read like any operand.
    pub(crate) fn measure(kind: RuleType) -> Self {
        Self::new("measure".to_owned(), kind, FieldRef::declared("measure", kind.stored()))
    }

    pub(crate) fn normalise(&self, text: String) -> Result<String, String> {
        match &self.normalise {
            Some(normalise) => normalise(&text),
            None => Ok(text),
        }
    }
}

/// Records of another collection that point at this one, such as a customer's orders.
#[derive(Clone, Debug)]
pub struct Relation {
    pub(crate) name: &'static str,
    pub(crate) key: &'static str,
    pub(crate) catalog: Catalog,
    pub(crate) when: Option<FieldRef>,
    pub(crate) total: Option<(&'static str, RuleType)>,
}

impl Relation {
    /// The records that `catalog` describes, whose column `key` holds this record's id.
    #[must_use]
    pub fn new(name: &'static str, key: &'static str, catalog: Catalog) -> Self {
        Self { name, key, catalog: Catalog { relations: Vec::new(), ..catalog }, when: None, total: None }
    }

    /// The instant that `within_last` looks at.
    #[must_use]
    pub fn when(mut self, column: Column<Timestamp>) -> Self {
        self.when = Some(column.field());
        self
    }

    /// The money or whole number that `total` adds up.
    #[must_use]
    pub fn total<T: FieldType>(mut self, column: Column<T>) -> Self {
        if matches!(T::KIND, FieldKind::Money | FieldKind::Integer) {
            self.total = Some((column.name(), RuleType::of(T::KIND)));
        }
        self
    }
}

/// The fields of one collection that rules, filters and orders may name. Cheap enough to clone for a request.
#[derive(Clone, Debug)]
pub struct Catalog {
    collection: &'static Collection,
    fields: Vec<Arc<CatalogField>>,
    places: HashMap<String, usize>,
    pub(crate) relations: Vec<Arc<Relation>>,
}

impl Catalog {
    /// Of a collection, with `id`, `version`, `created_at` and `updated_at`, which every record has.
    #[must_use]
    pub fn new(collection: &'static Collection) -> Self {
        let head = [
            ("id", FieldKind::Id),
            ("created_at", FieldKind::Timestamp),
            ("updated_at", FieldKind::Timestamp),
            ("version", FieldKind::Integer),
        ];
        let empty = Self { collection, fields: Vec::new(), places: HashMap::new(), relations: Vec::new() };
        head.into_iter().fold(empty, |catalog, (name, kind)| {
            catalog.with(CatalogField::new(name.to_owned(), RuleType::of(kind), FieldRef::declared(name, kind)))
        })
    }

    /// With one more field; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, mut field: CatalogField) -> Self {
        field.folded = field.stored.key.is_some()
            || self.collection.field(&field.stored.name).is_some_and(|declared| declared.folded);
        match self.places.get(&field.name) {
            Some(place) => self.fields[*place] = Arc::new(field),
            None => {
                self.places.insert(field.name.clone(), self.fields.len());
                self.fields.push(Arc::new(field));
            }
        }
        self
    }

    /// With more fields, such as an organization's custom ones.
    #[must_use]
    pub fn with_all(self, fields: impl IntoIterator<Item = CatalogField>) -> Self {
        fields.into_iter().fold(self, Self::with)
    }

    /// With a second name for a field that is there.
    #[must_use]
    pub fn alias(mut self, alias: &str, name: &str) -> Self {
        if let Some(place) = self.places.get(name).copied() {
            self.places.insert(alias.to_owned(), place);
        }
        self
    }

    /// With records that point here.
    #[must_use]
    pub fn related(mut self, relation: Relation) -> Self {
        self.relations.push(Arc::new(relation));
        self
    }

    /// The collection.
    #[must_use]
    pub const fn collection(&self) -> &'static Collection {
        self.collection
    }

    /// The field of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Arc<CatalogField>> {
        self.places.get(name).map(|place| &self.fields[*place])
    }

    /// All fields, in the order they were named.
    pub fn fields(&self) -> impl Iterator<Item = &Arc<CatalogField>> {
        self.fields.iter()
    }

    pub(crate) fn relation(&self, name: &str) -> Option<&Arc<Relation>> {
        self.relations.iter().find(|relation| relation.name == name)
    }

    /// The sentence that refuses an unknown field: what may have been meant, and what there is.
    pub(crate) fn unknown_field(&self, given: &str) -> String {
        unknown("field", given, self.fields.iter().map(|field| field.name.as_str()))
    }
}

/// The sentence that refuses a name: what may have been meant, and what is allowed.
pub(crate) fn unknown<'a>(what: &str, given: &str, allowed: impl Iterator<Item = &'a str> + Clone) -> String {
    let hint = nearest(given, allowed.clone()).map_or_else(String::new, |name| format!(" Did you mean {name}?"));
    format!("there is no {what} {}.{hint} Allowed: {}", quoted(given), joined(allowed, "and"))
}
