use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Currency, TimeZone};
use crate::{
    contact::Country,
    delivery::MessagingSettings,
    error::FieldErrors,
    id::OrganizationId,
    input::{FromInput, Input, Patch},
    record::{Meta, Record},
    store::Json,
    text::Line,
    time::Timestamp,
};

/// The largest free-form object in an organization's settings, in bytes of JSON.
const LARGEST_OBJECT: usize = 16 * 1024;
/// The most opening hours in a week.
const MOST_HOURS: usize = 42;

/// A tenant, sealed off from every other.
#[derive(Clone, Debug, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[record(collection = "organizations", installation, search(name), index(name))]
pub struct Organization {
    /// The organization's id.
    pub id: OrganizationId,
    /// Its name.
    #[record(folded)]
    pub name: Line<200>,
    /// The currency of every amount.
    pub currency: Currency,
    /// The time zone in which days begin and end.
    pub time_zone: TimeZone,
    /// The country by which national phone numbers are read.
    pub country: Option<Country>,
    /// When it is open, in its time zone.
    pub business_hours: Vec<OpeningHours>,
    /// Colours, logo and the like, as the front end wants them.
    pub branding: Json,
    /// Settings of the front end.
    pub settings: Json,
    /// How it writes to its customers; absent where it has said nothing.
    pub messaging: Option<MessagingSettings>,
    /// Whether its people can sign in.
    pub active: bool,
    /// Its version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

impl Organization {
    /// A new organization with the usual settings.
    #[must_use]
    pub fn new(id: OrganizationId, new: NewOrganization, now: Timestamp) -> Self {
        Self {
            id,
            name: new.name,
            currency: new.currency.unwrap_or(Currency::USD),
            time_zone: new.time_zone.unwrap_or(TimeZone::UTC),
            country: new.country,
            business_hours: Vec::new(),
            branding: Json::default(),
            settings: Json::default(),
            messaging: None,
            active: true,
            // An organization belongs to itself, so that it is in its own scope.
            meta: Meta::new(id, now),
        }
    }
}

/// What a new organization is made of.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewOrganization {
    /// Its name.
    pub name: Line<200>,
    /// The currency of every amount; USD where not given.
    pub currency: Option<Currency>,
    /// The time zone; UTC where not given.
    pub time_zone: Option<TimeZone>,
    /// The country by which national phone numbers are read.
    pub country: Option<Country>,
}

impl NewOrganization {
    /// With a name and the usual settings.
    #[must_use]
    pub const fn named(name: Line<200>) -> Self {
        Self { name, currency: None, time_zone: None, country: None }
    }
}

/// What is to change in an organization. What is absent stays.
#[derive(Clone, Debug, Default, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(ignore(id, active, version, created_at, updated_at))]
pub struct ChangedOrganization {
    /// Its name.
    pub name: Option<Line<200>>,
    /// The currency of every amount. Amounts are not converted.
    pub currency: Option<Currency>,
    /// The time zone in which days begin and end.
    pub time_zone: Option<TimeZone>,
    /// The country by which national phone numbers are read; `null` for none.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Country>))]
    pub country: Patch<Country>,
    /// When it is open.
    pub business_hours: Option<Vec<OpeningHours>>,
    /// Colours, logo and the like: any object, at most 16 KB.
    pub branding: Option<FreeObject>,
    /// Settings of the front end: any object, at most 16 KB.
    pub settings: Option<FreeObject>,
    /// How it writes to its customers, in the place of what it said before; `null` for what holds where nothing is said.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<MessagingSettings>))]
    pub messaging: Patch<MessagingSettings>,
}

impl ChangedOrganization {
    pub(crate) fn apply(self, organization: &mut Organization) -> Result<(), FieldErrors> {
        let Self { name, currency, time_zone, country, business_hours, branding, settings, messaging } = self;
        if let Some(hours) = business_hours {
            if hours.len() > MOST_HOURS {
                let message = format!("must have at most {MOST_HOURS} elements");
                return Err(FieldErrors::one("business_hours", "TOO_MANY", message));
            }
            organization.business_hours = hours;
        }
        organization.name = name.unwrap_or_else(|| organization.name.clone());
        organization.currency = currency.unwrap_or(organization.currency);
        organization.time_zone = time_zone.unwrap_or_else(|| organization.time_zone.clone());
        organization.country = country.apply(organization.country);
        if let Some(FreeObject(branding)) = branding {
            organization.branding = branding;
        }
        if let Some(FreeObject(settings)) = settings {
            organization.settings = settings;
        }
        organization.messaging = messaging.apply(organization.messaging.take());
        Ok(())
    }
}

/// Any JSON object of at most 16 KB.
#[derive(Clone, Debug, PartialEq)]
pub struct FreeObject(Json);

impl FromInput for FreeObject {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        if json.get().len() > LARGEST_OBJECT {
            let message = format!("must have at most {LARGEST_OBJECT} bytes of JSON");
            return Err(FieldErrors::one("", "TOO_LONG", message));
        }
        if !json.get().starts_with('{') {
            return Err(FieldErrors::one("", "INVALID_TYPE", "must be a JSON object"));
        }
        Json::from_input(json).map(Self)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for FreeObject {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new().description(Some("Any object of at most 16 KB.")).build().into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for FreeObject {}

/// A day of the week.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Weekday {
    /// Monday.
    Monday,
    /// Tuesday.
    Tuesday,
    /// Wednesday.
    Wednesday,
    /// Thursday.
    Thursday,
    /// Friday.
    Friday,
    /// Saturday.
    Saturday,
    /// Sunday.
    Sunday,
}

impl FromInput for Weekday {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        serde_json::from_str(json.get()).map_err(|_| {
            let message = "must be one of monday, tuesday, wednesday, thursday, friday, saturday, sunday";
            FieldErrors::one("", "INVALID_VALUE", message)
        })
    }
}

/// A time of the day in which the organization is open.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpeningHours {
    /// The day.
    pub day: Weekday,
    /// When it opens, such as `09:00`.
    #[cfg_attr(feature = "openapi", schema(example = "09:00"))]
    pub opens: String,
    /// When it closes, later on the same day, at most `24:00`.
    #[cfg_attr(feature = "openapi", schema(example = "17:30"))]
    pub closes: String,
}

crate::json_field_type!(Vec<OpeningHours>);

/// As given, before the times are compared.
#[derive(Input)]
struct OpeningHoursInput {
    day: Weekday,
    opens: String,
    closes: String,
}

impl FromInput for OpeningHours {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let OpeningHoursInput { day, opens, closes } = OpeningHoursInput::from_input(json)?;
        let mut errors = FieldErrors::new();
        let (from, to) = (minute_of_day(&opens), minute_of_day(&closes));
        for (field, minute) in [("opens", from), ("closes", to)] {
            if minute.is_none() {
                errors.add(field, "INVALID_FORMAT", "must be a time such as 09:00");
            }
        }
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            errors.add("closes", "INVALID_VALUE", "must be later than opens");
        }
        errors.or(Self { day, opens, closes })
    }
}

fn minute_of_day(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    if text.len() != 5 || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') {
        return None;
    }
    let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (minutes < 60 && hours * 60 + minutes <= 24 * 60).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::minute_of_day;

    #[test]
    fn times_of_the_day() {
        for (text, minute) in [
            ("09:00", Some(540)),
            ("24:00", Some(1440)),
            ("24:01", None),
            ("9:00", None),
            ("09:60", None),
            ("0a:00", None),
            ("::::::", None),
            ("", None),
        ] {
            assert_eq!(minute_of_day(text), minute, "{text}");
        }
    }
}
