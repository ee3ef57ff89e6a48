use jiff::{
    civil::DateTime,
    tz::{Offset, TimeZone},
};

use crate::time::Timestamp;

/// Writes instants in a time zone. Looks an offset up once for all instants until it changes.
#[derive(Clone, Debug)]
pub(super) struct LocalTime {
    zone: TimeZone,
    is_utc: bool,
    /// Between these instants, the second left out, the offset holds.
    known: Option<(jiff::Timestamp, jiff::Timestamp, Offset)>,
}

impl LocalTime {
    pub(super) fn new(zone: TimeZone) -> Self {
        let is_utc = zone.iana_name().is_none_or(|name| name.eq_ignore_ascii_case("UTC"));
        Self { zone, is_utc, known: None }
    }

    /// Adds the instant as RFC 3339 with its offset. One whose offset has seconds, from before standard time, and one
    /// before the year 1 there, are in UTC: RFC 3339 has neither.
    pub(super) fn write(&mut self, instant: Timestamp, out: &mut Vec<u8>) {
        let offset = self.offset(instant);
        let local = offset.to_datetime(instant.to_jiff());
        let minutes = offset.seconds() / 60;
        if self.is_utc || offset.seconds() % 60 != 0 || local.year() < 1 {
            write_civil(Offset::UTC.to_datetime(instant.to_jiff()), out);
            out.push(b'Z');
            return;
        }
        write_civil(local, out);
        out.push(if minutes < 0 { b'-' } else { b'+' });
        let minutes = minutes.unsigned_abs();
        digits(minutes / 60, 2, out);
        out.push(b':');
        digits(minutes % 60, 2, out);
    }

    /// The day and the time of day there.
    pub(super) fn local(&mut self, instant: Timestamp) -> DateTime {
        self.offset(instant).to_datetime(instant.to_jiff())
    }

    fn offset(&mut self, instant: Timestamp) -> Offset {
        if self.is_utc {
            return Offset::UTC;
        }
        let instant = instant.to_jiff();
        if let Some((from, until, offset)) = self.known
            && from <= instant
            && instant < until
        {
            return offset;
        }
        let offset = self.zone.to_offset(instant);
        let until = self.zone.following(instant).next().map_or(jiff::Timestamp::MAX, |next| next.timestamp());
        let from = self.zone.preceding(instant).next().map_or(jiff::Timestamp::MIN, |last| last.timestamp());
        let from = if self.zone.to_offset(from) == offset { from } else { instant };
        self.known = Some((from, until, offset));
        offset
    }
}

fn write_civil(local: DateTime, out: &mut Vec<u8>) {
    digits(u32::from(local.year().unsigned_abs()), 4, out);
    for (separator, part) in [
        (b'-', local.month()),
        (b'-', local.day()),
        (b'T', local.hour()),
        (b':', local.minute()),
        (b':', local.second()),
    ] {
        out.push(separator);
        digits(u32::from(part.unsigned_abs()), 2, out);
    }
    out.push(b'.');
    digits(u32::from(local.millisecond().unsigned_abs()), 3, out);
}

fn digits(number: u32, places: u32, out: &mut Vec<u8>) {
    for place in (0..places).rev() {
        out.push(b'0' + u8::try_from(number / 10_u32.pow(place) % 10).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn written(clock: &mut LocalTime, instant: Timestamp) -> String {
        let mut out = Vec::new();
        clock.write(instant, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[rstest]
    #[case("UTC", "2026-01-31T09:30:00.000Z", "2026-01-31T09:30:00.000Z")]
    #[case("Asia/Kolkata", "2026-01-31T20:30:00.007Z", "2026-02-01T02:00:00.007+05:30")]
    #[case("America/New_York", "2026-07-01T00:00:00Z", "2026-06-30T20:00:00.000-04:00")]
    #[case("America/New_York", "2026-01-01T00:00:00Z", "2025-12-31T19:00:00.000-05:00")]
    #[case("Europe/London", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000+00:00")]
    #[case("Asia/Kolkata", "1800-01-01T00:00:00Z", "1800-01-01T00:00:00.000Z")]
    #[case("America/New_York", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z")]
    fn local_times(#[case] zone: &str, #[case] instant: &str, #[case] expected: &str) {
        let mut clock = LocalTime::new(TimeZone::get(zone).unwrap());
        assert_eq!(written(&mut clock, instant.parse().unwrap()), expected);
    }

    proptest! {
        #[test]
        fn the_same_instant_is_read_back(
            instants in prop::collection::vec(
                prop_oneof![
                    Timestamp::MIN.as_milliseconds()..=Timestamp::MAX.as_milliseconds(),
                    1_700_000_000_000_i64..1_800_000_000_000,
                ],
                1..8,
            ),
            zone in prop::sample::select(vec!["UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "Europe/Dublin"]),
        ) {
            let zone = TimeZone::get(zone).unwrap();
            let mut clock = LocalTime::new(zone.clone());
            for instant in instants {
                let instant = Timestamp::from_milliseconds(instant).unwrap();
                let text = written(&mut clock, instant);
                prop_assert_eq!(text.parse::<Timestamp>(), Ok(instant), "{}", text);
                prop_assert_eq!(clock.offset(instant), zone.to_offset(instant.to_jiff()));
            }
        }
    }
}
