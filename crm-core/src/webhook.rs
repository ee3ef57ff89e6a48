//! Outgoing webhooks: events are posted to addresses that an organization names, signed by the rules of Standard
//! Webhooks, tried again for a day, and logged.
//!
//! The relay plans a [`WebhookDelivery`] for each event and webhook in the commit that marks the events as handed on, so
//! that none is lost and none is planned twice. What waits for one webhook is its [`WebhookLane`]. Any number of processes
//! deliver: each lane is leased to one of them for a turn, and an attempt is noted before it is made.

mod attempt;
mod deliver;
mod delivery;
mod input;
mod lane;
mod plan;
mod record;
mod removal;
mod replay;
mod schedule;
mod service;
mod signature;
mod turn;

pub use self::{
    deliver::deliver_due,
    delivery::{
        DeliveryAttempt, DeliveryAttempts, DeliveryState, UnknownDeliveryState, WebhookDelivery, WebhookDeliveryId,
    },
    input::{ChangedWebhook, CustomHeaders, EventFilter, NewWebhook, ReplayRequest},
    lane::{Replay, WebhookLane},
    record::{DisabledReason, UnknownDisabledReason, Webhook, WebhookId},
    service::{CreatedWebhook, Webhooks},
    signature::{InvalidSecret, SigningSecret},
};
pub(crate) use self::{
    deliver::run,
    plan::{planned, remove_old},
    service::bound_to,
};

#[cfg(test)]
mod tests;
