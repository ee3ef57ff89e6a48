//! What customers come to: figures of one customer, what outside services know of them, and whether they are right.
//!
//! Figures are kept in the [`Customer`](crate::customer::Customer) by whatever moves them. Each is an opening part, which
//! was brought along or told by a service, and what the orders here add to it; so a [`verification`] can work them out
//! anew.

mod internal;
mod rfm;
mod service;
pub mod verification;

#[cfg(test)]
mod tests;

pub(crate) use self::rfm::Cuts;
pub use self::{
    internal::{FigureChange, InternalCustomer},
    rfm::{FREQUENCY_CUTS, RECENCY_CUTS, Rfm},
    service::{CustomerStatistics, Statistics},
};
