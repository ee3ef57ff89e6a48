use std::{collections::BTreeSet, fmt, str::FromStr};

use super::Customer;
use crate::{
    contact::{Email, Phone},
    id::{CustomerId, UserId},
    record::{Meta, Record},
};

crate::record_ids! {
    /// A contact point.
    ContactPointId,
}

/// An e-mail address, a phone number or a login, and the customer who has it: what makes two customers the same one.
///
/// The unique key is what holds the duplicate rule when two requests run at once. The first holder of a value has an
/// empty `sharer`, so there can be one; who shares a phone on purpose has its own id there. Deleted customers have no
/// contact points, which frees their values.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "contact_points", unique(kind, value, sharer), index(kind, value), index(customer_id))]
pub struct ContactPoint {
    /// The contact point's id.
    pub id: ContactPointId,
    /// What it is.
    pub kind: ContactKind,
    /// The form in which equal ones are equal.
    pub value: String,
    /// Empty, or the customer's id where the value is shared on purpose.
    pub sharer: String,
    /// Who has it.
    pub customer_id: CustomerId,
    /// Its organization and times.
    pub meta: Meta,
}

/// What a contact point is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ContactKind {
    /// An e-mail address.
    Email,
    /// A phone number.
    Phone,
    /// The login that the customer signs in with.
    User,
}

impl ContactKind {
    /// The name in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::User => "user",
        }
    }

    /// The customer's field that it comes from.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::User => "user_id",
        }
    }
}

impl fmt::Display for ContactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl AsRef<str> for ContactKind {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

/// There is no such kind of contact point.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of email, phone, user")]
pub struct UnknownContactKind;

impl FromStr for ContactKind {
    type Err = UnknownContactKind;

    fn from_str(name: &str) -> Result<Self, UnknownContactKind> {
        [Self::Email, Self::Phone, Self::User].into_iter().find(|kind| kind.name() == name).ok_or(UnknownContactKind)
    }
}

crate::text_field_type!(ContactKind);

/// The value of a contact point, whoever has it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ContactKey {
    /// What it is.
    pub kind: ContactKind,
    /// The form in which equal ones are equal.
    pub value: String,
}

impl ContactKey {
    /// Of an address.
    #[must_use]
    pub fn email(email: &Email) -> Self {
        Self { kind: ContactKind::Email, value: email.as_str().to_owned() }
    }

    /// Of a number.
    #[must_use]
    pub fn phone(phone: &Phone) -> Self {
        Self { kind: ContactKind::Phone, value: phone.match_key() }
    }

    /// Of a login.
    #[must_use]
    pub fn user(user: UserId) -> Self {
        Self { kind: ContactKind::User, value: user.to_string() }
    }
}

impl Customer {
    /// Everything by which the customer can be told to be the same as another, each once.
    #[must_use]
    pub fn contact_keys(&self) -> BTreeSet<ContactKey> {
        let further_emails = self.emails.iter().filter_map(|email| Email::parse(email).ok());
        let further_phones = self.phones.iter().filter_map(|phone| Phone::parse(phone, None).ok());
        let user = self.user_id.map(ContactKey::user);
        self.email
            .iter()
            .cloned()
            .chain(further_emails)
            .map(|email| ContactKey::email(&email))
            .chain(self.phone.iter().cloned().chain(further_phones).map(|phone| ContactKey::phone(&phone)))
            .chain(user)
            .collect()
    }
}
