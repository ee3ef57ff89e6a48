use std::borrow::Cow;

use super::{Collection, FieldKind, Value};

/// Names a declared field, or a member of a custom-field JSON.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct FieldRef {
    /// The declared field.
    pub name: Cow<'static, str>,
    /// The member of the JSON, for a custom field.
    pub key: Option<String>,
    /// What the values are. For a custom field, how its JSON is read:
    ///
    /// - `Bool` from `true` and `false`;
    /// - `Integer` from numbers written without fraction and exponent that fit 64 bits;
    /// - `Number` from any number, an integer being read as the nearest double;
    /// - `Money` from any number whose digits are an amount, exactly;
    /// - `Timestamp` from integers, milliseconds since 1970, in range;
    /// - `Date` from strings of the form `YYYY-MM-DD` that are days of the years 0001 to 9999;
    /// - `Text` from strings, `TextList` from arrays of strings only;
    /// - `Json` from anything but `null`, only to ask whether it is there.
    ///
    /// JSON of another type counts as missing. No custom field is an `Id`.
    pub kind: FieldKind,
}

impl FieldRef {
    /// A declared field.
    #[must_use]
    pub const fn declared(name: &'static str, kind: FieldKind) -> Self {
        Self { name: Cow::Borrowed(name), key: None, kind }
    }

    /// A member of the custom-field JSON `name`.
    #[must_use]
    pub fn custom(name: &'static str, key: impl Into<String>, kind: FieldKind) -> Self {
        Self { name: Cow::Borrowed(name), key: Some(key.into()), kind }
    }
}

/// How two values are compared. Texts compare by code point, exactly.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Comparison {
    /// Equal. False where the value is missing.
    Equal,
    /// Not equal: exactly the opposite of equal, so true where the value is missing.
    NotEqual,
    /// Less. False where the value is missing; so are the ones below.
    Less,
    /// Less or equal.
    LessOrEqual,
    /// Greater.
    Greater,
    /// Greater or equal.
    GreaterOrEqual,
}

/// A condition on a record: true or false, never unknown.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Every one is true; the empty list is true.
    And(Vec<Self>),
    /// Some one is true; the empty list is false.
    Or(Vec<Self>),
    /// Exactly the opposite.
    Not(Box<Self>),
    /// The field compares so with the value, which is of the field's kind and not missing. Not for lists and JSON.
    Compare {
        /// The field.
        field: FieldRef,
        /// The comparison.
        comparison: Comparison,
        /// The operand.
        value: Value,
    },
    /// The field equals one of the values; for a list of text, some element does.
    In {
        /// The field.
        field: FieldRef,
        /// The operands, of the field's kind (texts for a list).
        values: Vec<Value>,
    },
    /// The folded text has the folded operand in it. For a list of text: the list has exactly this element.
    Contains {
        /// The field: a folded text, a custom text, or a list.
        field: FieldRef,
        /// The operand, not yet folded.
        text: String,
    },
    /// The folded text begins with the folded operand.
    StartsWith {
        /// The field: a folded text or a custom text.
        field: FieldRef,
        /// The operand, not yet folded.
        text: String,
    },
    /// The value is there; for a list of text, it is not empty.
    Exists {
        /// The field.
        field: FieldRef,
    },
    /// Every term, folded, is in the folded form of some searchable field (some element of a list), each term in
    /// whichever field. No terms match every record.
    Search {
        /// The terms, not yet folded, none empty.
        terms: Vec<String>,
    },
    /// A measure over the records of another collection that point here.
    Related(Box<RelatedFilter>),
}

/// See [`Filter::Related`]: the records of `collection` whose `key` is this record's id and which match `filter`, measured, compare so with the value.
#[derive(Clone, Debug, PartialEq)]
pub struct RelatedFilter {
    /// The other collection, a tenant's.
    pub collection: &'static Collection,
    /// Its field that holds this record's id.
    pub key: &'static str,
    /// Which of its records count. Has no `Related` and no `Search` inside.
    pub filter: Filter,
    /// What is measured over them.
    pub measure: RelatedMeasure,
    /// How it is compared.
    pub comparison: Comparison,
    /// The operand: `Integer` for a count; of the field's kind for a sum. The sum of none is 0.
    pub value: Value,
}

/// What is measured over related records.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum RelatedMeasure {
    /// How many there are.
    Count,
    /// The sum of a money or integer field, missing values left out.
    Sum(&'static str),
}

impl Filter {
    /// True for every record.
    pub const ALL: Self = Self::And(Vec::new());
    /// True for none.
    pub const NONE: Self = Self::Or(Vec::new());

    /// A comparison of a field with a value.
    #[must_use]
    pub const fn compare(field: FieldRef, comparison: Comparison, value: Value) -> Self {
        Self::Compare { field, comparison, value }
    }

    /// The field equals the value.
    #[must_use]
    pub const fn equal(field: FieldRef, value: Value) -> Self {
        Self::Compare { field, comparison: Comparison::Equal, value }
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::And(list), other) if list.is_empty() => other,
            (this, Self::And(list)) if list.is_empty() => this,
            (Self::And(mut list), Self::And(others)) => {
                list.extend(others);
                Self::And(list)
            }
            (Self::And(mut list), other) => {
                list.push(other);
                Self::And(list)
            }
            (this, other) => Self::And(vec![this, other]),
        }
    }

    /// The same for a caller that asks of these records only: conditions on related records look at theirs alone.
    #[must_use]
    pub fn related_to(self, ids: &[Value]) -> Self {
        let each = |filters: Vec<Self>| filters.into_iter().map(|filter| filter.related_to(ids)).collect();
        match self {
            Self::And(filters) => Self::And(each(filters)),
            Self::Or(filters) => Self::Or(each(filters)),
            Self::Not(filter) => Self::Not(Box::new(filter.related_to(ids))),
            Self::Related(mut related) => {
                let theirs = Self::In { field: FieldRef::declared(related.key, FieldKind::Id), values: ids.to_vec() };
                related.filter = theirs.and(related.filter);
                Self::Related(related)
            }
            other => other,
        }
    }

    /// The opposite.
    #[must_use]
    pub fn negated(self) -> Self {
        Self::Not(Box::new(self))
    }
}
