//! Leases: work that one process at a time does.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    crm::Crm,
    error::Result,
    id::{OrganizationId, uuid_of_hash},
    record::{Meta, Record},
    store::{Change, Filter, Outcome, Scope, StoreError, WhenUnmet},
    time::Timestamp,
};

crate::record_ids! {
    /// A lease.
    LeaseId,
}

/// Who does some work, and until when nobody else may.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "leases", installation)]
pub struct Lease {
    /// Made from the name, so that two processes cannot create it twice.
    pub id: LeaseId,
    /// The work.
    pub name: String,
    /// The process.
    pub holder: Uuid,
    /// The end; later, anybody may take it.
    pub held_until: Timestamp,
    /// Its times.
    pub meta: Meta,
}

/// Takes or prolongs the lease on a piece of work. Answers whether `holder` has it now.
///
/// # Errors
/// Those of the store.
pub async fn hold(crm: &Crm, name: &str, holder: Uuid, duration: Duration) -> Result<bool> {
    let (id, now) = (id_of(name), crm.now());
    let held_until = now.plus(duration);
    match crm.store().commit(Scope::Installation, vec![take(id, holder, now, held_until)]).await {
        Ok(outcomes) => return Ok(!outcomes.contains(&Outcome::Unmet)),
        Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let lease =
        Lease { id, name: name.to_owned(), holder, held_until, meta: Meta::new(OrganizationId::INSTALLATION, now) };
    let insert = Change::Insert { collection: Lease::COLLECTION, rows: vec![lease.to_row()] };
    match crm.store().commit(Scope::Installation, vec![insert]).await {
        Ok(_) => Ok(true),
        Err(StoreError::Duplicate { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes or prolongs several leases in one commit. Answers for each whether `holder` has it now.
///
/// # Errors
/// Those of the store.
pub(crate) async fn hold_each(crm: &Crm, names: &[String], holder: Uuid, duration: Duration) -> Result<Vec<bool>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let now = crm.now();
    let takes = names.iter().map(|name| take(id_of(name), holder, now, now.plus(duration))).collect();
    match crm.store().commit(Scope::Installation, takes).await {
        Ok(outcomes) => Ok(outcomes.iter().map(|outcome| *outcome != Outcome::Unmet).collect()),
        // One of them was never held by anybody.
        Err(StoreError::NotFound { .. }) => {
            let mut held = Vec::with_capacity(names.len());
            for name in names {
                held.push(hold(crm, name, holder, duration).await?);
            }
            Ok(held)
        }
        Err(error) => Err(error.into()),
    }
}

fn take(id: LeaseId, holder: Uuid, now: Timestamp, held_until: Timestamp) -> Change {
    let may = Filter::Or(vec![Lease::holder.equals(holder), Lease::held_until.at_most(now)]);
    Change::Update {
        collection: Lease::COLLECTION,
        id: id.into(),
        expected_version: None,
        condition: Some((may, WhenUnmet::Skip)),
        assignments: vec![Lease::holder.set(holder), Lease::held_until.set(held_until)],
    }
}

/// Lets others take at once what `holder` has.
///
/// # Errors
/// Those of the store.
pub(crate) async fn let_go(crm: &Crm, holder: Uuid) -> Result<()> {
    let now = crm.now();
    let end = Change::UpdateWhere {
        collection: Lease::COLLECTION,
        filter: Lease::holder.equals(holder).and(Lease::held_until.greater_than(now)),
        assignments: vec![Lease::held_until.set(now)],
    };
    crm.store().commit(Scope::Installation, vec![end]).await?;
    Ok(())
}

fn id_of(name: &str) -> LeaseId {
    LeaseId(uuid_of_hash(Sha256::digest(name.as_bytes())))
}
