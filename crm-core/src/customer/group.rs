use serde::Serialize;

use crate::{
    input::Input,
    record::{Meta, Record},
    text::{Line, Text},
    time::Timestamp,
};

crate::record_ids! {
    /// A static group of customers.
    CustomerGroupId,
}

/// A static group: customers are put into it and taken out of it one by one.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[record(collection = "customer_groups", unique(name_key), search(name, description), index(name), index(-created_at))]
pub struct CustomerGroup {
    /// The group's id.
    pub id: CustomerGroupId,
    /// The name; no two groups of the organization have the same, letters of either case being alike.
    #[record(folded)]
    pub name: Line<100>,
    /// What makes two names the same. A group that is being removed gives its name free.
    #[serde(skip)]
    pub name_key: String,
    /// What the group is for.
    #[record(folded)]
    pub description: Option<Text<2000>>,
    /// When its removal began: its members are being let go.
    #[serde(skip)]
    pub removed_at: Option<Timestamp>,
    /// Version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

/// A group with how many of its members the reader sees.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CountedGroup {
    /// The group.
    #[serde(flatten)]
    pub group: CustomerGroup,
    /// How many customers that the reader sees are in it.
    pub member_count: u64,
}

/// A new group.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(refuse(id, version, created_at, updated_at, member_count))]
pub struct NewCustomerGroup {
    /// The name.
    pub name: Line<100>,
    /// What the group is for.
    #[cfg_attr(feature = "openapi", schema(nullable))]
    pub description: Option<Text<2000>>,
}

/// A group as it is to be.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(ignore(id, version, created_at, updated_at, member_count))]
pub struct ReplacedCustomerGroup {
    /// The name.
    pub name: Line<100>,
    /// What the group is for; nothing where it is left out.
    #[cfg_attr(feature = "openapi", schema(nullable))]
    pub description: Option<Text<2000>>,
}

/// Customers to be put into a group or taken out of it, at most 1000.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupMembers {
    /// Their ids.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 1000))]
    pub customer_ids: Vec<uuid::Uuid>,
}

/// What became of the customers named.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MembershipChange {
    /// How many were put in or taken out.
    pub changed: u64,
    /// How many were in (or out) already.
    pub unchanged: u64,
    /// Those that are no customers the caller sees.
    pub not_found: Vec<uuid::Uuid>,
    /// Those that are in too many groups already.
    pub refused: Vec<uuid::Uuid>,
}
