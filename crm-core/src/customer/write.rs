//! The one way in which customers are written: whatever the door, a chunk of asks is loaded with a handful of reads,
//! decided one after the other, and committed once.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::json;
use uuid::Uuid;

use super::{
    ContactKey, ContactPoint, ContactPointId, Customer, CustomerGroup, Customers,
    ask::{Ask, ChunkOptions, Deed, Sought, WriteOptions, Written},
    chunk::{Chunk, Draft, asked_keys, meant, sought},
    decide::{Setting, differences},
    duplicate::{Clash, Holders, decide_points},
    holders::duplicate,
    service::Context,
};
use crate::{
    access::Principal,
    delivery,
    error::{Error, Result},
    id::CustomerId,
    operation::Operation,
    order,
    record::{Meta, Record as _},
    store::{Assignment, Change, FieldKind, FieldRef, Filter, Query, StoreError, Value, WhenUnmet, head},
};

/// So often is a decision made again when what it was made on has changed meanwhile.
const ATTEMPTS: usize = 10;

/// The answers of a chunk: where among the drafts each customer is, and what was asked of it.
pub(super) type Answers = Vec<Result<(usize, Deed)>>;

/// Why an ask is refused: for a reason of its own, or because others are in the way.
enum Refusal {
    Error(Error),
    Clash(Clash),
}

fn each_once<T: Copy + Eq + std::hash::Hash>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    items.filter(|item| seen.insert(*item)).collect()
}

