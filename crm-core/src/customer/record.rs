use std::{fmt, str::FromStr};

use serde::Serialize;

use super::consent::Consents;
use crate::{
    access::{Actor, Principal, Visibility},
    contact::{Email, Phone},
    field::CustomValues,
    id::{CustomerId, TeamId, UserId},
    record::{Meta, Record},
    repo::Visible,
    store::{Filter, Json, Money},
    text::Line,
    time::Timestamp,
};

/// A person or a business that the organization serves.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "id": "0198c1de-5f00-7000-8000-000000000001", "name": "Amélie Poulain", "email": "amelie@example.com", "emails": [],
    "phone": "+33142685300", "phones": [], "status": "active", "type": "vip", "tags": ["newsletter"], "group_ids": [],
    "spend": 1249.5, "visits": 12, "last_active": "2026-01-30T17:05:00.000Z", "total_orders": 0,
    "total_order_value": 0, "last_order_date": null, "total_complaints": 0, "open_complaints": 0, "user_id": null,
    "consent": {"email": {"granted": true, "at": "2026-01-02T10:00:00.000Z", "source": "web form"}},
    "custom": {"city": "Paris"}, "metadata": {}, "owner_id": null, "team_id": null,
    "organization_id": "0198c1de-5f00-7000-8000-0000000000aa", "version": 3,
    "created_at": "2026-01-02T10:00:00.000Z", "updated_at": "2026-01-30T17:05:00.000Z"
})))]
#[record(
    collection = "customers",
    search(name, email, phone, emails, phones),
    index(-created_at),
    index(name),
    index(-spend, covers(visits, active_at, total_orders, status, deleted_at)),
    index(-last_active),
    index(status, -created_at),
    index(owner_id, -created_at),
    index(team_id, -created_at),
    index(active_at, covers(visits, spend, total_orders, status, deleted_at)),
    index(tags, -created_at),
    index(group_ids, -created_at),
    index(deleted_at),
    index(covers(status, type, deleted_at))
)]
pub struct Customer {
    /// The customer's id.
    pub id: CustomerId,
    /// The full name.
    #[record(folded)]
    pub name: Line<200>,
    /// The main e-mail address, in lower case; no other customer of the organization has it.
    #[record(folded)]
    pub email: Option<Email>,
    /// Further e-mail addresses, under the same duplicate rule.
    pub emails: Vec<String>,
    /// The main phone number in E.164 form.
    #[record(folded)]
    pub phone: Option<Phone>,
    /// Further phone numbers, under the same duplicate rule.
    pub phones: Vec<String>,
    /// Whether the customer is served.
    pub status: CustomerStatus,
    /// One of the organization's types: `regular`, `vip` and `wholesale` where it has no list of its own.
    pub r#type: String,
    /// Labels, in the order given, each once.
    pub tags: Vec<String>,
    /// The static groups that the customer is in.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<uuid::Uuid>))]
    pub group_ids: Vec<String>,
    /// What the customer has spent: an opening amount and the orders since.
    pub spend: Money,
    /// How often the customer has been here: an opening number and the orders since.
    pub visits: i64,
    /// The part of `spend` that was brought along and is in no order here.
    #[serde(skip)]
    pub opening_spend: Money,
    /// The part of `visits` that was brought along and is in no order here.
    #[serde(skip)]
    pub opening_visits: i64,
    /// When the customer last did something.
    pub last_active: Option<Timestamp>,
    /// `last_active` without the orders: what they do not take back when they are called off. Absent where it was never
    /// said, and in records from before there were orders.
    #[serde(skip)]
    pub opening_last_active: Option<Timestamp>,
    /// The part of `total_orders` that is in no order here.
    #[serde(skip)]
    pub opening_orders: Option<i64>,
    /// The part of `total_order_value` that is in no order here.
    #[serde(skip)]
    pub opening_order_value: Option<Money>,
    /// When the last order was that is none here.
    #[serde(skip)]
    pub opening_last_order_date: Option<Timestamp>,
    /// `last_active`, or `created_at` where there is none: what `inactive_days` counts from.
    #[serde(skip)]
    pub active_at: Timestamp,
    /// How many orders there are.
    pub total_orders: i64,
    /// What the orders come to.
    pub total_order_value: Money,
    /// When the last order was.
    pub last_order_date: Option<Timestamp>,
    /// How many complaints there have been.
    pub total_complaints: i64,
    /// How many of them are open.
    pub open_complaints: i64,
    /// The login that the record belongs to.
    pub user_id: Option<UserId>,
    /// What the customer has agreed to, for each channel.
    pub consent: Consents,
    /// Values of the organization's custom fields.
    #[record(custom)]
    pub custom: CustomValues,
    /// Free-form JSON of the caller's own.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub metadata: Json,
    /// The member of staff who looks after the customer.
    pub owner_id: Option<UserId>,
    /// The team that looks after the customer.
    pub team_id: Option<TeamId>,
    /// When the customer was deleted; only in the bin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// Version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

/// Whether a customer is served.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CustomerStatus {
    /// Is served.
    #[default]
    Active,
    /// Has left, or rests.
    Inactive,
    /// Is not to be served.
    Blocked,
}

