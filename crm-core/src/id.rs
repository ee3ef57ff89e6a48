//! Identifiers: UUIDv7, one type for each kind of record.

use crate::{port::Random, time::Timestamp};

/// A new UUIDv7 (RFC 9562) of the instant and 74 random bits: later ids sort after earlier ones.
#[must_use]
pub fn new_uuid(now: Timestamp, random: &dyn Random) -> uuid::Uuid {
    let mut bytes = [0; 10];
    random.fill(&mut bytes);
    let milliseconds = u64::try_from(now.as_milliseconds()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &bytes).into_uuid()
}

/// A UUIDv8 (RFC 9562) of a hash: the same for the same, so that nothing of one name is made twice.
pub(crate) fn uuid_of_hash(hash: impl IntoIterator<Item = u8>) -> uuid::Uuid {
    let mut bytes = [0; 16];
    for (byte, hashed) in bytes.iter_mut().zip(hash) {
        *byte = hashed;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The smallest id of that instant: what was made before has a smaller one. So ids serve as an index of time.
#[must_use]
pub fn first_uuid_of(instant: Timestamp) -> uuid::Uuid {
    let milliseconds = u64::try_from(instant.as_milliseconds()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &[0; 10]).into_uuid()
}

/// An identifier type: a UUID that knows whose it is.
pub trait RecordId:
    Copy + Eq + std::hash::Hash + std::fmt::Debug + Send + Sync + From<uuid::Uuid> + Into<uuid::Uuid> + 'static
{
}

/// What an identifier looks like in an OpenAPI document.
#[cfg(feature = "openapi")]
#[doc(hidden)]
#[must_use]
pub fn id_schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::Uuid)))
        .build()
        .into()
}

/// The OpenAPI schema of an identifier type. The feature is this crate's, not that of whoever declares the type.
#[cfg(feature = "openapi")]
#[doc(hidden)]
#[macro_export]
macro_rules! record_id_schema {
    ($name:ident) => {
        impl $crate::utoipa::PartialSchema for $name {
            fn schema() -> $crate::utoipa::openapi::RefOr<$crate::utoipa::openapi::schema::Schema> {
                $crate::id::id_schema()
            }
        }

        impl $crate::utoipa::ToSchema for $name {}
    };
}

/// Nothing: the feature `openapi` is off.
#[cfg(not(feature = "openapi"))]
#[doc(hidden)]
#[macro_export]
macro_rules! record_id_schema {
    ($name:ident) => {};
}

/// Declares identifier types.
#[macro_export]
macro_rules! record_ids {
    ($($(#[$attribute:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub ::uuid::Uuid);

        impl $crate::id::RecordId for $name {}

        $crate::record_id_schema!($name);

        impl From<::uuid::Uuid> for $name {
            fn from(id: ::uuid::Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for ::uuid::Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = ::uuid::Error;

            fn from_str(text: &str) -> ::std::result::Result<Self, ::uuid::Error> {
                text.parse().map(Self)
            }
        }

        impl $crate::input::FromInput for $name {
            fn from_input(json: &::serde_json::value::RawValue) -> ::std::result::Result<Self, $crate::error::FieldErrors> {
                <::uuid::Uuid as $crate::input::FromInput>::from_input(json).map(Self)
            }
        }

        impl $crate::record::FieldType for $name {
            const KIND: $crate::store::FieldKind = $crate::store::FieldKind::Id;

            fn to_value(&self) -> $crate::store::Value {
                $crate::store::Value::Id(self.0)
            }

            fn from_value(value: $crate::store::Value) -> ::std::result::Result<Self, $crate::record::DecodeError> {
                ::uuid::Uuid::from_value(value).map(Self)
            }
        }
    )+};
}

record_ids! {
    /// An organization: a tenant, sealed off from every other.
    OrganizationId,
    /// A person who can sign in.
    UserId,
    /// A team of staff.
    TeamId,
    /// A customer.
    CustomerId,
}

impl OrganizationId {
    /// What belongs to no organization but to the installation, such as a `SuperAdmin`.
    pub const INSTALLATION: Self = Self(uuid::Uuid::nil());
}
