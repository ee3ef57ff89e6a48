//! What the stories of processes are told with.

mod changes;
mod importing;
mod killable;
mod listeners;
mod place;
mod server;
mod writers;

pub(crate) use self::{
    changes::{Changes, Versions},
    importing::Importing,
    killable::Killable,
    listeners::{Observer, Webhook},
    place::{Engine, Place},
    server::{Server, command},
    writers::{Writers, everything, nothing_is_lost},
};

/// Tells each story once on every engine there is, each time in a place of its own.
macro_rules! on_every_engine {
    ($($(#[$attribute:meta])* async fn $story:ident($place:ident: &Place) $body:block)+) => {$(
        $(#[$attribute])*
        mod $story {
            use super::*;

            async fn story($place: &Place) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_sqlite() {
                story(&Place::new(Engine::Sqlite)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_postgres() {
                story(&Place::new(Engine::Postgres)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_mongo() {
                story(&Place::new(Engine::Mongo)).await;
            }
        }
    )+};
}
pub(crate) use on_every_engine;
