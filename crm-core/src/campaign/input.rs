use serde_json::value::RawValue;

use super::{CampaignChannel, CampaignVariant, CampaignVariants, ClockTime, HOLDOUT, SendingWindow, Weekday};
use crate::{
    error::FieldErrors,
    id::CustomerId,
    input::{FromInput, Input, Patch, text},
    segment::SegmentId,
    store::Json,
    text::{Line, Text},
    time::Timestamp,
};

/// The most variants.
const MOST_VARIANTS: usize = 10;
/// The largest template of a vendor, in bytes of JSON.
const LARGEST_TEMPLATE: usize = 4096;
/// The longest name of a topic.
const LONGEST_TOPIC: usize = 50;
/// The most addresses of one trial.
const MOST_ADDRESSES: usize = 10;
/// The longest address of a trial.
const LONGEST_ADDRESS: usize = 320;

/// What the CRM alone writes of a campaign, and shows with it.
const READ_ONLY: &[&str] = &[
    "id",
    "status",
    "as_of",
    "audience",
    "launched_at",
    "started_at",
    "planned_at",
    "paused_at",
    "finished_at",
    "reason",
    "plan_job_id",
    "created_by",
    "statistics",
    "communications",
    "next_cursor",
    "version",
    "created_at",
    "updated_at",
];

/// Declares inputs that say all of a draft.
macro_rules! whole_drafts {
    ($($(#[$about:meta])* pub struct $input:ident { $($(#[$of:meta])* pub $more:ident: $kind:ty,)* })+) => {$(
        $(#[$about])*
        pub struct $input {
            /// What it is called.
            pub name: Line<200>,
            /// What it is for.
            pub description: Option<Text<2000>>,
            /// The segment that it goes to. Either this or `rules_json` is given.
            pub segment_id: Option<SegmentId>,
            /// Which customers it goes to.
            #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::rule::Rule>))]
            pub rules_json: Option<Box<RawValue>>,
            /// How it is sent.
            pub channel: CampaignChannel,
            /// What is said. `{{name}}` and the like stand for what is known of the customer.
            pub message: Text<20_000>,
            /// What an e-mail's subject is; with variables, as the message.
            pub subject: Option<Line<300>>,
            /// A template that the channel's vendor knows: an object, handed on as it is.
            #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
            pub template: Option<VendorTemplate>,
            /// What it is about, as customers agree to it or not, such as `offers`: small letters, digits, `_` and `-`.
            #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
            pub topic: Option<Topic>,
            /// When it begins; at the launch where it is not said, or past.
            pub schedule_at: Option<Timestamp>,
            /// At most so many messages leave in a minute: 1 to 1,000,000.
            #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
            pub throttle_per_minute: Option<Whole<1, 1_000_000>>,
            /// When messages arrive, in the time of who gets them.
            pub window: Option<SendingWindow>,
            /// The messages leave over so many hours: 1 to 168.
            #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
            pub spread_hours: Option<Whole<1, 168>>,
            /// Different messages to compare, at most 10.
            #[input(default)]
            #[cfg_attr(feature = "openapi", schema(required = false))]
            pub variants: CampaignVariants,
            /// So many of a hundred customers get nothing, to compare with: 1 to 90.
            #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
            pub holdout_percent: Option<Whole<1, 90>>,
            $($(#[$of])* pub $more: $kind,)*
        }

        impl From<$input> for Draft {
            fn from(given: $input) -> Self {
                Self {
                    name: given.name,
                    description: given.description,
                    segment_id: given.segment_id,
                    rules: given.rules_json,
                    channel: given.channel,
                    message: given.message,
                    subject: given.subject,
                    template: given.template.map(|template| template.0),
                    topic: given.topic.map(|topic| topic.0),
                    schedule_at: given.schedule_at,
                    throttle_per_minute: given.throttle_per_minute.map(|number| number.0),
                    window: given.window,
                    spread_hours: given.spread_hours.map(|number| number.0),
                    variants: given.variants,
                    holdout_percent: given.holdout_percent.map(|number| number.0),
                }
            }
        }
    )+};
}

whole_drafts! {
    /// What a new campaign is to be.
    #[derive(Clone, Debug, Input)]
    #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
        "name": "Spring sale", "rules_json": {"field": "spend", "op": ">", "value": 5000}, "channel": "mock",
        "message": "Hi {{name | default: \"there\"}}, spring is here.", "throttle_per_minute": 600, "launch": true
    })))]
    #[input(refuse = READ_ONLY)]
    pub struct NewCampaign {
        /// Whether it is launched at once.
        #[input(default)]
        #[cfg_attr(feature = "openapi", schema(required = false))]
        pub launch: bool,
    }

    /// What a draft is to be instead. What is not given is as in a new one.
    #[derive(Clone, Debug, Input)]
    #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
    #[input(ignore = READ_ONLY)]
    pub struct ReplacedCampaign {}
}

