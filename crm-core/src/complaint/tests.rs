use std::sync::Arc;

use serde_json::json;

use super::{ComplaintStatus, Complaints, NewComplaint, decide};
use crate::{
    Crm,
    access::{Principal, Visibility},
    customer::{CustomerInput, NewCustomer, WriteOptions},
    error::Error,
    id::{OrganizationId, TeamId},
    input::FromInput as _,
    operation::Operation,
    port::SeededRandom,
    record::Meta,
    store::{SharedStore, Store as _, memory::MemoryStore},
    tenancy::{NewOrganization, Team},
    text::Line,
};

use ComplaintStatus::{Closed, InProgress, Open, Resolved};

#[test]
fn a_closed_complaint_stays_closed_and_every_other_can_go_anywhere() {
    for from in ComplaintStatus::ALL {
        for to in ComplaintStatus::ALL {
            let allowed = from == to || from != Closed;
            match decide::step(from, to) {
                Ok(()) => assert!(allowed, "{from} to {to}"),
                Err(Error::InvalidState(_)) => assert!(!allowed, "{from} to {to}"),
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn figures_follow_the_status() {
    let moved = |before, after| {
        let figures = decide::Figures::between(before, after);
        (figures.total, figures.open)
    };
    assert_eq!(moved(None, Some(Open)), (1, 1));
    assert_eq!(moved(None, Some(Resolved)), (1, 0));
    assert_eq!(moved(Some(Open), Some(InProgress)), (0, 0));
    assert_eq!(moved(Some(InProgress), Some(Closed)), (0, -1));
    assert_eq!(moved(Some(Resolved), Some(Open)), (0, 1));
    assert_eq!(moved(Some(Open), None), (-1, -1));
}

#[test]
fn what_is_taken_up_again_is_not_resolved_any_more() {
    let (first, second) = (Some("2026-01-01T00:00:00Z".parse().unwrap()), "2026-01-02T00:00:00Z".parse().unwrap());
    assert_eq!(decide::resolved_at(Resolved, None, second), Some(second));
    assert_eq!(decide::resolved_at(Closed, first, second), first);
    assert_eq!(decide::resolved_at(InProgress, first, second), None);
}

/// Complaints follow who looks after their customer: so a team's are a list with an index, however many there are.
#[tokio::test]
async fn a_team_lists_the_complaints_of_its_customers() {
    let store = Arc::new(MemoryStore::new());
    store.migrate(crate::crm::collections(), &|_, _, _| {}).await.unwrap();
    let crm = Crm::builder(store as SharedStore).random(SeededRandom::new(7)).build();
    let installation = Principal::system(OrganizationId::INSTALLATION);
    let new = NewOrganization::named(Line::parse("Shop").unwrap());
    let by = Principal::system(crm.organizations().create(&installation, new).await.unwrap().id);
    let mut operation = Operation::new(&crm, &by);
    let teams = ["North", "South"].map(|name| {
        let (id, name) = (crm.new_id::<TeamId>(), Line::parse(name).unwrap());
        let (name_key, meta) = (name.to_string(), Meta::new(by.organization, operation.now()));
        operation.insert(&Team { id, name, name_key, description: None, lead_id: None, meta });
        id
    });
    operation.commit().await.unwrap();
    let [north, south] = teams.map(|team| Principal { visibility: Visibility::Team, team: Some(team), ..by.clone() });

    let new = NewCustomer::from_json(&json!({"name": "Kim", "team_id": teams[0]})).unwrap();
    let kim = crm.customers().create(&by, new, WriteOptions::default()).await.unwrap().id;
    let complain = async |by: &Principal, subject: &str| {
        let new = NewComplaint::from_json(&json!({"customer_id": kim, "subject": subject})).unwrap();
        crm.complaints().create(by, new).await.map(|complaint| complaint.id)
    };
    let seen = async |by: &Principal| {
        let list = crm.complaints().list(by, &Complaints::listing().from_pairs(&[]).unwrap()).await.unwrap();
        list.data.len()
    };
    let first = complain(&north, "Broken").await.unwrap();
    assert!(matches!(complain(&south, "Late").await, Err(Error::NotFound(_))));
    assert_eq!((seen(&north).await, seen(&south).await, seen(&by).await), (1, 0, 1));

    let change = CustomerInput::from_json(&json!({"team_id": teams[1]})).unwrap();
    crm.customers().patch(&by, kim, change, WriteOptions::default()).await.unwrap();
    complain(&south, "Late").await.unwrap();
    assert_eq!((seen(&north).await, seen(&south).await, seen(&by).await), (0, 2, 2));
    assert!(crm.complaints().get(&south, first).await.is_ok());
    assert!(matches!(crm.complaints().get(&north, first).await, Err(Error::NotFound(_))));
}
