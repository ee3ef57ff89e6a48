//! What spares typing: rules from sentences, drafts of messages, and campaigns told in a paragraph.
//!
//! Everything here is a draft that a person looks at: nothing is kept, sent or launched. It works without any model; one
//! that is there is asked, and believed only as far as what it says passes the same checks.

mod message;
mod model;
pub mod sentence;
mod service;
mod summary;

pub use self::{
    message::{DraftChannel, Goal, MessagesRequest, SuggestedMessage, SuggestedMessages, Tone},
    service::{Ai, RuleRequest, Source, SuggestedRule},
    summary::{CampaignFigures, CampaignSummary, SummaryRequest, VariantFigures, summarise},
};