/// What is to be changed of a draft; what is not given stays.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(ignore = READ_ONLY)]
pub struct ChangedCampaign {
    /// What it is called.
    pub name: Option<Line<200>>,
    /// What it is for; `null` for nothing.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Text<2000>>))]
    pub description: Patch<Text<2000>>,
    /// The segment that it goes to, in the place of what it went to before.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<SegmentId>))]
    pub segment_id: Patch<SegmentId>,
    /// Which customers it goes to, in the place of whom it went to before.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::rule::Rule>))]
    pub rules_json: Patch<Box<RawValue>>,
    /// How it is sent.
    pub channel: Option<CampaignChannel>,
    /// What is said.
    pub message: Option<Text<20_000>>,
    /// What an e-mail's subject is.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Line<300>>))]
    pub subject: Patch<Line<300>>,
    /// A template that the channel's vendor knows.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub template: Patch<VendorTemplate>,
    /// What it is about, as customers agree to it or not.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub topic: Patch<Topic>,
    /// When it begins.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Timestamp>))]
    pub schedule_at: Patch<Timestamp>,
    /// At most so many messages leave in a minute.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub throttle_per_minute: Patch<Whole<1, 1_000_000>>,
    /// When messages arrive, in the time of who gets them.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<SendingWindow>))]
    pub window: Patch<SendingWindow>,
    /// The messages leave over so many hours.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub spread_hours: Patch<Whole<1, 168>>,
    /// Different messages to compare, in the place of those before.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<CampaignVariants>))]
    pub variants: Patch<CampaignVariants>,
    /// So many of a hundred customers get nothing.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub holdout_percent: Patch<Whole<1, 90>>,
}

/// Whom a campaign is tried on.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({"to": ["me@example.com"]})))]
pub struct TrialRequest {
    /// The addresses that the message goes to: e-mail addresses, phone numbers, or what the channel takes; 1 to 10.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub to: TrialAddresses,
    /// The customer whose name and fields are in the message; the first of the audience where nobody is named.
    pub customer_id: Option<CustomerId>,
}

/// See [`TrialRequest::to`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrialAddresses(pub(super) Vec<Line<LONGEST_ADDRESS>>);

impl FromInput for TrialAddresses {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let addresses = Vec::<Line<LONGEST_ADDRESS>>::from_input(json)?;
        if addresses.is_empty() || addresses.len() > MOST_ADDRESSES {
            let message = format!("must name 1 to {MOST_ADDRESSES} addresses");
            return Err(FieldErrors::one("", if addresses.is_empty() { "REQUIRED" } else { "TOO_MANY" }, message));
        }
        Ok(Self(addresses))
    }
}

/// A whole number between two bounds, which it includes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Whole<const MIN: i64, const MAX: i64>(pub(super) i64);

impl<const MIN: i64, const MAX: i64> FromInput for Whole<MIN, MAX> {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let number = i64::from_input(json)?;
        if number < MIN || number > MAX {
            return Err(FieldErrors::one("", "OUT_OF_RANGE", format!("must be {MIN} to {MAX}")));
        }
        Ok(Self(number))
    }
}

/// What a campaign is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topic(pub(super) String);

impl FromInput for Topic {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let topic = text(json)?.trim().to_owned();
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        if topic.is_empty() || topic.len() > LONGEST_TOPIC || !topic.bytes().all(fits) {
            let message = format!("must be 1 to {LONGEST_TOPIC} of a-z, 0-9, _ and -, such as offers");
            return Err(FieldErrors::one("", "INVALID_FORMAT", message));
        }
        Ok(Self(topic))
    }
}

