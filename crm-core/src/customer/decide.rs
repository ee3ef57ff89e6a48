//! What becomes of a customer when somebody says something of it: plain decisions, without a store.

use std::collections::{BTreeSet, HashSet};

use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    ContactKey, Customer, CustomerInput,
    consent::Consents,
    input::{MAX_CHANNELS, MAX_CONTACTS, MAX_GROUPS, MAX_TAGS},
    metadata::Metadata,
    record::CustomerStatus,
};
use crate::{
    access::{Actor, Principal, Visibility},
    contact::{Country, Phone},
    error::{Error, FieldErrors, Result},
    field::{CustomValues, FieldSet, Mode, ValueContext},
    id::{TeamId, UserId},
    input::Patch,
    store::{Json, Money},
    text::Line,
    time::Timestamp,
};

/// What a field that is not named means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    /// Its default: the customer is new.
    Create,
    /// Its default: the customer is replaced.
    Replace,
    /// What it is.
    Merge,
}

/// What an input is read against besides the customer itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    /// The instant of the operation.
    pub(crate) now: Timestamp,
    /// Where national phone numbers are from.
    pub(crate) country: Option<Country>,
    /// The organization's customer types; the first is the default.
    pub(crate) types: &'a [String],
    /// The organization's custom fields.
    pub(crate) fields: &'a FieldSet,
    /// What is there of the records that inputs name.
    pub(crate) known: &'a References,
}

/// Ids of records that inputs name and that are there.
#[derive(Clone, Debug, Default)]
pub(crate) struct References {
    /// Static groups.
    pub(crate) groups: HashSet<Uuid>,
    /// Members of staff.
    pub(crate) staff: HashSet<UserId>,
    /// Logins of customers.
    pub(crate) logins: HashSet<UserId>,
    /// Teams.
    pub(crate) teams: HashSet<TeamId>,
}

/// The customer after the input. `before` is a blank one for [`Door::Create`].
///
/// # Errors
/// [`Error::Invalid`] with every wrong field; [`Error::Forbidden`] where the principal would lose sight of the
/// customer, or links a login without seeing all customers.
pub(crate) fn decide(
    before: &Customer,
    input: &CustomerInput,
    door: Door,
    by: &Principal,
    setting: &Setting<'_>,
) -> Result<Customer> {
    let mut errors = input.wrong.clone();
    let mut after = before.clone();
    match &input.name {
        Patch::Set(name) => after.name = name.clone(),
        Patch::Keep if door == Door::Merge || input.wrong.iter().any(|error| error.field == "name") => {}
        Patch::Keep | Patch::Clear => errors.add("name", "REQUIRED", "is required"),
    }
    contacts(&mut after, input, door, setting, &mut errors);
    after.status = merged(&input.status, before.status, CustomerStatus::default(), door);
    customer_type(&mut after, input, door, setting, &mut errors);
    labels(&mut after, before, input, door, setting, &mut errors);
    amounts(&mut after, before, input, door, &mut errors);
    let said = merged_option(&input.last_active, before.last_active, door);
    if said != before.last_active {
        // Who has ordered was active then, whatever else is said.
        after.opening_last_active = said;
        after.last_active = said.max(before.last_order_date);
    }
    after.active_at = after.last_active.unwrap_or(after.meta.created_at);
    after.consent = consent(before, input, door, setting.now);
    // What one request names is bounded when read; this bounds what many of them add up to.
    if after.consent.0.len() > MAX_CHANNELS.max(before.consent.0.len()) {
        errors.add("consent", "TOO_MANY", format!("is kept for at most {MAX_CHANNELS} channels: forget one with null"));
    }
    if let Some(custom) = errors.take("custom", custom(before, input, door, setting)) {
        after.custom = custom;
    }
    if let Some(metadata) = errors.take("metadata", metadata(before, input, door)) {
        after.metadata = metadata;
    }
    assignment(&mut after, before, input, door, by, setting, &mut errors);
    if errors.is_empty() {
        let old = (door != Door::Create).then_some(before);
        errors.take("custom", setting.fields.check_required_if(old, &after, setting.now));
    }
    let after = errors.or(after)?;
    if after.user_id != before.user_id && by.visibility != Visibility::All {
        return Err(Error::Forbidden("Only who sees all customers may link one to a login.".to_owned()));
    }
    if !after.is_reached_by(by) {
        return Err(Error::Forbidden(
            "This would put the customer out of your own sight: keep your team in team_id or yourself in owner_id."
                .to_owned(),
        ));
    }
    Ok(after)
}

