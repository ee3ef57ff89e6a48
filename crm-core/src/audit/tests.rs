//! The trail is complete, its chain holds, and tampering shows.

mod damaged;

use std::{sync::Arc, time::Duration};

use serde_json::json;
use uuid::Uuid;

use super::{AuditEntry, sealer};
use crate::{
    Crm, Error,
    access::{Principal, Role},
    id::{OrganizationId, TeamId, UserId},
    operation::Operation,
    port::{ManualClock, SeededRandom},
    store::{Change, Json, Query, Scope, Store as _, double::Double, memory::MemoryStore},
    time::Timestamp,
};

const SHOP: OrganizationId = OrganizationId(Uuid::from_u128(1));
/// What somebody does to an entry behind the CRM's back.
type Tampering = fn(&AuditEntry) -> Change;

const BANK: OrganizationId = OrganizationId(Uuid::from_u128(2));

async fn crm() -> Crm {
    let store = MemoryStore::new();
    store.migrate(crate::crm::collections(), &|_, _, _| {}).await.expect("the collections are sound");
    let clock = ManualClock::new(Timestamp::from_milliseconds(1_767_225_600_000).expect("an instant"));
    Crm::builder(Arc::new(store)).clock(clock).random(SeededRandom::new(7)).build()
}

async fn act(crm: &Crm, organization: OrganizationId, action: &str) {
    let by = Principal::system(organization);
    let mut operation = Operation::new(crm, &by);
    operation.audit_named(action, "customers", Some(Uuid::from_u128(9)), None, Some(json!({"name": "Ravi"})));
    operation.commit().await.expect("committed");
}

async fn entries(crm: &Crm, organization: OrganizationId) -> Vec<AuditEntry> {
    let query = Query::new(AuditEntry::sequence.exists(), 100).sorted(vec![AuditEntry::sequence.ascending()]);
    crm.repo::<AuditEntry>().find(Scope::Organization(organization), &query).await.expect("found").records
}

#[tokio::test]
async fn each_organization_has_its_own_unbroken_chain() {
    let crm = crm().await;
    let by = Principal::system(SHOP);
    for round in 0..3 {
        act(&crm, SHOP, &format!("shop.{round}")).await;
        act(&crm, BANK, &format!("bank.{round}")).await;
    }
    let waiting = crm.audit().verify(&by).await.expect("verified");
    assert_eq!((waiting.intact, waiting.sealed_up_to, waiting.unsealed), (true, 0, 3));

    sealer::seal_all(&crm, &mut sealer::Heads::default()).await.expect("sealed");
    act(&crm, SHOP, "shop.later").await;
    // A sealer that starts anew goes on where the last one ended.
    sealer::seal_all(&crm, &mut sealer::Heads::default()).await.expect("sealed");

    let sealed = crm.audit().verify(&by).await.expect("verified");
    assert_eq!((sealed.intact, sealed.sealed_up_to, sealed.unsealed), (true, 4, 0));
    let actions: Vec<String> = entries(&crm, SHOP).await.into_iter().map(|entry| entry.action).collect();
    assert_eq!(actions.len(), 4);
    assert_eq!(actions.last().map(String::as_str), Some("shop.later"));
    assert_eq!(entries(&crm, BANK).await.len(), 3);
}

