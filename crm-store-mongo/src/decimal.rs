//! Decimal128, the form of money and of exact sums.
//!
//! An amount is always written with the exponent −4, so that equal amounts have equal bytes: indexes and unique keys
//! then need no rounding rules. What a person writes by hand, or arithmetic makes, may have another exponent and is read
//! all the same.

use bson::Decimal128;
use crm_core::store::Money;

/// What the exponent in the bytes is counted from.
const BIAS: i32 = 6176;
/// How many bits hold the coefficient.
const COEFFICIENT_BITS: u32 = 113;
/// How many places an amount has.
const PLACES: i32 = 4;

/// The amount, with four places.
pub(crate) fn of_money(amount: Money) -> Decimal128 {
    encode(i128::from(amount.as_ten_thousandths()), -PLACES)
}

/// The whole number.
pub(crate) fn of_integer(value: i64) -> Decimal128 {
    encode(i128::from(value), 0)
}

fn encode(value: i128, exponent: i32) -> Decimal128 {
    let sign = if value < 0 { 1_u128 << 127 } else { 0 };
    let exponent = u128::from((exponent + BIAS).unsigned_abs()) << COEFFICIENT_BITS;
    Decimal128::from_bytes((sign | exponent | value.unsigned_abs()).to_le_bytes())
}

/// The amount; nothing where the number is none.
pub(crate) fn to_money(decimal: Decimal128) -> Option<Money> {
    let scaled = scaled(decimal, PLACES.unsigned_abs())?;
    Money::from_ten_thousandths(i64::try_from(scaled).ok()?)
}

/// The number with so many of its places made whole; nothing where it has more places, or is no number.
pub(crate) fn scaled(decimal: Decimal128, places: u32) -> Option<i128> {
    let bits = u128::from_le_bytes(decimal.bytes());
    if (bits >> 125) & 0b11 == 0b11 {
        // Infinite, not a number, or a coefficient beyond 34 digits, which counts as 0 and which nobody writes.
        return None;
    }
    let exponent = i32::try_from((bits >> COEFFICIENT_BITS) & 0x3fff).ok()? - BIAS;
    let mut value = i128::try_from(bits & ((1 << COEFFICIENT_BITS) - 1)).ok()?;
    let mut shift = exponent + i32::try_from(places).ok()?;
    while shift > 0 && value != 0 {
        value = value.checked_mul(10)?;
        shift -= 1;
    }
    while shift < 0 && value != 0 {
        if value % 10 != 0 {
            return None;
        }
        value /= 10;
        shift += 1;
    }
    Some(if bits >> 127 == 1 { -value } else { value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_read_as_people_write_them() {
        let money = |ten_thousandths| Money::from_ten_thousandths(ten_thousandths).unwrap();
        assert_eq!(of_money(money(12_345)).to_string(), "1.2345");
        assert_eq!(of_money(money(-5)).to_string(), "-0.0005");
        assert_eq!(of_integer(-7).to_string(), "-7");
        for (text, expected) in
            [("1.5", Some(15_000)), ("1E+3", Some(10_000_000)), ("-0.00010", Some(-1)), ("0E-20", Some(0))]
        {
            assert_eq!(to_money(text.parse().unwrap()).map(Money::as_ten_thousandths), expected, "{text}");
        }
        for text in ["0.00001", "1E+30", "NaN", "Infinity", "-Infinity"] {
            assert_eq!(to_money(text.parse().unwrap()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_amount_comes_back(amount in Money::MIN.as_ten_thousandths()..=Money::MAX.as_ten_thousandths()) {
            let money = Money::from_ten_thousandths(amount).unwrap();
            prop_assert_eq!(to_money(of_money(money)), Some(money));
            prop_assert_eq!(of_money(money).to_string().parse::<Decimal128>().unwrap(), of_money(money));
        }

        #[test]
        fn any_bytes_are_read(bytes in any::<[u8; 16]>()) {
            let _ = scaled(Decimal128::from_bytes(bytes), 4);
        }
    }
}
