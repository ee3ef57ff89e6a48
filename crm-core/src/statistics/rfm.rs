//! Recency, frequency and monetary value: how recently, how often and for how much a customer buys.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;

use crate::{
    access::Principal,
    crm::Crm,
    customer::Customer,
    error::Result,
    id::OrganizationId,
    record::Record as _,
    store::{Aggregation, Measure, Measured, Money, Value},
    time::Timestamp,
};

/// At most so many days since the last order score 5, 4, 3 and 2; more score 1.
pub const RECENCY_CUTS: [i64; 4] = [30, 90, 180, 365];
/// At least so many visits score 5, 4, 3 and 2; fewer score 1.
pub const FREQUENCY_CUTS: [i64; 4] = [20, 10, 5, 2];
/// Where the organization's quintiles of what customers have spent are.
const QUINTILES: [u16; 4] = [200, 400, 600, 800];
/// How long quintiles are good enough.
const GOOD_FOR: Duration = Duration::from_mins(10);
/// Quintiles of at most so many organizations are kept.
const KEPT: usize = 10_000;

/// How recently, how often and for how much a customer buys, each with a score from 1 to 5.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rfm {
    /// Whole days since the last order, or since the customer was last active where there is none.
    pub recency_days: i64,
    /// How often the customer has been here: `visits`.
    pub frequency: i64,
    /// What the customer has spent: `spend`.
    pub monetary: Money,
    /// 5 up to 30 days, 4 up to 90, 3 up to 180, 2 up to 365, else 1.
    pub recency_score: u8,
    /// 5 from 20 visits on, 4 from 10, 3 from 5, 2 from 2, else 1.
    pub frequency_score: u8,
    /// The quintile among the organization's customers who have spent anything, 5 being the highest; it is at most 10
    /// minutes old. 1 where nothing was spent.
    pub monetary_score: u8,
    /// The three scores, such as `545`.
    pub score: String,
}

impl Rfm {
    /// Of a customer; nothing where no order and no activity is known. `quintiles` ascend.
    pub(super) fn of(customer: &Customer, quintiles: &[Money], now: Timestamp) -> Option<Self> {
        let last = customer.last_order_date.or(customer.last_active)?;
        let recency_days = i64::try_from(now.since(last).as_secs() / 86_400).unwrap_or(i64::MAX);
        let (frequency, monetary) = (customer.visits, customer.spend);
        let recency_score = score(&RECENCY_CUTS, |cut| recency_days <= *cut);
        let frequency_score = score(&FREQUENCY_CUTS, |cut| frequency >= *cut);
        let beyond = quintiles.iter().filter(|cut| monetary > **cut).count();
        let beyond = if monetary > Money::ZERO { beyond.min(4) } else { 0 };
        let monetary_score = u8::try_from(beyond).unwrap_or(4) + 1;
        Some(Self {
            recency_days,
            frequency,
            monetary,
            recency_score,
            frequency_score,
            monetary_score,
            score: format!("{recency_score}{frequency_score}{monetary_score}"),
        })
    }
}

/// 5 for the first of four cuts that holds, 4 for the second, and so on; 1 where none does.
fn score(cuts: &[i64; 4], holds: impl Fn(&i64) -> bool) -> u8 {
    let place = cuts.iter().position(holds).unwrap_or(cuts.len());
    5 - u8::try_from(place).unwrap_or(4)
}

/// The quintiles of organizations, as they were a while ago.
#[derive(Debug, Default)]
pub(crate) struct Cuts(Mutex<HashMap<OrganizationId, (Timestamp, Vec<Money>)>>);

impl Cuts {
    /// The quintiles of the principal's organization.
    pub(super) async fn of(crm: &Crm, by: &Principal) -> Result<Vec<Money>> {
        let now = crm.now();
        let lock = || crm.rfm_cuts().0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, cuts)) = lock().get(&by.organization)
            && now < at.plus(GOOD_FOR)
            && *at <= now
        {
            return Ok(cuts.clone());
        }
        let cuts = read(crm, by).await?;
        let mut kept = lock();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(by.organization, (now, cuts.clone()));
        Ok(cuts)
    }
}

/// One look at an index that has what customers have spent.
async fn read(crm: &Crm, by: &Principal) -> Result<Vec<Money>> {
    let measure = |per_mille| Measure::Percentile { field: Customer::spend.field(), per_mille };
    let aggregation = Aggregation {
        filter: Customer::spend.greater_than(Money::ZERO).and(Customer::deleted_at.missing()),
        groups: Vec::new(),
        measures: QUINTILES.map(measure).to_vec(),
    };
    let rows = crm.store().aggregate(by.scope(), Customer::COLLECTION, &aggregation).await?;
    let measured = rows.into_iter().flat_map(|row| row.measures);
    Ok(measured
        .filter_map(|measured| match measured {
            Measured::Value(Value::Money(cut)) => Some(cut),
            _ => None,
        })
        .collect())
}
