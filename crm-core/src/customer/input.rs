use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{consent::ConsentChange, metadata::Metadata, record::CustomerStatus};
use crate::{
    contact::{Email, PhoneInput},
    error::FieldErrors,
    id::{TeamId, UserId},
    input::{FromInput, Input, Members, Patch},
    store::Money,
    text::Line,
    time::Timestamp,
};

/// A customer has at most so many tags.
pub const MAX_TAGS: usize = 100;
/// A customer is in at most so many static groups.
pub const MAX_GROUPS: usize = 100;
/// A customer has at most so many further e-mail addresses, and as many further phones.
pub const MAX_CONTACTS: usize = 50;
/// A customer's consent is kept for at most so many channels.
pub(crate) const MAX_CHANNELS: usize = 30;

/// What only the CRM sets: ignored when a record is sent back, refused when one is created.
const READ_ONLY: [&str; 11] = [
    "id",
    "organization_id",
    "version",
    "created_at",
    "updated_at",
    "deleted_at",
    "total_orders",
    "total_order_value",
    "last_order_date",
    "total_complaints",
    "open_complaints",
];

/// What a caller says of a customer. What a field that is not named means depends on the door: a new customer and a
/// replaced one get its default, a patched one keeps what it has.
///
/// Fields that cannot be read are remembered instead of failing at once, so that the answer lists them together with
/// those that only the organization's settings show to be wrong.
#[derive(Clone, Debug, Default)]
pub struct CustomerInput {
    /// See [`super::Customer::name`].
    pub name: Patch<Line<200>>,
    /// See [`super::Customer::email`].
    pub email: Patch<Email>,
    /// See [`super::Customer::emails`].
    pub emails: Patch<Vec<Email>>,
    /// See [`super::Customer::phone`]; national forms are read with the organization's country.
    pub phone: Patch<PhoneInput>,
    /// See [`super::Customer::phones`].
    pub phones: Patch<Vec<PhoneInput>>,
    /// See [`super::Customer::status`].
    pub status: Patch<CustomerStatus>,
    /// See [`super::Customer::type`].
    pub r#type: Patch<Line<64>>,
    /// See [`super::Customer::tags`].
    pub tags: Patch<Vec<Line<64>>>,
    /// Tags to be added to those the customer has.
    pub add_tags: Vec<Line<64>>,
    /// Tags to be taken away, before others are added.
    pub remove_tags: Vec<Line<64>>,
    /// See [`super::Customer::group_ids`].
    pub group_ids: Patch<Vec<uuid::Uuid>>,
    /// What `spend` is to be; the same as `opening_spend` while there are no orders.
    pub spend: Patch<Money>,
    /// See [`super::Customer::opening_spend`].
    pub opening_spend: Patch<Money>,
    /// What `visits` is to be; the same as `opening_visits` while there are no orders.
    pub visits: Patch<i64>,
    /// See [`super::Customer::opening_visits`].
    pub opening_visits: Patch<i64>,
    /// See [`super::Customer::last_active`].
    pub last_active: Patch<Timestamp>,
    /// See [`super::Customer::user_id`].
    pub user_id: Patch<UserId>,
    /// What changes in [`super::Customer::consent`], channel by channel; `None` forgets a channel.
    pub consent: Patch<BTreeMap<String, Option<ConsentChange>>>,
    /// Values of custom fields, to be checked against their declarations.
    pub custom: Patch<Box<RawValue>>,
    /// See [`super::Customer::metadata`].
    pub metadata: Patch<Metadata>,
    /// See [`super::Customer::owner_id`].
    pub owner_id: Patch<UserId>,
    /// See [`super::Customer::team_id`].
    pub team_id: Patch<TeamId>,
    /// Static groups to be added to, and taken from, those the customer is in.
    pub(crate) add_groups: Vec<uuid::Uuid>,
    pub(crate) remove_groups: Vec<uuid::Uuid>,
    /// Whether the login in `user_id` may be one of another service.
    pub(crate) login_elsewhere: bool,
    /// What could not be read.
    pub(crate) wrong: FieldErrors,
}

/// The fields a caller may give, as the answer to an unknown one lists them.
const ALLOWED: [&str; 22] = [
    "name",
    "email",
    "emails",
    "phone",
    "phones",
    "status",
    "type",
    "tags",
    "add_tags",
    "remove_tags",
    "group_ids",
    "spend",
    "opening_spend",
    "visits",
    "opening_visits",
    "last_active",
    "user_id",
    "consent",
    "custom",
    "metadata",
    "owner_id",
    "team_id",
];

