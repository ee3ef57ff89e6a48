use std::time::Duration;

use super::{Accounts, RefreshToken, Session};
use crate::{
    error::Result,
    id::first_uuid_of,
    record::{ID, Record as _},
    store::{Change, Scope},
};

/// How long an ended session is kept, so that a token used again is still known as such.
const KEPT: Duration = Duration::from_secs(24 * 3600);

impl Accounts<'_> {
    /// Removes sessions, and their refresh tokens, that are past the end that no refresh moves. For the background work.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn remove_ended_sessions(&self) -> Result<()> {
        let begun = self.crm.now().minus(self.state().settings.session_lifetime.saturating_add(KEPT));
        let old = ID.less_than(first_uuid_of(begun));
        let changes = [RefreshToken::COLLECTION, Session::COLLECTION]
            .map(|collection| Change::DeleteWhere { collection, filter: old.clone() });
        self.crm.store().commit(Scope::Installation, changes.into()).await?;
        Ok(())
    }
}
