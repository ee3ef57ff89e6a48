use std::collections::{BTreeMap, HashSet};

use serde_json::json;
use uuid::Uuid;

use super::{
    record::{Added, CustomerMerge, CustomerMergeId, CustomerMergeMove},
    service::{points_to, repoint},
    times::{self, Times},
};
use crate::{
    access::{Principal, permissions},
    complaint::{Complaint, ComplaintStatus},
    customer::{Customer, Customers, ask::Deed, chunk::Draft, service::CUSTOMER, write::is_race},
    error::{Error, Result},
    id::CustomerId,
    operation::Operation,
    order::{Order, OrderStatus},
    personal_data,
    record::{CREATED_AT, ID, Record as _},
    store::{Aggregation, Filter, Measure, Measured, Money, Query, Value},
    time::Timestamp,
};

/// So often is it decided again when one of the two was changed meanwhile.
const ATTEMPTS: usize = 10;
/// So many parts of what was moved are read at once.
const PARTS: usize = 50;

/// What moved records come to.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    orders: i64,
    value: i64,
    last_order: Option<Timestamp>,
    complaints: i64,
    open_complaints: i64,
}

impl Customers<'_> {
    /// Takes a merge back, the last one of a customer where none is named: the duplicate comes out of the bin with what it
    /// had, and whatever moved and still points to the kept customer points to it again. Fields of the kept one that
    /// somebody changed since stay as they are.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:merge`, [`Error::NotFound`] for a customer who is not in sight or was not
    /// merged, [`Error::InvalidState`] where the merge can no longer be taken back, [`Error::Duplicate`] where somebody else
    /// has by now what the duplicate had.
    pub async fn undo_merge(
        &self,
        by: &Principal,
        kept: CustomerId,
        merge: Option<CustomerMergeId>,
    ) -> Result<Customer> {
        by.may(permissions::CUSTOMERS_MERGE)?;
        let mut turn = self.crm.turns().join(kept.0).await;
        for _ in 1..ATTEMPTS {
            match self.try_undo_merge(by, kept, merge).await {
                Err(Error::NotFound(missing)) => return Err(Error::NotFound(missing)),
                Err(error) if is_race(&error) => turn.wait().await,
                done => return done,
            }
        }
        self.try_undo_merge(by, kept, merge).await
    }

    async fn try_undo_merge(
        &self,
        by: &Principal,
        kept: CustomerId,
        merge: Option<CustomerMergeId>,
    ) -> Result<Customer> {
        let kept = self.in_sight(by, kept).await?;
        let merge = self.standing(by, kept.id, merge).await?;
        if merge.undoable_until() < self.crm.now() {
            return Err(Error::InvalidState("The merge was more than 30 days ago: it stays.".to_owned()));
        }
        let duplicate = self.crm.repo::<Customer>().get(by.scope(), merge.duplicate_id).await?;
        let duplicate = duplicate.filter(|duplicate| duplicate.is_reached_by(by));
        let Some(duplicate) = duplicate.filter(|duplicate| duplicate.deleted_at.is_some()) else {
            return Err(Error::InvalidState("The duplicate was removed for good: the merge stays.".to_owned()));
        };
        let (changed, added) = merge.parts()?;
        let moved = self.moved(by, merge.id).await?;
        let figures = self.figures(by, kept.id, &moved).await?;

        let mut rest = changed.take_back(&kept).customer;
        let main = (rest.email.as_ref().map(ToString::to_string), rest.phone.as_ref().map(ToString::to_string));
        give_up(&mut rest, &added, &duplicate);
        rest.emails.retain(|email| Some(email) != main.0.as_ref());
        rest.phones.retain(|phone| Some(phone) != main.1.as_ref());
        rest.spend = less(rest.spend, figures.value.saturating_add(duplicate.opening_spend.as_ten_thousandths()));
        rest.visits = fewer(rest.visits, figures.orders.saturating_add(duplicate.opening_visits));
        rest.opening_spend = less(rest.opening_spend, duplicate.opening_spend.as_ten_thousandths());
        rest.opening_visits = fewer(rest.opening_visits, duplicate.opening_visits);
        let opening = (duplicate.opening_orders.unwrap_or(0), duplicate.opening_order_value.unwrap_or_default());
        let opening = (opening.0, opening.1.as_ten_thousandths());
        rest.total_orders = fewer(rest.total_orders, figures.orders.saturating_add(opening.0));
        rest.total_order_value = less(rest.total_order_value, figures.value.saturating_add(opening.1));
        rest.opening_orders = rest.opening_orders.map(|orders| fewer(orders, opening.0));
        rest.opening_order_value = rest.opening_order_value.map(|value| less(value, opening.1));
        rest.total_complaints = fewer(rest.total_complaints, figures.complaints);
        rest.open_complaints = fewer(rest.open_complaints, figures.open_complaints);
        let last_order = self.last_order_without(by, kept.id, &moved).await?;
        let others = self.merge_times(by, kept.id, Some(merge.id)).await?;
        times::take_back(&kept, &mut rest, merge.read_times()?, &others, last_order);

        let mut again = Customer { deleted_at: None, ..duplicate.clone() };
        self.forget_gone_groups(by, &mut again).await?;
        again.spend = more(again.opening_spend, figures.value);
        again.visits = again.opening_visits.saturating_add(figures.orders);
        again.total_orders = again.opening_orders.unwrap_or(0).saturating_add(figures.orders);
        again.total_order_value = more(again.opening_order_value.unwrap_or_default(), figures.value);
        times::come_back(&mut again, figures.last_order);
        again.total_complaints = figures.complaints;
        again.open_complaints = figures.open_complaints;

        let context = self.context(by).await?;
        let mut operation = Operation::new(self.crm, by);
        let now = operation.now();
        let drafts = vec![
            Draft { before: Some(kept.clone()), after: rest, deed: Deed::Updated },
            Draft { before: Some(duplicate.clone()), after: again, deed: Deed::Restored },
        ];
        let drafts = self.put_pair_down(by, &mut operation, drafts, &context).await?;
        for (holding, field, _) in personal_data::moving() {
            for ids in moved.get(holding.collection.name).into_iter().flatten() {
                // What somebody gave to yet another customer stays there.
                let filter = ID.one_of(ids.iter().copied()).and(points_to(field, kept.id));
                operation.change(repoint(holding, field, filter, &duplicate, now));
            }
        }
        let mut undone = CustomerMerge { undone_at: Some(now), ..merge.clone() };
        operation.update(&merge, &mut undone);
        let told = json!({"id": kept.id, "duplicate_id": duplicate.id, "merge_id": merge.id});
        operation.audit::<Customer>("customer.merge_undone", kept.id, None, Some(told.clone()));
        operation.audit::<Customer>("customer.merge_undone", duplicate.id, None, Some(told.clone()));
        let mut answered = drafts.into_iter().next().map(|draft| draft.after).ok_or(Error::NotFound(CUSTOMER))?;
        operation.emit("customer.merge_undone", &answered, &told);
        operation.commit().await?;
        answered.custom = context.fields.present(&answered.custom);
        Ok(answered)
    }

    /// The merge that is to be taken back.
    async fn standing(
        &self,
        by: &Principal,
        kept: CustomerId,
        merge: Option<CustomerMergeId>,
    ) -> Result<CustomerMerge> {
        const MERGE: Error = Error::NotFound("merge");
        let stands = CustomerMerge::kept_id.equals(kept).and(CustomerMerge::undone_at.missing());
        let stands = match merge {
            Some(merge) => stands.and(ID.equals(merge.0)),
            None => stands,
        };
        let query = Query::new(stands, 1).sorted(vec![CREATED_AT.descending()]);
        self.crm.repo::<CustomerMerge>().find(by.scope(), &query).await?.records.pop().ok_or(MERGE)
    }

    /// The times of the merges into a customer that stand, but for one, the newest first.
    pub(super) async fn merge_times(
        &self,
        by: &Principal,
        kept: CustomerId,
        except: Option<CustomerMergeId>,
    ) -> Result<Vec<Times>> {
        let stands = CustomerMerge::kept_id.equals(kept).and(CustomerMerge::undone_at.missing());
        let mut query = Query::new(stands, PARTS).sorted(vec![CREATED_AT.descending()]);
        let mut times = Vec::new();
        loop {
            let found = self.crm.repo::<CustomerMerge>().find(by.scope(), &query).await?;
            for merge in found.records.iter().filter(|merge| Some(merge.id) != except) {
                times.extend(merge.read_times()?);
            }
            query.after = found.next;
            if query.after.is_none() {
                return Ok(times);
            }
        }
    }

    /// What it moved, by kind of record, in parts.
    async fn moved(&self, by: &Principal, merge: CustomerMergeId) -> Result<BTreeMap<String, Vec<Vec<Uuid>>>> {
        let mut moved: BTreeMap<String, Vec<Vec<Uuid>>> = BTreeMap::new();
        let mut query = Query::new(CustomerMergeMove::merge_id.equals(merge), PARTS);
        loop {
            let found = self.crm.repo::<CustomerMergeMove>().find(by.scope(), &query).await?;
            for part in found.records {
                let ids = part.ids();
                moved.entry(part.collection).or_default().push(ids);
            }
            query.after = found.next;
            if query.after.is_none() {
                return Ok(moved);
            }
        }
    }

    /// What the moved records come to now that are still the kept customer's.
    async fn figures(
        &self,
        by: &Principal,
        kept: CustomerId,
        moved: &BTreeMap<String, Vec<Vec<Uuid>>>,
    ) -> Result<Figures> {
        let mut figures = Figures::default();
        for ids in moved.get(Complaint::COLLECTION.name).into_iter().flatten() {
            let these = ID.one_of(ids.iter().copied()).and(Complaint::customer_id.equals(kept));
            let open = Complaint::status.one_of(ComplaintStatus::ALL.into_iter().filter(|status| status.is_open()));
            let repo = self.crm.repo::<Complaint>();
            let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            figures.complaints += count(repo.count(by.scope(), &these).await?);
            figures.open_complaints += count(repo.count(by.scope(), &these.and(open)).await?);
        }
        for ids in moved.get(Order::COLLECTION.name).into_iter().flatten() {
            let aggregation = Aggregation {
                filter: ID.one_of(ids.iter().copied()).and(Order::customer_id.equals(kept)).and(counts()),
                groups: Vec::new(),
                measures: vec![Measure::Sum(Order::amount.field()), Measure::Maximum(Order::date.field())],
            };
            let rows = self.crm.store().aggregate(by.scope(), Order::COLLECTION, &aggregation).await?;
            for measured in rows.into_iter().flat_map(|row| row.measures) {
                match measured {
                    Measured::ExactSum { sum, count } => {
                        figures.value = figures.value.saturating_add(i64::try_from(sum).unwrap_or(i64::MAX));
                        figures.orders = figures.orders.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
                    }
                    Measured::Value(Value::Timestamp(last)) => figures.last_order = figures.last_order.max(Some(last)),
                    _ => {}
                }
            }
        }
        Ok(figures)
    }

    /// The kept customer's last order among those that stay.
    async fn last_order_without(
        &self,
        by: &Principal,
        kept: CustomerId,
        moved: &BTreeMap<String, Vec<Vec<Uuid>>>,
    ) -> Result<Option<Timestamp>> {
        let gone: HashSet<Uuid> = moved.get(Order::COLLECTION.name).into_iter().flatten().flatten().copied().collect();
        let mut query =
            Query::new(Order::customer_id.equals(kept).and(counts()), 500).sorted(vec![Order::date.descending()]);
        loop {
            let found = self.crm.repo::<Order>().find(by.scope(), &query).await?;
            if let Some(last) = found.records.iter().find(|order| !gone.contains(&order.id.0)) {
                return Ok(Some(last.date));
            }
            query.after = found.next;
            if query.after.is_none() {
                return Ok(None);
            }
        }
    }
}

