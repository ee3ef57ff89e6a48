//! What undoing a change of many customers and taking an import back have in common.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    Customer,
    ask::{Ask, ChunkOptions},
    write::Answers,
};
use crate::{
    access::Principal,
    crm::Crm,
    error::{Error, Result},
    id::CustomerId,
    operation::Operation,
};

/// Somebody who is left as they are, and why.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Kept {
    pub(super) id: CustomerId,
    /// The fields that stay as they are; none where the customer as a whole does.
    pub(super) fields: Vec<String>,
    pub(super) reason: String,
}

impl Kept {
    pub(super) fn whole(id: CustomerId, reason: impl Into<String>) -> Self {
        Self { id, fields: Vec::new(), reason: reason.into() }
    }
}

/// Customers as they are read before it is decided what they come to.
#[derive(Debug)]
pub(super) struct Stored(HashMap<CustomerId, Customer>);

impl Stored {
    /// Reads them. The ids differ.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn load(crm: &Crm, by: &Principal, ids: &[CustomerId]) -> Result<Self> {
        if ids.is_empty() {
            return Ok(Self(HashMap::new()));
        }
        let found = crm.repo::<Customer>().get_many(by.scope(), ids).await?;
        Ok(Self(found.into_iter().map(|customer| (customer.id, customer)).collect()))
    }

    /// One of them, in the bin or not.
    pub(super) fn get(&self, id: CustomerId) -> Option<&Customer> {
        self.0.get(&id)
    }

    /// Decides on what is asked because of what was read, and puts down what comes of it.
    ///
    /// # Errors
    /// [`Error::VersionConflict`] where somebody changed one of them since; those of the store.
    pub(super) async fn decide<'a>(
        &self,
        crm: &'a Crm,
        by: &'a Principal,
        asks: &[Ask],
        options: &ChunkOptions,
    ) -> Result<(Operation<'a>, Answers)> {
        let (mut drafts, answers, holders, settings) = crm.customers().decide_all(by, asks, options).await?;
        for before in drafts.iter().filter_map(|draft| draft.before.as_ref()) {
            // What is put back was told from what was read first: written over, a change in between would be lost.
            if self.get(before.id).is_some_and(|first| first.meta.version != before.meta.version) {
                return Err(Error::VersionConflict { found: before.meta.version });
            }
        }
        let mut operation = Operation::new(crm, by);
        crm.customers().put_down(by, &mut operation, &mut drafts, &holders, &settings, options);
        Ok((operation, answers))
    }
}
