use proptest::{collection::vec, option, prelude::*};
use rstest::rstest;

use super::*;
use crate::store::{
    Comparison, Field, FieldKind, Index, IndexField, Position, Row, Sort, UniqueKey, Value,
    evaluate::{compare_rows, compare_to_position, example::*, field_value, order_values, position as position_of},
    fold::fold,
};

const fn up(name: &'static str) -> IndexField {
    IndexField { name, descending: false }
}

const fn down(name: &'static str) -> IndexField {
    IndexField { name, descending: true }
}

static LABELS_FIELD: Field =
    Field { name: "labels", kind: FieldKind::TextList, optional: false, folded: false, custom: false };

/// The example with indexes.
static INDEXED: Collection = Collection {
    name: "indexed",
    placement: EXAMPLE.placement,
    fields: {
        static FIELDS_OF: [Field; 12] = {
            let mut fields = [EXAMPLE.fields[0]; 12];
            let mut place = 0;
            while place < 12 {
                fields[place] = EXAMPLE.fields[place];
                place += 1;
            }
            fields[LABELS] = LABELS_FIELD;
            fields
        };
        &FIELDS_OF
    },
    unique: &[UniqueKey { name: "price", fields: &["price"] }],
    indexes: &[
        Index { name: "by_created", fields: &[down("created_at")], covers: &[] },
        Index { name: "by_name", fields: &[up("name")], covers: &[] },
        Index { name: "by_count_created", fields: &[up("count"), down("created_at")], covers: &[] },
        Index { name: "by_labels_created", fields: &[up("labels"), down("created_at")], covers: &[] },
        Index { name: "by_parent", fields: &[up("parent_id")], covers: &[] },
    ],
    search: &["name", "labels"],
};

fn created() -> FieldRef {
    FieldRef::declared("created_at", FieldKind::Timestamp)
}

fn sort(field: FieldRef, descending: bool) -> Sort {
    Sort { field, descending }
}

fn planned(filter: Filter, sort: Vec<Sort>) -> PagePlan {
    PagePlan::new(&INDEXED, true, &Query::new(filter, 20).sorted(sort), Ranges::Tuples, |_| false)
}

fn is(position: usize, value: Value) -> Filter {
    Filter::equal(declared(position), value)
}

fn index(place: usize) -> Access {
    Access::Index(&INDEXED.indexes[place])
}

#[rstest]
#[case(Filter::ALL, vec![], Access::Any, false)]
#[case(Filter::ALL, vec![sort(created(), true)], index(0), false)]
#[case(Filter::ALL, vec![sort(created(), false)], index(0), false)]
#[case(Filter::ALL, vec![sort(declared(NAME), true)], index(1), false)]
#[case(is(COUNT, Value::Integer(1)), vec![sort(created(), true)], index(2), false)]
#[case(is(COUNT, Value::Integer(1)), vec![sort(declared(COUNT), true), sort(created(), true)], index(2), false)]
#[case(Filter::Exists { field: declared(COUNT) }.negated(), vec![sort(created(), true)], index(2), false)]
#[case(is(COUNT, Value::Integer(1)), vec![], index(2), true)]
#[case(is(PARENT_ID, Value::Null), vec![], index(4), false)]
#[case(is(PRICE, money(1)), vec![sort(declared(NAME), false)], Access::Key, false)]
#[case(Filter::ALL, vec![sort(declared(SEEN_AT), false)], Access::Any, true)]
#[case(Filter::Search { terms: vec!["abc".to_owned()] }, vec![sort(created(), true)], Access::Matches, true)]
#[case(Filter::Search { terms: vec!["ab".to_owned()] }, vec![sort(created(), true)], index(0), false)]
#[case(Filter::Contains { field: declared(LABELS), text: "a".to_owned() }, vec![sort(declared(NAME), true)], Access::Matches, true)]
fn what_serves_a_query_follows_from_the_declaration(
    #[case] filter: Filter,
    #[case] sort: Vec<Sort>,
    #[case] access: Access,
    #[case] slow: bool,
) {
    let plan = planned(filter.clone(), sort);
    assert_eq!((plan.access, plan.slow), (access, slow));
    assert_eq!(plan.filter, filter);
}

#[test]
fn an_element_is_left_out_of_the_filter_where_its_index_has_the_order() {
    let label = Filter::Contains { field: declared(LABELS), text: "a".to_owned() };
    let rest = Filter::compare(declared(COUNT), Comparison::Greater, Value::Integer(1));
    let plan = planned(rest.clone().and(label), vec![sort(created(), true)]);
    let expected = Access::Element { index: &INDEXED.indexes[3], list: "labels", element: "a".to_owned() };
    assert_eq!((plan.access, plan.slow), (expected, false));
    assert_eq!(plan.filter, Filter::And(vec![rest]));
}

#[test]
fn an_order_by_a_custom_field_is_served_by_its_index() {
    let city = FieldRef::custom("fields", "city", FieldKind::Text);
    let query = Query::new(Filter::ALL, 20).sorted(vec![sort(city.clone(), false)]);
    let plan = |has_index: bool| PagePlan::new(&EXAMPLE, true, &query, Ranges::Tuples, |_| has_index);
    assert_eq!((plan(true).access, plan(true).slow), (Access::Custom(city.clone()), false));
    assert_eq!((plan(false).access, plan(false).slow), (Access::Any, true));
    assert_eq!(plan(true).keys[0].columns, [Column::folded(city.clone()), Column::value(city)]);
}

