use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;

use crate::{
    error::FieldErrors,
    input::{self, FromInput},
};

/// The right to do one kind of thing, written `resource:action`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Permission(u8);

macro_rules! declare_permissions {
    ($($(#[$attribute:meta])* $constant:ident = $name:literal;)+) => {
        /// Every permission there is.
        pub mod permissions {
            use super::{Index, Permission};
            $($(#[$attribute])* pub const $constant: Permission = Permission(Index::$constant as u8);)+
        }

        #[expect(non_camel_case_types, reason = "counts the permissions in their order")]
        enum Index { $($constant),+ }

        const NAMES: &[&str] = &[$($name),+];
        const DESCRIPTIONS: &[&[&str]] = &[$(&[$(stringify!($attribute)),*]),+];
    };
}

declare_permissions! {
    /// Read customers, their notes, groups and tags.
    CUSTOMERS_READ = "customers:read";
    /// Export customers as a file, beside reading them.
    CUSTOMERS_EXPORT = "customers:export";
    /// Create and change customers, their notes and groups.
    CUSTOMERS_WRITE = "customers:write";
    /// Delete customers softly, restore them.
    CUSTOMERS_DELETE = "customers:delete";
    /// Delete customers for good.
    CUSTOMERS_PURGE = "customers:purge";
    /// Make one customer of two, and take that back.
    CUSTOMERS_MERGE = "customers:merge";
    /// Create and change customers from a file, and take an import back.
    CUSTOMERS_IMPORT = "customers:import";
    /// Read complaints.
    COMPLAINTS_READ = "complaints:read";
    /// Take down and change complaints.
    COMPLAINTS_WRITE = "complaints:write";
    /// Check the figures of customers against their orders, and put them right.
    STATISTICS_VERIFY = "statistics:verify";
    /// Have everything that is kept of a person as one document.
    PERSONAL_DATA_READ = "personal-data:read";
    /// Forget a person for good.
    PERSONAL_DATA_ERASE = "personal-data:erase";
    /// Rename and merge tags.
    TAGS_WRITE = "tags:write";
    /// Read orders.
    ORDERS_READ = "orders:read";
    /// Take orders in and change them.
    ORDERS_WRITE = "orders:write";
    /// Read segments, count and list their members.
    SEGMENTS_READ = "segments:read";
    /// Make, change and remove segments.
    SEGMENTS_WRITE = "segments:write";
    /// Read the declarations of custom fields.
    FIELDS_READ = "fields:read";
    /// Declare, change, archive and purge custom fields.
    FIELDS_WRITE = "fields:write";
    /// Read staff users.
    USERS_READ = "users:read";
    /// Add, change and disable staff users.
    USERS_WRITE = "users:write";
    /// Read teams.
    TEAMS_READ = "teams:read";
    /// Add, change and remove teams.
    TEAMS_WRITE = "teams:write";
    /// Read the organization's settings.
    ORGANIZATION_READ = "organization:read";
    /// Change the organization's settings.
    ORGANIZATION_WRITE = "organization:write";
    /// List API keys.
    API_KEYS_READ = "api-keys:read";
    /// Create and revoke API keys.
    API_KEYS_WRITE = "api-keys:write";
    /// Read and verify the audit trail.
    AUDIT_READ = "audit:read";
    /// See the long work that one started.
    JOBS_READ = "jobs:read";
    /// Cancel the long work that one started, and undo what can be undone.
    JOBS_WRITE = "jobs:write";
    /// See, and with jobs:write cancel, everybody's long work.
    JOBS_MANAGE = "jobs:manage";
    /// Read campaigns, their figures and what they send.
    CAMPAIGNS_READ = "campaigns:read";
    /// Write drafts of campaigns, change and remove them.
    CAMPAIGNS_WRITE = "campaigns:write";
    /// Launch, try, pause, resume and cancel campaigns.
    CAMPAIGNS_SEND = "campaigns:send";
    /// Read webhooks and their deliveries.
    WEBHOOKS_READ = "webhooks:read";
    /// Make, change, try and remove webhooks, and send events again.
    WEBHOOKS_WRITE = "webhooks:write";
    /// Have sentences made rules, messages drafted and campaigns told in words.
    AI_USE = "ai:use";
    /// Read and change the own profile, sessions and second factor.
    PROFILE_WRITE = "profile:write";
    /// Read and change the own customer record.
    SELF_CUSTOMER = "self:customer";
}

impl Permission {
    /// Every permission, in a fixed order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..NAMES.len()).filter_map(|index| u8::try_from(index).ok()).map(Self)
    }

    /// `resource:action`.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or_default()
    }

    /// Whether it lets only read.
    #[must_use]
    pub fn is_read(self) -> bool {
        self.name().ends_with(":read")
    }

    /// What it lets do, in a sentence.
    #[must_use]
    pub fn description(self) -> &'static str {
        let attribute =
            DESCRIPTIONS.get(usize::from(self.0)).and_then(|lines| lines.first()).copied().unwrap_or_default();
        attribute.trim_start_matches("doc = r\"").trim_start_matches("doc = \"").trim_end_matches('"').trim()
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no permission of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no such permission")]
pub struct UnknownPermission;

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(name: &str) -> Result<Self, UnknownPermission> {
        Self::all().find(|permission| permission.name() == name).ok_or(UnknownPermission)
    }
}

impl FromInput for Permission {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        input::text(json)?.parse().map_err(|_| {
            let names: Vec<&str> = Self::all().map(Self::name).collect();
            FieldErrors::one("", "INVALID_VALUE", format!("must be one of {}", names.join(", ")))
        })
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Permission {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .enum_values(Some(Self::all().map(Self::name)))
            .build()
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Permission {}

impl Serialize for Permission {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Permission {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        name.parse().map_err(D::Error::custom)
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct PermissionSet(u128);

impl PermissionSet {
    /// None.
    pub const NONE: Self = Self(0);

    /// These.
    #[must_use]
    pub const fn of(permissions: &[Permission]) -> Self {
        let mut set = 0;
        let mut index = 0;
        while index < permissions.len() {
            set |= 1 << permissions[index].0;
            index += 1;
        }
        Self(set)
    }

    /// All there are.
    #[must_use]
    pub fn every() -> Self {
        Permission::all().collect()
    }

    /// Whether the permission is among them.
    #[must_use]
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & (1 << permission.0) != 0
    }

    /// Those in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Each, in the fixed order.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::all().filter(move |permission| self.has(*permission))
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |set, permission| set | 1 << permission.0))
    }
}
