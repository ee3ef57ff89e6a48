//! Who was in the bin for 30 days goes, with everything that is kept of them; nobody else does.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::*;
use crate::{
    Crm,
    access::{Role, Visibility},
    customer::{BatchOptions, ContactPoint, NewCustomers, Note, WriteOptions},
    id::{OrganizationId, UserId},
    input::FromInput,
    job::{Job, JobState, fire_due, runner},
    port::ManualClock,
    store::{
        Change, Outcome, Store, StoreResult,
        double::{Double, Meddler},
        memory::MemoryStore,
    },
    tenancy::NewOrganization,
};

const DAY: Duration = Duration::from_hours(24);

fn read<T: FromInput>(json: &Value) -> T {
    T::from_json(json).unwrap_or_else(|errors| panic!("{json}: {errors}"))
}

/// A store that takes its time to write.
struct Slow(MemoryStore);

#[async_trait]
impl Meddler for Slow {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn commit(&self, scope: Scope, changes: Vec<Change>) -> StoreResult<Vec<Outcome>> {
        tokio::task::yield_now().await;
        self.0.commit(scope, changes).await
    }
}

struct World {
    crm: Crm,
    clock: Arc<ManualClock>,
    shops: Vec<Principal>,
}

/// Two organizations with so many customers each.
async fn world(customers: usize) -> World {
    let clock = Arc::new(ManualClock::new("2026-01-31T09:30:00Z".parse().unwrap()));
    let crm = Crm::builder(Arc::new(Double(Slow(MemoryStore::new())))).clock(Arc::clone(&clock)).build();
    crm.store().migrate(crate::crm::collections(), &|_, _, _| {}).await.unwrap();
    let system = Principal::system(OrganizationId::INSTALLATION);
    let mut shops = Vec::new();
    for name in ["North", "South"] {
        let shop = crm.organizations().create(&system, NewOrganization::named(name.parse().unwrap())).await.unwrap();
        let by = Principal::system(shop.id);
        let people: Vec<Value> = (0..customers)
            .map(|number| json!({"name": "Ravi", "email": format!("ravi{number}@mail.example")}))
            .collect();
        let people: NewCustomers = read(&json!(people));
        crm.customers().create_batch(&by, people, BatchOptions::default()).await.unwrap();
        shops.push(by);
    }
    World { crm, clock, shops }
}

impl World {
    async fn customers(&self, by: &Principal) -> Vec<Customer> {
        self.crm.repo::<Customer>().find(by.scope(), &Query::new(Filter::ALL, 1000)).await.unwrap().records
    }

    /// Puts everybody into the bin but the first.
    async fn delete(&self) {
        for by in &self.shops {
            for customer in self.customers(by).await.into_iter().skip(1) {
                self.crm.customers().delete(by, customer.id, None).await.unwrap();
            }
        }
    }

    /// Lets the schedule fire and the jobs run that are due then.
    async fn go_on(&self) {
        fire_due(&self.crm).await.unwrap();
        let others = self.crm.clone();
        let (one, other) = tokio::join!(fire_due(&self.crm), fire_due(&others));
        one.and(other).unwrap();
        runner::run_due(&self.crm).await.unwrap();
    }

    async fn jobs(&self) -> Vec<Job> {
        let all = Query::new(Job::kind.equals(PURGE_KIND.to_owned()), 100);
        self.crm.repo::<Job>().find(Scope::Installation, &all).await.unwrap().records
    }
}

#[tokio::test]
async fn after_thirty_days_nobody_is_in_the_bin() {
    let world = world(3).await;
    let crm = &world.crm;
    let by = &world.shops[0];
    world.go_on().await;
    let back = world.customers(by).await[1].id;
    crm.customers().add_note(&note_taker(by), back, read(&json!({"text": "Likes tea."}))).await.unwrap();
    world.delete().await;
    world.clock.advance(29 * DAY);
    world.go_on().await;
    crm.customers().restore(by, back, WriteOptions::default()).await.unwrap();
    assert_eq!(world.customers(by).await.len(), 3);
    world.clock.advance(2 * DAY);
    world.go_on().await;
    let ids: Vec<_> = world.customers(by).await.into_iter().map(|customer| customer.id).collect();
    assert!(ids.len() == 2 && ids.contains(&back), "who was restored stays");
    crm.customers().delete(by, back, None).await.unwrap();
    world.clock.advance(31 * DAY);
    world.go_on().await;
    assert_eq!(world.customers(by).await.len(), 1);
    assert_eq!(crm.repo::<ContactPoint>().count(by.scope(), &Filter::ALL).await.unwrap(), 1);
    assert_eq!(crm.repo::<Note>().count(by.scope(), &Filter::ALL).await.unwrap(), 0);
    let purged = world.jobs().await.into_iter().map(|job| {
        assert_eq!((job.state, &job.error), (JobState::Succeeded, &None));
        job.result.unwrap().to_value()["purged"].as_u64().unwrap()
    });
    assert_eq!(purged.collect::<Vec<_>>(), [1], "what the job before did is not told for ever");
}

fn note_taker(by: &Principal) -> Principal {
    let user = UserId(uuid::Uuid::from_u128(7));
    Principal { visibility: Visibility::All, ..Principal::user(by.organization, user, Role::Admin, None) }
}

/// A run that ends in the middle, as where its process is killed, leaves the rest to the next one.
#[tokio::test]
async fn many_go_in_chunks_and_a_run_that_died_is_gone_on_with() {
    let world = world(250).await;
    world.go_on().await;
    world.delete().await;
    world.clock.advance(31 * DAY);
    fire_due(&world.crm).await.unwrap();
    let mut run = Box::pin(runner::run_due(&world.crm));
    while world.jobs().await[0].progress.done == 0 {
        assert!(futures::poll!(&mut run).is_pending(), "it is done already");
    }
    drop(run);
    assert!(world.customers(&world.shops[1]).await.len() > 1, "the other's are to follow");
    let [job] = world.jobs().await.try_into().unwrap();
    assert_eq!((job.state, job.progress.unit.as_str()), (JobState::Running, "customers"));
    world.clock.advance(Duration::from_secs(11));
    runner::run_due(&world.crm).await.unwrap();
    for by in &world.shops {
        assert_eq!(world.customers(by).await.len(), 1);
    }
    let [job] = world.jobs().await.try_into().unwrap();
    assert_eq!((job.state, job.progress.done), (JobState::Succeeded, 498));
}
