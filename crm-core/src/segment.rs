//! Segments: customers described by a rule, counted, listed and explained.
//!
//! A [`Segment`] is a name for a rule. A dynamic one is whoever matches now; a static one is whoever matched when it
//! was made, kept as [`SegmentMember`]s. Everybody sees of a segment only the customers that they see anyway.

mod audience;
mod record;
mod service;

pub use self::record::{
    Segment, SegmentCount, SegmentId, SegmentMember, SegmentMemberId, SegmentRules, SegmentState, SegmentVersion,
    SegmentVersionId, UnknownSegmentState,
};
pub use self::{audience::Audience, service::Segments};
