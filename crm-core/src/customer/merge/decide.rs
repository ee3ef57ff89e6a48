//! What becomes of two customers who are one.

use std::collections::{BTreeMap, HashSet};

use serde_json::{json, value::RawValue};

use super::{
    input::{FieldChoices, Side},
    record::{Added, FieldDifference},
};
use crate::{
    contact::Phone,
    customer::{Consents, Customer, MAX_CONTACTS, MAX_GROUPS, MAX_METADATA_BYTES, MAX_TAGS},
    error::{Error, Result},
    order,
    store::{Json, Money},
    time::Timestamp,
};

/// The two as they are to be.
#[derive(Clone, Debug)]
pub(super) struct Merged {
    pub(super) kept: Customer,
    pub(super) duplicate: Customer,
    pub(super) differences: Vec<FieldDifference>,
    pub(super) added: Added,
}

/// Fields of which lists are united and figures added: taking back a merge treats them by themselves.
pub(super) const UNITED: [&str; 16] = [
    "emails",
    "phones",
    "tags",
    "group_ids",
    "spend",
    "visits",
    "opening_spend",
    "opening_visits",
    "opening_orders",
    "opening_order_value",
    "total_orders",
    "total_order_value",
    "last_order_date",
    "total_complaints",
    "open_complaints",
    "active_at",
];

struct Taking<'a> {
    choices: &'a FieldChoices,
    differences: Vec<FieldDifference>,
}

impl Taking<'_> {
    /// The value of one of the two: as was chosen, else the kept one's, else whatever there is.
    fn one<T: Clone + PartialEq + serde::Serialize>(
        &mut self,
        field: &str,
        kept: Option<&T>,
        duplicate: Option<&T>,
    ) -> Option<T> {
        if kept == duplicate {
            return kept.cloned();
        }
        let side = self.choices.of(field).unwrap_or(if kept.is_some() { Side::Kept } else { Side::Duplicate });
        let (value, taken) = match side {
            Side::Kept if kept.is_none() => (duplicate, Side::Duplicate),
            Side::Duplicate if duplicate.is_none() => (kept, Side::Kept),
            Side::Kept => (kept, Side::Kept),
            Side::Duplicate => (duplicate, Side::Duplicate),
        };
        let shown = |value: Option<&T>| value.map_or(serde_json::Value::Null, |value| json!(value));
        let difference =
            FieldDifference { field: field.to_owned(), kept: shown(kept), duplicate: shown(duplicate), taken };
        self.differences.push(difference);
        value.cloned()
    }

    /// The members of both objects.
    fn members(&mut self, field: &str, kept: &Json, duplicate: &Json) -> Json {
        let read = |json: &Json| -> BTreeMap<String, Box<RawValue>> {
            let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json.as_str()).unwrap_or_default();
            members.retain(|_, value| value.get() != "null");
            members
        };
        let (kept, duplicate) = (read(kept), read(duplicate));
        let mut parts = Vec::new();
        let mut names: Vec<&String> = kept.keys().chain(duplicate.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let own = kept.get(name).map(|value| Written(value));
            let other = duplicate.get(name).map(|value| Written(value));
            if let Some(value) = self.one(&format!("{field}.{name}"), own.as_ref(), other.as_ref()) {
                // A name can always be written as JSON.
                parts.push(format!("{}:{}", serde_json::to_string(name).unwrap_or_default(), value.0.get()));
            }
        }
        Json::from_trusted(format!("{{{}}}", parts.join(",")))
    }
}

/// JSON as it is written.
#[derive(Clone, Copy, serde::Serialize)]
#[serde(transparent)]
struct Written<'a>(&'a RawValue);

impl PartialEq for Written<'_> {
    fn eq(&self, other: &Self) -> bool {
        crate::customer::meaning::same(self.0.get(), other.0.get())
    }
}

/// Everything of both lists, each once; `same` tells what is the same.
fn united<'a, K: Eq + std::hash::Hash>(
    lists: impl IntoIterator<Item = &'a String>,
    except: Option<K>,
    same: impl Fn(&str) -> K,
) -> Vec<String> {
    let mut seen: HashSet<K> = except.into_iter().collect();
    lists.into_iter().filter(|text| seen.insert(same(text))).cloned().collect()
}

fn match_key(phone: &str) -> String {
    Phone::parse(phone, None).map_or_else(|_| phone.to_owned(), |phone| phone.match_key())
}

/// Of each channel what lets less be sent: a refusal before an agreement. Of two that say the same, the earlier refusal and
/// the later agreement.
fn stricter(one: &Consents, other: &Consents) -> Consents {
    let mut channels = one.0.clone();
    for (channel, theirs) in &other.0 {
        match channels.get(channel) {
            Some(own) => {
                let takes_theirs = match (own.granted, theirs.granted) {
                    (true, false) => true,
                    (false, true) => false,
                    (true, true) => theirs.at > own.at,
                    (false, false) => theirs.at < own.at,
                };
                if takes_theirs {
                    channels.insert(channel.clone(), theirs.clone());
                }
            }
            None => {
                channels.insert(channel.clone(), theirs.clone());
            }
        }
    }
    Consents(channels)
}

fn sum(one: Money, other: Money, field: &'static str) -> Result<Money> {
    one.checked_add(other).ok_or_else(|| Error::Conflict(format!("The two customers' {field} is too much for one.")))
}

/// What two figures come to of which either may be missing.
fn both<T: Default>(one: Option<T>, other: Option<T>, add: impl FnOnce(T, T) -> Result<T>) -> Result<Option<T>> {
    if one.is_none() && other.is_none() {
        return Ok(None);
    }
    add(one.unwrap_or_default(), other.unwrap_or_default()).map(Some)
}

