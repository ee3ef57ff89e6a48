//! Attempts that die in every place there is: the effect is there once, and the next attempt is told the truth.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{Answer, Begun, KEPT, KeyedRequest};
use crate::{
    Crm, Error,
    access::Principal,
    customer::{Customer, NewCustomer, WriteOptions},
    idempotency::{Claim, ClaimRecord, Effect},
    input::FromInput as _,
    port::{ManualClock, SeededRandom},
    store::{Filter, Scope, Store as _, memory::MemoryStore},
    tenancy::{NewOrganization, Organization},
    time::Timestamp,
};

const HOLD: Duration = Duration::from_secs(90);

struct Shop {
    crm: Crm,
    clock: Arc<ManualClock>,
    by: Principal,
}

impl Shop {
    async fn open() -> Self {
        let store = Arc::new(MemoryStore::new());
        store.migrate(crate::crm::collections(), &|_, _, _| {}).await.expect("the collections are sound");
        let clock = Arc::new(ManualClock::new(Timestamp::from_milliseconds(1_767_225_600_000).expect("an instant")));
        let crm = Crm::builder(store).clock(Arc::clone(&clock)).random(SeededRandom::new(7)).build();
        let shop: Organization = crm
            .organizations()
            .create(
                &Principal::system(crate::id::OrganizationId::INSTALLATION),
                NewOrganization::from_json(&json!({"name": "Shop"})).expect("valid"),
            )
            .await
            .expect("created");
        Self { crm, clock, by: Principal::system(shop.id) }
    }

    async fn begin(&self, key: &str, fingerprint: &str) -> Begun {
        self.begin_as(&self.by, key, Some(fingerprint)).await
    }

    async fn begin_as(&self, by: &Principal, key: &str, fingerprint: Option<&str>) -> Begun {
        let key = key.parse().expect("a key");
        let request = KeyedRequest { key: &key, method: "POST", path: "/customers", fingerprint };
        self.crm.idempotency().begin(by, &request, HOLD).await.expect("the store is there")
    }

    async fn first(&self, key: &str) -> Claim {
        match self.begin(key, "a").await {
            Begun::First(claim) => claim,
            other => panic!("not the first: {other:?}"),
        }
    }

    async fn carry_out(&self, claim: Claim) -> Result<Customer, Error> {
        let mut by = self.by.clone();
        by.context.claim = Some(claim);
        let new = NewCustomer::from_json(&json!({"name": "Asha"})).expect("valid");
        self.crm.customers().create(&by, new, WriteOptions::default()).await
    }

    async fn customers(&self) -> u64 {
        self.crm.repo::<Customer>().count(self.by.scope(), &Filter::ALL).await.expect("counted")
    }
}

fn answer() -> Answer {
    let headers = vec![("location".to_owned(), "/api/v1/customers/1".to_owned())];
    Answer { status: 201, headers, body: b"{\"key\":\"shown once\"}".to_vec() }
}

#[tokio::test]
async fn an_answer_is_given_again_for_a_day() {
    let shop = Shop::open().await;
    let claim = shop.first("k").await;
    assert_eq!(shop.begin("k", "a").await, Begun::Running { retry_after: Duration::from_secs(1) });
    assert_eq!(shop.begin("k", "b").await, Begun::Mismatch);
    shop.carry_out(claim).await.expect("created");
    shop.crm.idempotency().finish(&shop.by, claim, Some("a"), &answer()).await.expect("kept");
    let again = Begun::Answered { fingerprint: Some("a".to_owned()), answer: answer() };
    assert_eq!(shop.begin("k", "a").await, again);
    assert_eq!(shop.begin("k", "b").await, Begun::Mismatch);
    assert!(matches!(shop.begin("other", "b").await, Begun::First(_)));
    let stored = shop.crm.repo::<ClaimRecord>().first(Scope::Installation, claim.held()).await.expect("read");
    assert!(!format!("{stored:?}").contains("shown once"), "what is shown once is not kept in the clear");

    shop.clock.advance(KEPT - Duration::from_secs(1));
    crate::background::clean_now(&shop.crm).await.expect("cleaned");
    assert_eq!(shop.begin("k", "a").await, again);
    shop.clock.advance(Duration::from_secs(1));
    assert!(matches!(shop.begin("k", "b").await, Begun::First(_)), "forgotten, also before it is swept");
    shop.clock.advance(KEPT);
    crate::background::clean_now(&shop.crm).await.expect("cleaned");
    let left = shop.crm.repo::<ClaimRecord>().count(Scope::Installation, &Filter::ALL).await.expect("counted");
    assert_eq!(left, 0);
}

#[tokio::test]
async fn keys_are_each_principals_own() {
    let shop = Shop::open().await;
    shop.first("k").await;
    let service = Principal { actor: crate::access::Actor::Service, ..shop.by.clone() };
    assert!(matches!(shop.begin_as(&service, "k", Some("b")).await, Begun::First(_)));
    let elsewhere = Principal::system(shop.crm.new_id());
    assert!(matches!(shop.begin_as(&elsewhere, "k", Some("b")).await, Begun::First(_)));
}

