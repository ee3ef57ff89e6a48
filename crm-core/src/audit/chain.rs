//! What a seal covers, and how it is computed.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::AuditEntry;
use crate::store::Json;

/// The hash before the first entry of a chain.
pub const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The digest of an entry's erasable values: SHA-256 over the salt, the address, `before` and `after`. Of these two the
/// meaning counts, not the order of members, which some engines do not keep.
#[must_use]
pub fn digest(salt: &str, ip: Option<&str>, before: Option<&Json>, after: Option<&Json>) -> String {
    let (before, after) = (before.map(canonical), after.map(canonical));
    digest_of_texts(salt, ip, before.as_deref(), after.as_deref())
}

fn digest_of_texts(salt: &str, ip: Option<&str>, before: Option<&str>, after: Option<&str>) -> String {
    let mut hasher = Sha256::new();
    for part in [Some(salt), ip, before, after] {
        // Presence and length before each part, so that no two lists of parts read alike.
        let bytes = part.unwrap_or_default().as_bytes();
        hasher.update([u8::from(part.is_some())]);
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    }
    hexadecimal(&hasher.finalize())
}

/// JSON in one form: members sorted by name, no spaces.
fn canonical(json: &Json) -> String {
    // What was read from JSON can be written as JSON.
    serde_json::to_string(&Sorted(&json.to_value())).unwrap_or_default()
}

struct Sorted<'a>(&'a serde_json::Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            serde_json::Value::Array(items) => serializer.collect_seq(items.iter().map(Sorted)),
            serde_json::Value::Object(members) => {
                let members: BTreeMap<_, _> = members.iter().map(|(name, value)| (name, Sorted(value))).collect();
                serializer.collect_map(members)
            }
            plain => plain.serialize(serializer),
        }
    }
}

/// SHA-256 of the canonical form of flat members: keys sorted, no spaces, UTF-8 (RFC 8785 for texts and integers).
#[must_use]
pub fn hash_members(members: &BTreeMap<&str, Member<'_>>) -> String {
    // Maps of texts and integers always serialise.
    hexadecimal(&Sha256::digest(serde_json::to_vec(members).unwrap_or_default()))
}

/// One member of the canonical form.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Member<'a> {
    /// A text, or `null`.
    Text(Option<&'a str>),
    /// A whole number.
    Integer(i64),
}

/// The hash of an entry at its place of the chain. It covers the organization, the place, the hash before, what was
/// done when and by whom to what, and the digest of the erasable values.
#[must_use]
pub fn hash(entry: &AuditEntry, sequence: i64, previous_hash: &str) -> String {
    let chain = entry.meta.organization_id.to_string();
    let at = entry.meta.created_at.to_string();
    let id = entry.id.to_string();
    let actor_id = entry.actor_id.map(|id| id.to_string());
    let record_id = entry.record_id.map(|id| id.to_string());
    hash_members(&BTreeMap::from([
        ("action", Member::Text(Some(&entry.action))),
        ("actor_id", Member::Text(actor_id.as_deref())),
        ("actor_type", Member::Text(Some(&entry.actor_type))),
        ("at", Member::Text(Some(&at))),
        ("chain", Member::Text(Some(&chain))),
        ("digest", Member::Text(Some(&entry.digest))),
        ("id", Member::Text(Some(&id))),
        ("prev", Member::Text(Some(previous_hash))),
        ("record_id", Member::Text(record_id.as_deref())),
        ("record_type", Member::Text(Some(&entry.record_type))),
        ("request_id", Member::Text(entry.request_id.as_deref())),
        ("seq", Member::Integer(sequence)),
    ]))
}

/// Why a sealed entry does not fit at its place; nothing where it does.
#[must_use]
pub fn flaw(entry: &AuditEntry, sequence: i64, previous_hash: &str) -> Option<&'static str> {
    if entry.sequence != Some(sequence) {
        return Some("an entry is missing before this one");
    }
    if entry.previous_hash.as_deref() != Some(previous_hash) {
        return Some("the entry does not follow the one before it");
    }
    if entry.hash.as_deref() != Some(hash(entry, sequence, previous_hash).as_str()) {
        return Some("the entry was changed after it was sealed");
    }
    let erased = entry.salt.is_empty() && entry.before.is_none() && entry.after.is_none() && entry.ip.is_none();
    let (salt, ip, before, after) = (&entry.salt, entry.ip.as_deref(), entry.before.as_ref(), entry.after.as_ref());
    // The texts as they were written are what the first version made its digests of.
    let as_sealed = || {
        entry.digest == digest(salt, ip, before, after)
            || entry.digest == digest_of_texts(salt, ip, before.map(Json::as_str), after.map(Json::as_str))
    };
    if !erased && !as_sealed() {
        return Some("the values before or after were changed since the entry was written");
    }
    None
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain of two entries that was computed by other means.
    #[test]
    fn the_canonical_form_is_the_known_one() {
        let mut previous = START.to_owned();
        let mut hashes = Vec::new();
        for (seq, action, at) in
            [(1, "user.login", "2026-01-01T00:00:00Z"), (2, "customer.update", "2026-01-02T00:00:00Z")]
        {
            let hash = hash_members(&BTreeMap::from([
                ("chain", Member::Text(Some("org-1"))),
                ("seq", Member::Integer(seq)),
                ("prev", Member::Text(Some(&previous))),
                ("at", Member::Text(Some(at))),
                ("action", Member::Text(Some(action))),
                ("actor", Member::Text(Some("u1"))),
            ]));
            hashes.push(hash.clone());
            previous = hash;
        }
        assert_eq!(
            hashes,
            [
                "5079de902e9e2f35bde026140949432fd96fbba1a244dbf09d02acb47269cd8e",
                "c35ad4e9a5d870b7ea9d52a3bc60fc02979116856c135267b96db6931db54062"
            ]
        );
    }

    #[test]
    fn parts_of_a_digest_do_not_run_into_each_other() {
        let json = |text: &str| Json::from_trusted(text);
        assert_ne!(digest("s", Some("a1"), Some(&json("2")), None), digest("s", Some("a"), Some(&json("12")), None));
        assert_ne!(digest("s", None, Some(&json("1")), None), digest("s", None, None, Some(&json("1"))));
    }

    #[test]
    fn a_digest_is_of_what_json_means() {
        let of = |text: &str| digest("s", None, None, Some(&Json::from_trusted(text)));
        let written = of(r#"{"name": "Ravi", "custom": {"b": [1, 2.5], "a": null}}"#);
        assert_eq!(written, of(r#"{"custom":{"a":null,"b":[1,2.5]},"name":"Ravi"}"#), "as another engine keeps it");
        for other in [
            r#"{"custom":{"a":null,"b":[2.5,1]},"name":"Ravi"}"#,
            r#"{"custom":{"a":null,"b":[1,2.5]},"name":"Asha"}"#,
            r#"{"custom":{"b":[1,2.5]},"name":"Ravi"}"#,
        ] {
            assert_ne!(written, of(other), "{other}");
        }
    }
}
