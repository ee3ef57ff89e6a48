use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

use crate::{
    access::Actor,
    id::UserId,
    job::JobId,
    record::{Meta, Record},
    segment::{SegmentId, SegmentRules},
    store::Json,
    text::{Line, Text},
    time::Timestamp,
};

crate::record_ids! {
    /// A campaign.
    CampaignId,
}

/// What the customers are called who are kept out of a campaign to compare with: the name of their variant, and why they
/// got nothing.
pub const HOLDOUT: &str = "holdout";

/// A message to many customers.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "id": "0198c1de-5f00-7000-8000-000000000001", "name": "Spring sale", "description": null,
    "segment_id": "0198c1de-5f00-7000-8000-000000000009", "rules_json": {"field": "spend", "op": ">", "value": 5000},
    "channel": "mock", "message": "Hi {{name | default: \"there\"}}, spring is here.", "subject": null, "template": null,
    "topic": "offers", "schedule_at": null, "throttle_per_minute": 600,
    "window": {"start": "09:00", "end": "20:00", "days": ["monday", "tuesday"]}, "spread_hours": null,
    "variants": [{"name": "A", "weight": 1}, {"name": "B", "message": "Spring is here, {{name}}!", "weight": 1}],
    "holdout_percent": 5, "status": "sending", "as_of": "2026-03-20T09:00:00.000Z", "audience": 12000,
    "launched_at": "2026-03-20T09:00:00.000Z", "started_at": "2026-03-20T09:00:00.000Z",
    "planned_at": "2026-03-20T09:00:03.000Z", "paused_at": null, "finished_at": null, "reason": null,
    "plan_job_id": "0198c1de-5f00-7000-8000-000000000007", "created_by": "0198c1de-5f00-7000-8000-000000000003",
    "organization_id": "0198c1de-5f00-7000-8000-0000000000aa", "version": 4,
    "created_at": "2026-03-19T10:00:00.000Z", "updated_at": "2026-03-20T09:00:03.000Z"
})))]
#[record(
    collection = "campaigns",
    search(name, description),
    index(-created_at),
    index(status, -created_at),
    index(segment_id, status)
)]
pub struct Campaign {
    /// The campaign's id.
    pub id: CampaignId,
    /// What it is called.
    #[record(folded)]
    pub name: Line<200>,
    /// What it is for.
    pub description: Option<Text<2000>>,
    /// The segment that it goes to, where it is not told by `rules_json` alone.
    pub segment_id: Option<SegmentId>,
    /// Which customers it goes to. Of a segment, as its rule was at the launch.
    #[serde(rename = "rules_json")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::rule::Rule>))]
    pub rules: Option<SegmentRules>,
    /// How it is sent.
    pub channel: CampaignChannel,
    /// What is said: a template.
    pub message: Text<20_000>,
    /// What an e-mail's subject is: a template.
    pub subject: Option<Line<300>>,
    /// A template that the channel's vendor knows, handed on as it is.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub template: Option<Json>,
    /// What it is about, as customers agree to it or not, such as `offers`.
    pub topic: Option<String>,
    /// When it begins; at the launch where it is not said.
    pub schedule_at: Option<Timestamp>,
    /// At most so many messages leave in a minute.
    pub throttle_per_minute: Option<i64>,
    /// When messages arrive, in the time of who gets them.
    pub window: Option<SendingWindow>,
    /// The messages leave over so many hours.
    pub spread_hours: Option<i64>,
    /// Different messages to compare.
    pub variants: CampaignVariants,
    /// So many of a hundred customers get nothing, to compare with.
    pub holdout_percent: Option<i64>,
    /// How far it is.
    pub status: CampaignStatus,
    /// The instant that relative times of the rule count from: that of the beginning.
    pub as_of: Option<Timestamp>,
    /// To how many customers it goes, once that is known. Those are among them who get nothing, for whatever reason.
    pub audience: Option<i64>,
    /// When it was launched.
    pub launched_at: Option<Timestamp>,
    /// On whose behalf it goes: `user`, `api_key`, `service` or `system`. It goes to customers in their sight.
    #[serde(skip)]
    pub launched_by_type: Option<String>,
    /// The person or key who launched it.
    #[serde(skip)]
    pub launched_by_id: Option<Uuid>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it was known who gets what.
    pub planned_at: Option<Timestamp>,
    /// Since when it is paused.
    pub paused_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    pub reason: Option<String>,
    /// The job that finds out who gets what.
    pub plan_job_id: Option<JobId>,
    /// Who wrote it.
    pub created_by: Option<UserId>,
    /// Its organization, version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

impl Campaign {
    /// On whose behalf it goes.
    #[must_use]
    pub fn launched_by(&self) -> Option<Actor> {
        match (self.launched_by_type.as_deref()?, self.launched_by_id) {
            ("user", Some(id)) => Some(Actor::User(UserId(id))),
            ("api_key", Some(id)) => Some(Actor::ApiKey(id)),
            ("service", None) => Some(Actor::Service),
            ("system", None) => Some(Actor::System),
            _ => None,
        }
    }
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CampaignChannel {
    /// By the built-in vendor, which sends nothing: to try things.
    Mock,
    /// By WhatsApp.
    Whatsapp,
    /// By e-mail.
    Email,
    /// By short message.
    Sms,
    /// To an address of the organization's, which passes it on.
    Webhook,
}

impl CampaignChannel {
    /// Every channel.
    pub const ALL: [Self; 5] = [Self::Mock, Self::Whatsapp, Self::Email, Self::Sms, Self::Webhook];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mock => "mock",
            Self::Whatsapp => "whatsapp",
            Self::Email => "email",
            Self::Sms => "sms",
            Self::Webhook => "webhook",
        }
    }
}

