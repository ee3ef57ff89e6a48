//! Cursors: where a page begins, signed, so that nobody can make one up or use it elsewhere.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::ListRequest;
use crate::{
    error::FieldErrors,
    id::OrganizationId,
    store::{Collection, Json, Money, Position, Value},
    time::Timestamp,
};

const VERSION: u8 = 1;
const TAG_LENGTH: usize = 16;
const DIGEST_LENGTH: usize = 16;
/// Version, `as_of`, digest, id.
const HEAD_LENGTH: usize = 1 + 8 + DIGEST_LENGTH + 16;
/// The longest cursor that is looked at, in characters.
const MAX_LENGTH: usize = 65_536;
/// A cursor begins a page for so long.
const LIFETIME: std::time::Duration = std::time::Duration::from_hours(7 * 24);

/// The key that cursors are signed with: alike in every process of an installation.
#[derive(Clone)]
pub struct CursorKey([u8; 32]);

impl CursorKey {
    /// A key of 32 random bytes.
    #[must_use]
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    fn sign(&self, bytes: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(b"cursor");
        mac.update(bytes);
        Some(mac)
    }
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CursorKey(…)")
    }
}

/// Where a page begins, and which instant relative times of its filter count from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cursor {
    pub(crate) as_of: Timestamp,
    pub(crate) position: Position,
}

/// What a list shows: cursors of another do not fit it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Digest([u8; DIGEST_LENGTH]);

impl Digest {
    pub(crate) fn of(organization: OrganizationId, collection: &'static Collection, request: &ListRequest) -> Self {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(bytes);
        };
        part(organization.0.as_bytes());
        part(collection.name.as_bytes());
        part(
            request
                .rule
                .as_ref()
                .map_or_else(|| Json::from_trusted(""), crate::rule::Rule::to_json)
                .as_str()
                .as_bytes(),
        );
        part(&request.search.len().to_be_bytes());
        request.search.iter().for_each(|term| part(term.as_bytes()));
        for sort in &request.sort {
            part(sort.field.name.as_bytes());
            part(sort.field.key.as_deref().unwrap_or_default().as_bytes());
            part(&[u8::from(sort.descending), u8::from(sort.field.key.is_some())]);
        }
        for (name, value) in &request.extra {
            part(name.as_bytes());
            part(value.as_bytes());
        }
        let mut digest = [0; DIGEST_LENGTH];
        digest.iter_mut().zip(hash.finalize()).for_each(|(place, byte)| *place = byte);
        Self(digest)
    }
}

impl Cursor {
    /// As the text that a client gives back.
    pub(crate) fn encode(&self, digest: Digest, key: &CursorKey) -> Option<String> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.as_of.as_milliseconds().to_be_bytes());
        bytes.extend(digest.0);
        bytes.extend(self.position.id.as_bytes());
        self.position.keys.iter().for_each(|value| write_value(&mut bytes, value));
        let tag = key.sign(&bytes)?.finalize().into_bytes();
        bytes.extend(tag.iter().take(TAG_LENGTH));
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// From such a text.
    ///
    /// # Errors
    /// On `cursor`, where it was not given out by us, belongs to another list, or is too old.
    pub(crate) fn decode(
        text: &str,
        digest: Digest,
        keys: usize,
        key: &CursorKey,
        now: Timestamp,
    ) -> Result<Self, FieldErrors> {
        let wrong = |message| Err(FieldErrors::one("cursor", "INVALID_CURSOR", message));
        let Some(bytes) = verified(text, key) else {
            return wrong("is not a cursor that was given out: take page.next_cursor as it is, or begin without one");
        };
        let Some((as_of, given, position)) = read(&bytes, keys) else {
            return wrong("belongs to another order: a cursor goes with the filter, search and sort it was given for");
        };
        if given != digest {
            return wrong("belongs to another list: a cursor goes with the filter, search and sort it was given for");
        }
        if now.since(as_of) > LIFETIME {
            return wrong("is older than 7 days: begin again without one");
        }
        Ok(Self { as_of, position })
    }
}

fn verified(text: &str, key: &CursorKey) -> Option<Vec<u8>> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let length = bytes.len().checked_sub(TAG_LENGTH).filter(|length| *length >= HEAD_LENGTH)?;
    let tag = bytes.split_off(length);
    key.sign(&bytes)?.verify_truncated_left(&tag).ok()?;
    (bytes.first() == Some(&VERSION)).then_some(bytes)
}

fn read(bytes: &[u8], keys: usize) -> Option<(Timestamp, Digest, Position)> {
    let mut reader = Reader(bytes.get(1..)?);
    let as_of = Timestamp::from_milliseconds(i64::from_be_bytes(reader.array()?))?;
    let digest = Digest(reader.array()?);
    let id = Uuid::from_bytes(reader.array()?);
    let mut values = Vec::new();
    while !reader.0.is_empty() {
        values.push(reader.value()?);
    }
    (values.len() == keys).then_some((as_of, digest, Position { keys: values, id }))
}

