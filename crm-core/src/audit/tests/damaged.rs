//! A store in which a record of one organization cannot be read.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use crate::{
    id::OrganizationId,
    store::{
        Collection, Page, Query, Row, Scope, Store, StoreError, StoreResult, Value, double::Meddler, head,
        memory::MemoryStore,
    },
};

pub(super) struct Damaged {
    store: MemoryStore,
    organization: OrganizationId,
    damaged: AtomicBool,
}

impl Damaged {
    pub(super) fn new(organization: OrganizationId) -> Self {
        Self { store: MemoryStore::new(), organization, damaged: AtomicBool::new(false) }
    }

    pub(super) fn damage(&self) {
        self.damaged.store(true, Ordering::SeqCst);
    }

    pub(super) fn mend(&self) {
        self.damaged.store(false, Ordering::SeqCst);
    }
}

#[async_trait]
impl Meddler for Damaged {
    fn inner(&self) -> &dyn Store {
        &self.store
    }

    async fn find(&self, scope: Scope, collection: &'static Collection, query: &Query) -> StoreResult<Page> {
        let page = self.store.find(scope, collection, query).await?;
        let theirs = |row: &Row| row.0.get(head::ORGANIZATION_ID) == Some(&Value::Id(self.organization.into()));
        if self.damaged.load(Ordering::SeqCst) && page.rows.iter().any(theirs) {
            return Err(StoreError::engine("a column cannot be read"));
        }
        Ok(page)
    }
}