impl CustomerStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Active, Self::Inactive, Self::Blocked];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Blocked => "blocked",
        }
    }
}

impl fmt::Display for CustomerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl AsRef<str> for CustomerStatus {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

/// There is no status of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of active, inactive, blocked")]
pub struct UnknownStatus;

impl FromStr for CustomerStatus {
    type Err = UnknownStatus;

    fn from_str(name: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|status| status.name() == name).ok_or(UnknownStatus)
    }
}

crate::text_field_type!(CustomerStatus);

/// The types of an organization that has no list of its own; the first is what a new customer gets.
pub const DEFAULT_TYPES: [&str; 3] = ["regular", "vip", "wholesale"];

impl Customer {
    /// A customer about whom nothing is known but the name.
    #[must_use]
    pub fn blank(id: CustomerId, name: Line<200>, meta: Meta) -> Self {
        Self {
            id,
            name,
            email: None,
            emails: Vec::new(),
            phone: None,
            phones: Vec::new(),
            status: CustomerStatus::default(),
            r#type: DEFAULT_TYPES[0].to_owned(),
            tags: Vec::new(),
            group_ids: Vec::new(),
            spend: Money::ZERO,
            visits: 0,
            opening_spend: Money::ZERO,
            opening_visits: 0,
            last_active: None,
            opening_last_active: None,
            opening_orders: None,
            opening_order_value: None,
            opening_last_order_date: None,
            active_at: meta.created_at,
            total_orders: 0,
            total_order_value: Money::ZERO,
            last_order_date: None,
            total_complaints: 0,
            open_complaints: 0,
            user_id: None,
            consent: Consents::default(),
            custom: CustomValues::default(),
            metadata: Json::default(),
            owner_id: None,
            team_id: None,
            deleted_at: None,
            meta,
        }
    }

    /// Which customers, deleted ones among them, the principal reaches.
    #[must_use]
    pub fn reach_of(principal: &Principal) -> Filter {
        let user = match principal.actor {
            Actor::User(user) => Some(user),
            Actor::ApiKey(_) | Actor::Service | Actor::System => None,
        };
        match principal.visibility {
            Visibility::All => Filter::ALL,
            Visibility::Team => {
                let team = principal.team.map(|team| Self::team_id.equals(team));
                let own = user.map(|user| Self::owner_id.equals(user));
                Filter::Or(team.into_iter().chain(own).collect())
            }
            Visibility::Own => user.map_or(Filter::NONE, |user| Self::user_id.equals(user)),
        }
    }

    /// The same for one customer at hand.
    #[must_use]
    pub fn is_reached_by(&self, principal: &Principal) -> bool {
        let user = match principal.actor {
            Actor::User(user) => Some(user),
            Actor::ApiKey(_) | Actor::Service | Actor::System => None,
        };
        match principal.visibility {
            Visibility::All => true,
            Visibility::Team => {
                (principal.team.is_some() && self.team_id == principal.team)
                    || (user.is_some() && self.owner_id == user)
            }
            Visibility::Own => user.is_some() && self.user_id == user,
        }
    }
}

impl Visible for Customer {
    /// What the principal's visibility reaches, the bin left out.
    fn visible_to(principal: &Principal) -> Filter {
        Self::reach_of(principal).and(Self::deleted_at.missing())
    }
}
