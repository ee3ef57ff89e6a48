//! Quantities: numbers with what makes them an amount, a count or a time.

use rust_decimal::Decimal;

use super::{
    super::{
        refusal::Code,
        scan::Kind,
        vocabulary::{Word, phrase},
    },
    Builder, OWN, Quantity, Unit, What,
};

impl Builder<'_> {
    /// The days of a unit that stands here.
    pub(super) fn unit_at(&self, place: usize) -> Option<(u16, usize)> {
        match phrase(self.tokens.get(place..)?)? {
            (Word::Unit(days), length) => Some((days, length)),
            _ => None,
        }
    }

    /// `[currency] NUMBER [scale] [currency] [unit]`.
    fn read_quantity(&self, from: usize) -> Option<(Quantity, usize)> {
        let mut place = from;
        let mut currency = self.currency_at(&mut place);
        let token = self.tokens.get(place)?;
        let mut unit = None;
        let mut number = match (&token.kind, phrase(self.tokens.get(place..)?)) {
            (Kind::Number(number), _) => *number,
            (_, Some((Word::Number(number), 1))) => Ok(Decimal::from(number)),
            (_, Some((Word::Count(number), 1))) => {
                unit = Some(Unit::Times);
                Ok(Decimal::from(number))
            }
            // "a month", "the last year".
            (_, Some((Word::Article, 1))) if self.unit_at(place + 1).is_some() => Ok(Decimal::ONE),
            (_, Some((Word::Unit(_), _))) if place == from => {
                place = place.checked_sub(1)?;
                Ok(Decimal::ONE)
            }
            _ => return None,
        };
        place += 1;
        let mut scaled = false;
        if let Some((Word::Scale(zeros, is_m), length)) = phrase(self.tokens.get(place..)?) {
            scaled = true;
            unit = is_m.then_some(Unit::Unclear);
            place += length;
            let scale = Decimal::from(10_u64.pow(zeros));
            number = number.and_then(|number| number.checked_mul(scale).ok_or(Code::ValueOutOfRange));
        }
        let after = self.currency_at(&mut place);
        if let (Some(before), Some(after)) = (currency, after)
            && before != after
        {
            number = Err(Code::CurrencyMismatch);
        }
        currency = currency.or(after);
        match phrase(self.tokens.get(place..)?) {
            Some((Word::Unit(days), length)) if unit.is_none() => {
                unit = Some(Unit::Days(days));
                place += length;
            }
            Some((Word::Times, length)) if unit.is_none() => {
                unit = Some(Unit::Times);
                place += length;
            }
            _ => {}
        }
        // "5abc": no number after all.
        if let Some(rest) = self.tokens.get(place).filter(|rest| rest.glued && rest.kind == Kind::Word) {
            if phrase(std::slice::from_ref(rest)).is_none() {
                number = Err(Code::BadNumber);
            }
            place += usize::from(number.is_err());
        }
        Some((Quantity { number, currency, scaled, unit }, place - from))
    }

    pub(super) fn currency_at(&self, place: &mut usize) -> Option<&'static str> {
        let token = self.tokens.get(*place)?;
        let found = match (&token.kind, phrase(self.tokens.get(*place..)?)) {
            (Kind::Currency(currency), _) => Some(*currency),
            (_, Some((Word::Currency(currency), 1))) => Some(currency),
            (Kind::Word, None) if token.text.eq_ignore_ascii_case(self.language.currency().as_ref()) => Some(OWN),
            _ => None,
        };
        *place += usize::from(found.is_some());
        found
    }

    pub(super) fn quantity(&mut self) {
        match self.read_quantity(self.place) {
            Some((quantity, length)) => self.push(What::Quantity(quantity), length.max(1)),
            None => self.push(What::Unknown, 1),
        }
    }

    /// `between A and B`.
    pub(super) fn between(&mut self, length: usize) {
        let begin = self.place + length;
        let joins = |place: usize| {
            let token = self.tokens.get(place);
            token.is_some_and(|token| token.kind == Kind::Word && matches!(token.text.as_str(), "and" | "to"))
        };
        if let (Some(Kind::Date(first)), true, Some(Kind::Date(last))) = (
            self.tokens.get(begin).map(|token| &token.kind),
            joins(begin + 1),
            self.tokens.get(begin + 2).map(|token| &token.kind),
        ) {
            let what = What::BetweenDates(*first, *last);
            return self.push(what, length + 3);
        }
        let read = self.read_quantity(begin).filter(|(_, first)| joins(begin + first)).and_then(|(low, first)| {
            let (high, second) = self.read_quantity(begin + first + 1)?;
            Some((low, high, first + 1 + second))
        });
        match read {
            Some((low, high, more)) => self.push(What::Between(Box::new((low, high))), length + more),
            None => self.push(What::Incomplete, length),
        }
    }
}
