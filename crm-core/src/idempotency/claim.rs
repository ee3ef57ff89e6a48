use std::{fmt, str::FromStr};

use uuid::Uuid;

use crate::{
    record::{ID, Meta, Record, UPDATED_AT},
    store::{Change, Filter, Json, WhenUnmet},
    time::Timestamp,
};

crate::record_ids! {
    /// A claim: made from the principal, the method, the path and the key, so that two requests of the same key meet.
    ClaimId,
}

/// A request with a key, and what became of it.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "idempotency_keys", installation, index(expires_at))]
pub struct ClaimRecord {
    /// See [`ClaimId`].
    pub id: ClaimId,
    /// The method and the path, for people.
    pub route: String,
    /// SHA-256 of the query and the body; absent while a body that is not held in memory is still arriving.
    pub fingerprint: Option<String>,
    /// How far it is.
    pub state: ClaimState,
    /// The attempt that holds the claim: another can commit nothing.
    pub holder: Uuid,
    /// Until when nobody else may take it over.
    pub held_until: Timestamp,
    /// When it is forgotten.
    pub expires_at: Timestamp,
    /// How many commits the request has made.
    pub commits: i64,
    /// The kind of the record that the first commit was about.
    pub record_type: Option<String>,
    /// The record.
    pub record_id: Option<Uuid>,
    /// Whether that commit made the record.
    pub created: bool,
    /// The status of the answer.
    pub status: Option<i64>,
    /// The headers of the answer that are given again, as an object.
    pub headers: Option<Json>,
    /// The body of the answer, sealed: it may hold what is shown only once.
    pub body: Option<String>,
    /// Its organization and times.
    pub meta: Meta,
}

/// How far a request with a key is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ClaimState {
    /// Begun; nothing is written yet.
    Running,
    /// Its effect is written, its answer is not kept.
    Committed,
    /// Its answer is kept.
    Answered,
}

impl ClaimState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Running, Self::Committed, Self::Answered];

    /// The name in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Committed => "committed",
            Self::Answered => "answered",
        }
    }
}

impl fmt::Display for ClaimState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl AsRef<str> for ClaimState {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

/// There is no state of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of running, committed, answered")]
pub struct UnknownClaimState;

impl FromStr for ClaimState {
    type Err = UnknownClaimState;

    fn from_str(name: &str) -> Result<Self, UnknownClaimState> {
        Self::ALL.into_iter().find(|state| state.name() == name).ok_or(UnknownClaimState)
    }
}

crate::text_field_type!(ClaimState);

/// The right to carry out a request with a key. The principal carries it
/// ([`RequestContext::claim`](crate::access::RequestContext::claim)).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Claim {
    pub(super) id: ClaimId,
    pub(super) holder: Uuid,
}

/// What a request has written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Effect {
    /// The kind of record, such as `customers`.
    pub record_type: String,
    /// The record.
    pub record_id: Uuid,
    /// Whether it was made; else it was changed.
    pub created: bool,
}

impl Claim {
    /// The claim of this attempt, in any state.
    pub(super) fn held(self) -> Filter {
        ID.equals(self.id).and(ClaimRecord::holder.equals(self.holder))
    }

    /// The change that goes with the effect: it fails the commit where another attempt holds the claim by now.
    pub(crate) fn mark(self, now: Timestamp, effect: Option<Effect>) -> Change {
        let mut assignments = vec![
            ClaimRecord::state.set(ClaimState::Committed),
            ClaimRecord::commits.increment(1_i64),
            UPDATED_AT.set(now),
        ];
        if let Some(effect) = effect {
            assignments.push(ClaimRecord::record_type.set(Some(effect.record_type)));
            assignments.push(ClaimRecord::record_id.set(Some(effect.record_id)));
            assignments.push(ClaimRecord::created.set(effect.created));
        }
        Change::Update {
            collection: ClaimRecord::COLLECTION,
            id: self.id.0,
            expected_version: None,
            condition: Some((ClaimRecord::holder.equals(self.holder), WhenUnmet::Abort)),
            assignments,
        }
    }
}

impl ClaimRecord {
    /// What was written, where it is one record by one commit: more cannot be told again from the record.
    #[must_use]
    pub fn effect(&self) -> Option<Effect> {
        match (&self.record_type, self.record_id) {
            (Some(record_type), Some(record_id)) if self.commits == 1 => {
                Some(Effect { record_type: record_type.clone(), record_id, created: self.created })
            }
            _ => None,
        }
    }
}
