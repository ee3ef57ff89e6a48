//! How many rows PostgreSQL looks at for what the API asks, in tables of two organizations.
//!
//! Not the plan is looked at but what the server counts: the statement is run as the store runs it, prepared, and often
//! enough that the server may have settled on a plan that does not look at the values.

mod background;

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use crm_core::{
    crm::collections,
    customer::Customer,
    field::CustomValues,
    id::{CustomerId, OrganizationId, TeamId, UserId},
    order::{Order, OrderId, OrderItems, OrderStatus},
    record::{Meta, Record as _},
    store::{
        Aggregation, Change, Collection, Comparison, CustomIndex, FieldKind, FieldRef, Filter, Group, Json, Measure,
        Money, Query, RelatedFilter, RelatedMeasure, Row, Scope, Sort, Store as _, Value, evaluate,
    },
    time::Timestamp,
};
use crm_test_servers::{Durability, Postgres};
use sqlx::Row as _;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{PostgresOptions, PostgresStore, aggregate, compile::Rows, read::Reading, statement::Statement};

const OURS: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00a1);
const THEIRS: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00b2);
const EACH: u32 = 25_000;
/// Orders of each organization.
const ORDERS: u32 = 10_000;
const PAGE: usize = 20;
/// How many rows a page may look at.
const EXAMINED: i64 = 5 * PAGE as i64;
/// A prepared statement is planned anew for its values this often before the server thinks of a plan for all.
const RUNS: usize = 8;

static CUSTOMERS: &Collection = Customer::COLLECTION;

fn scope() -> Scope {
    Scope::Organization(OrganizationId(OURS))
}

fn instant(seconds: i64) -> Value {
    Value::Timestamp(Timestamp::from_milliseconds(1_700_000_000_000 + seconds * 1000).unwrap())
}

fn staff(number: u32) -> Value {
    Value::Id(Uuid::from_u128(u128::from(number)))
}

/// The `n`th customer of an organization: values that repeat, values that are missing, names in no order.
fn customer(organization: Uuid, n: u32) -> Row {
    let long = i64::from(n);
    let names = ["Ána", "Bo", "Chloé", "Дмитрий", "Émile"];
    let tags = match n % 50 {
        0 => vec!["vip".to_owned(), "rare".to_owned()],
        m if m % 5 == 0 => vec!["vip".to_owned()],
        _ => Vec::new(),
    };
    let value = |name: &str, kind: FieldKind, optional: bool| match name {
        "id" => Value::Id(Uuid::from_u128(organization.as_u128() << 32 | u128::from(n))),
        "organization_id" => Value::Id(organization),
        "created_at" => instant(long * 7919 % i64::from(EACH)),
        "updated_at" => instant(long),
        "name" => Value::Text(format!("{} {}", names[n as usize % 5], n * 7919 % 1000)),
        "email" if !n.is_multiple_of(3) => Value::Text(format!("p{n}@example.com")),
        "status" => Value::Text(["active", "inactive"][n as usize % 2].to_owned()),
        "type" => Value::Text("regular".to_owned()),
        "spend" => Value::Money(Money::from_ten_thousandths(long * 31 % 500_000).unwrap()),
        "last_active" if !n.is_multiple_of(4) => instant(long * 13 % 10_000),
        "active_at" => instant(long * 13 % 10_000),
        "owner_id" if n.is_multiple_of(7) => staff(n % 21),
        "team_id" if n.is_multiple_of(2) => staff(n % 10),
        "tags" => Value::TextList(tags.clone()),
        "group_ids" => Value::TextList(vec![format!("g{}", n % 40)]),
        "custom" => {
            Value::Json(Json::from_trusted(format!("{{\"it's a \\\"key\\\".$\":\"City {}\",\"n\":{n}}}", n % 900)))
        }
        "deleted_at" if n % 10 == 9 => instant(long),
        _ if optional => Value::Null,
        _ => match kind {
            FieldKind::Bool => Value::Bool(false),
            FieldKind::Integer => Value::Integer(i64::from(name == "version")),
            FieldKind::Number => Value::Number(0.0),
            FieldKind::Money => Value::Money(Money::ZERO),
            FieldKind::Text => Value::Text(String::new()),
            FieldKind::Timestamp | FieldKind::Date | FieldKind::Id => instant(0),
            FieldKind::TextList => Value::TextList(Vec::new()),
            FieldKind::Json => Value::Json(Json::default()),
        },
    };
    Row(CUSTOMERS.fields.iter().map(|field| value(field.name, field.kind, field.optional)).collect())
}

