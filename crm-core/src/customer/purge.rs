//! Customers who were in the bin for 30 days go for good.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;

use super::{Customer, service::remove, write::is_race};
use crate::{
    access::Principal,
    job::{JobContext, JobFailure, JobHandler, JobOutcome},
    operation::Operation,
    record::Record as _,
    store::{Filter, Query, Scope},
    tenancy::Organization,
    time::Timestamp,
};

/// The kind of these jobs.
pub(crate) const PURGE_KIND: &str = "customer_purge";
/// How long a deleted customer can be restored.
const BIN: Duration = Duration::from_hours(30 * 24);
/// So many organizations are read at once.
const ORGANIZATIONS: usize = 200;
/// So many customers are removed by one commit.
const CHUNK: usize = 100;
/// So often on end others may have changed somebody of a chunk.
const MOST_RACES: usize = 10;

/// Removes customers of every organization who were in the bin long enough, a chunk a commit. What a run has left, the
/// next one finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PurgeHandler;

#[async_trait]
impl JobHandler for PurgeHandler {
    fn kind(&self) -> &'static str {
        PURGE_KIND
    }

    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure> {
        let organizations = context.crm().repo::<Organization>();
        let older_than = context.crm().now().minus(BIN);
        let mut query = Query::new(Filter::ALL, ORGANIZATIONS);
        loop {
            let found = organizations.find(Scope::Installation, &query).await?;
            for organization in found.records {
                if !purge(context, &Principal::system(organization.id), older_than).await? {
                    return Ok(JobOutcome::Interrupted);
                }
            }
            query.after = found.next;
            if query.after.is_none() {
                return Ok(JobOutcome::Done(json!({"purged": context.progress().done})));
            }
        }
    }
}

/// Those of one organization; answers whether it came to its end.
async fn purge(context: &JobContext, by: &Principal, older_than: Timestamp) -> Result<bool, JobFailure> {
    let crm = context.crm();
    let due = Customer::deleted_at.exists().and(Customer::deleted_at.less_than(older_than));
    let query = Query::new(due, CHUNK).sorted(vec![Customer::deleted_at.ascending()]);
    let mut races = 0;
    loop {
        if context.interruption().is_some() {
            return Ok(false);
        }
        let found = crm.repo::<Customer>().find(by.scope(), &query).await?;
        if found.records.is_empty() {
            return Ok(true);
        }
        let mut operation = Operation::new(crm, by);
        found.records.iter().for_each(|customer| remove(&mut operation, customer));
        let ids: Vec<_> = found.records.iter().map(|customer| customer.id).collect();
        crm.orders().free_unique(by, &mut operation, &ids).await?;
        let after = json!({"count": ids.len(), "customer_ids": ids});
        operation.audit_named("customer.purged", Customer::COLLECTION.name, None, None, Some(after));
        match operation.commit().await {
            Ok(_) => races = 0,
            // Somebody restored or purged one of them meanwhile: the next round sees what is left.
            Err(error) if is_race(&error) && races < MOST_RACES => {
                races += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        context.show(context.progress().done + ids.len() as u64, None, "customers", None);
        // Not with what is removed: the job is not of the customers' organization. Removing them twice does no harm.
        context.checkpoint(Operation::new(crm, context.by())).await?;
        if !found.has_more {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests;
