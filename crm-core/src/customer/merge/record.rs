use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{input::Side, times::Times};
use crate::{
    access::Principal,
    crm::Crm,
    customer::{Customer, undo::Changed},
    error::Result,
    id::CustomerId,
    record::{CREATED_AT, Meta, Record},
    store::{Change, Json},
    time::Timestamp,
};

/// How long a merge can be taken back.
pub(super) const UNDOABLE: Duration = Duration::from_hours(30 * 24);

crate::record_ids! {
    /// A merge of two customers.
    CustomerMergeId,
    /// A part of what a merge moved.
    CustomerMergeMoveId,
}

/// A merge of two customers, with what is needed to take it back. Removed after 30 days.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(
    collection = "customer_merges",
    index(kept_id, -created_at),
    index(duplicate_id, -created_at),
    index(created_at)
)]
pub struct CustomerMerge {
    /// The merge's id.
    pub id: CustomerMergeId,
    /// The customer who was kept.
    pub kept_id: CustomerId,
    /// The customer who went into it.
    pub duplicate_id: CustomerId,
    /// What became of the kept one's fields, as JSON text.
    pub changes: String,
    /// What was added to its lists, as JSON text.
    pub added: String,
    /// The times of which it took the later one, as JSON text; absent in those from before this was kept.
    pub times: Option<String>,
    /// When it was taken back.
    pub undone_at: Option<Timestamp>,
    /// Its organization, version and times.
    pub meta: Meta,
}

/// Some of the records that a merge moved.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "customer_merge_moves", unique(merge_id, number), index(merge_id, number), index(created_at))]
pub struct CustomerMergeMove {
    /// The part's id.
    pub id: CustomerMergeMoveId,
    /// The merge.
    pub merge_id: CustomerMergeId,
    /// Its place among the merge's parts, from 0.
    pub number: i64,
    /// The kind of record.
    pub collection: String,
    /// The records.
    pub record_ids: Json,
    /// Its organization and times.
    pub meta: Meta,
}

/// What a merge added to the lists of the kept customer.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Added {
    pub(super) emails: Vec<String>,
    pub(super) phones: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) group_ids: Vec<String>,
}

impl CustomerMerge {
    pub(super) fn undoable_until(&self) -> Timestamp {
        self.meta.created_at.plus(UNDOABLE)
    }

    pub(super) fn parts(&self) -> Result<(Changed, Added)> {
        let wrong = crate::Error::internal;
        Ok((serde_json::from_str(&self.changes).map_err(wrong)?, serde_json::from_str(&self.added).map_err(wrong)?))
    }
}

impl CustomerMerge {
    pub(super) fn read_times(&self) -> Result<Option<Times>> {
        self.times.as_deref().map(serde_json::from_str).transpose().map_err(crate::Error::internal)
    }
}

impl CustomerMergeMove {
    pub(super) fn ids(&self) -> Vec<Uuid> {
        serde_json::from_str(self.record_ids.as_str()).unwrap_or_default()
    }
}

/// A field in which the two customers differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldDifference {
    /// The field, such as `email` or `custom.city`.
    pub field: String,
    /// The kept customer's value.
    pub kept: serde_json::Value,
    /// The duplicate's.
    pub duplicate: serde_json::Value,
    /// Whose is taken.
    pub taken: Side,
}

/// What a merge comes to.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MergeReport {
    /// The merge; absent where it only was asked what would be.
    pub merge_id: Option<CustomerMergeId>,
    /// Whether it only was asked what would be.
    pub dry_run: bool,
    /// The customer who is kept, as it is (or would be) afterwards.
    pub customer: Customer,
    /// The customer who went into it.
    pub duplicate_id: CustomerId,
    /// The fields in which one of two values is taken. Lists and consents are united, figures added.
    pub differences: Vec<FieldDifference>,
    /// How many records of which kind move.
    pub moved: BTreeMap<String, u64>,
    /// Until when it can be taken back.
    pub undoable_until: Option<Timestamp>,
}

/// Removes what is left of an organization's merges that can no longer be taken back.
///
/// # Errors
/// Those of the store.
pub(crate) async fn remove_old(crm: &Crm, by: &Principal) -> Result<()> {
    let old = CREATED_AT.at_most(crm.now().minus(UNDOABLE));
    let moves = Change::DeleteWhere { collection: CustomerMergeMove::COLLECTION, filter: old.clone() };
    let themselves = Change::DeleteWhere { collection: CustomerMerge::COLLECTION, filter: old };
    crm.store().commit(by.scope(), vec![moves, themselves]).await?;
    Ok(())
}
