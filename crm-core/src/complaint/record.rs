use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    access::{Actor, Principal, Visibility},
    error::FieldErrors,
    id::{CustomerId, TeamId, UserId},
    input::{FromInput, Input, Patch, text},
    record::{Meta, Record, named_types},
    repo::Visible,
    store::Filter,
    text::{Line, Text},
    time::Timestamp,
};

crate::record_ids! {
    /// A complaint.
    ComplaintId,
}

/// What a customer is not content with.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "id": "0198c1de-5f00-7000-8000-000000000031", "customer_id": "0198c1de-5f00-7000-8000-000000000001",
    "subject": "Parcel arrived open", "description": "Two of six cups are broken.", "status": "in_progress",
    "priority": "high", "resolution": null, "resolved_at": null, "assigned_to": null,
    "organization_id": "0198c1de-5f00-7000-8000-0000000000aa", "version": 2,
    "created_at": "2026-01-30T09:00:00.000Z", "updated_at": "2026-01-30T10:15:00.000Z"
})))]
#[record(
    collection = "complaints",
    search(subject, description),
    index(-created_at),
    index(customer_id, -created_at),
    index(status, -created_at),
    index(assigned_to, -created_at),
    index(owner_id, -created_at),
    index(team_id, -created_at)
)]
pub struct Complaint {
    /// The complaint's id.
    pub id: ComplaintId,
    /// Who complains.
    pub customer_id: CustomerId,
    /// What it is about, in a line.
    #[record(folded)]
    pub subject: Line<200>,
    /// What the customer says.
    #[record(folded)]
    pub description: Option<Text<10000>>,
    /// How far it is.
    pub status: ComplaintStatus,
    /// How much it presses.
    pub priority: Option<ComplaintPriority>,
    /// What came of it.
    pub resolution: Option<Text<10000>>,
    /// When it was resolved, or closed without that; absent while it is open.
    pub resolved_at: Option<Timestamp>,
    /// The member of staff who sees to it.
    pub assigned_to: Option<UserId>,
    /// Who looks after the customer: kept here too, so that a list of complaints in sight has an index.
    #[serde(skip)]
    pub owner_id: Option<UserId>,
    /// The team that looks after the customer.
    #[serde(skip)]
    pub team_id: Option<TeamId>,
    /// Version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

impl Visible for Complaint {
    /// The complaints of the customers that the principal's visibility reaches.
    fn visible_to(principal: &Principal) -> Filter {
        match principal.visibility {
            Visibility::All => Filter::ALL,
            Visibility::Team => {
                let team = principal.team.map(|team| Self::team_id.equals(team));
                let own = match principal.actor {
                    Actor::User(user) => Some(Self::owner_id.equals(user)),
                    Actor::ApiKey(_) | Actor::Service | Actor::System => None,
                };
                Filter::Or(team.into_iter().chain(own).collect())
            }
            // Whose a login's customer is stands in the customer, not in its complaints.
            Visibility::Own => Filter::NONE,
        }
    }
}

/// How far a complaint is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ComplaintStatus {
    /// Nobody is at it.
    #[default]
    Open,
    /// Somebody sees to it.
    InProgress,
    /// There is an answer; it can be taken up again.
    Resolved,
    /// It is over for good.
    Closed,
}

impl ComplaintStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Open, Self::InProgress, Self::Resolved, Self::Closed];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::InProgress => "in_progress",
            Self::Resolved => "resolved",
            Self::Closed => "closed",
        }
    }

    /// Whether the customer waits for an answer: what `open_complaints` counts.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::InProgress)
    }

    /// Where it can go from here.
    #[must_use]
    pub const fn next(self) -> &'static [Self] {
        match self {
            Self::Open => &[Self::InProgress, Self::Resolved, Self::Closed],
            Self::InProgress => &[Self::Open, Self::Resolved, Self::Closed],
            Self::Resolved => &[Self::Open, Self::InProgress, Self::Closed],
            Self::Closed => &[],
        }
    }
}

/// There is no status of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of open, in_progress, resolved, closed")]
pub struct UnknownComplaintStatus;

/// How much a complaint presses.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ComplaintPriority {
    /// Can wait.
    Low,
    /// As usual.
    Medium,
    /// Before others.
    High,
    /// Now.
    Urgent,
}

impl ComplaintPriority {
    /// Every priority.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Urgent];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Urgent => "urgent",
        }
    }
}

/// There is no priority of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of low, medium, high, urgent")]
pub struct UnknownComplaintPriority;

named_types! {
    ComplaintStatus, UnknownComplaintStatus;
    ComplaintPriority, UnknownComplaintPriority;
}

impl FromInput for ComplaintStatus {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let wrong = |error: UnknownComplaintStatus| FieldErrors::one("", "INVALID_CHOICE", error.to_string());
        text(json)?.parse().map_err(wrong)
    }
}

impl FromInput for ComplaintPriority {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let wrong = |error: UnknownComplaintPriority| FieldErrors::one("", "INVALID_CHOICE", error.to_string());
        text(json)?.parse().map_err(wrong)
    }
}

/// A complaint to be taken down.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "customer_id": "0198c1de-5f00-7000-8000-000000000001", "subject": "Parcel arrived open",
    "description": "Two of six cups are broken.", "priority": "high"
})))]
#[input(refuse(id, version, created_at, updated_at, organization_id, resolved_at))]
pub struct NewComplaint {
    /// Who complains.
    pub customer_id: CustomerId,
    /// What it is about, in a line.
    pub subject: Line<200>,
    /// What the customer says.
    pub description: Option<Text<10000>>,
    /// How far it is; `open` where it is not said.
    pub status: Option<ComplaintStatus>,
    /// How much it presses.
    pub priority: Option<ComplaintPriority>,
    /// What came of it.
    pub resolution: Option<Text<10000>>,
    /// The member of staff who sees to it.
    pub assigned_to: Option<UserId>,
}

/// What is to be changed of a complaint; what is not given stays.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "status": "resolved", "resolution": "New cups were sent."
})))]
#[input(ignore(id, version, created_at, updated_at, organization_id, customer_id, resolved_at))]
pub struct ChangedComplaint {
    /// What it is about, in a line.
    pub subject: Option<Line<200>>,
    /// What the customer says.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Text<10000>>))]
    pub description: Patch<Text<10000>>,
    /// How far it is.
    pub status: Option<ComplaintStatus>,
    /// How much it presses.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<ComplaintPriority>))]
    pub priority: Patch<ComplaintPriority>,
    /// What came of it.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Text<10000>>))]
    pub resolution: Patch<Text<10000>>,
    /// The member of staff who sees to it.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<UserId>))]
    pub assigned_to: Patch<UserId>,
}
