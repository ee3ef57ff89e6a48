//! One row of a file as what a caller of the API would have said.

use serde_json::value::RawValue;

use super::{
    cell,
    field::{Field, Kind},
    lookup::Lookup,
    plan::Plan,
};
use crate::{
    customer::{CustomerInput, MAX_GROUPS},
    error::FieldErrors,
    field::CustomFieldType,
    id::CustomerId,
    import_file::{Content, split_list, undefuse},
    input::Members,
};

/// What a row says.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// Of a customer that is there.
    pub(super) input: CustomerInput,
    /// Of a new one, where that is more.
    pub(super) with_defaults: Option<Box<CustomerInput>>,
    /// The customer's id, where rows find their customers by it.
    pub(super) id: Option<CustomerId>,
}

/// What stands in a cell.
#[derive(Clone, Copy, Debug)]
pub(super) enum Given<'a> {
    /// A text.
    Text(&'a str),
    /// Any other JSON.
    Json(&'a RawValue),
    /// Nothing.
    Nothing,
}

/// Goes through the cells of a record that go into fields.
pub(super) fn each_cell<'a>(plan: &Plan, content: &'a Content<'a>, mut take: impl FnMut(&Field, Given<'_>)) {
    match content {
        Content::Cells(cells) => {
            for (field, cell) in plan.columns.iter().zip(cells) {
                let Some(field) = field else { continue };
                let text = undefuse(cell);
                take(field, of_text(&text));
            }
        }
        Content::Object(object) => {
            // What stands twice was refused before.
            let members = Members::parse(object).map(Members::into_rest).unwrap_or_default();
            for (name, json) in members {
                let Some(field) = plan.of_member(&name) else { continue };
                match json.get().as_bytes().first() {
                    Some(b'"') => {
                        let text: String = serde_json::from_str(json.get()).unwrap_or_default();
                        take(&field, of_text(&text));
                    }
                    Some(b'n') => take(&field, Given::Nothing),
                    _ => take(&field, Given::Json(json)),
                }
            }
        }
    }
}

fn of_text(text: &str) -> Given<'_> {
    let text = text.trim();
    if text.is_empty() { Given::Nothing } else { Given::Text(text) }
}

/// What a record says.
pub(super) fn read(plan: &Plan, content: &Content<'_>, lookup: &Lookup) -> Said {
    let mut row = Row {
        plan,
        lookup,
        members: Vec::new(),
        custom: Vec::new(),
        lists: Vec::new(),
        consents: Vec::new(),
        names: [const { None }; 2],
        id: None,
        errors: FieldErrors::new(),
    };
    if let Content::Object(object) = content
        && let Err(errors) = Members::parse(object)
    {
        row.errors.extend_under("", errors);
    } else {
        each_cell(plan, content, |field, given| row.take(field, given));
    }
    row.finish()
}

struct Row<'a> {
    plan: &'a Plan,
    lookup: &'a Lookup,
    /// Members of the input, as JSON.
    members: Vec<(String, String)>,
    /// Members of its `custom`.
    custom: Vec<(String, String)>,
    /// Lists into which several columns may go.
    lists: Vec<(String, Vec<String>)>,
    /// What is said of channels, as members of JSON.
    consents: Vec<String>,
    /// The first and the last name.
    names: [Option<String>; 2],
    id: Option<CustomerId>,
    errors: FieldErrors,
}

