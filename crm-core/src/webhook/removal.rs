//! Removes what is left of a webhook that was removed: piece by piece, whoever has its lane.

use std::time::Duration;

use super::{WebhookDelivery, lane::WebhookLane};
use crate::{
    crm::Crm,
    error::Result,
    record::{CREATED_AT, ID, Record as _},
    store::{Change, Query, Row, Scope},
    time::Timestamp,
};

/// Deliveries that are removed in one commit.
const CHUNK: usize = 500;
/// The lane outlasts the webhook by so long: whoever planned deliveries while it was removed has committed by then.
const LINGERS: Duration = Duration::from_secs(60);

/// Removes some deliveries, at last the lane. Answers when there is more to do.
pub(super) async fn step(crm: &Crm, lane: &WebhookLane) -> Result<Option<Timestamp>> {
    let filter = WebhookDelivery::webhook_id.equals(lane.id);
    let query = Query::new(filter, CHUNK).sorted(vec![CREATED_AT.descending()]);
    let found = crm.store().find(Scope::Installation, WebhookDelivery::COLLECTION, &query).await?;
    let (now, end) = (crm.now(), lane.removed_at.map(|at| at.plus(LINGERS)));
    let (change, next) = if !found.rows.is_empty() {
        let filter = ID.one_of(found.rows.iter().map(Row::id));
        (Change::DeleteWhere { collection: WebhookDelivery::COLLECTION, filter }, Some(now))
    } else if end.is_some_and(|end| now < end) {
        return Ok(end);
    } else {
        (lane.forget(), None)
    };
    crm.store().commit(Scope::Installation, vec![change]).await?;
    Ok(next)
}
