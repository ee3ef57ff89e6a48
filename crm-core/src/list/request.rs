use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{DEFAULT_LIMIT, MAX_DEPTH, MAX_LIMIT, MAX_PARAMETERS, MAX_SEARCH, MAX_SORT_KEYS, MAX_TERMS};
use crate::{
    error::FieldErrors,
    input::{FromInput, snake_case},
    rule::{Catalog, Node, Rule, Token, condition_of_text, unknown},
    store::{FieldKind, FieldRef, Sort, fold::fold},
};

/// What is asked of a list, checked.
#[derive(Clone, Debug)]
pub struct ListRequest {
    /// Which records: all conditions of the query string and the rule in `filter`.
    pub rule: Option<Rule>,
    /// Terms, each of which must be in some searchable field.
    pub search: Vec<String>,
    /// The order; newest first where none was asked for.
    pub sort: Vec<Sort>,
    /// Which fields of a record are answered; all where empty.
    pub fields: Vec<String>,
    /// What is joined.
    pub include: Vec<String>,
    /// The most records of a page, 1 to 100.
    pub limit: usize,
    /// Where the page begins: what an earlier page gave as `next_cursor`.
    pub cursor: Option<String>,
    /// The number of the page, from 1.
    pub page: Option<u64>,
    /// Whether the matches are counted.
    pub count: bool,
    /// Parameters that only this list has, as they were given.
    pub extra: BTreeMap<String, String>,
}

impl Default for ListRequest {
    fn default() -> Self {
        Self {
            rule: None,
            search: Vec::new(),
            sort: vec![newest_first()],
            fields: Vec::new(),
            include: Vec::new(),
            limit: DEFAULT_LIMIT,
            cursor: None,
            page: None,
            count: false,
            extra: BTreeMap::new(),
        }
    }
}

fn newest_first() -> Sort {
    Sort { field: FieldRef::declared("created_at", FieldKind::Timestamp), descending: true }
}

impl ListRequest {
    /// A parameter that only this list has.
    #[must_use]
    pub fn extra(&self, name: &str) -> Option<&str> {
        self.extra.get(name).map(String::as_str)
    }

    /// Such a parameter that is `true` or `false`; false where it is not given.
    ///
    /// # Errors
    /// `INVALID_FORMAT` on the parameter where it is neither.
    pub fn flag(&self, name: &str) -> Result<bool, FieldErrors> {
        match self.extra(name) {
            None => Ok(false),
            Some(text) => boolean(text).ok_or_else(|| FieldErrors::one(name, "INVALID_FORMAT", TRUE_OR_FALSE)),
        }
    }
}

const TRUE_OR_FALSE: &str = "must be true or false";

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// The body of a list asked for by POST, not yet checked.
#[derive(Clone, Debug)]
pub struct ListBody(Box<RawValue>);

impl FromInput for ListBody {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        if json.get().starts_with('{') {
            Ok(Self(json.to_owned()))
        } else {
            Err(FieldErrors::one("", "INVALID_TYPE", "must be a JSON object"))
        }
    }
}

impl ListBody {
    /// The JSON.
    #[must_use]
    pub fn as_json(&self) -> &RawValue {
        &self.0
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for ListBody {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Type};
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let names = |description: &str| {
            OneOfBuilder::new()
                .item(text())
                .item(ArrayBuilder::new().items(text()))
                .description(Some(description.to_owned()))
        };
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .property("filter", Rule::schema())
            .property(
                "search",
                text().max_length(Some(MAX_SEARCH)).description(Some("Terms, each of which must occur.")),
            )
            .property("sort", names("Fields in order, `-` before one that runs downward."))
            .property("fields", names("Only these fields of each record."))
            .property("include", names("What is joined."))
            .property(
                "limit",
                ObjectBuilder::new()
                    .schema_type(Type::Integer)
                    .minimum(Some(1))
                    .maximum(Some(100))
                    .default(Some(20.into())),
            )
            .property("cursor", text().description(Some("What an earlier page gave as `next_cursor`.")))
            .property("page", ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)))
            .property("count", ObjectBuilder::new().schema_type(Type::Boolean).description(Some("Whether to count.")))
            .examples([serde_json::json!({
                "filter": {"field": "spend", "op": ">", "value": 5000},
                "sort": "-spend,name",
                "limit": 50
            })])
            .build()
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for ListBody {}

