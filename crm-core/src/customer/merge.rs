//! Two records of one person made one: what the duplicate had goes to the one that is kept, and can be taken back for 30
//! days.
//!
//! What is to become of the two is a plain decision. One commit writes both customers, moves what points to the duplicate
//! (the table in [`crate::personal_data`] says of each kind of record whether it moves), and notes what is needed to take
//! it all back. The duplicate goes into the bin without anything of its own; its e-mails and phones are the other's now.

mod decide;
mod input;
mod record;
mod service;
mod times;
mod undo;

pub(crate) use self::record::remove_old as remove_old_merges;
pub(super) use self::service::merged_into;
pub use self::{
    input::{FieldChoices, MergeRequest, Side},
    record::{CustomerMerge, CustomerMergeId, CustomerMergeMove, CustomerMergeMoveId, FieldDifference, MergeReport},
};

#[cfg(test)]
mod tests;