#[test]
fn an_index_has_folded_texts_before_themselves_and_the_id_last() {
    let columns = index_columns(&INDEXED, &INDEXED.indexes[1]).unwrap();
    let columns: Vec<(&str, Form)> = columns.iter().map(|column| (column.field.name, column.form)).collect();
    assert_eq!(
        columns,
        [("organization_id", Form::Value), ("name", Form::Folded), ("name", Form::Value), ("id", Form::Value)]
    );
    const WRONG: Index = Index { name: "wrong", fields: &[up("unknown")], covers: &[] };
    assert!(index_columns(&EXAMPLE, &WRONG).is_none());
    const COUNTS: Index = Index { name: "counts_count", fields: &[], covers: &["count"] };
    assert!(index_columns(&EXAMPLE, &COUNTS).is_none(), "it orders nothing");
}

/// The value of a column in a row.
fn value(column: &Column, row: &Row) -> Value {
    match (column.form, field_value(&EXAMPLE, &column.field, row).into_owned()) {
        (Form::Folded, Value::Text(text)) => Value::Text(fold(&text)),
        (_, value) => value,
    }
}

/// What an engine makes of a bound.
fn holds(bound: &Bound, row: &Row) -> bool {
    match bound {
        Bound::Equal(column, wanted) => value(column, row) == *wanted,
        Bound::Missing(column) => value(column, row).is_null(),
        Bound::Present(column) => !value(column, row).is_null(),
        Bound::After { columns, values, descending } => {
            for (column, bound) in columns.iter().zip(values) {
                let found = value(column, row);
                let ordering = order_values(&found, bound);
                if found.is_null() || ordering.is_ne() {
                    return !found.is_null() && ordering.is_lt() == *descending;
                }
            }
            false
        }
    }
}

fn some_row() -> impl Strategy<Value = Row> {
    let name = option::of(prop::sample::select(vec!["a", "A", "á", "b"]));
    (0..6_u128, option::of(0..3_i64), name, option::of(0..2_i64)).prop_map(|(id, count, name, seen)| {
        let count = count.map(|count| (COUNT, Value::Integer(count)));
        let name = name.map(|name| (NAME, text(name)));
        let seen = seen.map(|seen| (SEEN_AT, instant(seen)));
        row(id, [count, name, seen].into_iter().flatten())
    })
}

fn some_sort() -> impl Strategy<Value = Vec<Sort>> {
    let fields = Just(vec![declared(COUNT), declared(NAME), declared(SEEN_AT)]).prop_shuffle();
    (fields, vec(any::<bool>(), 0..=3)).prop_map(|(fields, directions)| {
        fields.into_iter().zip(directions).map(|(field, descending)| sort(field, descending)).collect()
    })
}

proptest! {
    #[test]
    fn ranges_part_what_follows_a_position(
        sort in some_sort(),
        at in some_row(),
        rows in vec(some_row(), 1..12),
        tuples in any::<bool>(),
    ) {
        let after: Position = position_of(&EXAMPLE, &sort, &at);
        let query = Query { after: Some(after.clone()), ..Query::new(Filter::ALL, 20).sorted(sort) };
        let ranges = if tuples { Ranges::Tuples } else { Ranges::Single };
        let plan = PagePlan::new(&EXAMPLE, true, &query, ranges, |_| false);
        let mut placed: Vec<(usize, &Row)> = Vec::new();
        for row in &rows {
            let within: Vec<usize> = (0..plan.ranges.len())
                .filter(|place| plan.ranges[*place].0.iter().all(|bound| holds(bound, row)))
                .collect();
            let follows = compare_to_position(&EXAMPLE, &query, row, &after).is_gt();
            prop_assert_eq!(within.len(), usize::from(follows), "{:?}", plan.ranges);
            placed.extend(within.first().map(|place| (*place, row)));
        }
        // Ranges one after the other, each in its own order, are the whole order.
        let mut by_ranges = placed.clone();
        by_ranges.sort_by(|(left_range, left), (right_range, right)| {
            left_range.cmp(right_range).then_with(|| {
                let range = &plan.ranges[*left_range];
                plan.order_within(range)
                    .map(|(column, descending)| {
                        let ordering = order_values(&value(column, left), &value(column, right));
                        if descending { ordering.reverse() } else { ordering }
                    })
                    .find(|ordering| ordering.is_ne())
                    .unwrap_or(std::cmp::Ordering::Equal)
            })
        });
        placed.sort_by(|(_, left), (_, right)| compare_rows(&EXAMPLE, &query, left, right));
        prop_assert_eq!(by_ranges, placed);
        if tuples && query.sort.len() < 2 {
            prop_assert!(plan.ranges.len() <= 2);
        }
        for range in plan.ranges.iter().filter(|_| !tuples) {
            let single = |bound: &Bound| !matches!(bound, Bound::After { columns, .. } if columns.len() > 1);
            prop_assert!(range.0.iter().all(single));
        }
    }
}
