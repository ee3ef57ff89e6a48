use serde_json::value::RawValue;

use crate::{
    error::FieldErrors,
    input::{FromInput, Input, Members, Patch},
    text::{Line, Text},
};

/// What the CRM alone writes of a segment, and shows with it.
const READ_ONLY: &[&str] = &[
    "id",
    "rules_version",
    "state",
    "frozen_at",
    "job_id",
    "created_by",
    "member_count",
    "counted_at",
    "explanation",
    "broken",
    "version",
    "created_at",
    "updated_at",
];

/// A new segment.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "name": "Big spenders who went quiet", "description": "For the spring offer",
    "rules_json": {"and": [
        {"field": "spend", "op": ">", "value": 5000},
        {"field": "inactive_days", "op": ">", "value": 180},
        {"orders": {"within_last": "365d", "count": {"op": ">=", "value": 2}}}
    ]}
})))]
#[input(refuse = READ_ONLY)]
pub struct NewSegment {
    /// The name; no two segments have the same, letters of either case being alike.
    pub name: Line<200>,
    /// What it is for.
    #[cfg_attr(feature = "openapi", schema(nullable))]
    pub description: Option<Text<2000>>,
    /// Which customers are meant.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::rule::Rule))]
    pub rules_json: Box<RawValue>,
    /// `true`, as where it is not said: whoever matches now. `false`: whoever matches when the segment is made, for good.
    pub dynamic: Option<bool>,
}

/// A segment as it is to be.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(ignore = READ_ONLY)]
pub struct ReplacedSegment {
    /// The name.
    pub name: Line<200>,
    /// What it is for; nothing where it is left out.
    #[cfg_attr(feature = "openapi", schema(nullable))]
    pub description: Option<Text<2000>>,
    /// Which customers are meant.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::rule::Rule))]
    pub rules_json: Box<RawValue>,
    /// As the segment was made: a dynamic segment does not become static, nor the other way round.
    pub dynamic: Option<bool>,
}

/// What is to be changed of a segment; what is not given stays.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(ignore = READ_ONLY)]
pub struct ChangedSegment {
    /// The name.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Line<200>>))]
    pub name: Option<Line<200>>,
    /// What it is for; `null` for nothing.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Text<2000>>))]
    pub description: Patch<Text<2000>>,
    /// Which customers are meant.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::rule::Rule>))]
    pub rules_json: Option<Box<RawValue>>,
    /// As the segment was made.
    pub dynamic: Option<bool>,
}

impl From<ReplacedSegment> for ChangedSegment {
    fn from(segment: ReplacedSegment) -> Self {
        Self {
            name: Some(segment.name),
            description: segment.description.map_or(Patch::Clear, Patch::Set),
            rules_json: Some(segment.rules_json),
            dynamic: segment.dynamic,
        }
    }
}

/// Rules to be tried.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "rules_json": {"orders": {"within_last": "90d", "count": {"op": ">=", "value": 2}}}
})))]
pub struct PreviewedRules {
    /// Which customers are meant.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::rule::Rule))]
    pub rules_json: Box<RawValue>,
}

/// A body with rules in it, not yet refused: rules are checked against the organization's fields, so that what is wrong
/// with them is told together with everything else.
#[derive(Clone, Debug)]
pub struct WithRules<T> {
    /// The rest of it, or what is wrong there.
    pub(super) input: Result<T, FieldErrors>,
    /// The rules, where there are any.
    pub(super) rules: Option<Box<RawValue>>,
}

impl<T: FromInput> FromInput for WithRules<T> {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let rules = Members::parse(json)?.take(&["rules_json"]);
        Ok(Self { input: T::from_input(json), rules: rules.map(ToOwned::to_owned) })
    }
}
