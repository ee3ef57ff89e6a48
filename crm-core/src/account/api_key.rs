use serde::Serialize;

use crate::{
    access::{Actor, Permission, PermissionSet, Principal, Role, Visibility},
    id::UserId,
    input::Input,
    record::{Meta, Record},
    text::Line,
    time::Timestamp,
};

crate::record_ids! {
    /// An API key.
    ApiKeyId,
}

/// What every API key begins with, so that one that lies about is recognised.
pub(super) const PREFIX: &str = "crm_";
/// The length of the public part, which finds the key.
pub(super) const PUBLIC_LENGTH: usize = 16;
/// The length of the secret part: 256 bits as base64url.
const SECRET_LENGTH: usize = 43;

/// A key for a service, not tied to a person. The key itself is shown once, when it is made.
#[derive(Clone, Debug, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[record(
    collection = "api_keys",
    installation,
    unique(prefix),
    search(name),
    index(organization_id, -created_at),
    index(organization_id, name)
)]
pub struct ApiKey {
    /// The key's id.
    pub id: ApiKeyId,
    /// What it is for.
    #[record(folded)]
    pub name: Line<200>,
    /// The public part of the key, by which it is recognised.
    pub prefix: String,
    /// SHA-256 of the key.
    #[serde(skip)]
    pub hash: String,
    /// What its holder may do, as `resource:action`.
    pub permissions: Vec<String>,
    /// Whether its holder may only read, whatever the permissions.
    pub read_only: bool,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute or so.
    pub last_used_at: Option<Timestamp>,
    /// Who made it.
    pub created_by: Option<UserId>,
    /// Its version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

impl ApiKey {
    /// What its holder may do.
    #[must_use]
    pub fn permission_set(&self) -> PermissionSet {
        // A permission that a newer program knew is none.
        let permissions = self.permissions.iter().filter_map(|name| name.parse::<Permission>().ok());
        permissions.filter(|permission| !self.read_only || permission.is_read()).collect()
    }

    pub(super) fn principal(&self) -> Principal {
        Principal {
            actor: Actor::ApiKey(self.id.0),
            role: Role::Agent,
            permissions: self.permission_set(),
            visibility: Visibility::All,
            ..Principal::system(self.meta.organization_id)
        }
    }
}

/// What a new API key is to be.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(refuse(id, prefix, version, created_at, updated_at))]
pub struct NewApiKey {
    /// What it is for.
    pub name: Line<200>,
    /// What its holder may do, as `resource:action`: at most what its maker may. `scopes` is taken for it too.
    #[input(alias = "scopes")]
    pub permissions: Vec<Permission>,
    /// Whether its holder may only read, whatever the permissions.
    #[input(default)]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub read_only: bool,
    /// When it ends by itself; never where not given.
    pub expires_at: Option<Timestamp>,
}

/// The public part of a key, where it has the form of one.
pub(super) fn split(key: &str) -> Option<(&str, &str)> {
    let (public, secret) = key.strip_prefix(PREFIX)?.split_at_checked(PUBLIC_LENGTH)?;
    let secret = secret.strip_prefix('_')?;
    let of = |text: &str, also: &[u8]| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || also.contains(&byte));
    (secret.len() == SECRET_LENGTH && of(public, b"") && of(secret, b"-_")).then_some((public, secret))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::split;

    #[test]
    fn a_key_has_two_parts() {
        let secret = "a-_".repeat(14) + "b";
        assert_eq!(split(&format!("crm_0123456789abcdef_{secret}")), Some(("0123456789abcdef", secret.as_str())));
        for key in [
            "",
            "crm_",
            "crm_0123456789abcdef",
            "crm_0123456789abcdef_short",
            "key_0123456789abcdef_",
            "crm_日本語日本語日本語日本語日本語日_",
        ] {
            assert_eq!(split(key), None, "{key}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer(key in any::<String>()) {
            let _ = split(&format!("crm_{key}"));
            let _ = split(&key);
        }
    }
}
