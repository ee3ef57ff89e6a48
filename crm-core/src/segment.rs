//! Segments: customers described by a rule, counted, listed and explained.
//!
//! A [`Segment`] is a name for a rule. A dynamic one is whoever matches now; a static one is whoever matched when it
//! was made, kept as [`SegmentMember`]s. Everybody sees of a segment only the customers that they see anyway. Whoever
//! sends something to a segment asks [`Segments::audience`].

mod audience;
mod freeze;
mod input;
mod record;
mod service;
mod shown;
mod usage;

pub(crate) use self::freeze::{FreezeHandler, SegmentRemovalHandler};
pub use self::{
    audience::Audience,
    input::{ChangedSegment, NewSegment, PreviewedRules, ReplacedSegment, WithRules},
    record::{
        Segment, SegmentCount, SegmentId, SegmentMember, SegmentMemberId, SegmentRules, SegmentState, SegmentVersion,
        SegmentVersionId, UnknownSegmentState,
    },
    service::Segments,
    shown::{SegmentExplanation, SegmentPreview, ShownSegment},
};
