//! Record types: plain structs that know their collection.

use std::marker::PhantomData;

pub use crm_core_derive::Record;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    error::Error,
    id::{OrganizationId, RecordId},
    store::{
        Assignment, Collection, Comparison, Field, FieldKind, FieldRef, Filter, Json, Money, Row, Sort, Value, head,
    },
    time::Timestamp,
};

/// A kind of record: a struct with `id` and `meta`, declared by `#[derive(Record)]`.
pub trait Record: Clone + Send + Sync + Sized + 'static {
    /// The type of its id.
    type Id: RecordId;

    /// Its collection.
    const COLLECTION: &'static Collection;

    /// Its id.
    fn id(&self) -> Self::Id;

    /// Whose it is, its version and its times.
    fn meta(&self) -> &Meta;

    /// The same, to be changed.
    fn meta_mut(&mut self) -> &mut Meta;

    /// Its values in the declared order.
    fn to_row(&self) -> Row;

    /// The record of a row.
    ///
    /// # Errors
    /// [`DecodeError`] where a value does not fit its field: the database was changed from outside.
    fn from_row(row: Row) -> Result<Self, DecodeError>;
}

/// What every record carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Meta {
    /// The organization that the record belongs to.
    pub organization_id: OrganizationId,
    /// 1 when created, one more after each change; the same as the `ETag`.
    pub version: i64,
    /// When the record was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Meta {
    /// Of a record made now.
    #[must_use]
    pub const fn new(organization_id: OrganizationId, now: Timestamp) -> Self {
        Self { organization_id, version: 1, created_at: now, updated_at: now }
    }

    /// Goes on only where no version is expected, or this one.
    ///
    /// # Errors
    /// [`Error::VersionConflict`] for another version.
    pub const fn expect(&self, version: Option<i64>) -> Result<(), Error> {
        match version {
            Some(expected) if expected != self.version => Err(Error::VersionConflict { found: self.version }),
            _ => Ok(()),
        }
    }

    /// The first values of the record's row.
    #[must_use]
    pub fn head(&self, id: impl Into<Uuid>) -> [Value; 5] {
        [
            Value::Id(id.into()),
            Value::Id(self.organization_id.0),
            Value::Integer(self.version),
            Value::Timestamp(self.created_at),
            Value::Timestamp(self.updated_at),
        ]
    }
}

/// The fields that every collection begins with: see [`crate::store::head`].
pub const HEAD: [Field; 5] = [
    Field { name: "id", kind: FieldKind::Id, optional: false, folded: false, custom: false },
    Field { name: "organization_id", kind: FieldKind::Id, optional: false, folded: false, custom: false },
    Field { name: "version", kind: FieldKind::Integer, optional: false, folded: false, custom: false },
    Field { name: "created_at", kind: FieldKind::Timestamp, optional: false, folded: false, custom: false },
    Field { name: "updated_at", kind: FieldKind::Timestamp, optional: false, folded: false, custom: false },
];

/// The column `id` of every collection.
pub const ID: Column<Uuid> = Column::new("id", head::ID);
/// The column `organization_id` of every collection.
pub const ORGANIZATION_ID: Column<OrganizationId> = Column::new("organization_id", head::ORGANIZATION_ID);
/// The column `created_at` of every collection.
pub const CREATED_AT: Column<Timestamp> = Column::new("created_at", head::CREATED_AT);
/// The column `updated_at` of every collection.
pub const UPDATED_AT: Column<Timestamp> = Column::new("updated_at", head::UPDATED_AT);

/// A stored value does not fit its field.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the stored value of {field} is not {expected}")]
pub struct DecodeError {
    /// The field; empty until it is known.
    pub field: &'static str,
    /// What it should be.
    pub expected: &'static str,
}

impl DecodeError {
    /// A value that is not what was expected.
    #[must_use]
    pub const fn expected(expected: &'static str) -> Self {
        Self { field: "", expected }
    }
}

/// Takes the values of a row in the declared order.
#[derive(Debug)]
pub struct RowReader(std::vec::IntoIter<Value>);

