//! When a message may leave: in the sending window of who gets it, in their own time, spread over the hours asked for.
//!
//! The day on which clocks change is a day like another: a time that is skipped counts as the moment of the change, and of
//! an hour that comes twice only so much is used as lies inside the window whichever way it is read.

use std::collections::HashMap;

use jiff::{
    civil::{Date, DateTime},
    tz::{AmbiguousOffset, TimeZone as Zone},
};

use super::{CampaignId, SendingWindow, Weekday, calling_code, variant};
use crate::{customer::Customer, tenancy::TimeZone, time::Timestamp};

/// So many days ahead are looked at.
const HORIZON: usize = 400;
const HOUR: i64 = 60 * 60 * 1000;
/// Custom fields that name the time zone of a customer, the first that does so counting.
const ZONE_FIELDS: [&str; 3] = ["time_zone", "timezone", "tz"];

/// When the messages of a campaign leave, from an instant on.
#[derive(Debug)]
pub struct Timetable {
    from: Timestamp,
    window: Option<SendingWindow>,
    /// In milliseconds.
    spread: i64,
    organization: Zone,
    openings: HashMap<String, Openings>,
}

impl Timetable {
    /// From `from` on, within the window, over so many hours in which the window is open. The zone of the organization
    /// is that of customers of whom no other is known.
    #[must_use]
    pub fn new(
        from: Timestamp,
        window: Option<&SendingWindow>,
        spread_hours: Option<i64>,
        organization: &TimeZone,
    ) -> Self {
        Self {
            from,
            window: window.cloned(),
            spread: spread_hours.unwrap_or(0).clamp(0, 24 * 366).saturating_mul(HOUR),
            organization: organization.to_jiff().clone(),
            openings: HashMap::new(),
        }
    }

    /// When the customer's message leaves: never before the instant asked for, always inside the window.
    pub fn due(&mut self, campaign: CampaignId, customer: &Customer) -> Timestamp {
        let zone = if self.window.is_some() { zone_of(customer) } else { None };
        let zone = zone.unwrap_or_else(|| self.organization.clone());
        let name = zone.iana_name().unwrap_or("UTC");
        if let Some(openings) = self.openings.get(name) {
            return openings.at(|span| variant::place_in(campaign, customer.id, span));
        }
        let openings = Openings::of(self.from, self.window.as_ref(), self.spread, &zone);
        let due = openings.at(|span| variant::place_in(campaign, customer.id, span));
        self.openings.insert(name.to_owned(), openings);
        due
    }
}

/// The time zone of a customer: the one that a custom field `time_zone`, `timezone` or `tz` names, else that of the country
/// of the phone number. Of a country with several it is the one in which most people live.
#[must_use]
pub fn zone_of(customer: &Customer) -> Option<Zone> {
    named_zone(customer).or_else(|| {
        let zone = calling_code::zone(customer.phone.as_ref()?.as_str())?;
        Zone::get(zone).ok()
    })
}

fn named_zone(customer: &Customer) -> Option<Zone> {
    let json = customer.custom.as_json().as_str();
    // Most have none, and reading JSON costs something for a million customers.
    if !ZONE_FIELDS.iter().any(|field| json.contains(field)) {
        return None;
    }
    let members: HashMap<String, serde_json::Value> = serde_json::from_str(json).ok()?;
    let name = ZONE_FIELDS.iter().find_map(|field| members.get(*field)?.as_str())?;
    TimeZone::parse(name).ok().map(|zone| zone.to_jiff().clone())
}

/// The spans of time in which messages leave, in milliseconds, their ends left out.
#[derive(Debug)]
struct Openings {
    spans: Vec<(i64, i64)>,
    /// How long they are together.
    total: u64,
}

