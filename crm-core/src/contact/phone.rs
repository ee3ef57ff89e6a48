use std::str::FromStr;

use serde_json::value::RawValue;

use super::{
    Country, contact_text,
    variants::{self, Mismatch},
};
use crate::{
    error::FieldErrors,
    input::{self, FromInput},
};

/// More than this is no telephone number, whatever stands between the digits.
const LONGEST_INPUT: usize = 64;

/// A telephone number in E.164: `+`, the calling code, the number within the country, 8 to 15 digits in all.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Phone(Box<str>);

impl Phone {
    /// Reads a number with its calling code, or as it is dialled in `country`.
    ///
    /// Digits of Arabic, Devanagari and full-width script are read too, spaces, dots, hyphens, slashes and brackets
    /// are left out. A trunk prefix (the 0 in `+44 (0)20…`) goes. A number must have a length that its country uses.
    ///
    /// # Errors
    /// `INVALID_FORMAT` saying what is wrong; an extension is refused.
    pub fn parse(text: &str, country: Option<Country>) -> Result<Self, FieldErrors> {
        let (international, digits) = digits(text)?;
        let found = if international {
            variants::international(&digits)
        } else {
            let Some(country) = country else {
                return Err(malformed(
                    "must begin with + and the country's calling code, such as +91, since the organization has no country",
                ));
            };
            variants::national(country.as_str(), &digits)
        };
        let digits = found.map_err(|mismatch| match mismatch {
            Mismatch::UnknownCode => malformed("must begin with + and a country's calling code, such as +91"),
            Mismatch::Length => malformed("must have as many digits as telephone numbers of its country have"),
        })?;
        if !(7..=15).contains(&digits.len()) {
            return Err(malformed("must have 7 to 15 digits with the calling code"));
        }
        Ok(Self(format!("+{digits}").into_boxed_str()))
    }

    fn from_stored(text: String) -> Option<Self> {
        let digits = text.strip_prefix('+')?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| Self(text.into_boxed_str()))
    }

    /// The number in E.164.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which the national variants of one number are equal (Brazil with and without the ninth digit,
    /// Mexico +52 and +521, Argentina +54, +549 and 15). For finding duplicates; not for calling.
    #[must_use]
    pub fn match_key(&self) -> String {
        format!("+{}", variants::match_key(self.0.trim_start_matches('+')))
    }
}

fn malformed(message: &str) -> FieldErrors {
    FieldErrors::one("", "INVALID_FORMAT", message)
}

/// Whether the number begins with a plus sign, and its digits.
fn digits(text: &str) -> Result<(bool, String), FieldErrors> {
    let text = text.trim();
    if text.len() > LONGEST_INPUT {
        return Err(FieldErrors::one("", "TOO_LONG", "must be a telephone number of at most 64 bytes"));
    }
    let mut international = false;
    let mut digits = String::with_capacity(15);
    for character in text.chars() {
        match character {
            '0'..='9' => digits.push(character),
            '+' | '\u{ff0b}' if !international && digits.is_empty() => international = true,
            ' ' | '\u{a0}' | '\u{202f}' | '\u{2007}' | '-' | '.' | '/' | '(' | ')' | '\u{2010}'..='\u{2015}'
            // Address books put these around numbers.
            | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {}
            'x' | 'X' | ';' | ',' | '#' | '*' => {
                return Err(malformed("must be a telephone number without an extension or dialling signs"));
            }
            _ => match ascii_digit(character) {
                Some(digit) => digits.push(digit),
                None => {
                    return Err(malformed(&format!(
                        "must be a telephone number of digits, such as +919876543210; {character:?} is none"
                    )));
                }
            },
        }
    }
    if digits.is_empty() {
        return Err(malformed("must be a telephone number, such as +919876543210"));
    }
    Ok((international, digits))
}

fn ascii_digit(character: char) -> Option<char> {
    // The zeros of Arabic-Indic, its eastern form, Devanagari, Bengali and full-width digits.
    [0x0660, 0x06f0, 0x0966, 0x09e6, 0xff10]
        .into_iter()
        .find_map(|zero| u32::from(character).checked_sub(zero).and_then(|digit| char::from_digit(digit, 10)))
}

impl FromStr for Phone {
    type Err = FieldErrors;

    /// Reads a number with its calling code.
    fn from_str(text: &str) -> Result<Self, FieldErrors> {
        Self::parse(text, None)
    }
}

contact_text!(Phone, "A telephone number in E.164.", None, "+919876543210");

/// A telephone number as somebody wrote it, not read yet: that needs the organization's country.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PhoneInput(String);

impl PhoneInput {
    /// What somebody wrote.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Reads it: see [`Phone::parse`].
    ///
    /// # Errors
    /// Those of [`Phone::parse`].
    pub fn resolve(&self, country: Option<Country>) -> Result<Phone, FieldErrors> {
        Phone::parse(&self.0, country)
    }
}

impl From<Phone> for PhoneInput {
    fn from(phone: Phone) -> Self {
        Self(phone.0.into_string())
    }
}

