//! What a caller says of a custom field, and the field that it makes: plain decisions, without a store.

use std::collections::HashSet;

use super::{
    AppliesTo, CustomField, CustomFieldType, FieldRules, IndexState, JsonText, ValueContext,
    set::{catalog, read_value},
    subject::Subject,
};
use crate::{error::FieldErrors, input::Input, record::Meta, rule::Rule, text::Line};

/// An organization has at most so many custom fields for each kind of record, archived ones among them.
pub const MAX_FIELDS: usize = 200;
/// A field has at most so many options.
pub const MAX_OPTIONS: usize = 500;
/// The last place.
const MAX_POSITION: i64 = 1_000_000;
const MAX_KEY: usize = 64;

/// Keys that mean something else in rules, filters and imports.
const RESERVED: [&str; 13] = [
    "id",
    "organization_id",
    "version",
    "created_at",
    "updated_at",
    "custom",
    "metadata",
    "and",
    "or",
    "not",
    "null",
    "true",
    "false",
];

/// A new custom field.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(refuse(id, version, created_at, updated_at, index_state, pending))]
pub struct NewCustomField {
    /// Its name in `custom`: lower snake case, beginning with a letter, at most 64 characters. Never changes.
    #[cfg_attr(feature = "openapi", schema(max_length = 64, pattern = "^[a-z][a-z0-9_]*$", example = "loyalty_tier"))]
    pub key: String,
    /// Its name for people; the key in words where there is none.
    pub label: Option<Line<200>>,
    /// What its values are.
    pub r#type: CustomFieldType,
    /// Whether every record written from now on must have a value.
    pub required: Option<bool>,
    /// Whether no two records have the same value; not for `boolean`, `list` and `multi_list`.
    pub unique: Option<bool>,
    /// The value of a new record that is given none: of the field's type and obeying its rules.
    #[cfg_attr(feature = "openapi", schema(value_type = JsonText, required = false))]
    pub default: Option<JsonText>,
    /// What a `list` or `multi_list` is chosen from: 1 to 500 different lines.
    pub options: Option<Vec<Line<200>>>,
    /// What values must be; which rules there can be depends on the type.
    pub rules: Option<FieldRules>,
    /// Whether filters and orders by it are served by an index.
    pub indexed: Option<bool>,
    /// The kind of record that has it; `customer` where it is not said. Never changes.
    pub applies_to: Option<AppliesTo>,
    /// Its place among the fields; the last where it is not said.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 1_000_000))]
    pub position: Option<i64>,
    /// Whether it is put away at once.
    pub archived: Option<bool>,
}

/// A custom field as it is to be: what is left out gets its default, as in a new one, but for `label` and `position`,
/// which stay.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(ignore(id, version, created_at, updated_at, index_state, pending))]
pub struct ChangedCustomField {
    /// Its name in `custom`, if given the one that it has.
    pub key: Option<String>,
    /// Its name for people.
    pub label: Option<Line<200>>,
    /// What its values are. Another type than before is taken only where every stored value converts.
    pub r#type: CustomFieldType,
    /// Whether every record written from now on must have a value.
    pub required: Option<bool>,
    /// Whether no two records have the same value; not for `boolean`, `list` and `multi_list`.
    pub unique: Option<bool>,
    /// The value of a new record that is given none.
    #[cfg_attr(feature = "openapi", schema(value_type = JsonText, required = false))]
    pub default: Option<JsonText>,
    /// What a `list` or `multi_list` is chosen from. One that some record has cannot be left out.
    pub options: Option<Vec<Line<200>>>,
    /// What values written from now on must be.
    pub rules: Option<FieldRules>,
    /// Whether filters and orders by it are served by an index.
    pub indexed: Option<bool>,
    /// The kind of record, if given the one that it is of.
    pub applies_to: Option<AppliesTo>,
    /// Its place among the fields.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 1_000_000))]
    pub position: Option<i64>,
    /// Whether it is put away; false brings an archived field back, with its values.
    pub archived: Option<bool>,
}

