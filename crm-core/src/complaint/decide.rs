//! What may become of a complaint, and by how much its customer's figures move.

use super::{ChangedComplaint, Complaint, ComplaintStatus};
use crate::{
    error::{Error, Result},
    time::Timestamp,
};

/// By how much `total_complaints` and `open_complaints` of the customer move.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Figures {
    pub(crate) total: i64,
    pub(crate) open: i64,
}

impl Figures {
    /// Between two states of a complaint; none where it is not there.
    pub(crate) fn between(before: Option<ComplaintStatus>, after: Option<ComplaintStatus>) -> Self {
        let counts = |status: Option<ComplaintStatus>| {
            (i64::from(status.is_some()), i64::from(status.is_some_and(ComplaintStatus::is_open)))
        };
        let ((old_total, old_open), (total, open)) = (counts(before), counts(after));
        Self { total: total - old_total, open: open - old_open }
    }

    /// Whether they stay.
    pub(crate) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// Whether a complaint may go from one status to another; staying is always right.
///
/// # Errors
/// [`Error::InvalidState`] naming where it can go.
pub(crate) fn step(from: ComplaintStatus, to: ComplaintStatus) -> Result<()> {
    if from == to || from.next().contains(&to) {
        return Ok(());
    }
    let allowed: Vec<&str> = from.next().iter().map(|status| status.name()).collect();
    Err(Error::InvalidState(if allowed.is_empty() {
        format!("The complaint is {from}, and stays so: take down another.")
    } else {
        format!("The complaint is {from}: it can become {}, not {to}.", allowed.join(", "))
    }))
}

/// When a complaint was resolved that goes to `to` now.
pub(crate) fn resolved_at(to: ComplaintStatus, before: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    if to.is_open() { None } else { before.or(Some(now)) }
}

impl ChangedComplaint {
    /// The complaint as it is to be.
    ///
    /// # Errors
    /// [`Error::InvalidState`] for a step that it cannot take.
    pub(crate) fn apply(self, before: &Complaint, now: Timestamp) -> Result<Complaint> {
        let status = self.status.unwrap_or(before.status);
        step(before.status, status)?;
        Ok(Complaint {
            subject: self.subject.unwrap_or_else(|| before.subject.clone()),
            description: self.description.apply(before.description.clone()),
            status,
            priority: self.priority.apply(before.priority),
            resolution: self.resolution.apply(before.resolution.clone()),
            resolved_at: resolved_at(status, before.resolved_at, now),
            assigned_to: self.assigned_to.apply(before.assigned_to),
            ..before.clone()
        })
    }
}
