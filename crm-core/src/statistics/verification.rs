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
    job::{Job, JobContext, JobFailure, JobHandler, JobId, JobOutcome, JobPriority, JobProgress, NewJob},
    operation::Operation,
    order::{Order, OrderStatus},
    record::{CREATED_AT, ID, Meta, Record, UPDATED_AT},
    store::{
        Aggregation, Change, Comparison, Filter, Group, Json, Measure, Measured, Money, Position, Query, Scope, Value,
    },
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
        let begin = context.job().meta.created_at;
        while let Some(organization) = organizations.next().await {
            if context.interruption().is_some() {
                return Ok(JobOutcome::Interrupted);
            }
            let by = Principal::system(organization?.id);
            begun += 1;
            context.show(begun, None, "organizations", None);
            // An earlier run of this job has begun it.
            let since = Job::kind.equals(KIND.to_owned()).and(CREATED_AT.compares(Comparison::GreaterOrEqual, begin));
            let newest = Query::new(since, 1).sorted(vec![CREATED_AT.descending()]);
            if !crm.repo::<Job>().find(by.scope(), &newest).await?.records.is_empty() {
                continue;
            }
            let mut operation = Operation::new(crm, &by);
            enqueue(crm, &by, &mut operation, Input::default())?;
            operation.commit().await?;
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
        let mut reached = Reached::load(context).await?;
        let mut query = Query::new(Filter::ALL, PAGE);
        query.after = reached.record.last_id.map(|id| Position::of_id(id.0));
        loop {
            if context.interruption().is_some() {
                return Ok(JobOutcome::Interrupted);
            }
            let page = crm.repo::<Customer>().find(by.scope(), &query).await?;
            let ids: Vec<CustomerId> = page.records.iter().map(|customer| customer.id).collect();
            let sums = sums(crm, by, ids).await?;
            for customer in &page.records {
                let expected = Figures::expected(customer, sums.get(&customer.id).copied().unwrap_or_default());
                reached.record.looked_at += 1;
                reached.record.last_id = Some(customer.id);
                if Figures::stored(customer) != expected {
                    // An order may have come between the two looks.
                    look_again(context, customer.id, repair, &mut reached).await?;
                }
            }
            context.show(u64::try_from(reached.record.looked_at).unwrap_or(0), None, "customers", None);
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
            let mut operation = Operation::new(crm, by);
            reached.write(&mut operation);
            context.checkpoint(operation).await?;
            reached.stored = true;
        }
        let VerificationProgress { looked_at, drifted, repaired, .. } = reached.record;
        if drifted > 0 {
            tracing::warn!(organization = %by.organization, drifted, repaired, "figures of customers are not what their orders come to");
        }
        Ok(JobOutcome::Done(json!({
            "customers": looked_at, "drifted": drifted, "repaired": repaired, "drift": reached.listed,
            "drift_truncated": usize::try_from(drifted).is_ok_and(|drifted| drifted > LISTED),
        })))
    }

    fn ended(&self, job: &Job, operation: &mut Operation<'_>) {
        let filter = ID.equals(job.id.0);
        operation.change(Change::DeleteWhere { collection: VerificationProgress::COLLECTION, filter });
    }
}

/// How far a verification is: what a run that ended early leaves to the next one. Kept until the job has ended.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "statistics_verifications")]
pub struct VerificationProgress {
    /// The same as the job's.
    pub id: JobId,
    /// The last customer who was looked at; they are looked at in the order of their ids.
    pub last_id: Option<CustomerId>,
    /// How many were looked at.
    pub looked_at: i64,
    /// How many of them had wrong figures.
    pub drifted: i64,
    /// Of how many these were put right.
    pub repaired: i64,
    /// The first of them, with what was wrong.
    pub drift: Json,
    /// Its organization, version and times.
    pub meta: Meta,
}