fn merged<T: Clone>(said: &Patch<T>, old: T, default: T, door: Door) -> T {
    match said {
        Patch::Set(value) => value.clone(),
        Patch::Keep if door == Door::Merge => old,
        Patch::Keep | Patch::Clear => default,
    }
}

fn merged_option<T: Clone>(said: &Patch<T>, old: Option<T>, door: Door) -> Option<T> {
    match said {
        Patch::Set(value) => Some(value.clone()),
        Patch::Keep if door == Door::Merge => old,
        Patch::Keep | Patch::Clear => None,
    }
}

/// E-mails and phones: normalised, each once, the main one not repeated among the further ones.
fn contacts(after: &mut Customer, input: &CustomerInput, door: Door, setting: &Setting<'_>, errors: &mut FieldErrors) {
    after.email = merged_option(&input.email, after.email.take(), door);
    let main = after.email.as_ref().map(|email| email.as_str().to_owned());
    let emails = match &input.emails {
        Patch::Set(emails) => emails.iter().map(|email| email.as_str().to_owned()).collect(),
        Patch::Keep if door == Door::Merge => std::mem::take(&mut after.emails),
        Patch::Keep | Patch::Clear => Vec::new(),
    };
    let mut seen: HashSet<String> = main.into_iter().collect();
    after.emails = emails.into_iter().filter(|email| seen.insert(email.clone())).collect();

    let phone = match &input.phone {
        Patch::Set(text) => errors.take("phone", text.resolve(setting.country)),
        Patch::Keep if door == Door::Merge => after.phone.take(),
        Patch::Keep | Patch::Clear => None,
    };
    let phones: Vec<Phone> = match &input.phones {
        Patch::Set(texts) => texts
            .iter()
            .enumerate()
            .filter_map(|(at, text)| errors.take(&format!("phones[{at}]"), text.resolve(setting.country)))
            .collect(),
        Patch::Keep if door == Door::Merge => {
            after.phones.iter().filter_map(|phone| Phone::parse(phone, None).ok()).collect()
        }
        Patch::Keep | Patch::Clear => Vec::new(),
    };
    let mut seen: HashSet<String> = phone.iter().map(Phone::match_key).collect();
    after.phones =
        phones.iter().filter(|phone| seen.insert(phone.match_key())).map(|phone| phone.as_str().to_owned()).collect();
    after.phone = phone;
    debug_assert!(after.emails.len() <= MAX_CONTACTS && after.phones.len() <= MAX_CONTACTS, "bounded when read");
}

fn customer_type(
    after: &mut Customer,
    input: &CustomerInput,
    door: Door,
    setting: &Setting<'_>,
    errors: &mut FieldErrors,
) {
    let default = || setting.types.first().cloned().unwrap_or_default();
    match &input.r#type {
        Patch::Set(name)
            if setting.types.iter().any(|known| known == name.as_str()) || after.r#type == name.as_str() =>
        {
            after.r#type = name.as_str().to_owned();
        }
        Patch::Set(_) => {
            errors.add("type", "INVALID_CHOICE", format!("must be one of {}", setting.types.join(", ")));
        }
        Patch::Keep if door == Door::Merge => {}
        Patch::Keep | Patch::Clear => after.r#type = default(),
    }
}

/// Tags and groups: what is taken away goes first, then what is added comes.
fn labels(
    after: &mut Customer,
    before: &Customer,
    input: &CustomerInput,
    door: Door,
    setting: &Setting<'_>,
    errors: &mut FieldErrors,
) {
    let tags: Vec<String> = match &input.tags {
        Patch::Set(tags) => tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
        Patch::Keep if door == Door::Merge => before.tags.clone(),
        Patch::Keep | Patch::Clear => Vec::new(),
    };
    let removed: BTreeSet<&str> = input.remove_tags.iter().map(Line::as_str).collect();
    let kept = tags.into_iter().filter(|tag| !removed.contains(tag.as_str()));
    after.tags = each_once(kept.chain(input.add_tags.iter().map(|tag| tag.as_str().to_owned())));
    if after.tags.len() > MAX_TAGS {
        errors.add("tags", "TOO_MANY", format!("must have at most {MAX_TAGS} elements, not {}", after.tags.len()));
    }

    let groups: Vec<Uuid> = match &input.group_ids {
        Patch::Set(groups) => groups.clone(),
        Patch::Keep if door == Door::Merge => before.groups().collect(),
        Patch::Keep | Patch::Clear => Vec::new(),
    };
    let kept = groups.into_iter().filter(|group| !input.remove_groups.contains(group));
    let groups = each_once(kept.chain(input.add_groups.iter().copied()));
    let old: HashSet<Uuid> = before.groups().collect();
    for (at, group) in groups.iter().enumerate() {
        if !old.contains(group) && !setting.known.groups.contains(group) {
            errors.add(format!("group_ids[{at}]"), "NOT_FOUND", "is no group of the organization");
        }
    }
    if groups.len() > MAX_GROUPS {
        errors.add("group_ids", "TOO_MANY", format!("must have at most {MAX_GROUPS} elements, not {}", groups.len()));
    }
    after.group_ids = groups.iter().map(Uuid::to_string).collect();
}

