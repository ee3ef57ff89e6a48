//! How much work waits, and how much was given up: for whoever runs the installation, over all organizations.

use std::collections::BTreeMap;

use crate::{
    crm::Crm,
    error::{Error, Result},
    event::{self, Event},
    job::{Job, JobState},
    record::Record,
    store::{Aggregation, FieldRef, Filter, Group, Measure, Measured, Scope, Value},
};

/// So many, by kind. A kind that is not named has none.
pub type Counts = BTreeMap<String, u64>;

/// What waits, and what was given up.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Backlog {
    /// Jobs that wait for their turn, by kind.
    pub waiting_jobs: Counts,
    /// Jobs that failed and are kept to be replayed or dropped, by kind.
    pub dead_jobs: Counts,
    /// Events that nobody takes and that were set aside, by type.
    pub events_set_aside: Counts,
}

impl Crm {
    /// What waits now, and what was given up. Counted in the store, from indexes.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn backlog(&self) -> Result<Backlog> {
        let waiting = Job::state.equals(JobState::Queued);
        let dead = Job::state.equals(JobState::Failed).and(Job::dead_at.exists());
        let (waiting_jobs, dead_jobs, events_set_aside) = tokio::try_join!(
            count::<Job>(self, waiting, Job::kind.field()),
            count::<Job>(self, dead, Job::kind.field()),
            count::<Event>(self, event::set_aside::aside(), Event::event_type.field()),
        )?;
        Ok(Backlog { waiting_jobs, dead_jobs, events_set_aside })
    }
}

async fn count<T: Record>(crm: &Crm, filter: Filter, kind: FieldRef) -> Result<Counts> {
    let aggregation = Aggregation { filter, groups: vec![Group::Field(kind)], measures: vec![Measure::Count] };
    let rows = crm.store().aggregate(Scope::Installation, T::COLLECTION, &aggregation).await.map_err(Error::from)?;
    let counted = rows.into_iter().filter_map(|row| match (row.groups.into_iter().next(), row.measures.first()) {
        (Some(Value::Text(kind)), Some(Measured::Count(count))) => Some((kind, *count)),
        _ => None,
    });
    Ok(counted.collect())
}