impl Customers<'_> {
    /// Writes one customer.
    pub(crate) async fn write_one(&self, by: &Principal, ask: Ask, options: WriteOptions) -> Result<Written> {
        let options = ChunkOptions { write: options, ..ChunkOptions::default() };
        let mut answers = self.write(by, std::slice::from_ref(&ask), &options).await?;
        answers.pop().unwrap_or(Err(Error::NotFound("customer")))
    }

    /// Writes a chunk in one commit; each ask has its own answer. Where the options say so, one refusal leaves all
    /// unwritten.
    pub(crate) async fn write(
        &self,
        by: &Principal,
        asks: &[Ask],
        options: &ChunkOptions,
    ) -> Result<Vec<Result<Written>>> {
        let record = match asks {
            [ask] => ask.id().map(|id| id.0),
            _ => None,
        };
        let mut turn = self.crm.turns().join(record.unwrap_or(by.organization.0)).await;
        for _ in 1..ATTEMPTS {
            match self.try_write(by, asks, options).await {
                Err(error) if is_race(&error) => {
                    tracing::debug!(%error, "others were faster: the decision is made again");
                    turn.wait().await;
                }
                done => return done,
            }
        }
        self.try_write(by, asks, options).await
    }

    async fn try_write(&self, by: &Principal, asks: &[Ask], options: &ChunkOptions) -> Result<Vec<Result<Written>>> {
        let (mut drafts, answers, holders, context) = self.decide_all(by, asks, options).await?;
        let refused = answers.iter().any(Result::is_err);
        if !(options.atomic && refused) {
            let mut operation = Operation::new(self.crm, by);
            self.put_down(by, &mut operation, &mut drafts, &holders, &context, options);
            let recording = options.recording.as_deref();
            let noted = recording.map_or(Ok(false), |recording| recording.note(&mut operation, &drafts))?;
            operation.commit().await?;
            if let Some(recording) = recording.filter(|_| noted) {
                recording.noted();
            }
        }
        Ok(answers
            .into_iter()
            .map(|answer| {
                answer.and_then(|(place, deed)| {
                    let draft = drafts.get(place).ok_or(Error::NotFound("customer"))?;
                    let deed = if draft.deed == Deed::Unchanged { Deed::Unchanged } else { deed };
                    Ok(Written { customer: draft.after.clone(), deed })
                })
            })
            .collect())
    }

    pub(super) async fn decide_all(
        &self,
        by: &Principal,
        asks: &[Ask],
        options: &ChunkOptions,
    ) -> Result<(Vec<Draft>, Answers, Holders, Context)> {
        let context = self.context(by).await?;
        let named: Vec<CustomerId> = each_once(asks.iter().filter_map(Ask::id));
        let mut stored: HashMap<CustomerId, Customer> = self.load(by, &named).await?;
        let sought: Vec<Option<Sought>> = asks.iter().map(|ask| sought(ask, context.country)).collect();
        let mut keys: BTreeSet<ContactKey> = sought
            .iter()
            .filter_map(|sought| match sought {
                Some(Sought::Contact(key)) => Some(key.clone()),
                _ => None,
            })
            .collect();
        for ask in asks {
            let old = ask.id().and_then(|id| stored.get(&id));
            keys.extend(asked_keys(ask, old, context.country));
        }
        let mut holders = self.holders(by, &keys).await?;
        let unique = self.unique_sought(by, &sought).await?;
        let found = asks.iter().zip(&sought).filter_map(|(ask, sought)| meant(ask, sought.as_ref(), &holders, &unique));
        let holding: Vec<CustomerId> = each_once(found).into_iter().filter(|id| !stored.contains_key(id)).collect();
        stored.extend(self.load(by, &holding).await?);
        let restored = asks.iter().filter(|ask| matches!(ask, Ask::Restore(_))).filter_map(Ask::id);
        let become_again = asks.iter().filter_map(Ask::becomes);
        let restored: Vec<&Customer> = restored.filter_map(|id| stored.get(&id)).chain(become_again).collect();
        let known = self.references(by, asks.iter().flat_map(Ask::inputs), &restored).await?;
        let now = self.crm.now();
        let setting =
            Setting { now, country: context.country, types: &context.types, fields: &context.fields, known: &known };

        let matching = match options.only.as_ref().filter(|only| only.names_related()) {
            Some(only) => Some(self.matching_among(by, only, stored.keys().copied()).await?),
            None => None,
        };
        let mut chunk = Chunk { by, options, setting, drafts: Vec::new(), places: HashMap::new(), stored, matching };
        let mut unique = self.unique_holders(&chunk, asks, &sought, &holders, unique).await?;
        let mut answers = Vec::with_capacity(asks.len());
        for (ask, sought) in asks.iter().zip(&sought) {
            let meant = meant(ask, sought.as_ref(), &holders, &unique);
            let answer = match chunk.decide(*self, ask, meant) {
                Ok(None) => Ok(None),
                Ok(Some((before, after, deed))) => {
                    let before = before.as_ref();
                    decide_points(before, &after, &holders, options.write.allow_duplicate_phone).and_then(|changes| {
                        unique.accept(&context.fields, before, &after)?;
                        holders.accept(after.id, &changes);
                        Ok(Some((after, deed)))
                    })
                }
                Err(error) => {
                    answers.push(Err(Refusal::Error(error)));
                    continue;
                }
            };
            answers.push(match answer {
                Ok(Some((after, deed))) => Ok((chunk.accept(after, deed), deed)),
                Ok(None) => meant
                    .and_then(|id| chunk.leave(id))
                    .map(|place| (place, Deed::Unchanged))
                    .ok_or(Refusal::Error(Error::NotFound("customer"))),
                Err(clash) => Err(Refusal::Clash(clash)),
            });
        }
        let clashes: Vec<&Clash> = answers
            .iter()
            .filter_map(|answer| match answer {
                Err(Refusal::Clash(clash)) => Some(clash),
                _ => None,
            })
            .collect();
        let nameable = self.nameable(by, &clashes, &chunk).await?;
        let answers = answers
            .into_iter()
            .map(|answer| {
                answer.map_err(|refusal| match refusal {
                    Refusal::Error(error) => error,
                    Refusal::Clash(clash) => duplicate(&clash, &nameable),
                })
            })
            .collect();
        Ok((chunk.drafts, answers, holders, context))
    }

    /// Who of these matches a filter that looks at related records. It looks at those of these customers only.
    async fn matching_among(
        self,
        by: &Principal,
        filter: &Filter,
        ids: impl Iterator<Item = CustomerId>,
    ) -> Result<HashSet<CustomerId>> {
        let ids: Vec<Value> = ids.map(|id| Value::Id(id.0)).collect();
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let among = Filter::In { field: FieldRef::declared("id", FieldKind::Id), values: ids.clone() };
        let query = Query::new(among.and(filter.clone().related_to(&ids)), ids.len());
        let found = self.crm.repo::<Customer>().find(by.scope(), &query).await?;
        Ok(found.records.into_iter().map(|customer| customer.id).collect())
    }

    /// Turns drafts into the changes, audit entries and events of one operation.
    pub(super) fn put_down(
        self,
        by: &Principal,
        operation: &mut Operation<'_>,
        drafts: &mut [Draft],
        holders: &Holders,
        context: &Context,
        options: &ChunkOptions,
    ) {
        let now = operation.now();
        let mut changed = Vec::new();
        let mut created = Vec::new();
        let mut points = Vec::new();
        let mut said = Vec::new();
        let mut joined: BTreeSet<Uuid> = BTreeSet::new();
        for draft in drafts.iter_mut().filter(|draft| draft.deed != Deed::Unchanged) {
            let before = draft.before.as_ref();
            let old_keys = before.map(Customer::held_keys).unwrap_or_default();
            let new_keys = draft.after.held_keys();
            for key in old_keys.difference(&new_keys) {
                operation.change(Change::DeleteWhere {
                    collection: ContactPoint::COLLECTION,
                    filter: ContactPoint::kind
                        .equals(key.kind)
                        .and(ContactPoint::value.equals(key.value.clone()))
                        .and(ContactPoint::customer_id.equals(draft.after.id)),
                });
            }
            for key in new_keys.difference(&old_keys) {
                points.push(ContactPoint {
                    id: self.crm.new_id_at::<ContactPointId>(now),
                    kind: key.kind,
                    value: key.value.clone(),
                    sharer: if holders.shares(key, draft.after.id) {
                        draft.after.id.to_string()
                    } else {
                        String::new()
                    },
                    customer_id: draft.after.id,
                    meta: Meta::new(by.organization, now),
                });
            }
            let old_groups: HashSet<Uuid> = before.into_iter().flat_map(Customer::groups).collect();
            joined.extend(draft.after.groups().filter(|group| !old_groups.contains(group)));
            let written = match before {
                None => {
                    created.push(draft.after.to_row());
                    true
                }
                Some(before) => operation.update(before, &mut draft.after),
            };
            if !written {
                draft.deed = Deed::Unchanged;
                continue;
            }
            changed.push(draft.after.id);
            said.extend(delivery::changes_of(self.crm, by, draft.before.as_ref(), &draft.after, now));
            let live = |customer: &Customer| customer.deleted_at.is_none();
            self.crm.fields().keep_unique(
                operation,
                &context.fields,
                draft.after.id.0,
                draft.before.as_ref().filter(|before| live(before)).map(|before| &before.custom),
                Some(&draft.after).filter(|after| live(after)).map(|after| &after.custom),
            );
            if !options.quiet {
                note_down(operation, draft, options.entry.is_none());
            }
        }
        order::follow_customers(operation, drafts.iter().map(|draft| (draft.before.as_ref(), &draft.after)));
        // A group that is being removed takes no more members.
        for group in joined {
            operation.change(Change::Update {
                collection: CustomerGroup::COLLECTION,
                id: group,
                expected_version: None,
                condition: Some((CustomerGroup::removed_at.missing(), WhenUnmet::Abort)),
                assignments: vec![Assignment::Set(head::UPDATED_AT, Value::Timestamp(now))],
            });
        }
        if !created.is_empty() {
            operation.change(Change::Insert { collection: Customer::COLLECTION, rows: created });
        }
        operation.insert_all(&points);
        operation.insert_all(&said);
        if let Some((action, description)) = &options.entry
            && !changed.is_empty()
        {
            let after = json!({"change": description, "count": changed.len(), "customer_ids": changed});
            operation.audit_named(action, Customer::COLLECTION.name, None, None, Some(after));
        }
    }
}

/// The audit entry and the event of one customer.
fn note_down(operation: &mut Operation<'_>, draft: &Draft, audited: bool) {
    let Some(event) = draft.deed.event() else { return };
    let (old, new) = differences(draft.before.as_ref(), Some(&draft.after));
    let fields: Vec<String> =
        new.as_ref().and_then(|new| new.as_object()).into_iter().flat_map(|new| new.keys().cloned()).collect();
    operation.emit(event, &draft.after, &json!({"id": draft.after.id, "changed": fields}));
    if audited {
        operation.audit::<Customer>(event, draft.after.id, old, new);
    }
}

/// Whether what a decision was made on has changed meanwhile, so that it is to be made again.
pub(crate) fn is_race(error: &Error) -> bool {
    match error {
        Error::Duplicate { .. } | Error::VersionConflict { .. } | Error::NotFound(_) => true,
        Error::Internal(cause) => matches!(cause.downcast_ref::<StoreError>(), Some(StoreError::Unmet { .. })),
        _ => false,
    }
}
