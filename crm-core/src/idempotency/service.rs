use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Claim, ClaimId, ClaimRecord, ClaimState, Effect, IdempotencyKey};
use crate::{
    access::Principal,
    crm::Crm,
    error::{Error, Result},
    id::{new_uuid, uuid_of_hash},
    record::{Meta, Record as _, UPDATED_AT},
    store::{Change, Json, Outcome, Scope, StoreError, WhenUnmet},
};

/// How long an answer is kept, from the first attempt on.
pub const KEPT: Duration = Duration::from_hours(24);
/// When to ask again for a request that is in hand.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// So often a claim is looked at anew after somebody else changed it.
const LOOKS: usize = 5;

/// Requests that may be sent again. See [the module](super).
#[derive(Clone, Copy, Debug)]
pub struct Idempotency<'a> {
    crm: &'a Crm,
}

/// A request with a key.
#[derive(Clone, Copy, Debug)]
pub struct KeyedRequest<'a> {
    /// The key.
    pub key: &'a IdempotencyKey,
    /// Such as `POST`.
    pub method: &'a str,
    /// The path with its ids.
    pub path: &'a str,
    /// SHA-256 of the query and the body; nothing where the body is still arriving.
    pub fingerprint: Option<&'a str>,
}

/// What a request with a key is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Begun {
    /// To be carried out, by a principal that carries the claim; then [`Idempotency::finish`] or
    /// [`Idempotency::release`].
    First(Claim),
    /// Already answered.
    Answered {
        /// What was asked then; nothing where it is not known.
        fingerprint: Option<String>,
        /// The answer.
        answer: Answer,
    },
    /// Carried out already, its answer lost: to be answered from the record, then [`Idempotency::finish`].
    Interrupted {
        /// Holds others off meanwhile.
        claim: Claim,
        /// What was asked then; nothing where it is not known.
        fingerprint: Option<String>,
        /// What was written, where it is one record.
        effect: Option<Effect>,
    },
    /// The key was used for another request.
    Mismatch,
    /// Another attempt is in hand.
    Running {
        /// When to ask again.
        retry_after: Duration,
    },
}

/// An answer that is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers that are given again.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Crm {
    /// Requests that may be sent again.
    #[must_use]
    pub const fn idempotency(&self) -> Idempotency<'_> {
        Idempotency { crm: self }
    }
}

