//! Numbers and hashes audit entries after they were committed.

use std::collections::HashMap;

use super::{AuditEntry, chain};
use crate::{
    crm::Crm,
    error::Result,
    id::OrganizationId,
    record::{CREATED_AT, Record as _},
    store::{Change, Filter, Query, Scope, StoreError},
};

/// Entries sealed by one commit.
const BATCH: usize = 500;

/// The end of each organization's chain, as last seen. Only a memory: the store is asked where it is empty or wrong.
#[derive(Debug, Default)]
pub struct Heads(HashMap<OrganizationId, (i64, String)>);

/// Seals a batch of entries, over all organizations. Answers whether more wait.
///
/// Entries are taken by their state, not by their place in time, so one whose commit came late is not skipped. Two
/// sealers at once do no harm: the sequence is a unique key, and the one that is late starts over.
///
/// # Errors
/// Those of the store.
pub async fn seal_pending(crm: &Crm, heads: &mut Heads) -> Result<bool> {
    let query = Query::new(AuditEntry::sealed.equals(false), BATCH).sorted(vec![CREATED_AT.ascending()]);
    let found = crm.repo::<AuditEntry>().find(Scope::Installation, &query).await?;
    if found.records.is_empty() {
        return Ok(false);
    }
    let mut changes = Vec::with_capacity(found.records.len());
    let mut ends = HashMap::new();
    for entry in &found.records {
        let organization = entry.meta.organization_id;
        let (last, previous_hash) = match ends.remove(&organization) {
            Some(end) => end,
            None => match heads.0.get(&organization) {
                Some(end) => end.clone(),
                None => stored_end(crm, organization).await?,
            },
        };
        let sequence = last + 1;
        let hash = chain::hash(entry, sequence, &previous_hash);
        changes.push(seal(entry, sequence, previous_hash, &hash));
        ends.insert(organization, (sequence, hash));
    }
    match crm.store().commit(Scope::Installation, changes).await {
        Ok(_) => {
            for (organization, (sequence, hash)) in &ends {
                tracing::debug!(%organization, sequence, hash, "sealed the audit trail up to here");
            }
            heads.0.extend(ends);
            Ok(found.has_more)
        }
        Err(StoreError::Duplicate { .. } | StoreError::VersionConflict { .. } | StoreError::NotFound { .. }) => {
            // Somebody else sealed meanwhile.
            heads.0.clear();
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

/// Seals everything that waits.
///
/// # Errors
/// Those of the store.
pub async fn seal_all(crm: &Crm, heads: &mut Heads) -> Result<()> {
    while seal_pending(crm, heads).await? {}
    Ok(())
}

async fn stored_end(crm: &Crm, organization: OrganizationId) -> Result<(i64, String)> {
    let last = Query::new(AuditEntry::sequence.exists(), 1).sorted(vec![AuditEntry::sequence.descending()]);
    let last = crm.repo::<AuditEntry>().find(Scope::Organization(organization), &last).await?.records.pop();
    Ok(last.and_then(|entry| Some((entry.sequence?, entry.hash?))).unwrap_or_else(|| (0, chain::START.to_owned())))
}

fn seal(entry: &AuditEntry, sequence: i64, previous_hash: String, hash: &str) -> Change {
    Change::Update {
        collection: AuditEntry::COLLECTION,
        id: entry.id.into(),
        expected_version: Some(entry.meta.version),
        condition: None,
        assignments: vec![
            AuditEntry::sealed.set(true),
            AuditEntry::sequence.set(sequence),
            AuditEntry::previous_hash.set(previous_hash),
            AuditEntry::hash.set(hash.to_owned()),
        ],
    }
}

/// The entries of an organization that wait for a seal.
pub(super) fn unsealed() -> Filter {
    AuditEntry::sealed.equals(false)
}
