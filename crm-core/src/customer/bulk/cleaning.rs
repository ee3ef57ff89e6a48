//! Changes of many customers that can no longer be undone.

use super::record::{BulkChange, BulkNote};
use crate::{
    access::Principal,
    crm::Crm,
    error::Result,
    job::Job,
    record::{ID, Record as _, UPDATED_AT},
    store::{Change, Query, StoreError},
};

/// So many changes are looked at at once.
const BATCH: usize = 100;
/// So many notes are removed by one commit.
const NOTES: usize = 500;

/// Removes what is left of an organization's changes of many customers that ended a day ago.
///
/// # Errors
/// Those of the store.
pub(crate) async fn remove_old(crm: &Crm, by: &Principal) -> Result<()> {
    let old = BulkChange::undoable_until.exists().and(BulkChange::undoable_until.at_most(crm.now()));
    let mut query = Query::new(old, BATCH);
    loop {
        let found = crm.repo::<BulkChange>().find(by.scope(), &query).await?;
        for change in &found.records {
            remove(crm, by, change).await?;
        }
        query.after = found.next;
        if query.after.is_none() {
            return Ok(());
        }
    }
}

async fn remove(crm: &Crm, by: &Principal, change: &BulkChange) -> Result<()> {
    if let Some(undo) = change.undo_job_id {
        let undo = crm.repo::<Job>().get(by.scope(), undo).await?;
        if undo.is_some_and(|undo| !undo.state.has_ended()) {
            return Ok(());
        }
    }
    // From here on nobody can undo it: who asks at the same moment does so in vain, or this does.
    let close = Change::Update {
        collection: BulkChange::COLLECTION,
        id: change.id.0,
        expected_version: Some(change.meta.version),
        condition: None,
        assignments: vec![BulkChange::closed.set(true), UPDATED_AT.set(crm.now())],
    };
    match crm.store().commit(by.scope(), vec![close]).await {
        Err(StoreError::VersionConflict { .. } | StoreError::NotFound { .. }) => return Ok(()),
        done => done?,
    };
    let notes = Query::new(BulkNote::change_id.equals(change.id), NOTES);
    loop {
        let found = crm.repo::<BulkNote>().find(by.scope(), &notes).await?;
        let ids = found.records.iter().map(|note| note.id.0);
        let remove = Change::DeleteWhere { collection: BulkNote::COLLECTION, filter: ID.one_of(ids) };
        crm.store().commit(by.scope(), vec![remove]).await?;
        if !found.has_more {
            break;
        }
    }
    let itself = Change::DeleteWhere { collection: BulkChange::COLLECTION, filter: ID.equals(change.id.0) };
    crm.store().commit(by.scope(), vec![itself]).await?;
    Ok(())
}