/// How far this run is.
#[derive(Clone)]
struct Reached {
    record: VerificationProgress,
    /// Whether a run has written it before.
    stored: bool,
    listed: Vec<Told>,
}

impl Reached {
    async fn load(context: &JobContext) -> Result<Self, JobFailure> {
        let (crm, by) = (context.crm(), context.by());
        if let Some(record) = crm.repo::<VerificationProgress>().get(by.scope(), context.job().id).await? {
            let listed = serde_json::from_str(record.drift.as_str()).map_err(Error::internal)?;
            return Ok(Self { record, stored: true, listed });
        }
        let record = VerificationProgress {
            id: context.job().id,
            last_id: None,
            looked_at: 0,
            drifted: 0,
            repaired: 0,
            drift: Json::from_trusted("[]"),
            meta: Meta::new(by.organization, crm.now()),
        };
        Ok(Self { record, stored: false, listed: Vec::new() })
    }

    /// Takes in a customer whose figures are wrong.
    fn drifted(&mut self, id: CustomerId, wrong: &Told, was_repaired: bool) {
        self.record.drifted += 1;
        self.record.repaired += i64::from(was_repaired);
        if self.listed.len() < LISTED {
            self.listed.push(json!({"customer_id": id, "figures": wrong}));
            self.record.drift = Json::from_value(&Told::Array(self.listed.clone()));
        }
    }

    /// Adds to a commit how far it is.
    fn write(&self, operation: &mut Operation<'_>) {
        if !self.stored {
            operation.insert(&self.record);
            return;
        }
        let now = operation.now();
        operation.change(Change::Update {
            collection: VerificationProgress::COLLECTION,
            id: self.record.id.0,
            expected_version: None,
            condition: None,
            assignments: vec![
                VerificationProgress::last_id.set(self.record.last_id),
                VerificationProgress::looked_at.set(self.record.looked_at),
                VerificationProgress::drifted.set(self.record.drifted),
                VerificationProgress::repaired.set(self.record.repaired),
                VerificationProgress::drift.set(self.record.drift.clone()),
                UPDATED_AT.set(now),
            ],
        });
    }
}

/// Takes in what is wrong with a customer's figures, unless they are right after all, and puts it right in one commit with
/// how far the verification is.
async fn look_again(
    context: &JobContext,
    id: CustomerId,
    repair: bool,
    reached: &mut Reached,
) -> Result<(), JobFailure> {
    let (crm, by) = (context.crm(), context.by());
    for _ in 0..LOOKS {
        let Some(customer) = crm.repo::<Customer>().get(by.scope(), id).await? else { return Ok(()) };
        let orders = sums(crm, by, vec![id]).await?.get(&id).copied().unwrap_or_default();
        let again = crm.repo::<Customer>().get(by.scope(), id).await?;
        // Whatever writes an order changes its customer in the same commit.
        if again.is_none_or(|again| again.meta.version != customer.meta.version) {
            continue;
        }
        let (stored, expected) = (Figures::stored(&customer), Figures::expected(&customer, orders));
        if stored == expected {
            return Ok(());
        }
        let wrong = stored.differences(&expected);
        let Some(mut after) = expected.put_right(&customer).filter(|_| repair) else {
            reached.drifted(id, &wrong, false);
            return Ok(());
        };
        let mut operation = Operation::new(crm, by);
        operation.update(&customer, &mut after);
        operation.audit::<Customer>("customer.figures_repaired", id, None, Some(wrong.clone()));
        let mut further = reached.clone();
        further.drifted(id, &wrong, true);
        further.write(&mut operation);
        match context.checkpoint(operation).await {
            Ok(_) => {
                *reached = Reached { stored: true, ..further };
                return Ok(());
            }
            Err(JobFailure::Failed(Error::VersionConflict { .. } | Error::NotFound(_))) => {}
            Err(error) => return Err(error),
        }
    }
    // Who orders without a pause is looked at another night.
    Ok(())
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

#[cfg(test)]
mod tests;
