//! Amounts, counts, and for how long nothing was heard of somebody.

use rust_decimal::Decimal;

use super::{
    super::{
        amount::amount,
        draft::Draft,
        language::Subject,
        piece::{Quantity, Unit, What},
        refusal::{Code, Fault},
    },
    Clause, Outcome,
};
use crate::rule::{Operator, RuleType};

/// The opposite of a comparison.
const fn opposite(operator: Operator) -> Operator {
    match operator {
        Operator::Greater => Operator::LessOrEqual,
        Operator::GreaterOrEqual => Operator::Less,
        Operator::Less => Operator::GreaterOrEqual,
        Operator::LessOrEqual => Operator::Greater,
        Operator::Equal => Operator::NotEqual,
        Operator::NotEqual => Operator::Equal,
        other => other,
    }
}

const fn is_time(quantity: &Quantity) -> bool {
    matches!(quantity.unit, Some(Unit::Days(_)))
}

impl Clause<'_> {
    /// Whether a time such as "90 days" is named.
    pub(super) fn has_period(&self) -> bool {
        self.quantities.iter().any(|(_, quantity)| is_time(quantity))
            || self.ranges.iter().any(|(_, range)| is_time(&range.1))
    }

    /// The first number that is no time.
    pub(super) fn counts(&self) -> Option<usize> {
        let quantity = self.quantities.iter().find(|(_, quantity)| !is_time(quantity)).map(|(place, _)| *place);
        quantity.or_else(|| self.ranges.iter().find(|(_, range)| !is_time(&range.1)).map(|(place, _)| *place))
    }

    /// The comparison of the clause, if it has one.
    fn comparison(&self) -> Outcome<Option<(usize, Operator)>> {
        match self.comparisons.as_slice() {
            [] => Ok(None),
            [(place, _, true)] if self.is_denied() => {
                let message = "The comparison says \"no\" or \"not\" already.";
                Err(Self::at(*place, Code::AmbiguousNegation, message))
            }
            [(place, operator, _)] => Ok(Some((*place, *operator))),
            [_, (second, ..), ..] => {
                Err(Self::at(*second, Code::UnsupportedText, "One part can compare once: join two by \"and\"."))
            }
        }
    }

    /// Refuses what an amount or a count has nothing to do with.
    fn only_numbers(&self, subject: Subject) -> Outcome<()> {
        if let Some((place, what)) = self.special.first() {
            return Err(match what {
                What::Incomplete => Self::at(*place, Code::MissingValue, "A number is missing here."),
                _ => self.leftover(*place, subject),
            });
        }
        let leftover = [
            self.ago,
            self.last,
            self.dates.first().map(|(place, _)| *place),
            self.date_ranges.first().map(|(place, ..)| *place),
            self.chosen.first().map(|(place, ..)| *place),
        ];
        match leftover.into_iter().flatten().min() {
            Some(place) => Err(self.leftover(place, subject)),
            None => Ok(()),
        }
    }

    pub(super) fn leftover(&self, place: usize, subject: Subject) -> Fault {
        let message = format!("This cannot be said of {}.", self.language.label(subject));
        Self::at(place, Code::UnsupportedText, message)
    }

    /// Refuses "in the last 30 days" of what is counted over a lifetime, and "in 2024".
    fn no_period(&self, subject: Subject) -> Outcome<()> {
        let Some((within, _)) = self.within else { return Ok(()) };
        let after = |place: &usize| *place > within;
        let time = self.quantities.iter().find(|(place, quantity)| after(place) && is_time(quantity));
        if let Some((place, _)) = time {
            let message = format!(
                "{} counts everything since the beginning: it cannot be asked for a period.",
                self.language.label(subject)
            );
            return Err(Fault::new(Code::UnsupportedText, within, *place + 1, message));
        }
        let next = self.quantities.iter().find(|(place, _)| after(place));
        match next {
            Some((place, quantity)) if quantity.currency.is_none() && *place == within + 1 => {
                Err(Fault::new(Code::UnsupportedText, within, *place + 1, "A year or a date has no place here."))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn number(&mut self, subject: Subject) -> Outcome<Draft> {
        let own = matches!(subject, Subject::Custom(_));
        if own && let Some(draft) = self.existence(subject)? {
            return Ok(draft);
        }
        self.only_numbers(subject)?;
        let kind = self.language.field(subject).1;
        if kind != RuleType::Days {
            self.no_period(subject)?;
        }
        let comparison = self.comparison()?;
        let mut places: Vec<usize> = self.quantities.iter().map(|(place, _)| *place).collect();
        places.extend(self.ranges.iter().map(|(place, _)| *place));
        places.sort_unstable();
        if let Some(second) = places.get(1) {
            return Err(Self::at(
                *second,
                Code::UnsupportedText,
                "One part can have one value: join two by \"and\" or \"or\".",
            ));
        }
        if let Some((place, range)) = self.ranges.first().copied() {
            if let Some((comparison, _)) = comparison {
                return Err(self.leftover(comparison, subject));
            }
            return self.range(subject, place, range);
        }
        let Some((place, quantity)) = self.quantities.first().copied() else {
            return self.without_value(subject, comparison.is_some());
        };
        let value = self.value(subject, place, quantity)?;
        let operator = comparison.map_or_else(|| self.usual(subject, value), |(_, operator)| operator);
        let operator = if self.is_denied() { opposite(operator) } else { operator };
        Ok(self.leaf(subject, operator, value))
    }

    /// What is meant where nothing is said.
    fn usual(&mut self, subject: Subject, value: Decimal) -> Operator {
        match subject {
            Subject::Inactive => Operator::Greater,
            Subject::Spend => {
                let not = if self.is_denied() { "not " } else { "" };
                self.assumptions.push(format!("Spend without a comparison is read as {not}at least {value}."));
                Operator::GreaterOrEqual
            }
            _ => Operator::Equal,
        }
    }

    fn without_value(&self, subject: Subject, compared: bool) -> Outcome<Draft> {
        if self.is_denied() && !compared && matches!(subject, Subject::Spend | Subject::Visits) {
            return Ok(self.leaf(subject, Operator::Equal, Decimal::ZERO));
        }
        let example = match subject {
            Subject::Inactive => "\"inactive for 90 days\"",
            Subject::Visits => "\"visited at least 3 times\"",
            Subject::Spend => "\"spent more than 5000\"",
            _ => "\"more than 5\"",
        };
        let message = format!("{} needs a value, such as {example}.", self.language.label(subject));
        Err(self.whole(Code::MissingValue, message))
    }

    fn value(&mut self, subject: Subject, place: usize, quantity: &Quantity) -> Outcome<Decimal> {
        amount(self.language, subject, quantity, &mut self.assumptions)
            .map_err(|(code, message)| Self::at(place, code, message))
    }

    fn leaf(&self, subject: Subject, operator: Operator, value: Decimal) -> Draft {
        Draft::raw(self.language.field(subject).0, operator, &value.normalize().to_string())
    }

    fn range(&mut self, subject: Subject, place: usize, range: &(Quantity, Quantity)) -> Outcome<Draft> {
        let (low, high) = range;
        let mut low = low.clone();
        if low.unit.is_none() && is_time(high) {
            low.unit = high.unit;
        }
        if high.scaled && !low.scaled {
            self.assumptions
                .push("The lower end is read as it is written, not in thousands, lakhs or crores.".to_owned());
        }
        let (low, high) = (self.value(subject, place, &low)?, self.value(subject, place, high)?);
        if low > high {
            let message = format!("Nothing is between {low} and {high}: the smaller one comes first.");
            return Err(Self::at(place, Code::ValueOutOfRange, message));
        }
        let leaf = |operator, value| self.leaf(subject, operator, value);
        Ok(if self.is_denied() {
            Draft::any(vec![leaf(Operator::Less, low), leaf(Operator::Greater, high)])
        } else {
            Draft::all(vec![leaf(Operator::GreaterOrEqual, low), leaf(Operator::LessOrEqual, high)])
        })
    }

    /// Whether anything was heard of somebody in a time: "haven't visited in 90 days", "active in the last 30 days".
    pub(super) fn activity(&mut self) -> Outcome<(Draft, Subject)> {
        let subject = Subject::Inactive;
        if let Some((place, _)) = self.special.first() {
            return Err(self.leftover(*place, subject));
        }
        if let Some((place, ..)) = self.chosen.first() {
            return Err(self.leftover(*place, subject));
        }
        let comparison = self.comparison()?;
        let denied = self.is_denied();
        let ends_now = self.within.is_some_and(|(_, ends_now)| ends_now);
        // "last active 30 days ago" says when, "not active in 30 days" for how long nothing was heard.
        let says_when = self.last.is_some() && !ends_now;
        if let (Some(place), false) = (self.ago, says_when) {
            let message = "Say \"last active more than 90 days ago\", or \"not active in 90 days\".";
            return Err(Self::at(place, Code::UnsupportedText, message));
        }
        if let Some((place, range)) = self.ranges.first().copied() {
            if !(denied || says_when) || !self.quantities.is_empty() || comparison.is_some() {
                return Err(self.leftover(place, subject));
            }
            let denials = if says_when { Vec::new() } else { std::mem::take(&mut self.denials) };
            let draft = self.range(subject, place, range);
            self.denials.extend(denials);
            return Ok((draft?, subject));
        }
        if let Some((second, _)) = self.quantities.get(1) {
            return Err(Self::at(*second, Code::UnsupportedText, "One part can have one time."));
        }
        let Some((place, quantity)) = self.quantities.first().copied() else {
            return Err(self.whole(Code::MissingValue, "Say in which time, such as \"in 90 days\"."));
        };
        let value = self.value(subject, place, quantity)?;
        let operator = if says_when {
            let operator = comparison.map_or(Operator::Greater, |(_, operator)| operator);
            if comparison.is_none() {
                self.assumptions.push(format!("Last active {value} days ago is read as more than {value} days ago."));
            }
            if denied { opposite(operator) } else { operator }
        } else if denied {
            match comparison {
                Some((at, Operator::Less | Operator::LessOrEqual | Operator::NotEqual)) => {
                    let message = "It is not plain what \"not\" denies here: say for how long they were inactive.";
                    return Err(Fault::new(Code::AmbiguousNegation, self.first().min(at), self.end(), message));
                }
                comparison => comparison.map_or(Operator::Greater, |(_, operator)| operator),
            }
        } else {
            let plain = self.deeds.is_empty() && self.visited.is_empty();
            match comparison {
                _ if !plain || !ends_now => {
                    let first = self.within.map_or(place, |(within, _)| within.min(place));
                    let message = "Only whether they were active at all is known of a period: say \"active in the last 30 days\".";
                    return Err(Fault::new(Code::UnsupportedText, first, place + 1, message));
                }
                None => Operator::LessOrEqual,
                Some((_, operator @ (Operator::Less | Operator::LessOrEqual))) => operator,
                Some((at, _)) => return Err(self.leftover(at, subject)),
            }
        };
        Ok((self.leaf(subject, operator, value), subject))
    }
}
