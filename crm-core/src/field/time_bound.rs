use jiff::civil::Date;

use super::CustomFieldType;
use crate::{input, rule::Span, time::Timestamp};

/// An end of the time that a value may lie in: a day, an instant, or a distance from now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TimeBound {
    Day(Date),
    Instant(Timestamp),
    /// So many milliseconds after now; before it where negative.
    Distance(i64),
}

impl TimeBound {
    /// What a bound looks like, for messages.
    pub(super) const fn form(kind: CustomFieldType) -> &'static str {
        match kind {
            CustomFieldType::Date => "a date such as 2026-01-31, or now, now-18w or now+30d",
            _ => {
                "an instant such as 2026-01-31T09:30:00Z, a date (its first instant in UTC), or now, now-2h or now+30d"
            }
        }
    }

    /// Reads a bound of values of the type; nothing where it is none.
    pub(super) fn parse(kind: CustomFieldType, text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("now") {
            let span = |text| Span::parse(text).map(Span::milliseconds);
            return match rest.split_at_checked(1) {
                None => Some(Self::Distance(0)),
                Some(("+", rest)) => span(rest).map(Self::Distance),
                Some(("-", rest)) => span(rest).map(|span| Self::Distance(-span)),
                Some(_) => None,
            };
        }
        match (kind, input::parse_date(text)) {
            (_, Some(date)) => Some(Self::Day(date)),
            (CustomFieldType::Datetime, None) => text.parse().ok().map(Self::Instant),
            _ => None,
        }
    }

    /// The instant that it means now.
    pub(super) fn instant(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Day(date) => first_instant(date),
            Self::Instant(instant) => instant,
            Self::Distance(milliseconds) => {
                let end = if milliseconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
                Timestamp::from_milliseconds(now.as_milliseconds().saturating_add(milliseconds)).unwrap_or(end)
            }
        }
    }

    /// The day that it means now, in UTC.
    pub(super) fn day(self, now: Timestamp) -> Date {
        match self {
            Self::Day(date) => date,
            other => day_of(other.instant(now)),
        }
    }

    /// Whether both are told without the clock.
    pub(super) const fn is_fixed(self) -> bool {
        !matches!(self, Self::Distance(_))
    }
}

/// The day in UTC of an instant.
pub(super) fn day_of(instant: Timestamp) -> Date {
    instant.to_jiff().to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// The first instant in UTC of a day.
pub(super) fn first_instant(date: Date) -> Timestamp {
    date.to_zoned(jiff::tz::TimeZone::UTC).map_or(Timestamp::MAX, |zoned| Timestamp::from(zoned.timestamp()))
}