impl CustomerInput {
    fn read(mut members: Members<'_>, mut wrong: FieldErrors) -> Self {
        let errors = &mut wrong;
        let input = Self {
            name: field(&mut members, &["name", "full_name"], errors),
            email: field(&mut members, &["email"], errors),
            emails: list(&mut members, "emails", MAX_CONTACTS, errors),
            phone: field(&mut members, &["phone", "contact_number"], errors),
            phones: list(&mut members, "phones", MAX_CONTACTS, errors),
            status: field(&mut members, &["status", "customer_status"], errors),
            r#type: field(&mut members, &["type", "customer_type"], errors),
            tags: list(&mut members, "tags", MAX_TAGS, errors),
            add_tags: given(list(&mut members, "add_tags", MAX_TAGS, errors)),
            remove_tags: given(list(&mut members, "remove_tags", MAX_TAGS, errors)),
            group_ids: list(&mut members, "group_ids", MAX_GROUPS, errors),
            spend: at_least_nothing(field(&mut members, &["spend"], errors), "spend", errors),
            opening_spend: at_least_nothing(field(&mut members, &["opening_spend"], errors), "opening_spend", errors),
            visits: at_least_nothing(field(&mut members, &["visits"], errors), "visits", errors),
            opening_visits: at_least_nothing(
                field(&mut members, &["opening_visits"], errors),
                "opening_visits",
                errors,
            ),
            last_active: field(&mut members, &["last_active"], errors),
            user_id: field(&mut members, &["user_id"], errors),
            consent: match field::<ConsentInput>(&mut members, &["consent"], errors) {
                Patch::Keep => Patch::Keep,
                Patch::Clear => Patch::Clear,
                Patch::Set(consent) => Patch::Set(consent.0),
            },
            custom: field(&mut members, &["custom"], errors),
            metadata: field(&mut members, &["metadata"], errors),
            owner_id: field(&mut members, &["owner_id"], errors),
            team_id: field(&mut members, &["team_id"], errors),
            add_groups: Vec::new(),
            remove_groups: Vec::new(),
            login_elsewhere: false,
            wrong: FieldErrors::new(),
        };
        members.finish(&ALLOWED, &mut wrong);
        Self { wrong, ..input }
    }

    /// Reads a row of a file, written as the JSON object that a caller of the API would have sent. `wrong` is what could
    /// not be written so.
    pub(super) fn of_row(text: &str, wrong: &FieldErrors) -> Self {
        let mut wrong = wrong.clone();
        let members = serde_json::from_str::<&RawValue>(text)
            .map_err(|error| FieldErrors::one("", "INVALID_FORMAT", format!("cannot be read: {error}")))
            .and_then(Members::parse);
        match members {
            Ok(members) => Self::read(members, wrong),
            Err(errors) => {
                wrong.extend_under("", errors);
                Self { wrong, ..Self::default() }
            }
        }
    }

    /// What could not be read; empty where everything could.
    #[must_use]
    pub const fn wrong(&self) -> &FieldErrors {
        &self.wrong
    }

    /// With only a name.
    #[must_use]
    pub fn named(name: Line<200>) -> Self {
        Self { name: Patch::Set(name), ..Self::default() }
    }

    /// The length of the parts that have no small bound of their own.
    pub(crate) fn free_bytes(&self) -> usize {
        let custom = self.custom.value().map_or(0, |custom| custom.get().len());
        custom + self.metadata.value().map_or(0, |metadata| metadata.as_json().as_str().len())
    }

    /// Whether nothing at all is said.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        let given = [
            self.name.is_given(),
            self.email.is_given(),
            self.emails.is_given(),
            self.phone.is_given(),
            self.phones.is_given(),
            self.status.is_given(),
            self.r#type.is_given(),
            self.tags.is_given(),
            !self.add_tags.is_empty(),
            !self.remove_tags.is_empty(),
            self.group_ids.is_given(),
            self.spend.is_given(),
            self.opening_spend.is_given(),
            self.visits.is_given(),
            self.opening_visits.is_given(),
            self.last_active.is_given(),
            self.user_id.is_given(),
            self.consent.is_given(),
            self.custom.is_given(),
            self.metadata.is_given(),
            self.owner_id.is_given(),
            self.team_id.is_given(),
        ];
        self.wrong.is_empty() && !given.contains(&true)
    }
}

/// What is already stored may be sent back: fields that only the CRM sets are ignored.
impl FromInput for CustomerInput {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let mut members = Members::parse(json)?;
        members.ignore(&READ_ONLY);
        Ok(Self::read(members, FieldErrors::new()))
    }
}

/// What a caller says of a customer that is to be created: fields that only the CRM sets are refused.
#[derive(Clone, Debug, Default)]
pub struct NewCustomer(pub CustomerInput);

impl FromInput for NewCustomer {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let mut members = Members::parse(json)?;
        let mut wrong = FieldErrors::new();
        members.refuse(&READ_ONLY, &mut wrong);
        Ok(Self(CustomerInput::read(members, wrong)))
    }
}

/// What customers may say of themselves.
#[derive(Clone, Debug, Default)]
pub struct OwnProfileInput(pub(crate) CustomerInput);

