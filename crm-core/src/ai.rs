//! What spares typing: rules from sentences.
//!
//! Everything here is a draft that a person looks at: nothing is kept, sent or launched.

pub mod sentence;
mod service;

pub use self::service::{Ai, RuleRequest, Source, SuggestedRule};