/// There is no channel of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of mock, whatsapp, email, sms, webhook")]
pub struct UnknownCampaignChannel;

/// How far a campaign is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CampaignStatus {
    /// It is being written.
    #[default]
    Draft,
    /// It is launched, and begins at its time.
    Scheduled,
    /// It is being planned and sent.
    Sending,
    /// Nothing is sent until it is resumed.
    Paused,
    /// Nothing is left to be sent.
    Sent,
    /// Somebody ended it before everything was sent.
    Cancelled,
    /// It could not be planned.
    Failed,
}

impl CampaignStatus {
    /// Every status.
    pub const ALL: [Self; 7] =
        [Self::Draft, Self::Scheduled, Self::Sending, Self::Paused, Self::Sent, Self::Cancelled, Self::Failed];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Scheduled => "scheduled",
            Self::Sending => "sending",
            Self::Paused => "paused",
            Self::Sent => "sent",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Sent | Self::Cancelled | Self::Failed)
    }
}

/// There is no status of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of draft, scheduled, sending, paused, sent, cancelled, failed")]
pub struct UnknownCampaignStatus;

crate::record::named_types! {
    CampaignChannel, UnknownCampaignChannel;
    CampaignStatus, UnknownCampaignStatus;
}

/// When messages may arrive, in the time of who gets them: from `start` up to, and without, `end`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SendingWindow {
    /// From then on.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "09:00"))]
    pub start: ClockTime,
    /// Until then; after `start`.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "20:00"))]
    pub end: ClockTime,
    /// On these days, from Monday to Sunday; on every day where there are none.
    #[serde(default)]
    pub days: Vec<Weekday>,
}

/// A time of the day, in minutes since midnight. The end of a day is `24:00`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ClockTime(u16);

/// The end of the day.
const DAY: u16 = 24 * 60;

impl ClockTime {
    /// So many minutes after midnight; nothing beyond the end of the day.
    #[must_use]
    pub const fn from_minutes(minutes: u16) -> Option<Self> {
        if minutes <= DAY { Some(Self(minutes)) } else { None }
    }

    /// Minutes since midnight, 0 to 1440.
    #[must_use]
    pub const fn minutes(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// The text is no time of the day.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be a time of the day such as 09:00")]
pub struct InvalidClockTime;

impl FromStr for ClockTime {
    type Err = InvalidClockTime;

    fn from_str(text: &str) -> Result<Self, InvalidClockTime> {
        let two = |digits: &str| {
            let both = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            if both { digits.parse::<u16>().map_err(|_| InvalidClockTime) } else { Err(InvalidClockTime) }
        };
        let (hours, minutes) = text.split_once(':').ok_or(InvalidClockTime)?;
        let (hours, minutes) = (two(hours)?, two(minutes)?);
        if minutes > 59 {
            return Err(InvalidClockTime);
        }
        Self::from_minutes(hours * 60 + minutes).ok_or(InvalidClockTime)
    }
}

impl Serialize for ClockTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClockTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A day of the week.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = SendingDay))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// Every day, Monday first.
    pub const ALL: [Self; 7] =
        [Self::Monday, Self::Tuesday, Self::Wednesday, Self::Thursday, Self::Friday, Self::Saturday, Self::Sunday];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Monday => "monday",
            Self::Tuesday => "tuesday",
            Self::Wednesday => "wednesday",
            Self::Thursday => "thursday",
            Self::Friday => "friday",
            Self::Saturday => "saturday",
            Self::Sunday => "sunday",
        }
    }
}

/// There is no day of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of monday, tuesday, wednesday, thursday, friday, saturday, sunday")]
pub struct UnknownWeekday;

impl FromStr for Weekday {
    type Err = UnknownWeekday;

    fn from_str(name: &str) -> Result<Self, UnknownWeekday> {
        Self::ALL.into_iter().find(|day| day.name() == name).ok_or(UnknownWeekday)
    }
}

/// One of several messages that are compared.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CampaignVariant {
    /// What it is called; no other variant of the campaign is called the same.
    pub name: Line<50>,
    /// What is said instead of the campaign's message.
    #[serde(default)]
    pub message: Option<Text<20_000>>,
    /// The subject instead of the campaign's.
    #[serde(default)]
    pub subject: Option<Line<300>>,
    /// How much of the audience gets it, beside the other variants' weights: 1 to 1000, and 1 where it is not said.
    #[cfg_attr(feature = "openapi", schema(required = false, minimum = 1, maximum = 1000))]
    pub weight: i64,
}

/// The messages that are compared, at most 10; none where everybody gets the campaign's own.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct CampaignVariants(pub Vec<CampaignVariant>);

crate::json_field_type!(SendingWindow, CampaignVariants);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_of_the_day_are_read_as_they_are_written() {
        for (text, minutes) in [("00:00", 0), ("09:05", 545), ("23:59", 1439), ("24:00", 1440)] {
            let time: ClockTime = text.parse().expect("a time");
            assert_eq!((time.minutes(), time.to_string().as_str()), (minutes, text));
        }
        for text in ["", "9:00", "24:01", "09:60", "0900", "09:00:00", "+9:00", " 09:00", "٠٩:٠٠"] {
            assert_eq!(text.parse::<ClockTime>(), Err(InvalidClockTime), "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_times_never_panic(text in any::<String>()) {
            if let Ok(time) = text.parse::<ClockTime>() {
                prop_assert_eq!(time.to_string(), text);
            }
        }
    }
}
