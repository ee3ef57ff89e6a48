//! Work that goes on beside requests: sealing the audit trail, handing on events, cleaning up.
//!
//! Any number of processes may run it; leases see to it that one at a time does each piece.

use std::{future::Future, time::Duration};

use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

use crate::{
    audit::sealer::{self, Heads},
    crm::Crm,
    error::Result,
    event::relay,
    field,
    id::new_uuid,
    lease,
};

/// The longest that a committed entry or event waits to be looked at where no hint came.
const POLL: Duration = Duration::from_secs(1);
/// Hints that come closer together than this are served together.
const GATHER: Duration = Duration::from_millis(20);
/// How long a process that fell silent keeps others from its work.
const LEASE: Duration = Duration::from_secs(5);
/// How often old things are removed.
const CLEANING: Duration = Duration::from_secs(600);
/// The longest wait after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Runs the background work until `stop` resolves, then finishes the step in hand.
pub async fn run(crm: Crm, stop: impl Future<Output = ()> + Send) {
    let (stopper, stopped) = watch::channel(false);
    let holder = new_uuid(crm.now(), crm.random());
    let seal = async {
        let mut heads = Heads::default();
        repeat("audit-sealer", &stopped, async |hinted| {
            if hinted {
                crm.audit_hint().notified().await;
            } else if lease::hold(&crm, "audit-sealer", holder, LEASE).await? {
                while sealer::seal_pending(&crm, &mut heads).await? {
                    if !lease::hold(&crm, "audit-sealer", holder, LEASE).await? {
                        break;
                    }
                }
            } else {
                heads = Heads::default();
            }
            Ok(())
        })
        .await;
    };
    let publish = async {
        repeat("event-relay", &stopped, async |hinted| {
            if hinted {
                crm.event_hint().notified().await;
            } else if !crm.event_sinks().is_empty() {
                while lease::hold(&crm, "event-relay", holder, LEASE).await? {
                    if !relay::is_full(relay::publish_pending(&crm).await?) {
                        break;
                    }
                }
            }
            Ok(())
        })
        .await;
    };
    let fields = async {
        repeat("custom-fields", &stopped, async |hinted| {
            if hinted {
                crm.field_hint().notified().await;
            } else {
                while field::finish_pending(&crm).await? {}
            }
            Ok(())
        })
        .await;
    };
    let clean = clean_regularly(&crm, holder, stopped.clone());
    let stop = async {
        stop.await;
        let _ = stopper.send(true);
    };
    tokio::join!(seal, publish, fields, clean, stop);
}

/// Does a piece of work again and again: `work(true)` waits for a hint, `work(false)` does what there is to do.
async fn repeat(name: &'static str, stopped: &watch::Receiver<bool>, mut work: impl AsyncFnMut(bool) -> Result<()>) {
    let mut failures: u32 = 0;
    let mut stopped = stopped.clone();
    loop {
        match work(false).await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::warn!(
                    work = name,
                    failures,
                    error = &error as &dyn std::error::Error,
                    "background work failed and will be tried again"
                );
            }
        }
        let pause =
            if failures == 0 { POLL } else { (POLL * 2_u32.saturating_pow(failures.min(5))).min(LONGEST_PAUSE) };
        let hint = async {
            if failures == 0 {
                let _ = timeout(pause, work(true)).await;
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

async fn clean_regularly(crm: &Crm, holder: Uuid, mut stopped: watch::Receiver<bool>) {
    loop {
        if let Err(error) = clean(crm, holder).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "cleaning up failed and will be tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(CLEANING) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

async fn clean(crm: &Crm, holder: Uuid) -> Result<()> {
    if lease::hold(crm, "cleaning", holder, CLEANING).await? {
        clean_now(crm).await?;
    }
    Ok(())
}

/// Removes what has been kept long enough.
///
/// # Errors
/// Those of the store.
pub async fn clean_now(crm: &Crm) -> Result<()> {
    relay::remove_old(crm).await
}
