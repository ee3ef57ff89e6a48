//! A preview counts whom the list shows, and both are whom the evaluator finds among all customers.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crm_core::{
    access::Principal,
    customer::Customer,
    order::{Order, OrderStatus},
    port::ManualClock,
    record::Record as _,
    repo::Visible as _,
    store::{Collection, Filter, Query, Row, Scope, evaluate},
    time::Timestamp,
};
use futures::TryStreamExt as _;
use proptest::{
    prelude::*,
    sample::select,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};

use super::orders::{Bought, keep};
use crate::support::{Person, on_every_store};

/// So many rules are tried on each store.
const RULES: usize = 24;

/// The rows of the organization, as the evaluator wants those of others.
struct Rows(Vec<(&'static Collection, Row)>);

impl evaluate::RelatedRows for Rows {
    fn visit(&self, collection: &'static Collection, visitor: &mut dyn FnMut(&Row)) {
        self.0.iter().filter(|(of, _)| *of == collection).for_each(|(_, row)| visitor(row));
    }
}

fn condition(group: &str) -> BoxedStrategy<Value> {
    let number = |field: &'static str, values: &'static [f64]| {
        let compare = (select(&[">", ">=", "<", "<=", "==", "!="][..]), select(values));
        compare.prop_map(move |(op, value)| {
            #[expect(clippy::cast_possible_truncation, reason = "small numbers")]
            let value = if value.fract() == 0.0 { json!(value as i64) } else { json!(value) };
            json!({"field": field, "op": op, "value": value})
        })
    };
    let text = |field: &'static str, op: &'static str, values: &'static [&'static str]| {
        select(values).prop_map(move |value| json!({"field": field, "op": op, "value": value}))
    };
    let exists = (select(&["last_active", "email", "tags", "custom.size", "team_id"][..]), any::<bool>())
        .prop_map(|(field, value)| json!({"field": field, "op": "exists", "value": value}));
    let group = json!({"field": "group", "op": "==", "value": group});
    let at = |field: &'static str| {
        (select(&[">", "<="][..]), select(&["now-1d", "now-100d", "2026-05-20", "now"][..]))
            .prop_map(move |(op, value)| json!({"field": field, "op": op, "value": value}))
    };
    prop_oneof![
        2 => number("spend", &[0.0, 10.5, 20.0, 400.25]),
        1 => number("visits", &[0.0, 1.0, 3.0]),
        2 => number("inactive_days", &[0.0, 1.0, 30.0, 100.0]),
        2 => number("custom.size", &[-1.0, 0.0, 2.5, 3.0]),
        1 => text("tags", "contains", &["vip", "new", "none"]),
        1 => text("status", "==", &["active", "blocked"]),
        1 => text("name", "contains", &["an", "É", "zz"]),
        1 => text("name", "starts_with", &["a", "e"]),
        1 => select(&["1d", "30d", "101d"][..]).prop_map(|span| json!({"field": "last_active", "op": "within_last", "value": span})),
        1 => at("created_at"),
        1 => at("last_active"),
        1 => exists,
        1 => select(vec![group.clone(), json!({"not": group})]),
        5 => orders(),
    ]
    .boxed()
}

fn orders() -> BoxedStrategy<Value> {
    let of_orders = prop_oneof![
        select(&["paid", "cancelled"][..]).prop_map(|status| json!({"field": "status", "op": "!=", "value": status})),
        (select(&[">", "<=", "=="][..]), select(&[5.0, 10.25, 30.0][..]))
            .prop_map(|(op, value)| json!({"field": "amount", "op": op, "value": value})),
        select(&["now-50d", "now-1d", "now"][..]).prop_map(|value| json!({"field": "date", "op": ">", "value": value})),
        any::<bool>().prop_map(|value| json!({"field": "external_id", "op": "exists", "value": value})),
    ];
    let filter = proptest::option::of(prop_oneof![
        2 => of_orders.clone(),
        1 => proptest::collection::vec(of_orders.clone(), 1..3).prop_map(|list| json!({"or": list})),
        1 => of_orders.prop_map(|one| json!({"not": one})),
    ]);
    let span = proptest::option::of(select(&["2d", "60d", "400d"][..]));
    let measure = proptest::option::of(prop_oneof![
        (0..4_i64).prop_map(|count| ("count", json!(count))),
        select(&[0.0, 5.0, 15.25, 60.0][..]).prop_map(|total| ("total", json!(total))),
    ]);
    (filter, span, measure, select(&[">", ">=", "<", "<=", "==", "!="][..]))
        .prop_map(|(filter, span, measure, op)| {
            let mut orders = serde_json::Map::new();
            orders.extend(filter.map(|filter| ("where".to_owned(), filter)));
            orders.extend(span.map(|span| ("within_last".to_owned(), json!(span))));
            orders.extend(measure.map(|(name, value)| (name.to_owned(), json!({"op": op, "value": value}))));
            json!({"orders": orders})
        })
        .boxed()
}

fn rules(group: &str) -> BoxedStrategy<Value> {
    condition(group)
        .prop_recursive(3, 10, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 1..4).prop_map(|list| json!({"and": list})),
                proptest::collection::vec(inner.clone(), 1..4).prop_map(|list| json!({"or": list})),
                inner.prop_map(|one| json!({"not": one})),
            ]
        })
        .boxed()
}

/// One of them after the other.
fn turn<T: Clone>(values: &[T], number: usize) -> T {
    values[number % values.len()].clone()
}

