//! Messages with variables in them: `Hi {{name | default: "there"}}`.
//!
//! The language is a small part of Liquid. A variable is a field of the customer (`name`, `spend`, …), a custom field
//! (`custom.city`), `organization` or `unsubscribe_url`; `customer.name` is the same as `name`. Behind it stand filters,
//! each after a `|`, applied from left to right:
//!
//! | Filter | What it does |
//! |---|---|
//! | `default: "there"` | Stands in for a value that is missing or blank. |
//! | `upper` `lower` `capitalize` | Changes the case; `upcase` and `downcase` are the same. |
//! | `truncate: 20` | At most so many characters, the last an ellipsis where something was cut off. |
//! | `date: "%d %B %Y"` | Writes a date or an instant by the signs of `strftime`, in the organization's time zone. |
//! | `money` | Writes a number with its currency: `INR 1,249.50`. |
//!
//! A value that is missing, and has no `default`, is written as nothing. `\{{` writes two braces; a `}}` that closes
//! nothing is a text like another. What may be named is checked once, when the message is stored; rendering never fails.

mod filter;
mod scan;
mod variable;

use std::borrow::Cow;

pub use self::variable::Vocabulary;
use self::{
    filter::Filter,
    scan::{Piece, Scanner},
    variable::Variable,
};
use crate::{customer::Customer, error::FieldErrors, tenancy::Organization};

/// The longest message, in characters.
pub const LONGEST_MESSAGE: usize = 20_000;
/// The longest subject, in characters.
pub const LONGEST_SUBJECT: usize = 300;
/// The longest message for one customer, in bytes; the rest is cut off.
const LONGEST_RENDERED: usize = 100_000;
/// The longest subject for one customer, in bytes; the rest is cut off.
const LONGEST_LINE: usize = 900;
/// The most variables of a message.
const MOST_VARIABLES: usize = 200;
/// The most things that are named wrong in one answer.
const MOST_ERRORS: usize = 20;

/// What a message becomes for one customer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// Text as it is.
    Text,
    /// HTML: the message is written by its author, what variables stand for is escaped.
    Html,
    /// One line, such as a subject: line breaks and control characters become spaces, so that no header can be added.
    Line,
}

/// What a message is rendered with besides the customer.
#[derive(Clone, Copy, Debug)]
pub struct RenderContext<'a> {
    /// Whose message it is: names `organization`, and has the time zone and the currency.
    pub organization: &'a Organization,
    /// What `unsubscribe_url` stands for; nothing where the server does not know its public address.
    pub unsubscribe_url: Option<&'a str>,
}

/// A message whose variables were checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
    names_custom: bool,
    is_html: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Variable(Variable, Vec<Filter>),
}

impl Template {
    /// Reads a message of at most [`LONGEST_MESSAGE`] characters.
    ///
    /// # Errors
    /// `INVALID_TEMPLATE` for what is no template, `UNKNOWN_VARIABLE` for what cannot be named: each with its position
    /// and what is allowed.
    pub fn message(text: &str, vocabulary: &Vocabulary) -> Result<Self, FieldErrors> {
        Self::read(text, vocabulary, LONGEST_MESSAGE)
    }

    /// Reads a subject of at most [`LONGEST_SUBJECT`] characters.
    ///
    /// # Errors
    /// Those of [`Template::message`].
    pub fn subject(text: &str, vocabulary: &Vocabulary) -> Result<Self, FieldErrors> {
        Self::read(text, vocabulary, LONGEST_SUBJECT)
    }

    fn read(text: &str, vocabulary: &Vocabulary, longest: usize) -> Result<Self, FieldErrors> {
        if text.len() > longest && text.chars().count() > longest {
            return Err(FieldErrors::one("", "TOO_LONG", format!("must have at most {longest} characters")));
        }
        let mut errors = FieldErrors::new();
        let mut parts = Vec::new();
        let (mut variables, mut names_custom) = (0, false);
        for piece in Scanner::new(text) {
            let tag = match piece {
                Piece::Text(text) => {
                    parts.push(Part::Text(text));
                    continue;
                }
                Piece::Tag(tag) => tag,
                Piece::Fault(fault) => {
                    errors.add("", "INVALID_TEMPLATE", fault);
                    continue;
                }
            };
            variables += 1;
            if variables > MOST_VARIABLES {
                errors.add("", "TOO_MANY", format!("must have at most {MOST_VARIABLES} variables"));
                break;
            }
            if errors.iter().count() >= MOST_ERRORS {
                break;
            }
            let Some(variable) = errors.take("", vocabulary.find(&tag)) else { continue };
            let mut kind = variable.kind();
            let mut filters = Vec::new();
            for call in &tag.filters {
                if let Some(filter) = errors.take("", Filter::read(call, kind, &tag)) {
                    kind = filter.kind(kind);
                    filters.push(filter);
                }
            }
            names_custom |= variable.is_custom();
            parts.push(Part::Variable(variable, filters));
        }
        errors.or(Self { parts, names_custom, is_html: begins_html(text) })
    }

    /// Whether the message is HTML: it begins with a tag. Only e-mail knows the difference.
    #[must_use]
    pub const fn is_html(&self) -> bool {
        self.is_html
    }

    /// The message for one customer: at most 100,000 bytes, a line at most 900; what is longer is cut off.
    #[must_use]
    pub fn render(&self, customer: &Customer, context: &RenderContext<'_>, form: Form) -> String {
        let custom = if self.names_custom { variable::members(customer) } else { variable::CustomMembers::new() };
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Variable(variable, filters) => {
                    let mut shown = variable.of(customer, &custom, context);
                    for filter in filters {
                        shown = filter.apply(shown, context);
                    }
                    let shown = shown.into_text(context);
                    text.push_str(&if form == Form::Html { escaped(&shown) } else { Cow::Borrowed(shown.as_str()) });
                }
            }
            if text.len() > LONGEST_RENDERED {
                break;
            }
        }
        if form == Form::Line {
            text = one_line(&text);
        }
        cut(&mut text, if form == Form::Line { LONGEST_LINE } else { LONGEST_RENDERED });
        text
    }
}

/// Cuts a text to so many bytes, between characters.
fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}

/// Whether a text begins with a tag of HTML.
pub(super) fn begins_html(text: &str) -> bool {
    let mut characters = text.trim_start().chars();
    characters.next() == Some('<') && characters.next().is_some_and(|next| next.is_ascii_alphabetic() || next == '!')
}

/// A text for the inside of an element, or of an attribute in quotes.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

/// A text without line breaks and control characters, runs of them and of spaces becoming one space.
fn one_line(text: &str) -> String {
    let breaks = |character: char| {
        character.is_control() || character.is_whitespace() || matches!(character, '\u{2028}' | '\u{2029}')
    };
    text.split(breaks).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
