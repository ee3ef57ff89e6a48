//! Random values, rows, filters, orders and aggregations.
//!
//! Values come mostly from small pools, so that conditions often hold, and else from the whole range.

use std::{collections::BTreeSet, ops::Range};

use jiff::civil::date;
use proptest::{
    arbitrary::any,
    collection::vec,
    option,
    prelude::{Just, Strategy, prop_oneof},
    sample::select,
    strategy::BoxedStrategy,
};
use unicode_normalization::UnicodeNormalization as _;
use uuid::Uuid;

use super::collections::{PARTS, THINGS};
use crate::{
    store::{
        Aggregation, Collection, Comparison, Field, FieldKind, FieldRef, Filter, Group, Json, Measure, Money,
        RelatedFilter, RelatedMeasure, Sort, Value,
    },
    time::Timestamp,
};

/// Texts that engines read differently: case, accents, scripts, wildcards, quotes, what looks like something else.
const TEXTS: &[&str] = &[
    "",
    "a",
    "A",
    "á",
    "Á",
    "ab",
    "aB",
    "b",
    "z",
    "Z",
    "e",
    "é",
    "Été",
    "ETE",
    "été 42",
    "straße",
    "STRASSE",
    "ß",
    "İ",
    "ı",
    "I",
    "ﬁne",
    "fine",
    "Ａ",
    "½",
    "हिन्दी",
    "हि",
    "ह",
    "कि",
    "क",
    "Ёлка",
    "елка",
    "ёлки",
    "ΟΔΟΣ",
    "οδός",
    "Ā",
    "ǅ",
    "日本語",
    "日本",
    "가",
    "👩‍🔬",
    "👩",
    "😀😀",
    "𝒳y",
    "it's",
    "''",
    "\"quoted\"",
    "50%",
    "%",
    "5_0",
    "500",
    "_",
    "a_b",
    "a%b",
    "\\",
    "\\%",
    "a\\b",
    " ",
    " a",
    "a ",
    "tab\there",
    "line\nbreak",
    "--",
    "; DROP TABLE x",
    "*",
    "a*",
    "[a]",
    "?",
    "$1",
    ":name",
    "null",
    "NULL",
    "true",
    "0",
    "1",
    "1e5",
    "2024-02-29",
    "{}",
    "[]",
    "\u{7f}",
    "\u{10ffff}",
    "\u{ffff}",
    "a\u{200d}b",
    "Anna Müller",
    "anna mueller",
    "José da Silva",
    "jose",
    "AND",
    "a OR b",
    "NEAR(a b)",
    "\"a\"",
    "(",
    ")",
    "^a",
    "-a",
];

/// Names of custom fields, some of which mean something to one engine or another.
pub(super) const KEYS: &[&str] =
    &["plain", "with.dot", "$dollar", "", "it's", "say \"x\"", "back\\slash", "हिन्दी", "a b", "[0]", "#", "ключ"];

/// What a custom field is read as.
pub(super) const CUSTOM_KINDS: &[FieldKind] = &[
    FieldKind::Bool,
    FieldKind::Integer,
    FieldKind::Number,
    FieldKind::Money,
    FieldKind::Text,
    FieldKind::Timestamp,
    FieldKind::Date,
    FieldKind::TextList,
];

/// How large numbers become: sums of the whole range of doubles depend on the order of adding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Numbers {
    Any,
    Modest,
}

pub(super) fn text() -> BoxedStrategy<String> {
    prop_oneof![
        8 => select(TEXTS).prop_map(str::to_owned),
        1 => (select(TEXTS), select(TEXTS)).prop_map(|(left, right)| format!("{left}{right}").nfc().collect()),
        1 => "\\PC{0,12}".prop_map(|text: String| text.nfc().collect()),
    ]
    .boxed()
}

/// A part of a text, as people search for.
fn part_of_text(length: Range<usize>) -> BoxedStrategy<String> {
    (text(), any::<usize>(), length)
        .prop_map(|(text, start, length)| {
            let characters = text.chars().count();
            text.chars().skip(start.checked_rem(characters).unwrap_or(0)).take(length).collect()
        })
        .boxed()
}

fn integer() -> BoxedStrategy<i64> {
    prop_oneof![
        4 => -4_i64..5,
        1 => select(&[i64::MAX, i64::MAX - 1, i64::MIN, i64::MIN + 1, 1 << 53, (1 << 53) + 1, -(1 << 53) - 1, 1_000][..]),
        1 => any::<i64>(),
    ]
    .boxed()
}

