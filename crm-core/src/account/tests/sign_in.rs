use super::*;
use crate::{
    access::{Actor, Role},
    account::{ChangedAgent, ChangedProfile, DevelopmentToken, LoginRecord, NewPassword, SessionId, User},
    error::Error,
    limit::Policy,
    record::Record as _,
    store::{Change, Scope},
};

#[tokio::test]
async fn who_registers_an_organization_governs_it() {
    let world = World::new().await;
    let amelie = world.shop().await;
    let principal = world.authenticate(&amelie).await.expect("signed in");
    assert_eq!((principal.role, principal.actor), (Role::Admin, Actor::User(amelie.user.id)));
    assert_eq!(principal.organization, organization(&amelie));
    assert_eq!(principal.context, context());
    let shop = world.crm.organizations().get(&principal).await.expect("the organization");
    assert_eq!((&*shop.name, shop.currency.to_string()), ("Shop", "USD".to_owned()));
}

#[tokio::test]
async fn registration_is_as_open_as_it_is_set() {
    let world = World::with(|settings| settings.registration = RegistrationMode::Off).await;
    assert_eq!(code(world.register("a@shop.example", Some("Shop")).await), "FORBIDDEN");
    assert_eq!(code(world.register("a@shop.example", None).await), "FORBIDDEN");

    let world = World::new().await;
    assert_eq!(code(world.register("a@shop.example", None).await), "VALIDATION_ERROR", "no default organization");
    let shop = organization(&world.shop().await);
    let mut settings = world.settings.clone();
    settings.registration = RegistrationMode::Customer;
    settings.default_organization = Some(shop);
    let crm = process(&world.store, &world.clock, &settings, 9);
    let world = World { crm, settings, ..world };
    assert_eq!(code(world.register("b@shop.example", Some("Other")).await), "FORBIDDEN");
    let customer = world.register("b@shop.example", None).await.expect("registers");
    assert_eq!((customer.user.role, organization(&customer)), (Role::Customer, shop));
    let by = world.authenticate(&customer).await.expect("signed in");
    let own = world.crm.customers().me(&by).await.expect("a customer record of the own");
    assert_eq!(
        (own.user_id, own.email.map(|email| email.to_string())),
        (Some(customer.user.id), Some("b@shop.example".to_owned()))
    );
}

#[tokio::test]
async fn an_unproved_address_opens_nobodys_record() {
    use crate::customer::{CustomerInput, NewCustomer, WriteOptions};
    let world = World::new().await;
    let amelie = world.shop().await;
    let by = world.authenticate(&amelie).await.expect("signed in");
    let input = CustomerInput {
        name: crate::input::Patch::Set("Claire".parse().expect("a name")),
        email: Email::parse("claire@example.com").map_or(crate::input::Patch::Keep, crate::input::Patch::Set),
        ..CustomerInput::default()
    };
    let known = world.crm.customers().create(&by, NewCustomer(input), WriteOptions::default()).await.expect("creates");
    let mut settings = world.settings.clone();
    settings.default_organization = Some(organization(&amelie));
    let crm = process(&world.store, &world.clock, &settings, 9);
    let world = World { crm, settings, ..world };
    let claire = world.register("claire@example.com", None).await.expect("registers");
    let by = world.authenticate(&claire).await.expect("signed in");
    let own = world.crm.customers().me(&by).await.expect("a record of the own");
    assert_ne!(own.id, known.id);
    assert_eq!(own.email, None);
}

#[tokio::test]
async fn an_address_is_one_persons() {
    let world = World::new().await;
    world.shop().await;
    for address in ["amelie@shop.example", "Amelie@Shop.Example", "ａmelie@shop.example"] {
        let Ok(_) = Email::parse(address) else { continue };
        assert_eq!(code(world.register(address, Some("Other")).await), "DUPLICATE", "{address}");
    }
    let world = Arc::new(World::new().await);
    let race = (0..8).map(|_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.register("race@shop.example", Some("Race")).await.is_ok() })
    });
    let won = futures::future::join_all(race).await.into_iter().filter(|won| matches!(won, Ok(true))).count();
    assert_eq!(won, 1);
    let organizations = world.crm.repo::<crate::tenancy::Organization>();
    let left = organizations.count(Scope::Installation, &crate::store::Filter::ALL).await.expect("counts");
    assert_eq!(left, 1, "nothing is left of those who lost");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_look_alike() {
    let world = World::new().await;
    world.shop().await;
    let wrong = world.sign_in("amelie@shop.example", "another-password", None).await.expect_err("refused");
    let unknown = world.sign_in("nobody@shop.example", "another-password", None).await.expect_err("refused");
    assert_eq!((wrong.code(), wrong.to_string()), (unknown.code(), unknown.to_string()));
    assert_eq!(world.noted("auth.login_failed").await, 2, "the same work was done for both");
    world.sign_in("AMELIE@shop.example", PASSWORD, None).await.expect("signs in");
    assert_eq!(world.noted("auth.login").await, 1);
}

