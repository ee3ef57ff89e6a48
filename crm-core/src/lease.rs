//! Leases: work that one process at a time does.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    crm::Crm,
    error::Result,
    id::OrganizationId,
    record::{Meta, Record},
    store::{Change, Outcome, Scope, StoreError, WhenUnmet},
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
    let take = Change::Update {
        collection: Lease::COLLECTION,
        id: id.into(),
        expected_version: None,
        condition: Some((
            crate::store::Filter::Or(vec![Lease::holder.equals(holder), Lease::held_until.at_most(now)]),
            WhenUnmet::Skip,
        )),
        assignments: vec![Lease::holder.set(holder), Lease::held_until.set(held_until)],
    };
    match crm.store().commit(Scope::Installation, vec![take]).await {
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

/// A UUIDv8 (RFC 9562) of the name's hash.
fn id_of(name: &str) -> LeaseId {
    let digest = Sha256::digest(name.as_bytes());
    let mut bytes = [0; 16];
    for (byte, hashed) in bytes.iter_mut().zip(digest.iter()) {
        *byte = *hashed;
    }
    LeaseId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}