fn number(numbers: Numbers) -> BoxedStrategy<f64> {
    let modest = prop_oneof![
        (-4_i32..5).prop_map(f64::from),
        select(&[0.0, -0.0, 0.1, -0.1, 2.5, 0.300_000_000_000_000_04, 0.3][..]),
        -1_000.0..1_000.0,
    ];
    match numbers {
        Numbers::Modest => modest.boxed(),
        Numbers::Any => prop_oneof![
            4 => modest,
            1 => select(&[1e300, -1e300, 1e-300, f64::MAX, f64::MIN, 9_007_199_254_740_993.0, 1e19, -1e19][..]),
            1 => proptest::num::f64::NORMAL,
        ]
        .boxed(),
    }
}

fn money() -> BoxedStrategy<Money> {
    prop_oneof![
        4 => (-4_i64..5).prop_map(|whole| whole * 2_500),
        2 => -20_000_000_i64..20_000_000,
        1 => select(&[Money::MAX, Money::MIN, Money::ZERO][..]).prop_map(Money::as_ten_thousandths),
        1 => Money::MIN.as_ten_thousandths()..=Money::MAX.as_ten_thousandths(),
    ]
    .prop_map(|amount| Money::from_ten_thousandths(amount).unwrap_or_default())
    .boxed()
}

pub(super) fn timestamp() -> BoxedStrategy<Timestamp> {
    prop_oneof![
        3 => (-3_i64..4).prop_map(|days| 1_700_000_000_000 + days * 86_400_000),
        1 => select(vec![Timestamp::MIN, Timestamp::MAX, Timestamp::default()]).prop_map(Timestamp::as_milliseconds),
        1 => -5_i64..5,
        1 => Timestamp::MIN.as_milliseconds()..=Timestamp::MAX.as_milliseconds(),
    ]
    .prop_map(|milliseconds| Timestamp::from_milliseconds(milliseconds).unwrap_or_default())
    .boxed()
}

fn day() -> BoxedStrategy<jiff::civil::Date> {
    prop_oneof![
        select(vec![date(1, 1, 1), date(9999, 12, 31), date(2024, 2, 29), date(2024, 3, 1), date(1969, 12, 31)]),
        (1_i16..=9999, 1_i8..=12, 1_i8..=28).prop_map(|(year, month, day)| date(year, month, day)),
    ]
    .boxed()
}

/// A UUID of version 7 made of the seed.
pub(super) fn id(seed: u128) -> Uuid {
    uuid::Builder::from_u128(seed)
        .with_variant(uuid::Variant::RFC4122)
        .with_version(uuid::Version::SortRand)
        .into_uuid()
}

