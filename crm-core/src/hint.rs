//! What processes tell each other once it is committed, so that none believes for long what another has changed.
//!
//! A hint only makes a process look again sooner: where none comes, each looks again after five seconds.

use std::{
    collections::BTreeSet,
    fmt,
    future::Future,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use tokio::{sync::Notify, time::sleep};
use uuid::Uuid;

use crate::{
    crm::Crm,
    id::OrganizationId,
    port::cache::{CacheResult, SharedCache},
};

/// Where hints are told.
const CHANNEL: &str = "changes";
/// More than these are told as one: look at everything again.
const MOST_TOLD: usize = 200;
/// The rest after the cache did not answer.
const REST: Duration = Duration::from_secs(1);

/// What has changed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Hint {
    /// A session or an API key has ended, or the rights of a person are other ones.
    Access(Uuid),
    /// The settings of an organization.
    Organization(OrganizationId),
    /// The custom fields of some organization.
    Fields,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Access(id) => write!(f, "access {id}"),
            Self::Organization(id) => write!(f, "organization {id}"),
            Self::Fields => f.write_str("fields"),
        }
    }
}

/// The text is no hint that this version knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct UnknownHint;

impl FromStr for Hint {
    type Err = UnknownHint;

    fn from_str(text: &str) -> Result<Self, UnknownHint> {
        let id = |text: &str| text.parse::<Uuid>().map_err(|_| UnknownHint);
        match text.split_once(' ') {
            Some(("access", text)) => id(text).map(Self::Access),
            Some(("organization", text)) => id(text).map(|id| Self::Organization(OrganizationId(id))),
            None if text == "fields" => Ok(Self::Fields),
            _ => Err(UnknownHint),
        }
    }
}

/// What is to be told to other processes.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    waiting: Mutex<BTreeSet<Hint>>,
    woken: Notify,
}

impl Hints {
    /// Has it told to the others, soon.
    fn add(&self, hint: Hint) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // One too many stands for all.
        if waiting.len() <= MOST_TOLD {
            waiting.insert(hint);
        }
        drop(waiting);
        self.woken.notify_one();
    }

    /// What is to be told now: a line for each, or nothing where everything may have changed.
    fn take(&self) -> Option<String> {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        match waiting.len() {
            0 => None,
            1..=MOST_TOLD => Some(waiting.iter().map(Hint::to_string).collect::<Vec<_>>().join("\n")),
            _ => Some(String::new()),
        }
    }
}

impl Crm {
    /// Makes every process look anew at what a commit has changed: this one at once.
    pub(crate) fn has_changed(&self, hint: Hint) {
        look_again(self, hint);
        if self.cache().is_some() {
            self.hints().add(hint);
        }
    }
}

fn look_again(crm: &Crm, hint: Hint) {
    match hint {
        Hint::Access(id) => crm.account_state().revocations.revoke(id),
        Hint::Organization(id) => crm.organization_cache().forget(id),
        Hint::Fields => crm.field_sets().forget(),
    }
}

/// Nobody knows what was told meanwhile.
fn look_at_everything(crm: &Crm) {
    crm.account_state().revocations.revoke_all();
    crm.organization_cache().forget_all();
    crm.field_sets().forget();
}

/// Tells hints and hears those of others until `stop` resolves.
pub(crate) async fn run(crm: Crm, stop: impl Future<Output = ()> + Send) {
    let Some(cache) = crm.cache().cloned() else { return stop.await };
    tokio::select! {
        () = stop => {}
        () = tell(&crm, &cache) => {}
        () = hear(&crm, &cache) => {}
    }
}

async fn tell(crm: &Crm, cache: &SharedCache) {
    loop {
        while let Some(text) = crm.hints().take() {
            if let Err(error) = cache.announce(CHANNEL, &text).await {
                // The others look again by themselves, sooner than it would be told a second time.
                tracing::debug!(error = &error as &dyn std::error::Error, "other processes cannot be told");
            }
        }
        crm.hints().woken.notified().await;
    }
}

async fn hear(crm: &Crm, cache: &SharedCache) {
    loop {
        if let Err(error) = hear_once(crm, cache).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "other processes cannot be heard");
        }
        sleep(REST).await;
    }
}

