//! What orders do to the figures of their customer: plain decisions, without a store.

use super::Order;
use crate::{
    customer::Customer,
    error::{Error, Result},
    record::{Record as _, UPDATED_AT},
    store::{Assignment, Change, Comparison, Filter, Money, WhenUnmet},
    time::Timestamp,
};

/// What the orders of one commit change of one customer's figures.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Moved {
    /// So many more orders count.
    orders: i64,
    /// So much more is bought, in ten-thousandths.
    value: i128,
    /// The last of the orders that count, as they are now.
    latest: Option<Timestamp>,
    /// The last of the orders that counted on a day on which they do not any more.
    left: Option<Timestamp>,
}

impl Moved {
    /// With one more order that is written.
    pub(super) fn add(&mut self, before: Option<&Order>, after: &Order) {
        if let Some(before) = before.filter(|before| before.status.counts()) {
            self.orders -= 1;
            self.value -= i128::from(before.amount.as_ten_thousandths());
            if !after.status.counts() || after.date < before.date {
                self.left = self.left.max(Some(before.date));
            }
        }
        if after.status.counts() {
            self.orders += 1;
            self.value += i128::from(after.amount.as_ten_thousandths());
            self.latest = self.latest.max(Some(after.date));
        }
    }

    /// Whether the customer's last order may be an earlier one now, which only the other orders tell.
    pub(super) fn looks_back(&self, customer: &Customer) -> bool {
        self.left.is_some() && self.left >= customer.last_order_date
    }

    /// The change of the customer as it was read: it adds, so that what others add at the same time is not lost. Nothing
    /// where no figure moves. `others` is the last of the customer's other orders that count, where
    /// [`Self::looks_back`] asked for it.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a figure would leave its range.
    pub(super) fn change(
        &self,
        customer: &Customer,
        others: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Option<Change>> {
        if *self == Self::default() {
            return Ok(None);
        }
        let mut assignments = Vec::new();
        if self.value != 0 {
            let value = i64::try_from(self.value).ok().and_then(Money::from_ten_thousandths);
            let value = value.ok_or_else(|| {
                Error::invalid(
                    "amount",
                    "OUT_OF_RANGE",
                    "comes to more than can be kept with the customer's other orders",
                )
            })?;
            assignments.extend([Customer::spend.increment(value), Customer::total_order_value.increment(value)]);
        }
        if self.orders != 0 {
            assignments
                .extend([Customer::visits.increment(self.orders), Customer::total_orders.increment(self.orders)]);
        }
        // Who looks after the customer stands in each order too, and nobody orders from the bin.
        let mut holds = vec![
            Customer::deleted_at.missing(),
            same(customer.owner_id, Customer::owner_id.missing(), |owner| Customer::owner_id.equals(owner)),
            same(customer.team_id, Customer::team_id.missing(), |team| Customer::team_id.equals(team)),
        ];
        let looks_back = self.looks_back(customer);
        let said = earlier_active(customer);
        let first = customer.opening_last_active.is_none() && said.is_some();
        if first {
            assignments.push(Customer::opening_last_active.set(said));
        }
        if looks_back {
            let last = self.latest.max(others).max(customer.opening_last_order_date);
            if last != customer.last_order_date {
                assignments.push(Customer::last_order_date.set(last));
            }
            // What somebody else has noted since stays.
            if customer.last_active <= said.max(customer.last_order_date) {
                assignments.extend(active(customer, said.max(last)));
            }
        } else if let Some(latest) = self.latest {
            let ahead = |column: crate::record::Column<Option<Timestamp>>, old: Option<Timestamp>| {
                let reached = column.compares(Comparison::GreaterOrEqual, latest);
                if old < Some(latest) { reached.negated() } else { reached }
            };
            holds.push(ahead(Customer::last_order_date, customer.last_order_date));
            holds.push(ahead(Customer::last_active, customer.last_active));
            if customer.last_order_date < Some(latest) {
                assignments.push(Customer::last_order_date.set(Some(latest)));
            }
            if customer.last_active < Some(latest) {
                assignments.extend(active(customer, Some(latest)));
            }
        }
        if assignments.is_empty() {
            return Ok(None);
        }
        assignments.push(UPDATED_AT.set(now));
        Ok(Some(Change::Update {
            collection: Customer::COLLECTION,
            id: customer.id.0,
            // What is not added but worked out is worked out of the customer as it was read.
            expected_version: (looks_back || first).then_some(customer.meta.version),
            condition: Some((Filter::And(holds), WhenUnmet::Abort)),
            assignments,
        }))
    }
}

fn same<T>(value: Option<T>, missing: Filter, equals: impl FnOnce(T) -> Filter) -> Filter {
    value.map_or(missing, equals)
}

fn active(customer: &Customer, last_active: Option<Timestamp>) -> [Assignment; 2] {
    [Customer::last_active.set(last_active), Customer::active_at.set(last_active.unwrap_or(customer.meta.created_at))]
}

/// When the customer was last active, orders left out. A record from before there were orders does not say so by itself.
pub(crate) fn earlier_active(customer: &Customer) -> Option<Timestamp> {
    customer.opening_last_active.or_else(|| customer.last_active.filter(|_| customer.last_order_date.is_none()))
}

/// Gives a customer who is to be as before the figures of the orders since.
pub(crate) fn keep_figures(after: &mut Customer, now: &Customer) {
    let since = i128::from(now.spend.as_ten_thousandths()) - i128::from(now.opening_spend.as_ten_thousandths());
    let spend = i64::try_from(i128::from(after.opening_spend.as_ten_thousandths()) + since);
    if let Some(spend) = spend.ok().and_then(Money::from_ten_thousandths) {
        after.spend = spend;
    }
    after.visits = after.opening_visits.saturating_add(now.visits.saturating_sub(now.opening_visits));
    after.total_orders = now.total_orders;
    after.total_order_value = now.total_order_value;
    after.opening_orders = now.opening_orders;
    after.opening_order_value = now.opening_order_value;
    after.last_order_date = now.last_order_date;
    after.opening_last_order_date = now.opening_last_order_date;
    after.total_complaints = now.total_complaints;
    after.open_complaints = now.open_complaints;
    if after.last_active < after.last_order_date {
        after.opening_last_active = after.opening_last_active.or(after.last_active);
        after.last_active = after.last_order_date;
        after.active_at = after.last_active.unwrap_or(after.meta.created_at);
    }
}