/// The two after the merge.
///
/// # Errors
/// [`Error::Conflict`] where both together have more than one customer can have.
pub(super) fn merge(kept: &Customer, duplicate: &Customer, choices: &FieldChoices, now: Timestamp) -> Result<Merged> {
    let mut taking = Taking { choices, differences: Vec::new() };
    let name = taking.one("name", Some(&kept.name), Some(&duplicate.name)).unwrap_or_else(|| kept.name.clone());
    let email = taking.one("email", kept.email.as_ref(), duplicate.email.as_ref());
    let phone = taking.one("phone", kept.phone.as_ref(), duplicate.phone.as_ref());
    let status = taking.one("status", Some(&kept.status), Some(&duplicate.status)).unwrap_or_default();
    let r#type = taking.one("type", Some(&kept.r#type), Some(&duplicate.r#type)).unwrap_or_else(|| kept.r#type.clone());
    let user_id = taking.one("user_id", kept.user_id.as_ref(), duplicate.user_id.as_ref());
    let owner_id = taking.one("owner_id", kept.owner_id.as_ref(), duplicate.owner_id.as_ref());
    let team_id = taking.one("team_id", kept.team_id.as_ref(), duplicate.team_id.as_ref());
    let custom = taking.members("custom", kept.custom.as_json(), duplicate.custom.as_json());
    let metadata = taking.members("metadata", &kept.metadata, &duplicate.metadata);

    let main_email = |customer: &Customer| customer.email.as_ref().map(|email| email.as_str().to_owned());
    let main_phone = |customer: &Customer| customer.phone.as_ref().map(|phone| phone.as_str().to_owned());
    let mains: Vec<String> = [main_email(kept), main_email(duplicate)].into_iter().flatten().collect();
    let emails = united(
        kept.emails.iter().chain(&mains).chain(&duplicate.emails),
        email.as_ref().map(|email| email.as_str().to_owned()),
        str::to_owned,
    );
    let mains: Vec<String> = [main_phone(kept), main_phone(duplicate)].into_iter().flatten().collect();
    let phones = united(
        kept.phones.iter().chain(&mains).chain(&duplicate.phones),
        phone.as_ref().map(Phone::match_key),
        match_key,
    );
    let tags = united(kept.tags.iter().chain(&duplicate.tags), None, str::to_owned);
    let group_ids = united(kept.group_ids.iter().chain(&duplicate.group_ids), None, str::to_owned);
    for (field, found, most) in [
        ("e-mails", emails.len(), MAX_CONTACTS),
        ("phones", phones.len(), MAX_CONTACTS),
        ("tags", tags.len(), MAX_TAGS),
        ("groups", group_ids.len(), MAX_GROUPS),
        ("bytes of metadata", metadata.as_str().len(), MAX_METADATA_BYTES),
    ] {
        if found > most {
            let message = format!("Together the two have {found} {field}, and a customer has at most {most}.");
            return Err(Error::Conflict(message));
        }
    }
    let last_active = kept.last_active.max(duplicate.last_active);
    let new = |after: &[String], before: &[String]| -> Vec<String> {
        after.iter().filter(|text| !before.contains(text)).cloned().collect()
    };
    let added = Added {
        emails: new(&emails, &kept.emails),
        phones: new(&phones, &kept.phones),
        tags: new(&tags, &kept.tags),
        group_ids: new(&group_ids, &kept.group_ids),
    };
    let after =
        Customer {
            name,
            email,
            emails,
            phone,
            phones,
            status,
            r#type,
            tags,
            group_ids,
            spend: sum(kept.spend, duplicate.spend, "spend")?,
            visits: kept.visits.saturating_add(duplicate.visits),
            opening_spend: sum(kept.opening_spend, duplicate.opening_spend, "opening_spend")?,
            opening_visits: kept.opening_visits.saturating_add(duplicate.opening_visits),
            opening_orders: both(kept.opening_orders, duplicate.opening_orders, |one, other| {
                Ok(one.saturating_add(other))
            })?,
            opening_order_value: both(kept.opening_order_value, duplicate.opening_order_value, |one, other| {
                sum(one, other, "total_order_value")
            })?,
            opening_last_order_date: kept.opening_last_order_date.max(duplicate.opening_last_order_date),
            opening_last_active: order::earlier_active(kept).max(order::earlier_active(duplicate)),
            last_active,
            active_at: last_active.unwrap_or(kept.meta.created_at),
            total_orders: kept.total_orders.saturating_add(duplicate.total_orders),
            total_order_value: sum(kept.total_order_value, duplicate.total_order_value, "total_order_value")?,
            last_order_date: kept.last_order_date.max(duplicate.last_order_date),
            total_complaints: kept.total_complaints.saturating_add(duplicate.total_complaints),
            open_complaints: kept.open_complaints.saturating_add(duplicate.open_complaints),
            user_id,
            consent: stricter(&kept.consent, &duplicate.consent),
            custom: custom.into(),
            metadata,
            owner_id,
            team_id,
            ..kept.clone()
        };
    // Nothing points to the duplicate any more, so that its figures are those that it was brought with.
    let rest = Customer {
        spend: duplicate.opening_spend,
        visits: duplicate.opening_visits,
        total_orders: duplicate.opening_orders.unwrap_or(0),
        total_order_value: duplicate.opening_order_value.unwrap_or_default(),
        last_order_date: duplicate.opening_last_order_date,
        total_complaints: 0,
        open_complaints: 0,
        deleted_at: Some(now),
        ..duplicate.clone()
    };
    Ok(Merged { kept: after, duplicate: rest, differences: taking.differences, added })
}