/// Ids of which many are alike.
fn owner() -> BoxedStrategy<Uuid> {
    prop_oneof![3 => (1_u128..6).prop_map(id), 1 => any::<u128>().prop_map(id)].boxed()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The JSON of a custom field's value, of any type.
fn member(numbers: Numbers) -> BoxedStrategy<String> {
    let integers = match numbers {
        Numbers::Any => integer(),
        Numbers::Modest => (-1_000_000_i64..1_000_000).boxed(),
    };
    let amounts = match numbers {
        Numbers::Any => money(),
        Numbers::Modest => {
            (-20_000_000_i64..20_000_000).prop_map(|it| Money::from_ten_thousandths(it).unwrap_or_default()).boxed()
        }
    };
    let instants = match numbers {
        Numbers::Any => timestamp(),
        // Of one sign and one size, so that sums of doubles hardly depend on the order.
        Numbers::Modest => (0_i64..4)
            .prop_map(|days| Timestamp::from_milliseconds(1_700_000_000_000 + days * 86_400_000).unwrap_or_default())
            .boxed(),
    };
    // Doubles without a fraction are left out: engines may write them as integers.
    let fractions = number(numbers).prop_filter("a fraction", |number| number.fract() != 0.0);
    prop_oneof![
        4 => text().prop_map(|text| quoted(&text)),
        3 => integers.prop_map(|integer| integer.to_string()),
        2 => fractions.prop_map(|number| serde_json::Value::from(number).to_string()),
        2 => amounts.prop_map(|money| money.to_string()),
        2 => instants.prop_map(|instant| instant.as_milliseconds().to_string()),
        2 => day().prop_map(|day| quoted(&day.to_string())),
        2 => any::<bool>().prop_map(|flag| flag.to_string()),
        2 => vec(text(), 0..4).prop_map(|texts| serde_json::json!(texts).to_string()),
        1 => Just("null".to_owned()),
        1 => Just("[1,\"a\",null]".to_owned()),
        1 => Just("{\"plain\":1,\"with\":{\"dot\":2}}".to_owned()),
    ]
    .boxed()
}

/// A flat object of custom fields.
fn custom_fields(numbers: Numbers) -> BoxedStrategy<Value> {
    let members: Vec<BoxedStrategy<Option<String>>> =
        KEYS.iter().map(|_| option::weighted(0.6, member(numbers)).boxed()).collect();
    members
        .prop_map(|values| {
            let members: Vec<String> = KEYS
                .iter()
                .zip(values)
                .filter_map(|(key, value)| Some(format!("{}:{}", quoted(key), value?)))
                .collect();
            Value::Json(Json::from_trusted(format!("{{{}}}", members.join(","))))
        })
        .boxed()
}

/// A value of the kind.
pub(super) fn value(kind: FieldKind, numbers: Numbers) -> BoxedStrategy<Value> {
    match kind {
        FieldKind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        FieldKind::Integer => integer().prop_map(Value::Integer).boxed(),
        FieldKind::Number => number(numbers).prop_map(Value::Number).boxed(),
        FieldKind::Money => money().prop_map(Value::Money).boxed(),
        FieldKind::Text => text().prop_map(Value::Text).boxed(),
        FieldKind::Timestamp => timestamp().prop_map(Value::Timestamp).boxed(),
        FieldKind::Date => day().prop_map(Value::Date).boxed(),
        FieldKind::Id => owner().prop_map(Value::Id).boxed(),
        FieldKind::TextList => vec(text(), 0..4).prop_map(Value::TextList).boxed(),
        FieldKind::Json => member(numbers).prop_map(|json| Value::Json(Json::from_trusted(json))).boxed(),
    }
}

fn field_value(field: &Field, numbers: Numbers) -> BoxedStrategy<Value> {
    let present = if field.custom { custom_fields(numbers) } else { value(field.kind, numbers) };
    if field.optional { option::weighted(0.7, present).prop_map(Option::unwrap_or_default).boxed() } else { present }
}

/// The values of a record after those that every record begins with, and random bits for its id.
pub(super) fn record(collection: &'static Collection, numbers: Numbers) -> BoxedStrategy<(u128, Vec<Value>)> {
    let values: Vec<BoxedStrategy<Value>> =
        collection.fields.iter().skip(5).map(|field| field_value(field, numbers)).collect();
    (any::<u128>(), values).boxed()
}

/// Any field of [`THINGS`], declared or custom, of which `fits` is true.
fn field(fits: fn(&Field) -> bool) -> BoxedStrategy<FieldRef> {
    let declared: Vec<FieldRef> =
        THINGS.fields.iter().filter(|field| fits(field)).map(|it| FieldRef::declared(it.name, it.kind)).collect();
    let custom: Vec<FieldRef> = ["fields", "maybe_fields"]
        .into_iter()
        .flat_map(|name| CUSTOM_KINDS.iter().map(move |kind| (name, *kind)))
        .filter(|(_, kind)| {
            fits(&Field { name: "", kind: *kind, optional: true, folded: *kind == FieldKind::Text, custom: false })
        })
        .flat_map(|(name, kind)| KEYS.iter().map(move |key| FieldRef::custom(name, *key, kind)))
        .collect();
    prop_oneof![2 => select(declared), 1 => select(custom)].boxed()
}

pub(super) fn comparison() -> impl Strategy<Value = Comparison> {
    select(
        &[
            Comparison::Equal,
            Comparison::NotEqual,
            Comparison::Less,
            Comparison::LessOrEqual,
            Comparison::Greater,
            Comparison::GreaterOrEqual,
        ][..],
    )
}

const fn compared(field: &Field) -> bool {
    !matches!(field.kind, FieldKind::TextList | FieldKind::Json)
}

const fn folded(field: &Field) -> bool {
    field.folded
}

/// A condition without others inside, on one field of [`THINGS`].
pub(super) fn condition() -> BoxedStrategy<Filter> {
    let compare = (field(compared), comparison()).prop_flat_map(|(field, comparison)| {
        value(field.kind, Numbers::Any).prop_map(move |value| Filter::compare(field.clone(), comparison, value))
    });
    let one_of = field(|field| field.kind != FieldKind::Json).prop_flat_map(|field| {
        let kind = if field.kind == FieldKind::TextList { FieldKind::Text } else { field.kind };
        vec(value(kind, Numbers::Any), 0..5).prop_map(move |values| Filter::In { field: field.clone(), values })
    });
    let contains =
        (field(|field| field.folded || field.kind == FieldKind::TextList), prop_oneof![text(), part_of_text(1..4)])
            .prop_map(|(field, text)| Filter::Contains { field, text });
    let starts = (field(folded), prop_oneof![text(), part_of_text(1..3)])
        .prop_map(|(field, text)| Filter::StartsWith { field, text });
    let exists = field(|_| true).prop_map(|field| Filter::Exists { field });
    prop_oneof![6 => compare, 3 => one_of, 3 => contains, 2 => starts, 2 => exists].boxed()
}

/// Terms to search for, of one letter and more.
pub(super) fn search() -> BoxedStrategy<Filter> {
    let term = part_of_text(1..7).prop_filter("no empty term", |term| !term.is_empty());
    vec(term, 0..4).prop_map(|terms| Filter::Search { terms }).boxed()
}

/// A condition on the [`PARTS`] of a thing.
pub(super) fn related() -> BoxedStrategy<Filter> {
    let part = |name: &'static str| {
        let kind = PARTS.field(name).map_or(FieldKind::Integer, |field| field.kind);
        (comparison(), value(kind, Numbers::Any))
            .prop_map(move |(comparison, value)| Filter::compare(FieldRef::declared(name, kind), comparison, value))
    };
    let label = FieldRef::declared("label", FieldKind::Text);
    let inner = prop_oneof![
        3 => Just(Filter::ALL),
        2 => part("cost"),
        2 => part("weight"),
        1 => part("made_at"),
        1 => part("made_at").prop_map(Filter::negated),
        1 => part_of_text(1..3).prop_map(move |text| Filter::Contains { field: label.clone(), text }),
        1 => (part("cost"), part("weight")).prop_map(|(left, right)| Filter::Or(vec![left, right])),
    ];
    let counted = (-1_i64..5).prop_map(|count| (RelatedMeasure::Count, Value::Integer(count)));
    let weighed = integer().prop_map(|weight| (RelatedMeasure::Sum("weight"), Value::Integer(weight)));
    let priced = money().prop_map(|cost| (RelatedMeasure::Sum("cost"), Value::Money(cost)));
    (inner, prop_oneof![counted, weighed, priced], comparison())
        .prop_map(|(filter, (measure, value), comparison)| {
            let collection = &PARTS;
            Filter::Related(Box::new(RelatedFilter { collection, key: "thing_id", filter, measure, comparison, value }))
        })
        .boxed()
}

