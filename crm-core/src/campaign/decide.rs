//! Which steps a campaign may take: a plain table.

use std::fmt;

use super::CampaignStatus;
use crate::error::{Error, Result};

/// What somebody wants of a campaign.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// To change what it says.
    Change,
    /// To remove it.
    Delete,
    /// To launch it now.
    Launch,
    /// To launch it for later.
    Schedule,
    /// To send nothing for now.
    Pause,
    /// To send again.
    Resume,
    /// To send nothing any more.
    Cancel,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Change => "changed",
            Self::Delete => "deleted",
            Self::Launch | Self::Schedule => "launched",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Cancel => "cancelled",
        })
    }
}

/// What the campaign is after the step.
///
/// # Errors
/// [`Error::InvalidState`] with what it is, and what it would have to be.
pub(super) fn after(status: CampaignStatus, step: Step) -> Result<CampaignStatus> {
    use CampaignStatus::{Cancelled, Draft, Paused, Scheduled, Sending};
    match (step, status) {
        (Step::Change | Step::Delete, Draft) => Ok(Draft),
        (Step::Launch, Draft) | (Step::Resume, Paused) => Ok(Sending),
        (Step::Schedule, Draft) => Ok(Scheduled),
        (Step::Pause, Sending) => Ok(Paused),
        (Step::Cancel, Scheduled | Sending | Paused) => Ok(Cancelled),
        (step, status) => {
            let wanted = match step {
                Step::Change | Step::Delete | Step::Launch | Step::Schedule => "a draft",
                Step::Pause => "one that is sending",
                Step::Resume => "one that is paused",
                Step::Cancel => "one that is scheduled, sending or paused",
            };
            let hint = if step == Step::Cancel && status == Draft { " Delete it instead." } else { "" };
            Err(Error::InvalidState(format!("The campaign is {status}: only {wanted} can be {step}.{hint}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_these_steps_are_taken() {
        let steps = [Step::Change, Step::Delete, Step::Launch, Step::Schedule, Step::Pause, Step::Resume, Step::Cancel];
        // For each status what follows from the steps in their order; `-` where they are refused.
        for (status, expected) in [
            (CampaignStatus::Draft, "draft draft sending scheduled - - -"),
            (CampaignStatus::Scheduled, "- - - - - - cancelled"),
            (CampaignStatus::Sending, "- - - - paused - cancelled"),
            (CampaignStatus::Paused, "- - - - - sending cancelled"),
            (CampaignStatus::Sent, "- - - - - - -"),
            (CampaignStatus::Cancelled, "- - - - - - -"),
            (CampaignStatus::Failed, "- - - - - - -"),
        ] {
            let follows: Vec<&str> =
                steps.iter().map(|step| after(status, *step).map_or("-", CampaignStatus::name)).collect();
            assert_eq!(follows.join(" "), expected, "{status}");
        }
        let refused = after(CampaignStatus::Sent, Step::Pause).unwrap_err();
        assert_eq!(refused.to_string(), "The campaign is sent: only one that is sending can be paused.");
        assert_eq!(refused.code(), "INVALID_STATE");
    }
}
