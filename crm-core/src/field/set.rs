use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::future::Cache;
use serde_json::value::RawValue;

use super::{
    AppliesTo, CustomField, CustomFieldId, CustomFieldType, CustomValues, convert::quoted, rules::CompiledRules,
    subject::Subject, unique, value::FieldValue,
};
use crate::{
    contact::{Country, Email, Phone},
    error::{FieldErrors, Result},
    id::OrganizationId,
    input::Members,
    record::Record,
    rule::{Catalog, CatalogField, Compiled, Rule, RuleType},
    store::{FieldRef, Filter, Value},
    time::Timestamp,
};

/// The most that all custom values of one record take, in bytes.
const MAX_SIZE: usize = 256 * 1024;
/// At most so many unknown keys, and so many wrong choices of a list, are named in one answer.
const UNKNOWN_NAMED: usize = 20;
/// What may be chosen is named up to so many characters: a refusal stands once for each wrong value of a batch.
const ALLOWED_SHOWN: usize = 1_000;

/// What values are read against besides their fields.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ValueContext {
    /// The instant that `now` means in rules.
    pub now: Timestamp,
    /// Where national telephone numbers are from.
    pub country: Option<Country>,
}

/// What a value that is not given means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// The default: the record is new.
    Create,
    /// The default: the record is replaced.
    Replace,
    /// That it stays as it is.
    Merge,
}

/// An organization's custom fields of one kind of record, ready to check values.
#[derive(Debug)]
pub struct FieldSet {
    applies_to: AppliesTo,
    subject: Option<Subject>,
    /// Archived fields among them, by position.
    entries: Vec<Entry>,
    places: HashMap<String, usize>,
    /// Whether what is stored can be shown as it is.
    plain: bool,
    conditional: bool,
    unique: bool,
}

#[derive(Debug)]
struct Entry {
    field: CustomField,
    rules: CompiledRules,
    /// The default as it is stored.
    default: Option<String>,
    required_if: Option<Rule>,
}

impl FieldSet {
    /// Of these fields, archived ones among them.
    pub(super) fn new(applies_to: AppliesTo, subject: Option<Subject>, mut fields: Vec<CustomField>) -> Self {
        fields.sort_by_key(|field| (field.position, field.id));
        let catalog = subject.map(|subject| catalog(subject, &fields));
        let context = ValueContext { now: Timestamp::default(), country: None };
        let entries: Vec<Entry> = fields
            .into_iter()
            .map(|field| {
                let default = field.default.as_ref().and_then(|default| {
                    FieldValue::read(field.r#type, &default.to_raw(), &context).ok().map(|value| value.to_stored())
                });
                let rule = field.rules.required_if.as_ref().zip(catalog.as_ref());
                let required_if = rule.and_then(|(rule, catalog)| Rule::parse(rule.as_str(), catalog, "").ok());
                let rules = field.rules.compile(field.r#type, field.options.len()).unwrap_or_else(|errors| {
                    tracing::error!(field = %field.id, %errors, "the rules of a custom field do not hold and are left out");
                    CompiledRules::none()
                });
                Entry { field, rules, default, required_if }
            })
            .collect();
        let places = entries.iter().enumerate().map(|(place, entry)| (entry.field.key.clone(), place)).collect();
        let plain =
            entries.iter().all(|entry| !entry.field.archived && entry.field.r#type != CustomFieldType::Datetime);
        let conditional = entries.iter().any(|entry| entry.is_live() && entry.required_if.is_some());
        let unique = entries.iter().any(|entry| entry.field.unique);
        Self { applies_to, subject, entries, places, plain, conditional, unique }
    }

    /// No fields.
    #[must_use]
    pub fn empty(applies_to: AppliesTo) -> Self {
        Self::new(applies_to, applies_to.subject(), Vec::new())
    }

    /// The kind of record.
    #[must_use]
    pub const fn applies_to(&self) -> AppliesTo {
        self.applies_to
    }

    /// The fields that can be written, by position.
    pub fn live(&self) -> impl Iterator<Item = &CustomField> {
        self.live_entries().map(|entry| &entry.field)
    }

    /// The field with the key, if it can be written.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&CustomField> {
        self.entry(key).filter(|entry| entry.is_live()).map(|entry| &entry.field)
    }

