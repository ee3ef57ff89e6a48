use std::{cmp::Ordering, fmt};

use regex::{Regex, RegexBuilder};
use rust_decimal::Decimal;
use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::value::RawValue;

use super::{
    CustomFieldType, JsonText, MAX_OPTIONS, ValueContext,
    time_bound::TimeBound,
    value::{FieldValue, MAX_TEXT},
};
use crate::{
    error::FieldErrors,
    input::{FromInput, Input},
    record::{DecodeError, FieldType},
    store::{FieldKind, Money, Value},
};

/// The longest pattern, in characters.
const MAX_PATTERN: usize = 1_000;
/// The most memory that a compiled pattern takes, in bytes: bounds how long it runs on a text, too.
const PATTERN_SIZE: usize = 256 * 1024;

/// What the values of a custom field must be. Which rules there can be depends on the type.
#[derive(Clone, Debug, Default, Input, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldRules {
    /// `text`, `url`, `email`: at least so many characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<i64>,
    /// `text`, `url`, `email`: at most so many characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<i64>,
    /// `text`, `url`, `email`, `phone`: a regular expression without look-around or back-references, at most 1,000
    /// characters, that must match somewhere in the value; begin it with `^` and end it with `$` to match the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// `number`, `money`: at least this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<f64>))]
    pub min: Option<NumberBound>,
    /// `number`, `money`: at most this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<f64>))]
    pub max: Option<NumberBound>,
    /// `number`: a whole number.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[input(default)]
    pub integer: bool,
    /// `date`, `datetime`: before this date or instant, or `now`, `now-30d`, `now+2h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// `date`, `datetime`: after this date or instant, or `now`, `now-30d`, `now+2h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// `multi_list`: at least so many options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_items: Option<i64>,
    /// `multi_list`: at most so many options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_items: Option<i64>,
    /// Any type: required where this rule tree holds for the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::rule::Rule>))]
    pub required_if: Option<JsonText>,
}

impl FieldType for FieldRules {
    // As text, since the digits of exact bounds must survive every store.
    const KIND: FieldKind = FieldKind::Text;

    fn to_value(&self) -> Value {
        Value::Text(serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned()))
    }

    fn from_value(value: Value) -> Result<Self, DecodeError> {
        let expected = DecodeError::expected("the rules of a custom field");
        let text = String::from_value(value)?;
        let raw: &RawValue = serde_json::from_str(&text).map_err(|_| expected.clone())?;
        Self::from_input(raw).map_err(|_| expected)
    }
}

/// An exact decimal number, an end of what a number may be.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct NumberBound(Decimal);

impl NumberBound {
    fn compare(self, number: f64) -> Ordering {
        // Whole numbers and short decimals compare exactly; others as the doubles that they are kept as.
        let exact = (number.abs() < 1e15).then(|| number.to_string().parse::<Decimal>().ok()).flatten();
        match exact {
            Some(number) => number.cmp(&self.0),
            None => number.partial_cmp(&self.to_double()).unwrap_or(Ordering::Equal),
        }
    }

    fn compare_money(self, amount: Money) -> Ordering {
        amount.to_decimal().cmp(&self.0)
    }

    fn to_double(self) -> f64 {
        self.0.to_string().parse().unwrap_or(f64::INFINITY)
    }
}

impl fmt::Display for NumberBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.normalize().fmt(f)
    }
}

impl Serialize for NumberBound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl FromInput for NumberBound {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let text = json.get();
        let is_number = serde_json::from_str::<f64>(text).is_ok() && text.len() <= 64;
        let decimal =
            if text.contains(['e', 'E']) { Decimal::from_scientific(text) } else { Decimal::from_str_exact(text) };
        match decimal {
            Ok(decimal) if is_number => Ok(Self(decimal.normalize())),
            _ => Err(FieldErrors::one("", "INVALID_TYPE", "must be a number of at most 28 digits")),
        }
    }
}

/// Rules that fit their type, ready to check values.
#[derive(Clone, Debug)]
pub(super) struct CompiledRules {
    rules: FieldRules,
    pattern: Option<Regex>,
    before: Option<TimeBound>,
    after: Option<TimeBound>,
}

