use std::str::FromStr;

use serde_json::value::RawValue;

use super::contact_text;
use crate::{
    error::FieldErrors,
    input::{self, FromInput},
};

/// A country by its two-letter code of ISO 3166-1, or `XK` for Kosovo.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Country(&'static str);

const CODES: &[&str] = &[
    "AD", "AE", "AF", "AG", "AI", "AL", "AM", "AO", "AQ", "AR", "AS", "AT", "AU", "AW", "AX", "AZ", "BA", "BB", "BD",
    "BE", "BF", "BG", "BH", "BI", "BJ", "BL", "BM", "BN", "BO", "BQ", "BR", "BS", "BT", "BV", "BW", "BY", "BZ", "CA",
    "CC", "CD", "CF", "CG", "CH", "CI", "CK", "CL", "CM", "CN", "CO", "CR", "CU", "CV", "CW", "CX", "CY", "CZ", "DE",
    "DJ", "DK", "DM", "DO", "DZ", "EC", "EE", "EG", "EH", "ER", "ES", "ET", "FI", "FJ", "FK", "FM", "FO", "FR", "GA",
    "GB", "GD", "GE", "GF", "GG", "GH", "GI", "GL", "GM", "GN", "GP", "GQ", "GR", "GS", "GT", "GU", "GW", "GY", "HK",
    "HM", "HN", "HR", "HT", "HU", "ID", "IE", "IL", "IM", "IN", "IO", "IQ", "IR", "IS", "IT", "JE", "JM", "JO", "JP",
    "KE", "KG", "KH", "KI", "KM", "KN", "KP", "KR", "KW", "KY", "KZ", "LA", "LB", "LC", "LI", "LK", "LR", "LS", "LT",
    "LU", "LV", "LY", "MA", "MC", "MD", "ME", "MF", "MG", "MH", "MK", "ML", "MM", "MN", "MO", "MP", "MQ", "MR", "MS",
    "MT", "MU", "MV", "MW", "MX", "MY", "MZ", "NA", "NC", "NE", "NF", "NG", "NI", "NL", "NO", "NP", "NR", "NU", "NZ",
    "OM", "PA", "PE", "PF", "PG", "PH", "PK", "PL", "PM", "PN", "PR", "PS", "PT", "PW", "PY", "QA", "RE", "RO", "RS",
    "RU", "RW", "SA", "SB", "SC", "SD", "SE", "SG", "SH", "SI", "SJ", "SK", "SL", "SM", "SN", "SO", "SR", "SS", "ST",
    "SV", "SX", "SY", "SZ", "TC", "TD", "TF", "TG", "TH", "TJ", "TK", "TL", "TM", "TN", "TO", "TR", "TT", "TV", "TW",
    "TZ", "UA", "UG", "UM", "US", "UY", "UZ", "VA", "VC", "VE", "VG", "VI", "VN", "VU", "WF", "WS", "XK", "YE", "YT",
    "ZA", "ZM", "ZW",
];

impl Country {
    /// Reads a two-letter code, in capitals or not.
    ///
    /// # Errors
    /// `INVALID_FORMAT` where no country has it.
    pub fn parse(text: &str) -> Result<Self, FieldErrors> {
        Self::find(&text.trim().to_ascii_uppercase()).ok_or_else(|| {
            FieldErrors::one("", "INVALID_FORMAT", "must be a country's two-letter code (ISO 3166), such as IN or BR")
        })
    }

    fn find(code: &str) -> Option<Self> {
        CODES.binary_search(&code).ok().and_then(|place| CODES.get(place)).map(|code| Self(code))
    }

    #[expect(clippy::needless_pass_by_value, reason = "called as for the types that keep the text")]
    fn from_stored(code: String) -> Option<Self> {
        Self::find(&code)
    }

    /// The two letters, in capitals.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        self.0
    }
}

impl FromStr for Country {
    type Err = FieldErrors;

    fn from_str(text: &str) -> Result<Self, FieldErrors> {
        Self::parse(text)
    }
}

impl FromInput for Country {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        Self::parse(&input::text(json)?)
    }
}

contact_text!(Country, "A country's two-letter code (ISO 3166-1).", None, "IN");

#[cfg(test)]
mod tests {
    use super::{CODES, Country};

    #[test]
    fn codes_are_in_order_and_known() {
        assert!(CODES.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(CODES.len(), 250);
        assert_eq!(Country::parse(" in ").expect("India").as_str(), "IN");
        for text in ["", "I", "IND", "ZZ", "ÎN", "UK"] {
            assert!(Country::parse(text).is_err(), "{text}");
        }
    }
}
