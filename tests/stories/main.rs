//! Stories of users, told over HTTP, each on every store.
//!
//! A story is an `async fn` inside [`on_every_store!`]. It gets an [`App`](support::App), a server of its own on a
//! throw-away store, and reads like what happens. Where an expectation fails, the request, the answer and the server's
//! log lines of that request are printed. A story that moves the clock or sets options takes a
//! [`Setup`](support::Setup) instead and starts the app itself.

#![expect(clippy::expect_used, clippy::panic, reason = "a story that cannot be told fails")]

mod support;

mod account;
mod ai;
mod audit;
mod campaigns;
mod complaint;
mod contract;
mod custom_field;
mod customers;
mod delivery;
mod demo;
mod events;
mod idempotency;
mod imports;
mod jobs;
mod orders;
mod person;
mod quickstart;
mod related;
mod segments;
mod server;
mod shared;
mod staff;
mod statistics;
mod together;
mod webhook;
