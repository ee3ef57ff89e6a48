//! Values in the form in which PostgreSQL sends and takes them: no text in between, no second parse.

use crm_core::{
    store::{FieldKind, Json, Money, Value},
    time::Timestamp,
};
use jiff::{Span, civil::Date};
use sqlx::error::BoxDynError;
use uuid::Uuid;

use crate::json;

/// The type of a column and of an operand: see `pg_type`.
pub(crate) const fn oid(kind: FieldKind) -> u32 {
    match kind {
        FieldKind::Bool => 16,
        FieldKind::Integer => 20,
        FieldKind::Number => 701,
        FieldKind::Money => 1700,
        FieldKind::Text => TEXT,
        FieldKind::Timestamp => 1184,
        FieldKind::Date => 1082,
        FieldKind::Id => 2950,
        FieldKind::TextList => 1009,
        FieldKind::Json => 3802,
    }
}

/// The type of an array of such values; of lists there is none, they travel as literals.
pub(crate) const fn array_oid(kind: FieldKind) -> u32 {
    match kind {
        FieldKind::Bool => 1000,
        FieldKind::Integer => 1016,
        FieldKind::Number => 1022,
        FieldKind::Money => 1231,
        FieldKind::Text | FieldKind::TextList => 1009,
        FieldKind::Timestamp => 1185,
        FieldKind::Date => 1182,
        FieldKind::Id => 2951,
        FieldKind::Json => 3807,
    }
}

const TEXT: u32 = 25;
/// `integer`, of which trigrams are.
pub(crate) const INT4: u32 = 23;
/// `integer[]`.
pub(crate) const INT4_ARRAY: u32 = 1007;
/// Milliseconds from 1970 to 2000, where PostgreSQL's clock begins.
const EPOCH: i64 = 946_684_800_000;
const FIRST_DAY: Date = Date::constant(2000, 1, 1);

/// Writes a value; answers whether there is one.
pub(crate) fn write(value: &Value, out: &mut Vec<u8>) -> bool {
    match value {
        Value::Null => return false,
        Value::Bool(value) => out.push(u8::from(*value)),
        Value::Integer(value) => out.extend(value.to_be_bytes()),
        Value::Number(value) => out.extend(value.to_be_bytes()),
        Value::Money(value) => write_numeric(value.as_ten_thousandths(), out),
        Value::Text(value) => out.extend(value.as_bytes()),
        Value::Timestamp(value) => out.extend(((value.as_milliseconds() - EPOCH) * 1000).to_be_bytes()),
        Value::Date(value) => out.extend(days(*value).to_be_bytes()),
        Value::Id(value) => out.extend(value.as_bytes()),
        Value::TextList(list) => write_array(TEXT, list.len(), out, |place, out| {
            out.extend(list[place].as_bytes());
            true
        }),
        Value::Json(value) => {
            out.push(1);
            out.extend(json::to_stored(value.as_str()).as_bytes());
        }
    }
    true
}

/// Writes an array of one dimension.
pub(crate) fn write_array(
    element: u32,
    length: usize,
    out: &mut Vec<u8>,
    mut write: impl FnMut(usize, &mut Vec<u8>) -> bool,
) {
    let number = |number: usize| i32::try_from(number).unwrap_or(i32::MAX).to_be_bytes();
    out.extend(i32::from(length > 0).to_be_bytes());
    // Whether there are missing elements: the server looks for itself.
    out.extend(0_i32.to_be_bytes());
    out.extend(element.to_be_bytes());
    if length == 0 {
        return;
    }
    out.extend(number(length));
    out.extend(1_i32.to_be_bytes());
    for place in 0..length {
        write_sized(out, |out| write(place, out));
    }
}

/// Writes a value behind its length, -1 where it is missing.
pub(crate) fn write_sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> bool) {
    let start = out.len();
    out.extend([0; 4]);
    let length = if write(out) { i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX) } else { -1 };
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn days(date: Date) -> i32 {
    (date - FIRST_DAY).get_days()
}

