use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{
    error::FieldErrors,
    input::{self, FromInput},
};

/// A time zone by its name in the IANA database, which is in the program itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TimeZone(jiff::tz::TimeZone);

impl TimeZone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(jiff::tz::TimeZone::UTC);

    /// Reads a name, in any case.
    ///
    /// # Errors
    /// `INVALID_FORMAT` for what is no zone of the database.
    pub fn parse(text: &str) -> Result<Self, FieldErrors> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("UTC") {
            return Ok(Self::UTC);
        }
        let wrong = || FieldErrors::one("", "INVALID_FORMAT", "must be an IANA time zone such as Asia/Kolkata or UTC");
        if text.is_empty() || text.len() > 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let zone = jiff::tz::TimeZone::get(text).map_err(|_| wrong())?;
        if zone.iana_name().is_some() { Ok(Self(zone)) } else { Err(wrong()) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// For calendar arithmetic.
    #[must_use]
    pub const fn to_jiff(&self) -> &jiff::tz::TimeZone {
        &self.0
    }
}

impl AsRef<str> for TimeZone {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TimeZone {
    type Err = FieldErrors;

    fn from_str(text: &str) -> Result<Self, FieldErrors> {
        Self::parse(text)
    }
}

impl Serialize for TimeZone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl FromInput for TimeZone {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        Self::parse(&input::text(json)?)
    }
}

crate::text_field_type!(TimeZone);

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for TimeZone {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("A time zone by its IANA name."))
            .min_length(Some(1))
            .max_length(Some(64))
            .examples([serde_json::json!("Asia/Kolkata")])
            .build()
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for TimeZone {}

#[cfg(test)]
mod tests {
    use super::TimeZone;

    #[test]
    fn zones_of_the_database() {
        for (text, name) in [("asia/kolkata", "Asia/Kolkata"), ("UTC", "UTC"), (" Europe/Berlin ", "Europe/Berlin")] {
            assert_eq!(TimeZone::parse(text).map(|zone| zone.name().to_owned()), Ok(name.to_owned()));
        }
        for text in ["", "Mars/Olympus", "+05:30", "../../etc/passwd", "Local"] {
            assert!(TimeZone::parse(text).is_err(), "{text}");
        }
    }
}
