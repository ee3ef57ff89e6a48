//! The fields that a column of a file can be read into.

use crate::{
    field::{CustomFieldType, FieldSet},
    import_file::ImportField,
};

/// A field of a customer, as a file fills it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Field {
    /// Its name in a mapping.
    pub(super) name: String,
    /// Its name for people.
    label: Option<String>,
    /// How a cell is read.
    pub(super) kind: Kind,
}

/// How a cell is read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// The customer's own id: only finds it.
    Id,
    /// A text, as it is.
    Text,
    /// The part of the name before the last name.
    FirstName,
    /// The last name.
    LastName,
    /// One of a few words, of either case.
    Choice,
    /// Texts with `;` or `|` between.
    List,
    /// Static groups, by id or name.
    Groups,
    /// A member of staff, by id or e-mail address.
    Owner,
    /// A team, by id or name.
    Team,
    /// A number or an amount.
    Number,
    /// An instant.
    Instant,
    /// What is agreed to on one channel.
    Consent(String),
    /// JSON: an object.
    Object,
    /// A custom field.
    Custom {
        /// Its key.
        key: String,
        /// Its type.
        of: CustomFieldType,
    },
}

/// The declared fields and how each is read.
const DECLARED: [(&str, Kind); 23] = [
    ("id", Kind::Id),
    ("name", Kind::Text),
    ("first_name", Kind::FirstName),
    ("last_name", Kind::LastName),
    ("email", Kind::Text),
    ("emails", Kind::List),
    ("phone", Kind::Text),
    ("phones", Kind::List),
    ("status", Kind::Choice),
    ("type", Kind::Choice),
    ("tags", Kind::List),
    ("add_tags", Kind::List),
    ("remove_tags", Kind::List),
    ("group_ids", Kind::Groups),
    ("spend", Kind::Number),
    ("visits", Kind::Number),
    ("last_active", Kind::Instant),
    ("user_id", Kind::Text),
    ("owner_id", Kind::Owner),
    ("team_id", Kind::Team),
    ("consent", Kind::Object),
    ("custom", Kind::Object),
    ("metadata", Kind::Object),
];

/// Other names of declared fields, in mappings.
const ALIASES: [(&str, &str); 5] = [
    ("full_name", "name"),
    ("contact_number", "phone"),
    ("customer_status", "status"),
    ("customer_type", "type"),
    ("groups", "group_ids"),
];

/// What people call fields that are ids.
const LABELS: [(&str, &str); 3] = [("group_ids", "Groups"), ("owner_id", "Owner"), ("team_id", "Team")];

/// Every field that there is, the organization's custom ones among them.
pub(super) fn all(set: &FieldSet) -> Vec<Field> {
    let label = |name| LABELS.iter().find(|(labelled, _)| *labelled == name).map(|(_, label)| (*label).to_owned());
    let declared = DECLARED.into_iter().map(|(name, kind)| Field { name: name.to_owned(), label: label(name), kind });
    let custom = set.live().map(|field| Field {
        name: format!("custom.{}", field.key),
        label: Some(field.label.as_str().to_owned()),
        kind: Kind::Custom { key: field.key.clone(), of: field.r#type },
    });
    declared.chain(custom).collect()
}

/// The field of a name in a mapping.
pub(super) fn named(name: &str, fields: &[Field]) -> Option<Field> {
    let name = name.trim();
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| *name);
    if let Some(field) = fields.iter().find(|field| field.name == name) {
        return Some(field.clone());
    }
    let channel = name.strip_prefix("consent.").filter(|channel| !channel.is_empty())?;
    Some(Field { name: name.to_owned(), label: None, kind: Kind::Consent(channel.to_owned()) })
}

impl Field {
    /// Whether several columns can go into it.
    pub(super) const fn takes_many(&self) -> bool {
        matches!(self.kind, Kind::List | Kind::Groups | Kind::Custom { of: CustomFieldType::MultiList, .. })
    }

    /// For the guess of a mapping.
    pub(super) fn guessable(&self) -> ImportField<'_> {
        ImportField { name: &self.name, label: self.label.as_deref(), many: self.takes_many() }
    }
}
