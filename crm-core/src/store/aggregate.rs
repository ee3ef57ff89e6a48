use super::{FieldRef, Filter, Value};
use crate::time::Timestamp;

/// Measures over groups of records.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregation {
    /// Which records.
    pub filter: Filter,
    /// What they are grouped by; one group of all where empty, also where nothing matches.
    pub groups: Vec<Group>,
    /// What is measured.
    pub measures: Vec<Measure>,
}

/// What records are grouped by.
#[derive(Clone, Debug, PartialEq)]
pub enum Group {
    /// The value of a field, missing being a group of its own (and the first; texts follow by code point). A list of text puts the record into the group of
    /// each of its distinct elements, and into none where it is empty. Not for JSON.
    Field(FieldRef),
    /// The half-open interval of time between neighbouring bounds; records outside are left out. The group's
    /// value is the interval's first instant. Bounds ascend.
    Interval {
        /// A timestamp.
        field: FieldRef,
        /// The instants between the intervals, one more than there are intervals.
        bounds: Vec<Timestamp>,
    },
}

/// What is measured over the records of a group. Missing values are left out.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    /// How many records.
    Count,
    /// The exact sum of a money or integer field, the plain sum of a number field, and how many values it has.
    Sum(FieldRef),
    /// The smallest value. Texts by code point.
    Minimum(FieldRef),
    /// The largest value.
    Maximum(FieldRef),
    /// The value at a nearest rank: `per_mille` 500 is the median. Only integers, numbers, money and timestamps.
    Percentile {
        /// The field.
        field: FieldRef,
        /// 0 to 1000: the rank is `max(1, ceil(per_mille / 1000 × n))`.
        per_mille: u16,
    },
    /// How many distinct values. Not for lists and JSON; nor are the smallest and largest.
    Distinct(FieldRef),
}

/// The measure of one group.
#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    /// Of [`Measure::Count`] and [`Measure::Distinct`].
    Count(u64),
    /// Of [`Measure::Sum`] over integers or money (in ten-thousandths): wide enough never to overflow.
    ExactSum {
        /// The sum.
        sum: i128,
        /// How many values.
        count: u64,
    },
    /// Of [`Measure::Sum`] over numbers.
    NumberSum {
        /// The sum.
        sum: f64,
        /// How many values.
        count: u64,
    },
    /// Of the others; missing where there was no value.
    Value(Value),
}

/// One group with its measures.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateRow {
    /// A value for each [`Group`].
    pub groups: Vec<Value>,
    /// A measure for each [`Measure`].
    pub measures: Vec<Measured>,
}