fn each_once<T: Clone + Eq + std::hash::Hash>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    items.filter(|item| seen.insert(item.clone())).collect()
}

/// `spend` and `visits` are an opening part and what orders added since; orders are not touched here.
fn amounts(after: &mut Customer, before: &Customer, input: &CustomerInput, door: Door, errors: &mut FieldErrors) {
    let money = |money: &Money| money.as_ten_thousandths();
    let spent = Amount {
        total: input.spend.clone().map_value(money),
        opening: input.opening_spend.clone().map_value(money),
        old_total: money(&before.spend),
        old_opening: money(&before.opening_spend),
    };
    if let Some((total, opening)) = spent.decide("spend", door, errors) {
        match (Money::from_ten_thousandths(total), Money::from_ten_thousandths(opening)) {
            (Some(total), Some(opening)) => (after.spend, after.opening_spend) = (total, opening),
            _ => errors.add("spend", "OUT_OF_RANGE", "is too large together with the orders"),
        }
    }
    let visited = Amount {
        total: input.visits.clone(),
        opening: input.opening_visits.clone(),
        old_total: before.visits,
        old_opening: before.opening_visits,
    };
    if let Some((total, opening)) = visited.decide("visits", door, errors) {
        (after.visits, after.opening_visits) = (total, opening);
    }
}

/// An amount that has an opening part, in the smallest units.
struct Amount {
    total: Patch<i64>,
    opening: Patch<i64>,
    old_total: i64,
    old_opening: i64,
}

impl Amount {
    /// The new total and its opening part.
    fn decide(&self, name: &str, door: Door, errors: &mut FieldErrors) -> Option<(i64, i64)> {
        let since = self.old_total.saturating_sub(self.old_opening);
        let from_total = self.total.value().map(|total| total.saturating_sub(since));
        let opening = match (from_total, self.opening.value().copied()) {
            (Some(wanted), Some(opening)) if wanted != opening => {
                errors.add(name, "CONFLICTING", format!("does not agree with opening_{name}: give one of them"));
                return None;
            }
            (Some(opening), _) | (None, Some(opening)) => opening,
            (None, None) => {
                let kept = matches!((&self.total, &self.opening), (Patch::Keep, Patch::Keep)) && door == Door::Merge;
                if kept { self.old_opening } else { 0 }
            }
        };
        if opening < 0 {
            errors.add(name, "OUT_OF_RANGE", "must not be less than what the orders come to");
            return None;
        }
        match opening.checked_add(since) {
            Some(total) => Some((total, opening)),
            None => {
                errors.add(name, "OUT_OF_RANGE", "is too large together with the orders");
                None
            }
        }
    }
}

trait MapValue<T> {
    /// The same of another form of the value.
    fn map_value<U>(self, form: impl FnOnce(&T) -> U) -> Patch<U>;
}

impl<T> MapValue<T> for Patch<T> {
    fn map_value<U>(self, form: impl FnOnce(&T) -> U) -> Patch<U> {
        match self {
            Self::Keep => Patch::Keep,
            Self::Clear => Patch::Clear,
            Self::Set(value) => Patch::Set(form(&value)),
        }
    }
}

fn consent(before: &Customer, input: &CustomerInput, door: Door, now: Timestamp) -> Consents {
    match &input.consent {
        Patch::Set(changes) => {
            let mut base = before.consent.clone();
            if door != Door::Merge {
                base.0.retain(|channel, _| changes.contains_key(channel));
            }
            base.changed(changes, now)
        }
        Patch::Keep if door == Door::Merge => before.consent.clone(),
        Patch::Keep | Patch::Clear => Consents::default(),
    }
}

fn custom(
    before: &Customer,
    input: &CustomerInput,
    door: Door,
    setting: &Setting<'_>,
) -> Result<CustomValues, FieldErrors> {
    let mode = match door {
        Door::Create => Mode::Create,
        Door::Replace => Mode::Replace,
        Door::Merge => Mode::Merge,
    };
    let given = match &input.custom {
        Patch::Keep => None,
        Patch::Clear => Some(RawValue::NULL),
        Patch::Set(given) => Some(given.as_ref()),
    };
    let context = ValueContext { now: setting.now, country: setting.country };
    setting.fields.check(given, &before.custom, mode, &context)
}

