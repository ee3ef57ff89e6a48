//! Values that are words, yes or no, and whether there is a value at all.

use super::{
    super::{draft::Draft, language::Subject, piece::What, refusal::Code},
    Clause, Outcome,
};
use crate::rule::{Operator, RuleType};

const fn is_equality(operator: Operator) -> bool {
    matches!(operator, Operator::Equal | Operator::NotEqual)
}

impl Clause<'_> {
    /// Whether the field has a value: "without a city", "city is unknown", "with a city".
    pub(super) fn existence(&self, subject: Subject) -> Outcome<Option<Draft>> {
        let (name, _) = self.language.field(subject);
        let has_value = !(self.quantities.is_empty()
            && self.ranges.is_empty()
            && self.dates.is_empty()
            && self.date_ranges.is_empty()
            && self.chosen.is_empty()
            && self.comparisons.is_empty());
        let exists = match self.special.as_slice() {
            [] if has_value => return Ok(None),
            [] if self.is_denied() => false,
            [] if self.given => true,
            [(_, What::Known)] if !has_value => !self.is_denied(),
            [(_, What::Missing)] if !has_value => self.is_denied(),
            _ => return Ok(None),
        };
        if let Some(place) = self.last.or(self.ago) {
            return Err(self.leftover(place, subject));
        }
        Ok(Some(Draft::leaf(name, Operator::Exists, &exists.into())))
    }

    pub(super) fn flag(&mut self, subject: Subject) -> Outcome<Draft> {
        let (name, _) = self.language.field(subject);
        let value = match self.special.as_slice() {
            [] | [(_, What::True)] => true,
            [(_, What::False)] => false,
            [(_, What::Known | What::Missing)] => {
                return match self.existence(subject)? {
                    Some(draft) => Ok(draft),
                    None => Err(self.whole(Code::UnsupportedText, "This is yes or no.")),
                };
            }
            [(place, _), ..] => return Err(self.leftover(*place, subject)),
        };
        let number = self.quantities.first().map(|(place, _)| *place).or(self.ranges.first().map(|(place, _)| *place));
        if let Some(place) = number {
            let message = format!("{} is yes or no.", self.language.label(subject));
            return Err(Self::at(place, Code::UnitMismatch, message));
        }
        let other = [
            self.last,
            self.ago,
            self.chosen.first().map(|(place, ..)| *place),
            self.dates.first().map(|(place, _)| *place),
            self.date_ranges.first().map(|(place, ..)| *place),
            self.comparisons.iter().find(|(_, operator, _)| *operator != Operator::Equal).map(|(place, ..)| *place),
        ];
        if let Some(place) = other.into_iter().flatten().min() {
            return Err(self.leftover(place, subject));
        }
        let operator = if self.is_denied() { Operator::NotEqual } else { Operator::Equal };
        Ok(Draft::leaf(name, operator, &value.into()))
    }

    pub(super) fn words(&mut self, subject: Subject) -> Outcome<Draft> {
        if let Some(draft) = self.existence(subject)? {
            return Ok(draft);
        }
        let operator = self.word_operator(subject)?;
        let Some((place, ..)) = self.chosen.first().copied() else {
            let message = format!("{} needs a value.", self.language.label(subject));
            return Err(self.whole(Code::MissingValue, message));
        };
        self.note(subject, operator);
        let (name, kind) = self.language.field(subject);
        let one = match (kind, operator) {
            (RuleType::List, Operator::Equal) => Operator::Contains,
            (_, operator) => operator,
        };
        let several = self.chosen.len() > 1;
        if several && one != Operator::Equal && one != Operator::Contains || several && operator == Operator::Contains {
            return Err(Self::at(place, Code::UnsupportedText, "Only one part of a text can be asked for at once."));
        }
        let joined = self.joints.iter().flatten().copied();
        let (any, all) = (joined.clone().any(|is_or| is_or), joined.clone().any(|is_or| !is_or));
        if any && all {
            return Err(
                self.whole(Code::UnsupportedText, "The values are joined by \"and\" and by \"or\": say them apart.")
            );
        }
        let is_list = matches!(kind, RuleType::List | RuleType::IdList);
        let draft = if !several {
            Draft::leaf(name, one, &self.chosen.first().map_or("", |(_, value, _)| value).into())
        } else if is_list && !any {
            Draft::all(self.chosen.iter().map(|(_, value, _)| Draft::leaf(name, one, &(*value).into())).collect())
        } else {
            if !any {
                let label = self.language.label(subject);
                self.assumptions.push(format!("Each customer has one {label}, so one of the values is asked for."));
            }
            let mut values: Vec<&str> = Vec::new();
            for (_, value, _) in &self.chosen {
                if !values.contains(value) {
                    values.push(value);
                }
            }
            let operator = if self.is_denied() { Operator::NotIn } else { Operator::In };
            return Ok(Draft::leaf(name, operator, &values.into()));
        };
        Ok(match (self.is_denied(), &draft) {
            (false, _) => draft,
            (true, Draft::Leaf(_)) if one == Operator::Equal => {
                Draft::leaf(name, Operator::NotEqual, &self.chosen.first().map_or("", |(_, value, _)| value).into())
            }
            (true, _) => draft.negated(),
        })
    }

    /// What is asked of the words; "not equal to" counts as a denial.
    fn word_operator(&mut self, subject: Subject) -> Outcome<Operator> {
        let others = [
            self.quantities.first().map(|(place, _)| *place),
            self.ranges.first().map(|(place, _)| *place),
            self.dates.first().map(|(place, _)| *place),
            self.date_ranges.first().map(|(place, ..)| *place),
            self.last,
            self.ago,
            self.comparisons.get(1).map(|(place, ..)| *place),
            self.comparisons.iter().find(|(_, operator, _)| !is_equality(*operator)).map(|(place, ..)| *place),
        ];
        if let Some(place) = others.into_iter().flatten().min() {
            return Err(self.leftover(place, subject));
        }
        if let Some((place, Operator::NotEqual, _)) = self.comparisons.first().copied() {
            if self.is_denied() {
                return Err(Self::at(place, Code::AmbiguousNegation, "One part can say \"not\" once."));
            }
            self.denials.push(place);
        }
        let operator = match self.special.as_slice() {
            [] => Operator::Equal,
            [(_, What::Contains)] => Operator::Contains,
            [(_, What::StartsWith)] => Operator::StartsWith,
            [(place, _), ..] => return Err(self.leftover(*place, subject)),
        };
        let field = match subject {
            Subject::Custom(place) => self.language.known(place).map(|known| &known.field),
            _ => None,
        };
        let listed = self.language.field(subject).1 != RuleType::Text;
        let fits = match operator {
            Operator::Equal => true,
            Operator::Contains if listed => return Ok(Operator::Equal),
            operator => field.is_some_and(|field| field.takes(operator)),
        };
        match self.special.first() {
            Some((place, _)) if !fits => Err(self.leftover(*place, subject)),
            _ => Ok(operator),
        }
    }

    /// What should be known about values that are compared as they are written, or that stand for something else.
    fn note(&mut self, subject: Subject, operator: Operator) {
        let label = self.language.label(subject).to_owned();
        for (_, value, shown) in &self.chosen {
            if subject == Subject::Group {
                self.assumptions.push(format!("The group {shown} is {value}."));
            } else if subject == Subject::Tags {
                let known = self.language.knows_tags() && !self.language.has_tag(value);
                self.assumptions.extend(known.then(|| format!("No customer has the tag \"{value}\" so far.")));
            } else if operator == Operator::Equal && self.language.choices(subject).is_none() {
                self.assumptions.push(format!("{label} is compared with \"{value}\" exactly as it is written here."));
            }
        }
    }
}
