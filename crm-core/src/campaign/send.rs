//! Begins, sends and ends campaigns. Any number of processes may; each takes some communications at a time.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::oneshot,
    task::{self, JoinError, JoinSet},
    time::timeout,
};
use tracing::Instrument as _;

use super::{
    CampaignId,
    drive::drive,
    portion::{self, Portions},
    run::CampaignRun,
};
use crate::{
    crm::Crm,
    error::Result,
    store::{Query, Scope},
};

/// The longest that a campaign waits to be looked at where no hint came.
pub(super) const POLL: Duration = Duration::from_millis(500);
/// How long looking rests after a failure, and a campaign that cannot be sent from here.
pub(super) const REST: Duration = Duration::from_secs(2);
/// Campaigns at once in a process.
const AT_ONCE: usize = 16;

/// Sends until `stop` resolves, then finishes what is in hand. Where there is a queue, what is due is handed out through it
/// to all processes.
pub(crate) async fn run(crm: Crm, stop: impl Future<Output = ()> + Send) {
    let mut sender = Sender::new(crm);
    let stopping = Arc::clone(&sender.stopping);
    let Some(queue) = sender.crm.queue().cloned() else { return send_until(&mut sender, stop).await };
    sender.portions = Some(Portions::new(Arc::clone(&queue)));
    let crm = sender.crm.clone();
    let (stopper, stopped) = oneshot::channel();
    let stop = async {
        stop.await;
        let _ = stopper.send(());
    };
    let taken = portion::run(crm, queue, stopping, async {
        let _ = stopped.await;
    });
    tokio::join!(send_until(&mut sender, stop), taken);
}

async fn send_until(sender: &mut Sender, stop: impl Future<Output = ()> + Send) {
    let mut stop = std::pin::pin!(stop);
    loop {
        let rest = match sender.take_up().await {
            Ok(_) => POLL,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "campaigns cannot be looked at for now");
                REST
            }
        };
        tokio::select! {
            () = &mut stop => break,
            () = sender.woken(rest) => {}
        }
    }
    sender.stopping.store(true, Ordering::Relaxed);
    while let Some(ended) = sender.drives.join_next_with_id().await {
        sender.note(ended);
    }
}

/// Does everything that is due now for campaigns, and waits for it. For tests and for programs with a schedule of their
/// own. The jobs that plan them are run by [`crate::job::runner`].
///
/// # Errors
/// Those of the store.
pub async fn send_due(crm: &Crm) -> Result<()> {
    let mut sender = Sender::new(crm.clone());
    loop {
        let begun = sender.take_up().await?;
        match sender.drives.join_next_with_id().await {
            Some(ended) => sender.note(ended),
            None if begun == 0 => return Ok(()),
            None => {}
        }
    }
}

struct Sender {
    crm: Crm,
    portions: Option<Portions>,
    stopping: Arc<AtomicBool>,
    drives: JoinSet<()>,
    in_hand: HashMap<task::Id, CampaignId>,
}

impl Sender {
    fn new(crm: Crm) -> Self {
        Self { crm, portions: None, stopping: Arc::default(), drives: JoinSet::new(), in_hand: HashMap::new() }
    }

    async fn woken(&mut self, rest: Duration) {
        tokio::select! {
            _ = timeout(rest, self.crm.campaign_hint().notified()) => {}
            Some(ended) = self.drives.join_next_with_id(), if !self.drives.is_empty() => self.note(ended),
        }
    }

    fn note(&mut self, ended: std::result::Result<(task::Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        if let Err(error) = ended {
            tracing::error!(%error, "sending a campaign broke");
        }
        self.in_hand.remove(&id);
    }

    /// Begins with those campaigns for which there is something to do; answers how many.
    async fn take_up(&mut self) -> Result<usize> {
        while let Some(ended) = self.drives.try_join_next_with_id() {
            self.note(ended);
        }
        let room = AT_ONCE.saturating_sub(self.drives.len());
        if room == 0 {
            return Ok(0);
        }
        let due = CampaignRun::due_at.at_most(Some(self.crm.now()));
        let query = Query::new(due, AT_ONCE).sorted(vec![CampaignRun::due_at.ascending()]);
        let found = self.crm.repo::<CampaignRun>().find(Scope::Installation, &query).await?.records;
        let mut begun = 0;
        for run in found {
            if begun == room || self.in_hand.values().any(|id| *id == run.id) {
                continue;
            }
            let span = tracing::info_span!("campaign", campaign = %run.id);
            let (crm, stopping, id) = (self.crm.clone(), Arc::clone(&self.stopping), run.id);
            let portions = self.portions.clone();
            let drive = async move { drive(&crm, id, &stopping, portions.as_ref()).await };
            let task = self.drives.spawn(drive.instrument(span));
            self.in_hand.insert(task.id(), id);
            begun += 1;
        }
        Ok(begun)
    }
}