/// What the decision is made against.
pub(super) struct Setting<'a> {
    /// The organization's other fields of the kind, archived ones among them.
    pub(super) others: &'a [CustomField],
    /// The records that have the field.
    pub(super) subject: Option<Subject>,
    pub(super) context: ValueContext,
}

/// The field that a new declaration makes.
///
/// # Errors
/// Everything that is wrong, by its path.
pub(super) fn declare(
    new: NewCustomField,
    id: super::CustomFieldId,
    meta: Meta,
    setting: &Setting<'_>,
) -> Result<CustomField, FieldErrors> {
    let mut errors = FieldErrors::new();
    if let Err(wrong) = check_key(&new.key) {
        errors.extend_under("key", wrong);
    }
    if setting.others.len() >= MAX_FIELDS {
        errors.add(
            "key",
            "TOO_MANY",
            format!("would be one field more than the {MAX_FIELDS} an organization can have"),
        );
    }
    let label = new.label.or_else(|| Line::parse(&in_words(&new.key)).ok());
    if label.is_none() && errors.is_empty() {
        errors.add("label", "REQUIRED", "is required");
    }
    let last = setting.others.iter().map(|field| field.position).max().unwrap_or(0);
    let field = CustomField {
        id,
        key: new.key,
        // An empty label never leaves this function: it is an error above.
        label: match label {
            Some(label) => label,
            None => return Err(errors),
        },
        r#type: new.r#type,
        required: new.required.unwrap_or(false),
        unique: new.unique.unwrap_or(false),
        default: new.default,
        options: lines(new.options),
        rules: new.rules.unwrap_or_default(),
        indexed: new.indexed.unwrap_or(false),
        applies_to: new.applies_to.unwrap_or(AppliesTo::Customer),
        position: new.position.unwrap_or_else(|| (last + 1).min(MAX_POSITION)),
        archived: new.archived.unwrap_or(false),
        index_state: IndexState::None,
        pending: Vec::new(),
        converted_from: None,
        working: false,
        job_id: None,
        meta,
    };
    finish(field, errors, setting)
}

/// The field after a change.
///
/// # Errors
/// Everything that is wrong, by its path.
pub(super) fn change(
    before: &CustomField,
    changed: ChangedCustomField,
    setting: &Setting<'_>,
) -> Result<CustomField, FieldErrors> {
    let mut errors = FieldErrors::new();
    if changed.key.is_some_and(|key| key != before.key) {
        errors.add("key", "READ_ONLY", format!("never changes: it is {}", before.key));
    }
    if changed.applies_to.is_some_and(|kind| kind != before.applies_to) {
        errors.add("applies_to", "READ_ONLY", format!("never changes: it is {}", before.applies_to));
    }
    let field = CustomField {
        label: changed.label.unwrap_or_else(|| before.label.clone()),
        r#type: changed.r#type,
        required: changed.required.unwrap_or(false),
        unique: changed.unique.unwrap_or(false),
        default: changed.default,
        options: lines(changed.options),
        rules: changed.rules.unwrap_or_default(),
        indexed: changed.indexed.unwrap_or(false),
        position: changed.position.unwrap_or(before.position),
        archived: changed.archived.unwrap_or(false),
        ..before.clone()
    };
    finish(field, errors, setting)
}

fn lines(options: Option<Vec<Line<200>>>) -> Vec<String> {
    options.unwrap_or_default().into_iter().map(String::from).collect()
}

/// `loyalty_tier` as `Loyalty tier`.
fn in_words(key: &str) -> String {
    let mut words = key.replace('_', " ");
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}

fn check_key(key: &str) -> Result<(), FieldErrors> {
    let is_snake = key.starts_with(|first: char| first.is_ascii_lowercase())
        && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !is_snake || key.len() > MAX_KEY {
        return Err(FieldErrors::one(
            "",
            "INVALID_FORMAT",
            "must be 1 to 64 lower-case letters, digits and underscores, beginning with a letter, such as loyalty_tier",
        ));
    }
    if RESERVED.contains(&key) {
        let message = format!("is reserved, as are {}", RESERVED.join(", "));
        return Err(FieldErrors::one("", "RESERVED", message));
    }
    Ok(())
}

