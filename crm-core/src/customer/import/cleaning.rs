//! Imports that nobody needs any more.

use std::time::Duration;

use super::record::{CustomerImport, ImportPart, ImportState};
use crate::{
    access::Principal,
    crm::Crm,
    error::Result,
    record::{CREATED_AT, Record as _},
    store::{Change, Query},
};

/// How long what an import needs to be taken back is kept, and its refused rows, and the import itself.
pub(super) const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a file may take to arrive.
const UPLOADING: Duration = Duration::from_secs(24 * 3600);
/// So many are removed at once.
const BATCH: usize = 20;

/// Removes what is left of an organization's imports that ended 30 days ago, and of files that never arrived whole.
///
/// # Errors
/// Those of the store.
pub(crate) async fn remove_old(crm: &Crm, by: &Principal) -> Result<()> {
    let now = crm.now();
    let ended = CustomerImport::revertible_until.exists().and(CustomerImport::revertible_until.at_most(now));
    let reverting = CustomerImport::state.equals(ImportState::Reverting);
    let unfinished = CustomerImport::state.equals(ImportState::Uploading).and(CREATED_AT.at_most(now.minus(UPLOADING)));
    for old in [ended.and(reverting.negated()), unfinished] {
        loop {
            let found = crm.repo::<CustomerImport>().find(by.scope(), &Query::new(old.clone(), BATCH)).await?;
            for import in &found.records {
                let changes = vec![
                    Change::DeleteWhere {
                        collection: ImportPart::COLLECTION,
                        filter: ImportPart::import_id.equals(import.id),
                    },
                    Change::DeleteWhere {
                        collection: CustomerImport::COLLECTION,
                        filter: crate::record::ID.equals(import.id.0),
                    },
                ];
                crm.store().commit(by.scope(), changes).await?;
            }
            if !found.has_more {
                break;
            }
        }
    }
    Ok(())
}
