//! The one way in which customers are written: whatever the door, a chunk of asks is loaded with a handful of reads,
//! decided one after the other, and committed once.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::json;
use uuid::Uuid;

use super::{
    ContactKey, ContactPoint, ContactPointId, Customer, CustomerGroup, CustomerInput, Customers,
    decide::{self, Door, Setting, differences},
    duplicate::{Clash, Holders, UniqueHolders, decide_points, taken_keys},
    service::Context,
};
use crate::{
    access::Principal,
    error::{Error, FieldErrors, Result},
    field::{CustomFieldId, UniqueValue},
    id::CustomerId,
    operation::Operation,
    record::{Meta, Record as _},
    store::{Assignment, Change, Filter, Query, StoreError, Value, WhenUnmet, head},
    text::Line,
};

/// So often is a decision made again when what it was made on has changed meanwhile.
const ATTEMPTS: usize = 5;

/// What is asked of one customer.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// A new one.
    Create(CustomerInput),
    /// The one with this e-mail, else this phone; a new one where there is none.
    Upsert(CustomerInput),
    /// All writable fields of one.
    Replace(CustomerId, CustomerInput),
    /// Some fields of one.
    Merge(CustomerId, CustomerInput),
    /// Into the bin.
    Delete(CustomerId),
    /// Out of the bin.
    Restore(CustomerId),
    /// Nothing that could be read.
    Unreadable(FieldErrors),
}

impl Ask {
    pub(crate) const fn id(&self) -> Option<CustomerId> {
        match self {
            Self::Replace(id, _) | Self::Merge(id, _) | Self::Delete(id) | Self::Restore(id) => Some(*id),
            Self::Create(_) | Self::Upsert(_) | Self::Unreadable(_) => None,
        }
    }

    const fn input(&self) -> Option<&CustomerInput> {
        match self {
            Self::Create(input) | Self::Upsert(input) | Self::Replace(_, input) | Self::Merge(_, input) => Some(input),
            Self::Delete(_) | Self::Restore(_) | Self::Unreadable(_) => None,
        }
    }
}

/// How customers are written.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Lets a customer have a phone that another has. An e-mail is never shared.
    pub allow_duplicate_phone: bool,
    /// The version that the customer must have.
    pub expected_version: Option<i64>,
}

/// How a chunk is committed and noted.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChunkOptions {
    pub(crate) write: WriteOptions,
    /// Nothing is written where one ask is refused.
    pub(crate) atomic: bool,
    /// One audit entry for the chunk with this action and description, instead of one for each customer.
    pub(crate) entry: Option<(&'static str, serde_json::Value)>,
    /// Only customers that (still) match are changed; others are left as they are.
    pub(crate) only: Option<Filter>,
}

/// What became of a customer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Deed {
    /// It is new.
    Created,
    /// It was changed.
    Updated,
    /// It was so already.
    Unchanged,
    /// It is in the bin.
    Deleted,
    /// It is out of the bin.
    Restored,
}

impl Deed {
    const fn event(self) -> Option<&'static str> {
        match self {
            Self::Created => Some("customer.created"),
            Self::Updated => Some("customer.updated"),
            Self::Deleted => Some("customer.deleted"),
            Self::Restored => Some("customer.restored"),
            Self::Unchanged => None,
        }
    }
}

/// A customer as it is after a write, and what the write did.
#[derive(Clone, Debug)]
pub struct Written {
    /// The customer.
    pub customer: Customer,
    /// What was done.
    pub deed: Deed,
}

/// One customer of a chunk.
struct Draft {
    before: Option<Customer>,
    after: Customer,
    deed: Deed,
}

