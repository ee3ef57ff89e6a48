use std::time::Duration;

use serde_json::{Value as JsonValue, json, value::RawValue};

use crate::{
    error::{Error, Result},
    id::CustomerId,
    job::JobId,
    record::{Meta, Record},
    time::Timestamp,
};

/// How long a change can be undone after its end.
pub(super) const UNDOABLE: Duration = Duration::from_hours(24);
/// At most so many customers are listed that were refused, or that were left as they are.
const MOST_LISTED: usize = 1000;
/// And no more once the list has so many bytes.
const MOST_LISTED_BYTES: usize = 1024 * 1024;

crate::record_ids! {
    /// A change of many customers: the same as the id of its job.
    BulkChangeId,
    /// A note of a change of many customers.
    BulkNoteId,
}

/// How far a change of many customers is, and its undoing.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "customer_bulk_changes", index(undoable_until))]
pub struct BulkChange {
    /// The same as the job's.
    pub id: BulkChangeId,
    /// Whether a request does it that somebody waits for.
    pub synchronous: bool,
    /// By filter: the last customer that was looked at, in the order of ids.
    pub place: Option<CustomerId>,
    /// So many customers were looked at.
    pub matched: i64,
    /// So many were changed.
    pub updated: i64,
    /// So many were so already.
    pub unchanged: i64,
    /// So many were refused.
    pub failed: i64,
    /// The first of them and why, as JSON text.
    pub refusals: String,
    /// So many commits changed somebody.
    pub commits: i64,
    /// Until when it can be undone; absent while it goes on.
    pub undoable_until: Option<Timestamp>,
    /// The job that undoes it.
    pub undo_job_id: Option<JobId>,
    /// So many customers were put back.
    pub restored: i64,
    /// So many were not, or not all of it.
    pub skipped: i64,
    /// The first of them and why, as JSON text.
    pub skipped_customers: String,
    /// Whether its notes are being removed.
    pub closed: bool,
    /// Its organization, version and times.
    pub meta: Meta,
}

/// What a customer was before a change of many.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "customer_bulk_notes", index(change_id, -number), index(customer_id))]
pub struct BulkNote {
    /// The note's id.
    pub id: BulkNoteId,
    /// The change.
    pub change_id: BulkChangeId,
    /// Which of the change's commits it goes with, from 0.
    pub number: i64,
    /// The customer.
    pub customer_id: CustomerId,
    /// The fields that the change set, as JSON text: what they were and what they became.
    pub fields: String,
    /// Its organization, version and times.
    pub meta: Meta,
}

impl BulkChange {
    pub(super) const fn new(job: JobId, synchronous: bool, meta: Meta) -> Self {
        Self {
            id: BulkChangeId(job.0),
            synchronous,
            place: None,
            matched: 0,
            updated: 0,
            unchanged: 0,
            failed: 0,
            refusals: String::new(),
            commits: 0,
            undoable_until: None,
            undo_job_id: None,
            restored: 0,
            skipped: 0,
            skipped_customers: String::new(),
            closed: false,
            meta,
        }
    }

    /// What it came to, in the form of a batch's report: of the customers, only those refused are listed.
    pub(super) fn report(&self) -> Result<JsonValue> {
        let results = read(&self.refusals)?;
        Ok(json!({
            "matched": self.matched,
            "created": 0,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "failed": self.failed,
            "results_truncated": leaves_out(&results, self.failed),
            "results": results,
        }))
    }

    /// What undoing it came to.
    pub(super) fn undo_report(&self) -> Result<JsonValue> {
        let skipped = read(&self.skipped_customers)?;
        Ok(json!({
            "job_id": self.id,
            "restored": self.restored,
            "skipped": self.skipped,
            "skipped_truncated": leaves_out(&skipped, self.skipped),
            "skipped_customers": skipped,
        }))
    }
}

fn read(list: &str) -> Result<Vec<JsonValue>> {
    if list.is_empty() { Ok(Vec::new()) } else { serde_json::from_str(list).map_err(Error::internal) }
}

fn leaves_out(listed: &[JsonValue], count: i64) -> bool {
    i64::try_from(listed.len()).unwrap_or(i64::MAX) < count
}

/// Adds to a list that is kept as JSON text, as far as there is room.
pub(super) fn list(text: &mut String, further: &[impl serde::Serialize]) -> Result<()> {
    if further.is_empty() {
        return Ok(());
    }
    let before = if text.is_empty() { "[]" } else { text.as_str() };
    let mut listed: Vec<Box<RawValue>> = serde_json::from_str(before).map_err(Error::internal)?;
    let mut bytes = before.len();
    for item in further {
        let item = serde_json::value::to_raw_value(item).map_err(Error::internal)?;
        bytes += item.get().len() + 1;
        if listed.len() >= MOST_LISTED || bytes > MOST_LISTED_BYTES {
            break;
        }
        listed.push(item);
    }
    *text = serde_json::to_string(&listed).map_err(Error::internal)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_bounded() {
        let mut text = String::new();
        for round in 0..12 {
            let items: Vec<String> = (0..100).map(|item| format!("{round}-{item}")).collect();
            list(&mut text, &items).unwrap();
        }
        let listed = read(&text).unwrap();
        assert_eq!((listed.len(), &listed[999]), (1000, &json!("9-99")));
        assert!(leaves_out(&listed, 1200) && !leaves_out(&listed, 1000));
        let mut text = String::new();
        list(&mut text, &[String::from("a"), "b".repeat(MOST_LISTED_BYTES), "c".to_owned()]).unwrap();
        assert_eq!(read(&text).unwrap(), [json!("a")]);
        assert!(read("").unwrap().is_empty());
    }
}
