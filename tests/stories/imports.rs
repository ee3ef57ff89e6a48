//! Customers from files.

mod bad_files;
mod everyday;
mod jobs;
mod revert;
mod survival;
