use serde::Serialize;

use super::{Segment, SegmentCount, SegmentId, SegmentRules};
use crate::{
    customer::ShapedCustomer,
    id::CustomerId,
    rule::{Explanation, Rule},
    time::Timestamp,
};

/// A segment with what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "id": "0198c1de-5f00-7000-8000-000000000021", "name": "Big spenders who went quiet", "description": null,
    "rules_json": {"and": [
        {"field": "spend", "op": ">", "value": 5000}, {"field": "inactive_days", "op": ">", "value": 180}
    ]},
    "rules_version": 1, "dynamic": true, "state": "ready", "frozen_at": null, "job_id": null,
    "created_by": "0198c1de-5f00-7000-8000-000000000002",
    "explanation": "spend is more than 5000 and inactive for more than 180 days", "broken": null,
    "member_count": 412, "counted_at": "2026-01-30T17:05:00.000Z",
    "organization_id": "0198c1de-5f00-7000-8000-0000000000aa", "version": 1,
    "created_at": "2026-01-30T17:04:00.000Z", "updated_at": "2026-01-30T17:04:00.000Z"
})))]
pub struct ShownSegment {
    /// The segment.
    #[serde(flatten)]
    pub segment: Segment,
    /// The rules as a sentence; nothing where they are broken.
    pub explanation: Option<String>,
    /// Why the rules cannot be answered any more, such as that a custom field was archived. Nothing where they can.
    pub broken: Option<String>,
    /// How many customers were in it when it was last previewed, or when its members were taken. Told to who sees all
    /// customers.
    pub member_count: Option<i64>,
    /// When that was.
    pub counted_at: Option<Timestamp>,
}

impl ShownSegment {
    pub(super) fn new(segment: Segment, rule: Result<Rule, String>, count: Option<&SegmentCount>) -> Self {
        let (explanation, broken) = match rule {
            Ok(rule) => (Some(rule.to_string()), None),
            Err(broken) => (None, Some(broken)),
        };
        Self {
            explanation,
            broken,
            member_count: count.map(|count| count.member_count),
            counted_at: count.map(|count| count.counted_at),
            segment,
        }
    }
}

/// How many customers a rule means, and the first of them.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SegmentPreview {
    /// How many of the customers in sight.
    pub count: u64,
    /// The first ten of them, newest first.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::customer::Customer>))]
    pub sample: Vec<ShapedCustomer>,
    /// How many are in the sample.
    pub sample_size: usize,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The instant that relative times count from.
    pub as_of: Timestamp,
    /// The rules as they were understood.
    #[cfg_attr(feature = "openapi", schema(value_type = Rule))]
    pub rules_json: SegmentRules,
    /// The same as a sentence. Nothing for a static segment whose rules cannot be read any more.
    pub explanation: Option<String>,
}

/// Why a customer is in a segment, or why not: the rule's tree with `result` in each part and `seen` in each condition.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "segment_id": "0198c1de-5f00-7000-8000-000000000021", "customer_id": "0198c1de-5f00-7000-8000-000000000001",
    "member": false, "as_of": "2026-01-30T17:05:00.000Z",
    "explanation": "spend is more than 5000 and inactive for more than 180 days",
    "and": [
        {"field": "spend", "op": ">", "value": 5000, "seen": 7200, "result": true},
        {"field": "inactive_days", "op": ">", "value": 180, "seen": 3, "result": false}
    ],
    "result": false
})))]
pub struct SegmentExplanation {
    /// The segment.
    pub segment_id: SegmentId,
    /// The customer.
    pub customer_id: CustomerId,
    /// Whether the customer is in the segment. Of a static one: whether it was taken, whatever the rules say now.
    pub member: bool,
    /// The instant that relative times count from.
    pub as_of: Timestamp,
    /// The rules as a sentence.
    pub explanation: String,
    /// The tree.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub tree: Explanation,
}