/// The answers of a chunk: where among the drafts each customer is, and what was asked of it.
type Answers = Vec<Result<(usize, Deed)>>;

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
        for _ in 1..ATTEMPTS {
            match self.try_write(by, asks, options).await {
                Err(error) if is_race(&error) => {}
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
            operation.commit().await?;
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

    async fn decide_all(
        &self,
        by: &Principal,
        asks: &[Ask],
        options: &ChunkOptions,
    ) -> Result<(Vec<Draft>, Answers, Holders, Context)> {
        let context = self.context(by).await?;
        let named: Vec<CustomerId> = each_once(asks.iter().filter_map(Ask::id));
        let mut stored: HashMap<CustomerId, Customer> = self.load(by, &named).await?;
        let upserted: Vec<Option<ContactKey>> = asks
            .iter()
            .map(|ask| match ask {
                Ask::Upsert(input) => decide::upsert_key(input, context.country),
                _ => None,
            })
            .collect();
        let mut keys: BTreeSet<ContactKey> = upserted.iter().flatten().cloned().collect();
        for ask in asks {
            let old = ask.id().and_then(|id| stored.get(&id));
            keys.extend(asked_keys(ask, old, context.country));
        }
        let mut holders = self.holders(by, &keys).await?;
        let holding: Vec<CustomerId> = each_once(upserted.iter().flatten().filter_map(|key| holders.holder_of(key)))
            .into_iter()
            .filter(|id| !stored.contains_key(id))
            .collect();
        stored.extend(self.load(by, &holding).await?);
        let restored = asks.iter().filter(|ask| matches!(ask, Ask::Restore(_))).filter_map(Ask::id);
        let groups = restored.filter_map(|id| stored.get(&id)).flat_map(Customer::groups);
        let known = self.references(by, asks.iter().filter_map(Ask::input), groups).await?;
        let now = self.crm.now();
        let setting =
            Setting { now, country: context.country, types: &context.types, fields: &context.fields, known: &known };

        let mut chunk = Chunk { by, options, setting, drafts: Vec::new(), places: HashMap::new(), stored };
        let mut unique = self.unique_holders(&chunk, asks, &upserted, &holders).await?;
        let mut answers = Vec::with_capacity(asks.len());
        for (ask, key) in asks.iter().zip(&upserted) {
            let meant = meant(ask, key.as_ref(), &holders);
            let answer = match chunk.decide(self, ask, key.is_some(), meant) {
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
                    answers.push(Err(error));
                    continue;
                }
            };
            answers.push(match answer {
                Ok(Some((after, deed))) => Ok((chunk.accept(after, deed), deed)),
                Ok(None) => meant
                    .and_then(|id| chunk.leave(id))
                    .map(|place| (place, Deed::Unchanged))
                    .ok_or(Error::NotFound("customer")),
                Err(clash) => Err(self.duplicate(by, &clash, &chunk).await?),
            });
        }
        Ok((chunk.drafts, answers, holders, context))
    }

    /// Turns drafts into the changes, audit entries and events of one operation.
    fn put_down(
        &self,
        by: &Principal,
        operation: &mut Operation<'_>,
        drafts: &mut [Draft],
        holders: &Holders,
        context: &Context,
        options: &ChunkOptions,
    ) {
        let now = operation.now();
        let mut changed = Vec::new();
        let mut points = Vec::new();
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
                    operation.insert(&draft.after);
                    true
                }
                Some(before) => operation.update(before, &mut draft.after),
            };
            if !written {
                draft.deed = Deed::Unchanged;
                continue;
            }
            changed.push(draft.after.id);
            let live = |customer: &Customer| customer.deleted_at.is_none();
            self.crm.fields().keep_unique(
                operation,
                &context.fields,
                draft.after.id.0,
                draft.before.as_ref().filter(|before| live(before)).map(|before| &before.custom),
                Some(&draft.after).filter(|after| live(after)).map(|after| &after.custom),
            );
            self.note_down(operation, draft, options.entry.is_none());
        }
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
        operation.insert_all(&points);
        if let Some((action, description)) = &options.entry
            && !changed.is_empty()
        {
            let after = json!({"change": description, "count": changed.len(), "customer_ids": changed});
            operation.audit_named(action, Customer::COLLECTION.name, None, None, Some(after));
        }
    }

    /// The audit entry and the event of one customer.
    #[expect(clippy::unused_self, reason = "belongs to the service")]
    fn note_down(&self, operation: &mut Operation<'_>, draft: &Draft, audited: bool) {
        let Some(event) = draft.deed.event() else { return };
        let (old, new) = differences(draft.before.as_ref(), Some(&draft.after));
        let fields: Vec<String> =
            new.as_ref().and_then(|new| new.as_object()).into_iter().flat_map(|new| new.keys().cloned()).collect();
        operation.emit(event, &draft.after, &json!({"id": draft.after.id, "changed": fields}));
        if audited {
            operation.audit::<Customer>(event, draft.after.id, old, new);
        }
    }

    async fn load(&self, by: &Principal, ids: &[CustomerId]) -> Result<HashMap<CustomerId, Customer>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.crm.repo::<Customer>().get_many(by.scope(), ids).await?;
        Ok(found.into_iter().map(|customer| (customer.id, customer)).collect())
    }

    /// Who has these keys now.
    async fn holders(&self, by: &Principal, keys: &BTreeSet<ContactKey>) -> Result<Holders> {
        let mut points = Vec::new();
        let keys: Vec<&ContactKey> = keys.iter().collect();
        for keys in keys.chunk_by(|one, other| one.kind == other.kind) {
            let Some(kind) = keys.first().map(|key| key.kind) else { continue };
            for keys in keys.chunks(500) {
                let values = keys.iter().map(|key| key.value.clone());
                let filter = ContactPoint::kind.equals(kind).and(ContactPoint::value.one_of(values));
                let mut query = Query::new(filter, 1000);
                loop {
                    let found = self.crm.repo::<ContactPoint>().find(by.scope(), &query).await?;
                    points.extend(found.records);
                    query.after = found.next;
                    if query.after.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(Holders::new(points))
    }

    /// Who has the values of unique custom fields that the asks may take. Costs nothing where no field is unique.
    async fn unique_holders(
        &self,
        chunk: &Chunk<'_>,
        asks: &[Ask],
        upserted: &[Option<ContactKey>],
        holders: &Holders,
    ) -> Result<UniqueHolders> {
        let set = chunk.setting.fields;
        let mut wanted: HashMap<CustomFieldId, BTreeSet<String>> = HashMap::new();
        if set.has_unique() {
            for (ask, key) in asks.iter().zip(upserted) {
                let decided = chunk.decide(self, ask, key.is_some(), meant(ask, key.as_ref(), holders));
                if let Ok(Some((_, after, _))) = decided
                    && after.deleted_at.is_none()
                {
                    for (field, value) in set.unique_values(&after.custom) {
                        wanted.entry(field).or_default().insert(value);
                    }
                }
            }
        }
        let mut found = Vec::new();
        for (field, values) in wanted {
            let count = values.len();
            let filter = UniqueValue::field_id.equals(field).and(UniqueValue::value.one_of(values));
            let query = Query::new(filter, count);
            found.extend(self.crm.repo::<UniqueValue>().find(chunk.by.scope(), &query).await?.records);
        }
        Ok(UniqueHolders::new(found))
    }

    /// The refusal, naming the customers in the way as far as the principal sees them.
    async fn duplicate(&self, by: &Principal, clash: &Clash, chunk: &Chunk<'_>) -> Result<Error> {
        let fields: Vec<String> = clash.fields.iter().cloned().collect();
        let ids: Vec<CustomerId> = clash.customers.iter().copied().take(100).collect();
        let customers = self.crm.repo::<Customer>().get_many(by.scope(), &ids).await?;
        let stored = customers.iter().filter(|customer| customer.is_reached_by(by)).map(|customer| customer.id.0);
        let written_with_it = ids.iter().filter(|id| !chunk.options.atomic && chunk.is_new(**id)).map(|id| id.0);
        Ok(Error::Duplicate {
            message: format!("There is a customer with the same {} already.", fields.join(" and ")),
            matches: stored.chain(written_with_it).collect(),
            fields,
        })
    }
}

/// The decisions of a chunk so far: later asks see what earlier ones made of a customer.
struct Chunk<'a> {
    by: &'a Principal,
    options: &'a ChunkOptions,
    setting: Setting<'a>,
    drafts: Vec<Draft>,
    places: HashMap<CustomerId, usize>,
    stored: HashMap<CustomerId, Customer>,
}

impl Chunk<'_> {
    /// The customer as it is after the asks so far.
    fn current(&self, id: CustomerId) -> Option<&Customer> {
        match self.places.get(&id) {
            Some(place) => self.drafts.get(*place).map(|draft| &draft.after),
            None => self.stored.get(&id),
        }
    }

    /// Whether an earlier ask of the chunk makes the customer.
    fn is_new(&self, id: CustomerId) -> bool {
        self.places.get(&id).and_then(|place| self.drafts.get(*place)).is_some_and(|draft| draft.before.is_none())
    }

    /// The state before and after an ask; nothing where the ask does not concern the customer any more.
    fn decide(
        &self,
        customers: &Customers<'_>,
        ask: &Ask,
        has_key: bool,
        meant: Option<CustomerId>,
    ) -> Result<Option<(Option<Customer>, Customer, Deed)>> {
        let now = self.setting.now;
        let input = ask.input();
        if let Ask::Unreadable(errors) = ask {
            return Err(Error::Invalid(errors.clone()));
        }
        if let Ask::Create(input) | Ask::Upsert(input) = ask
            && meant.is_none()
        {
            if matches!(ask, Ask::Upsert(_)) && !has_key && input.wrong.is_empty() {
                return Err(Error::invalid("email", "REQUIRED", "is required to find the customer, or else a phone"));
            }
            let id = customers.crm.new_id_at::<CustomerId>(now);
            // Stands in until the decision takes the name or says that it is missing.
            let unnamed = Line::parse("?")?;
            let blank = Customer::blank(id, unnamed, Meta::new(self.by.organization, now));
            let after = decide::decide(&blank, input, Door::Create, self.by, &self.setting)?;
            return Ok(Some((None, after, Deed::Created)));
        }
        let before = meant.and_then(|id| self.current(id)).ok_or(Error::NotFound("customer"))?;
        let in_bin = before.deleted_at.is_some();
        if !before.is_reached_by(self.by) || in_bin != matches!(ask, Ask::Restore(_)) {
            return Err(match ask {
                // An upsert names what somebody has whom the principal does not see.
                Ask::Upsert(_) => Error::Duplicate {
                    message: "There is a customer with the same email or phone already.".to_owned(),
                    fields: vec!["email".to_owned(), "phone".to_owned()],
                    matches: Vec::new(),
                },
                _ => Error::NotFound("customer"),
            });
        }
        before.meta.expect(self.options.write.expected_version)?;
        if let Some(only) = &self.options.only
            && !crate::store::evaluate::matches(Customer::COLLECTION, only, &before.to_row())
        {
            return Ok(None);
        }
        let (after, deed) = match (ask, input) {
            (Ask::Replace(..), Some(input)) => {
                (decide::decide(before, input, Door::Replace, self.by, &self.setting)?, Deed::Updated)
            }
            (Ask::Delete(_), _) => (Customer { deleted_at: Some(now), ..before.clone() }, Deed::Deleted),
            (Ask::Restore(_), _) => {
                let mut after = Customer { deleted_at: None, ..before.clone() };
                // Groups that were removed meanwhile are gone.
                after.group_ids.retain(|id| id.parse().is_ok_and(|id| self.setting.known.groups.contains(&id)));
                (after, Deed::Restored)
            }
            (_, Some(input)) => (decide::decide(before, input, Door::Merge, self.by, &self.setting)?, Deed::Updated),
            (_, None) => return Ok(None),
        };
        Ok(Some((Some(before.clone()), after, deed)))
    }

    /// Keeps a decision; answers its place among the drafts.
    fn accept(&mut self, after: Customer, deed: Deed) -> usize {
        if let Some(place) = self.places.get(&after.id).copied() {
            if let Some(draft) = self.drafts.get_mut(place) {
                draft.after = after;
                if draft.deed != Deed::Created {
                    draft.deed = deed;
                }
            }
            return place;
        }
        let before = self.stored.get(&after.id).cloned();
        self.places.insert(after.id, self.drafts.len());
        self.drafts.push(Draft { before, after, deed });
        self.drafts.len() - 1
    }

    /// Leaves a customer as it is.
    fn leave(&mut self, id: CustomerId) -> Option<usize> {
        let customer = self.current(id)?.clone();
        Some(match self.places.get(&id) {
            Some(place) => *place,
            None => self.accept(customer, Deed::Unchanged),
        })
    }
}

