use std::{convert::Infallible, str::FromStr};

use serde::{Serialize, Serializer};

use crate::{
    id::{CustomerId, UserId},
    job::JobId,
    record::{Meta, Record},
    rule::Rule,
    store::Json,
    text::{Line, Text},
    time::Timestamp,
};

crate::record_ids! {
    /// A segment.
    SegmentId,
    /// The rules that a segment had from some time on.
    SegmentVersionId,
    /// A customer who is in a static segment.
    SegmentMemberId,
}

/// A description of customers: a rule with a name.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[record(collection = "segments", unique(name_key), search(name, description), index(name), index(-created_at))]
pub struct Segment {
    /// The segment's id.
    pub id: SegmentId,
    /// The name; no two segments of the organization have the same, letters of either case being alike.
    #[record(folded)]
    pub name: Line<200>,
    /// What makes two names the same.
    #[serde(skip)]
    pub name_key: String,
    /// What the segment is for.
    #[record(folded)]
    pub description: Option<Text<2000>>,
    /// Which customers are meant.
    #[cfg_attr(feature = "openapi", schema(value_type = Rule))]
    pub rules_json: SegmentRules,
    /// How often the rules were written: 1 for a new segment, one more with each change of them.
    pub rules_version: i64,
    /// Whether it is whoever matches now; else it is whoever matched when it was made.
    pub dynamic: bool,
    /// Whether its members can be told.
    pub state: SegmentState,
    /// The instant at which the members of a static segment were taken.
    pub frozen_at: Option<Timestamp>,
    /// The job that takes the members of a static segment.
    pub job_id: Option<JobId>,
    /// Who made it.
    pub created_by: Option<UserId>,
    /// Version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

/// Whether the members of a segment can be told.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SegmentState {
    /// They can.
    #[default]
    Ready,
    /// It is static, and its members are being taken.
    Building,
    /// It is static, and its members could not be taken.
    Failed,
}

impl SegmentState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Ready, Self::Building, Self::Failed];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Building => "building",
            Self::Failed => "failed",
        }
    }
}

/// There is no state of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of ready, building, failed")]
pub struct UnknownSegmentState;

crate::record::named_types! {
    SegmentState, UnknownSegmentState;
}

/// A rule in its one JSON form. It is kept as text, because an engine may round the numbers of JSON.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SegmentRules(Json);

impl SegmentRules {
    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl From<&Rule> for SegmentRules {
    fn from(rule: &Rule) -> Self {
        Self(rule.to_json())
    }
}

impl AsRef<str> for SegmentRules {
    fn as_ref(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for SegmentRules {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(Json::from_trusted(text)))
    }
}

impl Serialize for SegmentRules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

crate::text_field_type!(SegmentRules);

/// How many customers of the whole organization were in a segment when somebody last counted. Kept apart from the
/// segment, so that counting does not change its version.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "segment_counts")]
pub struct SegmentCount {
    /// The same as the segment's.
    pub id: SegmentId,
    /// How many.
    pub member_count: i64,
    /// When.
    pub counted_at: Timestamp,
    /// Its organization, version and times.
    pub meta: Meta,
}

/// The rules that a segment had from some time on.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[record(collection = "segment_versions", unique(segment_id, number), index(segment_id, -number))]
pub struct SegmentVersion {
    /// Its id.
    pub id: SegmentVersionId,
    /// The segment.
    pub segment_id: SegmentId,
    /// Counts the rules of the segment from 1.
    pub number: i64,
    /// Which customers were meant.
    #[cfg_attr(feature = "openapi", schema(value_type = Rule))]
    pub rules_json: SegmentRules,
    /// Who wrote them; nobody where it was no person.
    pub changed_by: Option<UserId>,
    /// When.
    pub at: Timestamp,
    /// Its organization, version and times.
    #[serde(skip)]
    pub meta: Meta,
}

/// A customer who is in a static segment.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "segment_members", unique(segment_id, customer_id), index(customer_id, segment_id))]
pub struct SegmentMember {
    /// Its id.
    pub id: SegmentMemberId,
    /// The segment.
    pub segment_id: SegmentId,
    /// The customer.
    pub customer_id: CustomerId,
    /// Its organization, version and times.
    pub meta: Meta,
}