impl Idempotency<'_> {
    /// Claims the key for a request, for at most `hold` if nothing is heard of the attempt.
    ///
    /// # Errors
    /// Those of the store: then the request must not be carried out.
    pub async fn begin(&self, by: &Principal, request: &KeyedRequest<'_>, hold: Duration) -> Result<Begun> {
        let id = claim_id(by, request);
        for _ in 0..LOOKS {
            let now = self.crm.now();
            let fresh = ClaimRecord {
                id,
                route: format!("{} {}", request.method, request.path),
                fingerprint: request.fingerprint.map(str::to_owned),
                state: ClaimState::Running,
                holder: new_uuid(now, self.crm.random()),
                held_until: now.plus(hold),
                expires_at: now.plus(KEPT),
                commits: 0,
                record_type: None,
                record_id: None,
                created: false,
                status: None,
                headers: None,
                body: None,
                meta: Meta::new(by.organization, now),
            };
            let claim = Claim { id, holder: fresh.holder };
            let insert = Change::Insert { collection: ClaimRecord::COLLECTION, rows: vec![fresh.to_row()] };
            match self.crm.store().commit(by.scope(), vec![insert]).await {
                Ok(_) => return Ok(Begun::First(claim)),
                Err(StoreError::Duplicate { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            let Some(kept) = self.crm.repo::<ClaimRecord>().get(by.scope(), id).await? else { continue };
            if kept.expires_at <= now {
                if self.take_over(by, &kept, fresh).await? {
                    return Ok(Begun::First(claim));
                }
                continue;
            }
            if let (Some(asked), Some(first)) = (request.fingerprint, kept.fingerprint.as_deref())
                && asked != first
            {
                return Ok(Begun::Mismatch);
            }
            if kept.state == ClaimState::Answered
                && let Some(answer) = self.opened(&kept)
            {
                return Ok(Begun::Answered { fingerprint: kept.fingerprint, answer });
            }
            if kept.state != ClaimState::Answered && kept.held_until > now {
                return Ok(Begun::Running { retry_after: RETRY_AFTER });
            }
            if kept.state == ClaimState::Running {
                if self.take_over(by, &kept, fresh).await? {
                    return Ok(Begun::First(claim));
                }
                continue;
            }
            let held = ClaimRecord { holder: claim.holder, held_until: now.plus(hold), ..kept.clone() };
            if self.take_over(by, &kept, held).await? {
                return Ok(Begun::Interrupted { claim, effect: kept.effect(), fingerprint: kept.fingerprint });
            }
        }
        Err(Error::Unavailable {
            message: "Other attempts of the same request are in hand.".to_owned(),
            retry_after: RETRY_AFTER,
        })
    }

    /// Holds the claim for `hold` more, from now on. An attempt that lost it changes nothing.
    ///
    /// # Errors
    /// Those of the store: then the claim ends when it would have.
    pub async fn hold_on(&self, by: &Principal, claim: Claim, hold: Duration) -> Result<()> {
        let now = self.crm.now();
        let renew = Change::UpdateWhere {
            collection: ClaimRecord::COLLECTION,
            filter: claim.held().and(ClaimRecord::state.equals(ClaimState::Answered).negated()),
            assignments: vec![ClaimRecord::held_until.set(now.plus(hold)), UPDATED_AT.set(now)],
        };
        self.crm.store().commit(by.scope(), vec![renew]).await?;
        Ok(())
    }

    /// Keeps the answer of an attempt, if it still holds the claim.
    ///
    /// # Errors
    /// Those of the store: then a retry is answered as after [`Begun::Interrupted`].
    pub async fn finish(&self, by: &Principal, claim: Claim, fingerprint: Option<&str>, answer: &Answer) -> Result<()> {
        let headers: serde_json::Map<String, serde_json::Value> =
            answer.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let keys = &self.crm.account_state().settings.encryption_keys;
        let sealed = keys.seal(self.crm.random(), &bound_to(claim.id), &answer.body);
        let Some(sealed) = sealed else { return Err(Error::internal("an answer cannot be sealed")) };
        let now = self.crm.now();
        let mut assignments = vec![
            ClaimRecord::state.set(ClaimState::Answered),
            ClaimRecord::held_until.set(now),
            ClaimRecord::status.set(Some(i64::from(answer.status))),
            ClaimRecord::headers.set(Some(Json::from_value(&headers.into()))),
            ClaimRecord::body.set(Some(sealed)),
            UPDATED_AT.set(now),
        ];
        if let Some(fingerprint) = fingerprint {
            assignments.push(ClaimRecord::fingerprint.set(Some(fingerprint.to_owned())));
        }
        let keep = Change::UpdateWhere { collection: ClaimRecord::COLLECTION, filter: claim.held(), assignments };
        self.crm.store().commit(by.scope(), vec![keep]).await?;
        Ok(())
    }

    /// Gives the claim of an attempt up whose answer is not to be kept. Where it has written nothing, the request is free
    /// to be carried out anew; where it has, a retry is answered from the record.
    ///
    /// # Errors
    /// Those of the store: then the claim ends by itself.
    pub async fn release(&self, by: &Principal, claim: Claim) -> Result<()> {
        let now = self.crm.now();
        let state = |state| claim.held().and(ClaimRecord::state.equals(state));
        let changes = vec![
            Change::DeleteWhere { collection: ClaimRecord::COLLECTION, filter: state(ClaimState::Running) },
            Change::UpdateWhere {
                collection: ClaimRecord::COLLECTION,
                filter: state(ClaimState::Committed),
                assignments: vec![ClaimRecord::held_until.set(now), UPDATED_AT.set(now)],
            },
        ];
        self.crm.store().commit(by.scope(), changes).await?;
        Ok(())
    }

    /// Forgets what was kept long enough. For the background work.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn remove_expired(&self) -> Result<()> {
        let expired = ClaimRecord::expires_at.at_most(self.crm.now());
        let remove = Change::DeleteWhere { collection: ClaimRecord::COLLECTION, filter: expired };
        self.crm.store().commit(Scope::Installation, vec![remove]).await?;
        Ok(())
    }

    /// Writes `next` in the place of the claim as it was read. Answers whether nobody else did before.
    async fn take_over(&self, by: &Principal, kept: &ClaimRecord, next: ClaimRecord) -> Result<bool> {
        let change = Change::Update {
            collection: ClaimRecord::COLLECTION,
            id: kept.id.0,
            expected_version: Some(kept.meta.version),
            condition: Some((ClaimRecord::holder.equals(kept.holder), WhenUnmet::Skip)),
            assignments: vec![
                ClaimRecord::fingerprint.set(next.fingerprint),
                ClaimRecord::state.set(next.state),
                ClaimRecord::holder.set(next.holder),
                ClaimRecord::held_until.set(next.held_until),
                ClaimRecord::expires_at.set(next.expires_at),
                ClaimRecord::commits.set(next.commits),
                ClaimRecord::record_type.set(next.record_type),
                ClaimRecord::record_id.set(next.record_id),
                ClaimRecord::created.set(next.created),
                ClaimRecord::status.set(next.status),
                ClaimRecord::headers.set(next.headers),
                ClaimRecord::body.set(next.body),
                UPDATED_AT.set(self.crm.now()),
            ],
        };
        match self.crm.store().commit(by.scope(), vec![change]).await {
            Ok(outcomes) => Ok(!outcomes.contains(&Outcome::Unmet)),
            Err(StoreError::VersionConflict { .. } | StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The answer that is kept; nothing where its key is gone.
    fn opened(self, kept: &ClaimRecord) -> Option<Answer> {
        let keys = &self.crm.account_state().settings.encryption_keys;
        let body = keys.open(&bound_to(kept.id), kept.body.as_deref()?).ok()?;
        let headers: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(kept.headers.as_ref().map_or("{}", Json::as_str)).ok()?;
        let headers = headers.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())));
        Some(Answer { status: u16::try_from(kept.status?).ok()?, headers: headers.collect(), body })
    }
}

fn bound_to(id: ClaimId) -> String {
    format!("idempotency:{id}")
}

/// A UUIDv8 (RFC 9562) of whose request it is and which.
fn claim_id(by: &Principal, request: &KeyedRequest<'_>) -> ClaimId {
    let organization = by.organization.to_string();
    let actor = by.actor.id().map(|id| id.to_string()).unwrap_or_default();
    let mut hash = Sha256::new();
    for part in [&organization, by.actor.kind(), &actor, request.method, request.path, request.key.as_str()] {
        hash.update(part.as_bytes());
        // No part holds it.
        hash.update([0]);
    }
    ClaimId(uuid_of_hash(hash.finalize()))
}

#[cfg(test)]
mod tests;
