//! Filters as conditions for a language that knows a third truth value.
//!
//! The contract's filters are true or false; conditions of SQL on what is missing are unknown. Where rows are chosen an
//! unknown counts as false, so a leaf needs care only below a `Not`: negation is pushed down to the leaves. What is not
//! negated stays as plain as an index wants it.

use super::{Comparison, FieldKind, FieldRef, Filter, Value};

/// One step of a filter, with the negations above it taken in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Condition<'f> {
    /// Every filter holds (negated: every filter's opposite); true where there is none.
    All {
        /// The filters.
        filters: &'f [Filter],
        /// Whether their opposites are meant.
        negated: bool,
    },
    /// One of the filters holds (negated: one of their opposites); false where there is none.
    Any {
        /// The filters.
        filters: &'f [Filter],
        /// Whether their opposites are meant.
        negated: bool,
    },
    /// The field equals the value; false where the field is missing.
    Equal(&'f FieldRef, &'f Value),
    /// The field is another than the value; true where the field is missing.
    Unequal(&'f FieldRef, &'f Value),
    /// The field, which is no list, is missing.
    Missing(&'f FieldRef),
    /// The filter, which holds no others, is true.
    Leaf(&'f Filter),
    /// The filter, which holds no others, is not true: false, or unknown.
    NotTrue(&'f Filter),
}

impl<'f> Condition<'f> {
    /// The first step of a filter, or of its opposite.
    #[must_use]
    pub fn of(filter: &'f Filter, negated: bool) -> Self {
        match filter {
            Filter::And(filters) if negated => Self::Any { filters, negated },
            Filter::And(filters) => Self::All { filters, negated },
            Filter::Or(filters) if negated => Self::All { filters, negated },
            Filter::Or(filters) => Self::Any { filters, negated },
            Filter::Not(filter) => Self::of(filter, !negated),
            Filter::Compare { field, comparison: Comparison::Equal, value } if negated => Self::Unequal(field, value),
            Filter::Compare { field, comparison: Comparison::Equal, value } => Self::Equal(field, value),
            Filter::Compare { field, comparison: Comparison::NotEqual, value } if negated => Self::Equal(field, value),
            Filter::Compare { field, comparison: Comparison::NotEqual, value } => Self::Unequal(field, value),
            Filter::Exists { field } if negated && field.kind != FieldKind::TextList => Self::Missing(field),
            leaf if negated => Self::NotTrue(leaf),
            leaf => Self::Leaf(leaf),
        }
    }
}

impl Comparison {
    /// The sign of SQL: `=`, `<>`, `<`, `<=`, `>` or `>=`.
    #[must_use]
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl Filter {
    /// Whether it looks into custom fields, those of related records left aside.
    #[must_use]
    pub fn names_custom_field(&self) -> bool {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().any(Self::names_custom_field),
            Self::Not(filter) => filter.names_custom_field(),
            Self::Compare { field, .. }
            | Self::In { field, .. }
            | Self::Contains { field, .. }
            | Self::StartsWith { field, .. }
            | Self::Exists { field } => field.key.is_some(),
            Self::Search { .. } | Self::Related(_) => false,
        }
    }

    /// Whether it looks at related records.
    #[must_use]
    pub fn names_related(&self) -> bool {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().any(Self::names_related),
            Self::Not(filter) => filter.names_related(),
            Self::Related(_) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a leaf on the field says: nothing where the field is missing.
    fn truth(filter: &Filter) -> Option<bool> {
        match filter {
            Filter::Exists { field } => Some(field.name != "missing"),
            Filter::Compare { field, .. } | Filter::StartsWith { field, .. } => match field.name.as_ref() {
                "yes" => Some(true),
                "no" => Some(false),
                _ => None,
            },
            other => panic!("no leaf: {other:?}"),
        }
    }

    /// What the contract says: of what is missing nothing is true but that it is unequal.
    fn holds(filter: &Filter) -> bool {
        match filter {
            Filter::And(filters) => filters.iter().all(holds),
            Filter::Or(filters) => filters.iter().any(holds),
            Filter::Not(filter) => !holds(filter),
            Filter::Compare { comparison: Comparison::NotEqual, .. } => truth(filter) != Some(true),
            leaf => truth(leaf) == Some(true),
        }
    }

    /// What an engine makes of the condition. Of a comparison [`truth`] says whether it is equal.
    fn meets(condition: Condition<'_>) -> bool {
        let equals = |field: &FieldRef| field.name == "yes";
        match condition {
            Condition::All { filters, negated } => filters.iter().all(|filter| meets(Condition::of(filter, negated))),
            Condition::Any { filters, negated } => filters.iter().any(|filter| meets(Condition::of(filter, negated))),
            Condition::Equal(field, _) => equals(field),
            Condition::Unequal(field, _) => !equals(field),
            Condition::Missing(field) => field.name == "missing",
            Condition::Leaf(leaf) => truth(leaf) == Some(true),
            Condition::NotTrue(leaf) => truth(leaf) != Some(true),
        }
    }

    fn filters() -> impl Strategy<Value = Filter> {
        let field = prop_oneof![Just("yes"), Just("no"), Just("missing")];
        let leaf = (field, 0..4_u8).prop_map(|(name, form)| {
            let field = FieldRef::declared(name, FieldKind::Text);
            let value = Value::Text(String::new());
            match form {
                0 => Filter::Exists { field },
                1 => Filter::equal(field, value),
                2 => Filter::compare(field, Comparison::NotEqual, value),
                _ => Filter::StartsWith { field, text: String::new() },
            }
        });
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
                inner.prop_map(Filter::negated),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_condition_means_its_filter(filter in filters()) {
            prop_assert_eq!(meets(Condition::of(&filter, false)), holds(&filter));
            prop_assert_eq!(meets(Condition::of(&filter, true)), !holds(&filter));
        }
    }

    #[test]
    fn custom_fields_and_related_records_are_found_below_others() {
        let custom = FieldRef { key: Some("city".into()), ..FieldRef::declared("custom", FieldKind::Text) };
        let filter = Filter::And(vec![Filter::Or(vec![Filter::Exists { field: custom }.negated()])]);
        assert!(filter.names_custom_field() && !filter.names_related());
        assert!(!Filter::ALL.names_custom_field());
    }
}
