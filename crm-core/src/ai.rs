//! What spares typing: rules from sentences.
//!
//! Everything here is a draft that a person looks at: nothing is kept, sent or launched.

mod message;
mod model;
pub mod sentence;
mod service;
mod summary;

pub use self::{
    message::{DraftChannel, MessagesRequest, SuggestedMessage, SuggestedMessages, Tone},
    service::{Ai, RuleRequest, Source, SuggestedRule},
    summary::{CampaignFigures, CampaignSummary, SummaryRequest, VariantFigures, summarise},
};
