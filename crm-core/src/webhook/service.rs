use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use serde_json::json;

use super::{
    ChangedWebhook, CustomHeaders, DeliveryState, EventFilter, NewWebhook, ReplayRequest, SigningSecret, Webhook,
    WebhookDelivery, WebhookDeliveryId, WebhookId,
    input::WebhookUrl,
    lane::{Replay, WebhookLane},
    plan, replay,
};
use crate::{
    access::{
        Actor, Principal,
        permissions::{WEBHOOKS_READ, WEBHOOKS_WRITE},
    },
    crm::Crm,
    error::{Error, Result},
    id::new_uuid,
    list::{self, List, ListRequest, Listing},
    operation::Operation,
    port::{Outbound, OutboundFailure},
    record::{CREATED_AT, Meta, ORGANIZATION_ID, Record, UPDATED_AT},
    rule::{Catalog, CatalogField},
    secret::Secret,
    store::{Change, Filter, Scope, StoreError, WhenUnmet},
    time::Timestamp,
};

/// The most webhooks of an organization.
const MOST_WEBHOOKS: usize = 50;
/// The type of the event that tries a webhook.
pub(super) const TEST: &str = "webhook.test";
/// How long events are signed with the secret before a rotation too.
const OVERLAP: Duration = Duration::from_hours(24);
/// So many pieces of what is sent again are made due before the answer.
const AT_ONCE: usize = 10;
/// A change without an expected version is decided so often, while others change the record.
const TRIES: usize = 10;
const MISSING: Error = Error::NotFound("webhook");

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::new(Webhook::COLLECTION)
        .with(CatalogField::column(CREATED_AT))
        .with(CatalogField::column(Webhook::enabled))
        .with(CatalogField::column(Webhook::events))
        .with(CatalogField::column(Webhook::failing_since))
        .with(CatalogField::column(Webhook::disabled_at))
});

/// The fields of a webhook as it is shown.
const SHOWN: [&str; 15] = [
    "id",
    "organization_id",
    "url",
    "description",
    "events",
    "enabled",
    "disabled_reason",
    "disabled_at",
    "header_names",
    "previous_secret_until",
    "failing_since",
    "created_by",
    "version",
    "created_at",
    "updated_at",
];

static DELIVERIES: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::new(WebhookDelivery::COLLECTION)
        .with(CatalogField::column(CREATED_AT))
        .with(CatalogField::column(WebhookDelivery::event_id))
        .with(CatalogField::column(WebhookDelivery::event_type))
        .with(CatalogField::column(WebhookDelivery::state).options(DeliveryState::ALL.map(DeliveryState::name)))
        .with(CatalogField::column(WebhookDelivery::attempts))
        .with(CatalogField::column(WebhookDelivery::last_status))
        .with(CatalogField::column(WebhookDelivery::last_attempt_at))
});

/// The fields of a delivery as it is shown.
const DELIVERY_SHOWN: [&str; 17] = [
    "id",
    "organization_id",
    "webhook_id",
    "event_id",
    "event_type",
    "payload",
    "state",
    "attempts",
    "begun_at",
    "due_at",
    "last_attempt_at",
    "last_status",
    "error",
    "log",
    "version",
    "created_at",
    "updated_at",
];

/// A webhook whose secret was just made.
#[derive(Clone, Debug)]
pub struct CreatedWebhook {
    /// What is kept of it.
    pub record: Webhook,
    /// The secret. It is shown this once.
    pub secret: Secret<String>,
}

/// The webhooks of an organization.
#[derive(Clone, Copy, Debug)]
pub struct Webhooks<'a> {
    crm: &'a Crm,
}

impl Crm {
    /// Outgoing webhooks.
    #[must_use]
    pub const fn webhooks(&self) -> Webhooks<'_> {
        Webhooks { crm: self }
    }
}