    fn live_entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_live())
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.places.get(key).and_then(|place| self.entries.get(*place))
    }

    /// Checks what a caller gave as `custom`, and answers what the record's values are then. `null` clears a value, and
    /// for all of them where `input` itself is null. Values of archived fields stay as they are.
    ///
    /// In [`Mode::Merge`] a required field is asked for only where it is named: a record from before the field was
    /// required can be changed elsewhere.
    ///
    /// # Errors
    /// Every wrong value, by its key; the caller puts `custom` before it.
    pub fn check(
        &self,
        input: Option<&RawValue>,
        existing: &CustomValues,
        mode: Mode,
        context: &ValueContext,
    ) -> Result<CustomValues, FieldErrors> {
        let clears_all = input.is_some_and(|input| input.get() == "null");
        let given = match input {
            Some(input) if !clears_all => Members::parse(input)?.into_rest(),
            _ => Vec::new(),
        };
        let merges = mode == Mode::Merge && !clears_all;
        if merges && given.is_empty() {
            return Ok(existing.clone());
        }
        let old = existing.members();
        let stays = |key: &str| merges || self.entry(key).is_none_or(|entry| !entry.is_live());
        let mut new: BTreeMap<&str, Cow<'_, str>> = old
            .iter()
            .filter(|(key, _)| stays(key))
            .map(|(key, value)| (key.as_str(), Cow::Borrowed(value.get())))
            .collect();
        let mut errors = FieldErrors::new();
        let mut named: HashMap<&str, bool> = HashMap::with_capacity(given.len());
        let mut unknown = 0;
        for (key, json) in &given {
            let Some(entry) = self.entry(key).filter(|entry| entry.is_live()) else {
                unknown += 1;
                if unknown <= UNKNOWN_NAMED {
                    self.refuse_key(key, unknown == 1, &mut errors);
                }
                continue;
            };
            let key = entry.field.key.as_str();
            if json.get() == "null" {
                new.remove(key);
                named.insert(key, true);
                continue;
            }
            let read = entry.read(json, context);
            named.insert(key, read.is_ok());
            if let Some(value) = errors.take(key, read) {
                new.insert(key, Cow::Owned(value.to_stored()));
            }
        }
        for entry in self.live_entries() {
            let key = entry.field.key.as_str();
            let sound = named.get(key).copied();
            if new.contains_key(key) || sound == Some(false) {
                continue;
            }
            match &entry.default {
                Some(default) if !merges && sound.is_none() => {
                    new.insert(key, Cow::Borrowed(default));
                }
                _ if entry.field.required && (!merges || sound.is_some()) => {
                    errors.add(key, "REQUIRED", "is required");
                }
                _ => {}
            }
        }
        let new = CustomValues::from_members(new.iter().map(|(key, value)| (*key, value.as_ref())));
        if errors.is_empty() && new.as_json().as_str().len() > MAX_SIZE {
            errors.add("", "TOO_LONG", "must have at most 262144 bytes in all");
        }
        errors.or(new)
    }

    /// What could have been named is told with the first unknown key only.
    fn refuse_key(&self, key: &str, first: bool, errors: &mut FieldErrors) {
        let path: String = key.chars().take(100).collect();
        if self.entry(key).is_some() {
            errors.add(path, "ARCHIVED", "is archived and cannot be written");
            return;
        }
        let mut message = "is not a custom field of the organization".to_owned();
        if first {
            let keys = in_short(self.live().map(|field| field.key.as_str()));
            message.push_str(&if keys.is_empty() {
                "; there are none".to_owned()
            } else {
                format!("; there are: {keys}")
            });
        }
        errors.add(path, "UNKNOWN_FIELD", message);
    }

    /// Checks the rules `required_if` on a record as it is to be. What was missing before in the same way is let pass,
    /// so that a record from before the rule can be changed elsewhere.
    ///
    /// # Errors
    /// Every missing value, by its key; the caller puts `custom` before it.
    pub fn check_required_if<T: Record>(
        &self,
        before: Option<&T>,
        after: &T,
        as_of: Timestamp,
    ) -> Result<(), FieldErrors> {
        let mut errors = FieldErrors::new();
        let Some(subject) = self.subject.filter(|_| self.conditional) else {
            return Ok(());
        };
        let (old, new) = (before.map(Record::to_row), after.to_row());
        for entry in self.live_entries() {
            let Some(rule) = &entry.required_if else { continue };
            let field = || entry.field_ref(subject.column);
            let mut blank = vec![Filter::Exists { field: field() }.negated()];
            if entry.field.r#type == CustomFieldType::Text {
                blank.push(Filter::equal(field(), Value::Text(String::new())));
            }
            let is_wrong = Compiled::new(T::COLLECTION, &rule.filter(as_of).and(Filter::Or(blank)));
            if is_wrong.matches(&new) && !old.as_ref().is_some_and(|old| is_wrong.matches(old)) {
                errors.add(entry.field.key.as_str(), "REQUIRED", format!("is required where {rule}"));
            }
        }
        errors.or(())
    }

    /// The values as the API shows them: instants as RFC 3339, archived fields left out. Only for showing: what is
    /// stored must stay as [`FieldSet::check`] answered it. Costs nothing where no field is archived or a `datetime`.
    #[must_use]
    pub fn present(&self, values: &CustomValues) -> CustomValues {
        if self.plain || values.is_empty() {
            return values.clone();
        }
        let members = values.members();
        let shown: Vec<(&str, Cow<'_, str>)> = members
            .iter()
            .filter_map(|(key, json)| {
                let Some(entry) = self.entry(key) else {
                    return Some((key.as_str(), Cow::Borrowed(json.get())));
                };
                if !entry.is_live() {
                    return None;
                }
                let instant = (entry.field.r#type == CustomFieldType::Datetime)
                    .then(|| FieldValue::of_stored(CustomFieldType::Datetime, json))
                    .flatten();
                let text = instant.map_or(Cow::Borrowed(json.get()), |instant| Cow::Owned(instant.to_json()));
                Some((key.as_str(), text))
            })
            .collect();
        CustomValues::from_members(shown.iter().map(|(key, json)| (*key, json.as_ref())))
    }

    /// Whether [`FieldSet::present`] changes nothing, whatever the values.
    pub(crate) const fn shows_as_stored(&self) -> bool {
        self.plain
    }

    /// The fields for rules, filters and orders: `custom.<key>`.
    #[must_use]
    pub fn catalog_fields(&self, country: Option<Country>) -> Vec<CatalogField> {
        let column = self.subject.map_or("custom", |subject| subject.column);
        self.live().map(|field| catalog_field(column, field, country)).collect()
    }

    /// What must differ from every other record's: the fields that are unique, archived ones among them, and the
    /// form of each value in which equal ones are equal.
    #[must_use]
    pub fn unique_values(&self, values: &CustomValues) -> Vec<(CustomFieldId, String)> {
        if !self.unique || values.is_empty() {
            return Vec::new();
        }
        let members = values.members();
        self.entries
            .iter()
            .filter(|entry| entry.field.unique)
            .filter_map(|entry| {
                let value = FieldValue::of_stored(entry.field.r#type, members.get(&entry.field.key)?)?;
                Some((entry.field.id, unique::value_key(entry.field.r#type, &value)?))
            })
            .collect()
    }

    /// The form of a given value of a unique field in which equal ones are equal; nothing for one that cannot be read, and
    /// for a blank one.
    pub(crate) fn unique_form(&self, key: &str, given: &RawValue, context: &ValueContext) -> Option<String> {
        let field = self.field(key).filter(|field| field.unique)?;
        unique::value_key(field.r#type, &FieldValue::read(field.r#type, given, context).ok()?)
    }

    /// Whether some field's values must differ from record to record.
    #[must_use]
    pub const fn has_unique(&self) -> bool {
        self.unique
    }

    /// The key of a field, archived or not.
    #[must_use]
    pub fn key_of(&self, id: CustomFieldId) -> Option<&str> {
        self.entries.iter().find(|entry| entry.field.id == id).map(|entry| entry.field.key.as_str())
    }
}

impl Entry {
    const fn is_live(&self) -> bool {
        !self.field.archived
    }

    fn field_ref(&self, column: &'static str) -> FieldRef {
        FieldRef::custom(column, self.field.key.clone(), self.field.r#type.stored())
    }

    fn read(&self, json: &RawValue, context: &ValueContext) -> Result<FieldValue, FieldErrors> {
        let value = read_value(&self.field, &self.rules, json, context)?;
        if self.field.required && value.is_blank() {
            return Err(FieldErrors::one("", "REQUIRED", "is required and must not be empty"));
        }
        Ok(value)
    }
}

/// Names in a row, as many as fit.
fn in_short<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut shown = String::new();
    for name in names {
        if shown.len() + name.len() > ALLOWED_SHOWN {
            shown.push('…');
            break;
        }
        if !shown.is_empty() {
            shown.push_str(", ");
        }
        shown.push_str(name);
    }
    shown
}

/// Reads a value of a field and checks it by the field's options and rules.
pub(super) fn read_value(
    field: &CustomField,
    rules: &CompiledRules,
    json: &RawValue,
    context: &ValueContext,
) -> Result<FieldValue, FieldErrors> {
    let value = FieldValue::read(field.r#type, json, context)?;
    let mut errors = FieldErrors::new();
    let mut choose = |path: &str, item: &String| {
        if !field.options.contains(item) {
            let allowed = in_short(field.options.iter().map(String::as_str));
            errors.add(
                path,
                "INVALID_CHOICE",
                format!("is {}, which is no option; there are: {allowed}", quoted(item)),
            );
        }
    };
    match &value {
        FieldValue::Text(text) if field.r#type == CustomFieldType::List => choose("", text),
        FieldValue::List(items) => {
            let wrong = items.iter().enumerate().filter(|(_, item)| !field.options.contains(item));
            for (place, item) in wrong.take(UNKNOWN_NAMED) {
                choose(&format!("[{place}]"), item);
            }
        }
        _ => {}
    }
    if let Err(wrong) = rules.check(&value, context) {
        errors.extend_under("", wrong);
    }
    errors.or(value)
}

/// The fields that a rule `required_if` may name.
pub(super) fn catalog<'a>(subject: Subject, fields: impl IntoIterator<Item = &'a CustomField>) -> Catalog {
    let live = fields.into_iter().filter(|field| !field.archived);
    (subject.catalog)().with_all(live.map(|field| catalog_field(subject.column, field, None)))
}

fn catalog_field(column: &'static str, field: &CustomField, country: Option<Country>) -> CatalogField {
    let kind = match field.r#type {
        CustomFieldType::MultiList => RuleType::List,
        other => RuleType::of(other.stored()),
    };
    let entry = CatalogField::custom(column, field.key.clone(), kind);
    match field.r#type {
        CustomFieldType::List | CustomFieldType::MultiList => entry.options(field.options.iter().cloned()),
        CustomFieldType::Email => entry
            .normalised(|text| Email::parse(text).map(|email| email.to_string()).map_err(|errors| errors.to_string())),
        CustomFieldType::Phone => entry.normalised(move |text| {
            Phone::parse(text, country).map(|phone| phone.to_string()).map_err(|errors| errors.to_string())
        }),
        CustomFieldType::Url => entry.normalised(|text| {
            let context = ValueContext { now: Timestamp::default(), country: None };
            FieldValue::of_text(CustomFieldType::Url, text, &context)
                .map(|value| value.to_text())
                .map_err(|errors| errors.to_string())
        }),
        _ => entry,
    }
}

/// How long another process may go on with fields that were changed here.
const STALE: Duration = Duration::from_secs(5);
/// So many sets are kept.
const KEPT: u64 = 2_000;

/// The sets of fields that this process has at hand. A change made here is seen at once, one made elsewhere within 5 s.
#[derive(Debug)]
pub(crate) struct FieldSets {
    sets: Cache<(OrganizationId, AppliesTo, u64), Arc<FieldSet>>,
    /// Goes up with every change made here: a set that was being read meanwhile is not found again.
    generation: AtomicU64,
}

impl Default for FieldSets {
    fn default() -> Self {
        let sets = Cache::builder().max_capacity(KEPT).time_to_live(STALE).build();
        Self { sets, generation: AtomicU64::new(0) }
    }
}

impl FieldSets {
    /// The set, read by `load` where it is not at hand.
    pub(super) async fn get(
        &self,
        organization: OrganizationId,
        applies_to: AppliesTo,
        load: impl Future<Output = Result<FieldSet>>,
    ) -> Result<Arc<FieldSet>> {
        let key = (organization, applies_to, self.generation.load(Ordering::Acquire));
        if let Some(set) = self.sets.get(&key).await {
            return Ok(set);
        }
        let set = Arc::new(load.await?);
        self.sets.insert(key, Arc::clone(&set)).await;
        Ok(set)
    }

    /// Forgets every set, since a field was changed.
    pub(crate) fn forget(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.sets.invalidate_all();
    }
}