#[tokio::test]
async fn ten_attempts_in_fifteen_minutes() {
    let world = World::new().await;
    world.shop().await;
    for _ in 0..10 {
        assert_eq!(code(world.sign_in("amelie@shop.example", "another-password", None).await), "UNAUTHENTICATED");
    }
    let refused = world.sign_in("amelie@shop.example", PASSWORD, None).await.expect_err("too many");
    assert!(matches!(refused, Error::RateLimited { retry_after } if retry_after == seconds(90)), "{refused:?}");
    let elsewhere = RequestContext { ip: "198.51.100.1".parse().ok(), ..context() };
    let sign_in = credentials("amelie@shop.example", PASSWORD, None);
    world.crm.accounts().sign_in(sign_in, elsewhere).await.expect("another address is not concerned");
    world.later(seconds(90));
    world.sign_in("amelie@shop.example", PASSWORD, None).await.expect("one is earned back");
}

#[tokio::test]
async fn a_hundred_attempts_in_an_hour_from_everywhere() {
    let five = Policy::new("login-account", 5, Duration::from_hours(1));
    let world = World::with(|settings| settings.account_limit = Some(five)).await;
    let amelie = world.shop().await;
    let from = async |host: u8, password: &str| {
        let elsewhere = RequestContext { ip: Some([198, 51, 100, host].into()), ..context() };
        world.crm.accounts().sign_in(credentials("amelie@shop.example", password, None), elsewhere).await
    };
    for round in 0..2 {
        for host in 1..=5 {
            assert_eq!(code(from(host, "another-password").await), "UNAUTHENTICATED", "{round}");
        }
        let refused = from(6, PASSWORD).await.expect_err("too many from everywhere");
        assert!(matches!(refused, Error::RateLimited { retry_after } if retry_after == seconds(720)), "{refused:?}");
        let other = credentials("nobody@shop.example", PASSWORD, None);
        assert_eq!(code(world.crm.accounts().sign_in(other, context()).await), "UNAUTHENTICATED");
        world.later(seconds(720));
        // One that succeeds shows that the owner is there: the count begins anew.
        from(7, PASSWORD).await.expect("one is earned back");
    }
    for host in 11..=15 {
        assert_eq!(code(from(host, "another-password").await), "UNAUTHENTICATED");
    }
    let by = Principal::system(organization(&amelie));
    let anew = ChangedAgent {
        password: Some(NewPassword::parse("a new password of hers").expect("a password")),
        ..ChangedAgent::default()
    };
    world.crm.agents().update(&by, amelie.user.id, anew, None).await.expect("changed");
    from(16, "a new password of hers").await.expect("a new password begins anew");
}

#[tokio::test]
async fn older_hashes_are_renewed() {
    let world = World::new().await;
    let amelie = world.shop().await;
    let hash = bcrypt::hash_with_salt(PASSWORD, 4, [1; 16]).expect("hashes").to_string();
    let change = Change::Update {
        collection: LoginRecord::COLLECTION,
        id: amelie.user.id.0,
        expected_version: None,
        condition: None,
        assignments: vec![LoginRecord::password_hash.set(Some(Secret::new(hash)))],
    };
    world.store.commit(Scope::Installation, vec![change]).await.expect("commits");
    world.sign_in("amelie@shop.example", PASSWORD, None).await.expect("an old hash verifies");
    let login = world.crm.repo::<LoginRecord>().get(Scope::Installation, amelie.user.id).await.expect("reads");
    let hash = login.expect("a login").password_hash.expect("a hash");
    assert!(hash.expose().starts_with("$argon2id$"));
    world.sign_in("amelie@shop.example", PASSWORD, None).await.expect("the new one too");
}

#[tokio::test]
async fn signing_out_ends_tokens_at_once() {
    let world = World::new().await;
    let first = world.shop().await;
    let second = world.sign_in("amelie@shop.example", PASSWORD, None).await.expect("signs in");
    assert_ne!(first.session, second.session, "a new session each time");
    let by = world.authenticate(&first).await.expect("signed in");
    world.authenticate(&second).await.expect("signed in");
    world.crm.accounts().sign_out(&by, false).await.expect("signs out");
    assert_eq!(code(world.authenticate(&first).await), "TOKEN_REVOKED");
    assert!(matches!(world.refresh(&first).await, Err(Error::Unauthenticated(_) | Error::TokenRevoked)));
    let by = world.authenticate(&second).await.expect("the other session stands");
    let third = world.sign_in("amelie@shop.example", PASSWORD, None).await.expect("signs in");
    world.crm.accounts().sign_out(&by, true).await.expect("signs out everywhere");
    assert_eq!(code(world.authenticate(&second).await), "TOKEN_REVOKED");
    assert_eq!(code(world.authenticate(&third).await), "TOKEN_REVOKED");
}

