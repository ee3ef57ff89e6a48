//! How many imports an organization may have on the way.

use super::record::{CustomerImport, ImportState};
use crate::{
    access::Principal,
    crm::Crm,
    error::{Error, Result},
};

/// The most imports of an organization that arrive, wait or run. Each keeps a whole file until its rows are read.
const MOST_OPEN: u64 = 20;

/// Whether there is room for an import, where `counted` says whether it is among the stored ones already.
///
/// # Errors
/// [`Error::InvalidState`] where there is none; those of the store.
pub(super) async fn check(crm: &Crm, by: &Principal, counted: bool) -> Result<()> {
    let open = CustomerImport::state.one_of([ImportState::Uploading, ImportState::Queued, ImportState::Running]);
    let open = crm.repo::<CustomerImport>().count(by.scope(), &open).await?;
    if open.saturating_sub(u64::from(counted)) >= MOST_OPEN {
        let message = format!("{MOST_OPEN} imports of the organization have not ended yet: try again when one has.");
        return Err(Error::InvalidState(message));
    }
    Ok(())
}