/// The `n`th order of an organization, of one of 500 customers.
fn order(organization: Uuid, n: u32) -> Order {
    let long = i64::from(n);
    let at = |seconds: i64| Timestamp::from_milliseconds(1_700_000_000_000 + seconds * 1000).unwrap();
    Order {
        id: OrderId(Uuid::from_u128(organization.as_u128() << 32 | u128::from(n))),
        customer_id: buyer(n % 500),
        external_id: (!n.is_multiple_of(4)).then(|| format!("S-{n}").parse().unwrap()),
        status: OrderStatus::ALL[n as usize % OrderStatus::ALL.len()],
        amount: Money::from_ten_thousandths(long * 31).unwrap(),
        items: OrderItems::default(),
        date: at(long * 7919 % i64::from(ORDERS)),
        custom: CustomValues::default(),
        metadata: Json::default(),
        owner_id: n.is_multiple_of(7).then(|| UserId(Uuid::from_u128(u128::from(n % 21)))),
        team_id: n.is_multiple_of(2).then(|| TeamId(Uuid::from_u128(u128::from(n % 10)))),
        meta: Meta::new(OrganizationId(organization), at(long)),
    }
}

fn buyer(number: u32) -> CustomerId {
    CustomerId(Uuid::from_u128(u128::from(number) + 1))
}

struct Stage {
    store: Arc<PostgresStore>,
    rows: Arc<Vec<Row>>,
}

/// The server and the database that every test's own is a copy of.
static TEMPLATE: OnceCell<(Postgres, Arc<Vec<Row>>)> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

async fn template() -> (Postgres, Arc<Vec<Row>>) {
    let server = Postgres::start(Durability::None, &[]).unwrap();
    let administrator = PostgresStore::connect(&server.url("postgres")).await.unwrap();
    let mut session = administrator.pool.acquire().await.unwrap();
    session.run("CREATE DATABASE template").await.unwrap();
    let store = PostgresStore::connect(&server.url("template")).await.unwrap();
    store.migrate(collections(), &|_, _, _| {}).await.unwrap();
    let rows = |organization| (0..EACH).map(|n| customer(organization, n)).collect::<Vec<_>>();
    for organization in [OURS, THEIRS] {
        let scope = Scope::Organization(OrganizationId(organization));
        let insert = Change::Insert { collection: CUSTOMERS, rows: rows(organization) };
        store.commit(scope, vec![insert]).await.unwrap();
        let rows = (0..ORDERS).map(|n| order(organization, n).to_row()).collect();
        store.commit(scope, vec![Change::Insert { collection: Order::COLLECTION, rows }]).await.unwrap();
    }
    let mut session = store.pool.acquire().await.unwrap();
    session.run("VACUUM ANALYZE").await.unwrap();
    session.release();
    store.close().await;
    (server, Arc::new(rows(OURS)))
}

