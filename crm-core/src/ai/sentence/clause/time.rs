//! Dates and instants of custom fields.

use jiff::civil::Date;

use super::{
    super::{
        draft::Draft,
        language::Subject,
        piece::{Quantity, Unit, What},
        refusal::Code,
    },
    Clause, Outcome,
};
use crate::rule::{Operator, RuleType};

impl Clause<'_> {
    pub(super) fn time(&mut self, subject: Subject) -> Outcome<Draft> {
        if let Some(draft) = self.existence(subject)? {
            return Ok(draft);
        }
        let named = |wanted: &What| self.special.iter().any(|(_, what)| *what == wanted);
        let (before, after) = (named(&What::Before), named(&What::After));
        let other = self.special.iter().find(|(_, what)| !matches!(what, What::Before | What::After | What::On));
        if let Some((place, what)) = other {
            return Err(match what {
                What::Incomplete => Self::at(*place, Code::MissingValue, "A date or a time is missing here."),
                _ => self.leftover(*place, subject),
            });
        }
        if let Some(place) = self.last.or_else(|| self.chosen.first().map(|(place, ..)| *place)) {
            return Err(self.leftover(place, subject));
        }
        let mut values: Vec<usize> = self.quantities.iter().map(|(place, _)| *place).collect();
        values.extend(self.ranges.iter().map(|(place, _)| *place));
        values.extend(self.dates.iter().map(|(place, _)| *place));
        values.extend(self.date_ranges.iter().map(|(place, ..)| *place));
        values.sort_unstable();
        if let Some(second) = values.get(1) {
            return Err(Self::at(*second, Code::UnsupportedText, "One part can have one value."));
        }
        let mut said: Vec<Operator> = self.comparisons.iter().map(|(_, operator, _)| *operator).collect();
        said.extend(before.then_some(Operator::Less));
        said.extend(after.then_some(Operator::Greater));
        if said.len() > 1 {
            return Err(self.whole(Code::UnsupportedText, "One part can compare once."));
        }
        let operator = said.first().copied();
        let draft = if let Some((place, first, last)) = self.date_ranges.first().copied() {
            if operator.is_some() {
                return Err(self.leftover(place, subject));
            }
            self.days_from(subject, first, last)
        } else if let Some((_, date)) = self.dates.first().copied() {
            let since = self.within.is_some_and(|(_, ends_now)| !ends_now);
            self.dated(subject, operator.or(since.then_some(Operator::GreaterOrEqual)), date)
        } else if let Some((place, quantity)) = self.quantities.first().copied() {
            self.relative(subject, place, quantity, operator)?
        } else if let Some((place, _)) = self.ranges.first() {
            return Err(Self::at(*place, Code::UnitMismatch, "Dates are written as 2026-01-31."));
        } else {
            let message = format!("{} needs a date such as 2026-01-31.", self.language.label(subject));
            return Err(self.whole(Code::MissingValue, message));
        };
        Ok(if self.is_denied() { draft.negated() } else { draft })
    }

    fn days_from(&self, subject: Subject, first: Date, last: Date) -> Draft {
        let (name, kind) = self.language.field(subject);
        let begin = Draft::leaf(name, Operator::GreaterOrEqual, &first.to_string().into());
        // The last day is meant to its end.
        let end = match (kind, last.tomorrow()) {
            (RuleType::Timestamp, Ok(next)) => Draft::leaf(name, Operator::Less, &next.to_string().into()),
            _ => Draft::leaf(name, Operator::LessOrEqual, &last.to_string().into()),
        };
        Draft::all(vec![begin, end])
    }

    /// A day, compared as a whole, also with instants.
    fn dated(&self, subject: Subject, operator: Option<Operator>, date: Date) -> Draft {
        let (name, kind) = self.language.field(subject);
        let next = if kind == RuleType::Timestamp { date.tomorrow().ok() } else { None };
        let leaf = |operator, date: Date| Draft::leaf(name, operator, &date.to_string().into());
        match (operator.unwrap_or(Operator::Equal), next) {
            (Operator::Equal, Some(_)) => self.days_from(subject, date, date),
            (Operator::NotEqual, Some(_)) => self.days_from(subject, date, date).negated(),
            (Operator::Greater, Some(next)) => leaf(Operator::GreaterOrEqual, next),
            (Operator::LessOrEqual, Some(next)) => leaf(Operator::Less, next),
            (operator, _) => leaf(operator, date),
        }
    }

    /// "in the last 30 days", "more than 30 days ago".
    fn relative(
        &self,
        subject: Subject,
        place: usize,
        quantity: &Quantity,
        operator: Option<Operator>,
    ) -> Outcome<Draft> {
        let (name, _) = self.language.field(subject);
        let number = quantity.number.ok().and_then(|number| u32::try_from(number).ok());
        let (Some(Unit::Days(each)), false, Some(number)) = (quantity.unit, quantity.scaled, number) else {
            return Err(Self::at(
                place,
                Code::UnitMismatch,
                "This needs a date such as 2026-01-31, or a time such as 30 days.",
            ));
        };
        let days = u64::from(number) * u64::from(each);
        if days > 36_500 {
            return Err(Self::at(place, Code::ValueOutOfRange, "A time is at most 36500 days."));
        }
        if self.ago.is_some() {
            let operator = match operator {
                Some(Operator::Greater) => Operator::Less,
                Some(Operator::GreaterOrEqual) => Operator::LessOrEqual,
                Some(Operator::Less) => Operator::Greater,
                Some(Operator::LessOrEqual) => Operator::GreaterOrEqual,
                _ => {
                    return Err(Self::at(
                        place,
                        Code::UnsupportedText,
                        "Say whether it was more or less than so long ago.",
                    ));
                }
            };
            return Ok(Draft::leaf(name, operator, &format!("now-{days}d").into()));
        }
        match (self.within, operator) {
            (Some((_, true)), None) => Ok(Draft::leaf(name, Operator::WithinLast, &format!("{days}d").into())),
            _ => {
                Err(Self::at(place, Code::UnsupportedText, "Say \"in the last 30 days\" or \"more than 30 days ago\"."))
            }
        }
    }
}
