//! Customers: whom the organization serves, how they are reached, and what staff notes about them.
//!
//! A [`Customer`] is one flat record. What makes two customers the same one, e-mails, phones and the login, is kept
//! once more as [`ContactPoint`]s, whose unique key holds the duplicate rule when requests run at once. Whatever the
//! door (create, upsert, replace, patch, batch, restore, the customer's own profile), a write takes the same way: it
//! is loaded with a handful of reads, decided by plain functions, and committed once with its audit entry and its event.

mod ask;
mod audience;
mod batch;
mod bulk;
mod catalog;
mod chunk;
mod consent;
mod contact_point;
mod decide;
mod duplicate;
mod export;
mod group;
mod group_service;
mod holders;
pub mod import;
mod input;
mod likely_duplicate;
mod likeness;
mod list;
mod meaning;
mod merge;
mod metadata;
mod note;
mod note_service;
mod purge;
mod record;
mod restoring;
#[cfg(feature = "openapi")]
mod schema;
mod service;
mod shape;
mod tag;
mod undo;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use self::bulk::{BulkHandler, BulkUndoHandler, CreateHandler, remove_old_notes};
pub(crate) use self::catalog::declared_catalog;
pub(crate) use self::decide::differences;
pub(crate) use self::export::ExportPlaces;
pub(crate) use self::merge::remove_old_merges;
pub(crate) use self::purge::{PURGE_KIND, PurgeHandler};
pub use self::{
    ask::{Deed, WriteOptions, Written},
    batch::{
        BatchError, BatchOptions, BatchReport, BatchResult, BatchStatus, CustomerPatches, MAX_ATOMIC, NewCustomers,
    },
    bulk::{BulkChange, BulkChangeId, BulkNote, BulkNoteId},
    consent::{Consent, ConsentChange, Consents},
    contact_point::{ContactKey, ContactKind, ContactPoint, ContactPointId, UnknownContactKind},
    export::{CustomerExport, ExportBlocks, ExportFormat, MAX_WORKBOOK_ROWS, UnknownExportFormat},
    group::{
        CountedGroup, CustomerGroup, CustomerGroupId, GroupMembers, MembershipChange, NewCustomerGroup,
        ReplacedCustomerGroup,
    },
    input::{CustomerInput, MAX_CONTACTS, MAX_GROUPS, MAX_TAGS, NewCustomer, OwnProfileInput},
    likely_duplicate::{CustomerBrief, LikelyDuplicate, LikelyDuplicates},
    likeness::Reason,
    merge::{
        CustomerMerge, CustomerMergeId, CustomerMergeMove, CustomerMergeMoveId, FieldChoices, FieldDifference,
        MergeReport, MergeRequest, Side,
    },
    metadata::{MAX_METADATA_BYTES, MAX_METADATA_DEPTH, Metadata},
    note::{EditedNote, MAX_NOTE_EDITS, NewNote, Note, NoteEdit, NoteEdits, NoteId, NoteWithEdits},
    record::{Customer, CustomerStatus, DEFAULT_TYPES, UnknownStatus},
    service::Customers,
    shape::{CustomerShape, ShapedCustomer},
    tag::{MergedTags, RenamedTag, TagChange, TagCount},
};
pub(crate) use self::{service::CUSTOMER, write::is_race};
