//! Customers, single and in bulk, their groups, tags and notes.

mod bad_input;
mod batch;
mod bulk;
mod duplicates;
mod everyday;
mod exports;
mod foreign;
mod groups;
mod lists;
mod notes;
mod own_profile;
mod round_trip;
mod sight;
