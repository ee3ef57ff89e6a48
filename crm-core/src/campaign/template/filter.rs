//! What can be done to a value on its way into a message.

use jiff::{Zoned, civil::DateTime, fmt::strtime};

use super::{
    RenderContext,
    scan::{Argument, Call, Tag},
    variable::{Kind, Shown},
};
use crate::{error::FieldErrors, store::Money, time::Timestamp};

/// The longest argument, in characters.
const LONGEST_ARGUMENT: usize = 500;
/// The longest form of a date, in characters.
const LONGEST_DATE: usize = 64;
/// What every filter is called.
const KNOWN: &str = "default, upper, lower, capitalize, truncate, date, money";

/// One filter.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    Default(String),
    Upper,
    Lower,
    Capitalize,
    Truncate(usize),
    Date(String),
    Money,
}

impl Filter {
    /// Reads a filter that is given values of a kind.
    pub(super) fn read(call: &Call, kind: Kind, tag: &Tag) -> Result<Self, FieldErrors> {
        let wrong = |what: String| {
            let message = format!("in {{{{{}}}}} at character {}, {what}", tag.name, tag.position);
            Err(FieldErrors::one("", "INVALID_TEMPLATE", message))
        };
        let text = match &call.argument {
            Some(Argument::Text(text) | Argument::Number(text)) => Some(text),
            None => None,
        };
        if text.is_some_and(|text| text.chars().count() > LONGEST_ARGUMENT) {
            return wrong(format!("a filter is given more than {LONGEST_ARGUMENT} characters"));
        }
        match (call.name.as_str(), text) {
            ("default", Some(text)) => Ok(Self::Default(text.clone())),
            ("default", None) => wrong("default needs a text, such as default: \"there\"".to_owned()),
            ("upper" | "upcase", None) => Ok(Self::Upper),
            ("lower" | "downcase", None) => Ok(Self::Lower),
            ("capitalize", None) => Ok(Self::Capitalize),
            ("truncate", Some(text)) => match text.parse() {
                Ok(length @ 1..=LONGEST_ARGUMENT) => Ok(Self::Truncate(length)),
                _ => wrong(format!("truncate needs a number of characters, 1 to {LONGEST_ARGUMENT}")),
            },
            ("truncate", None) => wrong("truncate needs a number of characters, such as truncate: 20".to_owned()),
            ("date", Some(form)) => {
                let example = match kind {
                    Kind::Date => of_date(form, jiff::civil::Date::constant(2026, 1, 31)),
                    Kind::Instant => of_instant(form, &jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC)),
                    Kind::Text | Kind::Number => return wrong("date is for dates and instants only".to_owned()),
                };
                if form.is_empty() || form.chars().count() > LONGEST_DATE || example.is_none() {
                    return wrong(
                        "date needs a form such as date: \"%d %B %Y\", of at most 64 characters and with what there is \
                         in a date"
                            .to_owned(),
                    );
                }
                Ok(Self::Date(form.clone()))
            }
            ("date", None) => wrong("date needs a form, such as date: \"%d %B %Y\"".to_owned()),
            ("money", None) if kind == Kind::Number => Ok(Self::Money),
            ("money", None) => wrong("money is for numbers only".to_owned()),
            (name @ ("upper" | "upcase" | "lower" | "downcase" | "capitalize" | "money"), Some(_)) => {
                wrong(format!("{name} is given nothing"))
            }
            (name, _) => {
                let shown: String = name.chars().take(64).collect();
                wrong(format!("{shown} is no filter: known are {KNOWN}"))
            }
        }
    }

    /// What kind of value comes out where one of a kind goes in.
    pub(super) const fn kind(&self, before: Kind) -> Kind {
        // Where a default stands in, what follows it leaves it alone.
        match self {
            Self::Default(_) => before,
            _ => Kind::Text,
        }
    }

    pub(super) fn apply(&self, shown: Shown, context: &RenderContext<'_>) -> Shown {
        match (self, shown) {
            (Self::Default(text), Shown::Nothing) => Shown::Text(text.clone()),
            (_, Shown::Nothing) => Shown::Nothing,
            (Self::Date(form), Shown::Date(date)) => Shown::from(of_date(form, date)),
            (Self::Date(form), Shown::Instant(instant)) => Shown::from(of_instant(form, &zoned(instant, context))),
            (Self::Money, Shown::Amount(amount)) => {
                Shown::Text(format!("{} {}", context.organization.currency, grouped(amount)))
            }
            (Self::Money, Shown::Text(text)) => Shown::Text(match text.parse::<Money>() {
                Ok(amount) => format!("{} {}", context.organization.currency, grouped(amount)),
                Err(_) => text,
            }),
            (Self::Default(_) | Self::Date(_) | Self::Money, shown) => shown,
            (Self::Upper, shown) => Shown::Text(shown.into_text(context).to_uppercase()),
            (Self::Lower, shown) => Shown::Text(shown.into_text(context).to_lowercase()),
            (Self::Capitalize, shown) => Shown::Text(capitalized(&shown.into_text(context))),
            (Self::Truncate(length), shown) => Shown::Text(truncated(shown.into_text(context), *length)),
        }
    }
}

/// An instant in the organization's time zone.
pub(super) fn zoned(instant: Timestamp, context: &RenderContext<'_>) -> Zoned {
    instant.to_jiff().to_zoned(context.organization.time_zone.to_jiff().clone())
}

fn of_date(form: &str, date: jiff::civil::Date) -> Option<String> {
    strtime::format(form, DateTime::from(date)).ok()
}

fn of_instant(form: &str, instant: &Zoned) -> Option<String> {
    strtime::format(form, instant).ok()
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn truncated(text: String, length: usize) -> String {
    if text.chars().nth(length).is_none() {
        return text;
    }
    text.chars().take(length - 1).chain(['\u{2026}']).collect()
}

/// An amount with at least two places, and commas between thousands.
fn grouped(amount: Money) -> String {
    let text = amount.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut grouped = String::from(sign);
    for (place, digit) in whole.char_indices() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped.push('.');
    grouped.push_str(&format!("{fraction:0<2}"));
    grouped
}
