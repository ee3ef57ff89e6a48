//! The one way in which orders are written: whatever the door, a chunk of asks is loaded with a handful of reads, decided
//! one after the other, and committed once with the figures of the customers.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use futures::StreamExt as _;
use serde_json::json;

use super::{
    Order, OrderId, OrderInput, OrderItems, OrderStatus, Orders,
    decide::{Setting, conflict, decide},
    figures::Moved,
};
use crate::{
    access::Principal,
    complaint::Complaint,
    contact::Country,
    customer::Customer,
    error::{Error, FieldErrors, Result},
    field::{AppliesTo, CustomValues, FieldSet, UniqueValue},
    id::{CustomerId, TeamId, UserId},
    operation::Operation,
    record::{ID, Meta, Record as _, UPDATED_AT},
    store::{Change, Json, Money, Query, StoreError},
    time::Timestamp,
};

/// So often is a decision made again when what it was made on has changed meanwhile.
const ATTEMPTS: usize = 10;
/// So many external ids are looked for at once.
const LOOK: usize = 500;

/// What the refusal of an order that is not there, or not in sight, calls it.
pub(super) const ORDER: &str = "order";

/// What is asked of one order.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// A new one, or the one with the external id.
    Ingest(OrderInput),
    /// Some fields of one, which has this version where one is expected.
    Merge(OrderId, OrderInput, Option<i64>),
    /// Nothing that could be read.
    Unreadable(FieldErrors),
}

impl Ask {
    const fn input(&self) -> Option<&OrderInput> {
        match self {
            Self::Ingest(input) | Self::Merge(_, input, _) => Some(input),
            Self::Unreadable(_) => None,
        }
    }
}

/// What became of an order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OrderDeed {
    /// It is new.
    Created,
    /// It was changed.
    Updated,
    /// It was there already, or was so already.
    Unchanged,
}

/// An order as it is after a write, and what the write did.
#[derive(Clone, Debug)]
pub struct WrittenOrder {
    /// The order.
    pub order: Order,
    /// What was done.
    pub deed: OrderDeed,
}

/// An order that is being decided.
#[derive(Clone, Debug)]
struct Draft {
    before: Option<Order>,
    after: Order,
}

impl Draft {
    fn is_changed(&self) -> bool {
        self.before.as_ref() != Some(&self.after)
    }
}

/// How a chunk is decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// The id that a new order gets, where one is asked for.
    pub(super) new_id: Option<OrderId>,
    /// Whether orders are looked for that have an external id already.
    pub(super) looks: bool,
}

/// What was decided of a chunk.
pub(super) struct Decided {
    drafts: Vec<Draft>,
    answers: Vec<Result<(usize, OrderDeed)>>,
    customers: HashMap<CustomerId, Customer>,
    fields: Arc<FieldSet>,
    now: Timestamp,
}

impl Decided {
    /// The refusal of the first ask, where it is refused.
    pub(super) fn refusal(&mut self) -> Option<Error> {
        match self.answers.pop() {
            Some(Err(error)) => Some(error),
            Some(Ok(answer)) => {
                self.answers.push(Ok(answer));
                None
            }
            None => None,
        }
    }

    /// The order of a chunk of one.
    pub(super) fn only(&self) -> Option<&Order> {
        self.drafts.first().map(|draft| &draft.after)
    }

    fn written(self) -> Vec<Result<WrittenOrder>> {
        let drafts = self.drafts;
        let written = |(place, deed): (usize, OrderDeed)| {
            let order = drafts.get(place).map(|draft| draft.after.clone()).ok_or(Error::NotFound(ORDER))?;
            Ok(WrittenOrder { order, deed })
        };
        self.answers.into_iter().map(|answer| answer.and_then(written)).collect()
    }
}

