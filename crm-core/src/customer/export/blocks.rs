use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;
use tokio::{sync::mpsc, time::Instant};

use crate::error::{Error, Result};

/// So many bytes are handed on at once, about.
pub(super) const BLOCK: usize = 64 * 1024;
/// So many blocks wait for whoever takes them.
const WAITING: usize = 4;
/// Who takes no block for so long is gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who takes fewer bytes in a second of waiting, once the patience of a first block is used up, keeps others from theirs.
const SLOWEST: u64 = 16 * 1024;

/// The file, in blocks of about 64 KiB. It is whole where the last item is [`None`] and no item was an error.
#[derive(Debug)]
pub struct ExportBlocks {
    receiver: mpsc::Receiver<Message>,
    rows: Arc<AtomicU64>,
    ended: bool,
}

/// Who stops sending without [`Message::End`] leaves the file cut.
#[derive(Debug)]
enum Message {
    Block(Vec<u8>),
    Failed(Error),
    End,
}

/// Where blocks are handed on.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    sender: mpsc::Sender<Message>,
    rows: Arc<AtomicU64>,
    /// How many microseconds were spent waiting.
    waited: Arc<AtomicU64>,
    /// How many bytes were taken.
    taken: Arc<AtomicU64>,
}

/// Nobody takes blocks any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Gone {
    /// Whoever did has let go.
    Left,
    /// Whoever should has not moved for a minute, or moves too slowly.
    Idle,
}

pub(super) fn channel() -> (Sender, ExportBlocks) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let rows = Arc::new(AtomicU64::new(0));
    let (waited, taken) = (Arc::default(), Arc::default());
    (Sender { sender, rows: Arc::clone(&rows), waited, taken }, ExportBlocks { receiver, rows, ended: false })
}

impl ExportBlocks {
    /// How many customers were written so far, ahead of the blocks taken by at most a few blocks.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }
}

impl Stream for ExportBlocks {
    type Item = Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(message) = self.receiver.poll_recv(context) else { return Poll::Pending };
        let item = match message {
            Some(Message::Block(block)) => return Poll::Ready(Some(Ok(block))),
            Some(Message::End) => None,
            Some(Message::Failed(error)) => Some(Err(error)),
            None => Some(Err(Error::internal("the export ended before its end"))),
        };
        self.ended = true;
        Poll::Ready(item)
    }
}

impl Sender {
    pub(super) async fn block(&self, block: Vec<u8>) -> Result<(), Gone> {
        self.send(Message::Block(block)).await
    }

    pub(super) async fn end(&self) -> Result<(), Gone> {
        self.send(Message::End).await
    }

    pub(super) async fn fail(&self, error: Error) -> Result<(), Gone> {
        self.send(Message::Failed(error)).await
    }

    /// Ends when nobody can take a block any more.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }

    pub(super) fn add_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    async fn send(&self, message: Message) -> Result<(), Gone> {
        let length = if let Message::Block(block) = &message { block.len() as u64 } else { 0 };
        let begun = Instant::now();
        let sent = tokio::time::timeout(self.patience(), self.sender.send(message)).await;
        let waited = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.waited.fetch_add(waited, Ordering::Relaxed);
        match sent {
            Ok(Ok(())) => {
                self.taken.fetch_add(length, Ordering::Relaxed);
                Ok(())
            }
            Ok(Err(_closed)) => Err(Gone::Left),
            Err(_elapsed) => Err(Gone::Idle),
        }
    }

    fn patience(&self) -> Duration {
        let waited = Duration::from_micros(self.waited.load(Ordering::Relaxed));
        patience(self.taken.load(Ordering::Relaxed), waited)
    }
}

/// How long the next block may wait after so many bytes were taken and so long was waited: what the store takes to read is
/// not held against the client.
fn patience(taken: u64, waited: Duration) -> Duration {
    let earned = Duration::from_secs(taken / SLOWEST);
    PATIENCE.saturating_add(earned).saturating_sub(waited).min(PATIENCE)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn only_a_whole_file_ends_without_an_error() {
        let (sender, mut blocks) = channel();
        sender.block(vec![1]).await.unwrap();
        sender.end().await.unwrap();
        assert_eq!(blocks.next().await.unwrap().unwrap(), [1]);
        assert!(blocks.next().await.is_none() && blocks.next().await.is_none());

        let (sender, mut blocks) = channel();
        sender.block(vec![1]).await.unwrap();
        drop(sender);
        assert!(blocks.next().await.unwrap().is_ok());
        assert!(matches!(blocks.next().await, Some(Err(Error::Internal(_)))));
        assert!(blocks.next().await.is_none());
    }

    #[test]
    fn who_reads_too_slowly_is_let_go() {
        let blocks_until_idle = |seconds: u64| {
            let pause = Duration::from_secs(seconds);
            (0..1000_u32).find(|blocks| patience(u64::from(*blocks) * BLOCK as u64, pause * *blocks) < pause)
        };
        assert_eq!(blocks_until_idle(4), None);
        assert_eq!(blocks_until_idle(6), Some(28));
        assert_eq!(blocks_until_idle(59), Some(1));
        assert_eq!(blocks_until_idle(61), Some(0));
    }

    #[tokio::test]
    async fn who_lets_go_is_noticed() {
        let (sender, blocks) = channel();
        drop(blocks);
        sender.closed().await;
        assert_eq!(sender.block(vec![1]).await, Err(Gone::Left));
    }
}
