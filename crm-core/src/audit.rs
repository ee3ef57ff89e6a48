//! The audit trail: who did what to which record, chained so that tampering shows.

mod record;

pub use self::record::{AuditEntry, AuditEntryId};
