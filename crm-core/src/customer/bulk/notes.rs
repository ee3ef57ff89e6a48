//! What customers were before a commit.

use super::record::{BulkChangeId, BulkNote};
use crate::{
    crm::Crm,
    customer::{ask::Deed, chunk::Draft, undo::Changed},
    error::{Error, Result},
    operation::Operation,
    record::Meta,
};

/// Adds to an operation what the customers were that it changes; answers how many there are.
pub(super) fn note_down(
    crm: &Crm,
    operation: &mut Operation<'_>,
    change: BulkChangeId,
    number: i64,
    drafts: &[Draft],
) -> Result<usize> {
    let now = operation.now();
    let meta = Meta::new(operation.organization(), now);
    let changed = drafts.iter().filter(|draft| draft.deed != Deed::Unchanged);
    let notes = changed.filter_map(|draft| Some((draft.before.as_ref()?, &draft.after))).map(|(before, after)| {
        let fields = serde_json::to_string(&Changed::of(before, after)).map_err(Error::internal)?;
        Ok(BulkNote { id: crm.new_id_at(now), change_id: change, number, customer_id: after.id, fields, meta })
    });
    let notes: Vec<BulkNote> = notes.collect::<Result<_>>()?;
    operation.insert_all(&notes);
    Ok(notes.len())
}
