//! What spares typing: rules from sentences, drafts of messages, and campaigns told in a paragraph.

pub mod sentence;
