//! Whether a row matches.

use std::{borrow::Cow, cell::OnceCell, cmp::Ordering};

use super::{
    MISSING, compare_values,
    member::{self, Members},
};
use crate::store::{
    Collection, Comparison, FieldKind, FieldRef, Filter, RelatedFilter, RelatedMeasure, Row, Value, fold::fold,
};

/// Gives the evaluator the rows of other collections, for [`Filter::Related`].
pub trait RelatedRows {
    /// Shows every row of the collection in the organization of the row that is looked at.
    fn visit(&self, collection: &'static Collection, visitor: &mut dyn FnMut(&Row));
}

/// No related rows: every count and sum over them is 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRelated;

impl RelatedRows for NoRelated {
    fn visit(&self, _collection: &'static Collection, _visitor: &mut dyn FnMut(&Row)) {}
}

/// Whether a row of the collection matches, [`Filter::Related`] included.
#[must_use]
pub fn matches_with(collection: &'static Collection, filter: &Filter, row: &Row, related: &dyn RelatedRows) -> bool {
    Evaluation { collection, row, related, members: OnceCell::new() }.holds(filter)
}

struct Evaluation<'a> {
    collection: &'static Collection,
    row: &'a Row,
    related: &'a dyn RelatedRows,
    /// The members of the first JSON field that a node asked for, taken apart once for the whole filter.
    members: OnceCell<(usize, Members<'a>)>,
}

impl<'a> Evaluation<'a> {
    fn holds(&self, filter: &Filter) -> bool {
        match filter {
            Filter::And(filters) => filters.iter().all(|filter| self.holds(filter)),
            Filter::Or(filters) => filters.iter().any(|filter| self.holds(filter)),
            Filter::Not(filter) => !self.holds(filter),
            Filter::Compare { field, comparison, value } => comparison.holds(compare_values(&self.value(field), value)),
            Filter::In { field, values } => match &*self.value(field) {
                Value::TextList(elements) => values
                    .iter()
                    .any(|value| matches!(value, Value::Text(text) if elements.iter().any(|element| element == text))),
                value => values.iter().any(|operand| compare_values(value, operand) == Some(Ordering::Equal)),
            },
            Filter::Contains { field, text } => match &*self.value(field) {
                Value::TextList(elements) => elements.iter().any(|element| element == text),
                Value::Text(value) => fold(value).contains(&fold(text)),
                _ => false,
            },
            Filter::StartsWith { field, text } => {
                matches!(&*self.value(field), Value::Text(value) if fold(value).starts_with(&fold(text)))
            }
            Filter::Exists { field } => match &*self.value(field) {
                Value::Null => false,
                Value::TextList(elements) => !elements.is_empty(),
                _ => true,
            },
            Filter::Search { terms } => terms.iter().all(|term| self.finds(&fold(term))),
            Filter::Related(related) => self.related_holds(related),
        }
    }

    fn value(&self, field: &FieldRef) -> Cow<'a, Value> {
        let Some(position) = self.collection.position(&field.name) else { return Cow::Borrowed(&MISSING) };
        let stored = self.row.0.get(position).unwrap_or(&MISSING);
        let Some(key) = &field.key else { return Cow::Borrowed(stored) };
        let Value::Json(json) = stored else { return Cow::Borrowed(&MISSING) };
        let (cached, members) = self.members.get_or_init(|| (position, member::members(json.as_str())));
        let member = if *cached == position {
            member::find(members, key)
        } else {
            member::find(&member::members(json.as_str()), key)
        };
        Cow::Owned(member::read(member, field.kind))
    }

    /// Whether some searchable field has the folded term in it.
    fn finds(&self, term: &str) -> bool {
        self.collection.search.iter().any(|name| {
            match self.collection.position(name).and_then(|position| self.row.0.get(position)) {
                Some(Value::Text(text)) => fold(text).contains(term),
                Some(Value::TextList(elements)) => elements.iter().any(|element| fold(element).contains(term)),
                _ => false,
            }
        })
    }

