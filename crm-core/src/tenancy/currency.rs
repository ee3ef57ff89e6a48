use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{
    error::FieldErrors,
    input::{self, FromInput},
};

/// The currencies in use, by ISO 4217 (without funds, metals and test codes).
const CODES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD \
    CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD \
    HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD \
    MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG \
    QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD \
    TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG";

/// A currency in use, by its ISO 4217 code.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Currency(&'static str);

impl Currency {
    /// The United States' dollar: what an organization has until it says otherwise.
    pub const USD: Self = Self("USD");

    /// Reads a code, in any case.
    ///
    /// # Errors
    /// `INVALID_FORMAT` for what is no currency in use.
    pub fn parse(text: &str) -> Result<Self, FieldErrors> {
        CODES
            .split_ascii_whitespace()
            .find(|code| code.eq_ignore_ascii_case(text.trim()))
            .map(Self)
            .ok_or_else(|| FieldErrors::one("", "INVALID_FORMAT", "must be an ISO 4217 code such as EUR or INR"))
    }
}

impl AsRef<str> for Currency {
    fn as_ref(&self) -> &str {
        self.0
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl FromStr for Currency {
    type Err = FieldErrors;

    fn from_str(text: &str) -> Result<Self, FieldErrors> {
        Self::parse(text)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl FromInput for Currency {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        Self::parse(&input::text(json)?)
    }
}

crate::text_field_type!(Currency);

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Currency {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("A currency by its ISO 4217 code."))
            .min_length(Some(3))
            .max_length(Some(3))
            .examples([serde_json::json!("EUR")])
            .build()
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Currency {}

#[cfg(test)]
mod tests {
    use super::Currency;

    #[test]
    fn codes_in_use() {
        assert_eq!(Currency::parse(" inr ").map(|code| code.to_string()), Ok("INR".to_owned()));
        for text in ["", "EURO", "XXX", "DEM", "€"] {
            assert!(Currency::parse(text).is_err(), "{text}");
        }
    }
}
