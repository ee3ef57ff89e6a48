//! What is known of one request and its answer, beside the request itself.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crm_core::{
    access::{Principal, RequestContext},
    limit::{Policy, Standing},
};
use uuid::Uuid;

/// One request and its answer. Every clone is the same.
#[derive(Clone, Debug)]
pub(crate) struct Exchange(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    request_id: Box<str>,
    client: Option<IpAddr>,
    notes: Mutex<Notes>,
    /// Whether the request got further since somebody last asked.
    progress: AtomicBool,
}

/// What was learned on the way, for the log line and the headers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// The organization acted in.
    pub(crate) organization: Option<Uuid>,
    /// The person or key that acts.
    pub(crate) actor: Option<Uuid>,
    /// The code of the error answered.
    pub(crate) code: Option<&'static str>,
    /// How the limits stand that were asked last.
    pub(crate) limits: Vec<(Policy, Standing)>,
}

impl Exchange {
    pub(crate) fn new(request_id: Box<str>, client: Option<IpAddr>) -> Self {
        Self(Arc::new(Inner { request_id, client, notes: Mutex::default(), progress: AtomicBool::new(false) }))
    }

    /// The request's id.
    pub(crate) fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// The client's address, where it is known.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        self.0.client
    }

    /// For the audit trail.
    pub(crate) fn context(&self) -> RequestContext {
        RequestContext { request_id: Some(self.0.request_id.to_string()), ip: self.0.client, claim: None }
    }

    /// What was learned so far.
    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a long request gets on: it may take longer.
    pub(crate) fn note_progress(&self) {
        self.0.progress.store(true, Ordering::Relaxed);
    }

    /// Whether a long request got further since this was last asked.
    pub(super) fn got_further(&self) -> bool {
        self.0.progress.swap(false, Ordering::Relaxed)
    }

    /// Notes who acts.
    pub(crate) fn note_principal(&self, principal: &Principal) {
        let mut notes = self.notes();
        notes.organization = Some(principal.organization.into());
        notes.actor = principal.actor.id();
    }

    /// Notes how limits stand.
    pub(crate) fn note_limits(&self, limits: Vec<(Policy, Standing)>) {
        self.notes().limits = limits;
    }

    /// Notes the code of the error answered.
    pub(crate) fn note_code(&self, code: &'static str) {
        self.notes().code = Some(code);
    }
}
