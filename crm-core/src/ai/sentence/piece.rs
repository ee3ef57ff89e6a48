//! Tokens as pieces of meaning: phrases, quantities with their units, values that are words.

mod quantity;
mod words;

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::{
    language::{Language, Subject},
    refusal::Code,
    scan::{Kind, Token},
    vocabulary::{Word, phrase, postfix},
};
use crate::rule::Operator;

/// A piece, and the tokens that it is of; the last one excluded.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) what: What,
    pub(super) first: usize,
    pub(super) last: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Stop,
    Noun,
    Is,
    Not,
    Subject(Subject),
    /// Before a field that somebody has: "with a city".
    Given,
    /// `visited`, which may say how often, or that something was done at all.
    Visited,
    Active,
    Deed,
    /// `last`, before what was done.
    Last,
    Ago,
    /// Before a period: whether it is the one that ends now.
    Within(bool),
    Compare(Operator),
    NegativeCompare(Operator),
    Postfix(Operator),
    Between(Box<(Quantity, Quantity)>),
    BetweenDates(Date, Date),
    Quantity(Quantity),
    Date(Date),
    /// A unit without a number, "between" without its two ends.
    Incomplete,
    Before,
    After,
    On,
    Contains,
    StartsWith,
    /// A value that is words: as rules write it, and as people do.
    Chosen(String, String),
    /// Words that are none of the values there are.
    NoChoice,
    /// A status or type that stands alone.
    Adjective(Subject, String),
    True,
    False,
    Known,
    Missing,
    And,
    Or,
    Comma,
    /// What follows is said of the same customers.
    Also,
    /// A connector inside of a list of values; whether it is "or".
    Joint(Option<bool>),
    Open,
    Close,
    Unknown,
}

/// The organization's currency by its code.
pub(super) const OWN: &str = "own";

/// A number with what makes it an amount, a count or a time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantity {
    /// The number, its scale included.
    pub(super) number: Result<Decimal, Code>,
    pub(super) currency: Option<&'static str>,
    pub(super) scaled: bool,
    pub(super) unit: Option<Unit>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unit {
    Times,
    /// So many days each.
    Days(u16),
    /// `m`: a million, or perhaps months.
    Unclear,
}

/// The pieces of a sentence.
pub(super) fn pieces(language: &Language, tokens: &[Token], text: &str) -> Vec<Piece> {
    let mut builder = Builder {
        language,
        tokens,
        text,
        place: 0,
        pieces: Vec::with_capacity(tokens.len()),
        clause: 0,
        expected: None,
        listed: None,
    };
    while builder.place < tokens.len() {
        let before = builder.place;
        builder.step();
        debug_assert!(builder.place > before, "every step takes a token");
    }
    builder.pieces
}

struct Builder<'a> {
    language: &'a Language,
    tokens: &'a [Token],
    text: &'a str,
    place: usize,
    pieces: Vec<Piece>,
    /// Where the clause begins.
    clause: usize,
    /// The subject whose words may come next.
    expected: Option<Subject>,
    /// The subject whose words have just come.
    listed: Option<Subject>,
}

