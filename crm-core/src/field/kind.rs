use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{
    error::FieldErrors,
    input::{self, FromInput},
    store::FieldKind,
};

/// Declares an enum whose values are words on the wire and in the store.
macro_rules! words {
    (
        $(#[$attribute:meta])* $name:ident, $unknown:ident: $what:literal;
        $($(#[$variant_attribute:meta])* $variant:ident = $word:literal,)+
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name {
            $($(#[$variant_attribute])* $variant,)+
        }

        impl $name {
            /// Every one, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        #[doc = concat!("There is no such ", $what, ".")]
        #[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
        #[error("must be one of {}", [$($word),+].join(", "))]
        pub struct $unknown;

        impl FromStr for $name {
            type Err = $unknown;

            fn from_str(word: &str) -> Result<Self, $unknown> {
                Self::ALL.iter().copied().find(|one| one.name() == word).ok_or($unknown)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.name()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl FromInput for $name {
            fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
                input::text(json)?
                    .parse()
                    .map_err(|unknown: $unknown| FieldErrors::one("", "INVALID_CHOICE", unknown.to_string()))
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .enum_values(Some([$($word),+]))
                    .build()
                    .into()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}

        crate::text_field_type!($name);
    };
}

words! {
    /// What the values of a custom field are.
    CustomFieldType, UnknownFieldType: "type";
    /// Text of several lines, at most 10,000 characters.
    Text = "text",
    /// A number; whole where the rule `integer` says so.
    Number = "number",
    /// A day of the calendar.
    Date = "date",
    /// True or false.
    Boolean = "boolean",
    /// One of the field's options.
    List = "list",
    /// An instant to the millisecond.
    Datetime = "datetime",
    /// An e-mail address, in lower case.
    Email = "email",
    /// A telephone number in E.164.
    Phone = "phone",
    /// A web address.
    Url = "url",
    /// Some of the field's options, each once.
    MultiList = "multi_list",
    /// An exact amount in the organization's currency.
    Money = "money",
}

words! {
    /// The kind of record that has a custom field.
    AppliesTo, UnknownAppliesTo: "kind of record";
    /// Customers.
    Customer = "customer",
    /// Orders.
    Order = "order",
    /// Queries of customers.
    Query = "query",
}

words! {
    /// How far the index of a custom field is.
    IndexState, UnknownIndexState: "state";
    /// There is none.
    None = "none",
    /// It is being built; filters and orders work, more slowly.
    Building = "building",
    /// It serves filters and orders.
    Ready = "ready",
}

impl CustomFieldType {
    /// How values stand in the JSON column.
    #[must_use]
    pub const fn stored(self) -> FieldKind {
        match self {
            Self::Text | Self::List | Self::Email | Self::Phone | Self::Url => FieldKind::Text,
            Self::Number => FieldKind::Number,
            Self::Date => FieldKind::Date,
            Self::Boolean => FieldKind::Bool,
            Self::Datetime => FieldKind::Timestamp,
            Self::MultiList => FieldKind::TextList,
            Self::Money => FieldKind::Money,
        }
    }

    /// Whether values are taken from the field's options.
    #[must_use]
    pub const fn has_options(self) -> bool {
        matches!(self, Self::List | Self::MultiList)
    }

    /// Whether values are JSON numbers that read alike.
    pub(super) const fn is_numeric(self) -> bool {
        matches!(self, Self::Number | Self::Money)
    }

    /// Whether no two records may be asked to have different values: pointless where there are few to choose from.
    #[must_use]
    pub const fn can_be_unique(self) -> bool {
        !matches!(self, Self::Boolean | Self::List | Self::MultiList)
    }
}
