//! One clause as a condition: what it is about, what is asked of it, and with what it is compared.

mod number;
mod time;
mod word;

use jiff::civil::Date;

use super::{
    draft::Draft,
    language::{Language, Subject},
    piece::{Piece, Quantity, Unit, What},
    refusal::{Code, Fault},
};
use crate::rule::{Operator, RuleType};

/// What a clause has said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) draft: Draft,
    /// What a later clause without a field is about.
    pub(super) subject: Subject,
    pub(super) assumptions: Vec<String>,
}

/// A clause, its pieces sorted by what they are. Numbers are places of pieces in the sentence.
#[derive(Debug)]
pub(super) struct Clause<'a> {
    language: &'a Language,
    pieces: &'a [Piece],
    /// Its pieces, without those that were set aside.
    places: &'a [usize],
    denials: Vec<usize>,
    subjects: Vec<(usize, Subject)>,
    deeds: Vec<usize>,
    visited: Vec<usize>,
    active: Vec<usize>,
    given: bool,
    last: Option<usize>,
    ago: Option<usize>,
    within: Option<(usize, bool)>,
    /// Comparisons, and whether each has a "not" of its own.
    comparisons: Vec<(usize, Operator, bool)>,
    quantities: Vec<(usize, &'a Quantity)>,
    ranges: Vec<(usize, &'a (Quantity, Quantity))>,
    dates: Vec<(usize, Date)>,
    date_ranges: Vec<(usize, Date, Date)>,
    chosen: Vec<(usize, &'a str, &'a str)>,
    joints: Vec<Option<bool>>,
    /// Words that only some kinds of fields take.
    special: Vec<(usize, &'a What)>,
    assumptions: Vec<String>,
}

type Outcome<T> = Result<T, Fault>;

impl<'a> Clause<'a> {
    /// What the pieces say; a clause that names no field is about the one before.
    pub(super) fn read(
        language: &'a Language,
        pieces: &'a [Piece],
        places: &'a [usize],
        inherited: Option<Subject>,
    ) -> Outcome<Said> {
        let mut clause = Self {
            language,
            pieces,
            places,
            denials: Vec::new(),
            subjects: Vec::new(),
            deeds: Vec::new(),
            visited: Vec::new(),
            active: Vec::new(),
            given: false,
            last: None,
            ago: None,
            within: None,
            comparisons: Vec::new(),
            quantities: Vec::new(),
            ranges: Vec::new(),
            dates: Vec::new(),
            date_ranges: Vec::new(),
            chosen: Vec::new(),
            joints: Vec::new(),
            special: Vec::new(),
            assumptions: Vec::new(),
        };
        clause.sort()?;
        let (draft, subject) = clause.decide(inherited)?;
        Ok(Said { draft, subject, assumptions: clause.assumptions })
    }

    fn sort(&mut self) -> Outcome<()> {
        let pieces = self.pieces;
        for place in self.places {
            let place = *place;
            let Some(piece) = pieces.get(place) else { continue };
            match &piece.what {
                What::Unknown => return Err(self.unknown(place)),
                What::NoChoice => return Err(self.no_choice(place)),
                What::Not => self.denials.push(place),
                What::Subject(subject) => {
                    if !self.subjects.iter().any(|(_, other)| other == subject) {
                        self.subjects.push((place, *subject));
                    }
                }
                What::Visited => self.visited.push(place),
                What::Active => self.active.push(place),
                What::Deed => self.deeds.push(place),
                What::Last => self.last = Some(place),
                What::Ago => self.ago = Some(place),
                What::Within(ends_now) => {
                    if self.within.is_none_or(|(_, before)| !before) {
                        self.within = Some((place, *ends_now));
                    }
                }
                What::Compare(operator) | What::Postfix(operator) => self.comparisons.push((place, *operator, false)),
                What::NegativeCompare(operator) => self.comparisons.push((place, *operator, true)),
                What::Quantity(quantity) => self.quantities.push((place, quantity)),
                What::Between(range) => self.ranges.push((place, range)),
                What::Date(date) => self.dates.push((place, *date)),
                What::BetweenDates(first, last) => self.date_ranges.push((place, *first, *last)),
                What::Chosen(value, shown) => self.chosen.push((place, value, shown)),
                What::Joint(is_or) => self.joints.push(*is_or),
                What::Given => self.given = true,
                What::Stop
                | What::Noun
                | What::Is
                // They never stand inside of a clause.
                | What::And
                | What::Or
                | What::Comma
                | What::Also
                | What::Open
                | What::Close => {}
                special => self.special.push((place, special)),
            }
        }
        Ok(())
    }

    /// Words without a meaning, with the small word before them.
    fn unknown(&self, place: usize) -> Fault {
        let is_unknown = |place: usize| {
            self.places.contains(&place) && self.pieces.get(place).is_some_and(|piece| piece.what == What::Unknown)
        };
        let mut last = place + 1;
        while is_unknown(last) {
            last += 1;
        }
        let before = place.checked_sub(1).filter(|before| {
            let small = |what: &What| matches!(what, What::Within(_) | What::On | What::Before | What::After);
            self.places.contains(before) && self.pieces.get(*before).is_some_and(|piece| small(&piece.what))
        });
        let message = "These words have no place in a rule.";
        Fault::new(Code::UnsupportedText, before.unwrap_or(place), last, message)
    }

    fn no_choice(&self, place: usize) -> Fault {
        let before = self.pieces.get(..place).unwrap_or_default().iter().rev().find_map(|piece| match piece.what {
            What::Subject(subject) => Some(subject),
            _ => None,
        });
        let choices = before.and_then(|subject| self.language.choices(subject)).unwrap_or_default();
        let shown: Vec<&str> = choices.iter().take(20).map(|choice| choice.shown.as_str()).collect();
        let message = match (before, shown.as_slice()) {
            (Some(subject), []) => format!("There is no {} to choose.", self.language.label(subject)),
            (Some(subject), shown) => {
                format!("This is none of what {} can be: {}.", self.language.label(subject), shown.join(", "))
            }
            (None, _) => "These words have no place in a rule.".to_owned(),
        };
        Fault::new(Code::UnsupportedText, place, place + 1, message)
    }

    fn first(&self) -> usize {
        self.places.first().copied().unwrap_or_default()
    }

    fn end(&self) -> usize {
        self.places.last().map_or(0, |last| last + 1)
    }

    /// A fault of the whole clause.
    fn whole(&self, code: Code, message: impl Into<String>) -> Fault {
        Fault::new(code, self.first(), self.end(), message)
    }

    fn at(place: usize, code: Code, message: impl Into<String>) -> Fault {
        Fault::new(code, place, place + 1, message)
    }

    fn is_denied(&self) -> bool {
        !self.denials.is_empty()
    }

    fn decide(&mut self, inherited: Option<Subject>) -> Outcome<(Draft, Subject)> {
        if let Some(second) = self.denials.get(1) {
            return Err(Self::at(*second, Code::AmbiguousNegation, "One part can say \"not\" once."));
        }
        if let Some((place, What::Adjective(subject, value))) = self.special.first() {
            let (place, subject, value) = (*place, *subject, (*value).clone());
            return self.adjective(place, subject, &value);
        }
        if let Some((second, subject)) = self.subjects.get(1) {
            let first = self.subjects.first().map_or("", |(_, first)| self.language.label(*first));
            let message = format!(
                "One part can be about {first} or about {}, not about both: join two by \"and\" or \"or\".",
                self.language.label(*subject)
            );
            return Err(Fault::new(Code::AmbiguousField, self.first(), *second + 1, message));
        }
        let Some((_, subject)) = self.subjects.first().copied() else { return self.without_subject(inherited) };
        if subject == Subject::Visits {
            if self.is_denied() && self.has_period() && self.counts().is_none() {
                return self.activity();
            }
        } else if let Some(place) = self.visited.first().or_else(|| self.active.first()) {
            let message =
                format!("One part can be about {} or about visits, not about both.", self.language.label(subject));
            return Err(Fault::new(Code::AmbiguousField, self.first().min(*place), *place + 1, message));
        }
        if let Some(place) = self.deeds.first() {
            return Err(Self::at(*place, Code::UnsupportedText, "What was ordered or bought cannot be asked about."));
        }
        self.about(subject).map(|draft| (draft, subject))
    }

    /// The condition, once it is plain what it is about.
    fn about(&mut self, subject: Subject) -> Outcome<Draft> {
        match self.language.field(subject).1 {
            RuleType::Text | RuleType::List | RuleType::IdList => self.words(subject),
            RuleType::Boolean => self.flag(subject),
            RuleType::Date | RuleType::Timestamp => self.time(subject),
            RuleType::Money | RuleType::Integer | RuleType::Number | RuleType::Days => self.number(subject),
            RuleType::Id | RuleType::Json => {
                Err(self
                    .whole(Code::UnsupportedText, format!("{} cannot be asked about.", self.language.label(subject))))
            }
        }
    }

    fn without_subject(&mut self, inherited: Option<Subject>) -> Outcome<(Draft, Subject)> {
        if !(self.visited.is_empty() && self.active.is_empty() && self.deeds.is_empty()) {
            return self.deed();
        }
        let counted = self.quantities.iter().any(|(_, quantity)| quantity.unit == Some(Unit::Times));
        if counted && inherited.is_none_or(|subject| subject != Subject::Visits) {
            return self.number(Subject::Visits).map(|draft| (draft, Subject::Visits));
        }
        let has_value = !(self.quantities.is_empty()
            && self.ranges.is_empty()
            && self.dates.is_empty()
            && self.date_ranges.is_empty()
            && self.chosen.is_empty());
        match inherited {
            Some(Subject::Inactive) if self.within.is_some() => {
                Err(self.whole(Code::MissingField, "Say again whether they were active or inactive in this time."))
            }
            Some(subject) if has_value => self.about(subject).map(|draft| (draft, subject)),
            _ => Err(self.whole(Code::MissingField, "It is not said what this is about, such as spend or visits.")),
        }
    }

    /// A clause that says what was done.
    fn deed(&mut self) -> Outcome<(Draft, Subject)> {
        if self.has_period() && self.counts().is_none() {
            return self.activity();
        }
        let nothing_more = self.quantities.is_empty()
            && self.ranges.is_empty()
            && self.comparisons.is_empty()
            && self.within.is_none()
            && self.last.is_none()
            && self.special.is_empty();
        match (self.visited.first(), self.active.first(), self.deeds.first()) {
            (_, None, Some(place)) if self.is_denied() && nothing_more => {
                Err(Self::at(*place, Code::MissingValue, "Say for how long, such as \"in 90 days\"."))
            }
            (_, _, Some(_)) => {
                Err(self
                    .whole(Code::UnsupportedText, "How often something was ordered or bought cannot be asked about."))
            }
            (Some(_), None, None) => self.number(Subject::Visits).map(|draft| (draft, Subject::Visits)),
            (None, Some(_), None) if nothing_more => {
                self.assumptions.push("\"active\" without a time is read as the status active.".to_owned());
                let operator = if self.is_denied() { Operator::NotEqual } else { Operator::Equal };
                let draft = Draft::leaf("status", operator, &"active".into());
                Ok((draft, Subject::Status))
            }
            _ => Err(self.whole(Code::MissingValue, "Say in which time, such as \"active in the last 30 days\".")),
        }
    }

    fn adjective(&self, place: usize, subject: Subject, value: &str) -> Outcome<(Draft, Subject)> {
        let alone = self.subjects.is_empty()
            && self.quantities.is_empty()
            && self.ranges.is_empty()
            && self.comparisons.is_empty()
            && self.special.len() == 1
            && self.chosen.is_empty()
            && self.visited.is_empty()
            && self.active.is_empty()
            && self.deeds.is_empty()
            && self.dates.is_empty()
            && self.date_ranges.is_empty()
            && self.last.is_none()
            && self.ago.is_none();
        if !alone {
            let message = format!("Join \"{value}\" to the rest by \"and\" or \"or\".");
            return Err(Fault::new(Code::AmbiguousField, self.first(), (place + 1).max(self.end()), message));
        }
        let operator = if self.is_denied() { Operator::NotEqual } else { Operator::Equal };
        Ok((Draft::leaf(self.language.field(subject).0, operator, &value.into()), subject))
    }
}
