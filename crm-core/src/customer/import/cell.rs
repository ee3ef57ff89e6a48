//! What people write into cells: numbers, dates and yes or no, in the ways of their countries.

use jiff::{
    civil::{Date, DateTime, Time},
    tz::TimeZone,
};

use crate::{error::FieldErrors, input::parse_date, time::Timestamp};

fn refuse<T>(code: &'static str, message: impl Into<String>) -> Result<T, FieldErrors> {
    Err(FieldErrors::one("", code, message))
}

/// What stands between the whole and the rest of a number.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum DecimalSeparator {
    /// `1,234.5`
    #[default]
    Point,
    /// `1.234,5`
    Comma,
}

impl DecimalSeparator {
    /// Reads `.` or `,`.
    pub(super) fn parse(text: &str) -> Result<Self, FieldErrors> {
        match text.trim() {
            "." => Ok(Self::Point),
            "," => Ok(Self::Comma),
            _ => refuse("INVALID_CHOICE", "must be . or ,"),
        }
    }

    const fn character(self) -> char {
        match self {
            Self::Point => '.',
            Self::Comma => ',',
        }
    }
}

/// A number as JSON writes it: without a currency, without separators of thousands.
///
/// # Errors
/// `INVALID_FORMAT` for what is none. `12,5` is none where the point is the decimal separator: it is never taken for 125.
pub(super) fn number(text: &str, separator: DecimalSeparator) -> Result<String, FieldErrors> {
    let wrong = || {
        let other = if separator == DecimalSeparator::Point { "," } else { "." };
        let message = format!(
            "must be a number such as 1234{0}5; where {other} is the decimal separator, say decimal_separator={other}",
            separator.character()
        );
        FieldErrors::one("", "INVALID_FORMAT", message)
    };
    let text = text.trim();
    if separator == DecimalSeparator::Point && serde_json::from_str::<f64>(text).is_ok() {
        return Ok(text.to_owned());
    }
    // (1,234.50) is how accountants write a negative amount.
    let (text, in_brackets) = match text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
        Some(inner) => (inner.trim(), true),
        None => (text, false),
    };
    let text = text.trim_matches(is_currency);
    let (text, signed) = match text.strip_prefix(['-', '−']) {
        Some(rest) => (rest.trim_start_matches(is_currency), true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    if signed && in_brackets {
        return Err(wrong());
    }
    let (whole, fraction) = text.split_once(separator.character()).unwrap_or((text, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let whole = without_groups(whole, separator).ok_or_else(wrong)?;
    if (whole.is_empty() && fraction.is_empty()) || !is_digits(&whole) || !is_digits(fraction) {
        return Err(wrong());
    }
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let sign = if signed || in_brackets { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    Ok(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

/// Signs and codes of currencies, and spaces.
fn is_currency(character: char) -> bool {
    character.is_alphabetic()
        || character.is_whitespace()
        || matches!(character, '$' | '€' | '£' | '¥' | '₹' | '₽' | '₩' | '₪' | '₫' | '₴' | '₺' | '₦' | '฿' | '\u{202f}')
}

/// The digits of the whole part, where its separators stand as people put them: three by three, or as in India two by
/// two before the last three.
fn without_groups(whole: &str, separator: DecimalSeparator) -> Option<String> {
    let thousands = if separator == DecimalSeparator::Point { ',' } else { '.' };
    let separates =
        |character: char| character == thousands || matches!(character, ' ' | '\u{a0}' | '\u{202f}' | '\'' | '’');
    let groups: Vec<&str> = whole.split(separates).collect();
    let [first, middle @ .., last] = groups.as_slice() else { return Some(whole.to_owned()) };
    if groups.len() == 1 {
        return Some(whole.to_owned());
    }
    let fits = |width: usize| (1..=width).contains(&first.len()) && middle.iter().all(|group| group.len() == width);
    (last.len() == 3 && (fits(3) || fits(2))).then(|| groups.concat())
}

/// Yes or no, in several languages.
///
/// # Errors
/// `INVALID_FORMAT` for what is neither.
pub(super) fn boolean(text: &str) -> Result<bool, FieldErrors> {
    const YES: [&str; 23] = [
        "true",
        "t",
        "yes",
        "y",
        "1",
        "1.0",
        "on",
        "x",
        "✓",
        "✔",
        "☑",
        "wahr",
        "ja",
        "j",
        "vrai",
        "oui",
        "o",
        "sí",
        "si",
        "sim",
        "да",
        "हाँ",
        "是",
    ];
    const NO: [&str; 20] = [
        "false",
        "f",
        "no",
        "n",
        "0",
        "0.0",
        "off",
        "-",
        "✗",
        "✘",
        "☐",
        "falsch",
        "nein",
        "faux",
        "non",
        "não",
        "nao",
        "нет",
        "नहीं",
        "否",
    ];
    let text = text.trim().to_lowercase();
    match () {
        () if YES.contains(&text.as_str()) => Ok(true),
        () if NO.contains(&text.as_str()) => Ok(false),
        () => refuse("INVALID_FORMAT", "must be yes or no, or true or false"),
    }
}

/// In which order the parts of a date stand, such as `dd/mm/yyyy`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct DateFormat {
    written: String,
    order: [DatePart; 3],
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum DatePart {
    Year,
    Month,
    Day,
}

impl DateFormat {
    /// Reads a format: a year (`yyyy` or `yy`), a month (`mm`, `m` or `mmm`) and a day (`dd` or `d`) in any order.
    pub(super) fn parse(text: &str) -> Result<Self, FieldErrors> {
        let written = text.trim().to_lowercase();
        let mut order = Vec::new();
        for part in written.split(|character: char| !character.is_ascii_alphabetic()).filter(|part| !part.is_empty()) {
            order.push(match part {
                "yyyy" | "yy" => DatePart::Year,
                "mmmm" | "mmm" | "mm" | "m" => DatePart::Month,
                "dd" | "d" => DatePart::Day,
                _ => return Self::refused(),
            });
        }
        let has = |part| order.contains(&part);
        match <[DatePart; 3]>::try_from(order.as_slice()) {
            Ok(three) if has(DatePart::Year) && has(DatePart::Month) && has(DatePart::Day) => {
                Ok(Self { written, order: three })
            }
            _ => Self::refused(),
        }
    }

    fn refused<T>() -> Result<T, FieldErrors> {
        refuse("INVALID_FORMAT", "must be a date format such as dd/mm/yyyy, mm/dd/yyyy, yyyy-mm-dd or d.m.yy")
    }

    fn date(&self, text: &str) -> Option<Date> {
        let parts: Vec<&str> =
            text.split(|character: char| !character.is_alphanumeric()).filter(|part| !part.is_empty()).collect();
        let parts: [&str; 3] = parts.try_into().ok()?;
        let (mut year, mut month, mut day) = (0, 0, 0);
        for (part, of) in parts.into_iter().zip(self.order) {
            match of {
                DatePart::Year => year = full_year(part)?,
                DatePart::Month => month = month_of(part)?,
                DatePart::Day => day = part.parse().ok()?,
            }
        }
        Date::new(year, month, day).ok().filter(|date| date.year() >= 1)
    }
}

/// Two digits are of the hundred years that end 50 years from the turn of the century.
fn full_year(text: &str) -> Option<i16> {
    let year: i16 = text.parse().ok()?;
    match text.len() {
        4 => Some(year),
        2 if year < 50 => Some(2000 + year),
        2 => Some(1900 + year),
        _ => None,
    }
}

fn month_of(text: &str) -> Option<i8> {
    const NAMES: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let start: String = text.to_lowercase().chars().take(3).collect();
    let place = NAMES.iter().position(|name| *name == start)?;
    i8::try_from(place + 1).ok()
}

/// A civil date, as `yyyy-mm-dd`.
///
/// # Errors
/// `INVALID_FORMAT` for what is none in the format, which is `yyyy-mm-dd` where none is given.
pub(super) fn date(text: &str, format: Option<&DateFormat>) -> Result<String, FieldErrors> {
    let (day, rest) = split_time(text.trim());
    let found = match format {
        Some(format) => format.date(day),
        None => parse_date(day),
    };
    let found = found.or_else(|| parse_date(day));
    match found {
        Some(date) if rest.is_none_or(|rest| time(rest).is_some()) => Ok(date.to_string()),
        _ => {
            let written = format.map_or("yyyy-mm-dd", |format| format.written.as_str());
            let hint = if format.is_none() { "; for another order say date_format" } else { "" };
            refuse("INVALID_FORMAT", format!("must be a date written {written}{hint}"))
        }
    }
}

/// An instant: as RFC 3339 writes it, or a date with or without a time, in the zone.
///
/// # Errors
/// `INVALID_FORMAT` for what is none.
pub(super) fn instant(text: &str, format: Option<&DateFormat>, zone: &TimeZone) -> Result<String, FieldErrors> {
    let text = text.trim();
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant.to_string());
    }
    let (day, rest) = split_time(text);
    let date: Date = match date(day, format)?.parse() {
        Ok(date) => date,
        Err(_) => return refuse("INVALID_FORMAT", "must be a date"),
    };
    let time = match rest {
        None => Some(Time::midnight()),
        Some(rest) => time(rest),
    };
    let Some(time) = time else {
        return refuse("INVALID_FORMAT", "must be a date with a time such as 17:05 or 17:05:30");
    };
    let zoned = DateTime::from_parts(date, time).to_zoned(zone.clone());
    match zoned {
        Ok(zoned) => Ok(Timestamp::from(zoned.timestamp()).to_string()),
        Err(_) => refuse("OUT_OF_RANGE", "must be between the years 1 and 9999"),
    }
}

/// The date and what follows it, where that looks like a time.
fn split_time(text: &str) -> (&str, Option<&str>) {
    let colon = text.find(':').unwrap_or(text.len());
    let before = text.get(..colon).unwrap_or(text);
    match before.rfind([' ', 'T']) {
        Some(place) if colon < text.len() => {
            (text.get(..place).unwrap_or_default().trim_end_matches([' ', ',']), text.get(place + 1..))
        }
        _ => (text, None),
    }
}

/// `17:05`, `17:05:30`, `17:05:30.250`, `5:05 pm`.
fn time(text: &str) -> Option<Time> {
    let text = text.trim().to_ascii_lowercase();
    let (clock, half) = match (text.strip_suffix("am"), text.strip_suffix("pm")) {
        (Some(clock), _) => (clock.trim_end(), Some(0)),
        (_, Some(clock)) => (clock.trim_end(), Some(12)),
        _ => (text.as_str(), None),
    };
    let mut parts = clock.splitn(3, ':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0"));
    let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
    let mut hour: i8 = hour.parse().ok()?;
    if let Some(half) = half {
        if !(1..=12).contains(&hour) {
            return None;
        }
        hour = hour % 12 + half;
    }
    let nanoseconds: i32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Time::new(hour, minute.parse().ok()?, second.parse().ok()?, nanoseconds).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("12", "12")]
    #[case("-1.50", "-1.50")]
    #[case("1,234.50", "1234.5")]
    #[case("1,234,567", "1234567")]
    #[case("12,34,567.8", "1234567.8")]
    #[case("$ 1,234.50", "1234.5")]
    #[case("₹1,00,000", "100000")]
    #[case("-€5.00", "-5")]
    #[case("1 234.5 USD", "1234.5")]
    #[case("1'234.5", "1234.5")]
    #[case("(12.30)", "-12.3")]
    #[case("+7", "7")]
    #[case(".5", "0.5")]
    #[case("007", "7")]
    fn numbers_with_a_point(#[case] text: &str, #[case] json: &str) {
        assert_eq!(number(text, DecimalSeparator::Point).unwrap(), json);
    }

    #[rstest]
    #[case("1234,5", "1234.5")]
    #[case("1.234,50", "1234.5")]
    #[case("1.234.567", "1234567")]
    #[case("1 234,50 €", "1234.5")]
    #[case("-0,5", "-0.5")]
    fn numbers_with_a_comma(#[case] text: &str, #[case] json: &str) {
        assert_eq!(number(text, DecimalSeparator::Comma).unwrap(), json);
    }

    #[rstest]
    #[case("12,5", DecimalSeparator::Point)]
    #[case("1.234,50", DecimalSeparator::Point)]
    #[case("12.5", DecimalSeparator::Comma)]
    #[case("", DecimalSeparator::Point)]
    #[case("€", DecimalSeparator::Point)]
    #[case("1,2,3", DecimalSeparator::Point)]
    #[case("1.2.3", DecimalSeparator::Point)]
    #[case("--1", DecimalSeparator::Point)]
    #[case("(-1)", DecimalSeparator::Point)]
    #[case("1 2", DecimalSeparator::Point)]
    fn what_may_mean_another_number_is_refused(#[case] text: &str, #[case] separator: DecimalSeparator) {
        assert!(number(text, separator).is_err(), "{:?}", number(text, separator));
    }

    #[rstest]
    #[case("31/01/2026", "dd/mm/yyyy", Some("2026-01-31"))]
    #[case("1/31/26", "mm/dd/yyyy", Some("2026-01-31"))]
    #[case("31.1.1999", "d.m.yyyy", Some("1999-01-31"))]
    #[case("31 Jan 2026", "dd mmm yyyy", Some("2026-01-31"))]
    #[case("31-January-2026", "dd/mm/yyyy", Some("2026-01-31"))]
    #[case("2026-01-31", "dd/mm/yyyy", Some("2026-01-31"))]
    #[case("31/01/2026 17:05", "dd/mm/yyyy", Some("2026-01-31"))]
    #[case("31/02/2026", "dd/mm/yyyy", None)]
    #[case("01/31/2026", "dd/mm/yyyy", None)]
    #[case("31/01/2026 25:05", "dd/mm/yyyy", None)]
    #[case("31/01", "dd/mm/yyyy", None)]
    fn dates_in_a_format(#[case] text: &str, #[case] format: &str, #[case] expected: Option<&str>) {
        let format = DateFormat::parse(format).unwrap();
        assert_eq!(date(text, Some(&format)).ok().as_deref(), expected);
    }

    #[test]
    fn formats_name_a_year_a_month_and_a_day() {
        for wrong in ["", "dd/mm", "dd/mm/mm", "yyyy", "dd/mm/yyyy/yy", "%d", "dd/mm/yyyyy"] {
            assert!(DateFormat::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn instants_are_in_the_zone_unless_they_say() {
        let zone = TimeZone::get("Asia/Kolkata").unwrap();
        let format = DateFormat::parse("dd/mm/yyyy").unwrap();
        for (text, expected) in [
            ("2026-01-31T10:00:00+01:00", "2026-01-31T09:00:00.000Z"),
            ("2026-01-31", "2026-01-30T18:30:00.000Z"),
            ("2026-01-31 05:30", "2026-01-31T00:00:00.000Z"),
            ("2026-01-31T05:30:15.25", "2026-01-31T00:00:15.250Z"),
            ("31/01/2026 5:30 am", "2026-01-31T00:00:00.000Z"),
            ("31/01/2026, 12:30 PM", "2026-01-31T07:00:00.000Z"),
        ] {
            assert_eq!(instant(text, Some(&format), &zone).unwrap(), expected, "{text}");
        }
        assert!(instant("31/01/2026 13:30 pm", Some(&format), &zone).is_err());
        assert!(instant("yesterday", None, &zone).is_err());
    }

    #[test]
    fn yes_and_no_have_many_forms() {
        for (text, expected) in [("YES", true), (" 1 ", true), ("Ja", true), ("x", true), ("No", false), ("0", false)] {
            assert_eq!(boolean(text), Ok(expected), "{text}");
        }
        assert!(boolean("maybe").is_err() && boolean("").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>(), written in "\\PC{0,12}") {
            for separator in [DecimalSeparator::Point, DecimalSeparator::Comma] {
                if let Ok(json) = number(&text, separator) {
                    prop_assert!(serde_json::from_str::<f64>(&json).is_ok(), "{json}");
                }
            }
            let _ = boolean(&text);
            let format = DateFormat::parse(&written).ok();
            let _ = date(&text, format.as_ref());
            let _ = instant(&text, format.as_ref(), &TimeZone::UTC);
        }

        #[test]
        fn numbers_of_either_country_are_the_same(units in -99_999_999_i64..99_999_999, cents in 0..100_u8) {
            let sign = if units < 0 { "-" } else { "" };
            let whole = units.unsigned_abs();
            let grouped = |separator: &str| {
                let digits = whole.to_string();
                let groups: Vec<String> = digits.as_bytes().rchunks(3).rev()
                    .map(|group| String::from_utf8_lossy(group).into_owned()).collect();
                groups.join(separator)
            };
            let point = number(&format!("{sign}{}.{cents:02}", grouped(",")), DecimalSeparator::Point).unwrap();
            let comma = number(&format!("{sign}{},{cents:02}", grouped(".")), DecimalSeparator::Comma).unwrap();
            let (point, comma): (f64, f64) = (point.parse().unwrap(), comma.parse().unwrap());
            prop_assert!((point - comma).abs() < f64::EPSILON);
        }
    }
}
