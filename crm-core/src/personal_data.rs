//! What is kept of a person: told as one document, and erased.
//!
//! Every kind of record says in one table ([`Holding`]) whether it names a customer, and what becomes of it when two
//! customers turn out to be one, and when a customer is to be forgotten. A kind that does not say keeps the crate from
//! being built, so that nobody forgets to.

mod erase;
mod export;
mod holding;
mod row;
mod sweep;

pub use self::{
    erase::{Erasure, ErasureReport, PersonalData},
    export::PersonalDataDocument,
    holding::{Erases, Holding, Moves, Says, holdings},
};
pub(crate) use self::{
    holding::{Going, moving, remove_of},
    sweep::ErasureHandler,
};

#[cfg(test)]
mod tests;