fn metadata(before: &Customer, input: &CustomerInput, door: Door) -> Result<Json, FieldErrors> {
    match &input.metadata {
        Patch::Set(metadata) if door == Door::Merge => Metadata::merged(&before.metadata, metadata),
        Patch::Set(metadata) => Ok(metadata.as_json().clone()),
        Patch::Keep if door == Door::Merge => Ok(before.metadata.clone()),
        Patch::Keep | Patch::Clear => Ok(Json::default()),
    }
}

/// Who looks after the customer and which login it has. Who sees only a part of the customers keeps these fields by
/// leaving them out of a replacement, because clearing them would put the customer out of sight.
fn assignment(
    after: &mut Customer,
    before: &Customer,
    input: &CustomerInput,
    door: Door,
    by: &Principal,
    setting: &Setting<'_>,
    errors: &mut FieldErrors,
) {
    let restricted = by.visibility != Visibility::All;
    let door = if restricted && door == Door::Replace { Door::Merge } else { door };
    after.owner_id = merged_option(&input.owner_id, before.owner_id, door);
    after.team_id = merged_option(&input.team_id, before.team_id, door);
    after.user_id = merged_option(&input.user_id, before.user_id, door);
    if door == Door::Create && by.visibility == Visibility::Team {
        if let (Patch::Keep, Actor::User(user)) = (&input.owner_id, by.actor) {
            after.owner_id = Some(user);
        }
        if !input.team_id.is_given() {
            after.team_id = by.team;
        }
    }
    let known = setting.known;
    let named = |user: Option<UserId>, old: Option<UserId>| user.filter(|_| user != old);
    if named(after.owner_id, before.owner_id)
        .is_some_and(|owner| by.actor != Actor::User(owner) && !known.staff.contains(&owner))
    {
        errors.add("owner_id", "NOT_FOUND", "is no member of the organization's staff");
    }
    if after.team_id != before.team_id
        && after.team_id.is_some_and(|team| by.team != Some(team) && !known.teams.contains(&team))
    {
        errors.add("team_id", "NOT_FOUND", "is no team of the organization");
    }
    if named(after.user_id, before.user_id).is_some_and(|user| !known.logins.contains(&user)) {
        errors.add("user_id", "NOT_FOUND", "is no login of a customer of the organization");
    }
}

impl Customer {
    /// The static groups that the customer is in.
    pub(crate) fn groups(&self) -> impl Iterator<Item = Uuid> {
        self.group_ids.iter().filter_map(|id| id.parse().ok())
    }
}

impl CustomerInput {
    /// The contact points that the input names, as far as they can be read.
    pub(crate) fn keys(&self, country: Option<Country>) -> BTreeSet<ContactKey> {
        let emails = self.email.value().into_iter().chain(self.emails.value().into_iter().flatten());
        let phones = self.phone.value().into_iter().chain(self.phones.value().into_iter().flatten());
        emails
            .map(ContactKey::email)
            .chain(phones.filter_map(|phone| phone.resolve(country).ok()).map(|phone| ContactKey::phone(&phone)))
            .chain(self.user_id.value().map(|user| ContactKey::user(*user)))
            .collect()
    }
}

/// The address or number by which an upsert finds the customer it means: the e-mail, else the phone.
pub(crate) fn upsert_key(input: &CustomerInput, country: Option<Country>) -> Option<ContactKey> {
    input.email.value().map(ContactKey::email).or_else(|| {
        let phone = input.phone.value()?.resolve(country).ok()?;
        Some(ContactKey::phone(&phone))
    })
}

/// The fields in which two states of a customer differ, with their values, for the audit trail.
pub(crate) fn differences(
    before: Option<&Customer>,
    after: Option<&Customer>,
) -> (Option<serde_json::Value>, Option<serde_json::Value>) {
    let object = |customer: Option<&Customer>| match customer.map(serde_json::to_value) {
        Some(Ok(serde_json::Value::Object(mut members))) => {
            for name in ["id", "organization_id", "version", "created_at", "updated_at"] {
                members.remove(name);
            }
            Some(members)
        }
        _ => None,
    };
    let (mut old, mut new) = (object(before), object(after));
    if let (Some(old), Some(new)) = (&mut old, &mut new) {
        old.retain(|name, value| match new.get(name) {
            Some(other) if other == value => {
                new.remove(name);
                false
            }
            _ => true,
        });
    }
    let or_nothing =
        |members: Option<serde_json::Map<String, serde_json::Value>>| members.map(serde_json::Value::Object);
    (or_nothing(old), or_nothing(new))
}

#[cfg(test)]
mod tests;
