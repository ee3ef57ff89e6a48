//! The jobs of static segments: taking their members, and letting them go.

use std::pin::pin;

use async_trait::async_trait;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Segment, SegmentCount, SegmentId, SegmentMember, SegmentState, audience::broken};
use crate::{
    access::{Principal, Visibility, permissions::SEGMENTS_WRITE},
    crm::Crm,
    customer::Customer,
    error::{Error, Result},
    id::CustomerId,
    job::{Job, JobContext, JobFailure, JobHandler, JobId, JobOutcome, JobPriority, JobProgress, JobState, NewJob},
    operation::Operation,
    record::{ID, Meta, Record as _, UPDATED_AT},
    repo::Visible as _,
    store::{Change, Filter, Position, Query},
};

/// The kind of the jobs that take members.
const KIND: &str = "segment_freeze";
/// The kind of the jobs that let them go.
const REMOVAL: &str = "segment_removal";
const VERSION: i64 = 1;
/// So many members are written, or removed, by one commit.
const CHUNK: usize = 500;

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Input {
    segment_id: SegmentId,
}

fn enqueue(
    crm: &Crm,
    by: &Principal,
    operation: &mut Operation<'_>,
    kind: &'static str,
    segment_id: SegmentId,
) -> Result<JobId> {
    let new = NewJob {
        kind,
        version: VERSION,
        input: Input { segment_id },
        priority: JobPriority::Normal,
        about: Some((Segment::COLLECTION.name, segment_id.0)),
        progress: JobProgress { unit: "customers".to_owned(), ..JobProgress::default() },
    };
    Ok(crm.jobs().enqueue(by, operation, new)?.id)
}

/// Adds to the commit that makes a static segment the job that takes its members.
pub(super) fn begin(crm: &Crm, by: &Principal, operation: &mut Operation<'_>, id: SegmentId) -> Result<JobId> {
    let now = operation.now();
    let meta = Meta::new(by.organization, now);
    operation.insert(&SegmentCount { id, member_count: 0, counted_at: now, meta });
    enqueue(crm, by, operation, KIND, id)
}

/// Adds to the commit that removes a static segment the job that lets its members go.
pub(super) fn begin_removal(crm: &Crm, by: &Principal, operation: &mut Operation<'_>, id: SegmentId) -> Result<JobId> {
    enqueue(crm, by, operation, REMOVAL, id)
}

/// Takes the members of static segments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FreezeHandler;

#[async_trait]
impl JobHandler for FreezeHandler {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure> {
        let (crm, by) = (context.crm(), context.by());
        by.may(SEGMENTS_WRITE)?;
        let Input { segment_id } = context.input()?;
        let Some(segment) = crm.repo::<Segment>().get(by.scope(), segment_id).await? else { return Ok(gone()) };
        // A segment means the same customers to everybody; who sees which of them is asked when they are read.
        let everybody = Principal { visibility: Visibility::All, ..by.clone() };
        let as_of = segment.frozen_at.unwrap_or(segment.meta.created_at);
        let rule = crm.segments().read_rules(by, &segment).await?;
        let rule = rule.map_err(|why| broken(&why))?;
        let filter = Customer::visible_to(&everybody).and(rule.filter(as_of));
        // Members are taken in the order of customers' ids: the last one says how far an earlier run got.
        let last = Query::new(SegmentMember::segment_id.equals(segment_id), 1)
            .sorted(vec![SegmentMember::customer_id.descending()]);
        let last = crm.repo::<SegmentMember>().find(by.scope(), &last).await?.records.pop();
        let mut taken = match last {
            Some(_) => {
                let count = crm.repo::<SegmentCount>().get(by.scope(), segment_id).await?;
                count.map_or(0, |count| count.member_count)
            }
            None => 0,
        };
        let mut query = Query::new(filter, 0);
        query.after = last.map(|member| Position::of_id(member.customer_id.0));
        let mut matching = pin!(crm.repo::<Customer>().stream(by.scope(), query).chunks(CHUNK));
        while let Some(chunk) = matching.next().await {
            if context.interruption().is_some() {
                return Ok(JobOutcome::Interrupted);
            }
            let ids = chunk.into_iter().map(|customer| Ok(customer?.id)).collect::<Result<Vec<CustomerId>>>()?;
            taken = taken.saturating_add(i64::try_from(ids.len()).unwrap_or(i64::MAX));
            context.show(u64::try_from(taken).unwrap_or(0), None, "customers", None);
            match context.checkpoint(members(crm, by, segment_id, &ids, taken)).await {
                Ok(_) => {}
                // The segment was removed meanwhile, and its count with it.
                Err(JobFailure::Failed(Error::NotFound(_))) => return Ok(gone()),
                Err(failure) => return Err(failure),
            }
        }
        Ok(JobOutcome::Done(json!({"segment_id": segment_id, "members": taken})))
    }

