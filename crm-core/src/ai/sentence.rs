//! A sentence such as "inactive for 6 months and spent > ₹5K" as a rule, without asking anybody.
//!
//! The text becomes tokens (`scan`), the tokens pieces of meaning (`piece`), and each clause of pieces one condition
//! (`clause`); `expression` joins them. Every word is either used or refused: nothing is left out in silence.
//!
//! ```
//! use crm_core::{ai::sentence::{Language, read}, tenancy::Currency};
//!
//! let language = Language::of_customers(Currency::USD);
//! let read = read("haven't visited in 90 days", &language, false).unwrap();
//! assert_eq!(read.rule.to_string(), "inactive for more than 90 days");
//! ```

mod amount;
mod clause;
mod draft;
mod expression;
mod language;
mod piece;
mod refusal;
mod scan;
mod vocabulary;

#[cfg(test)]
mod tests;

use self::{
    expression::Expression,
    piece::{Piece, pieces},
    refusal::Fault,
    scan::{Token, scan},
};
pub use self::{
    language::Language,
    refusal::{Code, Refusal},
};
use crate::rule::Rule;

/// A sentence has at most so many characters.
pub const MAX_SENTENCE: usize = 500;
/// So much of a sentence is shown where something is wrong, in characters.
const SHOWN: usize = 80;

/// What a sentence says.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The rule.
    pub rule: Rule,
    /// What was taken for granted where the sentence leaves it open.
    pub assumptions: Vec<String>,
    /// The words that were set aside, as they were written; empty unless that was asked for.
    pub unparsed: Vec<String>,
}

/// Reads a sentence. With `partial`, what cannot be placed is set aside and told, as long as something is left.
///
/// # Errors
/// [`Refusal`]: what of it cannot be placed.
pub fn read(text: &str, language: &Language, partial: bool) -> Result<Reading, Refusal> {
    let refuse = |code, message: &str| Refusal {
        code,
        message: message.to_owned(),
        near: shown(text.trim()),
        supported: language.supported(),
        examples: language.examples(),
    };
    if text.trim().is_empty() {
        return Err(refuse(Code::Empty, "There is no text."));
    }
    if text.len() > MAX_SENTENCE && text.chars().nth(MAX_SENTENCE).is_some() {
        return Err(refuse(Code::TooLong, &format!("The text is longer than {MAX_SENTENCE} characters.")));
    }
    let tokens = scan(text);
    if tokens.is_empty() {
        return Err(refuse(Code::Empty, "There is no text but punctuation."));
    }
    let pieces = pieces(language, &tokens, text);
    let mut expression = Expression::new(language, &pieces, partial);
    let told =
        |fault: &Fault| Refusal { near: near(fault, &pieces, &tokens, text), ..refuse(fault.code, &fault.message) };
    let draft = expression.read().map_err(|fault| told(&fault))?;
    let Some(draft) = draft else {
        return Err(expression.unparsed.first().map_or_else(|| refuse(Code::Empty, "There is no text."), told));
    };
    let rule = Rule::parse(&draft.to_json(), language.catalog(), "").map_err(|errors| {
        let first = errors.iter().next().map_or("cannot be asked", |error| error.message.as_str());
        refuse(Code::UnsupportedText, &format!("This makes no rule: {first}."))
    })?;
    let mut assumptions = expression.assumptions;
    let mut seen = std::collections::HashSet::new();
    assumptions.retain(|assumption| seen.insert(assumption.clone()));
    let mut aside = expression.unparsed;
    aside.sort_by_key(|fault| fault.first);
    let unparsed = aside.iter().map(|fault| near(fault, &pieces, &tokens, text)).collect();
    Ok(Reading { rule, assumptions, unparsed })
}

/// The words that a fault is about, as they were written.
fn near(fault: &Fault, pieces: &[Piece], tokens: &[Token], text: &str) -> String {
    let about = pieces.get(fault.first..fault.last.min(pieces.len())).unwrap_or_default();
    let tokens = match (about.first(), about.last()) {
        (Some(first), Some(last)) => tokens.get(first.first..last.last).unwrap_or_default(),
        _ => tokens,
    };
    match (tokens.first(), tokens.last()) {
        (Some(first), Some(last)) => shown(text.get(first.start..last.end).unwrap_or_default()),
        _ => String::new(),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}
