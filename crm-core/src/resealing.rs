//! Renewing what is sealed at rest, after a new encryption key was put before the old ones.

use futures::StreamExt as _;

use crate::{
    account::LoginRecord,
    crm::Crm,
    error::{Error, Result},
    record::{Record, UPDATED_AT},
    secret::Secret,
    store::{Assignment, Change, Filter, Query, Scope, StoreError},
    webhook::{self, Webhook, WebhookLane},
};

/// A record that others change meanwhile is tried so often.
const TRIES: usize = 10;

/// What was done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Resealed {
    /// Records whose secrets are sealed under the newest key now.
    pub renewed: u64,
    /// Records whose secrets were so already, and records without any.
    pub current: u64,
    /// Records whose secrets no key opens. They are left as they are.
    pub unreadable: u64,
}

/// Seals every secret under the newest encryption key: second factors, and the secrets and headers of webhooks. It may
/// be interrupted, and run again beside a serving process: what is renewed already is left alone. Afterwards the old key
/// is needed for one more day, for the answers of requests with an `Idempotency-Key`.
///
/// # Errors
/// Those of the store.
pub async fn reseal(crm: &Crm) -> Result<Resealed> {
    let mut done = Resealed::default();
    let all = || Query::new(Filter::ALL, 0);
    let mut logins = std::pin::pin!(crm.repo::<LoginRecord>().stream(Scope::Installation, all()));
    while let Some(login) = logins.next().await {
        renew(crm, Scope::Installation, login?.id, &mut done, |login: &LoginRecord| {
            let bound = format!("totp {}", login.id);
            Ok([(LoginRecord::totp_secret, &login.totp_secret), (LoginRecord::totp_pending, &login.totp_pending)]
                .into_iter()
                .filter_map(|(column, sealed)| Some((column, sealed.as_ref()?)))
                .map(|(column, sealed)| Ok(renewed(crm, &bound, sealed)?.map(|sealed| column.set(Some(sealed)))))
                .collect::<Result<Vec<_>>>()?
                .into_iter()
                .flatten()
                .collect())
        })
        .await?;
    }
    let mut lanes = std::pin::pin!(crm.repo::<WebhookLane>().stream(Scope::Installation, all()));
    while let Some(lane) = lanes.next().await {
        let lane = lane?;
        let scope = Scope::Organization(lane.meta.organization_id);
        renew(crm, scope, lane.id, &mut done, |webhook: &Webhook| {
            let bound = webhook::bound_to(webhook.id);
            let mut assignments = Vec::new();
            if let Some(sealed) = renewed(crm, &bound, &webhook.secret)? {
                assignments.push(Webhook::secret.set(sealed));
            }
            for (column, sealed) in
                [(Webhook::previous_secret, &webhook.previous_secret), (Webhook::headers, &webhook.headers)]
            {
                if let Some(sealed) = sealed
                    && let Some(sealed) = renewed(crm, &bound, sealed)?
                {
                    assignments.push(column.set(Some(sealed)));
                }
            }
            Ok(assignments)
        })
        .await?;
    }
    Ok(done)
}

/// Renews one record, whatever others do to it meanwhile.
async fn renew<T: Record>(
    crm: &Crm,
    scope: Scope,
    id: T::Id,
    done: &mut Resealed,
    secrets: impl Fn(&T) -> Result<Vec<Assignment>>,
) -> Result<()> {
    for _ in 0..TRIES {
        let Some(record) = crm.repo::<T>().get(scope, id).await? else { return Ok(()) };
        let mut assignments = match secrets(&record) {
            Ok(assignments) => assignments,
            Err(error) => {
                let id: uuid::Uuid = id.into();
                tracing::warn!(collection = T::COLLECTION.name, %id, %error, "a secret cannot be opened");
                done.unreadable += 1;
                return Ok(());
            }
        };
        if assignments.is_empty() {
            done.current += 1;
            return Ok(());
        }
        assignments.push(UPDATED_AT.set(crm.now()));
        let change = Change::Update {
            collection: T::COLLECTION,
            id: id.into(),
            expected_version: Some(record.meta().version),
            condition: None,
            assignments,
        };
        match crm.store().commit(scope, vec![change]).await {
            Ok(_) => {
                done.renewed += 1;
                return Ok(());
            }
            Err(StoreError::NotFound { .. }) => return Ok(()),
            Err(StoreError::VersionConflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Conflict("A record is being changed by many at once: try again.".to_owned()))
}

/// The secret under the newest key; nothing where it is already.
fn renewed(crm: &Crm, bound_to: &str, sealed: &Secret<String>) -> Result<Option<Secret<String>>> {
    let keys = &crm.account_state().settings.encryption_keys;
    if keys.is_newest(sealed.expose()) {
        return Ok(None);
    }
    let secret = keys.open(bound_to, sealed.expose()).map_err(Error::internal)?;
    let renewed = keys.seal(crm.random(), bound_to, &secret);
    renewed.map(|sealed| Some(Secret::new(sealed))).ok_or_else(|| Error::internal("a secret cannot be sealed"))
}
