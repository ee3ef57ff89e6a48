//! What is kept long enough goes, what is not stays.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{clean_now, pause_after, schedules};
use crate::{
    Crm, Error,
    access::{Principal, RequestContext},
    account::{AccountSettings, RefreshToken, Registration, RegistrationMode, Session},
    customer::{Customer, NewCustomer, WriteOptions},
    event::Event,
    input::FromInput as _,
    job::{fire_due, runner},
    port::{ManualClock, SeededRandom},
    store::{Filter, Scope, Store as _, memory::MemoryStore},
    time::Timestamp,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn work_rests_longer_after_faults_than_after_outages() {
    let fault = Error::internal("broken");
    let outage = Error::Unavailable { message: "away".to_owned(), retry_after: Duration::from_secs(1) };
    for (failures, after_fault, after_outage) in [(1, 2, 2), (2, 4, 3), (3, 8, 3), (5, 30, 3), (u32::MAX, 30, 3)] {
        assert_eq!(pause_after(failures, &fault), Duration::from_secs(after_fault), "{failures}");
        assert_eq!(pause_after(failures, &outage), Duration::from_secs(after_outage), "{failures}");
    }
}

#[tokio::test]
async fn old_things_go_and_others_stay() {
    let store = Arc::new(MemoryStore::new());
    store.migrate(crate::crm::collections(), &|_, _, _| {}).await.expect("the collections are sound");
    let clock = Arc::new(ManualClock::new(Timestamp::from_milliseconds(1_767_225_600_000).expect("an instant")));
    let settings =
        AccountSettings { registration: RegistrationMode::Open, ..AccountSettings::ephemeral(&SeededRandom::new(1)) };
    let crm = Crm::builder(store).clock(Arc::clone(&clock)).accounts(settings).build();
    let body = json!({"name": "Asha", "email": "asha@shop.example", "password": "a long enough secret", "organization_name": "Shop"});
    let registration = Registration::from_json(&body).expect("valid");
    let signed_in = crm.accounts().register(registration, RequestContext::default()).await.expect("registered");
    let by = Principal::system(signed_in.user.meta.organization_id);
    let mut customers = Vec::new();
    for name in ["Ravi", "Meera"] {
        let new = NewCustomer::from_json(&json!({"name": name})).expect("valid");
        customers.push(crm.customers().create(&by, new, WriteOptions::default()).await.expect("created"));
    }
    crm.customers().delete(&by, customers[0].id, None).await.expect("deleted");

    let count = async || {
        let everywhere = Scope::Installation;
        (
            crm.repo::<Customer>().count(by.scope(), &Filter::ALL).await.expect("counted"),
            crm.repo::<Session>().count(everywhere, &Filter::ALL).await.expect("counted"),
            crm.repo::<RefreshToken>().count(everywhere, &Filter::ALL).await.expect("counted"),
            crm.repo::<Event>().count(everywhere, &Filter::ALL).await.expect("counted") > 0,
        )
    };
    clock.advance(6 * DAY);
    clean_now(&crm).await.expect("cleaned");
    assert_eq!(count().await, (2, 1, 1, true), "nothing is old enough");
    clock.advance(2 * DAY);
    clean_now(&crm).await.expect("cleaned");
    assert_eq!(count().await, (2, 1, 1, false), "events are kept for a week");
    clock.advance(24 * DAY);
    clean_now(&crm).await.expect("cleaned");
    assert_eq!(count().await.0, 2, "the bin is another job's");
    fire_due(&crm).await.expect("looked");
    clock.advance(DAY);
    fire_due(&crm).await.expect("looked");
    runner::run_due(&crm).await.expect("ran");
    let (kept, sessions, tokens, _) = count().await;
    assert_eq!((kept, sessions, tokens), (1, 0, 0), "the bin is emptied, and the session is past its end");
    assert!(crm.customers().get(&by, customers[1].id).await.is_ok());
}

/// Times that cannot be read would leave the schedule out, and nothing would ever be removed.
#[test]
fn the_times_of_cleaning_can_be_read() {
    assert_eq!(schedules().len(), 3);
}
