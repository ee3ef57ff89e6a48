//! Work that goes on beside requests: sealing the audit trail, handing on events, delivering them to webhooks, sending
//! campaigns, running jobs, cleaning up.
//!
//! Any number of processes may run it; leases see to it that one at a time does each piece.

use std::{future::Future, time::Duration};

use async_trait::async_trait;
use futures::StreamExt as _;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use uuid::Uuid;

use crate::{
    access::Principal,
    audit::sealer::{self, Heads},
    campaign,
    crm::Crm,
    customer::{self, import},
    delivery,
    error::{Error, Result},
    event::{
        handler,
        relay::{self, Relay},
    },
    field, hint,
    id::new_uuid,
    job::{self, JobContext, JobFailure, JobHandler, JobOutcome, Schedule},
    lease,
    statistics::verification,
    store::{Filter, Query, Scope},
    tenancy::Organization,
    webhook,
};

/// The longest that a committed entry or event waits to be looked at where no hint came.
const POLL: Duration = Duration::from_secs(1);
/// Hints that come closer together than this are served together.
const GATHER: Duration = Duration::from_millis(20);
/// How long a process that fell silent keeps others from its work.
const LEASE: Duration = Duration::from_secs(5);
/// When old things are removed.
const CLEANING: &str = "*/10 * * * *";
/// The job that removes them.
const CLEANING_KIND: &str = "cleaning";
/// When customers are removed who were in the bin long enough.
const PURGING: &str = "5-55/10 * * * *";
/// The longest wait after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest wait where the store was not there: when it is back, the audit trail is sealed within seconds.
const LONGEST_OUTAGE: Duration = Duration::from_secs(3);
/// How long a job that has ended can be looked at.
const ENDED_JOBS: Duration = Duration::from_secs(30 * 24 * 3600);

/// Runs the background work until `stop` resolves, then finishes the step in hand.
pub async fn run(crm: Crm, stop: impl Future<Output = ()> + Send) {
    let (stopper, stopped) = watch::channel(false);
    let holder = new_uuid(crm.now(), crm.random());
    let seal = repeat(&crm, holder, stopped.clone(), Seal::default());
    let publish = repeat(&crm, holder, stopped.clone(), Publish::default());
    let fire = fire_schedules(&crm, stopped.clone());
    let mut told = stopped.clone();
    let jobs = job::runner::run(crm.clone(), async move {
        let _ = told.wait_for(|stopped| *stopped).await;
    });
    let mut told = stopped.clone();
    let webhooks = webhook::run(crm.clone(), async move {
        let _ = told.wait_for(|stopped| *stopped).await;
    });
    let mut told = stopped.clone();
    let campaigns = campaign::run(crm.clone(), async move {
        let _ = told.wait_for(|stopped| *stopped).await;
    });
    let mut told = stopped.clone();
    let receipts = delivery::run(crm.clone(), async move {
        let _ = told.wait_for(|stopped| *stopped).await;
    });
    let mut told = stopped.clone();
    let hints = hint::run(crm.clone(), async move {
        let _ = told.wait_for(|stopped| *stopped).await;
    });
    let mut told = stopped.clone();
    let events = handler::run(crm.clone(), async move {
        let _ = told.wait_for(|stopped| *stopped).await;
    });
    let stop = async {
        stop.await;
        let _ = stopper.send(true);
    };
    tokio::join!(seal, publish, events, fire, jobs, webhooks, campaigns, receipts, hints, stop);
    // Else others wait until the leases end.
    let _ = timeout(POLL, lease::let_go(&crm, holder)).await;
}

/// A piece of work that is done again and again.
#[async_trait]
trait Work: Send {
    /// What it is, for the log.
    const NAME: &'static str;

    /// Woken when there is something to do.
    fn hint<'a>(&self, crm: &'a Crm) -> &'a Notify;

    /// Does what there is to do.
    async fn step(&mut self, crm: &Crm, holder: Uuid) -> Result<()>;
}

/// Seals the audit trail.
#[derive(Default)]
struct Seal {
    heads: Heads,
}

#[async_trait]
impl Work for Seal {
    const NAME: &'static str = "audit-sealer";

    fn hint<'a>(&self, crm: &'a Crm) -> &'a Notify {
        crm.audit_hint()
    }

    async fn step(&mut self, crm: &Crm, holder: Uuid) -> Result<()> {
        if !lease::hold(crm, Self::NAME, holder, LEASE).await? {
            self.heads = Heads::default();
            return Ok(());
        }
        while sealer::seal_pending(crm, &mut self.heads).await? {
            if !lease::hold(crm, Self::NAME, holder, LEASE).await? {
                break;
            }
        }
        Ok(())
    }
}