async fn stage() -> Stage {
    let (server, rows) = TEMPLATE.get_or_init(template).await;
    let name = format!("copy_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let administrator = PostgresStore::connect(&server.url("postgres")).await.unwrap();
    let mut session = administrator.pool.acquire().await.unwrap();
    // Copies of one template are made one after the other.
    session.run("SELECT pg_advisory_lock(1)").await.unwrap();
    session.run(&format!("CREATE DATABASE {name} TEMPLATE template")).await.unwrap();
    let options = PostgresOptions::parse(&server.url(&name)).unwrap();
    Stage { store: Arc::new(PostgresStore::connect_with(options).await.unwrap()), rows: Arc::clone(rows) }
}

fn declared(name: &'static str) -> FieldRef {
    FieldRef::declared(name, CUSTOMERS.field(name).unwrap().kind)
}

fn live() -> Filter {
    Filter::Exists { field: declared("deleted_at") }.negated()
}

fn by(field: FieldRef, descending: bool) -> Vec<Sort> {
    vec![Sort { field, descending }]
}

fn contains(list: &'static str, text: &str) -> Filter {
    Filter::Contains { field: declared(list), text: text.to_owned() }
}

fn search(term: &str) -> Filter {
    Filter::Search { terms: vec![term.to_owned()] }
}

fn is(name: &'static str, value: Value) -> Filter {
    Filter::equal(declared(name), value)
}

fn city() -> FieldRef {
    FieldRef::custom("custom", "it's a \"key\".$", FieldKind::Text)
}

const COUNTED: &str = "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch,0)),0)::bigint \
                       FROM pg_stat_xact_user_tables";

impl Stage {
    /// How many rows the statement looks at and answers, and how the server says that it runs it.
    async fn examined(&self, statement: &Statement) -> (i64, usize, String) {
        self.examined_with("BEGIN", statement).await
    }

    /// The same in a transaction that begins so.
    async fn examined_with(&self, begin: &str, statement: &Statement) -> (i64, usize, String) {
        let mut session = self.store.pool.acquire().await.unwrap();
        session.run(begin).await.unwrap();
        let mut counts = Vec::new();
        let mut answered = 0;
        for run in 0..=RUNS {
            if run > 0 {
                answered = session.all(statement.clone()).await.unwrap().len();
            }
            let row = session.first(Statement::new(COUNTED)).await.unwrap().unwrap();
            counts.push(row.get::<i64, _>(0));
        }
        let mut plan = String::new();
        for line in session.all(statement.clone().explained()).await.unwrap() {
            writeln!(plan, "{}", line.get::<&str, _>(0)).unwrap();
        }
        session.run("ROLLBACK").await.unwrap();
        session.release();
        let most = counts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        (most, answered, plan)
    }

    /// What matches, in the order of the query.
    fn sorted(&self, query: &Query) -> Vec<&Row> {
        let order = evaluate::Order::new(CUSTOMERS, &query.sort);
        let matching = self.rows.iter().filter(|row| evaluate::matches(CUSTOMERS, &query.filter, row));
        let mut placed: Vec<_> = matching.map(|row| (order.place(row), row)).collect();
        placed.sort_by(|(left, _), (right, _)| order.compare(left, right));
        placed.into_iter().map(|(_, row)| row).collect()
    }

    /// How many rows a page of the query looks at in all, whether it says that it is slow, and the plans. The answer is
    /// compared with what is expected on the way.
    async fn page(&self, query: &Query, expected: &[&Row]) -> (i64, bool, String) {
        let page = self.store.find(scope(), CUSTOMERS, query).await.unwrap();
        let found: Vec<Uuid> = page.rows.iter().map(Row::id).collect();
        let expected: Vec<Uuid> = expected.iter().map(|row| row.id()).take(query.limit).collect();
        assert_eq!(found, expected, "{query:?}");
        let layout = self.store.layouts.of(CUSTOMERS);
        let reading = Reading::new(&self.store, &layout, scope(), query, false).unwrap();
        let (mut examined, mut plans, mut missing) = (0, String::new(), PAGE + 1);
        for block in 0..reading.plan.blocks() {
            let mut statement = reading.statement(block).unwrap();
            statement.push(&format!(" LIMIT {missing}"));
            let (count, rows, plan) = self.examined(&statement).await;
            examined += count;
            plans.push_str(&plan);
            missing -= rows;
            if missing == 0 {
                break;
            }
        }
        (examined, page.slow, plans)
    }

    /// The same for a first page.
    async fn first_page(&self, query: &Query) -> (i64, bool, String) {
        self.page(query, &self.sorted(query)).await
    }

    /// That few rows are looked at on the first page and on pages that begin at other places.
    async fn pages_are_cheap(&self, query: Query) {
        let matching = self.sorted(&query);
        assert!(matching.len() > PAGE, "{query:?} finds too little to be told by");
        for place in [None, Some(9), Some(matching.len() / 2), Some(matching.len() - 5)] {
            let after = place.map(|place| evaluate::position(CUSTOMERS, &query.sort, matching[place]));
            let query = Query { after, ..query.clone() };
            let (examined, slow, plan) = self.page(&query, &matching[place.map_or(0, |place| place + 1)..]).await;
            assert!(!slow, "{query:?}");
            assert!(examined <= EXAMINED, "{query:#?} looks at {examined} rows\n{plan}");
        }
    }

    async fn counted(&self, filter: &Filter) -> (i64, String) {
        self.counted_with("BEGIN", filter).await
    }

    async fn counted_with(&self, begin: &str, filter: &Filter) -> (i64, String) {
        let layout = self.store.layouts.of(CUSTOMERS);
        let rows = Rows::new(&self.store.layouts, &layout, Some(OURS), filter);
        let mut count = Statement::new("SELECT count(*) FROM ");
        rows.push_table(&mut count);
        rows.push_where(&mut count, filter).unwrap();
        let (examined, _, plan) = self.examined_with(begin, &count).await;
        (examined, plan)
    }

    /// How the server would count the records of each status and type.
    async fn grouped(&self) -> String {
        let layout = self.store.layouts.of(CUSTOMERS);
        let aggregation = Aggregation {
            filter: live(),
            groups: vec![Group::Field(declared("status")), Group::Field(declared("type"))],
            measures: vec![Measure::Count],
        };
        let rows = Rows::new(&self.store.layouts, &layout, Some(OURS), &aggregation.filter);
        self.examined(&aggregate::statement(&rows, &aggregation).unwrap()).await.2
    }

    fn matching(&self, filter: &Filter) -> i64 {
        self.rows.iter().filter(|row| evaluate::matches(CUSTOMERS, filter, row)).count() as i64
    }
}

#[tokio::test]
async fn every_list_runs_along_an_index() {
    let stage = stage().await;
    let recent = Filter::compare(declared("last_active"), Comparison::GreaterOrEqual, instant(400));
    let idle = Filter::compare(declared("active_at"), Comparison::Less, instant(5000));
    for (filter, sort) in [
        (live(), by(declared("created_at"), true)),
        (live(), by(declared("created_at"), false)),
        (live(), by(declared("name"), false)),
        (live(), by(declared("name"), true)),
        (live(), by(declared("spend"), true)),
        (live(), by(declared("last_active"), true)),
        (live(), by(declared("last_active"), false)),
        (live().and(is("status", Value::Text("active".to_owned()))), by(declared("created_at"), true)),
        (live().and(is("owner_id", staff(7))), by(declared("created_at"), true)),
        (live().and(is("team_id", staff(4))), by(declared("created_at"), true)),
        (live().and(recent), by(declared("last_active"), true)),
        (live().and(idle), by(declared("active_at"), false)),
        (live().and(contains("tags", "vip")), by(declared("created_at"), true)),
        (live().and(contains("tags", "rare")), by(declared("created_at"), false)),
        (live().and(contains("group_ids", "g7")), by(declared("created_at"), true)),
        (live(), Vec::new()),
        (Filter::ALL, Vec::new()),
        (Filter::Exists { field: declared("deleted_at") }, by(declared("deleted_at"), true)),
    ] {
        stage.pages_are_cheap(Query::new(filter, PAGE).sorted(sort)).await;
    }
}

#[tokio::test]
async fn orders_run_along_an_index_and_are_summed_from_it() {
    let stage = stage().await;
    let layout = stage.store.layouts.of(Order::COLLECTION);
    let paid = || Order::status.equals(OrderStatus::Paid);
    let external = Order::external_id.equals(Some("S-777".parse().unwrap()));
    let last = || vec![Order::date.descending()];
    for (filter, sort) in [
        (Filter::ALL, last()),
        (Filter::ALL, vec![Order::date.ascending()]),
        (paid(), last()),
        (Order::customer_id.equals(buyer(7)), last()),
        (Order::customer_id.equals(buyer(7)).and(paid()), last()),
        (Order::owner_id.equals(UserId(Uuid::from_u128(7))), last()),
        (Order::team_id.equals(TeamId(Uuid::from_u128(4))), last()),
        (external, last()),
        (Filter::ALL, Vec::new()),
    ] {
        let query = Query::new(filter, PAGE).sorted(sort);
        let reading = Reading::new(&stage.store, &layout, scope(), &query, false).unwrap();
        let (mut examined, mut plans) = (0, String::new());
        for block in 0..reading.plan.blocks() {
            let mut statement = reading.statement(block).unwrap();
            statement.push(&format!(" LIMIT {}", PAGE + 1));
            let (count, _, plan) = stage.examined(&statement).await;
            examined += count;
            plans.push_str(&plan);
        }
        assert!(examined <= EXAMINED, "{query:#?} looks at {examined} rows\n{plans}");
    }
    let aggregation = Aggregation {
        filter: Order::customer_id.one_of((0..20).map(buyer)).and(Order::status.one_of(OrderStatus::ALL)),
        groups: vec![Group::Field(Order::customer_id.field())],
        measures: vec![Measure::Count, Measure::Sum(Order::amount.field()), Measure::Maximum(Order::date.field())],
    };
    let rows = Rows::new(&stage.store.layouts, &layout, Some(OURS), &aggregation.filter);
    let (_, _, plan) = stage.examined(&aggregate::statement(&rows, &aggregation).unwrap()).await;
    assert!(plan.contains("Index Only Scan") && plan.contains("orders_by_customer_id"), "{plan}");
}

/// Who bought so, or so often, is found by one pass over an index that holds all that is asked: no order is read, and no
/// look is taken for each customer.
#[tokio::test]
async fn conditions_on_orders_read_no_orders() {
    let stage = stage().await;
    let bought = |filter, measure, value| {
        let (key, comparison) = (Order::customer_id.name(), Comparison::GreaterOrEqual);
        let collection = Order::COLLECTION;
        Filter::Related(Box::new(RelatedFilter { collection, key, filter, measure, comparison, value }))
    };
    let lately = || Filter::compare(Order::date.field(), Comparison::GreaterOrEqual, instant(9_500));
    let cancelled = || Order::status.equals(OrderStatus::Cancelled);
    let (count, sum) = (|| RelatedMeasure::Count, || RelatedMeasure::Sum(Order::amount.name()));
    let two = || Value::Integer(2);
    let much = || Value::Money(Money::from_ten_thousandths(400_000).unwrap());
    for (is_covered, filter) in [
        (true, bought(Filter::ALL, count(), two())),
        (true, bought(Filter::ALL, sum(), much())),
        // Of few orders of a status the rows are read: their index serves lists.
        (false, bought(cancelled(), count(), two())),
        (true, bought(lately(), count(), two())),
        (true, bought(lately(), sum(), much())),
        (true, bought(lately().and(cancelled()), sum(), much())),
    ] {
        // Half of the rows here are the organization's, so that reading the whole table would be the faster way.
        let begin = "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off";
        let (examined, plan) = stage.counted_with(begin, &filter).await;
        let of_orders: Vec<&str> = plan.lines().filter(|line| line.contains(" on orders")).collect();
        let along = |line: &&str| {
            line.contains("Index Only Scan using orders_by_")
                || !is_covered && line.contains("Index Scan using orders_by_")
        };
        assert!(!of_orders.is_empty() && of_orders.iter().all(along), "{plan}");
        assert!(!plan.contains("SubPlan") || plan.contains("hashed SubPlan"), "one look for each customer:\n{plan}");
        assert!(examined <= i64::from(EACH), "{examined} rows are read\n{plan}");
    }
}

#[tokio::test]
async fn what_names_records_is_looked_up() {
    let stage = stage().await;
    let ids = [3, 5, 8].map(|place: usize| Value::Id(stage.rows[place].id())).to_vec();
    let query = Query::new(Filter::In { field: declared("id"), values: ids }, PAGE);
    for sort in [Vec::new(), by(declared("created_at"), true), by(declared("name"), false)] {
        let (examined, slow, plan) = stage.first_page(&query.clone().sorted(sort)).await;
        assert!(examined <= 3 && !slow, "{examined} rows\n{plan}");
    }
}

#[tokio::test]
async fn searches_look_at_nothing_of_others() {
    let stage = stage().await;
    for term in ["émile 77", "p1234@", "ДМИТРИЙ 98", "chloe"] {
        for sort in [Vec::new(), by(declared("created_at"), true), by(declared("name"), false)] {
            let filter = live().and(search(term));
            let matches = stage.matching(&search(term));
            let (examined, _, plan) = stage.first_page(&Query::new(filter, PAGE).sorted(sort)).await;
            assert!(examined <= matches + EXAMINED, "{term}: {examined} rows for {matches} matches\n{plan}");
        }
        let (examined, plan) = stage.counted(&search(term)).await;
        assert!(examined <= stage.matching(&search(term)) + EXAMINED, "{term}: {examined} rows\n{plan}");
    }
    // Two letters have no trigram: the order's index is walked until the page is full.
    stage.pages_are_cheap(Query::new(live().and(search("@e")), PAGE).sorted(by(declared("created_at"), true))).await;
}

#[tokio::test]
async fn counts_and_groups_read_no_records() {
    let stage = stage().await;
    let above = |name, value| Filter::compare(declared(name), Comparison::Greater, value);
    let rich = above("spend", Value::Money(Money::from_ten_thousandths(450_000).unwrap()));
    let often = Filter::compare(declared("visits"), Comparison::GreaterOrEqual, Value::Integer(0));
    let rule = live().and(rich).and(often.clone()).and(is("status", Value::Text("active".to_owned())));
    let idle = live().and(Filter::compare(declared("active_at"), Comparison::Less, instant(500))).and(often);
    for (index, plan) in [
        ("customers_counts_status_type_deleted_at", stage.counted(&live()).await.1),
        ("customers_counts_status_type_deleted_at", stage.grouped().await),
        ("customers_by_spend_down", stage.counted(&rule).await.1),
        ("customers_by_active_at", stage.counted(&idle).await.1),
    ] {
        assert!(plan.contains("Index Only Scan") && plan.contains(index), "{index}:\n{plan}");
    }
}

#[tokio::test]
async fn elements_in_another_order_look_at_their_records_only() {
    let stage = stage().await;
    let filter = contains("group_ids", "g7");
    let matches = stage.matching(&filter);
    let (examined, slow, plan) =
        stage.first_page(&Query::new(filter.clone(), PAGE).sorted(by(declared("name"), false))).await;
    assert!(slow && examined <= 3 * matches, "{examined} rows for {matches} matches\n{plan}");
    let (examined, plan) = stage.counted(&filter).await;
    assert!(examined <= 3 * matches, "{examined} rows for {matches} matches\n{plan}");
}

#[tokio::test]
async fn custom_fields_are_slow_until_they_are_indexed() {
    let stage = stage().await;
    let number = FieldRef::custom("custom", "n", FieldKind::Integer);
    let equal = Filter::equal(city(), Value::Text("City 7".to_owned()));
    let prefix = Filter::StartsWith { field: city(), text: "CITY 77".to_owned() };
    let large = Filter::compare(number.clone(), Comparison::Greater, Value::Integer(24_980));
    let ordered = Query::new(live(), PAGE).sorted(by(city(), false));
    assert!(stage.first_page(&ordered).await.1);
    let indexes = [("it's a \"key\".$", FieldKind::Text), ("n", FieldKind::Integer)].map(|(key, kind)| CustomIndex {
        collection: CUSTOMERS,
        field: "custom",
        key: key.to_owned(),
        kind,
    });
    for index in &indexes {
        stage.store.create_custom_index(scope(), index).await.unwrap();
        stage.store.create_custom_index(scope(), index).await.unwrap();
    }
    let mut session = stage.store.pool.acquire().await.unwrap();
    session.run("ANALYZE").await.unwrap();
    session.release();
    for filter in [equal, prefix, large] {
        let matches = stage.matching(&filter);
        let (examined, plan) = stage.counted(&filter).await;
        assert!(examined <= matches + EXAMINED, "{filter:?}: {examined} rows for {matches} matches\n{plan}");
    }
    stage.pages_are_cheap(ordered.clone()).await;
    stage.pages_are_cheap(Query::new(live(), PAGE).sorted(by(number, true))).await;
    for index in &indexes {
        stage.store.drop_custom_index(scope(), index).await.unwrap();
        stage.store.drop_custom_index(scope(), index).await.unwrap();
    }
    assert!(stage.first_page(&ordered).await.1);
}

#[tokio::test]
async fn orders_without_an_index_say_so() {
    let stage = stage().await;
    for (filter, sort) in [
        (live(), by(declared("updated_at"), false)),
        (contains("tags", "vip"), by(declared("spend"), true)),
        (live(), [by(declared("name"), false), by(declared("spend"), true)].concat()),
    ] {
        assert!(stage.first_page(&Query::new(filter, PAGE).sorted(sort)).await.1);
    }
}
