//! Looks for traces of persons who were erased, where no index leads to.

use async_trait::async_trait;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value as JsonValue, json};

use super::erase::emptying;
use crate::{
    access::permissions,
    audit::AuditEntry,
    customer::{Customer, import::ImportPart},
    error::Error,
    id::CustomerId,
    job::{Job, JobContext, JobFailure, JobHandler, JobOutcome, JobPayload},
    operation::Operation,
    record::Record,
    store::{Assignment, Change, Filter, Json, Query, fold},
};

/// The kind of these jobs.
pub(super) const ERASURE_KIND: &str = "customer_erasure";
/// So many records are emptied by one commit.
const BATCH: usize = 100;

/// By what a person is recognised.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Traces {
    customers: Vec<CustomerId>,
    /// E-mail addresses and phone numbers.
    contacts: Vec<String>,
    names: Vec<String>,
}

impl Traces {
    pub(super) fn of(persons: &[Customer]) -> Self {
        let mut traces = Self::default();
        for person in persons {
            traces.customers.push(person.id);
            traces.names.push(fold::fold(person.name.as_str()));
            let main = person.email.iter().map(ToString::to_string).chain(person.phone.iter().map(ToString::to_string));
            traces.contacts.extend(main.chain(person.emails.iter().cloned()).chain(person.phones.iter().cloned()));
        }
        traces.contacts.iter_mut().for_each(|contact| *contact = contact.to_lowercase());
        traces
    }

    /// Whether a text is the id of one of the persons, and nothing else.
    fn are_the_id(&self, text: &str) -> bool {
        self.customers.iter().any(|id| id.to_string() == text)
    }

    /// Whether a text names one of the persons: by its id, or by how it is reached.
    fn are_in(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.customers.iter().any(|id| text.contains(&id.to_string()))
            || self.contacts.iter().any(|contact| !contact.is_empty() && text.contains(contact))
    }

    /// The same, or by its name.
    fn are_named_in(&self, text: &str) -> bool {
        self.are_in(text) || {
            let folded = fold::fold(text);
            self.names.iter().any(|name| !name.is_empty() && folded.contains(name))
        }
    }
}

/// Empties what still tells of persons who were erased.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErasureHandler;

#[async_trait]
impl JobHandler for ErasureHandler {
    fn kind(&self) -> &'static str {
        ERASURE_KIND
    }

    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure> {
        let (crm, by) = (context.crm(), context.by());
        by.may(permissions::PERSONAL_DATA_ERASE)?;
        let Some(payload) = JobPayload::of(crm, by, context.job().id).await? else {
            return Err(Error::InvalidState("What was to be looked for is not kept any more.".to_owned()).into());
        };
        let traces: Traces = serde_json::from_str(&payload.text).map_err(Error::internal)?;
        let mut emptied = 0;
        let audit = |entry: &AuditEntry| {
            let texts = [entry.before.as_ref(), entry.after.as_ref()];
            texts.into_iter().flatten().any(|json| traces.are_in(json.as_str())).then(emptying)
        };
        let told = Filter::Or(vec![AuditEntry::before.exists(), AuditEntry::after.exists()]);
        if !sweep(context, told, audit, &mut emptied).await? {
            return Ok(JobOutcome::Interrupted);
        }
        let part = |part: &ImportPart| forgotten(part, &traces);
        if !sweep(context, Filter::ALL, part, &mut emptied).await? {
            return Ok(JobOutcome::Interrupted);
        }
        let others = |other: &JobPayload| {
            let told = other.id != context.job().id && traces.are_in(&other.text);
            told.then(|| vec![JobPayload::text.set(String::new())])
        };
        if !sweep(context, Filter::ALL, others, &mut emptied).await? {
            return Ok(JobOutcome::Interrupted);
        }
        Ok(JobOutcome::Done(json!({"emptied": emptied})))
    }

    fn ended(&self, job: &Job, operation: &mut Operation<'_>) {
        JobPayload::release(job, operation);
    }

    fn replayed(&self, job: &Job, operation: &mut Operation<'_>) {
        JobPayload::keep(job, operation);
    }

    fn dropped(&self, job: &Job, operation: &mut Operation<'_>) {
        JobPayload::discard(job, operation);
    }
}