impl FromInput for OwnProfileInput {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let mut members = Members::parse(json)?;
        let mut wrong = FieldErrors::new();
        members.ignore(&READ_ONLY);
        let errors = &mut wrong;
        let input = CustomerInput {
            name: field(&mut members, &["name", "full_name"], errors),
            phone: field(&mut members, &["phone", "contact_number"], errors),
            consent: match field::<ConsentInput>(&mut members, &["consent"], errors) {
                Patch::Keep => Patch::Keep,
                Patch::Clear => Patch::Clear,
                Patch::Set(consent) => Patch::Set(consent.0),
            },
            custom: field(&mut members, &["custom"], errors),
            ..CustomerInput::default()
        };
        members.finish(&["name", "phone", "consent", "custom"], &mut wrong);
        Ok(Self(CustomerInput { wrong, ..input }))
    }
}

impl FromInput for CustomerStatus {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let text = String::from_input(json)?;
        text.parse()
            .map_err(|error: super::record::UnknownStatus| FieldErrors::one("", "INVALID_CHOICE", error.to_string()))
    }
}

fn field<T: FromInput>(members: &mut Members<'_>, names: &[&str], errors: &mut FieldErrors) -> Patch<T> {
    members.read::<Patch<T>>(names, errors).unwrap_or_default()
}

fn list<T: FromInput>(
    members: &mut Members<'_>,
    name: &str,
    maximum: usize,
    errors: &mut FieldErrors,
) -> Patch<Vec<T>> {
    let Some(raw) = members.read::<Patch<Vec<Box<RawValue>>>>(&[name], errors) else { return Patch::Keep };
    let raw = match raw {
        Patch::Set(raw) => raw,
        Patch::Clear => return Patch::Clear,
        Patch::Keep => return Patch::Keep,
    };
    if raw.len() > maximum {
        errors.add(name, "TOO_MANY", format!("must have at most {maximum} elements, not {}", raw.len()));
        return Patch::Keep;
    }
    let read: Vec<T> = raw
        .iter()
        .enumerate()
        .filter_map(|(position, item)| errors.take(&format!("{name}[{position}]"), T::from_input(item)))
        .collect();
    if read.len() == raw.len() { Patch::Set(read) } else { Patch::Keep }
}

fn given<T>(list: Patch<Vec<T>>) -> Vec<T> {
    match list {
        Patch::Set(list) => list,
        Patch::Keep | Patch::Clear => Vec::new(),
    }
}

fn at_least_nothing<T: Default + PartialOrd>(amount: Patch<T>, name: &str, errors: &mut FieldErrors) -> Patch<T> {
    if amount.value().is_some_and(|amount| *amount < T::default()) {
        errors.add(name, "OUT_OF_RANGE", "must not be less than 0");
        return Patch::Keep;
    }
    amount
}

/// `{"email": true, "sms": {"granted": false, "source": "call"}, "push": null}`.
#[derive(Debug)]
struct ConsentInput(BTreeMap<String, Option<ConsentChange>>);

#[derive(Debug, Input)]
struct ConsentMember {
    granted: bool,
    at: Option<Timestamp>,
    source: Option<Line<100>>,
}

impl FromInput for ConsentInput {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let members = Members::parse(json)?.into_rest();
        if members.len() > MAX_CHANNELS {
            return Err(FieldErrors::one("", "TOO_MANY", format!("must name at most {MAX_CHANNELS} channels")));
        }
        let mut errors = FieldErrors::new();
        let mut channels = BTreeMap::new();
        for (channel, json) in members {
            if !is_channel(&channel) {
                let channel: String = channel.chars().take(70).collect();
                let message = "is not a channel: a channel is 1 to 32 of a-z, 0-9, - and _, and begins with a letter; \
                               a topic may follow it after a colon, as in email:offers";
                errors.add(channel, "INVALID_FORMAT", message);
                continue;
            }
            let change = match json.get() {
                "null" => Ok(None),
                "true" | "false" => Ok(Some(ConsentChange { granted: json.get() == "true", at: None, source: None })),
                text if text.starts_with('{') => ConsentMember::from_input(json).map(|member| {
                    let ConsentMember { granted, at, source } = member;
                    Some(ConsentChange { granted, at, source: source.map(String::from) })
                }),
                _ => Err(FieldErrors::one("", "INVALID_TYPE", "must be true, false, null or an object with `granted`")),
            };
            if let Some(change) = errors.take(&channel, change) {
                channels.insert(channel.into_owned(), change);
            }
        }
        errors.or(Self(channels))
    }
}

/// Whether consent can be kept under the name: that of a channel, or of one of its topics (`email:offers`).
fn is_channel(name: &str) -> bool {
    match name.split_once(':') {
        Some((channel, topic)) => is_name(channel) && is_name(topic),
        None => is_name(name),
    }
}

/// Whether consent can be kept for a channel, or a topic, of that name.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
}
