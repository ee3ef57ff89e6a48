//! Customers as a file: any filter, in constant memory, as it is read from the store.
//!
//! A [`CustomerExport`] is planned first: everything is checked, nothing is read. [`CustomerExport::start`] notes in the
//! audit trail what leaves and begins to read; the [`ExportBlocks`] are then taken one by one. The rows go from the store
//! into a block of text without a record or a JSON tree between. Who stops taking blocks ends the reading; who never gets
//! [`None`] has no whole file.

mod blocks;
mod columns;
mod csv;
mod instant;
mod json;
mod places;
mod plan;
mod pump;
#[cfg(test)]
mod tests;
mod workbook;

pub(crate) use self::places::ExportPlaces;
pub use self::{
    blocks::ExportBlocks,
    plan::{CustomerExport, ExportFormat, MAX_WORKBOOK_ROWS, UnknownExportFormat},
};