impl Row<'_> {
    fn take(&mut self, field: &Field, given: Given<'_>) {
        match given {
            Given::Nothing if self.plan.settings.clear_empty => self.clear(field),
            Given::Nothing => {}
            Given::Text(text) => {
                if let Err(errors) = self.text(field, text) {
                    self.errors.extend_under(&field.name, errors);
                }
            }
            Given::Json(json) => self.json(field, json),
        }
    }

    /// An empty cell that empties the field. A name is never empty, and what a list gets besides is not taken away.
    fn clear(&mut self, field: &Field) {
        match &field.kind {
            Kind::Id | Kind::FirstName | Kind::LastName | Kind::Consent(_) => {}
            Kind::Text if field.name == "name" => {}
            Kind::List | Kind::Groups if matches!(field.name.as_str(), "add_tags" | "remove_tags") => {}
            Kind::List | Kind::Groups => self.extend(&field.name, Vec::new()),
            Kind::Custom { key, .. } => self.custom.push((key.clone(), "null".to_owned())),
            _ => self.member(&field.name, "null".to_owned()),
        }
    }

    fn text(&mut self, field: &Field, text: &str) -> Result<(), FieldErrors> {
        let plan = self.plan;
        let json = match &field.kind {
            Kind::Id => {
                let wrong = |_| FieldErrors::one("", "INVALID_FORMAT", "must be a customer's id");
                self.id = Some(text.parse().map_err(wrong)?);
                return Ok(());
            }
            Kind::FirstName => {
                self.names[0] = Some(text.to_owned());
                return Ok(());
            }
            Kind::LastName => {
                self.names[1] = Some(text.to_owned());
                return Ok(());
            }
            Kind::Text => quoted(text),
            Kind::Choice => {
                let lower = text.to_lowercase();
                let known = plan.types.iter().find(|known| field.name == "type" && known.to_lowercase() == lower);
                quoted(known.unwrap_or(if field.name == "type" { return self.choice(field, text) } else { &lower }))
            }
            Kind::List => {
                self.extend(&field.name, split_list(text));
                return Ok(());
            }
            Kind::Groups => {
                let names = split_list(text);
                if names.len() > MAX_GROUPS {
                    let message = format!("must have at most {MAX_GROUPS} elements, not {}", names.len());
                    return Err(FieldErrors::one("", "TOO_MANY", message));
                }
                let mut ids = Vec::new();
                let mut errors = FieldErrors::new();
                for name in names {
                    match self.lookup.group(&name) {
                        Some(id) => ids.push(id),
                        None => {
                            errors.add("", "NOT_FOUND", format!("{} is no group of the organization", short(&name)));
                        }
                    }
                }
                self.extend(&field.name, ids);
                return errors.or(());
            }
            Kind::Owner => quoted(&self.lookup.owner(text)?),
            Kind::Team => quoted(&self.lookup.team(text)?),
            Kind::Number => cell::number(text, plan.separator)?,
            Kind::Instant => quoted(&cell::instant(text, plan.date_format.as_ref(), &plan.zone)?),
            Kind::Consent(channel) => {
                let granted = cell::boolean(text)?;
                let channel = quoted(channel);
                self.consents.push(format!("{channel}:{granted}"));
                return Ok(());
            }
            Kind::Object => {
                let parsed: Result<&RawValue, _> = serde_json::from_str(text);
                match parsed {
                    Ok(json) if json.get().starts_with('{') => {
                        self.json(field, json);
                        return Ok(());
                    }
                    _ => return Err(FieldErrors::one("", "INVALID_FORMAT", "must be a JSON object")),
                }
            }
            Kind::Custom { key, of } => {
                let json = match of {
                    CustomFieldType::Number | CustomFieldType::Money => cell::number(text, plan.separator)?,
                    CustomFieldType::Boolean => cell::boolean(text)?.to_string(),
                    CustomFieldType::Date => quoted(&cell::date(text, plan.date_format.as_ref())?),
                    CustomFieldType::Datetime => quoted(&cell::instant(text, plan.date_format.as_ref(), &plan.zone)?),
                    CustomFieldType::MultiList => {
                        self.extend(&field.name, split_list(text));
                        return Ok(());
                    }
                    _ => quoted(text),
                };
                self.custom.push((key.clone(), json));
                return Ok(());
            }
        };
        self.member(&field.name, json);
        Ok(())
    }

    /// A word that is none of those there are: the usual check says so.
    fn choice(&mut self, field: &Field, text: &str) -> Result<(), FieldErrors> {
        self.member(&field.name, quoted(text));
        Ok(())
    }

    /// What is not a text is given on as it is, but objects whose members may come from other columns too.
    fn json(&mut self, field: &Field, json: &RawValue) {
        let texts = || serde_json::from_str::<Vec<String>>(json.get()).ok();
        match &field.kind {
            Kind::Object if field.name == "custom" => match Members::parse(json) {
                Ok(members) => {
                    let members = members.into_rest();
                    self.custom
                        .extend(members.into_iter().map(|(key, json)| (key.into_owned(), json.get().to_owned())));
                }
                Err(errors) => self.errors.extend_under("custom", errors),
            },
            Kind::Object if field.name == "consent" => {
                let inner = json.get().trim().trim_start_matches('{').trim_end();
                let inner = inner.strip_suffix('}').unwrap_or(inner).trim();
                if json.get().starts_with('{') && !inner.is_empty() {
                    self.consents.push(inner.to_owned());
                } else if !json.get().starts_with('{') {
                    self.member(&field.name, json.get().to_owned());
                }
            }
            Kind::Groups => match texts() {
                Some(names) => {
                    let cell = names.iter().map(|name| self.lookup.group(name).unwrap_or_else(|| name.clone()));
                    let ids = cell.collect();
                    self.extend(&field.name, ids);
                }
                None => self.member(&field.name, json.get().to_owned()),
            },
            Kind::List => match texts() {
                Some(texts) => self.extend(&field.name, texts),
                None => self.member(&field.name, json.get().to_owned()),
            },
            Kind::Custom { of: CustomFieldType::MultiList, .. } if texts().is_some() => {
                self.extend(&field.name, texts().unwrap_or_default());
            }
            Kind::Custom { key, .. } => self.custom.push((key.clone(), json.get().to_owned())),
            Kind::Consent(channel) => {
                let channel = quoted(channel);
                self.consents.push(format!("{channel}:{}", json.get()));
            }
            Kind::Id | Kind::FirstName | Kind::LastName => {
                self.errors.add(&field.name, "INVALID_TYPE", "must be a text");
            }
            _ => self.member(&field.name, json.get().to_owned()),
        }
    }

    fn member(&mut self, name: &str, json: String) {
        self.members.push((name.to_owned(), json));
    }

    fn extend(&mut self, name: &str, elements: Vec<String>) {
        match self.lists.iter_mut().find(|(list, _)| list == name) {
            Some((_, all)) => all.extend(elements),
            None => self.lists.push((name.to_owned(), elements)),
        }
    }

    fn finish(mut self) -> Said {
        let names: Vec<String> = self.names.iter_mut().filter_map(Option::take).collect();
        if !names.is_empty() {
            self.member("name", quoted(&names.join(" ")));
        }
        if !self.consents.is_empty() {
            self.members.retain(|(name, _)| name != "consent");
            let consents = format!("{{{}}}", self.consents.join(","));
            self.member("consent", consents);
        }
        for (name, elements) in std::mem::take(&mut self.lists) {
            let json = serde_json::to_string(&elements).unwrap_or_else(|_| "[]".to_owned());
            match name.strip_prefix("custom.") {
                Some(key) => self.custom.push((key.to_owned(), json)),
                None => self.member(&name, json),
            }
        }
        let with_defaults = self.plan.has_defaults().then(|| {
            let given = |name: &str| {
                self.members.iter().any(|(member, json)| member == name && json != "null")
                    || self.errors.iter().any(|error| error.field == name)
            };
            let more = self.plan.defaults.iter().filter(|(name, _)| !given(name));
            let members: Vec<(&str, &str)> = self
                .members
                .iter()
                .filter(|(name, _)| given(name))
                .map(|(name, json)| (name.as_str(), json.as_str()))
                .chain(more.map(|(name, json)| (name.as_str(), json.get())))
                .collect();
            let given = |key: &str| self.custom.iter().any(|(member, json)| member == key && json != "null");
            let more = self.plan.custom_defaults.iter().filter(|(key, _)| !given(key));
            let custom: Vec<(&str, &str)> = self
                .custom
                .iter()
                .filter(|(key, _)| given(key))
                .map(|(key, json)| (key.as_str(), json.as_str()))
                .chain(more.map(|(key, json)| (key.as_str(), json.get())))
                .collect();
            Box::new(input(&members, &custom, &self.errors))
        });
        let input = input(&pairs(&self.members), &pairs(&self.custom), &self.errors);
        Said { input, with_defaults, id: self.id }
    }
}

/// What the API would read of a body with these members.
fn input(members: &[(&str, &str)], custom: &[(&str, &str)], errors: &FieldErrors) -> CustomerInput {
    let mut text = String::with_capacity(256);
    text.push('{');
    object(&mut text, members);
    if !custom.is_empty() {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str("\"custom\":{");
        object(&mut text, custom);
        text.push('}');
    }
    text.push('}');
    CustomerInput::of_row(&text, errors)
}

fn object(text: &mut String, members: &[(&str, &str)]) {
    for (position, (name, json)) in members.iter().enumerate() {
        if position > 0 {
            text.push(',');
        }
        text.push_str(&quoted(name));
        text.push(':');
        text.push_str(json);
    }
}

fn pairs(members: &[(String, String)]) -> Vec<(&str, &str)> {
    members.iter().map(|(name, json)| (name.as_str(), json.as_str())).collect()
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}
