//! Imports that nobody needs any more.

use std::time::Duration;

use super::record::{CustomerImport, CustomerImportId, ImportPart, ImportState};
use crate::{
    access::Principal,
    crm::Crm,
    error::Result,
    record::{Record as _, UPDATED_AT},
    store::{Change, Filter, Query, Scope, StoreError, WhenUnmet},
};

/// How long what an import needs to be taken back is kept, and its refused rows, and the import itself.
pub(super) const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long the next part of a file may take to arrive.
const UPLOADING: Duration = Duration::from_secs(3600);
/// So many are removed at once.
const BATCH: usize = 20;

/// Removes what is left of an organization's imports that ended 30 days ago, and of files that never arrived whole.
///
/// # Errors
/// Those of the store.
pub(crate) async fn remove_old(crm: &Crm, by: &Principal) -> Result<()> {
    let now = crm.now();
    let ended = CustomerImport::revertible_until.exists().and(CustomerImport::revertible_until.at_most(now));
    let ended = ended.and(CustomerImport::state.equals(ImportState::Reverting).negated());
    let silent = is_uploading().and(UPDATED_AT.at_most(now.minus(UPLOADING)));
    for old in [ended, silent] {
        loop {
            let found = crm.repo::<CustomerImport>().find(by.scope(), &Query::new(old.clone(), BATCH)).await?;
            for import in &found.records {
                remove(crm, by.scope(), import.id, old.clone()).await?;
            }
            if !found.has_more {
                break;
            }
        }
    }
    Ok(())
}

/// What became of an import that was to be removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Removal {
    /// Nothing of it is left.
    Removed,
    /// It is not as it was thought to be, and all of it is there.
    Left,
}

/// Removes an import and its parts, if it is still as the filter says: the answer to an earlier commit may have been lost,
/// and the import have gone on.
pub(super) async fn remove(
    crm: &Crm,
    scope: Scope,
    import: CustomerImportId,
    still: Filter,
) -> Result<Removal, StoreError> {
    let check = Change::Update {
        collection: CustomerImport::COLLECTION,
        id: import.0,
        expected_version: None,
        condition: Some((still, WhenUnmet::Abort)),
        assignments: vec![UPDATED_AT.set(crm.now())],
    };
    let parts =
        Change::DeleteWhere { collection: ImportPart::COLLECTION, filter: ImportPart::import_id.equals(import) };
    let itself = Change::Delete { collection: CustomerImport::COLLECTION, id: import.0, expected_version: None };
    match crm.store().commit(scope, vec![check, parts.clone(), itself]).await {
        Ok(_) => Ok(Removal::Removed),
        Err(StoreError::Unmet { .. }) => Ok(Removal::Left),
        Err(StoreError::NotFound { .. }) => crm.store().commit(scope, vec![parts]).await.map(|_| Removal::Removed),
        Err(error) => Err(error),
    }
}

/// An import whose file is still arriving.
pub(super) fn is_uploading() -> Filter {
    CustomerImport::state.equals(ImportState::Uploading)
}