impl Openings {
    fn of(from: Timestamp, window: Option<&SendingWindow>, spread: i64, zone: &Zone) -> Self {
        // Not less than a millisecond, so that there is a place in it.
        let wanted = spread.max(1);
        let from = from.as_milliseconds();
        let mut spans = Vec::new();
        let mut total = 0;
        let Some(window) = window else {
            spans.push((from, from.saturating_add(wanted)));
            return Self { spans, total: u64::try_from(wanted).unwrap_or(1) };
        };
        let first = Timestamp::from_milliseconds(from).unwrap_or_default().to_jiff().to_zoned(zone.clone()).date();
        let mut date = Some(first);
        for _ in 0..HORIZON {
            let Some(day) = date else { break };
            if let Some((start, end)) = opening(window, day, zone) {
                let start = start.max(from);
                if start < end {
                    let end = end.min(start.saturating_add(wanted - total));
                    spans.push((start, end));
                    total += end - start;
                }
            }
            if total >= wanted {
                break;
            }
            date = day.tomorrow().ok();
        }
        if spans.is_empty() {
            // A window that opens on no day of a year is none.
            spans.push((from, from.saturating_add(1)));
            total = 1;
        }
        Self { spans, total: u64::try_from(total).unwrap_or(1) }
    }

    /// The instant at a place of the whole, which lies below it.
    fn at(&self, place: impl FnOnce(u64) -> u64) -> Timestamp {
        let mut place = i64::try_from(place(self.total)).unwrap_or(0);
        for (start, end) in &self.spans {
            if place < end - start {
                return Timestamp::from_milliseconds(start + place).unwrap_or(Timestamp::MAX);
            }
            place -= end - start;
        }
        self.spans.first().and_then(|(start, _)| Timestamp::from_milliseconds(*start)).unwrap_or(Timestamp::MAX)
    }
}

/// From when until when the window is open on a day.
fn opening(window: &SendingWindow, day: Date, zone: &Zone) -> Option<(i64, i64)> {
    if !window.days.is_empty() && !window.days.contains(&weekday(day)) {
        return None;
    }
    let moment = |minutes: u16| -> Option<DateTime> {
        if minutes >= 24 * 60 {
            return day.tomorrow().ok().map(|next| next.at(0, 0, 0, 0));
        }
        Some(day.at(i8::try_from(minutes / 60).ok()?, i8::try_from(minutes % 60).ok()?, 0, 0))
    };
    let start = Reading::of(moment(window.start.minutes())?, zone)?;
    let end = Reading::of(moment(window.end.minutes())?, zone)?;
    // Of an hour that comes twice, what lies between is inside the window both times.
    let safe = (start.later, end.earlier);
    let span = if safe.0 < safe.1 { safe } else { (start.earlier, end.earlier) };
    (span.0 < span.1).then_some(span)
}

/// The instants at which a clock shows a time.
struct Reading {
    earlier: i64,
    later: i64,
}

impl Reading {
    fn of(shown: DateTime, zone: &Zone) -> Option<Self> {
        let read = zone.to_ambiguous_timestamp(shown);
        match read.offset() {
            AmbiguousOffset::Unambiguous { .. } => {
                let at = read.compatible().ok()?.as_millisecond();
                Some(Self { earlier: at, later: at })
            }
            AmbiguousOffset::Fold { .. } => Some(Self {
                earlier: read.earlier().ok()?.as_millisecond(),
                later: read.later().ok()?.as_millisecond(),
            }),
            // No clock shows it: it passes in the moment of the change.
            AmbiguousOffset::Gap { after, .. } => {
                let before = after.to_timestamp(shown).ok()?;
                let change = zone.following(before).next()?.timestamp().as_millisecond();
                Some(Self { earlier: change, later: change })
            }
        }
    }
}