/// What a list of one collection allows.
#[derive(Clone, Debug)]
pub struct Listing<'c> {
    catalog: &'c Catalog,
    sortable: Option<&'c [&'c str]>,
    fields: Option<&'c [&'c str]>,
    include: &'c [&'c str],
    extra: &'c [&'c str],
}

/// The parameters that every list has.
const PARAMETERS: [&str; 9] = ["filter", "search", "sort", "fields", "include", "limit", "cursor", "page", "count"];

impl<'c> Listing<'c> {
    /// Of what the catalog describes, ordered by any of its fields that can order.
    #[must_use]
    pub const fn new(catalog: &'c Catalog) -> Self {
        Self { catalog, sortable: None, fields: None, include: &[], extra: &[] }
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
                (None, name) if PARAMETERS.contains(&name) => reading.parameter(name, value),
                (operator, name) => {
                    if operator.is_none() && self.catalog.field(name).is_none() {
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
                if !PARAMETERS.contains(&name.as_str()) && !self.extra.contains(&name.as_str()) {
                    reading.errors.add(path(given), "UNKNOWN_FIELD", self.unknown_member(given));
                }
                continue;
            }
            reading.member(&name, given, raw);
        }
        reading.finish()
    }

    fn unknown_parameter(&self, given: &str) -> String {
        let parameters = PARAMETERS.into_iter().chain(self.extra.iter().copied());
        let names: Vec<&str> = self.catalog.fields().map(|field| field.name()).chain(parameters).collect();
        unknown("field or parameter", given, names.into_iter())
    }

    fn unknown_member(&self, given: &str) -> String {
        unknown("member", given, PARAMETERS.into_iter().chain(self.extra.iter().copied()))
    }

    fn sort_names(&self) -> Vec<&str> {
        self.catalog
            .fields()
            .filter(|field| field.is_sortable())
            .map(|field| field.name())
            .filter(|name| self.sortable.is_none_or(|names| names.contains(name) || name.starts_with("custom.")))
            .collect()
    }

    fn field_names(&self) -> Vec<&str> {
        match self.fields {
            None => self.catalog.fields().map(|field| field.name()).collect(),
            Some(names) => {
                let custom = self.catalog.fields().map(|field| field.name()).filter(|name| name.starts_with("custom."));
                names.iter().copied().chain(custom).collect()
            }
        }
    }
}

/// A parameter's name from outside as a path shows it.
fn path(given: &str) -> String {
    given.chars().filter(|character| !character.is_control()).take(100).collect()
}

/// A request while it is read.
struct Reading<'l> {
    listing: &'l Listing<'l>,
    request: ListRequest,
    nodes: Vec<Node>,
    errors: FieldErrors,
}

impl<'l> Reading<'l> {
    fn new(listing: &'l Listing<'l>) -> Self {
        Self { listing, request: ListRequest::default(), nodes: Vec::new(), errors: FieldErrors::new() }
    }

    fn finish(mut self) -> Result<ListRequest, FieldErrors> {
        if let (Some(_), Some(_)) = (&self.request.cursor, self.request.page) {
            self.errors.add(
                "page",
                "INVALID_FORMAT",
                "must not be given together with cursor: each says where the page begins",
            );
        }
        if let Some(page) = self.request.page
            && page.saturating_mul(u64::try_from(self.request.limit).unwrap_or(u64::MAX)) > MAX_DEPTH
        {
            let message = format!("reaches only the first {MAX_DEPTH} records: use cursor to go further");
            self.errors.add("page", "OUT_OF_RANGE", message);
        }
        self.request.rule = Rule::all(self.listing.catalog, self.nodes);
        self.errors.or(self.request)
    }

