//! Whether figures of customers are what their opening parts and their orders come to: looked at every night, and whenever
//! somebody asks.

use std::collections::HashMap;

use async_trait::async_trait;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Told, json};

use super::Statistics;
use crate::{
    access::{Principal, permissions},
    crm::Crm,
    customer::Customer,
    error::{Error, Result},
    id::CustomerId,
    job::{Job, JobContext, JobFailure, JobHandler, JobOutcome, JobPriority, JobProgress, NewJob},
    operation::Operation,
    order::{Order, OrderStatus},
    record::Record as _,
    store::{Aggregation, Filter, Group, Measure, Measured, Money, Query, Scope, Value},
    tenancy::Organization,
    time::Timestamp,
};

/// The kind of the jobs that verify an organization.
pub(crate) const KIND: &str = "statistics_verification";
/// The kind of the job that begins one for each organization.
pub(crate) const ALL_KIND: &str = "statistics_verification_of_all";
/// When it does.
pub(crate) const EVERY_NIGHT: &str = "30 2 * * *";
/// The version of their input.
const VERSION: i64 = 1;
/// So many customers are looked at at once.
const PAGE: usize = 500;
/// So many customers are listed whose figures are wrong.
const LISTED: usize = 1000;
/// So often is a customer looked at who changes all the while.
const LOOKS: usize = 5;

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct Input {
    repair: bool,
}

/// The figures that are worked out anew.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Figures {
    spend: Option<Money>,
    visits: i64,
    total_orders: i64,
    total_order_value: Option<Money>,
    last_order_date: Option<Timestamp>,
}

/// What orders of one customer come to.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    orders: i64,
    value: i128,
    last: Option<Timestamp>,
}

impl Figures {
    const fn stored(customer: &Customer) -> Self {
        Self {
            spend: Some(customer.spend),
            visits: customer.visits,
            total_orders: customer.total_orders,
            total_order_value: Some(customer.total_order_value),
            last_order_date: customer.last_order_date,
        }
    }

    fn expected(customer: &Customer, orders: Sum) -> Self {
        let sum = |opening: Money| {
            let sum = i128::from(opening.as_ten_thousandths()) + orders.value;
            i64::try_from(sum).ok().and_then(Money::from_ten_thousandths)
        };
        Self {
            spend: sum(customer.opening_spend),
            visits: customer.opening_visits.saturating_add(orders.orders),
            total_orders: customer.opening_orders.unwrap_or(0).saturating_add(orders.orders),
            total_order_value: sum(customer.opening_order_value.unwrap_or_default()),
            last_order_date: orders.last.max(customer.opening_last_order_date),
        }
    }

    /// The figures that differ, with both values.
    fn differences(&self, expected: &Self) -> Told {
        let mut wrong = serde_json::Map::new();
        let mut compare = |name: &str, stored: Told, expected: Told| {
            if stored != expected {
                wrong.insert(name.to_owned(), json!({"stored": stored, "expected": expected}));
            }
        };
        compare("spend", json!(self.spend), json!(expected.spend));
        compare("visits", json!(self.visits), json!(expected.visits));
        compare("total_orders", json!(self.total_orders), json!(expected.total_orders));
        compare("total_order_value", json!(self.total_order_value), json!(expected.total_order_value));
        compare("last_order_date", json!(self.last_order_date), json!(expected.last_order_date));
        Told::Object(wrong)
    }

    /// The customer with these figures.
    fn put_right(&self, customer: &Customer) -> Option<Customer> {
        let mut after = customer.clone();
        after.spend = self.spend?;
        after.visits = self.visits;
        after.total_orders = self.total_orders;
        after.total_order_value = self.total_order_value?;
        after.last_order_date = self.last_order_date;
        if after.last_active < after.last_order_date {
            after.opening_last_active = after.opening_last_active.or(after.last_active);
            after.last_active = after.last_order_date;
            after.active_at = after.last_active.unwrap_or(after.meta.created_at);
        }
        Some(after)
    }
}

impl Statistics<'_> {
    /// Begins a job that works the figures of all customers out anew, from their opening parts and their orders: its result
    /// says how many customers it has looked at, how many `drifted`, and lists the first 1000 of these with what is stored
    /// and what was expected. With `repair` it puts them right.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `statistics:verify`.
    pub async fn verify_later(&self, by: &Principal, repair: bool) -> Result<Job> {
        by.may(permissions::STATISTICS_VERIFY)?;
        let mut operation = Operation::new(self.crm, by);
        let job = enqueue(self.crm, by, &mut operation, Input { repair })?;
        operation.audit::<Job>("statistics.verification_started", job.id, None, Some(json!({"repair": repair})));
        operation.commit().await?;
        Ok(job)
    }
}

fn enqueue(crm: &Crm, by: &Principal, operation: &mut Operation<'_>, input: Input) -> Result<Job> {
    let new = NewJob {
        kind: KIND,
        version: VERSION,
        input,
        priority: JobPriority::Low,
        about: None,
        progress: JobProgress { unit: "customers".to_owned(), ..JobProgress::default() },
    };
    crm.jobs().enqueue(by, operation, new)
}

/// Begins a verification of each organization.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AllHandler;

