use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use futures::StreamExt as _;
use uuid::Uuid;

use super::{
    DeliveryAttempts, DeliveryState, EventFilter, WebhookDelivery, WebhookDeliveryId, WebhookId, lane::WebhookLane,
};
use crate::{
    crm::Crm,
    error::{Error, Result},
    event::{self, Event},
    id::{OrganizationId, first_uuid_of},
    record::{ID, Meta, ORGANIZATION_ID, Record as _},
    store::{Change, Filter, Query, Row, Scope},
    time::Timestamp,
};

/// How long a delivery is kept.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// So many deliveries are enough for one commit.
const MOST_PLANNED: usize = 500;
/// So many deliveries are removed in one commit.
const MOST_REMOVED: usize = 500;
/// What stands on a delivery to a webhook that is disabled.
pub(super) const DISABLED: &str = "The webhook is disabled.";

/// How many of the first events are planned at once, at least one, and the changes that plan their deliveries. They go
/// into the commit that marks these events as handed on: there the unique key refuses whoever plans the same a second
/// time.
pub(crate) async fn planned(crm: &Crm, events: &[Event]) -> Result<(usize, Vec<Change>)> {
    if crm.outbound().is_none() {
        return Ok((events.len(), Vec::new()));
    }
    let lanes = lanes(crm, events).await?;
    let (mut rows, mut woken) = (Vec::new(), BTreeSet::new());
    let mut count = 0;
    let now = crm.now();
    for event in events {
        if rows.len() >= MOST_PLANNED {
            break;
        }
        count += 1;
        let Some(listeners) = lanes.get(&event.meta.organization_id) else { continue };
        let mut payload = None;
        for lane in listeners {
            if !EventFilter::listens(&lane.events, &event.event_type) {
                continue;
            }
            let payload = match &payload {
                Some(payload) => payload,
                None => payload.insert(event::to_json(event)?),
            };
            let mut delivery =
                new(crm, (event.meta.organization_id, lane.id), event.id.0, &event.event_type, payload.clone(), now);
            if lane.enabled {
                woken.insert(lane.id);
            } else {
                // Not sent, and there to be replayed once the webhook is mended.
                delivery.state = DeliveryState::Failed;
                delivery.due_at = None;
                delivery.error = Some(DISABLED.to_owned());
            }
            rows.push(delivery.to_row());
        }
    }
    let mut plan = Vec::with_capacity(2);
    if !rows.is_empty() {
        plan.push(Change::Insert { collection: WebhookDelivery::COLLECTION, rows });
    }
    if !woken.is_empty() {
        plan.push(WebhookLane::wake(woken, now));
    }
    Ok((count, plan))
}

/// Who listens in the organizations of these events.
async fn lanes(crm: &Crm, events: &[Event]) -> Result<HashMap<OrganizationId, Vec<WebhookLane>>> {
    let organizations: BTreeSet<OrganizationId> = events.iter().map(|event| event.meta.organization_id).collect();
    let theirs = Query::new(ORGANIZATION_ID.one_of(organizations), 0);
    let mut lanes: HashMap<OrganizationId, Vec<WebhookLane>> = HashMap::new();
    let mut found = std::pin::pin!(crm.repo::<WebhookLane>().stream(Scope::Installation, theirs));
    while let Some(lane) = found.next().await {
        let lane = lane?;
        lanes.entry(lane.meta.organization_id).or_default().push(lane);
    }
    Ok(lanes)
}

/// A delivery that is due now.
pub(super) fn new(
    crm: &Crm,
    (organization, webhook): (OrganizationId, WebhookId),
    event_id: Uuid,
    event_type: &str,
    payload: String,
    now: Timestamp,
) -> WebhookDelivery {
    WebhookDelivery {
        id: crm.new_id_at::<WebhookDeliveryId>(now),
        webhook_id: webhook,
        event_id,
        event_type: event_type.to_owned(),
        payload,
        state: DeliveryState::Pending,
        attempts: 0,
        step: 0,
        begun_at: now,
        due_at: Some(now),
        holder: None,
        last_attempt_at: None,
        last_status: None,
        error: None,
        log: DeliveryAttempts::default(),
        meta: Meta::new(organization, now),
    }
}

/// The event that tries a webhook, as it is posted.
pub(super) fn test_payload(
    webhook: WebhookId,
    organization: OrganizationId,
    id: Uuid,
    now: Timestamp,
) -> Result<String> {
    let payload = serde_json::json!({
        "id": id,
        "type": super::service::TEST,
        "version": 1,
        "timestamp": now,
        "organization_id": organization,
        "data": {"webhook_id": webhook},
    });
    serde_json::to_string(&payload).map_err(Error::internal)
}

/// Removes deliveries that were kept long enough. For the background work.
pub(crate) async fn remove_old(crm: &Crm) -> Result<()> {
    let end = crm.now().minus(RETENTION);
    // What has been due for so long belongs to no webhook any more.
    let ended = Filter::Or(vec![WebhookDelivery::due_at.missing(), WebhookDelivery::due_at.at_most(end)]);
    let old = Query::new(ID.less_than(first_uuid_of(end)).and(ended), MOST_REMOVED);
    loop {
        let found = crm.store().find(Scope::Installation, WebhookDelivery::COLLECTION, &old).await?;
        if !found.rows.is_empty() {
            let filter = ID.one_of(found.rows.iter().map(Row::id));
            let remove = Change::DeleteWhere { collection: WebhookDelivery::COLLECTION, filter };
            crm.store().commit(Scope::Installation, vec![remove]).await?;
        }
        if !found.has_more {
            return Ok(());
        }
    }
}