fn weekday(day: Date) -> Weekday {
    match day.weekday() {
        jiff::civil::Weekday::Monday => Weekday::Monday,
        jiff::civil::Weekday::Tuesday => Weekday::Tuesday,
        jiff::civil::Weekday::Wednesday => Weekday::Wednesday,
        jiff::civil::Weekday::Thursday => Weekday::Thursday,
        jiff::civil::Weekday::Friday => Weekday::Friday,
        jiff::civil::Weekday::Saturday => Weekday::Saturday,
        jiff::civil::Weekday::Sunday => Weekday::Sunday,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::{
        contact::Phone,
        id::{CustomerId, OrganizationId},
        record::Meta,
        store::Json,
        text::Line,
    };

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    fn customer(phone: Option<&str>, zone: Option<&str>) -> Customer {
        let meta = Meta::new(OrganizationId(Uuid::from_u128(1)), at("2026-01-01T00:00:00Z"));
        let mut customer =
            Customer::blank(CustomerId(Uuid::from_u128(7)), Line::parse("Amélie").expect("a name"), meta);
        customer.phone = phone.map(|phone| Phone::parse(phone, None).expect("a phone"));
        if let Some(zone) = zone {
            customer.custom = Json::from_trusted(format!(r#"{{"time_zone":"{zone}"}}"#)).into();
        }
        customer
    }

    fn window(start: &str, end: &str, days: &[Weekday]) -> SendingWindow {
        let read = |text: &str| text.parse().expect("a time");
        SendingWindow { start: read(start), end: read(end), days: days.to_vec() }
    }

    fn due(from: &str, window: &SendingWindow, zone: &str) -> String {
        let mut table = Timetable::new(at(from), Some(window), None, &TimeZone::UTC);
        table.due(CampaignId(Uuid::from_u128(1)), &customer(None, Some(zone))).to_string()
    }

    #[test]
    fn messages_wait_for_the_window() {
        let (day, weekdays) = (window("09:00", "20:00", &[]), [Weekday::Monday, Weekday::Tuesday]);
        for (from, zone, expected) in [
            // Before, inside, at its end.
            ("2026-03-20T02:00:00Z", "Asia/Kolkata", "2026-03-20T03:30:00.000Z"),
            ("2026-03-20T10:00:00Z", "Asia/Kolkata", "2026-03-20T10:00:00.000Z"),
            ("2026-03-20T14:30:00Z", "Asia/Kolkata", "2026-03-21T03:30:00.000Z"),
            ("2026-03-20T14:29:59Z", "Asia/Kolkata", "2026-03-20T14:29:59.000Z"),
            // Clocks go forward in Berlin on 29 March, and back on 25 October.
            ("2026-03-28T20:00:00Z", "Europe/Berlin", "2026-03-29T07:00:00.000Z"),
            ("2026-10-24T20:00:00Z", "Europe/Berlin", "2026-10-25T08:00:00.000Z"),
            // Nobody's zone that we know: the organization's.
            ("2026-03-20T02:00:00Z", "Mars/Olympus", "2026-03-20T09:00:00.000Z"),
        ] {
            assert_eq!(due(from, &day, zone), expected, "{from} {zone}");
        }
        let working = window("09:00", "24:00", &weekdays);
        assert_eq!(due("2026-03-20T10:00:00Z", &working, "UTC"), "2026-03-23T09:00:00.000Z", "a Friday");
        assert_eq!(due("2026-03-24T23:59:59.999Z", &working, "UTC"), "2026-03-24T23:59:59.999Z");
        assert_eq!(due("2026-03-25T00:00:00Z", &working, "UTC"), "2026-03-30T09:00:00.000Z");
    }

    #[test]
    fn the_hour_that_is_skipped_and_the_hour_that_comes_twice() {
        for (start, end, from, expected) in [
            // Skipped: 02:00 to 03:00 on 29 March, at 01:00 UTC.
            ("02:30", "05:00", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00.000Z"),
            ("01:00", "02:30", "2026-03-29T00:30:00Z", "2026-03-29T00:30:00.000Z"),
            ("01:00", "02:30", "2026-03-29T01:00:00Z", "2026-03-29T23:00:00.000Z"),
            // A window that is skipped as a whole opens the day after.
            ("02:15", "02:45", "2026-03-28T12:00:00Z", "2026-03-30T00:15:00.000Z"),
            // Twice: 02:00 to 03:00 on 25 October, from 00:00 UTC and from 01:00 UTC.
            ("02:30", "05:00", "2026-10-24T12:00:00Z", "2026-10-25T01:30:00.000Z"),
            ("01:00", "02:30", "2026-10-25T00:29:00Z", "2026-10-25T00:29:00.000Z"),
            ("01:00", "02:30", "2026-10-25T00:30:00Z", "2026-10-26T00:00:00.000Z"),
            ("02:15", "02:45", "2026-10-24T12:00:00Z", "2026-10-25T00:15:00.000Z"),
        ] {
            assert_eq!(due(from, &window(start, end, &[]), "Europe/Berlin"), expected, "{start} {end} {from}");
        }
        // A day that never was: Samoa went from the 29th to the 31st.
        let samoa = due("2011-12-30T06:00:00Z", &window("09:00", "20:00", &[]), "Pacific/Apia");
        assert_eq!(samoa, "2011-12-30T19:00:00.000Z");
    }

    #[test]
    fn zones_come_from_a_field_or_the_phone() {
        for (phone, field, expected) in [
            (Some("+919876543210"), None, Some("Asia/Kolkata")),
            (Some("+919876543210"), Some("Europe/Paris"), Some("Europe/Paris")),
            (Some("+919876543210"), Some("nonsense"), Some("Asia/Kolkata")),
            (Some("+77012345678"), None, Some("Asia/Almaty")),
            (None, None, None),
        ] {
            let zone = zone_of(&customer(phone, field));
            assert_eq!(zone.as_ref().and_then(|zone| zone.iana_name()), expected, "{phone:?} {field:?}");
        }
    }

    #[test]
    fn messages_are_spread_over_open_hours() {
        let window = window("09:00", "11:00", &[]);
        let mut table = Timetable::new(at("2026-03-20T10:00:00Z"), Some(&window), Some(3), &TimeZone::UTC);
        let mut days = [0, 0];
        for number in 0..600 {
            let customer = Customer { id: CustomerId(Uuid::from_u128(number)), ..customer(None, None) };
            let due = table.due(CampaignId(Uuid::from_u128(9)), &customer).to_string();
            let day = usize::from(due.starts_with("2026-03-21T"));
            assert!(day == 1 || due.starts_with("2026-03-20T10:"), "{due}");
            days[day] += 1;
        }
        assert!((150..250).contains(&days[0]), "an hour of three is today: {days:?}");
    }

    proptest! {
        #[test]
        fn a_message_is_never_early_and_always_inside(
            from in 0_i64..4_000_000_000_000, start in 0_u16..1440, length in 1_u16..1440, spread in 0_i64..200,
            days in proptest::sample::subsequence(Weekday::ALL.to_vec(), 0..7),
            zone in proptest::sample::select(vec![
                "UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Africa/Casablanca",
                "America/Havana", "Asia/Kathmandu", "Pacific/Apia", "America/St_Johns",
            ]),
            id in any::<u128>(),
        ) {
            let read = |minutes: u16| crate::campaign::ClockTime::from_minutes(minutes).expect("a time");
            let window = SendingWindow { start: read(start), end: read((start + length).min(1440)), days };
            let from = Timestamp::from_milliseconds(from).expect("in range");
            let mut table = Timetable::new(from, Some(&window), Some(spread), &TimeZone::UTC);
            let customer = Customer { id: CustomerId(Uuid::from_u128(id)), ..customer(None, Some(zone)) };
            let due = table.due(CampaignId(Uuid::from_u128(1)), &customer);
            prop_assert!(due >= from);
            let shown = due.to_jiff().to_zoned(Zone::get(zone).expect("a zone"));
            let minute = u16::try_from(i32::from(shown.hour()) * 60 + i32::from(shown.minute())).expect("a minute");
            prop_assert!(window.start.minutes() <= minute && minute < window.end.minutes(), "{shown}");
            prop_assert!(window.days.is_empty() || window.days.contains(&weekday(shown.date())), "{shown}");
            prop_assert_eq!(due, table.due(CampaignId(Uuid::from_u128(1)), &customer), "the same whenever it is asked");
        }

        #[test]
        fn without_a_window_only_the_spread_counts(from in 0_i64..4_000_000_000_000, spread in 0_i64..100, id in any::<u128>()) {
            let from = Timestamp::from_milliseconds(from).expect("in range");
            let mut table = Timetable::new(from, None, Some(spread), &TimeZone::UTC);
            let customer = Customer { id: CustomerId(Uuid::from_u128(id)), ..customer(Some("+919876543210"), None) };
            let due = table.due(CampaignId(Uuid::from_u128(1)), &customer);
            let waited = due.as_milliseconds() - from.as_milliseconds();
            prop_assert!((0..=(spread * HOUR).max(1) - 1).contains(&waited));
        }
    }
}