/// Checks what belongs together, and brings the default and the rule to the form in which they are kept.
fn finish(mut field: CustomField, mut errors: FieldErrors, setting: &Setting<'_>) -> Result<CustomField, FieldErrors> {
    if !(0..=MAX_POSITION).contains(&field.position) {
        errors.add("position", "OUT_OF_RANGE", format!("must be between 0 and {MAX_POSITION}"));
    }
    check_options(&field, &mut errors);
    if field.unique && !field.r#type.can_be_unique() {
        errors.add("unique", "NOT_ALLOWED", format!("is not for the type {}", field.r#type));
    }
    let rules = errors.take("rules", field.rules.compile(field.r#type, field.options.len()));
    if let Some(rule) = &field.rules.required_if {
        let kept = required_if(&field, rule, setting);
        if let Err(wrong) = &kept {
            errors.extend_under("", wrong.clone());
        }
        field.rules.required_if = kept.ok().flatten();
    }
    if let Some(default) = &field.default {
        if field.unique {
            errors.add("default", "NOT_ALLOWED", "cannot go with unique: the second record would clash with the first");
        } else if let Some(rules) = &rules {
            let value = errors.take("default", read_value(&field, rules, &default.to_raw(), &setting.context));
            if field.required && value.as_ref().is_some_and(super::value::FieldValue::is_blank) {
                errors.add("default", "REQUIRED", "must not be empty, since the field is required");
            }
            field.default = value.map(|value| JsonText::from_trusted(value.to_json()));
        }
    }
    errors.or(field)
}

fn check_options(field: &CustomField, errors: &mut FieldErrors) {
    if !field.r#type.has_options() {
        if !field.options.is_empty() {
            errors.add(
                "options",
                "NOT_ALLOWED",
                format!("are not for the type {}; only list and multi_list have them", field.r#type),
            );
        }
        return;
    }
    if field.options.is_empty() {
        errors.add("options", "REQUIRED", format!("are required for the type {}", field.r#type));
    }
    if field.options.len() > MAX_OPTIONS {
        errors.add("options", "TOO_MANY", format!("must be at most {MAX_OPTIONS}"));
    }
    let mut found = HashSet::new();
    for (place, option) in field.options.iter().enumerate().take(MAX_OPTIONS) {
        if !found.insert(option) {
            errors.add(format!("options[{place}]"), "DUPLICATE", "is there twice");
        }
    }
}

/// The rule in the form that is kept; its paths begin with `rules.required_if`.
fn required_if(field: &CustomField, rule: &JsonText, setting: &Setting<'_>) -> Result<Option<JsonText>, FieldErrors> {
    const PATH: &str = "rules.required_if";
    let Some(subject) = setting.subject else {
        let message = format!("is not possible for the kind {} yet", field.applies_to);
        return Err(FieldErrors::one(PATH, "NOT_ALLOWED", message));
    };
    let others = setting.others.iter().filter(|other| other.id != field.id);
    let catalog = catalog(subject, others.chain([field]));
    let rule = Rule::from_json(&rule.to_raw(), &catalog, PATH)?;
    Ok(Some(JsonText::from_trusted(rule.to_json().as_str())))
}

/// The labels of the other live fields whose rule `required_if` no longer holds together once the fields are these.
pub(super) fn broken_rules(fields: &[CustomField], subject: Subject) -> Vec<String> {
    let catalog = catalog(subject, fields);
    fields
        .iter()
        .filter(|field| !field.archived)
        .filter(|field| {
            let rule = field.rules.required_if.as_ref();
            rule.is_some_and(|rule| Rule::parse(rule.as_str(), &catalog, "").is_err())
        })
        .map(|field| field.key.clone())
        .collect()
}
