//! A campaign gets to each customer once, whatever breaks; and its figures add up.

mod queue;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    Campaign, CampaignId, CampaignRun, CampaignStatus, ChangedCampaign, Communication, CommunicationStatus,
    NewCampaign, TrialRequest, WithMessages, send, send_due,
};
use crate::{
    Crm, Error,
    access::{Principal, Role},
    customer::{Customer, CustomerStatus},
    delivery::{Suppression, SuppressionReason},
    event::Event,
    id::{CustomerId, OrganizationId, UserId},
    input::FromInput as _,
    job::{Job, JobState, runner},
    list::ListRequest,
    port::{Accepted, Channel, ManualClock, OutgoingMessage, SeededRandom, SendFailure},
    record::{Meta, Record as _},
    store::{Change, Filter, Query, Scope, SharedStore, Store as _, memory::MemoryStore},
    tenancy::NewOrganization,
    text::Line,
    time::Timestamp,
};

/// A vendor of tests: what it does with a message is told by the customer's name in it.
#[derive(Clone, Default)]
struct Vendor {
    repeatable: bool,
    /// How often each message came.
    came: Arc<Mutex<HashMap<Uuid, usize>>>,
    /// Messages that hang wait for this.
    goes_on: Arc<Notify>,
    hangs: Arc<Mutex<bool>>,
    began: Arc<Notify>,
}

impl Vendor {
    fn came(&self) -> HashMap<Uuid, usize> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hang(&self, hangs: bool) {
        *self.hangs.lock().unwrap_or_else(PoisonError::into_inner) = hangs;
        self.goes_on.notify_waiters();
    }
}

#[async_trait]
impl Channel for Vendor {
    fn name(&self) -> &'static str {
        "mock"
    }

    fn repeatable(&self) -> bool {
        self.repeatable
    }

    async fn send(&self, _: &Crm, message: OutgoingMessage) -> Result<Accepted, SendFailure> {
        *self.came.lock().unwrap_or_else(PoisonError::into_inner).entry(message.reference).or_default() += 1;
        let hangs = *self.hangs.lock().unwrap_or_else(PoisonError::into_inner);
        if hangs {
            self.began.notify_one();
            self.goes_on.notified().await;
        }
        let text = &message.text;
        if text.contains("refused") {
            Err(SendFailure::Refused("no such number".to_owned()))
        } else if text.contains("gone") {
            Err(SendFailure::NoSuchAddress("550 5.1.1 nobody here".to_owned()))
        } else if text.contains("busy") {
            Err(SendFailure::not_sent("busy"))
        } else if text.contains("unclear") {
            Err(SendFailure::Ambiguous("cut off".to_owned()))
        } else {
            Ok(Accepted { vendor_message_id: format!("v-{}", message.reference) })
        }
    }
}

struct Shop {
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    vendor: Vendor,
    crm: Crm,
    by: Principal,
}