/// The orders that a customer's figures count.
fn counts() -> Filter {
    Order::status.one_of(OrderStatus::ALL.into_iter().filter(|status| status.counts()))
}

/// Takes from the lists what the merge had added, and what is the duplicate's own.
fn give_up(customer: &mut Customer, added: &Added, duplicate: &Customer) {
    let of_duplicate = |main: Option<String>, others: &[String]| -> HashSet<String> {
        main.into_iter().chain(others.iter().cloned()).collect()
    };
    let emails = of_duplicate(duplicate.email.as_ref().map(ToString::to_string), &duplicate.emails);
    let phones = of_duplicate(duplicate.phone.as_ref().map(ToString::to_string), &duplicate.phones);
    customer.emails.retain(|email| !(added.emails.contains(email) && emails.contains(email)));
    customer.phones.retain(|phone| !(added.phones.contains(phone) && phones.contains(phone)));
    // What was the kept one's main address is that again, and not one of the others too.
    customer.tags.retain(|tag| !added.tags.contains(tag));
    customer.group_ids.retain(|group| !added.group_ids.contains(group));
}

fn less(amount: Money, by: i64) -> Money {
    Money::from_ten_thousandths(amount.as_ten_thousandths().saturating_sub(by).max(0)).unwrap_or_default()
}

fn more(amount: Money, by: i64) -> Money {
    Money::from_ten_thousandths(amount.as_ten_thousandths().saturating_add(by)).unwrap_or(Money::MAX)
}

fn fewer(number: i64, by: i64) -> i64 {
    number.saturating_sub(by).max(0)
}
