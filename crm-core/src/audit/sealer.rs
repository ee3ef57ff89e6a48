//! Numbers and hashes audit entries after they were committed.

use std::collections::{HashMap, HashSet};

use super::{AuditEntry, chain};
use crate::{
    crm::Crm,
    error::{Error, Result},
    id::OrganizationId,
    record::{CREATED_AT, ORGANIZATION_ID, Record as _},
    store::{Aggregation, Change, Filter, Group, Query, Scope, StoreError, Value},
};

/// Entries sealed by one commit.
const BATCH: usize = 500;

/// The end of each organization's chain, as last seen. Only a memory: the store is asked where it is empty or wrong.
#[derive(Debug, Default)]
pub struct Heads {
    ends: HashMap<OrganizationId, (i64, String)>,
    /// Organizations of which it was told already that their entries cannot be read.
    damaged: HashSet<OrganizationId>,
}

/// Seals a batch of entries, over all organizations. Answers whether more wait.
///
/// Entries are taken by their state, not by their place in time, so one whose commit came late is not skipped. Two
/// sealers at once do no harm: the sequence is a unique key, and the one that is late starts over. An entry that cannot
/// be read holds back its own organization only.
///
/// # Errors
/// Those of the store.
pub async fn seal_pending(crm: &Crm, heads: &mut Heads) -> Result<bool> {
    match seal_batch(crm, heads, Scope::Installation).await {
        Err(Error::Internal(_)) => seal_one_by_one(crm, heads).await,
        done => done,
    }
}

/// Seals a batch of each organization, and leaves out those whose entries cannot be read.
async fn seal_one_by_one(crm: &Crm, heads: &mut Heads) -> Result<bool> {
    let waiting =
        Aggregation { filter: unsealed(), groups: vec![Group::Field(ORGANIZATION_ID.field())], measures: Vec::new() };
    let waiting = crm.store().aggregate(Scope::Installation, AuditEntry::COLLECTION, &waiting).await?;
    let mut more = false;
    for row in waiting {
        let Some(Value::Id(organization)) = row.groups.first() else { continue };
        let organization = OrganizationId(*organization);
        match seal_batch(crm, heads, Scope::Organization(organization)).await {
            Ok(waits) => more |= waits,
            Err(error @ Error::Internal(_)) => {
                if heads.damaged.insert(organization) {
                    tracing::error!(
                        %organization,
                        error = &error as &dyn std::error::Error,
                        "the organization's audit trail is not sealed any more: an entry cannot be read"
                    );
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(more)
}

async fn seal_batch(crm: &Crm, heads: &mut Heads, scope: Scope) -> Result<bool> {
    let query = Query::new(unsealed(), BATCH).sorted(vec![CREATED_AT.ascending()]);
    let found = crm.repo::<AuditEntry>().find(scope, &query).await?;
    if found.records.is_empty() {
        return Ok(false);
    }
    let mut changes = Vec::with_capacity(found.records.len());
    let mut ends = HashMap::new();
    for entry in &found.records {
        let organization = entry.meta.organization_id;
        let (last, previous_hash) = match ends.remove(&organization) {
            Some(end) => end,
            None => match heads.ends.get(&organization) {
                Some(end) => end.clone(),
                None => stored_end(crm, organization).await?,
            },
        };
        let sequence = last + 1;
        let hash = chain::hash(entry, sequence, &previous_hash);
        changes.push(seal(entry, sequence, previous_hash, &hash));
        ends.insert(organization, (sequence, hash));
    }
    match crm.store().commit(scope, changes).await {
        Ok(_) => {
            for (organization, (sequence, hash)) in &ends {
                tracing::debug!(%organization, sequence, hash, "sealed the audit trail up to here");
            }
            heads.ends.extend(ends);
            Ok(found.has_more)
        }
        Err(StoreError::Duplicate { .. } | StoreError::VersionConflict { .. } | StoreError::NotFound { .. }) => {
            // Somebody else sealed meanwhile.
            heads.ends.clear();
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

/// The entries that wait for a seal.
pub(super) fn unsealed() -> Filter {
    AuditEntry::sealed.equals(false)
}