    fn ended(&self, job: &Job, operation: &mut Operation<'_>) {
        let state = if job.state == JobState::Succeeded { SegmentState::Ready } else { SegmentState::Failed };
        turn(job, operation, SegmentState::Building, state);
    }

    fn replayed(&self, job: &Job, operation: &mut Operation<'_>) {
        turn(job, operation, SegmentState::Failed, SegmentState::Building);
    }
}

/// The end of work on a segment that is not there any more.
fn gone() -> JobOutcome {
    JobOutcome::Done(json!({"members": 0}))
}

/// Writes members with how many there are by now, which is there as long as the segment is.
fn members<'a>(crm: &'a Crm, by: &'a Principal, segment: SegmentId, ids: &[CustomerId], taken: i64) -> Operation<'a> {
    let mut operation = Operation::new(crm, by);
    let now = operation.now();
    let members: Vec<SegmentMember> = ids
        .iter()
        .map(|customer| SegmentMember {
            id: crm.new_id_at(now),
            segment_id: segment,
            customer_id: *customer,
            meta: Meta::new(by.organization, now),
        })
        .collect();
    operation.change(Change::Update {
        collection: SegmentCount::COLLECTION,
        id: segment.0,
        expected_version: None,
        condition: None,
        assignments: vec![
            SegmentCount::member_count.set(taken),
            SegmentCount::counted_at.set(now),
            UPDATED_AT.set(now),
        ],
    });
    operation.insert_all(&members);
    operation
}

/// Brings the segment of a job from one state into another, if it is there and in that one.
fn turn(job: &Job, operation: &mut Operation<'_>, from: SegmentState, to: SegmentState) {
    let Some(id) = job.record_id else { return };
    let now = operation.now();
    operation.change(Change::UpdateWhere {
        collection: Segment::COLLECTION,
        filter: ID.equals(id).and(Segment::state.equals(from)),
        assignments: vec![Segment::state.set(to), UPDATED_AT.set(now)],
    });
}

/// Lets the members of static segments go that were removed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SegmentRemovalHandler;

#[async_trait]
impl JobHandler for SegmentRemovalHandler {
    fn kind(&self) -> &'static str {
        REMOVAL
    }

    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure> {
        let (crm, by) = (context.crm(), context.by());
        let Input { segment_id } = context.input()?;
        let query = Query::new(SegmentMember::segment_id.equals(segment_id), CHUNK);
        let mut removed = 0;
        loop {
            if context.interruption().is_some() {
                return Ok(JobOutcome::Interrupted);
            }
            let found = crm.repo::<SegmentMember>().find(by.scope(), &query).await?;
            if found.records.is_empty() {
                return Ok(JobOutcome::Done(json!({"segment_id": segment_id})));
            }
            let filter: Filter = ID.one_of(found.records.iter().map(|member| member.id.0));
            let mut operation = Operation::new(crm, by);
            operation.change(Change::DeleteWhere { collection: SegmentMember::COLLECTION, filter });
            removed += found.records.len() as u64;
            context.show(removed, None, "customers", None);
            context.checkpoint(operation).await?;
        }
    }
}