#[tokio::test]
async fn another_process_sees_it_within_five_seconds() {
    let world = World::new().await;
    let amelie = world.shop().await;
    let other = world.other_process();
    authenticate(&other, amelie.access_token.expose()).await.expect("signed in there too");
    let by = world.authenticate(&amelie).await.expect("signed in");
    world.crm.accounts().sign_out(&by, false).await.expect("signs out");
    world.later(Duration::from_millis(5001));
    assert_eq!(code(authenticate(&other, amelie.access_token.expose()).await), "TOKEN_REVOKED");
}

#[tokio::test]
async fn a_warm_token_costs_no_look_at_the_store() {
    let world = World::new().await;
    let amelie = world.shop().await;
    world.authenticate(&amelie).await.expect("signed in");
    let everything = Change::DeleteWhere { collection: User::COLLECTION, filter: crate::store::Filter::ALL };
    let scope = Scope::Organization(organization(&amelie));
    world.store.commit(scope, vec![everything]).await.expect("commits");
    world.authenticate(&amelie).await.expect("answered from memory");
    world.later(Duration::from_millis(5001));
    assert_eq!(code(world.authenticate(&amelie).await), "TOKEN_REVOKED", "looked up again");
}

#[tokio::test]
async fn an_access_token_lives_fifteen_minutes() {
    let world = World::new().await;
    let amelie = world.shop().await;
    assert_eq!(amelie.expires_in, seconds(900));
    world.later(seconds(899));
    world.authenticate(&amelie).await.expect("still good");
    world.later(seconds(1));
    assert_eq!(code(world.authenticate(&amelie).await), "TOKEN_EXPIRED", "also from memory");
    world.later(seconds(61));
    assert_eq!(code(world.authenticate(&amelie).await), "TOKEN_EXPIRED");
}

#[tokio::test]
async fn a_session_is_listed_seen_and_ended() {
    let world = World::new().await;
    let first = world.shop().await;
    world.later(seconds(120));
    let second = world.sign_in("amelie@shop.example", PASSWORD, None).await.expect("signs in");
    let by = world.authenticate(&first).await.expect("signed in");
    let accounts = world.crm.accounts();
    let listed = accounts.sessions(&by).await.expect("lists");
    let ids: Vec<(SessionId, bool)> = listed.iter().map(|listed| (listed.session.id, listed.current)).collect();
    assert_eq!(ids, [(second.session, false), (first.session, true)]);
    assert_eq!(listed[1].session.last_seen_at, world.clock.now());
    assert_eq!(listed[1].session.ip.as_deref(), Some("203.0.113.7"));
    accounts.end_session(&by, second.session).await.expect("ends it");
    assert_eq!(code(world.authenticate(&second).await), "TOKEN_REVOKED");
    assert_eq!(code(accounts.end_session(&by, second.session).await), "NOT_FOUND");
    let stranger = world.register("basil@other.example", Some("Other")).await.expect("registers");
    let stranger = world.authenticate(&stranger).await.expect("signed in");
    assert_eq!(code(accounts.end_session(&stranger, first.session).await), "NOT_FOUND");
}

#[tokio::test]
async fn a_new_password_needs_the_old_and_ends_other_sessions() {
    let world = World::new().await;
    let (first, second) =
        (world.shop().await, world.sign_in("amelie@shop.example", PASSWORD, None).await.expect("signs in"));
    let by = world.authenticate(&first).await.expect("signed in");
    world.authenticate(&second).await.expect("signed in");
    let accounts = world.crm.accounts();
    let change = |current: Option<&str>| ChangedProfile {
        password: NewPassword::parse("quite-another-one").ok(),
        current_password: current.and_then(|text| Password::parse(text).ok()),
        ..ChangedProfile::default()
    };
    assert_eq!(code(accounts.update_profile(&by, change(None), None).await), "VALIDATION_ERROR");
    assert_eq!(code(accounts.update_profile(&by, change(Some("wrong-password")), None).await), "VALIDATION_ERROR");
    accounts.update_profile(&by, change(Some(PASSWORD)), None).await.expect("changes");
    world.authenticate(&first).await.expect("the own session stands");
    assert_eq!(code(world.authenticate(&second).await), "TOKEN_REVOKED");
    assert!(world.refresh(&second).await.is_err());
    assert_eq!(code(world.sign_in("amelie@shop.example", PASSWORD, None).await), "UNAUTHENTICATED");
    world.sign_in("amelie@shop.example", "quite-another-one", None).await.expect("signs in");
}