/// Looks at every record of a kind; answers whether it came to the end.
async fn sweep<T: Record>(
    context: &JobContext,
    filter: Filter,
    emptying: impl Fn(&T) -> Option<Vec<Assignment>> + Send + Sync,
    emptied: &mut u64,
) -> Result<bool, JobFailure> {
    let (crm, by) = (context.crm(), context.by());
    let mut changes = Vec::new();
    let mut looked = context.progress().done;
    {
        let mut records = std::pin::pin!(crm.repo::<T>().stream(by.scope(), Query::new(filter, 0)));
        while let Some(record) = records.next().await {
            let record = record?;
            looked += 1;
            if looked.is_multiple_of(1000) {
                if context.interruption().is_some() {
                    return Ok(false);
                }
                context.show(looked, None, "records", None);
            }
            if let Some(assignments) = emptying(&record) {
                changes.push((record.id().into(), assignments));
            }
        }
    }
    for batch in changes.chunks(BATCH) {
        let mut operation = Operation::new(crm, by);
        for (id, assignments) in batch {
            let filter = crate::record::ID.equals(*id);
            let assignments = assignments.clone();
            operation.change(Change::UpdateWhere { collection: T::COLLECTION, filter, assignments });
        }
        context.checkpoint(operation).await?;
        *emptied += batch.len() as u64;
    }
    context.show(looked, None, "records", None);
    Ok(true)
}

/// A part of an import without what it says of the persons; nothing where it says nothing.
fn forgotten(part: &ImportPart, traces: &Traces) -> Option<Vec<Assignment>> {
    let mut assignments = Vec::new();
    for (column, json) in
        [(ImportPart::errors, &part.errors), (ImportPart::undo, &part.undo), (ImportPart::kept, &part.kept)]
    {
        if !traces.are_named_in(json.as_str()) {
            continue;
        }
        let mut value = json.to_value();
        forget(&mut value, traces);
        assignments.push(column.set(Json::from_value(&value)));
    }
    if traces.are_in(&part.text) && part.done {
        assignments.push(ImportPart::text.set(String::new()));
    }
    (!assignments.is_empty()).then_some(assignments)
}

/// Empties texts that name the persons, and everything that was noted of them by their id.
fn forget(value: &mut JsonValue, traces: &Traces) {
    match value {
        // Ids are how the rest is understood; they lead to nobody any more.
        JsonValue::String(text) if traces.are_named_in(text) && !traces.are_the_id(text) => text.clear(),
        JsonValue::Array(items) => items.iter_mut().for_each(|item| forget(item, traces)),
        JsonValue::Object(members) => {
            let theirs = members.get("id").and_then(JsonValue::as_str);
            if theirs.is_some_and(|id| traces.customers.iter().any(|customer| customer.to_string() == id))
                && let Some(fields) = members.get_mut("fields")
            {
                *fields = json!([]);
            }
            members.values_mut().for_each(|member| forget(member, traces));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_found_however_they_are_written() {
        let traces = Traces {
            customers: vec![CustomerId(uuid::Uuid::from_u128(7))],
            contacts: vec!["kim@mail.example".to_owned(), "+919876543210".to_owned()],
            names: vec![fold::fold("Kim Lée")],
        };
        assert!(traces.are_in(r#"{"to":"KIM@mail.example"}"#) && traces.are_in("tel:+919876543210"));
        assert!(!traces.are_in("Kim Lee") && traces.are_named_in("x;KIM LEE;y"));
        let id = uuid::Uuid::from_u128(7).to_string();
        let mut value = json!({
            "updated": [{"id": id, "fields": [{"name": "city", "was": "Pune"}]}, {"id": "other", "fields": [1]}],
            "rows": [{"line": 3, "text": "Kim Lee,kim@mail.example", "errors": ["is no date"]}],
        });
        forget(&mut value, &traces);
        assert_eq!(
            value,
            json!({
                "updated": [{"id": id, "fields": []}, {"id": "other", "fields": [1]}],
                "rows": [{"line": 3, "text": "", "errors": ["is no date"]}],
            })
        );
    }
}