impl Orders<'_> {
    /// Writes one order.
    pub(super) async fn write_one(&self, by: &Principal, ask: Ask) -> Result<WrittenOrder> {
        let mut answers = self.write(by, std::slice::from_ref(&ask)).await?;
        answers.pop().unwrap_or(Err(Error::NotFound(ORDER)))
    }

    /// Writes a chunk in one commit; each ask has its own answer.
    ///
    /// # Errors
    /// What the last attempt ran into.
    pub(super) async fn write(&self, by: &Principal, asks: &[Ask]) -> Result<Vec<Result<WrittenOrder>>> {
        let wanted = match asks {
            [Ask::Ingest(input)] => input.customer_id.value().map(|id| id.0),
            [Ask::Merge(id, ..)] => Some(id.0),
            _ => None,
        };
        let mut turn = self.crm.turns().join(wanted.unwrap_or(by.organization.0)).await;
        let mut attempt = 0;
        loop {
            attempt += 1;
            // Most orders are new: the unique key tells which are not.
            let plan = Plan { new_id: None, looks: attempt > 1 || asks.len() > 1 };
            let mut decided = self.decide_all(by, asks, plan).await?;
            let mut operation = Operation::at(self.crm, by, decided.now);
            self.put_down(by, &mut operation, &mut decided).await?;
            match operation.try_commit().await {
                Ok(_) => return Ok(decided.written()),
                Err(error) if is_race(&error) && attempt < ATTEMPTS => {
                    tracing::debug!(%error, "others were faster: the decision is made again");
                    turn.wait().await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What inputs are read with: the custom fields, and where national phone numbers are from.
    pub(super) async fn context(&self, by: &Principal) -> Result<(Arc<FieldSet>, Option<Country>)> {
        let country = match self.crm.organizations().settings(by).await {
            Ok(organization) => organization.country,
            // An embedder may keep orders without any account.
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        Ok((self.crm.fields().set(by.organization, AppliesTo::Order).await?, country))
    }

    /// Decides a chunk, without writing anything.
    pub(super) async fn decide_all(&self, by: &Principal, asks: &[Ask], plan: Plan) -> Result<Decided> {
        let (fields, country) = self.context(by).await?;
        let now = self.crm.now();
        let mut drafts: Vec<Draft> = self
            .stored(by, asks, plan.looks)
            .await?
            .into_iter()
            .map(|order| Draft { after: order.clone(), before: Some(order) })
            .collect();
        let mut ids: Vec<CustomerId> = drafts.iter().map(|draft| draft.after.customer_id).collect();
        ids.extend(asks.iter().filter_map(|ask| ask.input()?.customer_id.value().copied()));
        ids.sort_unstable();
        ids.dedup();
        let mut customers = HashMap::with_capacity(ids.len());
        for ids in ids.chunks(LOOK) {
            let found = self.crm.repo::<Customer>().get_many(by.scope(), ids).await?;
            customers.extend(found.into_iter().filter(|customer| customer.is_reached_by(by)).map(|one| (one.id, one)));
        }
        let mut places: HashMap<OrderId, usize> = HashMap::new();
        let mut named: HashMap<String, usize> = HashMap::new();
        for (place, draft) in drafts.iter().enumerate() {
            places.insert(draft.after.id, place);
            named.extend(draft.after.external_id.as_ref().map(|id| (id.as_str().to_owned(), place)));
        }
        let setting = Setting { now, country, fields: &fields };
        let mut answers = Vec::with_capacity(asks.len());
        for ask in asks {
            let answer = match ask {
                Ask::Unreadable(errors) => Err(Error::Invalid(errors.clone())),
                Ask::Merge(id, input, version) => {
                    let place = places.get(id).copied();
                    let changed = place.and_then(|place| drafts.get(place)).ok_or(Error::NotFound(ORDER));
                    changed
                        .and_then(|draft| change(&draft.after, input, *version, &customers, &setting))
                        .map(|after| (place.unwrap_or_default(), after))
                        .map(|(place, after)| {
                            let deed = if drafts.get(place).is_some_and(|draft| draft.after == after) {
                                OrderDeed::Unchanged
                            } else {
                                OrderDeed::Updated
                            };
                            if let Some(draft) = drafts.get_mut(place) {
                                draft.after = after;
                            }
                            (place, deed)
                        })
                }
                Ask::Ingest(input) => {
                    let id = plan.new_id.unwrap_or_else(|| self.crm.new_id_at(now));
                    let blank = blank(id, input, Meta::new(by.organization, now));
                    ingest(&blank, input, &customers, &setting).and_then(|after| {
                        let there = after.external_id.as_ref().and_then(|id| named.get(id.as_str()).copied());
                        let Some(place) = there else {
                            let place = drafts.len();
                            named.extend(after.external_id.as_ref().map(|id| (id.as_str().to_owned(), place)));
                            drafts.push(Draft { before: None, after });
                            return Ok((place, OrderDeed::Created));
                        };
                        let there = drafts.get(place).map(|draft| &draft.after).ok_or(Error::NotFound(ORDER))?;
                        if !customers.contains_key(&there.customer_id) {
                            return Err(Error::Duplicate {
                                message: "There is an order with the same external_id already.".to_owned(),
                                fields: vec!["external_id".to_owned()],
                                matches: Vec::new(),
                            });
                        }
                        match conflict(there, &after) {
                            Some(message) => Err(Error::Conflict(message)),
                            None => Ok((place, OrderDeed::Unchanged)),
                        }
                    })
                }
            };
            answers.push(answer);
        }
        Ok(Decided { drafts, answers, customers, fields, now })
    }

    /// The orders that the asks are about and that are there.
    async fn stored(&self, by: &Principal, asks: &[Ask], looks: bool) -> Result<Vec<Order>> {
        let repo = self.crm.repo::<Order>();
        let mut ids: Vec<OrderId> = Vec::new();
        let mut external = Vec::new();
        for ask in asks {
            match ask {
                Ask::Merge(id, ..) => ids.push(*id),
                Ask::Ingest(input) if looks => external.extend(input.external_id.value().cloned()),
                Ask::Ingest(_) | Ask::Unreadable(_) => {}
            }
        }
        ids.sort_unstable();
        ids.dedup();
        let mut stored = if ids.is_empty() { Vec::new() } else { repo.get_many(by.scope(), &ids).await? };
        external.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        external.dedup();
        for ids in external.chunks(LOOK) {
            let filter = Order::external_id.one_of(ids.iter().cloned().map(Some));
            stored.extend(repo.find(by.scope(), &Query::new(filter, LOOK)).await?.records);
        }
        Ok(stored)
    }

    /// Turns drafts into the changes, audit entries and events of one operation.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a figure of a customer would leave its range; those of the store.
    pub(super) async fn put_down(
        &self,
        by: &Principal,
        operation: &mut Operation<'_>,
        decided: &mut Decided,
    ) -> Result<()> {
        let now = operation.now();
        let mut moved: BTreeMap<CustomerId, Moved> = BTreeMap::new();
        for draft in decided.drafts.iter().filter(|draft| draft.is_changed()) {
            moved.entry(draft.after.customer_id).or_default().add(draft.before.as_ref(), &draft.after);
        }
        // Customers first: who else wants one waits then, instead of spoiling a commit that is nearly done.
        for (id, moved) in moved {
            let Some(customer) = decided.customers.get(&id) else { continue };
            let others =
                if moved.looks_back(customer) { self.last_of_others(by, id, &decided.drafts).await? } else { None };
            if let Some(change) = moved.change(customer, others, now)? {
                operation.change(change);
            }
        }
        let mut created = Vec::new();
        for draft in decided.drafts.iter_mut().filter(|draft| draft.is_changed()) {
            let customs = draft.before.as_ref().map(|before| before.custom.clone());
            let events = match &draft.before {
                None => {
                    created.push(draft.after.clone());
                    Some(("order.created", None))
                }
                Some(before) if operation.update(before, &mut draft.after) => {
                    let called_off = before.status.counts() && draft.after.status == OrderStatus::Cancelled;
                    Some((if called_off { "order.cancelled" } else { "order.updated" }, Some(before)))
                }
                Some(_) => None,
            };
            let Some((event, before)) = events else { continue };
            note_down(operation, event, before, &draft.after);
            self.keep_unique(operation, &decided.fields, &draft.after, customs.as_ref());
        }
        operation.insert_all(&created);
        Ok(())
    }

    /// Frees the values of unique custom fields that the orders of these customers have, which are about to go with them.
    pub(crate) async fn free_unique(
        &self,
        by: &Principal,
        operation: &mut Operation<'_>,
        customers: &[CustomerId],
    ) -> Result<()> {
        let fields = self.crm.fields().set(by.organization, AppliesTo::Order).await?;
        if !fields.has_unique() {
            return Ok(());
        }
        let theirs = Query::new(Order::customer_id.one_of(customers.iter().copied()), 0);
        let mut orders = std::pin::pin!(self.crm.repo::<Order>().stream(by.scope(), theirs));
        let mut ids = Vec::new();
        while let Some(order) = orders.next().await {
            let order = order?;
            if !fields.unique_values(&order.custom).is_empty() {
                ids.push(order.id.0);
            }
        }
        for ids in ids.chunks(LOOK) {
            let filter = UniqueValue::record_id.one_of(ids.iter().copied());
            operation.change(Change::DeleteWhere { collection: UniqueValue::COLLECTION, filter });
        }
        Ok(())
    }

    fn keep_unique(
        self,
        operation: &mut Operation<'_>,
        fields: &FieldSet,
        order: &Order,
        before: Option<&CustomValues>,
    ) {
        if fields.has_unique() {
            self.crm.fields().keep_unique(operation, fields, order.id.0, before, Some(&order.custom));
        }
    }

    /// When the last order of the customer was that counts, those left out that are being written.
    async fn last_of_others(
        &self,
        by: &Principal,
        customer: CustomerId,
        drafts: &[Draft],
    ) -> Result<Option<Timestamp>> {
        let written = drafts.iter().filter(|draft| draft.is_changed()).map(|draft| draft.after.id.0);
        let counting = OrderStatus::ALL.into_iter().filter(|status| status.counts());
        let filter =
            Order::customer_id.equals(customer).and(Order::status.one_of(counting)).and(ID.one_of(written).negated());
        let last = Query::new(filter, 1).sorted(vec![Order::date.descending()]);
        let found = self.crm.repo::<Order>().find(by.scope(), &last).await?;
        Ok(found.records.first().map(|order| order.date))
    }
}

/// An order of which nothing is said.
fn blank(id: OrderId, input: &OrderInput, meta: Meta) -> Order {
    Order {
        id,
        customer_id: input.customer_id.value().copied().unwrap_or(CustomerId(uuid::Uuid::nil())),
        external_id: None,
        status: OrderStatus::default(),
        amount: Money::ZERO,
        items: OrderItems::default(),
        date: meta.created_at,
        custom: CustomValues::default(),
        metadata: Json::default(),
        owner_id: None,
        team_id: None,
        meta,
    }
}

fn ingest(
    blank: &Order,
    input: &OrderInput,
    customers: &HashMap<CustomerId, Customer>,
    setting: &Setting<'_>,
) -> Result<Order> {
    let decided = decide(blank, input, true, setting);
    let unread = input.wrong.iter().any(|error| error.field == "customer_id");
    let mut after = match (input.customer_id.value(), decided) {
        (Some(_), decided) => decided?,
        (None, decided) => {
            let mut errors = decided.err().unwrap_or_default();
            if !unread {
                errors.add("customer_id", "REQUIRED", "is required");
            }
            return Err(Error::Invalid(errors));
        }
    };
    let customer = in_use(customers, after.customer_id)?;
    (after.owner_id, after.team_id) = (customer.owner_id, customer.team_id);
    Ok(after)
}

fn change(
    before: &Order,
    input: &OrderInput,
    version: Option<i64>,
    customers: &HashMap<CustomerId, Customer>,
    setting: &Setting<'_>,
) -> Result<Order> {
    let seen = customers.contains_key(&before.customer_id);
    if !seen {
        return Err(Error::NotFound(ORDER));
    }
    before.meta.expect(version)?;
    let after = decide(before, input, false, setting)?;
    in_use(customers, before.customer_id)?;
    Ok(after)
}

/// The customer of an order that is being written.
fn in_use(customers: &HashMap<CustomerId, Customer>, id: CustomerId) -> Result<&Customer> {
    let customer = customers.get(&id).ok_or(Error::NotFound("customer"))?;
    if customer.deleted_at.is_some() {
        return Err(Error::InvalidState("The customer is in the bin: restore it first.".to_owned()));
    }
    Ok(customer)
}

/// The audit entry and the event of one order.
fn note_down(operation: &mut Operation<'_>, event: &str, before: Option<&Order>, after: &Order) {
    let (old, new) = differences(before, after);
    let data = match before {
        None => json!({"id": after.id, "customer_id": after.customer_id, "status": after.status}),
        Some(_) => {
            let changed: Vec<&String> = new.as_object().map(|new| new.keys().collect()).unwrap_or_default();
            json!({"id": after.id, "customer_id": after.customer_id, "status": after.status, "changed": changed})
        }
    };
    operation.emit(event, after, &data);
    operation.audit::<Order>(event, after.id, before.map(|_| old), Some(new));
}

/// The fields in which two states of an order differ, with their values.
fn differences(before: Option<&Order>, after: &Order) -> (serde_json::Value, serde_json::Value) {
    let members = |order: &Order| match serde_json::to_value(order) {
        Ok(serde_json::Value::Object(mut members)) => {
            for name in ["id", "organization_id", "version", "created_at", "updated_at"] {
                members.remove(name);
            }
            members
        }
        _ => serde_json::Map::new(),
    };
    let (mut old, mut new) = (before.map(members).unwrap_or_default(), members(after));
    old.retain(|name, value| match new.get(name) {
        Some(other) if other == value => {
            new.remove(name);
            false
        }
        _ => true,
    });
    (serde_json::Value::Object(old), serde_json::Value::Object(new))
}

/// Lets the orders and complaints of customers follow who looks after these: before and after a change.
pub(crate) fn follow_customers<'a>(
    operation: &mut Operation<'_>,
    changed: impl Iterator<Item = (Option<&'a Customer>, &'a Customer)>,
) {
    let mut handed_over: HashMap<(Option<UserId>, Option<TeamId>), Vec<CustomerId>> = HashMap::new();
    for (before, after) in changed {
        let Some(before) = before else { continue };
        if (before.owner_id, before.team_id) != (after.owner_id, after.team_id) {
            handed_over.entry((after.owner_id, after.team_id)).or_default().push(after.id);
        }
    }
    let now = operation.now();
    for ((owner, team), customers) in handed_over {
        operation.change(Change::UpdateWhere {
            collection: Complaint::COLLECTION,
            filter: Complaint::customer_id.one_of(customers.iter().copied()),
            assignments: vec![Complaint::owner_id.set(owner), Complaint::team_id.set(team), UPDATED_AT.set(now)],
        });
        operation.change(Change::UpdateWhere {
            collection: Order::COLLECTION,
            filter: Order::customer_id.one_of(customers),
            assignments: vec![Order::owner_id.set(owner), Order::team_id.set(team), UPDATED_AT.set(now)],
        });
    }
}

/// Whether what a decision was made on has changed meanwhile, so that it is to be made again.
const fn is_race(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Duplicate { .. }
            | StoreError::VersionConflict { .. }
            | StoreError::NotFound { .. }
            | StoreError::Unmet { .. }
    )
}
