//! Values that are words: chosen among those that there are, or as they are written.

use super::{
    super::{
        language::Subject,
        scan::{Kind, Token},
        vocabulary::{Word, phrase},
    },
    Builder, What,
};
use crate::rule::Operator;

impl Builder<'_> {
    /// A value that is words, where one stands here; or what may stand before it.
    pub(super) fn take_value(&mut self, subject: Subject) -> bool {
        if self.take_choice(subject) {
            return true;
        }
        let Some(token) = self.tokens.get(self.place) else { return false };
        let word = phrase(self.rest());
        let length = word.map_or(1, |(_, length)| length);
        let what = match (&token.kind, word) {
            (Kind::Colon, _) | (_, Some((Word::Is, _))) => What::Is,
            (Kind::Compare(operator @ (Operator::Equal | Operator::NotEqual)), _) => What::Compare(*operator),
            (_, Some((Word::Compare(operator @ Operator::Equal), _))) => What::Compare(operator),
            (_, Some((Word::NegativeCompare(operator @ Operator::NotEqual), _))) => What::NegativeCompare(operator),
            (_, Some((Word::Not, _))) => What::Not,
            (_, Some((Word::Contains, _))) => What::Contains,
            (_, Some((Word::StartsWith, _))) => What::StartsWith,
            (_, Some((Word::Relative, 1))) if matches!(token.text.as_str(), "with") => What::Stop,
            (_, Some((Word::Stop, _))) if matches!(token.text.as_str(), "as" | "of") => What::Stop,
            // Of any text it may be a part: "The Hague".
            (_, Some((Word::Stop, _))) if token.text == "the" && self.language.choices(subject).is_some() => What::Stop,
            _ => {
                self.expected = None;
                return self.take_words(subject);
            }
        };
        self.push(what, length);
        self.expected = Some(subject);
        true
    }

    fn take_choice(&mut self, subject: Subject) -> bool {
        let Some((choice, length)) = self.language.choose(subject, self.rest()) else { return false };
        let (value, shown) = (choice.value.clone(), choice.shown.clone());
        self.push(What::Chosen(value, shown), length);
        self.expected = None;
        self.listed = Some(subject);
        true
    }

    /// Words as they are written, up to the next word that means something.
    fn take_words(&mut self, subject: Subject) -> bool {
        let Some(token) = self.tokens.get(self.place) else { return false };
        if let Kind::Quoted(text) = &token.kind {
            let what = if self.language.choices(subject).is_some() {
                What::NoChoice
            } else {
                What::Chosen(text.clone(), text.clone())
            };
            self.push(what, 1);
            self.listed = Some(subject);
            return true;
        }
        let any = match phrase(self.rest()) {
            // They say something about the field themselves, or begin something else.
            Some((
                Word::Known
                | Word::Missing
                | Word::And
                | Word::Or
                | Word::Relative
                | Word::Without
                | Word::Noun
                | Word::Spend
                | Word::Visits
                | Word::Inactive
                | Word::Compare(_)
                | Word::NegativeCompare(_)
                | Word::Between
                | Word::Within(_)
                | Word::Before
                | Word::After,
                _,
            )) => return false,
            _ => matches!(token.kind, Kind::Word | Kind::Number(_) | Kind::Date(_)),
        };
        if !any || self.language.named(self.rest()).is_some() {
            return false;
        }
        let mut length = 1;
        while self.is_unknown(self.place + length) {
            length += 1;
        }
        if self.language.choices(subject).is_some() {
            self.push(What::NoChoice, length);
            return true;
        }
        self.push_written(length);
        self.listed = Some(subject);
        true
    }

    fn push_written(&mut self, length: usize) {
        let span = self.tokens.get(self.place..self.place + length).unwrap_or_default();
        let (start, end) = (span.first().map_or(0, |token| token.start), span.last().map_or(0, |token| token.end));
        let written = self.text.get(start..end).unwrap_or_default().to_owned();
        self.push(What::Chosen(written.clone(), written), length);
    }

    /// One more value of a list, which must be nothing but words up to the next connector.
    pub(super) fn take_listed(&mut self, subject: Subject) -> bool {
        if self.take_choice(subject) {
            return true;
        }
        if self.language.choices(subject).is_some() {
            return false;
        }
        if let Some(Token { kind: Kind::Quoted(_), .. }) = self.tokens.get(self.place) {
            return self.take_words(subject);
        }
        let mut length = 0;
        while self.is_unknown(self.place + length) {
            length += 1;
        }
        if length == 0 || !self.is_connector(self.place + length) {
            return false;
        }
        self.push_written(length);
        self.listed = Some(subject);
        true
    }

    fn is_unknown(&self, place: usize) -> bool {
        let Some(rest) = self.tokens.get(place..) else { return false };
        rest.first().is_some_and(|token| token.kind == Kind::Word)
            && phrase(rest).is_none()
            && self.language.named(rest).is_none()
            && self.language.adjective(rest).is_none()
    }
}
