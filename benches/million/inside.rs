//! The store without HTTP: one caller in this process, beside the bare driver with the statement written by hand.

use std::time::{Duration, Instant};

use crm_core::{
    customer::{Customer, CustomerStatus},
    id::{CustomerId, OrganizationId},
    record::Record as _,
    store::{Aggregation, Comparison, Group, Measure, Money, Scope},
};
use sqlx::{Row as _, postgres::PgPoolOptions};

use super::{floor, stage::Stage};

/// Lookups in a round.
const LOOKUPS: usize = 4000;

/// Customers by id, each decoded into its struct.
pub(crate) async fn get(stage: &Stage, rounds: usize) {
    let pool = PgPoolOptions::new().connect(&stage.database).await.unwrap();
    let scope = Scope::Organization(OrganizationId(stage.organization));
    let mut measured = Vec::new();
    for round in 0..=rounds {
        let first = round * LOOKUPS;
        let begin = Instant::now();
        for number in first..first + LOOKUPS {
            let found = floor::find(&pool, stage.organization, stage.id(number)).await.unwrap();
            assert!(found.is_some());
        }
        let floor = begin.elapsed();
        let begin = Instant::now();
        for number in first..first + LOOKUPS {
            let found = stage.crm.repo::<Customer>().get(scope, CustomerId(stage.id(number))).await.unwrap();
            assert!(found.is_some());
        }
        measured.push((floor, begin.elapsed()));
    }
    report("Repo::get in process", LOOKUPS, measured);
}

/// How many customers there are of each status.
pub(crate) async fn group(stage: &Stage, rounds: usize) {
    let pool = PgPoolOptions::new().connect(&stage.database).await.unwrap();
    let scope = Scope::Organization(OrganizationId(stage.organization));
    let aggregation = Aggregation {
        filter: Customer::deleted_at.missing(),
        groups: vec![Group::Field(Customer::status.field())],
        measures: vec![Measure::Count],
    };
    let mut measured = Vec::new();
    for _ in 0..=rounds {
        let begin = Instant::now();
        let rows = sqlx::query(
            "SELECT status, count(*) FROM customers WHERE organization_id = $1 AND deleted_at IS NULL GROUP BY status",
        )
        .bind(stage.organization)
        .fetch_all(&pool)
        .await
        .unwrap();
        let counted: i64 = rows.iter().map(|row| row.get::<i64, _>(1)).sum();
        let floor = begin.elapsed();
        assert!(counted >= i64::try_from(stage.customers).unwrap());
        let begin = Instant::now();
        let groups = stage.crm.store().aggregate(scope, Customer::COLLECTION, &aggregation).await.unwrap();
        measured.push((floor, begin.elapsed()));
        assert_eq!(groups.len(), rows.len());
    }
    report("group by status, in process", 1, measured);
}

/// Counts by the rule that the floor has as SQL, each without HTTP.
pub(crate) async fn count(stage: &Stage, rounds: usize) {
    let pool = PgPoolOptions::new().connect(&stage.database).await.unwrap();
    let scope = Scope::Organization(OrganizationId(stage.organization));
    let filter = Customer::deleted_at
        .missing()
        .and(Customer::spend.greater_than("9000".parse::<Money>().unwrap()))
        .and(Customer::visits.compares(Comparison::GreaterOrEqual, 40))
        .and(Customer::status.equals(CustomerStatus::Active));
    let mut measured = Vec::new();
    for _ in 0..=rounds {
        let begin = Instant::now();
        let floor_count = floor::counted(&pool, stage.organization).await.unwrap();
        let floor = begin.elapsed();
        let begin = Instant::now();
        let count = stage.crm.store().count(scope, Customer::COLLECTION, &filter).await.unwrap();
        measured.push((floor, begin.elapsed()));
        assert_eq!(i64::try_from(count).unwrap(), floor_count);
    }
    report("count by a rule, in process", 1, measured);
}

/// The first round is for warming up.
fn report(name: &str, done: usize, measured: Vec<(Duration, Duration)>) {
    let mut rounds: Vec<(Duration, Duration)> = measured.into_iter().skip(1).collect();
    let ratio = |(floor, ours): &(Duration, Duration)| floor.as_secs_f64() / ours.as_secs_f64();
    rounds.sort_by(|left, right| ratio(left).total_cmp(&ratio(right)));
    let per = |time: Duration| Duration::from_secs_f64(time.as_secs_f64() / done as f64);
    let (floor, ours) = rounds[rounds.len() / 2];
    println!(
        "{name:<28} {:>10.1?} {:>10.1?}  {:.2} ({:.2}, {:.2})",
        per(floor),
        per(ours),
        ratio(&rounds[rounds.len() / 2]),
        ratio(&rounds[0]),
        ratio(&rounds[rounds.len() - 1]),
    );
}