/// Conditions nested into each other.
pub(super) fn filter() -> BoxedStrategy<Filter> {
    prop_oneof![8 => condition(), 1 => search(), 1 => related()]
        .prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Filter::And),
                vec(inner.clone(), 0..4).prop_map(Filter::Or),
                inner.prop_map(Filter::negated),
            ]
        })
        .boxed()
}

fn declared(name: &'static str) -> FieldRef {
    FieldRef::declared(name, THINGS.field(name).map_or(FieldKind::Text, |field| field.kind))
}

/// An order of up to three keys.
pub(super) fn sort() -> BoxedStrategy<Vec<Sort>> {
    let sortable = field(|field| compared(field) && (field.folded || field.kind != FieldKind::Text));
    // What every record has comes often enough to stand before and behind other keys; so does what is alike in all.
    let head = select(vec![declared("id"), declared("version"), declared("created_at"), declared("flag")]);
    let key = (prop_oneof![4 => sortable, 1 => head], any::<bool>())
        .prop_map(|(field, descending)| Sort { field, descending });
    vec(key, 0..4)
        .prop_map(|keys| {
            let mut sort: Vec<Sort> = Vec::new();
            for key in keys {
                if !sort.iter().any(|other| other.field == key.field) {
                    sort.push(key);
                }
            }
            sort
        })
        .boxed()
}

fn measure() -> BoxedStrategy<Measure> {
    use FieldKind::{Integer, Money, Number, Timestamp};

    let summed = field(|field| matches!(field.kind, Integer | Number | Money));
    let ranked = field(|field| matches!(field.kind, Integer | Number | Money | Timestamp));
    prop_oneof![
        1 => Just(Measure::Count),
        3 => summed.prop_map(Measure::Sum),
        2 => field(compared).prop_map(Measure::Minimum),
        2 => field(compared).prop_map(Measure::Maximum),
        2 => (ranked, prop_oneof![select(&[0_u16, 1, 250, 500, 900, 999, 1000][..]), 0_u16..=1000])
            .prop_map(|(field, per_mille)| Measure::Percentile { field, per_mille }),
        2 => field(compared).prop_map(Measure::Distinct),
    ]
    .boxed()
}

fn group() -> BoxedStrategy<Group> {
    let interval =
        (field(|field| field.kind == FieldKind::Timestamp), vec(timestamp(), 2..6)).prop_map(|(field, bounds)| {
            let bounds: BTreeSet<Timestamp> = bounds.into_iter().collect();
            if bounds.len() < 2 {
                Group::Field(field)
            } else {
                Group::Interval { field, bounds: bounds.into_iter().collect() }
            }
        });
    prop_oneof![3 => field(|field| field.kind != FieldKind::Json).prop_map(Group::Field), 1 => interval].boxed()
}

/// Up to two groupings and up to four measures.
pub(super) fn aggregation() -> BoxedStrategy<Aggregation> {
    let filter = prop_oneof![2 => Just(Filter::ALL), 1 => condition(), 1 => filter()];
    (filter, vec(group(), 0..3), vec(measure(), 1..5))
        .prop_map(|(filter, groups, measures)| Aggregation { filter, groups, measures })
        .boxed()
}
