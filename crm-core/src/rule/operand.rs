use std::fmt;

use jiff::civil::Date;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::{
    CatalogField, Operator, RuleType,
    token::{Token, alternatives, quoted},
};
use crate::{
    store::{Money, Value},
    time::Timestamp,
};

/// The longest text that a rule compares with, in characters.
pub const MAX_TEXT: usize = 1000;

/// The longest stretch of time, in milliseconds: a hundred years.
const MAX_SPAN: i64 = 36_500 * 86_400_000;

/// Why an operand is refused: a code for programs, a sentence for people.
pub(crate) type Refusal = (&'static str, String);

/// A stretch of time such as `30d`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Span {
    amount: u32,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
}

impl Unit {
    const fn milliseconds(self) -> i64 {
        match self {
            Self::Second => 1_000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
            Self::Week => 7 * 86_400_000,
        }
    }
}

impl Span {
    /// What a span looks like, for messages.
    pub(crate) const FORM: &'static str = "a number and a unit, such as \"30d\": s (seconds), m (minutes), h (hours), d (days) or w (weeks), at most 36500d";

    /// Reads `30d`: 1 or more seconds (`s`), minutes (`m`), hours (`h`), days (`d`) or weeks (`w`), at most 36,500 days.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let unit = match text.as_bytes().last()? {
            b's' => Unit::Second,
            b'm' => Unit::Minute,
            b'h' => Unit::Hour,
            b'd' => Unit::Day,
            b'w' => Unit::Week,
            _ => return None,
        };
        let digits = &text[..text.len() - 1];
        if digits.is_empty() || digits.len() > 10 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let span = Self { amount: digits.parse().ok()?, unit };
        (span.amount > 0 && span.milliseconds() <= MAX_SPAN).then_some(span)
    }

    /// Its length.
    #[must_use]
    pub const fn milliseconds(self) -> i64 {
        self.amount as i64 * self.unit.milliseconds()
    }

    /// Its length in words, such as "30 days".
    pub(crate) fn words(self) -> String {
        let unit = match self.unit {
            Unit::Second => "second",
            Unit::Minute => "minute",
            Unit::Hour => "hour",
            Unit::Day => "day",
            Unit::Week => "week",
        };
        format!("{} {unit}{}", self.amount, if self.amount == 1 { "" } else { "s" })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Second => 's',
            Unit::Minute => 'm',
            Unit::Hour => 'h',
            Unit::Day => 'd',
            Unit::Week => 'w',
        };
        write!(f, "{}{unit}", self.amount)
    }
}

/// An instant said as a distance from `as_of`: `now`, `now-30d`, `now+2h`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Moment {
    Now,
    Ago(Span),
    Ahead(Span),
}

impl Moment {
    /// Nothing where the text is not of this form at all.
    pub(crate) fn parse(text: &str) -> Option<Result<Self, Refusal>> {
        let rest = text.strip_prefix("now")?;
        let span = |text| {
            Span::parse(text)
                .ok_or_else(|| ("INVALID_FORMAT", format!("after now+ or now- there must be {}", Span::FORM)))
        };
        Some(match rest.as_bytes().first() {
            None => Ok(Self::Now),
            Some(b'-') => span(&rest[1..]).map(Self::Ago),
            Some(b'+') => span(&rest[1..]).map(Self::Ahead),
            Some(_) => Err(("INVALID_FORMAT", "a relative time is now, now-30d or now+2h".to_owned())),
        })
    }

    fn at(self, as_of: Timestamp) -> Timestamp {
        let offset = match self {
            Self::Now => 0,
            Self::Ago(span) => -span.milliseconds(),
            Self::Ahead(span) => span.milliseconds(),
        };
        let milliseconds = as_of.as_milliseconds().saturating_add(offset);
        Timestamp::from_milliseconds(milliseconds).unwrap_or(if offset < 0 { Timestamp::MIN } else { Timestamp::MAX })
    }

    pub(crate) fn words(self) -> String {
        match self {
            Self::Now => "now".to_owned(),
            Self::Ago(span) => format!("{} ago", span.words()),
            Self::Ahead(span) => format!("{} from now", span.words()),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::Ago(span) => write!(f, "now-{span}"),
            Self::Ahead(span) => write!(f, "now+{span}"),
        }
    }
}