/// A template that a vendor knows.
#[derive(Clone, Debug, PartialEq)]
pub struct VendorTemplate(pub(super) Json);

impl FromInput for VendorTemplate {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        if !json.get().starts_with('{') {
            return Err(FieldErrors::one("", "INVALID_TYPE", "must be an object"));
        }
        if json.get().len() > LARGEST_TEMPLATE {
            let message = format!("must have at most {LARGEST_TEMPLATE} bytes of JSON");
            return Err(FieldErrors::one("", "TOO_LONG", message));
        }
        Json::from_input(json).map(Self)
    }
}

macro_rules! named_inputs {
    ($($type:ty: $code:literal),+) => {$(
        impl FromInput for $type {
            fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
                let name = text(json)?;
                name.parse().map_err(|unknown| {
                    let unknown: <Self as std::str::FromStr>::Err = unknown;
                    FieldErrors::one("", $code, unknown.to_string())
                })
            }
        }
    )+};
}

named_inputs!(CampaignChannel: "INVALID_CHOICE", ClockTime: "INVALID_FORMAT", Weekday: "INVALID_CHOICE");

#[derive(Input)]
struct WindowInput {
    start: ClockTime,
    end: ClockTime,
    #[input(default)]
    days: Vec<Weekday>,
}

impl FromInput for SendingWindow {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let WindowInput { start, end, mut days } = WindowInput::from_input(json)?;
        if end <= start {
            return Err(FieldErrors::one("end", "OUT_OF_RANGE", "must be after start"));
        }
        days.sort_unstable();
        days.dedup();
        if days.len() == Weekday::ALL.len() {
            days.clear();
        }
        Ok(Self { start, end, days })
    }
}

#[derive(Input)]
struct VariantInput {
    name: Line<50>,
    message: Option<Text<20_000>>,
    subject: Option<Line<300>>,
    weight: Option<Whole<1, 1000>>,
}

impl FromInput for CampaignVariants {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let given = Vec::<VariantInput>::from_input(json)?;
        if given.len() > MOST_VARIANTS {
            return Err(FieldErrors::one("", "TOO_MANY", format!("must have at most {MOST_VARIANTS} elements")));
        }
        let mut errors = FieldErrors::new();
        let mut variants: Vec<CampaignVariant> = Vec::new();
        for (place, VariantInput { name, message, subject, weight }) in given.into_iter().enumerate() {
            if name.eq_ignore_ascii_case(HOLDOUT) {
                let message = "is what those are called who get nothing: choose another name";
                errors.add(format!("[{place}].name"), "INVALID_VALUE", message);
            }
            if variants.iter().any(|known| known.name == name) {
                errors.add(format!("[{place}].name"), "DUPLICATE_FIELD", "is the name of another variant");
            }
            variants.push(CampaignVariant { name, message, subject, weight: weight.map_or(1, |weight| weight.0) });
        }
        errors.or(Self(variants))
    }
}

/// What is said of a draft: all of it, whether it is new, replaced or changed.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) name: Line<200>,
    pub(super) description: Option<Text<2000>>,
    pub(super) segment_id: Option<SegmentId>,
    pub(super) rules: Option<Box<RawValue>>,
    pub(super) channel: CampaignChannel,
    pub(super) message: Text<20_000>,
    pub(super) subject: Option<Line<300>>,
    pub(super) template: Option<Json>,
    pub(super) topic: Option<String>,
    pub(super) schedule_at: Option<Timestamp>,
    pub(super) throttle_per_minute: Option<i64>,
    pub(super) window: Option<SendingWindow>,
    pub(super) spread_hours: Option<i64>,
    pub(super) variants: CampaignVariants,
    pub(super) holdout_percent: Option<i64>,
}

