use async_trait::async_trait;
use tokio::sync::Notify;

/// Tells runners that a job is due, so that it need not wait to be found.
///
/// A signal may be lost: runners look by themselves every second too.
#[async_trait]
pub trait JobSignal: Send + Sync + 'static {
    /// A job was just added.
    fn due(&self);

    /// Waits until one is.
    async fn wait(&self);
}

/// Tells the runner of the same process.
#[derive(Debug, Default)]
pub struct InProcessJobSignal(Notify);

#[async_trait]
impl JobSignal for InProcessJobSignal {
    fn due(&self) {
        self.0.notify_one();
    }

    async fn wait(&self) {
        self.0.notified().await;
    }
}