    fn related_holds(&self, related: &RelatedFilter) -> bool {
        let collection = related.collection;
        let key = FieldRef { name: Cow::Borrowed(related.key), key: None, kind: FieldKind::Id };
        let this = Value::Id(self.row.id());
        let mut measured: i128 = 0;
        self.related.visit(collection, &mut |row| {
            if *super::field_value(collection, &key, row) != this || !super::matches(collection, &related.filter, row) {
                return;
            }
            measured += match related.measure {
                RelatedMeasure::Count => 1,
                RelatedMeasure::Sum(name) => {
                    collection.position(name).and_then(|position| row.0.get(position)).and_then(exact).unwrap_or(0)
                }
            };
        });
        related.comparison.holds(exact(&related.value).map(|operand| measured.cmp(&operand)))
    }
}

/// An integer, or money in ten-thousandths.
pub(super) fn exact(value: &Value) -> Option<i128> {
    match value {
        Value::Integer(value) => Some(i128::from(*value)),
        Value::Money(value) => Some(i128::from(value.as_ten_thousandths())),
        _ => None,
    }
}

impl Comparison {
    /// Whether the comparison holds for two values that compare so; nothing where one is missing.
    #[must_use]
    pub fn holds(self, ordering: Option<Ordering>) -> bool {
        match self {
            Self::Equal => ordering == Some(Ordering::Equal),
            Self::NotEqual => ordering != Some(Ordering::Equal),
            Self::Less => ordering == Some(Ordering::Less),
            Self::LessOrEqual => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => ordering == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{super::example::*, *};
    use crate::store::evaluate::matches;

    fn comparison(field: usize, comparison: Comparison, value: Value) -> Filter {
        Filter::compare(declared(field), comparison, value)
    }

    #[rstest]
    #[case(Comparison::Equal, [false, true, false])]
    #[case(Comparison::NotEqual, [true, false, true])]
    #[case(Comparison::Less, [true, false, false])]
    #[case(Comparison::LessOrEqual, [true, true, false])]
    #[case(Comparison::Greater, [false, false, true])]
    #[case(Comparison::GreaterOrEqual, [false, true, true])]
    fn values_compare(#[case] how: Comparison, #[case] expected: [bool; 3]) {
        let triples = [
            (COUNT, [-1, 0, 1].map(Value::Integer)),
            (RATIO, [-0.5, 0.0, 1e300].map(Value::Number)),
            (PRICE, [-1, 0, 1].map(money)),
            // By code point: upper before lower case, accents last.
            (NAME, ["Z", "a", "á"].map(text)),
            (SEEN_AT, [-1, 0, 1].map(instant)),
        ];
        for (field, values) in triples {
            let filter = comparison(field, how, values[1].clone());
            for (value, expected) in values.into_iter().zip(expected) {
                assert_eq!(matches(&EXAMPLE, &filter, &row(1, [(field, value.clone())])), expected, "{value:?}");
            }
        }
    }

    #[rstest]
    #[case(comparison(COUNT, Comparison::Equal, Value::Integer(0)), false)]
    #[case(comparison(COUNT, Comparison::NotEqual, Value::Integer(0)), true)]
    #[case(comparison(COUNT, Comparison::Less, Value::Integer(0)), false)]
    #[case(comparison(COUNT, Comparison::GreaterOrEqual, Value::Integer(0)), false)]
    #[case(Filter::In { field: declared(COUNT), values: vec![Value::Integer(0)] }, false)]
    #[case(Filter::In { field: declared(LABELS), values: vec![text("a")] }, false)]
    #[case(Filter::Contains { field: declared(NAME), text: String::new() }, false)]
    #[case(Filter::Contains { field: declared(LABELS), text: String::new() }, false)]
    #[case(Filter::StartsWith { field: declared(NAME), text: String::new() }, false)]
    #[case(Filter::Exists { field: declared(NAME) }, false)]
    #[case(Filter::Search { terms: vec!["a".to_owned()] }, false)]
    #[case(Filter::Search { terms: Vec::new() }, true)]
    #[case(Filter::ALL, true)]
    #[case(Filter::NONE, false)]
    fn missing_values_compare_with_nothing(#[case] filter: Filter, #[case] expected: bool) {
        let empty = row(1, []);
        assert_eq!(matches(&EXAMPLE, &filter, &empty), expected);
        assert_eq!(matches(&EXAMPLE, &filter.negated(), &empty), !expected);
    }

    #[test]
    fn minus_zero_is_zero() {
        let filter = comparison(RATIO, Comparison::Equal, Value::Number(0.0));
        assert!(matches(&EXAMPLE, &filter, &row(1, [(RATIO, Value::Number(-0.0))])));
    }

    #[rstest]
    #[case("José da Silva", "jose", true, true)]
    #[case("José da Silva", "SÍLVA", true, false)]
    #[case("José da Silva", "", true, true)]
    #[case("Straße", "ss", true, false)]
    #[case("हिन्दी", "हि", true, true)]
    #[case("हिन्दी", "दि", false, false)]
    #[case("100%", "0%", true, false)]
    #[case("100x", "0%", false, false)]
    #[case("a_b", "A_", true, true)]
    #[case("axb", "a_", false, false)]
    fn texts_are_searched_folded(#[case] value: &str, #[case] part: &str, #[case] inside: bool, #[case] leads: bool) {
        let record = row(1, [(NAME, text(value)), (FIELDS, json(&serde_json::json!({ "k": value }).to_string()))]);
        for field in [declared(NAME), FieldRef::custom("fields", "k", FieldKind::Text)] {
            let contains = Filter::Contains { field: field.clone(), text: part.to_owned() };
            assert_eq!(matches(&EXAMPLE, &contains, &record), inside);
            let starts = Filter::StartsWith { field, text: part.to_owned() };
            assert_eq!(matches(&EXAMPLE, &starts, &record), leads);
        }
    }

    #[test]
    fn lists_are_asked_for_whole_elements() {
        let record = row(1, [(LABELS, list(&["VIP", "", "a,b"]))]);
        let has = |text: &str| Filter::Contains { field: declared(LABELS), text: text.to_owned() };
        assert!(["VIP", "", "a,b"].iter().all(|text| matches(&EXAMPLE, &has(text), &record)));
        assert!(["vip", "VI", "a", "b"].iter().all(|text| !matches(&EXAMPLE, &has(text), &record)));
        let any = |texts: &[&str]| Filter::In {
            field: declared(LABELS),
            values: texts.iter().map(|element| text(element)).collect(),
        };
        assert!(matches(&EXAMPLE, &any(&["x", "a,b"]), &record));
        assert!(!matches(&EXAMPLE, &any(&["x", "vip"]), &record));
        assert!(!matches(&EXAMPLE, &any(&[]), &record));
        let exists = Filter::Exists { field: declared(LABELS) };
        assert!(matches(&EXAMPLE, &exists, &record));
        assert!(!matches(&EXAMPLE, &exists, &row(1, [(LABELS, list(&[]))])));
    }

    #[test]
    fn a_search_finds_each_term_in_any_field() {
        let record = row(1, [(NAME, text("Anna Müller")), (LABELS, list(&["Stammkunde", "Köln"]))]);
        let search = |terms: &[&str]| Filter::Search { terms: terms.iter().map(|term| (*term).to_owned()).collect() };
        for terms in [&["anna"][..], &["MULL", "koln"], &["a", "mk"], &["a m"], &[]] {
            assert!(matches(&EXAMPLE, &search(terms), &record), "{terms:?}");
        }
        // Not across the elements of a list.
        for terms in [&["anna", "berlin"][..], &["ekoln"], &["mueller"]] {
            assert!(!matches(&EXAMPLE, &search(terms), &record), "{terms:?}");
        }
    }

    #[test]
    fn conditions_nest() {
        let record = row(1, [(COUNT, Value::Integer(3))]);
        let is = |count| comparison(COUNT, Comparison::Equal, Value::Integer(count));
        assert!(matches(&EXAMPLE, &Filter::Or(vec![is(1), Filter::And(vec![is(3), is(4).negated()])]), &record));
        assert!(!matches(&EXAMPLE, &Filter::And(vec![is(3), Filter::Or(vec![is(1), is(2)])]), &record));
    }

    #[test]
    fn custom_fields_are_read_by_kind() {
        let record = row(1, [(FIELDS, json(r#"{"k":1}"#))]);
        let custom = |key: &str, kind| FieldRef::custom("fields", key, kind);
        assert!(matches(&EXAMPLE, &Filter::Exists { field: custom("k", FieldKind::Integer) }, &record));
        assert!(!matches(&EXAMPLE, &Filter::Exists { field: custom("k", FieldKind::Text) }, &record));
        assert!(!matches(&EXAMPLE, &Filter::Exists { field: custom("x", FieldKind::Integer) }, &record));
        let elsewhere = FieldRef::custom("name", "k", FieldKind::Integer);
        assert!(!matches(&EXAMPLE, &Filter::Exists { field: elsewhere }, &record));
    }

    struct Children(Vec<Row>);

    impl RelatedRows for Children {
        fn visit(&self, _collection: &'static Collection, visitor: &mut dyn FnMut(&Row)) {
            self.0.iter().for_each(visitor);
        }
    }

    #[test]
    fn related_records_are_counted_and_summed() {
        let child = |parent: u128, price: Value| row(9, [(PARENT_ID, Value::Id(parent.into_id())), (PRICE, price)]);
        let children = Children(vec![
            child(1, money(30_000)),
            child(1, Value::Null),
            child(1, money(-10_000)),
            child(2, money(70_000)),
            row(9, [(PRICE, money(1))]),
        ]);
        let related = |measure, comparison, value, filter| {
            Filter::Related(Box::new(RelatedFilter {
                collection: &EXAMPLE,
                key: "parent_id",
                filter,
                measure,
                comparison,
                value,
            }))
        };
        let holds = |id, filter: &Filter| matches_with(&EXAMPLE, filter, &row(id, []), &children);
        let counted = |count, filter| related(RelatedMeasure::Count, Comparison::Equal, Value::Integer(count), filter);
        assert!(holds(1, &counted(3, Filter::ALL)));
        assert!(holds(1, &counted(1, comparison(PRICE, Comparison::Greater, money(0)))));
        assert!(holds(3, &counted(0, Filter::ALL)));
        let summed = |how, sum| related(RelatedMeasure::Sum("price"), how, money(sum), Filter::ALL);
        assert!(holds(1, &summed(Comparison::Equal, 20_000)));
        assert!(!holds(1, &summed(Comparison::Greater, 20_000)));
        // The sum of none is 0, not missing.
        assert!(holds(3, &summed(Comparison::GreaterOrEqual, 0)));
        assert!(matches(&EXAMPLE, &counted(0, Filter::ALL), &row(1, [])));
    }

    trait IntoId {
        fn into_id(self) -> uuid::Uuid;
    }

    impl IntoId for u128 {
        fn into_id(self) -> uuid::Uuid {
            uuid::Uuid::from_u128(self)
        }
    }
}
