use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use crm_core::{
    async_trait,
    port::{
        Random,
        cache::{Cache, CacheError, CacheKey, CacheResult, Lookup, check_name},
    },
};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use redis::{Script, aio::PubSub};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, timeout},
};

use super::connection::{Failure, Link, RedisOptions};
use crate::backoff::Backoff;

/// What scripts of the cache begin with: the epoch of the space, begun where there is none. It is the time, so that an
/// epoch that Redis forgot does not come back.
const EPOCH: &str = r"
local function later_than(epoch)
  local time = redis.call('TIME')
  return string.format('%.0f', math.max(tonumber(time[1]) * 1000000 + tonumber(time[2]), epoch + 1))
end
local function begin(epoch)
  redis.call('SET', KEYS[1], epoch, 'EX', 604800)
  return epoch
end
local epoch = redis.call('GET', KEYS[1])
";
const GET: &str = r"
epoch = epoch or begin(later_than(0))
local entry = redis.call('GET', KEYS[2])
local mark = epoch .. ':'
if entry and string.sub(entry, 1, #mark) == mark then return {epoch, string.sub(entry, #mark + 1)} end
return {epoch}
";
const SET: &str = r"
if epoch == ARGV[1] then redis.call('SET', KEYS[2], epoch .. ':' .. ARGV[2], 'PX', ARGV[3]) end
return 0
";
const INVALIDATE: &str = "begin(later_than(tonumber(epoch or 0))) return 0";

/// How many hints wait for a slow listener.
const HINTS: usize = 1000;
/// How often it is looked whether a connection that says nothing is there.
const PING: Duration = Duration::from_secs(10);

/// A cache in Redis, with hints by publish and subscribe.
pub struct RedisCache {
    shared: Arc<Shared>,
    get: Script,
    set: Script,
    invalidate: Script,
}

struct Shared {
    link: Link,
    random: Arc<dyn Random>,
    closed: watch::Sender<bool>,
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache").field("prefix", &self.shared.link.prefix()).finish_non_exhaustive()
    }
}

impl RedisCache {
    /// Does not wait for Redis, which may come later. Needs to be called in a tokio runtime.
    ///
    /// # Errors
    /// [`CacheError::Misuse`] where the options are not valid.
    pub fn open(options: &RedisOptions, random: Arc<dyn Random>) -> CacheResult<Self> {
        let script = |text: &str| Script::new(&format!("{EPOCH}{text}"));
        Ok(Self {
            shared: Arc::new(Shared { link: Link::open(options)?, random, closed: watch::Sender::new(false) }),
            get: script(GET),
            set: script(SET),
            invalidate: script(INVALIDATE),
        })
    }

    /// The space is the hash tag, so that a cluster keeps it together.
    fn epoch_key(&self, space: &str) -> String {
        format!("{{{}:cache:{space}}}:epoch", self.shared.link.prefix())
    }

    fn entry_key(&self, key: CacheKey<'_>) -> String {
        format!("{{{}:cache:{}}}:entry:{}", self.shared.link.prefix(), key.space, key.name)
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, key: CacheKey<'_>) -> CacheResult<Lookup> {
        key.check()?;
        let mut invocation = self.get.prepare_invoke();
        invocation.key(self.epoch_key(key.space)).key(self.entry_key(key));
        let (epoch, value): (u64, Option<Bytes>) = match self.shared.link.run::<Vec<Bytes>>(&invocation).await? {
            answer if answer.is_empty() => return Ok(Lookup::default()),
            mut answer => {
                let value = (answer.len() > 1).then(|| answer.swap_remove(1));
                let epoch = std::str::from_utf8(&answer[0]).ok().and_then(|epoch| epoch.parse().ok());
                (epoch.unwrap_or_default(), value)
            }
        };
        Ok(Lookup { value, epoch })
    }

    async fn set(&self, key: CacheKey<'_>, epoch: u64, value: Bytes, time_to_live: Duration) -> CacheResult<()> {
        key.check()?;
        crate::in_process::check_value(&value)?;
        let milliseconds = u64::try_from(time_to_live.as_millis()).unwrap_or(u64::MAX).min(LONGEST_LIFE);
        if milliseconds == 0 {
            return Ok(());
        }
        let mut invocation = self.set.prepare_invoke();
        invocation.key(self.epoch_key(key.space)).key(self.entry_key(key));
        invocation.arg(epoch.to_string()).arg(value.as_ref()).arg(milliseconds);
        self.shared.link.run::<i64>(&invocation).await?;
        Ok(())
    }