impl RowReader {
    /// Reads from the first field.
    #[must_use]
    pub fn new(row: Row) -> Self {
        Self(row.0.into_iter())
    }

    /// The next value.
    ///
    /// # Errors
    /// [`DecodeError`] where it does not fit.
    pub fn field<T: FieldType>(&mut self, name: &'static str) -> Result<T, DecodeError> {
        T::from_value(self.0.next().unwrap_or_default()).map_err(|error| DecodeError { field: name, ..error })
    }

    /// The values of [`HEAD`].
    ///
    /// # Errors
    /// [`DecodeError`] where one does not fit.
    pub fn head<I: RecordId>(&mut self) -> Result<(I, Meta), DecodeError> {
        let id: Uuid = self.field("id")?;
        let organization: Uuid = self.field("organization_id")?;
        let meta = Meta {
            organization_id: OrganizationId(organization),
            version: self.field("version")?,
            created_at: self.field("created_at")?,
            updated_at: self.field("updated_at")?,
        };
        Ok((I::from(id), meta))
    }
}

/// A Rust type that a field can have.
pub trait FieldType: Sized {
    /// What the field holds.
    const KIND: FieldKind;
    /// Whether it may be missing.
    const OPTIONAL: bool = false;

    /// As a value.
    fn to_value(&self) -> Value;

    /// From a value.
    ///
    /// # Errors
    /// [`DecodeError`] where it does not fit.
    fn from_value(value: Value) -> Result<Self, DecodeError>;
}

macro_rules! plain_field_types {
    ($($type:ty => $kind:ident, $expected:literal;)+) => {$(
        impl FieldType for $type {
            const KIND: FieldKind = FieldKind::$kind;

            fn to_value(&self) -> Value {
                Value::$kind(self.clone())
            }

            fn from_value(value: Value) -> Result<Self, DecodeError> {
                match value {
                    Value::$kind(value) => Ok(value),
                    _ => Err(DecodeError::expected($expected)),
                }
            }
        }
    )+};
}

plain_field_types! {
    bool => Bool, "true or false";
    i64 => Integer, "a whole number";
    f64 => Number, "a number";
    Money => Money, "an amount of money";
    String => Text, "a text";
    Timestamp => Timestamp, "an instant";
    jiff::civil::Date => Date, "a date";
    Uuid => Id, "an id";
    Vec<String> => TextList, "a list of texts";
    Json => Json, "JSON";
}

impl<T: FieldType> FieldType for Option<T> {
    const KIND: FieldKind = T::KIND;
    const OPTIONAL: bool = true;

    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_value)
    }

    fn from_value(value: Value) -> Result<Self, DecodeError> {
        if value.is_null() { Ok(None) } else { T::from_value(value).map(Some) }
    }
}

/// What a type is that has names: shown, read and stored by them. Each type has `ALL` and `name`; the second of each line is
/// the error of a name that is none.
macro_rules! named_types {
    ($($type:ty, $unknown:ident;)+) => {$(
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                self.name()
            }
        }

        impl std::str::FromStr for $type {
            type Err = $unknown;

            fn from_str(name: &str) -> std::result::Result<Self, $unknown> {
                Self::ALL.into_iter().find(|one| one.name() == name).ok_or($unknown)
            }
        }

        $crate::text_field_type!($type);
    )+};
}
pub(crate) use named_types;

/// Makes a type that is written as text (`AsRef<str>` and `FromStr`) the type of a text field.
#[macro_export]
macro_rules! text_field_type {
    ($($type:ty),+ $(,)?) => {$(
        impl $crate::record::FieldType for $type {
            const KIND: $crate::store::FieldKind = $crate::store::FieldKind::Text;

            fn to_value(&self) -> $crate::store::Value {
                $crate::store::Value::Text(::std::convert::AsRef::<str>::as_ref(self).to_owned())
            }

            fn from_value(value: $crate::store::Value) -> ::std::result::Result<Self, $crate::record::DecodeError> {
                let $crate::store::Value::Text(text) = value else {
                    return Err($crate::record::DecodeError::expected("a text"));
                };
                text.parse().map_err(|_| $crate::record::DecodeError::expected(stringify!($type)))
            }
        }
    )+};
}