#[tokio::test]
async fn a_sealer_with_an_old_memory_starts_over() {
    let crm = crm().await;
    let mut slow = sealer::Heads::default();
    act(&crm, SHOP, "one").await;
    sealer::seal_all(&crm, &mut slow).await.expect("sealed");
    act(&crm, SHOP, "two").await;
    sealer::seal_all(&crm, &mut sealer::Heads::default()).await.expect("sealed by another process");
    act(&crm, SHOP, "three").await;
    sealer::seal_all(&crm, &mut slow).await.expect("sealed");
    let verification = crm.audit().verify(&Principal::system(SHOP)).await.expect("verified");
    assert_eq!((verification.intact, verification.sealed_up_to), (true, 3));
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_holds_back_its_own_organization_only() {
    let store = Arc::new(Double(damaged::Damaged::new(SHOP)));
    store.migrate(crate::crm::collections(), &|_, _, _| {}).await.expect("the collections are sound");
    let clock = ManualClock::new(Timestamp::from_milliseconds(1_767_225_600_000).expect("an instant"));
    let crm = Crm::builder(Arc::clone(&store) as _).clock(clock).random(SeededRandom::new(7)).build();
    for action in ["one", "two"] {
        act(&crm, SHOP, action).await;
        act(&crm, BANK, action).await;
    }
    let mut heads = sealer::Heads::default();
    store.damage();
    sealer::seal_all(&crm, &mut heads).await.expect("the others are sealed");
    let bank = crm.audit().verify(&Principal::system(BANK)).await.expect("verified");
    assert_eq!((bank.intact, bank.sealed_up_to, bank.unsealed), (true, 2, 0));
    store.mend();
    sealer::seal_all(&crm, &mut heads).await.expect("sealed");
    let shop = crm.audit().verify(&Principal::system(SHOP)).await.expect("verified");
    assert_eq!((shop.intact, shop.sealed_up_to, shop.unsealed), (true, 2, 0));
}

#[tokio::test]
async fn tampering_shows_at_the_first_entry_that_does_not_fit() {
    let by = Principal::system(SHOP);
    let tamperings: [(&str, Tampering); 3] = [
        ("changed after it was sealed", |entry| update(entry, AuditEntry::action.set("nothing.happened"))),
        ("values before or after were changed", |entry| {
            update(entry, AuditEntry::after.set(Json::from_value(&json!({"name": "Asha"}))))
        }),
        ("missing before this one", |entry| Change::Delete {
            collection: <AuditEntry as crate::record::Record>::COLLECTION,
            id: entry.id.into(),
            expected_version: None,
        }),
    ];
    for (reason, change) in tamperings {
        let crm = crm().await;
        for action in ["one", "two", "three"] {
            act(&crm, SHOP, action).await;
        }
        sealer::seal_all(&crm, &mut sealer::Heads::default()).await.expect("sealed");
        let second = entries(&crm, SHOP).await.swap_remove(1);
        crm.store().commit(Scope::Installation, vec![change(&second)]).await.expect("tampered with");

        let verification = crm.audit().verify(&by).await.expect("verified");
        assert!(!verification.intact, "{reason}");
        assert_eq!(verification.sealed_up_to, 1, "{reason}");
        let broken = verification.broken.expect(reason);
        assert!(broken.reason.contains(reason), "{} for {reason}", broken.reason);
    }
}

fn update(entry: &AuditEntry, assignment: crate::store::Assignment) -> Change {
    Change::Update {
        collection: <AuditEntry as crate::record::Record>::COLLECTION,
        id: entry.id.into(),
        expected_version: None,
        condition: None,
        assignments: vec![assignment],
    }
}

#[tokio::test]
async fn only_those_who_may_read_the_trail_verify_it() {
    let crm = crm().await;
    let agent = Principal::user(SHOP, UserId(Uuid::from_u128(3)), Role::Agent, Some(TeamId(Uuid::from_u128(4))));
    assert!(matches!(crm.audit().verify(&agent).await, Err(Error::Forbidden(_))));
}

#[tokio::test]
async fn one_process_at_a_time_holds_a_lease() {
    let store = Arc::new(MemoryStore::new());
    store.migrate(crate::crm::collections(), &|_, _, _| {}).await.expect("the collections are sound");
    let clock = Arc::new(ManualClock::new(Timestamp::from_milliseconds(0).expect("an instant")));
    let crm = Crm::builder(store).clock(Arc::clone(&clock)).build();
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let hold = async |holder| crate::lease::hold(&crm, "work", holder, Duration::from_secs(5)).await.expect("answered");
    assert!(hold(first).await);
    assert!(!hold(second).await);
    clock.advance(Duration::from_secs(4));
    assert!(hold(first).await, "prolonged");
    clock.advance(Duration::from_secs(4));
    assert!(!hold(second).await);
    clock.advance(Duration::from_secs(1));
    assert!(hold(second).await, "the first fell silent");
    assert!(!hold(first).await);
}