impl Webhooks<'_> {
    /// What a list of webhooks can be asked.
    #[must_use]
    pub fn listing() -> Listing<'static> {
        Listing::new(&CATALOG).sortable(&["created_at"]).fields(&SHOWN)
    }

    /// What a list of deliveries can be asked.
    #[must_use]
    pub fn delivery_listing() -> Listing<'static> {
        Listing::new(&DELIVERIES).sortable(&["created_at"]).fields(&DELIVERY_SHOWN)
    }

    /// The organization's webhooks.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `webhooks:read`; those of the store.
    pub async fn list(&self, by: &Principal, request: &ListRequest) -> Result<List<Webhook>> {
        by.may(WEBHOOKS_READ)?;
        list::everything(self.crm, by, request, Filter::ALL).await
    }

    /// One webhook.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `webhooks:read`, [`Error::NotFound`].
    pub async fn get(&self, by: &Principal, id: WebhookId) -> Result<Webhook> {
        by.may(WEBHOOKS_READ)?;
        self.stored(by, id).await
    }

    /// Makes a webhook, with a secret that is shown this once.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `webhooks:write`, [`Error::Invalid`] on `url` for an address that may not be reached,
    /// [`Error::Conflict`] where there are too many, [`Error::InvalidState`] where nothing is sent from here.
    pub async fn create(&self, by: &Principal, new: NewWebhook) -> Result<CreatedWebhook> {
        by.may(WEBHOOKS_WRITE)?;
        let NewWebhook { url: WebhookUrl(url), events: EventFilter(events), description, enabled, headers } = new;
        self.check(&url).await?;
        let count = self.crm.repo::<Webhook>().count(by.scope(), &Filter::ALL).await?;
        if usize::try_from(count).unwrap_or(usize::MAX) >= MOST_WEBHOOKS {
            return Err(Error::Conflict(format!("There are {MOST_WEBHOOKS} webhooks already: remove one first.")));
        }
        let now = self.crm.now();
        let id = self.crm.new_id_at::<WebhookId>(now);
        let secret = SigningSecret::new(self.crm.random());
        let record = Webhook {
            id,
            url,
            description,
            events,
            enabled: enabled.unwrap_or(true),
            disabled_reason: None,
            disabled_at: None,
            header_names: headers.0.keys().cloned().collect(),
            headers: self.seal_headers(id, &headers)?,
            secret: self.seal(id, secret.bytes())?,
            previous_secret: None,
            previous_secret_until: None,
            failing_since: None,
            created_by: match by.actor {
                Actor::User(user) => Some(user),
                _ => None,
            },
            meta: Meta::new(by.organization, now),
        };
        let mut operation = Operation::at(self.crm, by, now);
        operation.insert(&record);
        operation.insert(&WebhookLane::of(&record));
        operation.audit::<Webhook>("webhook.created", id, None, Some(json!(record)));
        operation.commit().await?;
        Ok(CreatedWebhook { record, secret: secret.text() })
    }

    /// Changes a webhook.
    ///
    /// # Errors
    /// Those of [`Webhooks::create`]; [`Error::NotFound`], [`Error::VersionConflict`].
    pub async fn change(
        &self,
        by: &Principal,
        id: WebhookId,
        expected_version: Option<i64>,
        changed: ChangedWebhook,
    ) -> Result<Webhook> {
        by.may(WEBHOOKS_WRITE)?;
        let stored = self.stored(by, id).await?;
        if let Some(WebhookUrl(url)) = &changed.url
            && *url != stored.url
        {
            self.check(url).await?;
        }
        self.write(by, id, expected_version, "webhook.updated", |webhook| {
            let changed = changed.clone();
            if let Some(WebhookUrl(url)) = changed.url {
                webhook.url = url;
            }
            if let Some(EventFilter(events)) = changed.events {
                webhook.events = events;
            }
            webhook.description = changed.description.apply(webhook.description.take());
            if let Some(headers) = &changed.headers {
                webhook.header_names = headers.0.keys().cloned().collect();
                webhook.headers = self.seal_headers(id, headers)?;
            }
            match changed.enabled {
                Some(true) if !webhook.enabled => {
                    webhook.enabled = true;
                    webhook.disabled_reason = None;
                    webhook.disabled_at = None;
                    webhook.failing_since = None;
                }
                Some(false) if webhook.enabled => {
                    webhook.enabled = false;
                    webhook.disabled_at = Some(self.crm.now());
                }
                _ => {}
            }
            Ok(())
        })
        .await
    }

    /// Removes a webhook: nothing more is sent to it, and its deliveries cannot be seen. They are removed in the
    /// background, however many they are.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `webhooks:write`, [`Error::NotFound`], [`Error::VersionConflict`].
    pub async fn remove(&self, by: &Principal, id: WebhookId, expected_version: Option<i64>) -> Result<()> {
        by.may(WEBHOOKS_WRITE)?;
        for attempt in 1.. {
            let webhook = self.stored(by, id).await?;
            webhook.meta.expect(expected_version)?;
            let mut operation = Operation::new(self.crm, by);
            operation.delete(&webhook);
            operation.change(WebhookLane::bury(id, operation.now()));
            operation.audit::<Webhook>("webhook.deleted", id, Some(json!(webhook)), None);
            match operation.commit().await {
                Ok(_) => {
                    self.crm.delivery_hint().notify_one();
                    break;
                }
                Err(Error::VersionConflict { .. }) if expected_version.is_none() && attempt < TRIES => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives a webhook a new secret, shown this once. For 24 hours events are signed with the one before too.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `webhooks:write`, [`Error::NotFound`].
    pub async fn rotate_secret(&self, by: &Principal, id: WebhookId) -> Result<CreatedWebhook> {
        by.may(WEBHOOKS_WRITE)?;
        let secret = SigningSecret::new(self.crm.random());
        let sealed = self.seal(id, secret.bytes())?;
        let record = self
            .write(by, id, None, "webhook.secret_rotated", |webhook| {
                webhook.previous_secret = Some(std::mem::replace(&mut webhook.secret, sealed.clone()));
                webhook.previous_secret_until = Some(self.crm.now().plus(OVERLAP));
                Ok(())
            })
            .await?;
        Ok(CreatedWebhook { record, secret: secret.text() })
    }

    /// Sends the event `webhook.test` to a webhook, also to one that is disabled or listens to other events.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `webhooks:write`, [`Error::NotFound`].
    pub async fn test(&self, by: &Principal, id: WebhookId) -> Result<WebhookDelivery> {
        by.may(WEBHOOKS_WRITE)?;
        self.outbound()?;
        self.stored(by, id).await?;
        let mut operation = Operation::new(self.crm, by);
        let now = operation.now();
        let event = new_uuid(now, self.crm.random());
        let payload = plan::test_payload(id, by.organization, event, now)?;
        let delivery = plan::new(self.crm, (by.organization, id), event, TEST, payload, now);
        operation.insert(&delivery);
        operation.change(WebhookLane::wake([id], now));
        operation.audit::<WebhookDelivery>("webhook.tested", delivery.id, None, Some(json!({"webhook_id": id})));
        operation.commit().await?;
        self.crm.delivery_hint().notify_one();
        Ok(delivery)
    }

    /// The deliveries of a webhook, newest first where no order is asked for.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `webhooks:read`, [`Error::NotFound`]; those of the store.
    pub async fn deliveries(
        &self,
        by: &Principal,
        id: WebhookId,
        request: &ListRequest,
    ) -> Result<List<WebhookDelivery>> {
        by.may(WEBHOOKS_READ)?;
        self.stored(by, id).await?;
        list::everything(self.crm, by, request, of_webhook(by, id)).await
    }

    /// One delivery of a webhook.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `webhooks:read`, [`Error::NotFound`].
    pub async fn delivery(
        &self,
        by: &Principal,
        id: WebhookId,
        delivery: WebhookDeliveryId,
    ) -> Result<WebhookDelivery> {
        by.may(WEBHOOKS_READ)?;
        self.stored_delivery(by, id, delivery).await
    }

    /// Sends an event to a webhook again, under the same `webhook-id`, with retries as if it were new.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `webhooks:write`, [`Error::NotFound`].
    pub async fn replay(&self, by: &Principal, id: WebhookId, delivery: WebhookDeliveryId) -> Result<WebhookDelivery> {
        by.may(WEBHOOKS_WRITE)?;
        for _ in 0..TRIES {
            let before = self.stored_delivery(by, id, delivery).await?;
            let mut operation = Operation::new(self.crm, by);
            let now = operation.now();
            let mut after = WebhookDelivery {
                state: DeliveryState::Pending,
                step: 0,
                begun_at: now,
                due_at: Some(now),
                holder: None,
                error: None,
                ..before.clone()
            };
            operation.update(&before, &mut after);
            operation.change(WebhookLane::wake([id], now));
            let what = json!({"webhook_id": id, "event_id": before.event_id});
            operation.audit::<WebhookDelivery>("webhook.replayed", delivery, None, Some(what));
            match operation.commit().await {
                Ok(_) => {
                    self.crm.delivery_hint().notify_one();
                    return Ok(after);
                }
                // It is being sent, and its outcome is written.
                Err(Error::VersionConflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy())
    }

    /// Sends the events of a span of time to a webhook again: those that failed, or all that have ended. Answers how
    /// many. The first thousands are due when it returns, the others are made due in the background, and a process that
    /// dies is followed by another.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `webhooks:write`, [`Error::NotFound`], [`Error::Invalid`] for a span that ends before
    /// it begins, [`Error::Conflict`] while the background is still busy with the request before.
    pub async fn replay_since(&self, by: &Principal, id: WebhookId, request: &ReplayRequest) -> Result<u64> {
        by.may(WEBHOOKS_WRITE)?;
        self.stored(by, id).await?;
        if request.until.is_some_and(|until| until < request.since) {
            return Err(Error::invalid("until", "OUT_OF_RANGE", "must not be before since"));
        }
        let mut operation = Operation::new(self.crm, by);
        let now = operation.now();
        let replay = Replay::of(request, now);
        let count = self.crm.repo::<WebhookDelivery>().count(Scope::Installation, &replay::meant(id, &replay)).await?;
        if count == 0 {
            return Ok(0);
        }
        let idle = (WebhookLane::replay.missing(), WhenUnmet::Abort);
        operation.change(Change::Update {
            collection: WebhookLane::COLLECTION,
            id: id.into(),
            expected_version: None,
            condition: Some(idle),
            assignments: vec![WebhookLane::replay.set(replay), WebhookLane::due_at.set(now), UPDATED_AT.set(now)],
        });
        let what = json!({"since": request.since, "until": request.until});
        operation.audit::<Webhook>("webhook.replayed", id, None, Some(what));
        match operation.try_commit().await {
            Err(StoreError::Unmet { .. }) => {
                return Err(Error::Conflict(
                    "Events are being sent again already: wait until they are due.".to_owned(),
                ));
            }
            outcome => outcome?,
        };
        for _ in 0..AT_ONCE {
            let Some(lane) = self.crm.repo::<WebhookLane>().get(Scope::Installation, id).await? else { break };
            let Some(replay) = &lane.replay else { break };
            if !replay::step(self.crm, &lane, replay).await? {
                break;
            }
        }
        self.crm.delivery_hint().notify_one();
        Ok(count)
    }

    fn outbound(&self) -> Result<&dyn Outbound> {
        let missing = || Error::InvalidState("This installation sends nothing to addresses outside.".to_owned());
        self.crm.outbound().ok_or_else(missing)
    }

    async fn check(&self, url: &str) -> Result<()> {
        match self.outbound()?.check(url).await {
            Ok(()) => Ok(()),
            Err(OutboundFailure::Refused(message)) => Err(Error::invalid("url", "INVALID_URL", message)),
            Err(failure) => Err(Error::Upstream(failure.to_string())),
        }
    }

    async fn stored(&self, by: &Principal, id: WebhookId) -> Result<Webhook> {
        self.crm.repo::<Webhook>().get(by.scope(), id).await?.ok_or(MISSING)
    }

    async fn stored_delivery(
        &self,
        by: &Principal,
        id: WebhookId,
        delivery: WebhookDeliveryId,
    ) -> Result<WebhookDelivery> {
        // Deliveries outlast the webhook for a while.
        self.stored(by, id).await?;
        let found = self.crm.repo::<WebhookDelivery>().get(by.scope(), delivery).await?;
        // The store gives an installation's record to whoever knows its id.
        found
            .filter(|found| found.webhook_id == id && found.meta.organization_id == by.organization)
            .ok_or(Error::NotFound("delivery"))
    }

    async fn write(
        &self,
        by: &Principal,
        id: WebhookId,
        expected_version: Option<i64>,
        action: &str,
        decide: impl Fn(&mut Webhook) -> Result<()>,
    ) -> Result<Webhook> {
        for _ in 0..TRIES {
            let before = self.stored(by, id).await?;
            before.meta.expect(expected_version)?;
            let mut after = before.clone();
            decide(&mut after)?;
            let mut operation = Operation::new(self.crm, by);
            if !operation.update(&before, &mut after) {
                return Ok(before);
            }
            let now = operation.now();
            if let Some(change) = WebhookLane::follow(&before, &after, now) {
                operation.change(change);
            }
            operation.audit::<Webhook>(action, id, Some(json!(before)), Some(json!(after)));
            match operation.commit().await {
                Ok(_) => {
                    self.crm.delivery_hint().notify_one();
                    return Ok(after);
                }
                Err(Error::VersionConflict { .. }) if expected_version.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy())
    }

    fn seal(self, id: WebhookId, secret: &[u8]) -> Result<Secret<String>> {
        let keys = &self.crm.account_state().settings.encryption_keys;
        let sealed = keys.seal(self.crm.random(), &bound_to(id), secret);
        sealed.map(Secret::new).ok_or_else(|| Error::internal("a secret cannot be sealed"))
    }

    fn seal_headers(self, id: WebhookId, headers: &CustomHeaders) -> Result<Option<Secret<String>>> {
        if headers.0.is_empty() {
            return Ok(None);
        }
        let values: BTreeMap<&str, &str> =
            headers.0.iter().map(|(name, value)| (name.as_str(), value.expose().as_str())).collect();
        self.seal(id, &serde_json::to_vec(&values).map_err(Error::internal)?).map(Some)
    }
}

fn busy() -> Error {
    Error::Conflict("The record is being changed by many at once: try again.".to_owned())
}

fn of_webhook(by: &Principal, id: WebhookId) -> Filter {
    ORGANIZATION_ID.equals(by.organization).and(WebhookDelivery::webhook_id.equals(id))
}

/// What a webhook's secrets are sealed for.
pub(crate) fn bound_to(id: WebhookId) -> String {
    format!("webhook {id}")
}

fn opened(crm: &Crm, id: WebhookId, sealed: &Secret<String>) -> Result<Vec<u8>> {
    let keys = &crm.account_state().settings.encryption_keys;
    keys.open(&bound_to(id), sealed.expose()).map_err(Error::internal)
}

/// The secrets that events are signed with, the newest first.
pub(super) fn secrets(crm: &Crm, webhook: &Webhook, now: Timestamp) -> Result<Vec<SigningSecret>> {
    let previous =
        webhook.previous_secret.as_ref().filter(|_| webhook.previous_secret_until.is_some_and(|end| now < end));
    let sealed = std::iter::once(&webhook.secret).chain(previous);
    sealed.map(|sealed| opened(crm, webhook.id, sealed).map(SigningSecret::of_bytes)).collect()
}

/// The headers that a webhook sends beside its own.
pub(super) fn headers(crm: &Crm, webhook: &Webhook) -> Result<Vec<(String, Secret<String>)>> {
    let Some(sealed) = &webhook.headers else { return Ok(Vec::new()) };
    let values: BTreeMap<String, String> =
        serde_json::from_slice(&opened(crm, webhook.id, sealed)?).map_err(Error::internal)?;
    Ok(values.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
}