/// The day in UTC of an instant.
pub(crate) fn day(instant: Timestamp) -> Date {
    instant.to_jiff().to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    Fixed(Value),
    Relative(Moment),
}

impl Operand {
    /// The value, of the kind that the field is stored as.
    pub(crate) fn value(&self, kind: RuleType, as_of: Timestamp) -> Value {
        match (self, kind) {
            (Self::Fixed(value), _) => value.clone(),
            (Self::Relative(moment), RuleType::Date) => Value::Date(day(moment.at(as_of))),
            (Self::Relative(moment), _) => Value::Timestamp(moment.at(as_of)),
        }
    }

    /// Reads one operand of a field from JSON.
    pub(crate) fn of_token(field: &CatalogField, operator: Operator, token: Token<'_>) -> Result<Self, Refusal> {
        let value = match (field.kind, token) {
            (_, Token::Null) => {
                return Err((
                    "INVALID_TYPE",
                    "must not be null: to find what is missing, use the operator exists with the value false"
                        .to_owned(),
                ));
            }
            (RuleType::Boolean, Token::Boolean(value)) => Value::Bool(value),
            (RuleType::Integer | RuleType::Days, Token::Number(digits)) => Value::Integer(integer(digits)?),
            (RuleType::Number, Token::Number(digits)) => Value::Number(number(digits)?),
            (RuleType::Money, Token::Number(digits)) => Value::Money(money(digits)?),
            (
                RuleType::Text
                | RuleType::Timestamp
                | RuleType::Date
                | RuleType::Id
                | RuleType::List
                | RuleType::IdList,
                Token::Text(text),
            ) => return Self::of_words(field, operator, text),
            (kind, token) => return Err(wrong_type(kind, token.description())),
        };
        Ok(Self::Fixed(value))
    }

    /// Reads one operand of a field from a query string.
    pub(crate) fn of_text(field: &CatalogField, operator: Operator, text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Err(("REQUIRED", "needs a value".to_owned()));
        }
        Ok(Self::Fixed(match field.kind {
            RuleType::Boolean => Value::Bool(boolean(text)?),
            RuleType::Integer | RuleType::Days => Value::Integer(integer(text)?),
            RuleType::Number => Value::Number(number(text)?),
            RuleType::Money => Value::Money(money(text)?),
            // A plus sign that was not percent-encoded arrives as a space.
            RuleType::Timestamp | RuleType::Date => return Self::of_words(field, operator, text.replace(' ', "+")),
            _ => return Self::of_words(field, operator, text.to_owned()),
        }))
    }

    fn of_words(field: &CatalogField, operator: Operator, text: String) -> Result<Self, Refusal> {
        if text.chars().nth(MAX_TEXT).is_some() {
            return Err(("TOO_LONG", format!("must not be longer than {MAX_TEXT} characters")));
        }
        if text.contains('\0') {
            return Err(("INVALID_FORMAT", "must not contain the character NUL".to_owned()));
        }
        Ok(Self::Fixed(match field.kind {
            RuleType::Timestamp => match Moment::parse(&text) {
                Some(moment) => return moment.map(Self::Relative),
                None => Value::Timestamp(timestamp(&text)?),
            },
            RuleType::Date => match Moment::parse(&text) {
                Some(moment) => return moment.map(Self::Relative),
                None => Value::Date(date(&text).ok_or_else(|| wrong_form(RuleType::Date, &text))?),
            },
            RuleType::Id => Value::Id(id(&text)?),
            RuleType::IdList => Value::Text(id(&text)?.to_string()),
            _ => Value::Text(words(field, operator, text)?),
        }))
    }
}

/// The text in normal form C, in the stored form and among the options, unless the operator asks for a part of it.
fn words(field: &CatalogField, operator: Operator, text: String) -> Result<String, Refusal> {
    use unicode_normalization::UnicodeNormalization as _;
    let text: String = if text.is_ascii() { text } else { text.nfc().collect() };
    let part = matches!(operator, Operator::Contains | Operator::StartsWith) && field.kind == RuleType::Text;
    if part {
        if text.is_empty() {
            return Err(("REQUIRED", "must not be empty".to_owned()));
        }
        return Ok(text);
    }
    let text = field.normalise(text).map_err(|message| ("INVALID_FORMAT", message))?;
    if !field.options.is_empty() && !field.options.contains(&text) {
        return Err(("NOT_ALLOWED", format!("must be {}, not {}", alternatives(&field.options), quoted(&text))));
    }
    Ok(text)
}