/// The process died before the effect: the next attempt makes it, and the one that was taken for dead cannot any more.
#[tokio::test]
async fn whoever_lost_the_claim_commits_nothing() {
    let shop = Shop::open().await;
    let slow = shop.first("k").await;
    shop.clock.advance(HOLD - Duration::from_secs(1));
    assert!(matches!(shop.begin("k", "a").await, Begun::Running { .. }));
    shop.clock.advance(Duration::from_secs(1));
    let second = shop.first("k").await;
    assert!(matches!(shop.carry_out(slow).await, Err(Error::Unavailable { .. })));
    assert_eq!(shop.customers().await, 0);
    shop.carry_out(second).await.expect("created");
    assert!(matches!(shop.carry_out(slow).await, Err(Error::Unavailable { .. })));
    shop.crm
        .idempotency()
        .finish(&shop.by, slow, Some("a"), &Answer { status: 500, ..answer() })
        .await
        .expect("no fault");
    shop.crm.idempotency().release(&shop.by, slow).await.expect("no fault");
    assert!(matches!(shop.begin("k", "a").await, Begun::Running { .. }), "the second is in hand");
    assert_eq!(shop.customers().await, 1);
}

/// A file that takes long to arrive: nobody takes the claim over while it is held on to, and whoever lost it gets it back
/// no more.
#[tokio::test]
async fn a_claim_is_held_on_to() {
    let shop = Shop::open().await;
    let slow = shop.first("k").await;
    for _ in 0..5 {
        shop.clock.advance(HOLD - Duration::from_secs(1));
        shop.crm.idempotency().hold_on(&shop.by, slow, HOLD).await.expect("held");
    }
    assert!(matches!(shop.begin("k", "a").await, Begun::Running { .. }));
    shop.clock.advance(HOLD);
    let second = shop.first("k").await;
    shop.crm.idempotency().hold_on(&shop.by, slow, HOLD * 5).await.expect("no fault");
    shop.clock.advance(HOLD);
    assert!(matches!(shop.begin("k", "a").await, Begun::First(_)), "the second held it for no longer");
    assert!(matches!(shop.carry_out(second).await, Err(Error::Unavailable { .. })));
}

/// The process died between effect and answer: nothing is done again, and what was done is known.
#[tokio::test]
async fn an_effect_without_an_answer_is_not_made_again() {
    let shop = Shop::open().await;
    let claim = shop.first("k").await;
    let customer = shop.carry_out(claim).await.expect("created");
    assert!(matches!(shop.begin("k", "a").await, Begun::Running { .. }));
    shop.clock.advance(HOLD);
    assert_eq!(shop.begin("k", "b").await, Begun::Mismatch);
    let Begun::Interrupted { claim: second, effect, .. } = shop.begin("k", "a").await else {
        panic!("not interrupted")
    };
    let made = Effect { record_type: "customers".to_owned(), record_id: customer.id.0, created: true };
    assert_eq!(effect, Some(made));
    assert!(matches!(shop.begin("k", "a").await, Begun::Running { .. }), "one at a time makes up the answer");
    shop.crm.idempotency().finish(&shop.by, second, None, &answer()).await.expect("kept");
    assert!(matches!(shop.begin("k", "a").await, Begun::Answered { .. }));
    assert_eq!(shop.customers().await, 1);
}

#[tokio::test]
async fn a_claim_is_given_up_only_before_its_effect() {
    let shop = Shop::open().await;
    let claim = shop.first("k").await;
    shop.crm.idempotency().release(&shop.by, claim).await.expect("released");
    assert!(
        matches!(shop.carry_out(claim).await, Err(Error::Unavailable { .. })),
        "a commit on its way comes too late"
    );
    let claim = shop.first("k").await;
    shop.carry_out(claim).await.expect("created");
    shop.crm.idempotency().release(&shop.by, claim).await.expect("released");
    assert!(matches!(shop.begin("k", "a").await, Begun::Interrupted { effect: Some(_), .. }), "at once");
}

/// More than one commit cannot be told from one record.
#[tokio::test]
async fn several_commits_have_no_one_record() {
    let shop = Shop::open().await;
    let claim = shop.first("k").await;
    for _ in 0..2 {
        shop.carry_out(claim).await.expect("created");
    }
    shop.crm.idempotency().release(&shop.by, claim).await.expect("released");
    assert!(matches!(shop.begin("k", "a").await, Begun::Interrupted { effect: None, .. }));
}

/// A body that arrives while the request is carried out is compared once both are known.
#[tokio::test]
async fn an_unknown_fingerprint_is_compared_later() {
    let shop = Shop::open().await;
    let Begun::First(claim) = shop.begin_as(&shop.by, "k", None).await else { panic!("not the first") };
    shop.carry_out(claim).await.expect("created");
    shop.crm.idempotency().finish(&shop.by, claim, Some("a"), &answer()).await.expect("kept");
    let Begun::Answered { fingerprint, .. } = shop.begin_as(&shop.by, "k", None).await else { panic!("not answered") };
    assert_eq!(fingerprint.as_deref(), Some("a"));
    assert_eq!(shop.begin("k", "b").await, Begun::Mismatch);
}

#[tokio::test]
async fn of_two_at_once_one_is_the_first() {
    let shop = Arc::new(Shop::open().await);
    let attempts: Vec<_> = (0..16)
        .map(|_| {
            let shop = Arc::clone(&shop);
            tokio::spawn(async move { matches!(shop.begin("k", "a").await, Begun::First(_)) })
        })
        .collect();
    let mut firsts = 0;
    for attempt in attempts {
        firsts += usize::from(attempt.await.expect("no panic"));
    }
    assert_eq!(firsts, 1);
}
