use std::{collections::HashMap, sync::Arc};

use super::scan::{Kind, Token, scan};
use crate::{
    rule::{Catalog, CatalogField, RuleType},
    tenancy::Currency,
};

/// What a condition is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Subject {
    Spend,
    Visits,
    Inactive,
    Status,
    Type,
    Tags,
    Group,
    /// A custom field, by its place.
    Custom(usize),
}

/// A value that can be chosen: its words, how rules write it, and how people do.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    words: Vec<String>,
    pub(super) value: String,
    pub(super) shown: String,
}

/// A custom field as sentences know it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) field: Arc<CatalogField>,
    pub(super) label: String,
    choices: Vec<Choice>,
}

/// What an organization's sentences may speak of: its rules' fields, its currency, and its own names for things.
#[derive(Clone, Debug)]
pub struct Language {
    catalog: Catalog,
    currency: Currency,
    fields: Vec<Known>,
    /// The words after the first of each name of a field, by the first.
    names: HashMap<String, Vec<(Vec<String>, usize)>>,
    statuses: Vec<Choice>,
    types: Vec<Choice>,
    tags: Option<Vec<Choice>>,
    groups: Vec<Choice>,
}

impl Language {
    /// Of the fields that rules may name, without any names of an organization's own.
    #[must_use]
    pub fn new(catalog: Catalog, currency: Currency) -> Self {
        let options = |name: &str| {
            let options = catalog.field(name).map(|field| field.options.clone()).unwrap_or_default();
            choices(options.into_iter().map(|option| (option.clone(), option)))
        };
        let (statuses, types) = (options("status"), options("type"));
        Self {
            catalog,
            currency,
            fields: Vec::new(),
            names: HashMap::new(),
            statuses,
            types,
            tags: None,
            groups: Vec::new(),
        }
    }

    /// Of what every organization knows of its customers.
    #[must_use]
    pub fn of_customers(currency: Currency) -> Self {
        Self::new(crate::customer::declared_catalog(), currency)
    }

    /// With a custom field `custom.<key>` of the catalog, which sentences call by its label or its key.
    #[must_use]
    pub fn with_field(mut self, key: &str, label: &str) -> Self {
        let Some(field) = self.catalog.field(&format!("custom.{key}")).map(Arc::clone) else { return self };
        let choices = choices(field.options.iter().map(|option| (option.clone(), option.clone())));
        let place = self.fields.len();
        for name in [label, &key.replace('_', " "), key] {
            let mut words = words(name).into_iter();
            if let Some(first) = words.next() {
                let (rest, named) = (words.collect(), self.names.entry(first).or_default());
                if !named.iter().any(|(other, _)| *other == rest) {
                    named.push((rest, place));
                }
            }
        }
        self.fields.push(Known { field, label: label.to_owned(), choices });
        self
    }

    /// With groups, by id and name.
    #[must_use]
    pub fn with_groups(mut self, groups: impl IntoIterator<Item = (String, String)>) -> Self {
        self.groups = choices(groups);
        self
    }

    /// With the tags that customers have. Without, any tag is taken as it is written.
    #[must_use]
    pub fn with_tags(mut self, tags: impl IntoIterator<Item = String>) -> Self {
        self.tags = Some(choices(tags.into_iter().map(|tag| (tag.clone(), tag))));
        self
    }

    /// The fields that rules may name.
    #[must_use]
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub(super) const fn currency(&self) -> Currency {
        self.currency
    }

    pub(super) const fn knows_tags(&self) -> bool {
        self.tags.is_some()
    }

