//! RabbitMQ 3.8 or newer: quorum queues, confirms, one queue for each priority, and delays by steps.

mod connection;
mod consume;
mod dead_letter;
mod keys;
mod message;
mod publish;
mod queue;
mod settle;
mod topology;

pub use self::{connection::RabbitMqOptions, queue::RabbitMqQueue};