fn write_value(bytes: &mut Vec<u8>, value: &Value) {
    let mut text = |tag, text: &str| {
        bytes.push(tag);
        bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(text.as_bytes());
    };
    match value {
        Value::Text(value) => text(b't', value),
        Value::Date(value) => text(b'd', &value.to_string()),
        // No order has a list or JSON as a key.
        Value::Null | Value::TextList(_) | Value::Json(_) => bytes.push(b'0'),
        Value::Bool(value) => bytes.extend([b'b', u8::from(*value)]),
        Value::Integer(value) => {
            bytes.push(b'i');
            bytes.extend(value.to_be_bytes());
        }
        Value::Number(value) => {
            bytes.push(b'n');
            bytes.extend(value.to_bits().to_be_bytes());
        }
        Value::Money(value) => {
            bytes.push(b'm');
            bytes.extend(value.as_ten_thousandths().to_be_bytes());
        }
        Value::Timestamp(value) => {
            bytes.push(b's');
            bytes.extend(value.as_milliseconds().to_be_bytes());
        }
        Value::Id(value) => {
            bytes.push(b'u');
            bytes.extend(value.as_bytes());
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(u32::from_be_bytes(self.array()?)).ok()?;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(taken.to_vec()).ok()
    }

    fn value(&mut self) -> Option<Value> {
        Some(match self.array::<1>()?[0] {
            b'0' => Value::Null,
            b'b' => Value::Bool(self.array::<1>()?[0] == 1),
            b'i' => Value::Integer(i64::from_be_bytes(self.array()?)),
            b'n' => Value::Number(f64::from_bits(u64::from_be_bytes(self.array()?))),
            b'm' => Value::Money(Money::from_ten_thousandths(i64::from_be_bytes(self.array()?))?),
            b's' => Value::Timestamp(Timestamp::from_milliseconds(i64::from_be_bytes(self.array()?))?),
            b'u' => Value::Id(Uuid::from_bytes(self.array()?)),
            b't' => Value::Text(self.text()?),
            b'd' => Value::Date(self.text()?.parse().ok()?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{audit::AuditEntry, record::Record as _, store::FieldRef};

    fn request() -> ListRequest {
        ListRequest { search: vec!["ann".to_owned()], ..ListRequest::default() }
    }

    fn digest(request: &ListRequest) -> Digest {
        Digest::of(OrganizationId(Uuid::from_u128(1)), AuditEntry::COLLECTION, request)
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Integer),
            (-1e300..1e300).prop_map(Value::Number),
            (-1_000_000_i64..1_000_000).prop_map(|amount| Value::Money(Money::from_ten_thousandths(amount).unwrap())),
            any::<String>().prop_map(Value::Text),
            (0..253_402_207_200_999_i64).prop_map(|at| Value::Timestamp(Timestamp::from_milliseconds(at).unwrap())),
            (1_i16..9999, 1_i8..=12, 1_i8..=28).prop_map(|(y, m, d)| Value::Date(jiff::civil::date(y, m, d))),
            any::<u128>().prop_map(|id| Value::Id(Uuid::from_u128(id))),
        ]
    }

    proptest! {
        #[test]
        fn what_was_given_out_is_taken_back(keys in prop::collection::vec(value(), 0..6), id: u128, secret: [u8; 32]) {
            let key = CursorKey::new(secret);
            let now = Timestamp::from_milliseconds(1_700_000_000_000).unwrap();
            let digest = digest(&request());
            let count = keys.len();
            let cursor = Cursor { as_of: now, position: Position { keys, id: Uuid::from_u128(id) } };
            let text = cursor.encode(digest, &key).unwrap();
            prop_assert_eq!(Cursor::decode(&text, digest, count, &key, now).unwrap(), cursor);
        }

        #[test]
        fn no_text_panics(text: String, bytes: Vec<u8>) {
            let key = CursorKey::new([7; 32]);
            let digest = digest(&request());
            prop_assert!(Cursor::decode(&text, digest, 1, &key, Timestamp::MIN).is_err());
            let text = URL_SAFE_NO_PAD.encode(&bytes);
            prop_assert!(Cursor::decode(&text, digest, 1, &key, Timestamp::MIN).is_err());
            let _ = read(&bytes, 1);
        }

        #[test]
        fn a_changed_cursor_is_refused(place in 0_usize..100, bit in 0_u8..8) {
            let key = CursorKey::new([7; 32]);
            let digest = digest(&request());
            let position = Position { keys: vec![Value::Text("Zoë".to_owned())], id: Uuid::from_u128(9) };
            let text = Cursor { as_of: Timestamp::MIN, position }.encode(digest, &key).unwrap();
            let mut bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
            let changed = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert!(Cursor::decode(&changed, digest, 1, &key, Timestamp::MIN).is_err());
        }
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let key = CursorKey::new([7; 32]);
        let now = Timestamp::from_milliseconds(1_700_000_000_000).unwrap();
        let cursor = Cursor { as_of: now, position: Position::of_id(Uuid::from_u128(9)) };
        let text = cursor.encode(digest(&request()), &key).unwrap();
        let mut other = request();
        other.search = vec!["bob".to_owned()];
        assert!(Cursor::decode(&text, digest(&other), 0, &key, now).is_err());
        let mut sorted = request();
        sorted.sort =
            vec![crate::store::Sort { field: FieldRef::declared("id", crate::store::FieldKind::Id), descending: true }];
        assert!(Cursor::decode(&text, digest(&sorted), 0, &key, now).is_err());
        let foreign = Digest::of(OrganizationId(Uuid::from_u128(2)), AuditEntry::COLLECTION, &request());
        assert!(Cursor::decode(&text, foreign, 0, &key, now).is_err());
        let other_key = CursorKey::new([8; 32]);
        assert!(Cursor::decode(&text, digest(&request()), 0, &other_key, now).is_err());
        let later = now.plus(LIFETIME + std::time::Duration::from_millis(1));
        let old = Cursor::decode(&text, digest(&request()), 0, &key, later).unwrap_err();
        assert!(old.to_string().starts_with("cursor: is older"), "{old}");
        assert!(Cursor::decode(&text, digest(&request()), 0, &key, now.plus(LIFETIME)).is_ok());
    }
}