impl Shop {
    async fn open(repeatable: bool) -> Self {
        let store = Arc::new(MemoryStore::new());
        store.migrate(crate::crm::collections(), &|_, _, _| {}).await.expect("the collections are sound");
        let clock = Arc::new(ManualClock::new(Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant")));
        let vendor = Vendor { repeatable, ..Vendor::default() };
        let crm = Self::process(&store, &clock, &vendor, 1);
        let new = NewOrganization::from_json(&json!({"name": "Shop"})).expect("valid");
        let installation = Principal::system(OrganizationId::INSTALLATION);
        let organization = crm.organizations().create(&installation, new).await.expect("created");
        Self { by: Principal::system(organization.id), store, clock, vendor, crm }
    }

    fn process(store: &Arc<MemoryStore>, clock: &Arc<ManualClock>, vendor: &Vendor, seed: u64) -> Crm {
        Crm::builder(Arc::clone(store) as SharedStore)
            .clock(Arc::clone(clock))
            .random(SeededRandom::new(seed))
            .mock_vendor(None)
            .channel(vendor.clone())
            .build()
    }

    /// The same in another process.
    fn another(&self, seed: u64) -> Crm {
        Self::process(&self.store, &self.clock, &self.vendor, seed)
    }

    async fn customers(&self, names: impl Iterator<Item = String>) -> Vec<CustomerId> {
        let now = self.crm.now();
        let names: Vec<String> = names.collect();
        let mut ids: Vec<CustomerId> = names.iter().map(|_| self.crm.new_id_at(now)).collect();
        ids.sort_unstable();
        let named = names.iter().zip(ids).map(|(name, id)| {
            let name = Line::parse(name).expect("a name");
            Customer::blank(id, name, Meta::new(self.by.organization, now))
        });
        let customers: Vec<Customer> = named.collect();
        let rows = customers.iter().map(crate::record::Record::to_row).collect();
        let insert = Change::Insert { collection: Customer::COLLECTION, rows };
        self.crm.store().commit(self.by.scope(), vec![insert]).await.expect("inserted");
        customers.iter().map(|customer| customer.id).collect()
    }

    async fn draft(&self, more: serde_json::Value) -> Campaign {
        let mut new = json!({
            "name": "Sale", "channel": "mock", "message": "Hi {{name}}", "rules_json": {"field": "visits", "op": ">=", "value": 0},
        });
        for (name, value) in more.as_object().expect("an object") {
            new[name] = value.clone();
        }
        let new = NewCampaign::from_json(&new).expect("valid");
        self.crm.campaigns().create(&self.by, new).await.expect("created")
    }

    async fn status(&self, id: CampaignId) -> CampaignStatus {
        self.crm.campaigns().get(&self.by, id).await.expect("there").campaign.status
    }

    async fn communications(&self, id: CampaignId) -> Vec<Communication> {
        let query = Query::new(Communication::campaign_id.equals(id), 10_000);
        self.crm.repo::<Communication>().find(self.by.scope(), &query).await.expect("found").records
    }

    /// Plans and sends what is due.
    async fn settle(&self) {
        runner::run_due(&self.crm).await.expect("the store is there");
        send_due(&self.crm).await.expect("the store is there");
    }

    /// The figures: queued, sent, failed, suppressed, unknown; they add up.
    async fn figures(&self, id: CampaignId) -> [u64; 5] {
        let counts = self.crm.campaigns().get(&self.by, id).await.expect("there").statistics.counts;
        let figures = [counts.queued, counts.sent, counts.failed, counts.suppressed, counts.unknown];
        assert_eq!(figures.iter().sum::<u64>(), counts.audience);
        figures
    }

    async fn events(&self, event_type: &str) -> u64 {
        let told = Event::event_type.equals(event_type.to_owned());
        self.crm.repo::<Event>().count(Scope::Installation, &told).await.expect("counted")
    }
}

fn named(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("Customer {number}"))
}

#[tokio::test]
async fn everybody_gets_it_once_and_the_figures_add_up() {
    let shop = Shop::open(true).await;
    let ids = shop.customers(named(1200)).await;
    let mut blocked = shop.crm.repo::<Customer>().get(shop.by.scope(), ids[5]).await.expect("found").expect("there");
    let before = blocked.clone();
    blocked.status = CustomerStatus::Blocked;
    let mut operation = crate::operation::Operation::new(&shop.crm, &shop.by);
    operation.update(&before, &mut blocked);
    operation.commit().await.expect("written");
    let variants = json!([{"name": "A"}, {"name": "B", "message": "Dear {{name | upper}}", "weight": 2}]);
    let draft = shop.draft(json!({"variants": variants, "holdout_percent": 10, "launch": true})).await;
    assert_eq!((draft.status, shop.events("campaign.launched").await), (CampaignStatus::Sending, 1));
    shop.settle().await;

    assert_eq!(shop.status(draft.id).await, CampaignStatus::Sent);
    let all = shop.communications(draft.id).await;
    let mut planned = all.clone();
    planned.sort_by_key(|one| one.sequence);
    assert!(planned.iter().map(|one| one.customer_id).eq(ids.iter().copied()), "each once, in the order of the plan");
    assert!(planned.iter().zip(1..).all(|(one, place)| one.sequence == place));
    let [queued, sent, failed, suppressed, unknown] = shop.figures(draft.id).await;
    assert_eq!((queued, failed, unknown, sent + suppressed), (0, 0, 0, 1200));
    let came = shop.vendor.came();
    assert_eq!(u64::try_from(came.len()).ok(), Some(sent));
    assert!(came.values().all(|count| *count == 1));
    for one in &all {
        let went = came.contains_key(&one.id.into());
        assert_eq!(went, one.status == CommunicationStatus::Sent);
        match one.variant.as_deref() {
            Some("A") => assert!(one.message.is_empty() || one.message.starts_with("Hi Customer")),
            Some("B") => assert!(one.message.is_empty() || one.message.starts_with("Dear CUSTOMER")),
            variant => assert_eq!((variant, one.reason.as_deref(), went), (Some("holdout"), Some("holdout"), false)),
        }
        if went {
            assert_eq!(one.vendor_message_id, Some(format!("v-{}", Uuid::from(one.id))));
            assert_eq!((one.attempts, one.due_at, one.stage), (1, None, None));
        }
    }
    assert_eq!(planned[5].status, CommunicationStatus::Suppressed);
    let detail = shop.crm.campaigns().get(&shop.by, draft.id).await.expect("there");
    assert_eq!((detail.campaign.audience, detail.communications.len()), (Some(1200), 20));
    let variants = &detail.statistics.variants;
    assert_eq!(variants.values().map(|one| one.counts.audience).sum::<u64>(), 1200);
    assert!(variants["B"].counts.sent > variants["A"].counts.sent && variants["holdout"].counts.sent == 0);
    let next = ListRequest { cursor: detail.next_cursor, ..ListRequest::default() };
    let next = shop.crm.campaigns().communications(&shop.by, draft.id, &next).await.expect("a page");
    assert_eq!(next.data[0].id, all[20].id);
    assert_eq!(shop.events("campaign.finished").await, 1);
    let run = shop.crm.repo::<CampaignRun>().get(Scope::Installation, draft.id).await.expect("found");
    assert_eq!(run, None, "nothing is left to be done");
}

#[tokio::test]
async fn answers_of_the_vendor_are_understood() {
    for repeatable in [false, true] {
        let shop = Shop::open(repeatable).await;
        shop.customers(["Ada", "refused", "busy", "unclear"].into_iter().map(str::to_owned)).await;
        let campaign = shop.draft(json!({"launch": true})).await;
        shop.settle().await;
        assert_eq!(shop.status(campaign.id).await, CampaignStatus::Sending);
        let left = if repeatable { [2, 1, 1, 0, 0] } else { [1, 1, 1, 0, 1] };
        assert_eq!(shop.figures(campaign.id).await, left);
        for _ in 0..4 {
            shop.clock.advance(Duration::from_secs(300));
            shop.settle().await;
        }
        assert_eq!(shop.status(campaign.id).await, CampaignStatus::Sent);
        assert_eq!(shop.figures(campaign.id).await, [0, 1, 2, 0, 1]);
        let all = shop.communications(campaign.id).await;
        let attempts: Vec<i64> = all.iter().map(|one| one.attempts).collect();
        assert_eq!(attempts, [1, 1, 5, if repeatable { 5 } else { 1 }]);
        assert_eq!(all[2].reason.as_deref(), Some("busy"));
    }
}

/// Where a vendor says that there is nobody, nothing is sent to the address any more.
#[tokio::test]
async fn an_address_that_is_gone_is_suppressed() {
    let shop = Shop::open(true).await;
    let ids = shop.customers(["Ada", "refused", "gone"].into_iter().map(str::to_owned)).await;
    for expected in [[0, 1, 2, 0, 0], [0, 1, 1, 1, 0]] {
        let campaign = shop.draft(json!({"launch": true})).await;
        shop.settle().await;
        assert_eq!(shop.figures(campaign.id).await, expected);
        let suppressed = shop.crm.repo::<Suppression>().find(shop.by.scope(), &Query::new(Filter::ALL, 10)).await;
        let suppressed = suppressed.expect("found").records;
        let told: Vec<_> = suppressed.iter().map(|one| (one.address.as_str(), one.reason, one.customer_id)).collect();
        assert_eq!(told, [(ids[2].to_string().as_str(), SuppressionReason::HardBounce, Some(ids[2]))]);
    }
}

/// A process dies while it sends. What it had in hand is sent again only where that does no harm.
#[tokio::test]
async fn what_a_dead_process_had_in_hand_is_never_sent_twice() {
    for repeatable in [false, true] {
        let shop = Shop::open(repeatable).await;
        shop.customers(named(300)).await;
        let campaign = shop.draft(json!({"launch": true})).await;
        runner::run_due(&shop.crm).await.expect("planned");
        for seed in 2..4 {
            shop.vendor.hang(true);
            let process = tokio::spawn(send::run(shop.another(seed), std::future::pending()));
            shop.vendor.began.notified().await;
            process.abort();
            let _ = process.await;
            shop.vendor.hang(false);
            shop.clock.advance(Duration::from_secs(11));
        }
        shop.settle().await;
        assert_eq!(shop.status(campaign.id).await, CampaignStatus::Sent);
        let [queued, sent, failed, suppressed, unknown] = shop.figures(campaign.id).await;
        assert_eq!((queued, failed, suppressed, sent + unknown), (0, 0, 0, 300));
        let came = shop.vendor.came();
        if repeatable {
            assert_eq!((sent, came.len()), (300, 300), "under the same reference");
        } else {
            assert!(came.values().all(|count| *count == 1), "nobody may get it twice");
            assert!(unknown > 0, "what was in hand is not known");
        }
    }
}

#[tokio::test]
async fn pausing_resuming_and_cancelling() {
    let shop = Shop::open(false).await;
    shop.customers(named(10)).await;
    let campaign = shop.draft(json!({"throttle_per_minute": 60})).await;
    let campaigns = shop.crm.campaigns();
    assert_eq!(campaigns.pause(&shop.by, campaign.id, None).await.unwrap_err().code(), "INVALID_STATE");
    let twice = futures::future::join(
        campaigns.launch(&shop.by, campaign.id, None),
        campaigns.launch(&shop.by, campaign.id, None),
    )
    .await;
    let refused = [twice.0, twice.1].into_iter().filter_map(Result::err).map(|error| error.code()).collect::<Vec<_>>();
    assert_eq!(refused, ["INVALID_STATE"], "one launches it");
    assert_eq!(campaigns.remove(&shop.by, campaign.id, None).await.unwrap_err().code(), "INVALID_STATE");
    let change = ChangedCampaign::from_json(&json!({"message": "Hello"})).expect("valid");
    assert_eq!(campaigns.change(&shop.by, campaign.id, None, change).await.unwrap_err().code(), "INVALID_STATE");
    shop.settle().await;
    assert_eq!(shop.figures(campaign.id).await, [9, 1, 0, 0, 0], "one a second");
    for sent in 2..4 {
        shop.clock.advance(Duration::from_secs(1));
        shop.settle().await;
        assert_eq!(shop.figures(campaign.id).await, [10 - sent, sent, 0, 0, 0]);
    }
    campaigns.pause(&shop.by, campaign.id, None).await.expect("paused");
    shop.clock.advance(Duration::from_secs(3600));
    shop.settle().await;
    assert_eq!(shop.figures(campaign.id).await, [7, 3, 0, 0, 0]);
    campaigns.resume(&shop.by, campaign.id, None).await.expect("resumed");
    shop.settle().await;
    assert_eq!(shop.figures(campaign.id).await, [6, 4, 0, 0, 0], "an hour is not made up for");
    let cancelled = campaigns.cancel(&shop.by, campaign.id, None).await.expect("cancelled");
    assert!(cancelled.status == CampaignStatus::Cancelled && cancelled.finished_at.is_some());
    shop.settle().await;
    assert_eq!(shop.figures(campaign.id).await, [0, 4, 0, 6, 0]);
    assert_eq!(shop.communications(campaign.id).await[9].reason.as_deref(), Some("cancelled"));
    assert_eq!(campaigns.resume(&shop.by, campaign.id, None).await.unwrap_err().code(), "INVALID_STATE");
    assert_eq!(shop.crm.repo::<CampaignRun>().count(Scope::Installation, &Filter::ALL).await.expect("counted"), 0);
}

#[tokio::test]
async fn a_campaign_begins_at_its_time() {
    let shop = Shop::open(false).await;
    shop.customers(named(3)).await;
    let at = shop.crm.now().plus(Duration::from_secs(3600));
    let campaign = shop.draft(json!({"schedule_at": at.to_string(), "launch": true})).await;
    assert_eq!(campaign.status, CampaignStatus::Scheduled);
    let window = json!({"start": "22:00", "end": "23:00"});
    let late = shop.draft(json!({"window": window, "launch": true})).await;
    shop.settle().await;
    assert_eq!(shop.status(campaign.id).await, CampaignStatus::Scheduled);
    assert_eq!(shop.figures(late.id).await, [3, 0, 0, 0, 0], "it is 20:26 in UTC");
    shop.clock.advance(Duration::from_secs(3600));
    shop.customers(["Eve".to_owned()].into_iter()).await;
    send_due(&shop.crm).await.expect("begun");
    assert_eq!(shop.status(campaign.id).await, CampaignStatus::Sending);
    shop.settle().await;
    assert_eq!(shop.status(campaign.id).await, CampaignStatus::Sent);
    assert_eq!(shop.figures(campaign.id).await, [0, 4, 0, 0, 0], "whoever is there when it begins");
    shop.clock.advance(Duration::from_secs(3600));
    shop.settle().await;
    assert_eq!(shop.figures(late.id).await, [0, 3, 0, 0, 0]);
}

/// What waited while the window closed waits for it to open again.
#[tokio::test]
async fn a_resumed_campaign_keeps_to_its_window() {
    let shop = Shop::open(false).await;
    shop.customers(named(3)).await;
    let window = json!({"start": "20:00", "end": "21:00"});
    let campaign = shop.draft(json!({"window": window, "throttle_per_minute": 1, "launch": true})).await;
    shop.settle().await;
    assert_eq!(shop.figures(campaign.id).await, [2, 1, 0, 0, 0], "it is 20:26 in UTC");
    shop.crm.campaigns().pause(&shop.by, campaign.id, None).await.expect("paused");
    shop.clock.advance(Duration::from_secs(3600));
    shop.crm.campaigns().resume(&shop.by, campaign.id, None).await.expect("resumed");
    shop.settle().await;
    shop.clock.advance(Duration::from_secs(60));
    shop.settle().await;
    assert_eq!(shop.figures(campaign.id).await, [2, 1, 0, 0, 0], "it has closed");
    let waiting = shop.communications(campaign.id).await.pop().expect("the last");
    assert_eq!((waiting.attempts, waiting.reason.as_deref()), (0, Some("outside_window")));
    // 20:00 of the next day.
    shop.clock.set(waiting.due_at.expect("a time"));
    shop.settle().await;
    shop.clock.advance(Duration::from_secs(60));
    shop.settle().await;
    assert_eq!(shop.figures(campaign.id).await, [0, 3, 0, 0, 0]);
    assert_eq!(shop.status(campaign.id).await, CampaignStatus::Sent);
}

/// Who launched it may no longer act, or a field of its rule is gone: it fails, and says why.
#[tokio::test]
async fn a_campaign_that_cannot_be_planned_fails() {
    let shop = Shop::open(false).await;
    shop.customers(named(2)).await;
    let nobody = Principal::user(shop.by.organization, UserId(Uuid::from_u128(1)), Role::Admin, None);
    for later in [false, true] {
        let schedule_at = later.then(|| shop.crm.now().plus(Duration::from_secs(60)).to_string());
        let draft = shop.draft(json!({"schedule_at": schedule_at})).await;
        shop.crm.campaigns().launch(&nobody, draft.id, None).await.expect("launched");
        shop.clock.advance(Duration::from_secs(60));
        shop.settle().await;
        shop.settle().await;
        let failed = shop.crm.campaigns().get(&shop.by, draft.id).await.expect("there").campaign;
        assert_eq!(failed.status, CampaignStatus::Failed);
        assert!(failed.reason.is_some_and(|reason| reason.contains("no longer act")));
    }
    assert_eq!(shop.vendor.came().len(), 0);
    let jobs = shop.crm.repo::<Job>().count(Scope::Installation, &Job::state.equals(JobState::Failed)).await;
    assert_eq!(jobs.expect("counted"), 1, "the other was not begun");
    assert_eq!(shop.events("campaign.finished").await, 2);
}

#[tokio::test]
async fn a_trial_counts_nowhere() {
    let shop = Shop::open(false).await;
    let campaign = shop.draft(json!({"variants": [{"name": "A"}, {"name": "B", "message": "refused"}]})).await;
    let request = TrialRequest::from_json(&json!({"to": ["me", "you"]})).expect("valid");
    let nobody = shop.crm.campaigns().test(&shop.by, campaign.id, &request).await.unwrap_err();
    assert!(matches!(nobody, Error::InvalidState(_)), "{nobody}");
    shop.customers(["Ada".to_owned()].into_iter()).await;
    let trial = shop.crm.campaigns().test(&shop.by, campaign.id, &request).await.expect("tried");
    let shown: Vec<(&str, &str, CommunicationStatus)> =
        trial.results.iter().map(|one| (one.to.as_str(), one.message.as_str(), one.status)).collect();
    let (sent, failed) = (CommunicationStatus::Sent, CommunicationStatus::Failed);
    assert_eq!(
        shown,
        [("me", "Hi Ada", sent), ("me", "refused", failed), ("you", "Hi Ada", sent), ("you", "refused", failed)]
    );
    assert_eq!(shop.figures(campaign.id).await, [0; 5]);
}

/// What is wrong with a body is told together with what is wrong within its rules and its messages.
#[tokio::test]
async fn everything_wrong_is_told_at_once() {
    let shop = Shop::open(false).await;
    let told = async |body: serde_json::Value| {
        let body = WithMessages::<NewCampaign>::from_json(&body).expect("an object");
        let Err(Error::Invalid(errors)) = shop.crm.campaigns().read(&shop.by, body).await else { panic!("refused") };
        let mut fields: Vec<String> = errors.iter().map(|error| error.field.clone()).collect();
        fields.sort_unstable();
        fields
    };
    let wrong = json!({
        "name": "Sale", "chanel": "mock", "message": "Hi {{nickname}}", "holdout_percent": 99,
        "rulesJson": {"field": "spent", "op": ">", "value": 1}, "variants": [{"name": "A", "message": "{{"}],
    });
    let expected = ["chanel", "channel", "holdout_percent", "message", "rules_json.field", "variants[0].message"];
    assert_eq!(told(wrong).await, expected);
    let wrong = json!({"topics": "offers", "subject": "{{nickname}}", "rules_json": {"field": "name"}});
    let expected = ["channel", "message", "name", "rules_json.op", "subject", "topics"];
    assert_eq!(told(wrong).await, expected);
    let body = json!({"name": "Sale", "channel": "mock", "message": "Hi {{name}}", "rules_json": {"and": []}});
    let body = WithMessages::<NewCampaign>::from_json(&body).expect("an object");
    let read = shop.crm.campaigns().read(&shop.by, body).await.expect("what is within is told when it is written");
    let refused = shop.crm.campaigns().create(&shop.by, read).await.unwrap_err();
    assert_eq!(refused.code(), "VALIDATION_ERROR");
}
