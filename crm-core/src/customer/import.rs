//! Customers from files: uploaded in pieces, kept as parts, written part by part by a job, and taken back again.
//!
//! A file becomes [`ImportPart`]s while it arrives ([`Upload`]): nothing holds it whole. A job then takes the parts in
//! their order. Each part is read, decided as any other write of customers is, and committed once: customers, what the
//! part came to, what is needed to take it back, the counts of the import, one audit entry and one event. So a run that
//! ends anywhere leaves whole parts behind, and the next goes on with the first part that is not done.

mod cell;
mod cleaning;
mod columns;
mod error_file;
mod field;
mod lookup;
mod mapping;
mod options;
mod outcome;
mod plan;
mod quota;
mod record;
mod revert;
mod row;
mod run;
mod seen;
mod service;
mod settings;
mod upload;

#[cfg(test)]
mod tests;

pub(crate) use self::{cleaning::remove_old, revert::RevertHandler, run::ImportHandler};
pub use self::{
    error_file::ErrorFile,
    options::{ImportOptions, OPTION_NAMES},
    record::{
        ColumnFields, CustomerImport, CustomerImportId, ImportMapping, ImportMappingId, ImportMode, ImportPart,
        ImportPartId, ImportState, ImportView, NewImportMapping, RevertReport, UnknownImportMode, UnknownImportState,
    },
    service::Imports,
    upload::Upload,
};
