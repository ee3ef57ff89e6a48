use super::*;
use crate::{
    access::{Actor, Visibility, permissions as p},
    account::NewApiKey,
};

fn wanted() -> NewApiKey {
    NewApiKey {
        name: "Import".parse().expect("a name"),
        permissions: vec![p::CUSTOMERS_WRITE, p::CUSTOMERS_READ],
        read_only: false,
        expires_at: None,
    }
}

#[tokio::test]
async fn a_key_acts_for_its_organization() {
    let world = World::new().await;
    let by = world.authenticate(&world.shop().await).await.expect("signed in");
    let created = world.crm.api_keys().create(&by, wanted()).await.expect("creates");
    let key = created.key.expose().clone();
    assert!(!format!("{created:?}").contains(&key) && !created.record.hash.contains(&key));
    let principal = authenticate(&world.crm, &key).await.expect("is let in");
    assert_eq!((principal.organization, principal.visibility), (by.organization, Visibility::All));
    assert_eq!(principal.actor, Actor::ApiKey(created.record.id.0));
    assert_eq!(principal.permissions.iter().collect::<Vec<_>>(), [p::CUSTOMERS_READ, p::CUSTOMERS_WRITE]);
    assert_eq!(code(world.crm.accounts().me(&principal).await), "FORBIDDEN", "a key is no person");
    let mut other = key.clone();
    other.pop();
    other.push(if key.ends_with('A') { 'B' } else { 'A' });
    assert_eq!(code(authenticate(&world.crm, &other).await), "UNAUTHENTICATED");
    let used = world.crm.api_keys().get(&by, created.record.id).await.expect("is there");
    assert_eq!(used.last_used_at, Some(world.clock.now()));
}

#[tokio::test]
async fn a_key_ends_at_once_and_by_itself() {
    let world = World::new().await;
    let by = world.authenticate(&world.shop().await).await.expect("signed in");
    let keys = world.crm.api_keys();
    let (first, second) =
        (keys.create(&by, wanted()).await.expect("creates"), keys.create(&by, wanted()).await.expect("creates"));
    authenticate(&world.crm, first.key.expose()).await.expect("two at once");
    authenticate(&world.crm, second.key.expose()).await.expect("two at once");
    keys.revoke(&by, first.record.id).await.expect("revokes");
    keys.revoke(&by, first.record.id).await.expect("again");
    assert_eq!(code(authenticate(&world.crm, first.key.expose()).await), "UNAUTHENTICATED");
    authenticate(&world.crm, second.key.expose()).await.expect("the other one stands");

    let expiring = NewApiKey { expires_at: Some(world.clock.now().plus(seconds(60))), ..wanted() };
    let expiring = keys.create(&by, expiring).await.expect("creates");
    authenticate(&world.crm, expiring.key.expose()).await.expect("not yet");
    world.later(seconds(60));
    assert_eq!(code(authenticate(&world.crm, expiring.key.expose()).await), "UNAUTHENTICATED");
}

#[tokio::test]
async fn a_key_may_no_more_than_its_maker() {
    let world = World::new().await;
    let by = world.authenticate(&world.shop().await).await.expect("signed in");
    let keys = world.crm.api_keys();
    let mut lesser = by.clone();
    lesser.permissions = [p::API_KEYS_WRITE, p::CUSTOMERS_READ].into_iter().collect();
    assert_eq!(code(keys.create(&lesser, wanted()).await), "VALIDATION_ERROR");
    let of_keys = NewApiKey { permissions: vec![p::API_KEYS_WRITE], ..wanted() };
    assert_eq!(code(keys.create(&by, of_keys).await), "VALIDATION_ERROR", "keys make no keys");
    let none = NewApiKey { permissions: vec![], ..wanted() };
    assert_eq!(code(keys.create(&by, none).await), "VALIDATION_ERROR");
    let past = NewApiKey { expires_at: Some(world.clock.now()), ..wanted() };
    assert_eq!(code(keys.create(&by, past).await), "VALIDATION_ERROR");
    let reading = NewApiKey { read_only: true, ..wanted() };
    let reading = keys.create(&by, reading).await.expect("creates");
    let principal = authenticate(&world.crm, reading.key.expose()).await.expect("is let in");
    assert_eq!(principal.permissions.iter().collect::<Vec<_>>(), [p::CUSTOMERS_READ]);
}

#[tokio::test]
async fn another_organizations_key_is_not_there() {
    let world = World::new().await;
    let by = world.authenticate(&world.shop().await).await.expect("signed in");
    let created = world.crm.api_keys().create(&by, wanted()).await.expect("creates");
    let other = world.register("basil@other.example", Some("Other")).await.expect("registers");
    let other = world.authenticate(&other).await.expect("signed in");
    assert_eq!(code(world.crm.api_keys().get(&other, created.record.id).await), "NOT_FOUND");
    assert_eq!(code(world.crm.api_keys().revoke(&other, created.record.id).await), "NOT_FOUND");
}

#[tokio::test]
async fn the_service_key_acts_where_it_is_told() {
    let world = World::new().await;
    let shop = organization(&world.shop().await);
    let accounts = world.crm.accounts();
    let key = Credentials::api_key(SERVICE_KEY);
    assert_eq!(code(accounts.authenticate(key, context()).await), "VALIDATION_ERROR", "no default organization");
    let id = shop.to_string();
    let principal = accounts.authenticate(key.acting_in(Some(&id)), context()).await.expect("is let in");
    assert_eq!((principal.actor, principal.organization), (Actor::Service, shop));
    assert!(principal.permissions.has(p::CUSTOMERS_WRITE) && !principal.permissions.has(p::USERS_READ));
    let unknown = uuid::Uuid::from_u128(7).to_string();
    for wanted in [unknown.as_str(), "no id"] {
        assert_eq!(code(accounts.authenticate(key.acting_in(Some(wanted)), context()).await), "NOT_FOUND");
    }
    assert_eq!(code(accounts.sign_out(&principal, true).await), "FORBIDDEN");
    let almost = &SERVICE_KEY[1..];
    assert_eq!(code(accounts.authenticate(Credentials::api_key(almost), context()).await), "UNAUTHENTICATED");
}