async fn hear_once(crm: &Crm, cache: &SharedCache) -> CacheResult<()> {
    let mut told = cache.listen(CHANNEL).await?;
    look_at_everything(crm);
    while let Some(text) = told.next().await {
        match text.split('\n').map(str::parse).collect::<Result<Vec<Hint>, _>>() {
            Ok(hints) => hints.into_iter().for_each(|hint| look_again(crm, hint)),
            // One was missed, or is from a later version.
            Err(UnknownHint) => look_at_everything(crm),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use bytes::Bytes;
    use futures::stream::BoxStream;
    use tokio::sync::{broadcast, oneshot, watch};

    use super::*;
    use crate::{
        port::cache::{Cache, CacheError, CacheKey, Lookup},
        store::{SharedStore, memory::MemoryStore},
    };

    #[test]
    fn a_hint_is_read_as_it_was_written() {
        let id = Uuid::from_u128(7);
        for hint in [Hint::Access(id), Hint::Organization(OrganizationId(id)), Hint::Fields] {
            assert_eq!(hint.to_string().parse(), Ok(hint));
        }
        for text in ["", "access", "access x", "fields 7", "weather 00000000-0000-0000-0000-000000000007"] {
            assert_eq!(text.parse::<Hint>(), Err(UnknownHint), "{text}");
        }
    }

    #[test]
    fn too_much_to_tell_is_everything() {
        let hints = Hints::default();
        assert_eq!(hints.take(), None);
        for _ in 0..3 {
            hints.add(Hint::Fields);
        }
        hints.add(Hint::Access(Uuid::nil()));
        assert_eq!(hints.take().as_deref(), Some("access 00000000-0000-0000-0000-000000000000\nfields"));
        for id in 0..1000 {
            hints.add(Hint::Access(Uuid::from_u128(id)));
        }
        assert_eq!(hints.take().as_deref(), Some(""));
        assert_eq!(hints.take(), None);
    }

    /// A cache that only passes hints on, while it is there.
    #[derive(Clone)]
    struct Double {
        told: broadcast::Sender<String>,
        listeners: watch::Sender<usize>,
    }

    #[async_trait]
    impl Cache for Double {
        async fn get(&self, _: CacheKey<'_>) -> CacheResult<Lookup> {
            Ok(Lookup::default())
        }

        async fn set(&self, _: CacheKey<'_>, _: u64, _: Bytes, _: Duration) -> CacheResult<()> {
            Ok(())
        }

        async fn delete(&self, _: CacheKey<'_>) -> CacheResult<()> {
            Ok(())
        }

        async fn invalidate(&self, _: &str) -> CacheResult<()> {
            Ok(())
        }

        async fn announce(&self, _: &str, hint: &str) -> CacheResult<()> {
            let away = |_| CacheError::Misuse("nobody listens".to_owned());
            self.told.send(hint.to_owned()).map(drop).map_err(away)
        }

        async fn listen(&self, _: &str) -> CacheResult<BoxStream<'static, String>> {
            let heard = self.told.subscribe();
            self.listeners.send_modify(|count| *count += 1);
            let next = async |mut heard: broadcast::Receiver<String>| Some((heard.recv().await.ok()?, heard));
            Ok(futures::stream::unfold(heard, next).boxed())
        }

        async fn health(&self) -> CacheResult<()> {
            Ok(())
        }

        fn engine(&self) -> &'static str {
            "double"
        }

        async fn close(&self) {}
    }

    /// What one process has ended, another does not believe any more.
    #[tokio::test]
    async fn others_are_told() {
        let double = Double { told: broadcast::channel(100).0, listeners: watch::Sender::new(0) };
        let store: SharedStore = Arc::new(MemoryStore::new());
        let [here, there] = [(); 2].map(|()| Crm::builder(Arc::clone(&store)).cache(double.clone()).build());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = [&here, &there].map(|crm| tokio::spawn(run(crm.clone(), std::future::pending())));
        let ends = tokio::spawn(run(here.clone(), async { stopped.await.unwrap_or(()) }));
        double.listeners.subscribe().wait_for(|count| *count >= 3).await.expect("they listen");

        let (session, user) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let revocations = &there.account_state().revocations;
        let before = revocations.stamp(session, user);
        here.accounts().forget(session);
        while revocations.stands(before) {
            tokio::task::yield_now().await;
        }
        // One that was missed stands for all.
        let before = revocations.stamp(session, user);
        double.told.send(String::new()).expect("they listen");
        while revocations.stands(before) {
            tokio::task::yield_now().await;
        }
        stop.send(()).expect("it runs");
        ends.await.expect("it ends");
        running.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
