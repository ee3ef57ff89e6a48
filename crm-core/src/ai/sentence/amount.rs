//! Quantities as values of a field: in its unit, in its currency, in its range.

use rust_decimal::Decimal;

use super::{
    language::{Language, Subject},
    piece::{OWN, Quantity, Unit},
    refusal::Code,
};
use crate::rule::RuleType;

/// The largest amount of money that a sentence may name.
const MOST_MONEY: i64 = 1_000_000_000_000;
/// The most visits.
const MOST_VISITS: i64 = 1_000_000_000;
/// The most days: a century.
const MOST_DAYS: i64 = 36_500;

/// What is wrong with a quantity, for a program and for a person.
pub(super) type Wrong = (Code, String);

/// The value of a quantity for a subject, exactly; what had to be assumed is noted.
pub(super) fn amount(
    language: &Language,
    subject: Subject,
    quantity: &Quantity,
    assumptions: &mut Vec<String>,
) -> Result<Decimal, Wrong> {
    let label = language.label(subject);
    let number = quantity.number.map_err(|code| {
        let message = match code {
            Code::CurrencyMismatch => "The amount is in two currencies.",
            Code::ValueOutOfRange => "The number is too large.",
            _ => "The number cannot be read: write 1,00,000 or 100,000, with a point before the decimals.",
        };
        (code, message.to_owned())
    })?;
    let kind = language.field(subject).1;
    if let Some(currency) = quantity.currency {
        if kind != RuleType::Money {
            return Err((Code::UnitMismatch, format!("{label} is no amount of money.")));
        }
        check_currency(language, currency, assumptions)?;
    }
    match (kind, quantity.unit) {
        (RuleType::Days, Some(Unit::Times)) => {
            return Err((Code::UnitMismatch, "Being inactive is a time, such as 90 days or 6 months.".to_owned()));
        }
        (RuleType::Days, _) if quantity.scaled => {
            let message = "It is not plain whether m means months: write 90 days or 6 months.";
            return Err((Code::UnitMismatch, message.to_owned()));
        }
        (RuleType::Days, _) => {}
        (_, Some(Unit::Days(_))) => return Err((Code::UnitMismatch, format!("{label} is no time."))),
        (_, Some(Unit::Times)) if subject != Subject::Visits => {
            return Err((Code::UnitMismatch, format!("{label} is no number of times.")));
        }
        _ => {}
    }
    match kind {
        RuleType::Days => days(number, quantity.unit, assumptions),
        RuleType::Integer => whole(number, label).and_then(|number| {
            let least = if subject == Subject::Visits { 0 } else { -MOST_VISITS };
            in_range(number, least, MOST_VISITS, label)
        }),
        RuleType::Money if number.normalize().scale() > 4 => {
            Err((Code::BadNumber, "An amount of money has at most 4 decimals.".to_owned()))
        }
        _ => in_range(number, if subject == Subject::Spend { 0 } else { -MOST_MONEY }, MOST_MONEY, label),
    }
}

fn days(number: Decimal, unit: Option<Unit>, assumptions: &mut Vec<String>) -> Result<Decimal, Wrong> {
    let number = number.normalize();
    let each = match unit {
        Some(Unit::Days(days)) => days,
        _ => {
            assumptions.push(format!("{number} is read as {number} days."));
            1
        }
    };
    let total = number.checked_mul(Decimal::from(each)).unwrap_or(Decimal::MAX);
    let total = in_range(whole(total, "A time in days")?, 0, MOST_DAYS, "A time in days")?;
    let name = match each {
        14 => "fortnight",
        30 => "month",
        90 => "quarter",
        365 => "year",
        _ => return Ok(total),
    };
    assumptions.push(if number == Decimal::ONE {
        format!("A {name} is counted as {total} days.")
    } else {
        format!("{number} {name}s are counted as {total} days.")
    });
    Ok(total)
}

fn whole(number: Decimal, label: &str) -> Result<Decimal, Wrong> {
    if number.is_integer() {
        Ok(number)
    } else {
        Err((Code::BadNumber, format!("{label} must be a whole number, not {}.", number.normalize())))
    }
}

fn in_range(number: Decimal, least: i64, most: i64, label: &str) -> Result<Decimal, Wrong> {
    if (Decimal::from(least)..=Decimal::from(most)).contains(&number) {
        Ok(number.normalize())
    } else {
        Err((Code::ValueOutOfRange, format!("{label} must be between {least} and {most}.")))
    }
}

/// Rupees are what amounts are written in where this way of writing is from, so they stand for the organization's own
/// currency; any other must be that currency. Nothing is ever converted.
fn check_currency(language: &Language, given: &str, assumptions: &mut Vec<String>) -> Result<(), Wrong> {
    let own = language.currency();
    let own = own.as_ref();
    let fits = match given {
        OWN => true,
        "$" => {
            matches!(own, "USD" | "AUD" | "CAD" | "NZD" | "SGD" | "HKD" | "TWD" | "BBD" | "BSD" | "BZD" | "JMD" | "TTD")
        }
        "JPY" => matches!(own, "JPY" | "CNY"),
        "INR" if own != "INR" => {
            assumptions
                .push(format!("Amounts are in {own}, the organization's currency; nothing is converted from rupees."));
            true
        }
        given => given == own,
    };
    if fits {
        Ok(())
    } else {
        let given = if given == "$" { "dollars" } else { given };
        Err((Code::CurrencyMismatch, format!("Amounts are in {own}, not in {given}, and nothing is converted.")))
    }
}