    /// Whether some customer has the tag.
    pub(super) fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().flatten().any(|choice| choice.value == tag)
    }

    pub(super) fn known(&self, place: usize) -> Option<&Known> {
        self.fields.get(place)
    }

    /// What rules call the subject, and what its values are.
    pub(super) fn field(&self, subject: Subject) -> (&str, RuleType) {
        match subject {
            Subject::Spend => ("spend", RuleType::Money),
            Subject::Visits => ("visits", RuleType::Integer),
            Subject::Inactive => ("inactive_days", RuleType::Days),
            Subject::Status => ("status", RuleType::Text),
            Subject::Type => ("type", RuleType::Text),
            Subject::Tags => ("tags", RuleType::List),
            Subject::Group => ("group", RuleType::IdList),
            Subject::Custom(place) => {
                self.known(place).map_or(("custom", RuleType::Json), |known| (known.field.name(), known.field.kind()))
            }
        }
    }

    /// How people call the subject.
    pub(super) fn label(&self, subject: Subject) -> &str {
        match subject {
            Subject::Inactive => "inactive",
            Subject::Custom(place) => self.known(place).map_or("custom", |known| &known.label),
            other => self.field(other).0,
        }
    }

    /// Whether values of the subject are words.
    pub(super) fn takes_words(&self, subject: Subject) -> bool {
        matches!(self.field(subject).1, RuleType::Text | RuleType::List | RuleType::IdList)
    }

    /// What can be chosen for the subject; nothing where it can be any text.
    pub(super) fn choices(&self, subject: Subject) -> Option<&[Choice]> {
        match subject {
            Subject::Status => Some(&self.statuses),
            // An organization may leave its types open.
            Subject::Type if !self.types.is_empty() => Some(&self.types),
            Subject::Group => Some(&self.groups),
            Subject::Custom(place) => {
                self.known(place).map(|known| known.choices.as_slice()).filter(|choices| !choices.is_empty())
            }
            _ => None,
        }
    }

    /// The longest custom field's name that begins here, and of how many tokens it is.
    pub(super) fn named(&self, tokens: &[Token]) -> Option<(usize, usize)> {
        let (first, rest) = tokens.split_first()?;
        let named = self.names.get(&first.text)?;
        named
            .iter()
            .filter(|(words, _)| begins_with(rest, words))
            .max_by_key(|(words, _)| words.len())
            .map(|(words, place)| (*place, words.len() + 1))
    }

    /// The longest choice for the subject that begins here, and of how many tokens it is.
    pub(super) fn choose(&self, subject: Subject, tokens: &[Token]) -> Option<(&Choice, usize)> {
        let choices = match subject {
            Subject::Tags => self.tags.as_deref(),
            subject => self.choices(subject),
        };
        longest(choices?, tokens)
    }

    /// A status or type that stands alone, as in "wholesale customers".
    pub(super) fn adjective(&self, tokens: &[Token]) -> Option<(Subject, &Choice, usize)> {
        let of = |subject, choices| longest(choices, tokens).map(|(choice, length)| (subject, choice, length));
        of(Subject::Status, &self.statuses).or_else(|| of(Subject::Type, &self.types))
    }

    /// What can be asked about.
    pub(super) fn supported(&self) -> Vec<String> {
        const BUILT_IN: [&str; 7] = [
            "spend (an amount)",
            "visits (a number of times)",
            "inactive, or not active (a number of days, weeks, months, …)",
            "status",
            "type",
            "tagged …",
            "in group …",
        ];
        let own = self.fields.iter().map(|known| known.label.clone());
        BUILT_IN.into_iter().map(str::to_owned).chain(own).collect()
    }

    /// Sentences that are understood.
    pub(super) fn examples(&self) -> Vec<String> {
        let amount = match self.currency.as_ref() {
            "INR" => "₹5K",
            _ => "5k",
        };
        vec![
            format!("inactive for 6 months and spent more than {amount}"),
            "customers who haven't visited in 90 days".to_owned(),
            format!("spend between 1k and {amount} or visited at least 10 times"),
        ]
    }
}

fn choices(of: impl IntoIterator<Item = (String, String)>) -> Vec<Choice> {
    of.into_iter().map(|(value, shown)| Choice { words: words(&shown), value, shown }).collect()
}

fn longest<'c>(choices: &'c [Choice], tokens: &[Token]) -> Option<(&'c Choice, usize)> {
    choices
        .iter()
        .filter(|choice| !choice.words.is_empty())
        .filter_map(|choice| match tokens.first() {
            Some(Token { kind: Kind::Quoted(text), .. }) => (words(text) == choice.words).then_some((choice, 1)),
            _ => begins_with(tokens, &choice.words).then_some((choice, choice.words.len())),
        })
        .max_by_key(|(_, length)| *length)
}

fn begins_with(tokens: &[Token], words: &[String]) -> bool {
    tokens.len() >= words.len() && tokens.iter().zip(words).all(|(token, word)| token.text == *word)
}

/// A name as the tokens of a sentence that holds it.
fn words(name: &str) -> Vec<String> {
    scan(name).into_iter().map(|token| token.text).collect()
}