/// Everybody on the pages of a list.
async fn listed(person: &Person, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = format!("{path}?limit=11&sort=-spend");
    loop {
        let page = person.get(&next).await;
        found.extend(page.ids());
        let page = page.ok();
        let Some(cursor) = page["page"]["next_cursor"].as_str() else { return found };
        next = format!("{path}?limit=11&sort=-spend&cursor={cursor}");
    }
}

on_every_store! {
    /// Random rules over customers with orders, with values missing, in the bin, of several teams.
    async fn whoever_asks(setup: Setup) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant")));
        let app = setup.clock(&clock).start().await;
        let shop = app.organization("Shop").await;
        let (north, south) = (shop.team("North").await, shop.team("South").await);
        let agent = shop.member("Agent", Some(&north)).await;
        shop.admin.post("/customers/fields", json!({"key": "size", "label": "Size", "type": "number"})).await.created();
        let group = shop.admin.post("/customers/groups", json!({"name": "Club"})).await.created();
        let now = app.crm.now();
        let ago = |days: usize| now.minus(Duration::from_hours(24 * u64::try_from(days).expect("few")));
        let items: Vec<Value> = (0..40_usize).map(|number| {
            let mut item = json!({
                "name": turn(&["Ann", "Éva", "Zzyzx", "Ian"], number), "spend": turn(&[0.0, 10.5, 20.0, 400.25], number),
                "visits": number % 5, "status": turn(&["active", "inactive", "blocked"], number),
                "tags": turn(&[&[][..], &["vip"], &["vip", "new"]], number),
                "group_ids": turn(&[vec![group.id()], vec![], vec![], vec![], vec![]], number),
                "team_id": turn(&[Some(&north), Some(&south), None], number),
            });
            let members = item.as_object_mut().expect("an object");
            if number % 4 != 1 {
                members.insert("last_active".to_owned(), json!(ago(turn(&[0, 1, 30, 100, 101], number))));
            }
            if number % 2 == 0 {
                members.insert("email".to_owned(), json!(format!("c{number}@example.com")));
            }
            if number % 3 != 1 {
                members.insert("custom".to_owned(), json!({"size": turn(&[-1.0, 0.0, 2.5, 3.0], number)}));
            }
            item
        }).collect();
        let report = shop.admin.post("/customers/batch", json!({"items": items})).await.ok();
        let ids: Vec<String> = report["results"].as_array().expect("results").iter()
            .map(|one| one["id"].as_str().expect("an id").to_owned()).collect();
        keep(&app, &shop, (0..90_usize).map(|number| Bought {
            customer: &ids[number * number % 31], amount: [50_000, 102_500, 300_000, 0][number % 4],
            status: OrderStatus::ALL[number % 9], date: ago([0, 1, 2, 50, 60, 399, 400, 401][number % 8]),
            external_id: (number % 3 == 0).then(|| format!("SHOP-{number}")),
        })).await;
        for id in &ids[35..] {
            shop.admin.delete(format!("/customers/{id}")).await;
        }

        let scope = Scope::Organization(shop.id().await.parse().expect("an id"));
        let all = |collection| app.crm.store().stream(scope, collection, Query::new(Filter::ALL, 0)).try_collect::<Vec<Row>>();
        let customers = all(Customer::COLLECTION).await.expect("customers");
        let rows = Rows(all(Order::COLLECTION).await.expect("orders").into_iter().map(|row| (Order::COLLECTION, row)).collect());
        assert_eq!((customers.len(), rows.0.len()), (40, 90));
        let everybody = Principal::system(shop.id().await.parse().expect("an id"));
        let of_team = Principal {
            visibility: crm_core::access::Visibility::Team, team: Some(north.parse().expect("an id")), ..everybody.clone()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let made = shop.admin.post("/segments", json!({"name": "Tried", "rules_json": {"orders": {}}})).await.created();
        let (mut some, strategy) = (0, rules(group.id()));
        for _ in 0..RULES {
            let rules = strategy.new_tree(&mut runner).expect("a rule").current();
            let rule = app.crm.customers().rule(&everybody, &rules).await.expect("a right rule");
            shop.admin.patch(&made, json!({"rules_json": rules})).await.ok();
            for (person, principal) in [(&shop.admin, &everybody), (&agent, &of_team)] {
                let filter = Customer::visible_to(principal).and(rule.filter(clock_now(&clock)));
                let wanted: BTreeSet<String> = customers.iter()
                    .filter(|row| evaluate::matches_with(Customer::COLLECTION, &filter, row, &rows))
                    .map(|row| row.id().to_string()).collect();
                let found = listed(person, &format!("{made}/customers")).await;
                assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), wanted, "{rules}\n{rule}");
                assert_eq!(found.len(), wanted.len(), "nobody twice: {rules}");
                let stored = person.get(format!("{made}/preview")).await.ok();
                let tried = person.post("/segments/preview", json!({"rules_json": rules})).await.ok();
                for preview in [stored, tried] {
                    assert_eq!((&preview["count"], &preview["sample_size"]), (&json!(wanted.len()), &json!(wanted.len().min(10))), "{rules}");
                }
                some += usize::from(!wanted.is_empty() && wanted.len() < 35);
            }
            if let Some(id) = ids.first() {
                let why = shop.admin.get(format!("{made}/explain/{id}")).await.ok();
                let row = customers.iter().find(|row| row.id().to_string() == *id).expect("the first");
                let holds = evaluate::matches_with(Customer::COLLECTION, &rule.filter(clock_now(&clock)), row, &rows);
                assert_eq!(why["result"], holds, "{rules}\n{why}");
            }
        }
        assert!(some > RULES / 2, "rules that mean some and not all: {some}");
    }
}

fn clock_now(clock: &ManualClock) -> Timestamp {
    use crm_core::port::Clock as _;
    clock.now()
}
