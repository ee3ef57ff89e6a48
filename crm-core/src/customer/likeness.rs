//! How likely two customers are one person, and why: a plain decision on what is said of both.

use std::collections::HashSet;

use serde::Serialize;

use super::Customer;
use crate::{
    contact::{Email, Phone},
    store::fold::fold,
};

/// So many last digits of a phone tell more than chance.
const ENDING: usize = 7;
/// Custom fields that say where somebody is, or when born.
const PLACES: [&str; 8] = ["city", "postal_code", "postcode", "zip", "pincode", "address", "birthday", "date_of_birth"];

/// Why two customers may be one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The same name, but for case, accents and the order of words.
    SameName,
    /// A name one or two letters off.
    SimilarName,
    /// The same phone, national variants being the same.
    SharedPhone,
    /// A phone that ends alike.
    PhoneEnding,
    /// The same mailbox written otherwise: with dots, or with a suffix after `+`.
    EmailVariant,
    /// The same name before the `@` of another provider.
    SameEmailName,
    /// The same city, postal code or birthday among the custom fields.
    SamePlace,
}

impl Reason {
    /// How much it says by itself, in hundredths.
    const fn weight(self) -> u32 {
        match self {
            Self::SharedPhone | Self::EmailVariant => 60,
            Self::SameName | Self::PhoneEnding => 40,
            Self::SimilarName | Self::SameEmailName => 30,
            Self::SamePlace => 20,
        }
    }
}

/// What of a customer is compared, made ready once.
#[derive(Clone, Debug)]
pub(super) struct Features {
    /// The words of the name as they stand.
    written: String,
    /// The same by letter.
    name: String,
    phones: HashSet<String>,
    endings: HashSet<String>,
    /// Mailbox without dots and suffix, and its domain.
    mailboxes: HashSet<(String, String)>,
    places: HashSet<(String, String)>,
}

impl Features {
    pub(super) fn of(customer: &Customer) -> Self {
        let folded = fold(customer.name.as_str());
        let mut words: Vec<&str> = folded.split(|letter: char| !letter.is_alphanumeric()).collect();
        words.retain(|word| !word.is_empty());
        let written = words.join(" ");
        words.sort_unstable();
        let phones: HashSet<String> = customer
            .phone
            .iter()
            .cloned()
            .chain(customer.phones.iter().filter_map(|phone| Phone::parse(phone, None).ok()))
            .map(|phone| phone.match_key())
            .collect();
        let endings =
            phones.iter().filter_map(|phone| phone.get(phone.len().checked_sub(ENDING)?..)).map(str::to_owned);
        let mailboxes = customer
            .email
            .iter()
            .cloned()
            .chain(customer.emails.iter().filter_map(|email| Email::parse(email).ok()))
            .filter_map(|email| mailbox(email.as_str()))
            .collect();
        let custom: std::collections::BTreeMap<String, serde_json::Value> =
            serde_json::from_str(customer.custom.as_json().as_str()).unwrap_or_default();
        let places = custom
            .into_iter()
            .filter(|(key, value)| PLACES.contains(&key.as_str()) && !value.is_null())
            .map(|(key, value)| (key, fold(value.as_str().unwrap_or(&value.to_string()))))
            .collect();
        Self { written, name: words.join(" "), endings: endings.collect(), phones, mailboxes, places }
    }

    /// Why the two may be one, in a fixed order.
    pub(super) fn likeness(&self, other: &Self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if self.name == other.name {
            reasons.push(Reason::SameName);
        } else if is_similar(&self.name, &other.name) || is_similar(&self.written, &other.written) {
            reasons.push(Reason::SimilarName);
        }
        if !self.phones.is_disjoint(&other.phones) {
            reasons.push(Reason::SharedPhone);
        } else if !self.endings.is_disjoint(&other.endings) {
            reasons.push(Reason::PhoneEnding);
        }
        if !self.mailboxes.is_disjoint(&other.mailboxes) {
            reasons.push(Reason::EmailVariant);
        } else if self.mailboxes.iter().any(|(name, _)| other.mailboxes.iter().any(|(theirs, _)| name == theirs)) {
            reasons.push(Reason::SameEmailName);
        }
        if !self.places.is_disjoint(&other.places) {
            reasons.push(Reason::SamePlace);
        }
        reasons
    }
}

/// How likely it is for these reasons: each takes its share of what the others leave open.
pub(super) fn score(reasons: &[Reason]) -> f64 {
    let open = reasons.iter().fold(1.0, |open, reason| open * f64::from(100 - reason.weight()) / 100.0);
    ((1.0 - open) * 100.0_f64).round() / 100.0
}