/// The keys that an ask may take.
fn asked_keys(ask: &Ask, old: Option<&Customer>, country: Option<crate::contact::Country>) -> BTreeSet<ContactKey> {
    if let (Ask::Restore(_), Some(old)) = (ask, old) {
        return taken_keys(Some(old), &Customer { deleted_at: None, ..old.clone() });
    }
    let Some(input) = ask.input() else { return BTreeSet::new() };
    let mut keys = input.keys(country);
    if let Some(old) = old {
        let held = old.held_keys();
        keys.retain(|key| !held.contains(key));
    }
    keys
}

/// The customer that an ask is about, where there is one.
fn meant(ask: &Ask, key: Option<&ContactKey>, holders: &Holders) -> Option<CustomerId> {
    match (ask, key) {
        (Ask::Upsert(_), Some(key)) => holders.holder_of(key),
        _ => ask.id(),
    }
}

fn each_once<T: Copy + Eq + std::hash::Hash>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    items.filter(|item| seen.insert(*item)).collect()
}

/// Whether what a decision was made on has changed meanwhile, so that it is to be made again.
pub(crate) fn is_race(error: &Error) -> bool {
    match error {
        Error::Duplicate { .. } | Error::VersionConflict { .. } | Error::NotFound(_) => true,
        Error::Internal(cause) => matches!(cause.downcast_ref::<StoreError>(), Some(StoreError::Unmet { .. })),
        _ => false,
    }
}
