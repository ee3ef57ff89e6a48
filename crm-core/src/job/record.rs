use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    access::Actor,
    id::UserId,
    record::{Meta, Record},
    store::Json,
    time::Timestamp,
};

crate::record_ids! {
    /// A job.
    JobId,
}

/// A piece of long work.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[record(
    collection = "jobs",
    installation,
    index(priority, due_at),
    index(organization_id, -created_at),
    index(organization_id, created_by_id, -created_at),
    index(finished_at),
    index(organization_id, dead_at),
    index(state, kind, organization_id, dead_at)
)]
pub struct Job {
    /// The job's id.
    pub id: JobId,
    /// What is done, such as `customer_import`.
    pub kind: String,
    /// How far it is.
    pub state: JobState,
    /// Which jobs go before which.
    pub priority: JobPriority,
    /// The kind of record that the job is about.
    pub record_type: Option<String>,
    /// The record that the job is about.
    pub record_id: Option<Uuid>,
    /// The version of the input's shape.
    #[serde(skip)]
    pub input_version: i64,
    /// What the handler is given.
    #[serde(skip)]
    pub input: Json,
    /// How much is done.
    pub progress: JobProgress,
    /// What came of it, once it succeeded.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub result: Option<Json>,
    /// Why it failed, or what went wrong when it was last tried.
    pub error: Option<JobError>,
    /// How often it was begun without getting any further.
    pub attempts: i64,
    /// So many attempts are made.
    pub max_attempts: i64,
    /// When it is to be begun; while it runs, when the process that runs it is given up unless it is heard from. Absent
    /// once the job has ended.
    pub due_at: Option<Timestamp>,
    /// When it is given up even if there are attempts left; never, where it is absent.
    pub deadline_at: Option<Timestamp>,
    /// Since when it is a dead letter: it failed, and is kept to be replayed or dropped.
    pub dead_at: Option<Timestamp>,
    /// The run that holds the job: changes with every run, so that an earlier one can write nothing any more.
    #[serde(skip)]
    pub holder: Option<Uuid>,
    /// When the process that runs it was last heard from.
    pub heartbeat_at: Option<Timestamp>,
    /// Whether somebody asked it to stop.
    pub cancel_requested: bool,
    /// Who started it: `user`, `api_key`, `service` or `system`.
    pub created_by_type: String,
    /// The person or key who started it.
    pub created_by_id: Option<Uuid>,
    /// The request that started it.
    pub request_id: Option<String>,
    /// When it was first begun.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Its organization, version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

impl Job {
    /// Who started it, and on whose behalf it runs.
    #[must_use]
    pub fn actor(&self) -> Option<Actor> {
        match (self.created_by_type.as_str(), self.created_by_id) {
            ("user", Some(id)) => Some(Actor::User(UserId(id))),
            ("api_key", Some(id)) => Some(Actor::ApiKey(id)),
            ("service", None) => Some(Actor::Service),
            ("system", None) => Some(Actor::System),
            _ => None,
        }
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits for its turn, for the first time or to be tried again.
    #[default]
    Queued,
    /// A process is at it.
    Running,
    /// It is done.
    Succeeded,
    /// It cannot be done, or was tried often enough. Where it is worth doing again it is a dead letter until somebody
    /// replays or drops it.
    Failed,
    /// Somebody ended it before it was done.
    Cancelled,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// Which jobs go before which.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobPriority {
    /// Somebody waits for it.
    High,
    /// In its turn.
    #[default]
    Normal,
    /// Once there is nothing else to do.
    Low,
}

impl JobPriority {
    /// Every priority, the most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// There is no state of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of queued, running, succeeded, failed, cancelled")]
pub struct UnknownState;

/// There is no priority of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of high, normal, low")]
pub struct UnknownPriority;

crate::record::named_types! {
    JobState, UnknownState;
    JobPriority, UnknownPriority;
}

/// How much of a job is done.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobProgress {
    /// So much is done.
    pub done: u64,
    /// Of so much, where that is known.
    pub total: Option<u64>,
    /// What is counted, such as `rows`.
    pub unit: String,
    /// What is being done, for a person.
    #[serde(default)]
    pub message: Option<String>,
    /// How many are done in a second, since the run began.
    #[serde(default)]
    pub per_second: Option<f64>,
    /// How many seconds the rest takes at that rate.
    #[serde(default)]
    pub seconds_left: Option<u64>,
}

/// Why a job failed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobError {
    /// For a program, such as `FORBIDDEN`.
    pub code: String,
    /// For a person.
    pub message: String,
}

crate::json_field_type!(JobProgress, JobError);