#[tokio::test]
async fn a_profile_changes_what_is_given() {
    let world = World::new().await;
    let by = world.authenticate(&world.shop().await).await.expect("signed in");
    let changed = ChangedProfile {
        name: "Amélie Poulain".parse().ok(),
        phone: crate::input::Patch::Set(crate::contact::PhoneInput::new("+33 1 44 55 66 77")),
        ..ChangedProfile::default()
    };
    let user = world.crm.accounts().update_profile(&by, changed.clone(), Some(1)).await.expect("changes");
    assert_eq!(
        (&*user.name, user.phone.map(|phone| phone.to_string())),
        ("Amélie Poulain", Some("+33144556677".to_owned()))
    );
    assert_eq!(code(world.crm.accounts().update_profile(&by, changed, Some(1)).await), "VERSION_CONFLICT");
}

#[tokio::test]
async fn organizations_are_not_switched() {
    let world = World::new().await;
    let amelie = world.shop().await;
    let other = world.register("basil@other.example", Some("Other")).await.expect("registers");
    let other = organization(&other).to_string();
    let accounts = world.crm.accounts();
    let with = |wanted| Credentials::bearer(amelie.access_token.expose()).acting_in(Some(wanted));
    for wanted in [other.as_str(), "no id", ""] {
        assert_eq!(code(accounts.authenticate(with(wanted), context()).await), "NOT_FOUND", "{wanted}");
    }
    let own = organization(&amelie).to_string();
    accounts.authenticate(with(&own), context()).await.expect("the own one");

    let root = Email::parse("root@example.com").expect("an address");
    let password = NewPassword::parse(PASSWORD).expect("a password");
    accounts.create_super_admin("Root".parse().expect("a name"), root, password).await.expect("creates");
    let root = world.sign_in("root@example.com", PASSWORD, None).await.expect("signs in");
    assert_eq!(world.authenticate(&root).await.expect("signed in").organization, OrganizationId::INSTALLATION);
    let there = Credentials::bearer(root.access_token.expose()).acting_in(Some(&other));
    let there = accounts.authenticate(there, context()).await.expect("may act anywhere");
    assert_eq!((there.organization.to_string(), there.role), (other, Role::SuperAdmin));
    assert_eq!(accounts.me(&there).await.expect("still the same person").id, root.user.id);
}

#[tokio::test]
async fn tokens_without_a_password_are_for_development() {
    let world = World::new().await;
    let wanted = DevelopmentToken::default;
    assert_eq!(code(world.crm.accounts().development_token(wanted(), context()).await), "NOT_FOUND");
    let world = World::with(|settings| settings.development_tokens = true).await;
    let accounts = world.crm.accounts();
    let first = accounts.development_token(wanted(), context()).await.expect("a token");
    let again = accounts.development_token(wanted(), context()).await.expect("a token");
    assert_eq!((first.user.role, first.user.id), (Role::Agent, again.user.id));
    assert_eq!(world.authenticate(&first).await.expect("signed in").role, Role::Agent);
    let root = DevelopmentToken { role: Some(Role::SuperAdmin), email: None };
    assert_eq!(code(accounts.development_token(root, context()).await), "VALIDATION_ERROR");
}

#[tokio::test]
async fn a_password_that_is_changed_lets_nobody_in_who_was_being_checked() {
    let world = World::new().await;
    let by = {
        let amelie = world.shop().await;
        world.authenticate(&amelie).await.expect("signed in")
    };
    let accounts = world.crm.accounts();
    let email = Email::parse("amelie@shop.example").expect("an address");
    let checked = accounts.login_of(&email).await.expect("reads").expect("is there");
    world.later(seconds(1));
    let changed = ChangedProfile {
        password: NewPassword::parse("another-password-8").ok(),
        current_password: Password::parse(PASSWORD).ok(),
        ..ChangedProfile::default()
    };
    accounts.update_profile(&by, changed, None).await.expect("changes");
    let late = accounts.admit(checked, credentials("amelie@shop.example", PASSWORD, None), None, context()).await;
    assert_eq!(code(late), "UNAUTHENTICATED");
    assert_eq!(accounts.sessions(&by).await.expect("lists").len(), 1, "only the one that changed it");
    world.sign_in("amelie@shop.example", "another-password-8", None).await.expect("signs in");
}