    fn parameter(&mut self, name: &str, value: &str) {
        if value.is_empty() && name != "search" {
            self.errors.add(name, "REQUIRED", "needs a value");
            return;
        }
        match name {
            "filter" => {
                if let Some(rule) = self.take(Rule::parse(value, self.listing.catalog, "filter")) {
                    self.nodes.push(rule.into_root());
                }
            }
            "search" => self.search(value),
            "sort" => self.sort(value.split(',')),
            "fields" => self.fields(value.split(',')),
            "include" => self.include(value.split(',')),
            "cursor" => self.request.cursor = Some(value.to_owned()),
            "limit" => self.limit(value.parse().ok()),
            "page" => self.page(value.parse().ok()),
            _ => match boolean(value) {
                Some(count) => self.request.count = count,
                None => self.errors.add("count", "INVALID_FORMAT", TRUE_OR_FALSE),
            },
        }
    }

    fn member(&mut self, name: &str, given: &str, raw: &RawValue) {
        if name == "filter" {
            if let Some(rule) = self.take(Rule::from_json(raw, self.listing.catalog, "filter")) {
                self.nodes.push(rule.into_root());
            }
            return;
        }
        let extra = self.listing.extra.contains(&name);
        if !extra && !PARAMETERS.contains(&name) {
            self.errors.add(path(given), "UNKNOWN_FIELD", self.listing.unknown_member(given));
            return;
        }
        let token = match Token::read(raw, MAX_PARAMETERS) {
            Ok(token) => token,
            Err(message) => return self.errors.add(path(given), "INVALID_FORMAT", message),
        };
        match (name, token) {
            (_, Token::Text(text)) if extra => {
                self.request.extra.insert(name.to_owned(), text);
            }
            (_, Token::Boolean(flag)) if extra => {
                self.request.extra.insert(name.to_owned(), flag.to_string());
            }
            (_, Token::Number(digits)) if extra => {
                self.request.extra.insert(name.to_owned(), digits.to_owned());
            }
            ("search" | "cursor", Token::Text(text)) => self.parameter(name, &text),
            ("sort" | "fields" | "include", Token::Text(text)) => self.parameter(name, &text),
            ("sort" | "fields" | "include", Token::List(list)) if list.len() <= MAX_PARAMETERS => {
                let texts: Result<Vec<String>, _> =
                    list.iter().map(|raw| serde_json::from_str::<String>(raw.get())).collect();
                match texts {
                    Ok(texts) => {
                        let texts = texts.iter().map(String::as_str);
                        match name {
                            "sort" => self.sort(texts),
                            "fields" => self.fields(texts),
                            _ => self.include(texts),
                        }
                    }
                    Err(_) => self.errors.add(name, "INVALID_TYPE", "must be a text or a list of texts"),
                }
            }
            ("sort" | "fields" | "include", Token::List(_)) => {
                self.errors.add(name, "TOO_MANY", format!("must not list more than {MAX_PARAMETERS} names"));
            }
            ("limit", Token::Number(digits)) => self.limit(digits.parse().ok()),
            ("page", Token::Number(digits)) => self.page(digits.parse().ok()),
            ("count", Token::Boolean(count)) => self.request.count = count,
            (_, token) => {
                let wanted = match name {
                    "limit" | "page" => "a whole number",
                    "count" => "true or false",
                    "sort" | "fields" | "include" => "a text or a list of texts",
                    _ if extra => "a text, a number, true or false",
                    _ => "a text",
                };
                let message = format!("must be {wanted}, not {}", token.description());
                self.errors.add(path(given), "INVALID_TYPE", message);
            }
        }
    }

    fn take<T>(&mut self, part: Result<T, FieldErrors>) -> Option<T> {
        self.errors.take("", part)
    }

    fn limit(&mut self, limit: Option<usize>) {
        match limit {
            Some(limit @ 1..=MAX_LIMIT) => self.request.limit = limit,
            _ => {
                let message = format!("must be a whole number between 1 and {MAX_LIMIT}");
                self.errors.add("limit", "OUT_OF_RANGE", message);
            }
        }
    }

    fn page(&mut self, page: Option<u64>) {
        match page {
            Some(page @ 1..) => self.request.page = Some(page),
            _ => self.errors.add("page", "OUT_OF_RANGE", "must be a whole number, 1 for the first page"),
        }
    }