impl Builder<'_> {
    fn rest(&self) -> &[Token] {
        self.tokens.get(self.place..).unwrap_or_default()
    }

    fn push(&mut self, what: What, length: usize) {
        let (first, last) = (self.place, self.place + length);
        self.listed = None;
        if matches!(what, What::And | What::Or | What::Comma | What::Also | What::Open | What::Close) {
            self.clause = self.pieces.len() + 1;
            self.expected = None;
        }
        self.pieces.push(Piece { what, first, last });
        self.place = last;
    }

    fn clause(&self) -> &[Piece] {
        self.pieces.get(self.clause..).unwrap_or_default()
    }

    fn in_clause(&self, wanted: impl Fn(&What) -> bool) -> bool {
        self.clause().iter().any(|piece| wanted(&piece.what))
    }

    fn step(&mut self) {
        if let Some(subject) = self.expected
            && self.take_value(subject)
        {
            return;
        }
        let own = self.language.named(self.rest());
        let common = phrase(self.rest());
        match (own, common) {
            (Some((field, length)), common) if common.is_none_or(|(_, other)| length > other) => {
                self.subject(Subject::Custom(field), length);
            }
            (_, Some((word, length))) => self.word(word, length),
            _ => self.other(),
        }
    }

    fn subject(&mut self, subject: Subject, length: usize) {
        let in_front = matches!(subject, Subject::Group).then(|| self.pieces.last()).flatten();
        let chosen = in_front.is_some_and(|piece| matches!(piece.what, What::Chosen(..)));
        let before = self.tokens.get(..self.place).unwrap_or_default().iter().rev();
        let has = before.map(|token| token.text.as_str()).find(|word| !matches!(*word, "a" | "an" | "any" | "the"));
        if matches!(has, Some("with" | "has" | "have" | "having")) {
            self.push(What::Given, 0);
        }
        self.push(What::Subject(subject), length);
        self.expected = (!chosen && self.language.takes_words(subject)).then_some(subject);
        self.listed = None;
    }

    fn word(&mut self, word: Word, length: usize) {
        let what = match word {
            Word::Spend => return self.subject(Subject::Spend, length),
            Word::Visits if self.merges_deeds() => What::Deed,
            Word::Visits => return self.subject(Subject::Visits, length),
            Word::Inactive => return self.subject(Subject::Inactive, length),
            Word::Status => return self.subject(Subject::Status, length),
            Word::Type => return self.subject(Subject::Type, length),
            Word::Tags => return self.subject(Subject::Tags, length),
            Word::Group => return self.subject(Subject::Group, length),
            Word::Number(_) | Word::Count(_) | Word::Currency(_) => return self.quantity(),
            Word::Article if self.unit_at(self.place + length).is_some() => return self.quantity(),
            Word::Last => return self.last(length),
            Word::Between => return self.between(length),
            // "in the last month": the number is one.
            Word::Within(ends_now) if self.is_last(length) && self.unit_at(self.place + length).is_some() => {
                self.push(What::Within(ends_now), length);
                return self.quantity();
            }
            Word::And | Word::Or => return self.connector(word, length),
            Word::Relative => self.relative(),
            Word::Without => {
                if self.has_content() {
                    self.push(What::Also, 0);
                }
                What::Not
            }
            Word::Active => What::Active,
            Word::Visited => What::Visited,
            Word::Deed => What::Deed,
            Word::Article | Word::Stop => What::Stop,
            Word::Noun => What::Noun,
            Word::Is => What::Is,
            Word::Not => What::Not,
            Word::Ago => What::Ago,
            Word::Within(ends_now) => What::Within(ends_now),
            Word::Compare(operator) => What::Compare(operator),
            Word::NegativeCompare(operator) => What::NegativeCompare(operator),
            Word::Before => What::Before,
            Word::After => What::After,
            Word::On => What::On,
            Word::Contains => What::Contains,
            Word::StartsWith => What::StartsWith,
            Word::True => What::True,
            Word::False => What::False,
            Word::Known => What::Known,
            Word::Missing => What::Missing,
            Word::Unit(_) => What::Incomplete,
            Word::To | Word::Times | Word::Scale(..) => What::Unknown,
        };
        self.push(what, length);
    }

    /// Whether something is said in the clause that another condition may follow.
    fn has_content(&self) -> bool {
        self.in_clause(|what| {
            matches!(
                what,
                What::Subject(_)
                    | What::Active
                    | What::Visited
                    | What::Deed
                    | What::Quantity(_)
                    | What::Between(_)
                    | What::Chosen(..)
            )
        })
    }

    fn relative(&mut self) -> What {
        if self.has_content() { What::Also } else { What::Stop }
    }

    /// Whether the phrase ends with "last" or "past".
    fn is_last(&self, length: usize) -> bool {
        let last = self.tokens.get(self.place + length.saturating_sub(1));
        last.is_some_and(|token| matches!(token.text.as_str(), "last" | "past"))
    }

    /// `last` before a period, or before what was done last.
    fn last(&mut self, length: usize) {
        let next = self.place + length;
        if self.unit_at(next).is_some() {
            // "the last month": the number is one.
            self.push(What::Within(true), length);
            return self.quantity();
        }
        let what = match phrase(self.tokens.get(next..).unwrap_or_default()) {
            Some((Word::Active | Word::Visited | Word::Visits | Word::Deed | Word::Noun, _)) => What::Last,
            Some((Word::Number(_), _)) => What::Within(true),
            _ if matches!(self.tokens.get(next).map(|token| &token.kind), Some(Kind::Number(_))) => What::Within(true),
            _ => What::Unknown,
        };
        self.push(what, length);
    }

    /// What is no phrase of letters.
    fn other(&mut self) {
        let Some(token) = self.tokens.get(self.place) else { return };
        let what = match &token.kind {
            Kind::Number(_) | Kind::Currency(_) => return self.quantity(),
            Kind::Comma => return self.connector(Word::Stop, 1),
            Kind::Ampersand => return self.connector(Word::And, 1),
            Kind::Compare(operator) => What::Compare(*operator),
            Kind::Date(date) => What::Date(*date),
            Kind::Plus if matches!(self.pieces.last().map(|piece| &piece.what), Some(What::Quantity(_))) => {
                What::Postfix(Operator::GreaterOrEqual)
            }
            Kind::Colon => What::Is,
            Kind::Open => What::Open,
            Kind::Close => What::Close,
            Kind::Word if self.currency_at(&mut { self.place }).is_some() => return self.quantity(),
            Kind::Word => return self.adjective(),
            Kind::Plus | Kind::Quoted(_) | Kind::Other => What::Unknown,
        };
        self.push(what, 1);
    }

    /// "the Gold group", "wholesale customers", or nothing that is known.
    fn adjective(&mut self) {
        if let Some((choice, length)) = self.language.choose(Subject::Group, self.rest())
            && matches!(phrase(self.tokens.get(self.place + length..).unwrap_or_default()), Some((Word::Group, _)))
        {
            let (value, shown) = (choice.value.clone(), choice.shown.clone());
            return self.push(What::Chosen(value, shown), length);
        }
        match self.language.adjective(self.rest()) {
            Some((subject, choice, length)) => {
                let value = choice.value.clone();
                self.push(What::Adjective(subject, value), length);
                // It is complete: what follows is said besides.
                if self.place < self.tokens.len() && !self.is_connector(self.place) {
                    self.push(What::Also, 0);
                }
            }
            None => self.push(What::Unknown, 1),
        }
    }

    fn is_connector(&self, place: usize) -> bool {
        match self.tokens.get(place) {
            None | Some(Token { kind: Kind::Comma | Kind::Ampersand | Kind::Open | Kind::Close, .. }) => true,
            Some(token) => token.kind == Kind::Word && matches!(token.text.as_str(), "and" | "or" | "but"),
        }
    }

    /// "and", "or" and a comma: between conditions, between values, between deeds, or part of "3 or more".
    fn connector(&mut self, word: Word, length: usize) {
        let is_or = word == Word::Or;
        if word != Word::Stop
            && let Some(token) = self.tokens.get(self.place + length)
            && let Some(operator) = postfix(&token.text)
            && token.kind == Kind::Word
            && !self.begins_value(self.place + length + 1)
            && self.in_clause(|what| matches!(what, What::Quantity(_)))
        {
            return self.push(What::Postfix(operator), length + 1);
        }
        if self.merges_deeds() && self.deed_at(self.place + length).is_some() {
            return self.push(What::Stop, length);
        }
        let listed = self.listed.take();
        if let Some(subject) = listed {
            let next = self.place + length;
            // ", or" is one connector.
            let second = (word == Word::Stop)
                .then(|| phrase(self.tokens.get(next..).unwrap_or_default()))
                .flatten()
                .filter(|(second, _)| matches!(second, Word::And | Word::Or));
            let (is_or, length) = second.map_or((is_or, length), |(second, more)| (second == Word::Or, length + more));
            let is_comma = word == Word::Stop && second.is_none();
            let before = (self.place, self.pieces.len());
            self.pieces.push(Piece {
                what: What::Joint((!is_comma).then_some(is_or)),
                first: self.place,
                last: self.place + length,
            });
            self.place += length;
            if self.take_listed(subject) {
                return;
            }
            self.place = before.0;
            self.pieces.truncate(before.1);
        }
        let what = match word {
            Word::Or => What::Or,
            Word::And => What::And,
            _ => What::Comma,
        };
        self.push(what, length);
    }

    /// Whether a comparison's value, or "than", begins here.
    fn begins_value(&self, place: usize) -> bool {
        self.tokens.get(place).is_some_and(|token| {
            matches!(token.kind, Kind::Number(_) | Kind::Currency(_))
                || token.kind == Kind::Word
                    && (token.text == "than"
                        || matches!(
                            phrase(self.tokens.get(place..).unwrap_or_default()),
                            Some((Word::Number(_) | Word::Currency(_) | Word::Article, _))
                        ))
        })
    }

    /// "haven't visited or ordered": one "not" for several deeds.
    fn merges_deeds(&self) -> bool {
        let denied = self.in_clause(|what| *what == What::Not);
        let counted = self.in_clause(|what| matches!(what, What::Quantity(_) | What::Between(_)));
        let deed = |what: &What| matches!(what, What::Deed | What::Visited | What::Subject(Subject::Visits));
        denied
            && !counted
            && self.clause().iter().rev().find(|piece| piece.what != What::Stop).is_some_and(|piece| deed(&piece.what))
    }

    fn deed_at(&self, place: usize) -> Option<usize> {
        let tokens = self.tokens.get(place..)?;
        match phrase(tokens)? {
            (Word::Deed | Word::Visited | Word::Visits, length) => Some(length),
            (Word::And | Word::Or | Word::Stop, length) => self.deed_at(place + length),
            _ => None,
        }
    }
}