#[async_trait]
impl JobHandler for AllHandler {
    fn kind(&self) -> &'static str {
        ALL_KIND
    }

    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure> {
        let crm = context.crm();
        let all = Query::new(Filter::ALL, 0);
        let mut organizations = std::pin::pin!(crm.repo::<Organization>().stream(Scope::Installation, all));
        let mut begun = 0;
        while let Some(organization) = organizations.next().await {
            if context.interruption().is_some() {
                return Ok(JobOutcome::Interrupted);
            }
            let by = Principal::system(organization?.id);
            let mut operation = Operation::new(crm, &by);
            enqueue(crm, &by, &mut operation, Input::default())?;
            operation.commit().await?;
            begun += 1;
            context.show(begun, None, "organizations", None);
        }
        Ok(JobOutcome::Done(json!({"organizations": begun})))
    }
}

/// Verifies the figures of an organization's customers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VerificationHandler;

#[async_trait]
impl JobHandler for VerificationHandler {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure> {
        let (crm, by) = (context.crm(), context.by());
        by.may(permissions::STATISTICS_VERIFY)?;
        let Input { repair } = context.input()?;
        let mut query = Query::new(Filter::ALL, PAGE);
        let (mut looked_at, mut drifted, mut repaired) = (0_u64, 0_u64, 0_u64);
        let mut listed = Vec::new();
        loop {
            if context.interruption().is_some() {
                return Ok(JobOutcome::Interrupted);
            }
            let page = crm.repo::<Customer>().find(by.scope(), &query).await?;
            let ids: Vec<CustomerId> = page.records.iter().map(|customer| customer.id).collect();
            let sums = sums(crm, by, ids).await?;
            for customer in &page.records {
                let expected = Figures::expected(customer, sums.get(&customer.id).copied().unwrap_or_default());
                looked_at += 1;
                if Figures::stored(customer) == expected {
                    continue;
                }
                // An order may have come between the two looks.
                let Some((wrong, was_repaired)) = look_again(context, customer.id, repair).await? else { continue };
                drifted += 1;
                repaired += u64::from(was_repaired);
                if listed.len() < LISTED {
                    listed.push(json!({"customer_id": customer.id, "figures": wrong}));
                }
            }
            context.show(looked_at, None, "customers", None);
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        if drifted > 0 {
            tracing::warn!(organization = %by.organization, drifted, repaired, "figures of customers are not what their orders come to");
        }
        Ok(JobOutcome::Done(json!({
            "customers": looked_at, "drifted": drifted, "repaired": repaired, "drift": listed,
            "drift_truncated": drifted > LISTED as u64,
        })))
    }
}

/// What is wrong with a customer's figures, and whether it was put right; nothing where they are right after all.
async fn look_again(context: &JobContext, id: CustomerId, repair: bool) -> Result<Option<(Told, bool)>, JobFailure> {
    let (crm, by) = (context.crm(), context.by());
    for _ in 0..LOOKS {
        let Some(customer) = crm.repo::<Customer>().get(by.scope(), id).await? else { return Ok(None) };
        let orders = sums(crm, by, vec![id]).await?.get(&id).copied().unwrap_or_default();
        let again = crm.repo::<Customer>().get(by.scope(), id).await?;
        // Whatever writes an order changes its customer in the same commit.
        if again.is_none_or(|again| again.meta.version != customer.meta.version) {
            continue;
        }
        let (stored, expected) = (Figures::stored(&customer), Figures::expected(&customer, orders));
        if stored == expected {
            return Ok(None);
        }
        let wrong = stored.differences(&expected);
        let Some(mut after) = expected.put_right(&customer).filter(|_| repair) else { return Ok(Some((wrong, false))) };
        let mut operation = Operation::new(crm, by);
        operation.update(&customer, &mut after);
        operation.audit::<Customer>("customer.figures_repaired", id, None, Some(wrong.clone()));
        match context.checkpoint(operation).await {
            Ok(_) => return Ok(Some((wrong, true))),
            Err(JobFailure::Failed(Error::VersionConflict { .. } | Error::NotFound(_))) => {}
            Err(error) => return Err(error),
        }
    }
    // Who orders without a pause is looked at another night.
    Ok(None)
}

/// What the orders of these customers come to, from an index that has all of it.
async fn sums(crm: &Crm, by: &Principal, ids: Vec<CustomerId>) -> Result<HashMap<CustomerId, Sum>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let counting = OrderStatus::ALL.into_iter().filter(|status| status.counts());
    let aggregation = Aggregation {
        filter: Order::customer_id.one_of(ids).and(Order::status.one_of(counting)),
        groups: vec![Group::Field(Order::customer_id.field())],
        measures: vec![Measure::Count, Measure::Sum(Order::amount.field()), Measure::Maximum(Order::date.field())],
    };
    let rows = crm.store().aggregate(by.scope(), Order::COLLECTION, &aggregation).await?;
    let mut sums = HashMap::with_capacity(rows.len());
    for row in rows {
        let (Some(Value::Id(id)), [Measured::Count(orders), Measured::ExactSum { sum, .. }, Measured::Value(last)]) =
            (row.groups.first(), row.measures.as_slice())
        else {
            return Err(Error::internal("orders cannot be summed up"));
        };
        let last = match last {
            Value::Timestamp(last) => Some(*last),
            _ => None,
        };
        sums.insert(CustomerId(*id), Sum { orders: i64::try_from(*orders).unwrap_or(i64::MAX), value: *sum, last });
    }
    Ok(sums)
}
