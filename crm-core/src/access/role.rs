use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{PermissionSet, permissions as p, principal::Visibility};
use crate::{
    error::FieldErrors,
    input::{self, FromInput},
};

/// What a user is, from the most powerful to the least.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Role {
    /// Runs the installation, over all organizations.
    SuperAdmin,
    /// Runs an organization.
    Admin,
    /// Leads a team.
    TL,
    /// Reads everything in the organization, writes reviews.
    QA,
    /// Works with customers.
    Agent,
    /// Is a customer: own data only.
    Customer,
}

impl Role {
    /// Every role, the most powerful first.
    pub const ALL: [Self; 6] = [Self::SuperAdmin, Self::Admin, Self::TL, Self::QA, Self::Agent, Self::Customer];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SuperAdmin => "SuperAdmin",
            Self::Admin => "Admin",
            Self::TL => "TL",
            Self::QA => "QA",
            Self::Agent => "Agent",
            Self::Customer => "Customer",
        }
    }

    /// Higher is more powerful. Nobody may grant a role of their own rank or above, but a `SuperAdmin`.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::SuperAdmin => 5,
            Self::Admin => 4,
            Self::TL => 3,
            Self::QA => 2,
            Self::Agent => 1,
            Self::Customer => 0,
        }
    }

    /// Whether the role works for the organization.
    #[must_use]
    pub const fn is_staff(self) -> bool {
        !matches!(self, Self::Customer)
    }

    /// What the role may do.
    #[must_use]
    pub fn permissions(self) -> PermissionSet {
        const CUSTOMER: PermissionSet = PermissionSet::of(&[p::PROFILE_WRITE, p::SELF_CUSTOMER]);
        const READER: PermissionSet = PermissionSet::of(&[
            p::PROFILE_WRITE,
            p::CUSTOMERS_READ,
            p::ORDERS_READ,
            p::SEGMENTS_READ,
            p::COMPLAINTS_READ,
            p::FIELDS_READ,
            p::TEAMS_READ,
            p::ORGANIZATION_READ,
            p::CAMPAIGNS_READ,
            p::JOBS_READ,
            p::JOBS_WRITE,
        ]);
        const WRITER: PermissionSet = PermissionSet::of(&[
            p::ORDERS_WRITE,
            p::CUSTOMERS_WRITE,
            p::CUSTOMERS_DELETE,
            p::CUSTOMERS_IMPORT,
            p::COMPLAINTS_WRITE,
            p::SEGMENTS_WRITE,
            p::AI_USE,
        ]);
        match self {
            Self::SuperAdmin | Self::Admin => PermissionSet::every(),
            Self::TL => READER.union(WRITER).union(PermissionSet::of(&[
                p::CUSTOMERS_EXPORT,
                p::TAGS_WRITE,
                p::CAMPAIGNS_WRITE,
                p::CAMPAIGNS_SEND,
                p::USERS_READ,
                p::TEAMS_WRITE,
            ])),
            Self::QA => READER.union(PermissionSet::of(&[p::CUSTOMERS_EXPORT, p::USERS_READ])),
            Self::Agent => READER.union(WRITER),
            Self::Customer => CUSTOMER,
        }
    }

    /// Which customers the role sees.
    #[must_use]
    pub const fn visibility(self) -> Visibility {
        match self {
            Self::SuperAdmin | Self::Admin | Self::QA => Visibility::All,
            Self::TL | Self::Agent => Visibility::Team,
            Self::Customer => Visibility::Own,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl AsRef<str> for Role {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

/// There is no role of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of SuperAdmin, Admin, TL, QA, Agent, Customer")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.name() == name).ok_or(UnknownRole)
    }
}

impl FromInput for Role {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let unknown = |error: UnknownRole| FieldErrors::one("", "INVALID_VALUE", error.to_string());
        input::text(json)?.parse().map_err(unknown)
    }
}

crate::text_field_type!(Role);
