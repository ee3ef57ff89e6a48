use super::*;
use crate::{
    account::{RefreshToken, Session},
    store::Scope,
};

#[tokio::test]
async fn each_token_works_once() {
    let world = World::new().await;
    let first = world.shop().await;
    let second = world.refresh(&first).await.expect("refreshes");
    assert_eq!(second.session, first.session);
    world.authenticate(&second).await.expect("the new access token works");
    world.authenticate(&first).await.expect("the old one until it expires");
    let third = world.refresh(&second).await.expect("refreshes");
    assert_eq!(code(world.refresh(&first).await), "TOKEN_REVOKED", "a spent one ends the session");
    assert_eq!(code(world.authenticate(&third).await), "TOKEN_REVOKED");
    assert!(world.refresh(&third).await.is_err());
    assert_eq!(world.noted("auth.refresh_reuse").await, 1);
}

#[tokio::test]
async fn a_lost_answer_is_made_up_for() {
    let world = World::new().await;
    let first = world.shop().await;
    let lost = world.refresh(&first).await.expect("refreshes");
    world.later(seconds(9));
    let again = world.refresh(&first).await.expect("within ten seconds, nothing of it was used");
    assert_eq!(code(world.authenticate(&lost).await), "TOKEN_REVOKED", "what was lost is taken back");
    assert_eq!(code(world.refresh(&lost).await), "UNAUTHENTICATED");
    world.authenticate(&again).await.expect("the repetition works");
    world.refresh(&again).await.expect("and goes on");
}

#[tokio::test]
async fn grace_ends_after_ten_seconds() {
    let world = World::new().await;
    let first = world.shop().await;
    let second = world.refresh(&first).await.expect("refreshes");
    world.later(Duration::from_millis(10_001));
    assert_eq!(code(world.refresh(&first).await), "TOKEN_REVOKED");
    assert_eq!(code(world.authenticate(&second).await), "TOKEN_REVOKED");
}

#[tokio::test]
async fn grace_ends_with_the_use_of_what_was_given() {
    let world = World::new().await;
    let first = world.shop().await;
    let second = world.refresh(&first).await.expect("refreshes");
    world.authenticate(&second).await.expect("its access token is used");
    assert_eq!(code(world.refresh(&first).await), "TOKEN_REVOKED");

    let world = World::new().await;
    let first = world.shop().await;
    let second = world.refresh(&first).await.expect("refreshes");
    world.refresh(&second).await.expect("its refresh token is used");
    assert_eq!(code(world.refresh(&first).await), "TOKEN_REVOKED");
}

#[tokio::test]
async fn what_was_taken_back_is_theft_later() {
    let world = World::new().await;
    let first = world.shop().await;
    let lost = world.refresh(&first).await.expect("refreshes");
    let again = world.refresh(&first).await.expect("a repetition");
    world.later(seconds(11));
    assert_eq!(code(world.refresh(&lost).await), "TOKEN_REVOKED");
    assert_eq!(code(world.authenticate(&again).await), "TOKEN_REVOKED");
}

#[tokio::test]
async fn a_lost_answer_is_believed_eight_times() {
    let world = World::new().await;
    let first = world.shop().await;
    for _ in 0..9 {
        world.refresh(&first).await.expect("one, and eight repetitions");
    }
    assert_eq!(code(world.refresh(&first).await), "TOKEN_REVOKED");
}

#[tokio::test]
async fn of_parallel_refreshes_one_pair_lives() {
    let world = Arc::new(World::new().await);
    let first = world.shop().await;
    let race = (0..4).map(|_| {
        let (world, first) = (Arc::clone(&world), first.clone());
        tokio::spawn(async move { world.refresh(&first).await })
    });
    let results: Vec<_> =
        futures::future::join_all(race).await.into_iter().map(|result| result.expect("no panic")).collect();
    let given: Vec<SignedIn> = results.into_iter().filter_map(Result::ok).collect();
    assert!(!given.is_empty());
    let unspent = RefreshToken::used_at.missing().and(RefreshToken::superseded_at.missing());
    let live = world.crm.repo::<RefreshToken>().count(Scope::Installation, &unspent).await.expect("counts");
    assert_eq!(live, 1, "however many got an answer");
    let mut alive = 0;
    for signed_in in &given {
        alive += usize::from(world.authenticate(signed_in).await.is_ok());
    }
    assert_eq!(alive, 1);
}

#[tokio::test]
async fn tokens_end_with_time() {
    let world = World::new().await;
    let first = world.shop().await;
    assert_eq!(first.refresh_expires_in, seconds(7 * 86_400));
    world.later(seconds(7 * 86_400));
    assert_eq!(code(world.refresh(&first).await), "UNAUTHENTICATED", "seven days each");

    let world = World::new().await;
    let mut current = world.shop().await;
    for _ in 0..4 {
        world.later(seconds(6 * 86_400));
        current = world.refresh(&current).await.expect("refreshes");
    }
    world.later(seconds(5 * 86_400));
    current = world.refresh(&current).await.expect("on the 29th day");
    assert_eq!(current.refresh_expires_in, seconds(86_400), "never beyond the session");
    world.later(seconds(86_400));
    assert!(world.refresh(&current).await.is_err(), "thirty days in all");
}

#[tokio::test]
async fn what_has_ended_is_swept_away() {
    let world = World::new().await;
    world.shop().await;
    world.later(seconds(31 * 86_400));
    world.sign_in("amelie@shop.example", PASSWORD, None).await.expect("signs in");
    let all = crate::store::Filter::ALL;
    assert_eq!(world.crm.repo::<Session>().count(Scope::Installation, &all).await.ok(), Some(1));
    assert_eq!(world.crm.repo::<RefreshToken>().count(Scope::Installation, &all).await.ok(), Some(1));
}

#[tokio::test]
async fn tokens_are_not_interchangeable() {
    let world = World::new().await;
    let first = world.shop().await;
    assert_eq!(code(authenticate(&world.crm, first.refresh_token.expose()).await), "UNAUTHENTICATED");
    let refreshed = world.crm.accounts().refresh(first.access_token.expose(), context()).await;
    assert_eq!(code(refreshed), "UNAUTHENTICATED");
    for rubbish in ["", "x", &"x".repeat(100_000)] {
        assert_eq!(code(world.crm.accounts().refresh(rubbish, context()).await), "UNAUTHENTICATED");
        assert_eq!(code(authenticate(&world.crm, rubbish).await), "UNAUTHENTICATED");
    }
    assert!(!format!("{first:?}").contains(first.refresh_token.expose().as_str()), "masked");
    assert!(!format!("{first:?}").contains(first.access_token.expose().as_str()), "masked");
}

#[tokio::test]
async fn access_tokens_of_one_instant_keep_their_order() {
    for seed in 0..16 {
        let world = World::new().await;
        let world = World { crm: process(&world.store, &world.clock, &world.settings, seed), ..world };
        let first = world.shop().await;
        world.authenticate(&first).await.expect("signed in");
        let lost = world.refresh(&first).await.expect("refreshes");
        let again = world.refresh(&first).await.expect("nothing of the lost answer was used");
        world.authenticate(&again).await.expect("the repetition works");
        assert_eq!(code(world.authenticate(&lost).await), "TOKEN_REVOKED");
        assert_eq!(code(world.refresh(&first).await), "TOKEN_REVOKED", "something was used");
    }
}
