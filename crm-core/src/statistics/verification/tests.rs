//! A verification that is interrupted goes on where it was.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use super::*;
use crate::{
    id::OrganizationId,
    job::{JobState, runner},
    port::{ManualClock, SeededRandom},
    store::{
        Collection, Page, SharedStore, Store, StoreError, StoreResult,
        double::{Double, Meddler},
        memory::MemoryStore,
    },
    tenancy::NewOrganization,
    text::Line,
};

/// Goes away once so many pages of customers were read, and counts them.
struct Away {
    inner: MemoryStore,
    read: AtomicU64,
    after: u64,
}

#[async_trait]
impl Meddler for Away {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }

    async fn find(&self, scope: Scope, collection: &'static Collection, query: &Query) -> StoreResult<Page> {
        if collection.name == Customer::COLLECTION.name && query.limit == PAGE {
            let read = self.read.fetch_add(1, Ordering::SeqCst);
            if read == self.after {
                return Err(StoreError::Unavailable {
                    message: "away".to_owned(),
                    retry_after: Duration::from_secs(1),
                });
            }
        }
        self.inner.find(scope, collection, query).await
    }
}

#[tokio::test]
async fn a_verification_goes_on_where_it_was() {
    const CUSTOMERS: usize = 3 * PAGE + 7;
    let store = Arc::new(Double(Away { inner: MemoryStore::new(), read: AtomicU64::new(0), after: 2 }));
    store.0.inner.migrate(crate::crm::collections(), &|_, _, _| {}).await.unwrap();
    let start = Timestamp::from_milliseconds(1_767_225_600_000).unwrap();
    let clock = Arc::new(ManualClock::new(start));
    let shared: SharedStore = Arc::clone(&store) as _;
    let crm = Crm::builder(shared).clock(Arc::clone(&clock)).random(SeededRandom::new(7)).build();
    let by = Principal::system(OrganizationId(crm.new_id_at::<CustomerId>(start).0));
    let mut ids: Vec<CustomerId> = (0..CUSTOMERS).map(|_| crm.new_id_at(start)).collect();
    ids.sort_unstable();
    let customers: Vec<Customer> = ids
        .into_iter()
        .enumerate()
        .map(|(number, id)| {
            let meta = Meta::new(by.organization, start);
            let mut customer = Customer::blank(id, Line::parse("Ann").unwrap(), meta);
            // One of each page, two of the last, and one that is wrong in more than one figure.
            if number % PAGE == 3 || number == CUSTOMERS - 1 {
                customer.visits = 3;
                customer.total_orders = if number == 3 { 1 } else { 0 };
            }
            customer
        })
        .collect();
    let insert =
        Change::Insert { collection: Customer::COLLECTION, rows: customers.iter().map(Record::to_row).collect() };
    store.commit(by.scope(), vec![insert]).await.unwrap();

    for repair in [false, true] {
        store.0.read.store(0, Ordering::SeqCst);
        let mut operation = Operation::new(&crm, &by);
        let job = enqueue(&crm, &by, &mut operation, Input { repair }).unwrap();
        operation.commit().await.unwrap();
        let of_job = async || crm.repo::<VerificationProgress>().get(by.scope(), job.id).await.unwrap();
        runner::run_due(&crm).await.unwrap();
        assert_eq!(crm.jobs().get(&by, job.id).await.unwrap().state, JobState::Queued, "it was away");
        let reached = of_job().await.unwrap();
        assert_eq!((reached.looked_at, reached.drifted, reached.repaired), (1000, 2, if repair { 2 } else { 0 }));
        clock.advance(Duration::from_secs(60));
        runner::run_due(&crm).await.unwrap();
        let ended = crm.jobs().get(&by, job.id).await.unwrap();
        assert_eq!(ended.state, JobState::Succeeded, "{:?}", ended.error);
        let result = ended.result.unwrap().to_value();
        let told = ["customers", "drifted", "repaired"].map(|name| result[name].as_u64().unwrap());
        assert_eq!(told, [CUSTOMERS as u64, 5, if repair { 5 } else { 0 }]);
        assert_eq!(result["drift"].as_array().unwrap().len(), 5);
        assert_eq!(result["drift"][0]["figures"]["total_orders"], json!({"stored": 1, "expected": 0}));
        // Two pages, one that was not answered, and the other two: nothing was read twice.
        assert_eq!(store.0.read.load(Ordering::SeqCst), 5);
        assert_eq!(of_job().await, None, "nothing is left of it");
    }
}

/// A run that begins verifications goes on after one that died: no organization is verified twice.
#[tokio::test]
async fn each_organization_is_verified_once_a_night() {
    let store = Arc::new(MemoryStore::new());
    store.migrate(crate::crm::collections(), &|_, _, _| {}).await.unwrap();
    let now = Timestamp::from_milliseconds(1_767_225_600_000).unwrap();
    let shared: SharedStore = Arc::clone(&store) as _;
    let crm = Crm::builder(shared).clock(Arc::new(ManualClock::new(now))).random(SeededRandom::new(7)).build();
    let organizations: Vec<Organization> = (0..3)
        .map(|_| {
            let new = NewOrganization::named(Line::parse("Shop").unwrap());
            Organization::new(OrganizationId(crm.new_id::<CustomerId>().0), new, now)
        })
        .collect();
    let rows = organizations.iter().map(Record::to_row).collect();
    store
        .commit(Scope::Installation, vec![Change::Insert { collection: Organization::COLLECTION, rows }])
        .await
        .unwrap();
    let by = Principal::system(organizations[0].id);
    let mut operation = Operation::new(&crm, &by);
    for _ in 0..2 {
        let new = NewJob {
            kind: ALL_KIND,
            version: VERSION,
            input: Input::default(),
            priority: JobPriority::Normal,
            about: None,
            progress: JobProgress::default(),
        };
        crm.jobs().enqueue(&by, &mut operation, new).unwrap();
    }
    operation.commit().await.unwrap();
    runner::run_due(&crm).await.unwrap();
    let begun = Job::kind.equals(KIND.to_owned());
    assert_eq!(crm.repo::<Job>().count(Scope::Installation, &begun).await.unwrap(), 3);
    assert_eq!(crm.repo::<Job>().count(Scope::Installation, &Job::finished_at.missing()).await.unwrap(), 0);
}
