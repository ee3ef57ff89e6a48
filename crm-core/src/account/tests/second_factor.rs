use super::*;
use crate::account::{PasswordAgain, TotpCode, totp};

fn secret_of(text: &str) -> Vec<u8> {
    totp_rs::Secret::try_from_base32(text).expect("base32").as_ref().to_vec()
}

fn typed(code: &str) -> TotpCode {
    TotpCode { code: code.parse().expect("a code") }
}

/// Enrols, and gives the secret and the recovery codes.
async fn enrolled(world: &World) -> (Vec<u8>, Vec<String>) {
    let by = world.authenticate(&world.shop().await).await.expect("signed in");
    let accounts = world.crm.accounts();
    let enrolment = accounts.enrol_totp(&by, PasswordAgain::default()).await.expect("enrols");
    assert!(
        enrolment.address.expose().starts_with("otpauth://totp/CRM:amelie%40shop.example?"),
        "{}",
        enrolment.address.expose()
    );
    let secret = secret_of(enrolment.secret.expose());
    world.sign_in("amelie@shop.example", PASSWORD, None).await.expect("not needed before it is confirmed");
    assert_eq!(code(accounts.confirm_totp(&by, typed("000000")).await), "VALIDATION_ERROR");
    let codes = accounts.confirm_totp(&by, typed(&totp::code_at(&secret, world.clock.now()))).await.expect("confirms");
    assert!(accounts.me(&by).await.expect("me").totp_enabled);
    (secret, codes.iter().map(|code| code.expose().clone()).collect())
}

#[tokio::test]
async fn a_code_is_needed_and_works_once() {
    let world = World::new().await;
    let (secret, _) = enrolled(&world).await;
    let email = "amelie@shop.example";
    assert_eq!(code(world.sign_in(email, PASSWORD, None).await), "TOTP_REQUIRED");
    assert_eq!(
        code(world.sign_in(email, "another-password", None).await),
        "UNAUTHENTICATED",
        "the password comes first"
    );
    let used = totp::code_at(&secret, world.clock.now());
    assert_eq!(code(world.sign_in(email, PASSWORD, Some(&used)).await), "UNAUTHENTICATED", "spent by confirming");
    world.later(seconds(60));
    let fresh = totp::code_at(&secret, world.clock.now());
    world.sign_in(email, PASSWORD, Some(&fresh)).await.expect("signs in");
    assert_eq!(code(world.sign_in(email, PASSWORD, Some(&fresh)).await), "UNAUTHENTICATED", "a replay");
}

#[tokio::test]
async fn of_two_with_the_same_code_one_gets_in() {
    let world = Arc::new(World::new().await);
    let (secret, _) = enrolled(&world).await;
    world.later(seconds(60));
    let shown = totp::code_at(&secret, world.clock.now());
    let race = (0..4).map(|_| {
        let (world, shown) = (Arc::clone(&world), shown.clone());
        tokio::spawn(async move { world.sign_in("amelie@shop.example", PASSWORD, Some(&shown)).await.is_ok() })
    });
    let won = futures::future::join_all(race).await.into_iter().filter(|won| matches!(won, Ok(true))).count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn recovery_codes_work_once_each() {
    let world = World::new().await;
    let (_, codes) = enrolled(&world).await;
    assert_eq!(codes.len(), 10);
    world.sign_in("amelie@shop.example", PASSWORD, Some(&codes[0])).await.expect("signs in");
    assert_eq!(code(world.sign_in("amelie@shop.example", PASSWORD, Some(&codes[0])).await), "UNAUTHENTICATED");
    world.sign_in("amelie@shop.example", PASSWORD, Some(&codes[9].to_uppercase())).await.expect("another one");
}

#[tokio::test]
async fn guesses_are_limited_whatever_the_address() {
    let world = World::new().await;
    enrolled(&world).await;
    let mut refused = Vec::new();
    for place in 0..20 {
        let from = RequestContext { ip: format!("198.51.100.{place}").parse().ok(), ..context() };
        let guess = credentials("amelie@shop.example", PASSWORD, Some("123456"));
        refused.push(code(world.crm.accounts().sign_in(guess, from).await));
    }
    assert!(refused[..6].iter().all(|code| *code == "UNAUTHENTICATED"), "{refused:?}");
    assert!(refused[10..].iter().all(|code| *code == "RATE_LIMITED"), "{refused:?}");
}

#[tokio::test]
async fn a_stolen_token_alone_changes_nothing() {
    let world = World::new().await;
    let amelie = world.shop().await;
    let by = world.authenticate(&amelie).await.expect("signed in");
    let accounts = world.crm.accounts();
    world.later(seconds(16 * 60));
    assert_eq!(code(accounts.enrol_totp(&by, PasswordAgain::default()).await), "VALIDATION_ERROR");
    let again = |text: &str| PasswordAgain { password: Password::parse(text).ok() };
    assert_eq!(code(accounts.enrol_totp(&by, again("wrong-password")).await), "VALIDATION_ERROR");
    accounts.enrol_totp(&by, again(PASSWORD)).await.expect("with the password");
}

#[tokio::test]
async fn it_can_be_removed() {
    let world = World::new().await;
    let (secret, codes) = enrolled(&world).await;
    world.later(seconds(60));
    let shown = totp::code_at(&secret, world.clock.now());
    let amelie = world.sign_in("amelie@shop.example", PASSWORD, Some(&shown)).await.expect("signs in");
    let by = world.authenticate(&amelie).await.expect("signed in");
    let accounts = world.crm.accounts();
    accounts.remove_totp(&by, PasswordAgain::default()).await.expect("removes");
    assert_eq!(code(accounts.remove_totp(&by, PasswordAgain::default()).await), "INVALID_STATE");
    assert_eq!(code(accounts.confirm_totp(&by, typed(&codes[0])).await), "INVALID_STATE");
    world.sign_in("amelie@shop.example", PASSWORD, None).await.expect("without a code");
}

#[tokio::test]
async fn an_admin_helps_who_has_lost_it() {
    use crate::account::ChangedAgent;
    let world = World::new().await;
    let (_, _) = enrolled(&world).await;
    let amelie = world.crm.accounts().login_of(&Email::parse("amelie@shop.example").expect("an address")).await;
    let amelie = amelie.expect("reads").expect("is there");
    let system = Principal::system(amelie.meta.organization_id);
    let changed = |enabled| ChangedAgent { totp_enabled: Some(enabled), ..ChangedAgent::default() };
    let agents = world.crm.agents();
    agents.update(&system, amelie.id, changed(true), None).await.expect("changes nothing");
    assert_eq!(code(world.sign_in("amelie@shop.example", PASSWORD, None).await), "TOTP_REQUIRED");
    assert!(!agents.update(&system, amelie.id, changed(false), None).await.expect("removes it").totp_enabled);
    world.sign_in("amelie@shop.example", PASSWORD, None).await.expect("without a code");
    assert_eq!(code(agents.update(&system, amelie.id, changed(true), None).await), "VALIDATION_ERROR");
}