/// Hands on events.
#[derive(Default)]
struct Publish {
    relay: Relay,
}

#[async_trait]
impl Work for Publish {
    const NAME: &'static str = "event-relay";

    fn hint<'a>(&self, crm: &'a Crm) -> &'a Notify {
        crm.event_hint()
    }

    async fn step(&mut self, crm: &Crm, holder: Uuid) -> Result<()> {
        while self.relay.step(crm, holder).await? {}
        Ok(())
    }
}

async fn repeat<W: Work>(crm: &Crm, holder: Uuid, mut stopped: watch::Receiver<bool>, mut work: W) {
    let mut failures: u32 = 0;
    loop {
        let mut pause = POLL;
        match work.step(crm, holder).await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures = failures.saturating_add(1);
                pause = pause_after(failures, &error);
                tracing::warn!(
                    work = W::NAME,
                    failures,
                    error = &error as &dyn std::error::Error,
                    "background work failed and will be tried again"
                );
            }
        }
        let hint = async {
            if failures == 0 {
                let _ = timeout(pause, work.hint(crm).notified()).await;
                tokio::time::sleep(GATHER).await;
            } else {
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = hint => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// How long work rests that has failed so many times on end.
fn pause_after(failures: u32, error: &Error) -> Duration {
    let longest = if matches!(error, Error::Unavailable { .. }) { LONGEST_OUTAGE } else { LONGEST_PAUSE };
    (POLL * 2_u32.saturating_pow(failures.min(5))).min(longest)
}

/// Begins scheduled jobs at their time, and those that are missing.
async fn fire_schedules(crm: &Crm, mut stopped: watch::Receiver<bool>) {
    loop {
        let fired = async {
            job::runner::mend_times(crm).await?;
            field::make_missing_jobs(crm).await?;
            job::fire_due(crm).await
        };
        let pause = match fired.await {
            Ok(pause) => pause.max(POLL),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "schedules cannot be looked at for now");
                LONGEST_OUTAGE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// What every installation does again and again.
pub(crate) fn schedules() -> Vec<Schedule> {
    let cleaning = Schedule::new("cleaning", CLEANING, CLEANING_KIND, &());
    let purging = Schedule::new("customer purge", PURGING, customer::PURGE_KIND, &());
    let figures = Schedule::new("statistics", verification::EVERY_NIGHT, verification::ALL_KIND, &());
    cleaning.into_iter().chain(purging).chain(figures).collect()
}

/// Removes what has been kept long enough.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CleaningHandler;

#[async_trait]
impl JobHandler for CleaningHandler {
    fn kind(&self) -> &'static str {
        CLEANING_KIND
    }

    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure> {
        let is_over = || context.interruption().is_some();
        if clean(context.crm(), &is_over).await? {
            Ok(JobOutcome::Done(serde_json::Value::Null))
        } else {
            Ok(JobOutcome::Interrupted)
        }
    }

    /// One organization may have a great deal to remove.
    fn patience(&self) -> Duration {
        Duration::from_hours(6)
    }
}

/// Removes what has been kept long enough: old events, ended sessions and jobs, answers kept for a day,
/// imports and bulk changes that can no longer be taken back.
///
/// # Errors
/// Those of the store.
pub async fn clean_now(crm: &Crm) -> Result<()> {
    clean(crm, &|| false).await?;
    Ok(())
}

/// The same until it is interrupted; answers whether it came to its end. What it has left, the next one removes.
async fn clean(crm: &Crm, is_interrupted: &(dyn Fn() -> bool + Sync)) -> Result<bool> {
    relay::remove_old(crm).await?;
    crm.accounts().remove_ended_sessions().await?;
    crm.idempotency().remove_expired().await?;
    webhook::remove_old(crm).await?;
    delivery::sweep_parked(crm).await?;
    crm.jobs().remove_ended(crm.now().minus(ENDED_JOBS)).await?;
    let all = Query::new(Filter::ALL, 0);
    let mut organizations = std::pin::pin!(crm.repo::<Organization>().stream(Scope::Installation, all));
    while let Some(organization) = organizations.next().await {
        if is_interrupted() {
            return Ok(false);
        }
        let by = Principal::system(organization?.id);
        import::remove_old(crm, &by).await?;
        customer::remove_old_notes(crm, &by).await?;
        delivery::forget_old(crm, &by).await?;
        customer::remove_old_merges(crm, &by).await?;
        job::JobPayload::remove_old(crm, &by).await?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
