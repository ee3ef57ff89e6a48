//! How people are reached: e-mail addresses and telephone numbers in one form each, and the country that national
//! telephone numbers are read in.

mod country;
mod email;
mod phone;
mod variants;

pub use self::{country::Country, email::Email, phone::Phone, phone::PhoneInput};

/// What the three text types here have in common: they are read, written and stored as their text.
macro_rules! contact_text {
    ($type:ty, $description:literal, $format:expr, $example:literal) => {
        impl ::std::convert::AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl ::std::fmt::Display for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl $crate::record::FieldType for $type {
            const KIND: $crate::store::FieldKind = $crate::store::FieldKind::Text;

            fn to_value(&self) -> $crate::store::Value {
                $crate::store::Value::Text(self.as_str().to_owned())
            }

            fn from_value(value: $crate::store::Value) -> Result<Self, $crate::record::DecodeError> {
                let expected = $crate::record::DecodeError::expected(stringify!($type));
                match value {
                    $crate::store::Value::Text(text) => Self::from_stored(text).ok_or(expected),
                    _ => Err(expected),
                }
            }
        }

        #[cfg(feature = "openapi")]
        impl ::utoipa::PartialSchema for $type {
            fn schema() -> ::utoipa::openapi::RefOr<::utoipa::openapi::schema::Schema> {
                ::utoipa::openapi::ObjectBuilder::new()
                    .schema_type(::utoipa::openapi::schema::Type::String)
                    .format($format)
                    .description(Some($description))
                    .examples([::serde_json::json!($example)])
                    .build()
                    .into()
            }
        }

        #[cfg(feature = "openapi")]
        impl ::utoipa::ToSchema for $type {}
    };
}

pub(crate) use contact_text;
