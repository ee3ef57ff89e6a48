//! Every type of event there is. An operation with another one is not committed.

/// A type of event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EventType {
    /// Its name, such as `customer.created`.
    pub name: &'static str,
    /// When it is told.
    pub meaning: &'static str,
    /// What its `data` holds.
    pub data: &'static str,
}

const fn event(name: &'static str, meaning: &'static str, data: &'static str) -> EventType {
    EventType { name, meaning, data }
}

/// What every event of a campaign holds.
const CAMPAIGN: &str = "`id`, `name`, `channel`, `status`, `audience`";

/// Every type, by name. The same table is in `docs/events.md`.
pub const EVENT_TYPES: &[EventType] = &[
    event(
        "auth.refresh_reuse",
        "A spent refresh token was used again; its session has ended.",
        "`user_id`, `session_id`",
    ),
    event("campaign.cancelled", "A campaign was cancelled.", CAMPAIGN),
    event("campaign.created", "A campaign was written.", CAMPAIGN),
    event("campaign.deleted", "A draft of a campaign was removed.", "`id`"),
    event(
        "campaign.finished",
        "Nothing is left to be sent of a campaign, or it could not be planned.",
        "`id`, `name`, `channel`, `status`, `audience`, `statistics` (counts)",
    ),
    event("campaign.launched", "A campaign was launched, now or for later.", CAMPAIGN),
    event("campaign.paused", "A campaign was paused.", CAMPAIGN),
    event("campaign.resumed", "A campaign goes on.", CAMPAIGN),
    event("campaign.updated", "A draft of a campaign was changed.", CAMPAIGN),
    event("complaint.created", "A complaint was taken down.", "`id`, `customer_id`, `status`"),
    event("complaint.updated", "A complaint was changed.", "`id`, `customer_id`, `status`"),
    event("customer.created", "A customer was created.", "`id`, `changed` (names of fields)"),
    event("customer.deleted", "A customer was put into the bin.", "`id`, `changed`"),
    event("customer.erased", "A person was forgotten for good.", "`id`"),
    event("customer.merge_undone", "A merge was taken back.", "`id`, `duplicate_id`, `merge_id`"),
    event("customer.merged", "Another customer went into this one.", "`id`, `duplicate_id`, `merge_id`"),
    event("customer.purged", "A customer was removed for good.", "`id`"),
    event("customer.restored", "A customer was taken out of the bin.", "`id`, `changed`"),
    event("customer.updated", "A customer was changed.", "`id`, `changed`"),
    event("customer_group.created", "A group was created.", "the group"),
    event("customer_group.deleted", "A group was removed.", "`id`"),
    event("customer_group.updated", "A group was changed.", "the group"),
    event("customer_import.started", "An import of customers was begun.", "what was begun"),
    event("customer_note.created", "A note was written.", "`id`, `customer_id`"),
    event("customer_note.deleted", "A note was removed.", "`id`, `customer_id`"),
    event("customer_note.updated", "A note was edited.", "`id`, `customer_id`"),
    event("customers.exported", "Customers were exported.", "what was exported, and in which form"),
    event("customers.import_reverted", "An import of customers was taken back.", "the numbers of rows"),
    event("customers.imported", "An import of customers has ended.", "the numbers of rows"),
    event("field.archived", "A custom field was archived.", "the field"),
    event("field.created", "A custom field was declared.", "the field"),
    event("field.purged", "A custom field is being removed with its values.", "`id`, `key`"),
    event("field.restored", "A custom field was taken out of the archive.", "the field"),
    event("field.updated", "A custom field was changed.", "the field"),
    event("job.cancelled", "A job was cancelled.", "`id`, `kind`, `state`, `record_type`, `record_id`"),
    event("job.failed", "A job failed.", "`id`, `kind`, `state`, `record_type`, `record_id`"),
    event("job.succeeded", "A job is done.", "`id`, `kind`, `state`, `record_type`, `record_id`"),
    event("order.cancelled", "An order was cancelled.", "`id`, `customer_id`, `status`, `changed` (names of fields)"),
    event("order.created", "An order was taken in.", "`id`, `customer_id`, `status`"),
    event("order.updated", "An order was changed.", "`id`, `customer_id`, `status`, `changed`"),
    event("organization.created", "The organization was created.", "the organization"),
    event("organization.updated", "The organization's settings were changed.", "the organization"),
    event("segment.created", "A segment was made.", "the segment"),
    event("segment.deleted", "A segment was removed.", "`id`"),
    event("segment.updated", "A segment was changed.", "the segment"),
    event("team.created", "A team was created.", "the team"),
    event("team.deleted", "A team was removed.", "`id`"),
    event("team.updated", "A team was changed.", "the team"),
    event("user.created", "A person was added.", "the person"),
    event("user.removed", "A person was removed.", "`id`"),
    event("user.updated", "A person was changed.", "the person"),
    event(
        "webhook.disabled",
        "A webhook was disabled because its receiver is gone or failed for 5 days.",
        "`id`, `reason`",
    ),
    event("webhook.test", "Somebody tries a webhook. Sent to that one only, whatever it listens to.", "`webhook_id`"),
];

/// The declaration of a type.
#[must_use]
pub fn find(name: &str) -> Option<&'static EventType> {
    let place = EVENT_TYPES.binary_search_by(|declared| declared.name.cmp(name)).ok()?;
    EVENT_TYPES.get(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        assert!(EVENT_TYPES.is_sorted_by(|one, next| one.name < next.name));
        for declared in EVENT_TYPES {
            assert_eq!(find(declared.name), Some(declared));
            let (record, what) = declared.name.split_once('.').expect("a record and what happened");
            assert!(
                record.chars().chain(what.chars()).all(|character| character.is_ascii_lowercase() || character == '_')
            );
        }
        assert_eq!(find("customer.*"), None);
    }

    #[test]
    fn the_page_has_the_same_table() {
        let page = include_str!("../../../docs/events.md");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let declared: Vec<String> = EVENT_TYPES
            .iter()
            .map(|EventType { name, meaning, data }| format!("| `{name}` | {meaning} | {data} |"))
            .collect();
        assert_eq!(rows, declared, "docs/events.md");
    }
}