/// Four decimal digits to a group, as PostgreSQL keeps them: an amount in ten-thousandths is groups as it is.
fn write_numeric(ten_thousandths: i64, out: &mut Vec<u8>) {
    let mut groups = [0_u16; 5];
    let mut rest = ten_thousandths.unsigned_abs();
    let mut first = groups.len();
    while rest > 0 {
        first -= 1;
        groups[first] = u16::try_from(rest % 10_000).unwrap_or(0);
        rest /= 10_000;
    }
    let digits = &groups[first..];
    let count = i16::try_from(digits.len()).unwrap_or(0);
    out.extend(count.to_be_bytes());
    // The weight of the first group; the last is behind the point.
    out.extend((count - 2).to_be_bytes());
    out.extend(if ten_thousandths < 0 { [0x40, 0] } else { [0, 0] });
    out.extend(4_u16.to_be_bytes());
    for digit in digits {
        out.extend(digit.to_be_bytes());
    }
}

/// Reads a `numeric` in ten-thousandths.
pub(crate) fn numeric(bytes: &[u8]) -> Result<i128, BoxDynError> {
    let mut numbers = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let mut next = || numbers.next().ok_or("a numeric was cut short");
    let count = next()?;
    let weight = i32::from(next()? as i16);
    let sign = next()?;
    next()?;
    let mut sum = 0_i128;
    for place in 0..count {
        let digit = i128::from(next()?);
        let power = weight - i32::from(place) + 1;
        match u32::try_from(power) {
            Ok(power) => {
                let group = 10_000_i128.checked_pow(power).and_then(|unit| digit.checked_mul(unit));
                sum = group.and_then(|group| sum.checked_add(group)).ok_or("a numeric beyond all sums")?;
            }
            Err(_) if digit == 0 => {}
            Err(_) => return Err("a numeric with more than four places".into()),
        }
    }
    match sign {
        0 => Ok(sum),
        0x4000 => Ok(-sum),
        _ => Err("a numeric that is no number".into()),
    }
}

/// Reads a value of the kind.
pub(crate) fn read(kind: FieldKind, bytes: &[u8]) -> Result<Value, BoxDynError> {
    Ok(match kind {
        FieldKind::Bool => Value::Bool(bytes != [0]),
        FieldKind::Integer => Value::Integer(integer(bytes)?),
        FieldKind::Number => Value::Number(f64::from_be_bytes(bytes.try_into()?)),
        FieldKind::Money => {
            let amount = i64::try_from(numeric(bytes)?)?;
            Value::Money(Money::from_ten_thousandths(amount).ok_or("no amount of money")?)
        }
        FieldKind::Text => Value::Text(std::str::from_utf8(bytes)?.to_owned()),
        FieldKind::Timestamp => {
            let milliseconds = integer(bytes)?.div_euclid(1000).saturating_add(EPOCH);
            Value::Timestamp(Timestamp::from_milliseconds(milliseconds).ok_or("no instant of the years 1 to 9999")?)
        }
        FieldKind::Date => {
            let days = i32::from_be_bytes(bytes.try_into()?);
            Value::Date(FIRST_DAY.checked_add(Span::new().try_days(days)?)?)
        }
        FieldKind::Id => Value::Id(Uuid::from_slice(bytes)?),
        FieldKind::TextList => Value::TextList(list(bytes)?),
        FieldKind::Json => {
            let text = bytes.split_first().filter(|(version, _)| **version == 1).ok_or("no jsonb")?.1;
            Value::Json(Json::from_trusted(json::from_stored(std::str::from_utf8(text)?)))
        }
    })
}

/// Reads a `bigint`.
pub(crate) fn integer(bytes: &[u8]) -> Result<i64, BoxDynError> {
    Ok(i64::from_be_bytes(bytes.try_into()?))
}

