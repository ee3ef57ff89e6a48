use async_trait::async_trait;
use serde::Serialize;

use super::TimelineEntry;
use crate::{
    access::{Permission, Principal, permissions},
    audit::AuditEntry,
    campaign::Communication,
    complaint::Complaint,
    crm::Crm,
    customer::Note,
    error::{Error, Result},
    id::CustomerId,
    order::Order,
    record::Record,
    store::{FieldKind, FieldRef, Filter, Position, Query, Sort},
    time::Timestamp,
};

/// The kinds of records that timelines show. One that joins is one line here, and an index on its two columns.
pub(super) const SOURCES: &[&dyn Source] = &[
    &Shown::<Order> {
        kind: "order",
        permission: permissions::ORDERS_READ,
        about: |customer| Order::customer_id.equals(customer),
        field: "date",
        at: |order| order.date,
        summary: |order| format!("Order of {}, {}", order.amount, order.status),
    },
    &Shown::<Complaint> {
        kind: "complaint",
        permission: permissions::COMPLAINTS_READ,
        about: |customer| Complaint::customer_id.equals(customer),
        field: "created_at",
        at: |complaint| complaint.meta.created_at,
        summary: |complaint| format!("Complaint, {}: {}", complaint.status, complaint.subject),
    },
    &Shown::<Note> {
        kind: "note",
        permission: permissions::CUSTOMERS_READ,
        about: |customer| Note::customer_id.equals(customer),
        field: "created_at",
        at: |note| note.meta.created_at,
        summary: |note| first_line(&note.text),
    },
    &Shown::<Communication> {
        kind: "communication",
        permission: permissions::CAMPAIGNS_READ,
        about: |customer| Communication::customer_id.equals(customer).and(Communication::sent_at.exists()),
        field: "sent_at",
        at: |sent| sent.sent_at.unwrap_or(sent.meta.created_at),
        summary: |sent| format!("Message by {}, {}", sent.channel, sent.status),
    },
    &Shown::<AuditEntry> {
        kind: "change",
        permission: permissions::AUDIT_READ,
        about: |customer| AuditEntry::record_id.equals(customer.0),
        field: "created_at",
        at: |entry| entry.meta.created_at,
        summary: |entry| entry.action.clone(),
    },
];

/// A kind of record that timelines show.
#[async_trait]
pub(super) trait Source: Sync {
    /// What it is called there.
    fn kind(&self) -> &'static str;

    /// What it takes to read it.
    fn permission(&self) -> Permission;

    /// The entries after a place, newest first, at most so many.
    async fn entries(
        &self,
        crm: &Crm,
        by: &Principal,
        customer: CustomerId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<TimelineEntry>>;
}

/// One that is a record as it is.
struct Shown<T> {
    kind: &'static str,
    permission: Permission,
    about: fn(CustomerId) -> Filter,
    /// The field that says when it was, after that of the customer in an index.
    field: &'static str,
    at: fn(&T) -> Timestamp,
    summary: fn(&T) -> String,
}

#[async_trait]
impl<T: Record + Serialize> Source for Shown<T> {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn permission(&self) -> Permission {
        self.permission
    }

    async fn entries(
        &self,
        crm: &Crm,
        by: &Principal,
        customer: CustomerId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<TimelineEntry>> {
        let newest = Sort { field: FieldRef::declared(self.field, FieldKind::Timestamp), descending: true };
        let query = Query { after, ..Query::new((self.about)(customer), limit).sorted(vec![newest]) };
        let found = crm.repo::<T>().find(by.scope(), &query).await?;
        found
            .records
            .iter()
            .map(|record| {
                Ok(TimelineEntry {
                    at: (self.at)(record),
                    kind: self.kind,
                    id: record.id().into(),
                    summary: (self.summary)(record),
                    data: serde_json::value::to_raw_value(record).map_err(Error::internal)?,
                })
            })
            .collect()
    }
}

/// The beginning of a text, as a line.
fn first_line(text: &str) -> String {
    const LONGEST: usize = 120;
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line.to_owned(),
    }
}