pub(crate) fn boolean(text: &str) -> Result<bool, Refusal> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong_form(RuleType::Boolean, text)),
    }
}

/// A whole number, also written as `5.0` or `5e3`.
pub(crate) fn integer(digits: &str) -> Result<i64, Refusal> {
    if let Ok(integer) = digits.parse()
        && !digits.starts_with('+')
    {
        return Ok(integer);
    }
    let decimal = decimal(digits).ok_or_else(|| wrong_form(RuleType::Integer, digits))?.normalize();
    if decimal.scale() > 0 {
        return Err(wrong_form(RuleType::Integer, digits));
    }
    i64::try_from(decimal.mantissa())
        .map_err(|_| ("OUT_OF_RANGE", "must be a whole number of at most 64 bits".to_owned()))
}

fn decimal(digits: &str) -> Option<Decimal> {
    if digits.len() > 64 || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
        return None;
    }
    if digits.contains(['e', 'E']) {
        Decimal::from_scientific(digits).ok()
    } else {
        Decimal::from_str_exact(digits).ok()
    }
}

fn number(digits: &str) -> Result<f64, Refusal> {
    let plain = digits.len() <= 400
        && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
    match digits.parse::<f64>() {
        Ok(number) if plain && number.is_finite() => Ok(number),
        Ok(_) if plain => Err(("OUT_OF_RANGE", "is too large a number".to_owned())),
        _ => Err(wrong_form(RuleType::Number, digits)),
    }
}

fn money(digits: &str) -> Result<Money, Refusal> {
    digits.parse::<Money>().map_err(|error| ("INVALID_FORMAT", error.to_string()))
}

fn timestamp(text: &str) -> Result<Timestamp, Refusal> {
    if let Some(date) = date(text) {
        let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).map(|zoned| Timestamp::from(zoned.timestamp()));
        return midnight.map_err(|_| wrong_form(RuleType::Timestamp, text));
    }
    text.parse().map_err(|_| wrong_form(RuleType::Timestamp, text))
}

/// A day written as `2026-01-31`, in the years 1 to 9999.
pub(crate) fn date(text: &str) -> Option<Date> {
    let shaped = text.len() == 10
        && text.bytes().enumerate().all(|(place, byte)| match place {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !shaped {
        return None;
    }
    let date: Date = text.parse().ok()?;
    (date.year() >= 1).then_some(date)
}

fn id(text: &str) -> Result<Uuid, Refusal> {
    let id = if text.len() == 36 { Uuid::try_parse(text).ok() } else { None };
    id.ok_or_else(|| wrong_form(RuleType::Id, text))
}

pub(crate) fn wrong_type(kind: RuleType, found: &str) -> Refusal {
    let form = match kind {
        RuleType::Boolean => "must be true or false",
        RuleType::Integer => "must be a whole number such as 5",
        RuleType::Days => "must be a whole number of days such as 180",
        RuleType::Number => "must be a number such as 2.5",
        RuleType::Money => "must be a decimal number with at most 4 places such as 1249.5",
        RuleType::Text | RuleType::List => "must be a text",
        RuleType::Timestamp => {
            "must be an instant such as \"2026-01-31T09:30:00Z\", a day such as \"2026-01-31\" (its start in UTC), or a relative time such as \"now-30d\""
        }
        RuleType::Date => "must be a day such as \"2026-01-31\", or a relative one such as \"now-30d\"",
        RuleType::Id | RuleType::IdList => "must be an id such as \"0192f3a0-1c2d-7e4f-8a5b-6c7d8e9f0a1b\"",
        RuleType::Json => "cannot be compared",
    };
    ("INVALID_TYPE", format!("{form}, not {found}"))
}

/// As [`wrong_type`], where the text is of the right type but cannot be read.
pub(crate) fn wrong_form(kind: RuleType, text: &str) -> Refusal {
    ("INVALID_FORMAT", wrong_type(kind, &quoted(text)).1)
}
