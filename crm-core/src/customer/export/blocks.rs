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
use tokio::sync::mpsc;

use crate::error::{Error, Result};

/// So many bytes are handed on at once, about.
pub(super) const BLOCK: usize = 64 * 1024;
/// So many blocks wait for whoever takes them.
const WAITING: usize = 4;
/// Who takes no block for so long is gone.
const PATIENCE: Duration = Duration::from_secs(60);

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
}

/// Nobody takes blocks any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Gone {
    /// Whoever did has let go.
    Left,
    /// Whoever should has not moved for a minute.
    Idle,
}

pub(super) fn channel() -> (Sender, ExportBlocks) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let rows = Arc::new(AtomicU64::new(0));
    (Sender { sender, rows: Arc::clone(&rows) }, ExportBlocks { receiver, rows, ended: false })
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
        match tokio::time::timeout(PATIENCE, self.sender.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_closed)) => Err(Gone::Left),
            Err(_elapsed) => Err(Gone::Idle),
        }
    }
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

    #[tokio::test]
    async fn who_lets_go_is_noticed() {
        let (sender, blocks) = channel();
        drop(blocks);
        sender.closed().await;
        assert_eq!(sender.block(vec![1]).await, Err(Gone::Left));
    }
}