/// Makes a type with serde's traits the type of a JSON field.
#[macro_export]
macro_rules! json_field_type {
    ($($type:ty),+ $(,)?) => {$(
        impl $crate::record::FieldType for $type {
            const KIND: $crate::store::FieldKind = $crate::store::FieldKind::Json;

            fn to_value(&self) -> $crate::store::Value {
                $crate::store::Value::Json($crate::store::Json::from_trusted(
                    ::serde_json::to_string(self).unwrap_or_else(|_| "null".to_owned()),
                ))
            }

            fn from_value(value: $crate::store::Value) -> ::std::result::Result<Self, $crate::record::DecodeError> {
                let $crate::store::Value::Json(json) = value else {
                    return Err($crate::record::DecodeError::expected("JSON"));
                };
                ::serde_json::from_str(json.as_str()).map_err(|_| $crate::record::DecodeError::expected(stringify!($type)))
            }
        }
    )+};
}

/// A column of a record type, for conditions and orders: `Faq::position.ascending()`.
#[derive(Debug)]
pub struct Column<T> {
    name: &'static str,
    position: usize,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Column<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Column<T> {}

impl<T: FieldType> Column<T> {
    /// The column of that name, at that place of the collection's fields.
    #[must_use]
    pub const fn new(name: &'static str, position: usize) -> Self {
        Self { name, position, kind: PhantomData }
    }

    /// Its place among the collection's fields.
    #[must_use]
    pub const fn position(self) -> usize {
        self.position
    }

    /// Sets the field.
    #[must_use]
    pub fn set(self, value: impl Into<T>) -> Assignment {
        Assignment::Set(self.position, value.into().to_value())
    }

    /// Adds to the field.
    #[must_use]
    pub fn increment(self, by: impl Into<T>) -> Assignment {
        Assignment::Increment(self.position, by.into().to_value())
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Its name and kind.
    #[must_use]
    pub const fn field(self) -> FieldRef {
        FieldRef::declared(self.name, T::KIND)
    }

    /// Compares so with the value.
    #[must_use]
    pub fn compares(self, comparison: Comparison, value: impl Into<T>) -> Filter {
        Filter::compare(self.field(), comparison, value.into().to_value())
    }

    /// Equals the value. An optional column compares with `Some`.
    #[must_use]
    pub fn equals(self, value: impl Into<T>) -> Filter {
        self.compares(Comparison::Equal, value)
    }

    /// Is before or at the value.
    #[must_use]
    pub fn at_most(self, value: impl Into<T>) -> Filter {
        self.compares(Comparison::LessOrEqual, value)
    }

    /// Is less than the value.
    #[must_use]
    pub fn less_than(self, value: impl Into<T>) -> Filter {
        self.compares(Comparison::Less, value)
    }

    /// Is greater than the value.
    #[must_use]
    pub fn greater_than(self, value: impl Into<T>) -> Filter {
        self.compares(Comparison::Greater, value)
    }

    /// Is one of the values.
    #[must_use]
    pub fn one_of(self, values: impl IntoIterator<Item = T>) -> Filter {
        Filter::In { field: self.field(), values: values.into_iter().map(|value| value.to_value()).collect() }
    }

    /// The list has this element; the folded text has this part.
    #[must_use]
    pub fn contains(self, text: impl Into<String>) -> Filter {
        Filter::Contains { field: self.field(), text: text.into() }
    }

    /// Is there.
    #[must_use]
    pub fn exists(self) -> Filter {
        Filter::Exists { field: self.field() }
    }

    /// Is not there.
    #[must_use]
    pub fn missing(self) -> Filter {
        self.exists().negated()
    }

    /// From small to large.
    #[must_use]
    pub fn ascending(self) -> Sort {
        Sort { field: self.field(), descending: false }
    }

    /// From large to small.
    #[must_use]
    pub fn descending(self) -> Sort {
        Sort { field: self.field(), descending: true }
    }
}