impl ChangedCampaign {
    /// The draft with what is changed of it.
    pub(super) fn apply(self, before: Draft) -> Draft {
        // Who names one of the two means it instead of the other.
        let (mut segment_id, mut rules) = (before.segment_id, before.rules);
        if self.segment_id.value().is_some() && !self.rules_json.is_given() {
            rules = None;
        }
        if self.rules_json.value().is_some() && !self.segment_id.is_given() {
            segment_id = None;
        }
        Draft {
            name: self.name.unwrap_or(before.name),
            description: self.description.apply(before.description),
            segment_id: self.segment_id.apply(segment_id),
            rules: self.rules_json.apply(rules),
            channel: self.channel.unwrap_or(before.channel),
            message: self.message.unwrap_or(before.message),
            subject: self.subject.apply(before.subject),
            template: changed(self.template, before.template, |template| template.0),
            topic: changed(self.topic, before.topic, |topic| topic.0),
            schedule_at: self.schedule_at.apply(before.schedule_at),
            throttle_per_minute: changed(self.throttle_per_minute, before.throttle_per_minute, |number| number.0),
            window: self.window.apply(before.window),
            spread_hours: changed(self.spread_hours, before.spread_hours, |number| number.0),
            variants: self.variants.apply(Some(before.variants)).unwrap_or_default(),
            holdout_percent: changed(self.holdout_percent, before.holdout_percent, |number| number.0),
        }
    }
}

fn changed<T, U>(patch: Patch<T>, before: Option<U>, turn: impl FnOnce(T) -> U) -> Option<U> {
    match patch {
        Patch::Keep => before,
        Patch::Clear => None,
        Patch::Set(value) => Some(turn(value)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(errors: &FieldErrors) -> Vec<String> {
        errors.iter().map(|error| error.field.clone()).collect()
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let wrong = json!({
            "name": "", "channel": "pigeon", "message": 5, "topic": "Big News", "throttlePerMinute": 0,
            "spread_hours": 200, "holdout_percent": 100, "template": [], "status": "sent",
            "window": {"start": "9", "end": "25:00", "days": ["someday"]}, "variants": [{"weight": 0}],
            "colour": "red",
        });
        let errors = NewCampaign::from_json(&wrong).unwrap_err();
        assert_eq!(
            fields(&errors),
            [
                "name",
                "channel",
                "message",
                "template",
                "topic",
                "throttle_per_minute",
                "window.start",
                "window.end",
                "window.days[0]",
                "spread_hours",
                "variants[0].name",
                "variants[0].weight",
                "holdout_percent",
                "status",
                "colour",
            ]
        );
    }

    #[test]
    fn windows_and_variants_make_sense() {
        let window = |start: &str, end: &str| SendingWindow::from_json(&json!({"start": start, "end": end}));
        assert!(window("09:00", "20:00").is_ok() && window("00:00", "24:00").is_ok());
        assert_eq!(fields(&window("20:00", "09:00").unwrap_err()), ["end"]);
        let days = json!({"start": "09:00", "end": "10:00", "days": ["friday", "monday", "friday"]});
        assert_eq!(SendingWindow::from_json(&days).expect("fine").days, [Weekday::Monday, Weekday::Friday]);
        let same = json!([{"name": "A"}, {"name": "A"}, {"name": "Holdout"}]);
        assert_eq!(fields(&CampaignVariants::from_json(&same).unwrap_err()), ["[1].name", "[2].name"]);
        let fine = CampaignVariants::from_json(&json!([{"name": "A"}, {"name": "B", "weight": 3}])).expect("fine");
        assert_eq!(fine.0.iter().map(|variant| variant.weight).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn who_names_a_segment_means_it_instead_of_rules() {
        let new = json!({"name": "A", "channel": "mock", "message": "Hi", "rules_json": {"and": []}});
        let draft = Draft::from(NewCampaign::from_json(&new).expect("fine"));
        let id = "0198c1de-5f00-7000-8000-000000000001";
        let change = |json: serde_json::Value| ChangedCampaign::from_json(&json).expect("fine").apply(draft.clone());
        let segment = change(json!({"segment_id": id}));
        assert!(segment.rules.is_none() && segment.segment_id.is_some());
        let both = change(json!({"segment_id": id, "rules_json": {"or": []}}));
        assert!(both.rules.is_some() && both.segment_id.is_some(), "to be refused");
        assert!(change(json!({"name": "B"})).rules.is_some());
    }
}
