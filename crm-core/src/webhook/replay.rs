//! Sends the deliveries of a span of time again: piece by piece, whoever has the lane.

use super::{
    DeliveryState, WebhookDelivery, WebhookId,
    lane::{Replay, WebhookLane},
};
use crate::{
    crm::Crm,
    error::Result,
    record::{CREATED_AT, ID, Record as _, UPDATED_AT},
    store::{Assignment, Change, Comparison, Filter, Position, Query, Scope, StoreError, Value, WhenUnmet},
    time::Timestamp,
};

/// Deliveries that are made due in one commit.
const CHUNK: usize = 500;

/// The deliveries that are meant.
pub(super) fn meant(webhook: WebhookId, replay: &Replay) -> Filter {
    WebhookDelivery::webhook_id
        .equals(webhook)
        .and(WebhookDelivery::state.one_of(replay.states()))
        .and(CREATED_AT.compares(Comparison::GreaterOrEqual, replay.since))
        .and(CREATED_AT.at_most(replay.until))
}

/// What is written of a delivery that is sent again.
fn again(now: Timestamp) -> Vec<Assignment> {
    vec![
        WebhookDelivery::state.set(DeliveryState::Pending),
        WebhookDelivery::step.set(0_i64),
        WebhookDelivery::begun_at.set(now),
        WebhookDelivery::due_at.set(now),
        WebhookDelivery::holder.set(None),
        WebhookDelivery::error.set(None),
        UPDATED_AT.set(now),
    ]
}

/// Sends some more of them again, and notes how far it is in the same commit. Answers whether others are left.
pub(super) async fn step(crm: &Crm, lane: &WebhookLane, replay: &Replay) -> Result<bool> {
    let mut query = Query::new(meant(lane.id, replay), CHUNK).sorted(vec![CREATED_AT.ascending()]);
    query.after = replay.after.map(|(at, id)| Position { keys: vec![Value::Timestamp(at)], id });
    let found = crm.repo::<WebhookDelivery>().find(Scope::Installation, &query).await?;
    let now = crm.now();
    let after = found.records.last().map(|last| (last.meta.created_at, last.id.into()));
    let next = after.filter(|_| found.has_more).map(|after| Replay { after: Some(after), ..replay.clone() });
    let goes_on = next.is_some();
    let mut changes = vec![Change::Update {
        collection: WebhookLane::COLLECTION,
        id: lane.id.into(),
        expected_version: None,
        // Somebody else may be at it as well.
        condition: Some((WebhookLane::replay_step.equals(lane.replay_step), WhenUnmet::Abort)),
        assignments: vec![
            WebhookLane::replay.set(next),
            WebhookLane::replay_step.increment(1_i64),
            WebhookLane::due_at.set(now),
        ],
    }];
    if !found.records.is_empty() {
        let ids = found.records.iter().map(|delivery| delivery.id.into());
        let ended = WebhookDelivery::state.one_of(replay.states());
        changes.push(Change::UpdateWhere {
            collection: WebhookDelivery::COLLECTION,
            filter: ID.one_of(ids).and(ended),
            assignments: again(now),
        });
    }
    match crm.store().commit(Scope::Installation, changes).await {
        Ok(_) => Ok(goes_on),
        Err(StoreError::Unmet { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
