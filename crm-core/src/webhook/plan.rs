use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use uuid::Uuid;

use super::{
    DeliveryAttempts, DeliveryState, EventFilter, Webhook, WebhookDelivery, WebhookDeliveryId, WebhookId,
    service::MOST_WEBHOOKS,
};
use crate::{
    crm::Crm,
    error::{Error, Result},
    event::{self, Event},
    id::{OrganizationId, first_uuid_of},
    record::{ID, Meta, Record as _},
    store::{Change, Filter, Query, Scope},
    time::Timestamp,
};

/// How long a delivery is kept.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// So many deliveries are enough for one commit.
const MOST_PLANNED: usize = 500;
/// What stands on a delivery to a webhook that is disabled.
pub(super) const DISABLED: &str = "The webhook is disabled.";

/// How many of the first events are planned at once, at least one, and the change that plans their deliveries. It goes
/// into the commit that marks these events as handed on: there the unique key refuses whoever plans the same a second
/// time.
pub(crate) async fn planned(crm: &Crm, events: &[Event]) -> Result<(usize, Option<Change>)> {
    if crm.outbound().is_none() {
        return Ok((events.len(), None));
    }
    let mut webhooks: HashMap<OrganizationId, Vec<Webhook>> = HashMap::new();
    let mut rows = Vec::new();
    let mut count = 0;
    let now = crm.now();
    for event in events {
        if rows.len() >= MOST_PLANNED {
            break;
        }
        count += 1;
        let organization = event.meta.organization_id;
        if organization == OrganizationId::INSTALLATION {
            continue;
        }
        let listeners = match webhooks.entry(organization) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                // Those that were made side by side may be a few more than an organization may have.
                let all = Query::new(Filter::ALL, 2 * MOST_WEBHOOKS);
                entry.insert(crm.repo::<Webhook>().find(Scope::Organization(organization), &all).await?.records)
            }
        };
        let mut payload = None;
        for webhook in listeners.iter() {
            if !EventFilter::listens(&webhook.events, &event.event_type) {
                continue;
            }
            let payload = match &payload {
                Some(payload) => payload,
                None => payload.insert(event::to_json(event)?),
            };
            let mut delivery = new(crm, webhook, event.id.0, &event.event_type, payload.clone(), now);
            if !webhook.enabled {
                // Not sent, and there to be replayed once the webhook is mended.
                delivery.state = DeliveryState::Failed;
                delivery.due_at = None;
                delivery.error = Some(DISABLED.to_owned());
            }
            rows.push(delivery.to_row());
        }
    }
    let plan = (!rows.is_empty()).then_some(Change::Insert { collection: WebhookDelivery::COLLECTION, rows });
    Ok((count, plan))
}

/// A delivery that is due now.
pub(super) fn new(
    crm: &Crm,
    webhook: &Webhook,
    event_id: Uuid,
    event_type: &str,
    payload: String,
    now: Timestamp,
) -> WebhookDelivery {
    WebhookDelivery {
        id: crm.new_id_at::<WebhookDeliveryId>(now),
        webhook_id: webhook.id,
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
        meta: Meta::new(webhook.meta.organization_id, now),
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
    let old = WebhookDelivery::due_at.missing().and(ID.less_than(first_uuid_of(crm.now().minus(RETENTION))));
    let remove = Change::DeleteWhere { collection: WebhookDelivery::COLLECTION, filter: old };
    crm.store().commit(Scope::Installation, vec![remove]).await?;
    Ok(())
}