impl FromInput for PhoneInput {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let text = input::text(json)?;
        digits(&text)?;
        Ok(Self(text))
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for PhoneInput {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .max_length(Some(LONGEST_INPUT))
            .description(Some(
                "A telephone number with its calling code, or as it is dialled in the organization's country.",
            ))
            .examples([serde_json::json!("+919876543210")])
            .build()
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for PhoneInput {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Country, Phone};

    fn country(code: &str) -> Option<Country> {
        Country::parse(code).ok()
    }

    #[test]
    fn numbers_are_kept_in_e164() {
        for (text, home, normal) in [
            ("+919876543210", "", "+919876543210"),
            ("+91 98765-43210", "", "+919876543210"),
            ("09876543210", "IN", "+919876543210"),
            ("9876543210", "IN", "+919876543210"),
            ("919876543210", "IN", "+919876543210"),
            ("00919876543210", "IN", "+919876543210"),
            ("+91 ९८७६५ ४३२१०", "", "+919876543210"),
            ("+15551234567", "", "+15551234567"),
            ("٠٩٨٧٦٥٤٣٢١٠", "IN", "+919876543210"),
            ("(415) 555-2671", "US", "+14155552671"),
            ("1-415-555-2671", "US", "+14155552671"),
            ("011 44 20 7946 0958", "US", "+442079460958"),
            ("+44 (0)20 7946 0958", "US", "+442079460958"),
            ("020 7946 0958", "GB", "+442079460958"),
            ("030 901820", "DE", "+4930901820"),
            ("06 12 34 56 78", "FR", "+33612345678"),
            ("02 1234 5678", "IT", "+390212345678"),
            ("8 (912) 345-67-89", "RU", "+79123456789"),
            ("(11) 96123-4567", "BR", "+5511961234567"),
            ("0 11 6123-4567", "BR", "+551161234567"),
            ("0 15 11 96123-4567", "BR", "+5511961234567"),
            ("55 1234 5678", "MX", "+525512345678"),
            ("+52 1 55 1234 5678", "", "+5215512345678"),
            ("011 15 2345-6789", "AR", "+5491123456789"),
            ("011 2345-6789", "AR", "+541123456789"),
            ("\u{202a}+1 415 555 2671\u{202c}", "", "+14155552671"),
        ] {
            let found = Phone::parse(text, country(home));
            assert_eq!(found.as_ref().map(Phone::as_str).map_err(ToString::to_string), Ok(normal), "{text} in {home}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for (text, home) in [
            ("", "IN"),
            ("+", "IN"),
            ("12", "IN"),
            ("98765", "IN"),
            ("9876543210", ""),
            ("+0123456789", ""),
            ("+91987654321098765", ""),
            ("+91", ""),
            ("+14155552671 ext. 5", ""),
            ("+14155552671x5", ""),
            ("+14155552671;ext=5", ""),
            ("+1 800 FLOWERS", ""),
            ("++14155552671", ""),
            ("+1415+5552671", ""),
            ("tel:+14155552671", ""),
            ("+1415555267\0", ""),
            ("९".repeat(40).as_str(), "IN"),
        ] {
            assert!(Phone::parse(text, country(home)).is_err(), "{text:?} in {home}");
        }
    }

    #[test]
    fn national_variants_of_one_number_match() {
        for group in [
            // Brazil, with and without the ninth digit of mobiles.
            ["+5511961234567", "+551161234567", "+55 11 96123-4567"],
            // Mexico, with and without the old 1.
            ["+525512345678", "+5215512345678", "+52 1 55 1234 5678"],
            // Argentina: from abroad, without the 9, with the 15 of home.
            ["+5491123456789", "+541123456789", "+54 11 15 2345 6789"],
            ["+5493511234567", "+543511234567", "+54 351 15 123 4567"],
            ["+5492966123456", "+542966123456", "+54 2966 15 123456"],
        ] {
            let keys: Vec<String> =
                group.iter().map(|text| Phone::parse(text, None).expect(text).match_key()).collect();
            assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{group:?}: {keys:?}");
        }
    }

    #[test]
    fn different_numbers_do_not_match() {
        for (one, other) in [
            ("+5511961234567", "+5521961234567"),
            // A new mobile number whose tail looks like a fixed line's.
            ("+5511931234567", "+551131234567"),
            ("+525512345678", "+525512345679"),
            ("+14155552671", "+14155552672"),
        ] {
            let keys = [one, other].map(|text| Phone::parse(text, None).expect(text).match_key());
            assert_ne!(keys[0], keys[1]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn any_text_is_read_or_refused(text in ".*", home in "[A-Z]{2}") {
            if let Ok(phone) = Phone::parse(&text, country(&home)) {
                prop_assert_eq!(Phone::parse(phone.as_str(), None), Ok(phone));
            }
        }

        #[test]
        fn digits_read_back_as_themselves(text in "\\+?[0-9 ]{4,18}", home in prop::sample::select(vec!["IN", "US", "GB", "DE", "BR", "MX", "AR", "RU", "LT", "IT", "CN", "AQ"])) {
            if let Ok(phone) = Phone::parse(&text, country(home)) {
                let again = Phone::parse(phone.as_str(), None);
                prop_assert_eq!(again, Ok(phone.clone()));
                let key = phone.match_key();
                if let Ok(same) = Phone::parse(&key, None) {
                    prop_assert_eq!(same.match_key(), key);
                }
            }
        }
    }
}
