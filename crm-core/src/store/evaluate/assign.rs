//! What assignments do to a row.

use crate::store::{Assignment, Collection, Row, StoreError, StoreResult, Value};

/// Makes the assignments on a row, in their order. The version stays as it is: bumping it is the store's part.
///
/// # Errors
/// [`StoreError::OutOfRange`] where an increment leaves the range of its field; [`StoreError::Misuse`] where an
/// assignment does not fit the declaration. The row may then be half changed.
pub fn apply(collection: &'static Collection, assignments: &[Assignment], row: &mut Row) -> StoreResult<()> {
    for assignment in assignments {
        let (Assignment::Set(position, value) | Assignment::Increment(position, value)) = assignment;
        let (Some(field), Some(place)) = (collection.fields.get(*position), row.0.get_mut(*position)) else {
            return Err(StoreError::Misuse(format!("{}: no field {position}", collection.name)));
        };
        match assignment {
            Assignment::Set(..) => place.clone_from(value),
            Assignment::Increment(..) => {
                let out_of_range = || StoreError::OutOfRange { collection: collection.name, field: field.name };
                *place = add(place, value).ok_or_else(out_of_range)?;
            }
        }
    }
    Ok(())
}

/// The sum, missing counting as 0; nothing where it is out of range.
fn add(value: &Value, addend: &Value) -> Option<Value> {
    match (value, addend) {
        (Value::Null, _) => Some(addend.clone()),
        (Value::Integer(value), Value::Integer(addend)) => value.checked_add(*addend).map(Value::Integer),
        (Value::Money(value), Value::Money(addend)) => value.checked_add(*addend).map(Value::Money),
        (Value::Number(value), Value::Number(addend)) => {
            Some(value + addend).filter(|sum| sum.is_finite()).map(Value::Number)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{super::example::*, *};

    #[rstest]
    #[case(COUNT, Value::Null, Value::Integer(2), Some(Value::Integer(2)))]
    #[case(COUNT, Value::Integer(1), Value::Integer(-2), Some(Value::Integer(-1)))]
    #[case(COUNT, Value::Integer(i64::MAX), Value::Integer(1), None)]
    #[case(PRICE, money(1), money(2), Some(money(3)))]
    #[case(PRICE, money(999_999_999_999_999_999), money(1), None)]
    #[case(RATIO, Value::Number(0.5), Value::Number(0.25), Some(Value::Number(0.75)))]
    #[case(RATIO, Value::Number(f64::MAX), Value::Number(f64::MAX), None)]
    fn increments_add(
        #[case] field: usize,
        #[case] before: Value,
        #[case] addend: Value,
        #[case] expected: Option<Value>,
    ) {
        let mut changed = row(1, [(field, before)]);
        let result = apply(&EXAMPLE, &[Assignment::Increment(field, addend)], &mut changed);
        match expected {
            Some(expected) => assert_eq!(changed.0[field], expected),
            None => assert!(matches!(result, Err(StoreError::OutOfRange { collection: "example", .. }))),
        }
    }

    #[test]
    fn setting_replaces_and_leaves_the_version() {
        let mut changed = row(1, [(NAME, text("a"))]);
        apply(&EXAMPLE, &[Assignment::Set(NAME, Value::Null), Assignment::Set(COUNT, Value::Integer(1))], &mut changed)
            .unwrap();
        assert_eq!(changed, row(1, [(COUNT, Value::Integer(1))]));
    }
}
