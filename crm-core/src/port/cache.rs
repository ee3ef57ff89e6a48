//! The cache contract: what processes remember together for a while, and the hints that they give each other.
//!
//! A cache may forget anything at any time and be away: whoever asks goes to the store instead, and is correct without
//! it. Entries live in spaces, such as an organization's permissions; [`Cache::invalidate`] makes a whole space
//! forgotten at once by beginning a new epoch. What was loaded before that cannot be remembered after it: a lookup
//! tells the epoch, and an entry is remembered under the epoch that its load began in.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::error::Error;

/// The largest value, in bytes.
pub const MAX_VALUE: usize = 1 << 20;

/// Names one entry.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct CacheKey<'a> {
    /// The space, with the organization's id in it where there is one: 1–128 printable ASCII characters without
    /// braces and spaces.
    pub space: &'a str,
    /// The entry in the space, named alike.
    pub name: &'a str,
}

impl CacheKey<'_> {
    /// Whether every cache takes the key.
    ///
    /// # Errors
    /// [`CacheError::Misuse`].
    pub fn check(&self) -> CacheResult<()> {
        check_name(self.space)?;
        check_name(self.name)
    }
}

/// Whether every cache takes the name of a space, an entry or a channel.
///
/// # Errors
/// [`CacheError::Misuse`].
pub fn check_name(name: &str) -> CacheResult<()> {
    let fits = (1..=128).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}'));
    if fits { Ok(()) } else { Err(CacheError::Misuse(format!("{name:?} is no name in a cache"))) }
}

/// What a lookup found.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Lookup {
    /// The value, where it is remembered.
    pub value: Option<Bytes>,
    /// The epoch of the space. What is loaded now is to be remembered under it.
    pub epoch: u64,
}

/// Why a cache did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The call does not fit the contract.
    #[error("{0}")]
    Misuse(String),
    /// The cache does not answer for now.
    #[error("{message}")]
    Unavailable {
        /// Why, in a sentence.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// A fault of the cache.
    #[error("the cache failed")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<CacheError> for Error {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Unavailable { message, retry_after } => Self::Unavailable { message, retry_after },
            other => Self::internal(other),
        }
    }
}

/// The result of a call of a cache.
pub type CacheResult<T> = Result<T, CacheError>;

/// What processes remember together.
#[async_trait]
pub trait Cache: Send + Sync + 'static {
    /// Looks up an entry and the epoch of its space.
    async fn get(&self, key: CacheKey<'_>) -> CacheResult<Lookup>;

    /// Remembers a value of at most [`MAX_VALUE`] for at most so long, unless another epoch has begun.
    async fn set(&self, key: CacheKey<'_>, epoch: u64, value: Bytes, time_to_live: Duration) -> CacheResult<()>;

    /// Forgets one entry; none there is no error.
    async fn delete(&self, key: CacheKey<'_>) -> CacheResult<()>;

    /// Forgets every entry of a space, also those whose load has begun.
    async fn invalidate(&self, space: &str) -> CacheResult<()>;

    /// Tells a hint to whoever listens to the channel now, in any process. It may be lost: what must happen is found
    /// by asking, a hint only makes it happen sooner.
    async fn announce(&self, channel: &str, hint: &str) -> CacheResult<()>;

    /// The hints of a channel from now on. After the cache was away, or the listener was slow, some are missing; an
    /// empty hint then says so, and everything may have changed. Ends when the cache is closed.
    async fn listen(&self, channel: &str) -> CacheResult<BoxStream<'static, String>>;

    /// Answers where the cache does.
    async fn health(&self) -> CacheResult<()>;

    /// The kind of cache for people and metrics, such as `redis`.
    fn engine(&self) -> &'static str;

    /// Lets go of connections.
    async fn close(&self);
}

/// A cache that many hold.
pub type SharedCache = std::sync::Arc<dyn Cache>;