impl FieldRules {
    /// The rules that are given, by name.
    fn given(&self) -> Vec<&'static str> {
        [
            ("min_length", self.min_length.is_some()),
            ("max_length", self.max_length.is_some()),
            ("pattern", self.pattern.is_some()),
            ("min", self.min.is_some()),
            ("max", self.max.is_some()),
            ("integer", self.integer),
            ("before", self.before.is_some()),
            ("after", self.after.is_some()),
            ("min_items", self.min_items.is_some()),
            ("max_items", self.max_items.is_some()),
            ("required_if", self.required_if.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }

    /// Checks that the rules fit the type and each other. `required_if` is not looked at: it needs the other fields.
    ///
    /// # Errors
    /// Every wrong rule by its name.
    pub(super) fn compile(&self, kind: CustomFieldType, options: usize) -> Result<CompiledRules, FieldErrors> {
        let mut errors = FieldErrors::new();
        let allowed = rules_of(kind);
        for name in self.given() {
            if !allowed.contains(&name) {
                let message = format!("is no rule of the type {kind}; allowed are: {}", allowed.join(", "));
                errors.add(name, "NOT_ALLOWED", message);
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let longest = i64::try_from(MAX_TEXT).unwrap_or(i64::MAX);
        range(&mut errors, ("min_length", self.min_length), ("max_length", self.max_length), longest);
        let most = i64::try_from(if kind.has_options() { options } else { MAX_OPTIONS }).unwrap_or(i64::MAX);
        range(&mut errors, ("min_items", self.min_items), ("max_items", self.max_items), most);
        if let (Some(min), Some(max)) = (self.min, self.max)
            && min > max
        {
            errors.add("max", "OUT_OF_RANGE", format!("must not be less than min, which is {min}"));
        }
        let pattern = self.pattern.as_deref().and_then(|pattern| errors.take("pattern", compiled(pattern)));
        let mut bound = |name: &str, text: Option<&String>| {
            let text = text?;
            let bound = TimeBound::parse(kind, text);
            if bound.is_none() {
                errors.add(name, "INVALID_FORMAT", format!("must be {}", TimeBound::form(kind)));
            }
            bound
        };
        let (before, after) = (bound("before", self.before.as_ref()), bound("after", self.after.as_ref()));
        if let (Some(before), Some(after)) = (before, after)
            && before.is_fixed() == after.is_fixed()
            && before.instant(crate::time::Timestamp::default()) <= after.instant(crate::time::Timestamp::default())
        {
            errors.add("before", "OUT_OF_RANGE", "must be later than after");
        }
        errors.or(CompiledRules { rules: self.clone(), pattern, before, after })
    }
}

fn rules_of(kind: CustomFieldType) -> &'static [&'static str] {
    match kind {
        CustomFieldType::Text | CustomFieldType::Url | CustomFieldType::Email => {
            &["min_length", "max_length", "pattern", "required_if"]
        }
        CustomFieldType::Phone => &["pattern", "required_if"],
        CustomFieldType::Number => &["min", "max", "integer", "required_if"],
        CustomFieldType::Money => &["min", "max", "required_if"],
        CustomFieldType::Date | CustomFieldType::Datetime => &["before", "after", "required_if"],
        CustomFieldType::MultiList => &["min_items", "max_items", "required_if"],
        CustomFieldType::Boolean | CustomFieldType::List => &["required_if"],
    }
}

fn range(
    errors: &mut FieldErrors,
    (low_name, low): (&str, Option<i64>),
    (high_name, high): (&str, Option<i64>),
    most: i64,
) {
    for (name, value) in [(low_name, low), (high_name, high)] {
        if value.is_some_and(|value| !(0..=most).contains(&value)) {
            errors.add(name, "OUT_OF_RANGE", format!("must be between 0 and {most}"));
        }
    }
    if let (Some(low), Some(high)) = (low, high)
        && low > high
    {
        errors.add(high_name, "OUT_OF_RANGE", format!("must not be less than {low_name}, which is {low}"));
    }
}

fn compiled(pattern: &str) -> Result<Regex, FieldErrors> {
    if pattern.is_empty() || pattern.chars().count() > MAX_PATTERN {
        return Err(FieldErrors::one("", "TOO_LONG", "must have 1 to 1000 characters"));
    }
    RegexBuilder::new(pattern).size_limit(PATTERN_SIZE).dfa_size_limit(PATTERN_SIZE).nest_limit(50).build().map_err(
        |error| {
            let reason = match error {
                regex::Error::CompiledTooBig(_) => "it is too large when compiled".to_owned(),
                // The last line of a syntax error says what is wrong; the ones before draw where.
                other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
            };
            let message = format!(
                "must be a regular expression without look-around or back-references (syntax of Rust's regex): {reason}"
            );
            FieldErrors::one("", "INVALID_FORMAT", message)
        },
    )
}

impl CompiledRules {
    /// No rules.
    pub(super) fn none() -> Self {
        Self { rules: FieldRules::default(), pattern: None, before: None, after: None }
    }

    /// Checks a value of the rules' type.
    pub(super) fn check(&self, value: &FieldValue, context: &ValueContext) -> Result<(), FieldErrors> {
        let mut errors = FieldErrors::new();
        match value {
            FieldValue::Text(text) => self.check_text(text, &mut errors),
            FieldValue::Number(number) => {
                if self.rules.integer && number.fract() != 0.0 {
                    errors.add("", "NOT_INTEGER", "must be a whole number");
                }
                self.check_number(|bound| bound.compare(*number), &mut errors);
            }
            FieldValue::Money(amount) => self.check_number(|bound| bound.compare_money(*amount), &mut errors),
            FieldValue::Date(date) => {
                let day = |bound: TimeBound| bound.day(context.now);
                self.check_time(|bound| date.cmp(&day(bound)), |bound| day(bound).to_string(), &mut errors);
            }
            FieldValue::Datetime(instant) => {
                let at = |bound: TimeBound| bound.instant(context.now);
                self.check_time(|bound| instant.cmp(&at(bound)), |bound| at(bound).to_string(), &mut errors);
            }
            FieldValue::List(items) => {
                let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
                if let Some(least) = self.rules.min_items.filter(|least| count < *least) {
                    errors.add("", "TOO_FEW", format!("must have at least {least} options"));
                }
                if let Some(most) = self.rules.max_items.filter(|most| count > *most) {
                    errors.add("", "TOO_MANY", format!("must have at most {most} options"));
                }
            }
            FieldValue::Boolean(_) => {}
        }
        errors.or(())
    }

    fn check_text(&self, text: &str, errors: &mut FieldErrors) {
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if let Some(least) = self.rules.min_length.filter(|least| length < *least) {
            errors.add("", "TOO_SHORT", format!("must have at least {least} characters"));
        }
        if let Some(most) = self.rules.max_length.filter(|most| length > *most) {
            errors.add("", "TOO_LONG", format!("must have at most {most} characters"));
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            errors.add("", "PATTERN_MISMATCH", format!("must match the pattern {}", pattern.as_str()));
        }
    }

    fn check_number(&self, compare: impl Fn(NumberBound) -> Ordering, errors: &mut FieldErrors) {
        if let Some(min) = self.rules.min.filter(|min| compare(*min).is_lt()) {
            errors.add("", "OUT_OF_RANGE", format!("must be at least {min}"));
        }
        if let Some(max) = self.rules.max.filter(|max| compare(*max).is_gt()) {
            errors.add("", "OUT_OF_RANGE", format!("must be at most {max}"));
        }
    }

    fn check_time(
        &self,
        compare: impl Fn(TimeBound) -> Ordering,
        show: impl Fn(TimeBound) -> String,
        errors: &mut FieldErrors,
    ) {
        if let Some(before) = self.before.filter(|before| compare(*before).is_ge()) {
            errors.add("", "OUT_OF_RANGE", format!("must be before {}", show(before)));
        }
        if let Some(after) = self.after.filter(|after| compare(*after).is_le()) {
            errors.add("", "OUT_OF_RANGE", format!("must be after {}", show(after)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::{super::CustomFieldType, FieldRules, FieldValue};
    use crate::{field::ValueContext, input::FromInput as _, record::FieldType as _};

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).expect("JSON")
    }

    fn context() -> ValueContext {
        ValueContext { now: "2026-06-15T12:00:00Z".parse().expect("an instant"), country: None }
    }

    fn kind(name: &str) -> CustomFieldType {
        name.parse().expect("a type")
    }

    #[test]
    fn values_obey_rules() {
        for (name, rules, value, wrong) in [
            ("text", r#"{"min_length":2,"max_length":3}"#, r#""éé""#, None),
            ("text", r#"{"min_length":2}"#, r#""é""#, Some("TOO_SHORT")),
            ("text", r#"{"max_length":2}"#, r#""abc""#, Some("TOO_LONG")),
            ("text", r#"{"pattern":"^[A-Z]{2}\\d+$"}"#, r#""AB12""#, None),
            ("text", r#"{"pattern":"^[A-Z]{2}\\d+$"}"#, r#""xAB12""#, Some("PATTERN_MISMATCH")),
            ("text", r#"{"pattern":"b"}"#, r#""abc""#, None),
            ("phone", r#"{"pattern":"^\\+91"}"#, r#""+14155552671""#, Some("PATTERN_MISMATCH")),
            ("email", r#"{"pattern":"@example\\.com$"}"#, r#""A@EXAMPLE.com""#, None),
            ("number", r#"{"min":0.1,"max":0.3}"#, "0.3", None),
            ("number", r#"{"min":0.1}"#, "0.09999999", Some("OUT_OF_RANGE")),
            ("number", r#"{"max":5}"#, "5.000001", Some("OUT_OF_RANGE")),
            ("number", r#"{"max":5}"#, "1e300", Some("OUT_OF_RANGE")),
            ("number", r#"{"integer":true}"#, "5.5", Some("NOT_INTEGER")),
            ("number", r#"{"integer":true}"#, "5.0", None),
            ("money", r#"{"max":99999999999999.9998}"#, "99999999999999.9999", Some("OUT_OF_RANGE")),
            ("money", r#"{"max":99999999999999.9999}"#, "99999999999999.9999", None),
            ("date", r#"{"before":"2000-01-01"}"#, r#""1999-12-31""#, None),
            ("date", r#"{"before":"2000-01-01"}"#, r#""2000-01-01""#, Some("OUT_OF_RANGE")),
            ("date", r#"{"after":"now"}"#, r#""2026-06-15""#, Some("OUT_OF_RANGE")),
            ("date", r#"{"after":"now-1d"}"#, r#""2026-06-15""#, None),
            ("datetime", r#"{"before":"now+2h"}"#, r#""2026-06-15T13:59:59Z""#, None),
            ("datetime", r#"{"before":"now+2h"}"#, r#""2026-06-15T14:00:00Z""#, Some("OUT_OF_RANGE")),
            ("datetime", r#"{"after":"2026-01-01"}"#, r#""2026-01-01T00:00:00Z""#, Some("OUT_OF_RANGE")),
            ("multi_list", r#"{"min_items":1,"max_items":2}"#, "[]", Some("TOO_FEW")),
            ("multi_list", r#"{"min_items":1,"max_items":2}"#, r#"["a","b","c"]"#, Some("TOO_MANY")),
        ] {
            let kind = kind(name);
            let rules = FieldRules::from_input(&raw(rules)).expect(rules).compile(kind, 10).expect(rules);
            let value = FieldValue::read(kind, &raw(value), &context()).expect(value);
            let found = rules.check(&value, &context()).err();
            let codes: Vec<&str> = found.iter().flat_map(|errors| errors.iter().map(|error| error.code)).collect();
            assert_eq!(codes, wrong.into_iter().collect::<Vec<_>>(), "{name} {:?} {value:?}", rules.rules);
        }
    }

    #[test]
    fn rules_that_do_not_fit_are_named() {
        for (name, rules, path) in [
            ("text", r#"{"min":1}"#, "min"),
            ("number", r#"{"pattern":"a"}"#, "pattern"),
            ("boolean", r#"{"min_items":1}"#, "min_items"),
            ("money", r#"{"integer":true}"#, "integer"),
            ("text", r#"{"min_length":-1}"#, "min_length"),
            ("text", r#"{"max_length":10001}"#, "max_length"),
            ("text", r#"{"min_length":5,"max_length":4}"#, "max_length"),
            ("number", r#"{"min":5,"max":4}"#, "max"),
            ("text", r#"{"pattern":"("}"#, "pattern"),
            ("text", r#"{"pattern":""}"#, "pattern"),
            ("text", r#"{"pattern":"(?=a)b"}"#, "pattern"),
            ("text", r#"{"pattern":"(a)\\1"}"#, "pattern"),
            ("text", r#"{"pattern":"((((a{100}){100}){100}){100})"}"#, "pattern"),
            ("date", r#"{"before":"soon"}"#, "before"),
            ("date", r#"{"before":"now+30"}"#, "before"),
            ("date", r#"{"before":"2026-01-01T00:00:00Z"}"#, "before"),
            ("date", r#"{"before":"2020-01-01","after":"2021-01-01"}"#, "before"),
            ("date", r#"{"before":"now-2d","after":"now-1d"}"#, "before"),
            ("multi_list", r#"{"max_items":11}"#, "max_items"),
        ] {
            let rules = FieldRules::from_input(&raw(rules)).expect(rules);
            let errors = rules.compile(kind(name), 10).expect_err(path);
            assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), [path], "{rules:?}");
        }
        for rules in ["[]", r#"{"min":"1"}"#, r#"{"colour":1}"#, r#"{"min_length":1.5}"#, r#"{"integer":1}"#] {
            assert!(FieldRules::from_input(&raw(rules)).is_err(), "{rules}");
        }
    }

    #[test]
    fn rules_are_stored_exactly() {
        let rules =
            r#"{"max":99999999999999.9999,"required_if":{"field":"spend","op":">","value":99999999999999.9999}}"#;
        let rules = FieldRules::from_input(&raw(rules)).expect("rules");
        assert_eq!(FieldRules::from_value(rules.to_value()), Ok(rules));
    }

    proptest! {
        #[test]
        fn any_pattern_is_compiled_or_refused(pattern in ".{0,60}", text in ".{0,60}") {
            let rules = FieldRules { pattern: Some(pattern), ..FieldRules::default() };
            if let Ok(rules) = rules.compile(CustomFieldType::Text, 0) {
                let _ = rules.check(&FieldValue::Text(text), &context());
            }
        }

        #[test]
        fn any_bound_is_read_or_refused(text in ".{0,40}") {
            let rules = FieldRules { before: Some(text), ..FieldRules::default() };
            for kind in [CustomFieldType::Date, CustomFieldType::Datetime] {
                let _ = rules.compile(kind, 0);
            }
        }
    }
}