    fn search(&mut self, text: &str) {
        if self.listing.catalog.collection().search.is_empty() {
            self.errors.add("search", "UNKNOWN_FIELD", "is not offered by this list: use filters");
            return;
        }
        if text.chars().nth(MAX_SEARCH).is_some() {
            self.errors.add("search", "TOO_LONG", format!("must not be longer than {MAX_SEARCH} characters"));
            return;
        }
        if text.contains('\0') {
            self.errors.add("search", "INVALID_TEXT", "must not contain the character NUL");
            return;
        }
        let mut terms: Vec<String> = Vec::new();
        for term in text.split_whitespace().filter(|term| !fold(term).is_empty()) {
            if !terms.iter().any(|known| known == term) {
                terms.push(term.to_owned());
            }
        }
        if terms.len() > MAX_TERMS {
            self.errors.add("search", "TOO_MANY", format!("must not have more than {MAX_TERMS} words"));
            return;
        }
        self.request.search = terms;
    }

    fn sort<'t>(&mut self, keys: impl Iterator<Item = &'t str>) {
        let mut sort: Vec<Sort> = Vec::new();
        let mut named: Vec<String> = Vec::new();
        for key in keys {
            let key = key.trim();
            let (given, descending) = match key.strip_prefix('-') {
                Some(rest) => (rest, true),
                None => (key, false),
            };
            let allowed = self.listing.sort_names();
            let catalog = self.listing.catalog;
            let field = catalog.field(given).or_else(|| catalog.field(&snake_case(given)));
            let field = field.filter(|field| allowed.contains(&field.name()) && field.is_sortable());
            let Some(field) = field else {
                let known = catalog.field(given).is_some();
                let message = if known {
                    format!("cannot order by {given}. Allowed, each also with - before it: {}", allowed.join(", "))
                } else {
                    unknown("field to order by", given, allowed.into_iter())
                };
                self.errors.add("sort", "UNKNOWN_FIELD", message);
                continue;
            };
            if named.iter().any(|name| name == field.name()) {
                self.errors.add("sort", "DUPLICATE_FIELD", format!("has {} twice", field.name()));
                continue;
            }
            named.push(field.name().to_owned());
            sort.push(field.sort(descending));
            if named.len() > MAX_SORT_KEYS {
                self.errors.add("sort", "TOO_MANY", format!("must not have more than {MAX_SORT_KEYS} fields"));
                return;
            }
        }
        if !sort.is_empty() {
            self.request.sort = sort;
        }
    }

    fn fields<'t>(&mut self, names: impl Iterator<Item = &'t str>) {
        let listing = self.listing;
        self.request.fields = self.names("fields", "field", names, &listing.field_names());
    }

    fn include<'t>(&mut self, names: impl Iterator<Item = &'t str>) {
        let listing = self.listing;
        if listing.include.is_empty() {
            self.errors.add("include", "UNKNOWN_FIELD", "is not offered by this list");
            return;
        }
        self.request.include = self.names("include", "part to include", names, listing.include);
    }

    fn names<'t>(
        &mut self,
        parameter: &str,
        what: &str,
        names: impl Iterator<Item = &'t str>,
        allowed: &[&str],
    ) -> Vec<String> {
        let mut taken: Vec<String> = Vec::new();
        for given in names.map(str::trim).take(MAX_PARAMETERS + 1) {
            let name = if allowed.contains(&given) { given.into() } else { snake_case(given) };
            if taken.len() == MAX_PARAMETERS {
                self.errors.add(parameter, "TOO_MANY", format!("must not list more than {MAX_PARAMETERS} names"));
            } else if !allowed.contains(&&*name) {
                let message = unknown(what, given, allowed.iter().copied());
                self.errors.add(parameter, "UNKNOWN_FIELD", message);
            } else if taken.iter().any(|known| *known == name) {
                self.errors.add(parameter, "DUPLICATE_FIELD", format!("has {name} twice"));
            } else {
                taken.push(name.into_owned());
            }
        }
        taken
    }
}
