use serde::Serialize;
use uuid::Uuid;

use crate::{
    record::{Meta, Record},
    store::Json,
};

crate::record_ids! {
    /// An entry of the audit trail.
    AuditEntryId,
}

/// One thing that was done. Written by the commit that did it; numbered and hashed later by the sealer.
///
/// Kept among the installation's collections, so that one sealer finds unsealed entries of every organization.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[record(
    collection = "audit_entries",
    installation,
    unique(organization_id, sequence),
    index(sealed, created_at),
    index(organization_id, -created_at),
    index(organization_id, record_id, -created_at),
    index(organization_id, actor_id, -created_at),
    index(organization_id, action, -created_at)
)]
pub struct AuditEntry {
    /// The entry's id.
    pub id: AuditEntryId,
    /// What was done, such as `customer.updated`.
    pub action: String,
    /// Who did it: `user`, `api_key`, `service` or `system`.
    pub actor_type: String,
    /// The person or key.
    pub actor_id: Option<Uuid>,
    /// The kind of record it was done to, such as `customers`.
    pub record_type: String,
    /// That record.
    pub record_id: Option<Uuid>,
    /// The client's address. Erased when a person's data is.
    pub ip: Option<String>,
    /// The request that did it.
    pub request_id: Option<String>,
    /// What changed, as it was before. Erased when a person's data is.
    pub before: Option<Json>,
    /// What changed, as it is now. Erased when a person's data is.
    pub after: Option<Json>,
    /// Salt of the digest, so that erased values cannot be guessed from it.
    #[serde(skip)]
    pub salt: String,
    /// SHA-256 of the salt, the address, `before` and `after`, in hexadecimal.
    pub digest: String,
    /// Whether the sealer has numbered and hashed the entry.
    pub sealed: bool,
    /// The entry's place in the organization's chain, from 1.
    pub sequence: Option<i64>,
    /// The hash of the entry before; 64 zeros at the first.
    pub previous_hash: Option<String>,
    /// SHA-256 of the entry's canonical form, in hexadecimal.
    pub hash: Option<String>,
    /// Its organization and times.
    #[serde(flatten)]
    pub meta: Meta,
}
