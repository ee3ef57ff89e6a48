use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::FromInput;
use crate::error::FieldErrors;

/// At most so many unknown members are named in one answer.
const UNKNOWN_NAMED: usize = 20;

/// The members of a JSON object, taken one by one.
#[derive(Debug)]
pub struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// The members of an object, in their order.
    ///
    /// # Errors
    /// `INVALID_TYPE` where it is no object, `DUPLICATE_FIELD` naming each member that stands twice.
    pub fn parse(json: &'a RawValue) -> Result<Self, FieldErrors> {
        let Ok(Self(members)) = serde_json::from_str::<Self>(json.get()) else {
            return Err(FieldErrors::one("", "INVALID_TYPE", "must be a JSON object"));
        };
        let mut errors = FieldErrors::new();
        let mut names: Vec<Cow<'_, str>> = members.iter().map(|(name, _)| snake_case(name)).collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            if let [first, second] = pair
                && first == second
            {
                errors.add(first.as_ref(), "DUPLICATE_FIELD", "is given more than once");
            }
        }
        errors.or(Self(members))
    }

    /// Takes a member by any of its names; camelCase counts as `snake_case`.
    pub fn take(&mut self, names: &[&str]) -> Option<&'a RawValue> {
        let position = self.0.iter().position(|(name, _)| names.contains(&snake_case(name).as_ref()))?;
        Some(self.0.remove(position).1)
    }

    /// Takes a member spelled exactly so.
    pub fn take_exact(&mut self, name: &str) -> Option<&'a RawValue> {
        let position = self.0.iter().position(|(found, _)| found == name)?;
        Some(self.0.remove(position).1)
    }

    /// Reads a member, or notes why it cannot be read. The first of `names` is the field's own.
    pub fn read<T: FromInput>(&mut self, names: &[&str], errors: &mut FieldErrors) -> Option<T> {
        self.read_or(names, errors, T::absent)
    }

    /// The same with another meaning of an absent member.
    pub fn read_or<T: FromInput>(
        &mut self,
        names: &[&str],
        errors: &mut FieldErrors,
        absent: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        let field = names.first().copied().unwrap_or_default();
        let value = match self.take(names) {
            Some(json) => errors.take(field, T::from_input(json)),
            None => {
                let value = absent();
                if value.is_none() {
                    errors.add(field, "REQUIRED", "is required");
                }
                return value;
            }
        };
        if let Some(_second) = self.take(names) {
            errors.add(field, "DUPLICATE_FIELD", "is given more than once, under different names");
        }
        value
    }

    /// Drops members that a caller may send back but cannot change.
    pub fn ignore(&mut self, names: &[&str]) {
        self.0.retain(|(name, _)| !names.contains(&snake_case(name).as_ref()));
    }

    /// Refuses members that only the CRM sets.
    pub fn refuse(&mut self, names: &[&str], errors: &mut FieldErrors) {
        for name in names {
            if self.take(&[name]).is_some() {
                errors.add(*name, "READ_ONLY", "is set by the CRM and cannot be given");
            }
        }
    }

    /// Refuses what has not been taken, and says what could be given.
    pub fn finish(self, allowed: &[&str], errors: &mut FieldErrors) {
        for (name, _) in self.0.into_iter().take(UNKNOWN_NAMED) {
            let name: String = name.chars().take(100).collect();
            let message = format!("is not a field here; allowed are: {}", allowed.join(", "));
            errors.add(name, "UNKNOWN_FIELD", message);
        }
    }

    /// What has not been taken.
    #[must_use]
    pub fn into_rest(self) -> Vec<(Cow<'a, str>, &'a RawValue)> {
        self.0
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((member.0.0, member.1));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A member's name, borrowed where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// `fullName` as `full_name`; a name in another form stays as it is.
#[must_use]
pub fn snake_case(name: &str) -> Cow<'_, str> {
    let camel = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && name.bytes().any(|byte| byte.is_ascii_uppercase());
    if !camel {
        return Cow::Borrowed(name);
    }
    let mut snake = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    Cow::Owned(snake)
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn camel_case_is_another_spelling() {
        assert_eq!(snake_case("fullName"), "full_name");
        assert_eq!(snake_case("totalOrderValue"), "total_order_value");
        assert_eq!(snake_case("full_name"), "full_name");
        assert_eq!(snake_case("TL"), "TL");
        assert_eq!(snake_case("full_nameX"), "full_nameX");
    }
}