    async fn delete(&self, key: CacheKey<'_>) -> CacheResult<()> {
        key.check()?;
        self.shared.link.query::<i64>(redis::cmd("DEL").arg(self.entry_key(key))).await?;
        Ok(())
    }

    async fn invalidate(&self, space: &str) -> CacheResult<()> {
        check_name(space)?;
        let mut invocation = self.invalidate.prepare_invoke();
        invocation.key(self.epoch_key(space));
        self.shared.link.run::<i64>(&invocation).await?;
        Ok(())
    }

    async fn announce(&self, channel: &str, hint: &str) -> CacheResult<()> {
        check_name(channel)?;
        let channel = channel_key(&self.shared.link, channel);
        self.shared.link.query::<i64>(redis::cmd("PUBLISH").arg(channel).arg(hint)).await?;
        Ok(())
    }

    async fn listen(&self, channel: &str) -> CacheResult<BoxStream<'static, String>> {
        check_name(channel)?;
        let subscribed = subscribe(&self.shared.link, channel).await?;
        let (sender, receiver) = mpsc::channel(HINTS);
        tokio::spawn(hear(self.shared.clone(), channel.to_owned(), subscribed, sender));
        Ok(stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))).boxed())
    }

    async fn health(&self) -> CacheResult<()> {
        self.shared.link.query::<String>(&redis::cmd("PING")).await?;
        Ok(())
    }

    fn engine(&self) -> &'static str {
        "redis"
    }

    async fn close(&self) {
        self.shared.closed.send_replace(true);
    }
}

/// A day.
const LONGEST_LIFE: u64 = 24 * 3600 * 1000;

fn channel_key(link: &Link, channel: &str) -> String {
    format!("{}:hints:{channel}", link.prefix())
}

async fn subscribe(link: &Link, channel: &str) -> Result<PubSub, Failure> {
    let subscribing = async {
        let mut subscribed = link.client().get_async_pubsub().await?;
        subscribed.subscribe(channel_key(link, channel)).await?;
        Ok::<_, Failure>(subscribed)
    };
    timeout(link.timeout(), subscribing).await.unwrap_or(Err(Failure::Away("Redis did not answer in time")))
}

/// Passes hints on until the listener is gone or the cache is closed, over as many connections as it takes.
async fn hear(shared: Arc<Shared>, channel: String, subscribed: PubSub, sender: mpsc::Sender<String>) {
    let mut closed = shared.closed.subscribe();
    let hearing = async {
        let mut backoff = Backoff::new(shared.random.clone());
        let mut current = Some(subscribed);
        loop {
            if let Some(subscribed) = current.take() {
                backoff.reset();
                pass_on(&shared.link, subscribed, &sender).await;
            }
            tokio::time::sleep(backoff.next()).await;
            match subscribe(&shared.link, &channel).await {
                Ok(subscribed) => {
                    current = Some(subscribed);
                    // Whatever was told meanwhile is missing.
                    let _ = sender.send(String::new()).await;
                }
                Err(error) => tracing::debug!(error = ?error, "listening to Redis failed and will be tried again"),
            }
        }
    };
    tokio::select! {
        () = hearing => {}
        () = sender.closed() => {}
        _ = closed.wait_for(|closed| *closed) => {}
    }
}

/// Until the connection breaks.
async fn pass_on(link: &Link, subscribed: PubSub, sender: &mpsc::Sender<String>) {
    let (mut asking, mut hints) = subscribed.split();
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            hint = hints.next() => match hint {
                // A listener that is too slow is waited for; Redis ends the connection if that takes too long.
                Some(hint) => if sender.send(hint.get_payload().unwrap_or_default()).await.is_err() { return },
                None => return,
            },
            _ = pings.tick() => match timeout(link.timeout(), asking.ping::<redis::Value>()).await {
                Ok(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

impl From<Failure> for CacheError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Away(message) => {
                Self::Unavailable { message: message.to_owned(), retry_after: Duration::from_secs(1) }
            }
            Failure::Unusable(message) => Self::Misuse(message),
            Failure::Fault(error) => Self::Broken(Box::new(error)),
        }
    }
}
