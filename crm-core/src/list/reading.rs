//! One parameter of a list at a time, from a query string or a body.

use serde_json::value::RawValue;

use super::{
    ListRequest, Listing, MAX_DEPTH, MAX_LIMIT, MAX_PARAMETERS, MAX_SEARCH, MAX_SORT_KEYS, MAX_TERMS,
    request::{TRUE_OR_FALSE, boolean},
};
use crate::{
    error::FieldErrors,
    input::snake_case,
    rule::{Node, Rule, Token, unknown},
    store::{Sort, fold::fold},
};

/// A parameter's name from outside as a path shows it.
pub(super) fn path(given: &str) -> String {
    given.chars().filter(|character| !character.is_control()).take(100).collect()
}

/// A request while it is read.
pub(super) struct Reading<'l> {
    listing: &'l Listing<'l>,
    pub(super) request: ListRequest,
    pub(super) nodes: Vec<Node>,
    pub(super) errors: FieldErrors,
}

impl<'l> Reading<'l> {
    pub(super) fn new(listing: &'l Listing<'l>) -> Self {
        Self { listing, request: ListRequest::default(), nodes: Vec::new(), errors: FieldErrors::new() }
    }

    pub(super) fn finish(mut self) -> Result<ListRequest, FieldErrors> {
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

    pub(super) fn parameter(&mut self, name: &str, value: &str) {
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

    pub(super) fn member(&mut self, name: &str, given: &str, raw: &RawValue) {
        if name == "filter" {
            if let Some(rule) = self.take(Rule::from_json(raw, self.listing.catalog, "filter")) {
                self.nodes.push(rule.into_root());
            }
            return;
        }
        let extra = self.listing.extra.contains(&name);
        if !extra && !self.listing.parameters().contains(&name) {
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
            ("search" | "cursor" | "sort" | "fields" | "include", Token::Text(text)) => self.parameter(name, &text),
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
                let message = if allowed.is_empty() {
                    "is not offered by this list: it has an order of its own".to_owned()
                } else if known {
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
            self.request.sorted = true;
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