fn mailbox(email: &str) -> Option<(String, String)> {
    let (name, domain) = email.rsplit_once('@')?;
    let name: String = name.split('+').next().unwrap_or(name).chars().filter(|letter| *letter != '.').collect();
    // What many have before the @ tells nothing.
    let common = ["info", "mail", "office", "contact", "sales", "admin", "support", "hello"];
    (name.len() >= 3 && !common.contains(&name.as_str())).then(|| (name, domain.to_owned()))
}

/// Whether the names are a letter off, or two of a long one.
fn is_similar(one: &str, other: &str) -> bool {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let shorter = one.len().min(other.len());
    let allowed = match shorter {
        0..5 => 0,
        5..9 => 1,
        _ => 2,
    };
    allowed > 0 && one.len().abs_diff(other.len()) <= allowed && distance(&one, &other) <= allowed
}

/// How many letters must be put in, left out or changed.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.iter().enumerate() {
        let mut diagonal = line;
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
        for (column, theirs) in other.iter().enumerate() {
            let (left, above) = (row.get(column).copied(), row.get(column + 1).copied());
            let (Some(left), Some(above)) = (left, above) else { break };
            let changed = diagonal + usize::from(letter != theirs);
            if let Some(cell) = row.get_mut(column + 1) {
                *cell = changed.min(left + 1).min(above + 1);
            }
            diagonal = above;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::{
        id::{CustomerId, OrganizationId},
        record::Meta,
        store::Json,
        text::Line,
        time::Timestamp,
    };

    fn features(name: &str, email: &str, phone: &str, custom: &str) -> Features {
        let meta = Meta::new(OrganizationId(uuid::Uuid::nil()), Timestamp::default());
        Features::of(&Customer {
            email: Email::parse(email).ok(),
            phone: Phone::parse(phone, None).ok(),
            custom: Json::from_trusted(custom).into(),
            ..Customer::blank(CustomerId(uuid::Uuid::nil()), Line::parse(name).unwrap(), meta)
        })
    }

    #[rstest]
    #[case(("Kim Lee", "", "", "{}"), ("LEE, Kím", "", "", "{}"), &[Reason::SameName], 0.4)]
    #[case(("Catherine Jones", "", "", "{}"), ("Katherine Jones", "", "", "{}"), &[Reason::SimilarName], 0.3)]
    #[case(("Kim Lee", "", "", "{}"), ("Tim Lee", "", "+919876543210", "{}"), &[Reason::SimilarName], 0.3)]
    #[case(("Ann", "", "", "{}"), ("Anna", "", "", "{}"), &[], 0.0)]
    #[case(("A", "", "+919876543210", "{}"), ("B", "", "+919876543210", "{}"), &[Reason::SharedPhone], 0.6)]
    #[case(("A", "", "+919876543210", "{}"), ("A", "", "+14156543210", "{}"), &[Reason::SameName, Reason::PhoneEnding], 0.64)]
    #[case(("A", "k.im@x.example", "", "{}"), ("B", "kim+shop@x.example", "", "{}"), &[Reason::EmailVariant], 0.6)]
    #[case(("A", "kim.lee@x.example", "", "{}"), ("B", "kimlee@y.example", "", "{}"), &[Reason::SameEmailName], 0.3)]
    #[case(("A", "info@x.example", "", "{}"), ("B", "info@y.example", "", "{}"), &[], 0.0)]
    #[case(("Kim", "", "", r#"{"city":"Pune"}"#), ("kim", "", "", r#"{"city":"pune","x":1}"#), &[Reason::SameName, Reason::SamePlace], 0.52)]
    fn likeness_has_its_reasons(
        #[case] one: (&str, &str, &str, &str),
        #[case] other: (&str, &str, &str, &str),
        #[case] expected: &[Reason],
        #[case] likely: f64,
    ) {
        let (one, other) = (features(one.0, one.1, one.2, one.3), features(other.0, other.1, other.2, other.3));
        assert_eq!(one.likeness(&other), expected);
        assert_eq!(other.likeness(&one), expected);
        assert!((score(expected) - likely).abs() < 1e-9, "{}", score(expected));
    }

    proptest! {
        #[test]
        fn edits_are_counted_alike_from_both_sides(one in "[ab]{0,8}", other in "[ab]{0,8}") {
            let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
            let found = distance(&one, &other);
            prop_assert_eq!(found, distance(&other, &one));
            prop_assert!(found >= one.len().abs_diff(other.len()) && found <= one.len().max(other.len()));
            prop_assert_eq!(found == 0, one == other);
        }
    }
}
