use serde_json::value::RawValue;

use super::{
    ListRequest, MAX_PARAMETERS,
    reading::{Reading, path},
};
use crate::{
    error::FieldErrors,
    input::snake_case,
    rule::{Catalog, Node, Token, condition_of_text, unknown},
};

/// What a list of one collection allows.
#[derive(Clone, Debug)]
pub struct Listing<'c> {
    pub(super) catalog: &'c Catalog,
    sortable: Option<&'c [&'c str]>,
    fields: Option<&'c [&'c str]>,
    pub(super) include: &'c [&'c str],
    pub(super) extra: &'c [&'c str],
    parameters: &'static [&'static str],
    conditions: bool,
}

/// The parameters that every list has.
const PARAMETERS: [&str; 9] = ["filter", "search", "sort", "fields", "include", "limit", "cursor", "page", "count"];
/// Those of them that choose records and fields; the others are of pages.
const WITHOUT_PAGES: [&str; 4] = ["filter", "search", "sort", "fields"];
/// Those of a list that is told in an order of its own, and whole.
const PAGES_ONLY: [&str; 2] = ["limit", "cursor"];

impl<'c> Listing<'c> {
    /// Of what the catalog describes, ordered by any of its fields that can order.
    #[must_use]
    pub const fn new(catalog: &'c Catalog) -> Self {
        Self {
            catalog,
            sortable: None,
            fields: None,
            include: &[],
            extra: &[],
            parameters: &PARAMETERS,
            conditions: true,
        }
    }

    /// Ordered only by these fields, and by custom ones.
    #[must_use]
    pub const fn sortable(mut self, names: &'c [&'c str]) -> Self {
        self.sortable = Some(names);
        self
    }

    /// The fields of the answer that `fields` may pick; those of the catalog where it is not said.
    #[must_use]
    pub const fn fields(mut self, names: &'c [&'c str]) -> Self {
        self.fields = Some(names);
        self
    }

    /// What `include` may join.
    #[must_use]
    pub const fn include(mut self, names: &'c [&'c str]) -> Self {
        self.include = names;
        self
    }

    /// Parameters that only this list has.
    #[must_use]
    pub const fn extra(mut self, names: &'c [&'c str]) -> Self {
        self.extra = names;
        self
    }

    /// All records at once: no `include`, `limit`, `cursor`, `page` and `count`.
    #[must_use]
    pub const fn without_pages(mut self) -> Self {
        self.parameters = &WITHOUT_PAGES;
        self
    }

    /// Told in an order of its own, and whole: beside the parameters that only this list has `limit` and `cursor`, and no
    /// conditions.
    #[must_use]
    pub const fn pages_only(mut self) -> Self {
        self.parameters = &PAGES_ONLY;
        self.conditions = false;
        self
    }

    /// The parameters that it has beside its own.
    pub(super) const fn parameters(&self) -> &'static [&'static str] {
        self.parameters
    }

    /// Reads a query string's parameters, decoded, in their order.
    ///
    /// # Errors
    /// Every wrong parameter, named as the caller wrote it.
    pub fn from_pairs(&self, pairs: &[(String, String)]) -> Result<ListRequest, FieldErrors> {
        let mut reading = Reading::new(self);
        if pairs.len() > MAX_PARAMETERS {
            let message = format!("must not have more than {MAX_PARAMETERS} parameters");
            return Err(FieldErrors::one("", "TOO_MANY", message));
        }
        let mut seen: Vec<String> = Vec::new();
        for (given, value) in pairs {
            let (name, operator) = match given.split_once('[') {
                Some((name, rest)) if rest.ends_with(']') => (name, Some(&rest[..rest.len() - 1])),
                _ => (given.as_str(), None),
            };
            let name = if self.catalog.field(name).is_some() { name.into() } else { snake_case(name) };
            let whole = match operator {
                Some(operator) => format!("{name}[{operator}]"),
                None => name.clone().into_owned(),
            };
            if seen.contains(&whole) {
                let hint = if self.catalog.field(&name).is_some() {
                    format!(": for several values say {name}[in]=a,b, for several conditions use filter")
                } else {
                    String::new()
                };
                reading.errors.add(path(given), "DUPLICATE_FIELD", format!("is given more than once{hint}"));
                continue;
            }
            seen.push(whole);
            match (operator, &*name) {
                (None, name) if self.extra.contains(&name) => {
                    reading.request.extra.insert(name.to_owned(), value.clone());
                }
                (None, name) if self.parameters().contains(&name) => reading.parameter(name, value),
                (operator, name) => {
                    if !self.conditions || (operator.is_none() && self.catalog.field(name).is_none()) {
                        let message = self.unknown_parameter(name);
                        reading.errors.add(path(given), "UNKNOWN_FIELD", message);
                        continue;
                    }
                    match condition_of_text(self.catalog, name, operator, value) {
                        Ok(condition) => reading.nodes.push(Node::Condition(condition)),
                        Err((code, message)) => reading.errors.add(path(given), code, message),
                    }
                }
            }
        }
        reading.finish()
    }

    /// Reads a JSON body: `{filter, search, sort, fields, include, limit, cursor, page, count}`, each optional.
    ///
    /// # Errors
    /// Every wrong member, by its path.
    pub fn from_json(&self, json: &RawValue) -> Result<ListRequest, FieldErrors> {
        let mut reading = Reading::new(self);
        let members = match Token::read(json, 0) {
            Ok(Token::Object(members)) => members,
            Ok(other) => {
                let message = format!("must be a JSON object, not {}", other.description());
                return Err(FieldErrors::one("", "INVALID_TYPE", message));
            }
            Err(message) => return Err(FieldErrors::one("", "INVALID_FORMAT", message)),
        };
        let mut seen: Vec<String> = Vec::new();
        for (given, raw) in &members {
            let name = snake_case(given).into_owned();
            if seen.contains(&name) {
                reading.errors.add(path(given), "DUPLICATE_FIELD", "is given more than once");
                continue;
            }
            seen.push(name.clone());
            if raw.get() == "null" {
                if !self.parameters().contains(&name.as_str()) && !self.extra.contains(&name.as_str()) {
                    reading.errors.add(path(given), "UNKNOWN_FIELD", self.unknown_member(given));
                }
                continue;
            }
            reading.member(&name, given, raw);
        }
        reading.finish()
    }

    fn unknown_parameter(&self, given: &str) -> String {
        let parameters = self.parameters().iter().copied().chain(self.extra.iter().copied());
        if !self.conditions {
            return unknown("parameter", given, parameters);
        }
        let names: Vec<&str> = self.catalog.fields().map(|field| field.name()).chain(parameters).collect();
        unknown("field or parameter", given, names.into_iter())
    }

    pub(super) fn unknown_member(&self, given: &str) -> String {
        unknown("member", given, self.parameters().iter().copied().chain(self.extra.iter().copied()))
    }

    pub(super) fn sort_names(&self) -> Vec<&str> {
        self.catalog
            .fields()
            .filter(|field| field.is_sortable())
            .map(|field| field.name())
            .filter(|name| self.sortable.is_none_or(|names| names.contains(name) || name.starts_with("custom.")))
            .collect()
    }

    pub(super) fn field_names(&self) -> Vec<&str> {
        match self.fields {
            None => self.catalog.fields().map(|field| field.name()).collect(),
            Some(names) => {
                let custom = self.catalog.fields().map(|field| field.name()).filter(|name| name.starts_with("custom."));
                names.iter().copied().chain(custom).collect()
            }
        }
    }
}
