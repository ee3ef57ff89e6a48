//! The store without HTTP: one caller in this process, beside the bare driver with the statement written by hand.

use std::time::{Duration, Instant};

use crm_core::{
    access::Principal,
    customer::{Customer, CustomerStatus},
    field::CustomValues,
    id::{CustomerId, OrganizationId},
    order::{Order, OrderId, OrderItems, OrderStatus},
    record::{Meta, Record as _},
    store::{Aggregation, Change, Comparison, Group, Json, Measure, Money, Scope},
};
use serde_json::json;
use sqlx::{Row as _, postgres::PgPoolOptions};

use super::{floor, people, stage::Stage};

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

/// Counts of segments, each beside its statement.
pub(crate) async fn segments(stage: &Stage, rounds: usize) {
    let pool = PgPoolOptions::new().connect(&stage.database).await.unwrap();
    fill_orders(stage, &pool).await;
    let by = Principal::system(OrganizationId(stage.organization));
    let as_of = people::instant(stage.customers);
    let before = |days: i64| as_of.as_milliseconds() / 1000 - days * 86_400;
    let quiet = json!({"and": [
        {"field": "spend", "op": ">", "value": 5000}, {"field": "inactive_days", "op": ">", "value": 180},
    ]});
    let often = json!({"orders": {"count": {"op": ">=", "value": 2}}});
    let lately = json!({"orders": {"within_last": "90d", "total": {"op": ">", "value": 500}}});
    for (name, rules, statement, seconds) in [
        (
            "segment of quiet spenders",
            quiet,
            "SELECT count(*) FROM customers WHERE organization_id = $1 AND deleted_at IS NULL AND spend > 5000 \
             AND active_at <= to_timestamp($2)",
            before(181),
        ),
        (
            "segment by all orders",
            often,
            "SELECT count(*) FROM customers WHERE organization_id = $1 AND deleted_at IS NULL AND $2 > 0 AND id IN \
             (SELECT customer_id FROM orders WHERE organization_id = $1 GROUP BY customer_id HAVING count(*) >= 2)",
            before(0),
        ),
        (
            "segment by recent orders",
            lately,
            "SELECT count(*) FROM customers WHERE organization_id = $1 AND deleted_at IS NULL AND id IN (SELECT \
             customer_id FROM orders WHERE organization_id = $1 AND date >= to_timestamp($2) GROUP BY customer_id \
             HAVING sum(amount) > 500)",
            before(90),
        ),
    ] {
        let rule = stage.crm.customers().rule(&by, &rules).await.unwrap();
        let filter = Customer::deleted_at.missing().and(rule.filter(as_of));
        let mut measured = Vec::new();
        for _ in 0..=rounds {
            let begin = Instant::now();
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
            let row =
                sqlx::query(statement).bind(stage.organization).bind(seconds as f64).fetch_one(&pool).await.unwrap();
            let floor = begin.elapsed();
            let begin = Instant::now();
            let count = stage.crm.store().count(by.scope(), Customer::COLLECTION, &filter).await.unwrap();
            measured.push((floor, begin.elapsed()));
            assert_eq!(i64::try_from(count).unwrap(), row.get::<i64, _>(0), "{name}");
        }
        report(name, 1, measured);
    }
}

/// As many orders as customers: of four customers one has three, one has one, and two have none.
async fn fill_orders(stage: &Stage, pool: &sqlx::PgPool) {
    const BATCH: usize = 5000;
    let organization = OrganizationId(stage.organization);
    for first in (0..stage.customers).step_by(BATCH) {
        let mut rows = Vec::new();
        for number in first..(first + BATCH).min(stage.customers) {
            let owner = number / 4 * 4 + usize::from(!number.is_multiple_of(4));
            let date = people::instant(number);
            let order = Order {
                id: OrderId(people::id(number)),
                customer_id: CustomerId(people::id(owner)),
                external_id: None,
                status: OrderStatus::Paid,
                amount: Money::from_ten_thousandths((number * 7919 % 10_000_000) as i64).unwrap(),
                items: OrderItems::default(),
                date,
                custom: CustomValues::default(),
                metadata: Json::default(),
                owner_id: None,
                team_id: None,
                meta: Meta::new(organization, date),
            };
            rows.push(order.to_row());
        }
        let insert = Change::Insert { collection: Order::COLLECTION, rows };
        stage.crm.store().commit(Scope::Organization(organization), vec![insert]).await.unwrap();
        if first % 100_000 == 0 {
            eprintln!("{first} of {} orders", stage.customers);
        }
    }
    sqlx::query("VACUUM (ANALYZE) orders").execute(pool).await.unwrap();
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
