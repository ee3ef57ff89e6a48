//! What stories are told with.

mod answer;
mod app;
mod client;
mod log;
mod people;
mod store;
mod upload;

#[expect(unused_imports, reason = "for stories")]
pub(crate) use self::{
    answer::{Answer, Entity},
    app::{App, QueueKind, RECEIPT_SECRET, SERVICE_KEY, Setup, Start},
    client::Client,
    people::{Organization, PASSWORD, Person, Staffed},
    store::{Place, StoreKind},
    upload::Form,
};

/// Tells each story once on every store there is.
macro_rules! on_every_store {
    ($($(#[$attribute:meta])* async fn $story:ident($app:ident: $kind:ty) $body:block)+) => {$(
        $(#[$attribute])*
        mod $story {
            use super::*;
            use $crate::support::{Setup, Start, StoreKind};

            async fn story($app: $kind) $body

            async fn tell(store: StoreKind) {
                story(<$kind as Start>::start(Setup::on(store).await).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_memory() {
                tell(StoreKind::Memory).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_sqlite() {
                tell(StoreKind::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_postgres() {
                tell(StoreKind::Postgres).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_mongo() {
                tell(StoreKind::Mongo).await;
            }
        }
    )+};
}
pub(crate) use on_every_store;