/// Reads a `text[]`; missing elements, which only a person can have written, are left out.
fn list(mut bytes: &[u8]) -> Result<Vec<String>, BoxDynError> {
    let mut take = |length: usize| -> Result<&[u8], BoxDynError> {
        let (taken, rest) = bytes.split_at_checked(length).ok_or("an array was cut short")?;
        bytes = rest;
        Ok(taken)
    };
    let number = |bytes: &[u8]| -> Result<i32, BoxDynError> { Ok(i32::from_be_bytes(bytes.try_into()?)) };
    let dimensions = number(take(4)?)?;
    take(8)?;
    let mut length = usize::from(dimensions > 0);
    for _ in 0..dimensions {
        length = length.checked_mul(usize::try_from(number(take(4)?)?)?).ok_or("an array beyond all sizes")?;
        take(4)?;
    }
    let mut list = Vec::with_capacity(length.min(1000));
    for _ in 0..length {
        if let Ok(size) = usize::try_from(number(take(4)?)?) {
            list.push(std::str::from_utf8(take(size)?)?.to_owned());
        }
    }
    Ok(list)
}

/// A list as the literal of an array.
pub(crate) fn list_literal(list: &[String]) -> String {
    let mut literal = String::with_capacity(2 + list.iter().map(|element| element.len() + 3).sum::<usize>());
    literal.push('{');
    for (place, element) in list.iter().enumerate() {
        literal.push_str(if place > 0 { ",\"" } else { "\"" });
        for character in element.chars() {
            if matches!(character, '"' | '\\') {
                literal.push('\\');
            }
            literal.push(character);
        }
        literal.push('"');
    }
    literal.push('}');
    literal
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn there_and_back(kind: FieldKind, value: &Value) -> Value {
        let mut bytes = Vec::new();
        assert!(write(value, &mut bytes));
        read(kind, &bytes).unwrap()
    }

    #[test]
    fn money_is_groups_of_four_digits() {
        for (amount, groups) in [
            (0, vec![0, -2, 0, 4]),
            (1, vec![1, -1, 0, 4, 1]),
            (-12_345, vec![2, 0, 0x4000, 4, 1, 2345]),
            (120_000, vec![2, 0, 0, 4, 12, 0]),
            (999_999_999_999_999_999, vec![5, 3, 0, 4, 99, 9999, 9999, 9999, 9999]),
        ] {
            let mut bytes = Vec::new();
            write_numeric(amount, &mut bytes);
            let found: Vec<i16> = bytes.chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect();
            assert_eq!(found, groups, "{amount}");
        }
        assert!(!write(&Value::Null, &mut Vec::new()));
    }

    #[test]
    fn days_and_instants_keep_their_ends() {
        for day in [date(1, 1, 1), date(1969, 12, 31), date(2000, 2, 29), date(9999, 12, 31)] {
            assert_eq!(there_and_back(FieldKind::Date, &Value::Date(day)), Value::Date(day));
        }
        for instant in [Timestamp::MIN, Timestamp::default(), Timestamp::MAX] {
            assert_eq!(there_and_back(FieldKind::Timestamp, &Value::Timestamp(instant)), Value::Timestamp(instant));
        }
    }

    #[test]
    fn literals_of_lists_are_quoted() {
        assert_eq!(list_literal(&[]), "{}");
        assert_eq!(list_literal(&["a,b".to_owned(), "\"\\".to_owned()]), r#"{"a,b","\"\\"}"#);
    }

    proptest! {
        #[test]
        fn values_come_back(
            integer in any::<i64>(),
            number in any::<f64>().prop_filter("finite", |number| number.is_finite()),
            amount in -999_999_999_999_999_999_i64..=999_999_999_999_999_999,
            text in any::<String>(),
            list in vec(any::<String>(), 0..4),
            id in any::<u128>(),
        ) {
            for (kind, value) in [
                (FieldKind::Integer, Value::Integer(integer)),
                (FieldKind::Number, Value::Number(number)),
                (FieldKind::Money, Value::Money(Money::from_ten_thousandths(amount).unwrap())),
                (FieldKind::Text, Value::Text(text)),
                (FieldKind::TextList, Value::TextList(list)),
                (FieldKind::Id, Value::Id(Uuid::from_u128(id))),
                (FieldKind::Bool, Value::Bool(integer > 0)),
            ] {
                prop_assert_eq!(there_and_back(kind, &value), value);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..40)) {
            for kind in [FieldKind::Money, FieldKind::TextList, FieldKind::Json, FieldKind::Date, FieldKind::Timestamp] {
                read(kind, &bytes).ok();
            }
        }
    }
}
