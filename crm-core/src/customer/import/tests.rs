//! Imports beside failures: answers that are lost, senders who go away, runs that die, others who write meanwhile.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::StreamExt as _;
use serde_json::{Value as JsonValue, json, value::RawValue};
use uuid::Uuid;

use super::*;
use crate::{
    Crm, Error, Result,
    access::Principal,
    customer::{Customer, NewCustomer, WriteOptions},
    event::Event,
    id::{CustomerId, OrganizationId},
    input::FromInput as _,
    job::{Job, runner},
    port::{ManualClock, SeededRandom},
    record::Record as _,
    store::{
        Change, Collection, Filter, Outcome, Row, Scope, Store, StoreError, StoreResult, Value,
        double::{Double, Meddler},
        memory::MemoryStore,
    },
    text::Line,
    time::Timestamp,
};

/// What becomes of a commit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Written,
    Refused,
    /// Written, and nobody hears of it.
    AnswerLost,
}

type Mood = Box<dyn Fn(&[Change]) -> Verdict + Send>;

/// The store in memory, with failures.
struct Moody {
    inner: MemoryStore,
    mood: Mutex<Mood>,
    /// Somebody changes every name right after customers are next read by id.
    meddles: AtomicBool,
}

/// Everybody is called so after the meddling.
const MEDDLED: &str = "Somebody else's";

#[async_trait]
impl Meddler for Moody {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }

    async fn get(&self, scope: Scope, collection: &'static Collection, ids: &[Uuid]) -> StoreResult<Vec<Row>> {
        let found = self.inner.get(scope, collection, ids).await;
        if collection.name == Customer::COLLECTION.name && self.meddles.swap(false, Ordering::SeqCst) {
            let assignments = vec![Customer::name.set(Line::parse(MEDDLED).unwrap())];
            let change = Change::UpdateWhere { collection: Customer::COLLECTION, filter: Filter::ALL, assignments };
            self.inner.commit(scope, vec![change]).await?;
        }
        found
    }

    async fn commit(&self, scope: Scope, changes: Vec<Change>) -> StoreResult<Vec<Outcome>> {
        let verdict = self.mood.lock().unwrap_or_else(PoisonError::into_inner)(&changes);
        let away = || StoreError::Unavailable { message: "away".to_owned(), retry_after: Duration::from_secs(1) };
        if verdict == Verdict::Refused {
            return Err(away());
        }
        let outcomes = self.inner.commit(scope, changes).await?;
        if verdict == Verdict::AnswerLost { Err(away()) } else { Ok(outcomes) }
    }
}

/// What is told of a file is not found out from its beginning, and what is long enough is kept at once.
const TOLD: [(&str, &str); 2] = [("delimiter", ","), ("encoding", "utf-8")];

/// Whether changes add rows of a kind.
fn inserts(changes: &[Change], name: &str) -> bool {
    changes.iter().any(|change| matches!(change, Change::Insert { collection, .. } if collection.name == name))
}

struct World {
    crm: Crm,
    store: Arc<Double<Moody>>,
    clock: Arc<ManualClock>,
    by: Principal,
}

async fn world() -> World {
    let mood = Mutex::new(Box::new(|_: &[Change]| Verdict::Written) as Mood);
    let store = Arc::new(Double(Moody { inner: MemoryStore::new(), mood, meddles: AtomicBool::new(false) }));
    store.migrate(crate::crm::collections(), &|_, _, _| {}).await.unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::from_milliseconds(1_767_225_600_000).unwrap()));
    let shared: crate::store::SharedStore = Arc::clone(&store) as _;
    let crm = Crm::builder(shared).clock(Arc::clone(&clock)).random(SeededRandom::new(7)).build();
    let by = Principal::system(OrganizationId(Uuid::from_u128(1)));
    World { crm, store, clock, by }
}

impl World {
    fn mood(&self, mood: impl Fn(&[Change]) -> Verdict + Send + 'static) {
        *self.store.mood.lock().unwrap() = Box::new(mood);
    }

    async fn begin(&self, options: &[(&str, &str)], file: &str) -> Result<ImportView> {
        let options = said(options);
        let mut upload = self.crm.imports().begin(&self.by, &options).await?;
        upload.push(file.as_bytes()).await?;
        upload.finish(options).await
    }

    async fn import(&self, options: &[(&str, &str)], file: &str) -> CustomerImport {
        let begun = self.begin(options, file).await.unwrap();
        runner::run_due(&self.crm).await.unwrap();
        self.seen(begun.import.id).await
    }

    async fn seen(&self, id: CustomerImportId) -> CustomerImport {
        self.crm.imports().get(&self.by, id).await.unwrap().import
    }

    async fn count<T: crate::record::Record>(&self, filter: Filter) -> u64 {
        self.crm.repo::<T>().count(self.by.scope(), &filter).await.unwrap()
    }

    async fn create(&self, json: &JsonValue) -> Customer {
        let new = NewCustomer::from_input(&RawValue::from_string(json.to_string()).unwrap()).unwrap();
        self.crm.customers().create(&self.by, new, WriteOptions::default()).await.unwrap()
    }

    async fn customer(&self, id: CustomerId) -> Customer {
        self.crm.repo::<Customer>().get(self.by.scope(), id).await.unwrap().unwrap()
    }

    async fn reverted(&self, id: CustomerImportId) -> RevertReport {
        self.crm.imports().revert(&self.by, id, false).await.unwrap();
        runner::run_due(&self.crm).await.unwrap();
        let import = self.seen(id).await;
        assert_eq!(import.state, ImportState::Reverted, "{:?}", import.error);
        import.reverted.unwrap()
    }

    async fn errors(&self, id: CustomerImportId) -> String {
        let pieces = self.crm.imports().errors(&self.by, id).await.unwrap().pieces();
        let pieces: Vec<Vec<u8>> = pieces.map(|piece| piece.unwrap()).collect().await;
        String::from_utf8(pieces.concat()).unwrap()
    }
}

fn said(options: &[(&str, &str)]) -> ImportOptions {
    let mut said = ImportOptions::default();
    for (name, value) in options {
        said.set(name, value).unwrap();
    }
    said
}

fn people(from: usize, to: usize) -> String {
    (from..to).map(|row| format!("User {row},u{row}@example.com\n")).collect()
}

#[tokio::test]
async fn an_answer_that_is_lost_takes_no_import_away() {
    let world = world().await;
    world.mood(|changes| if inserts(changes, Job::COLLECTION.name) { Verdict::AnswerLost } else { Verdict::Written });
    let begun = world.begin(&[], &format!("name,email\n{}", people(0, 3))).await.expect("it was begun all the same");
    assert!(begun.job.is_some());
    runner::run_due(&world.crm).await.unwrap();
    let import = world.seen(begun.import.id).await;
    assert_eq!((import.state, import.created), (ImportState::Succeeded, 3));

    world.mood(|changes| if inserts(changes, Job::COLLECTION.name) { Verdict::Refused } else { Verdict::Written });
    let refused = world.begin(&[], "name\nAnn\n").await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    assert_eq!(world.count::<CustomerImport>(Filter::ALL).await, 1);
    assert_eq!(world.count::<ImportPart>(Filter::ALL).await, 1);

    // Nobody knows whether the first part was kept.
    world.mood(
        |changes| {
            if inserts(changes, ImportPart::COLLECTION.name) { Verdict::AnswerLost } else { Verdict::Written }
        },
    );
    assert!(world.begin(&[], "name\nAnn\n").await.is_err());
    assert_eq!(world.count::<CustomerImport>(Filter::ALL).await, 1);
    assert_eq!(world.count::<ImportPart>(Filter::ALL).await, 1);
}

#[tokio::test]
async fn whoever_goes_away_leaves_nothing_behind() {
    let world = world().await;
    let mut upload = world.crm.imports().begin(&world.by, &said(&TOLD)).await.unwrap();
    upload.push(format!("name,email\n{}", people(0, 4000)).as_bytes()).await.unwrap();
    assert_eq!(world.count::<CustomerImport>(Filter::ALL).await, 1);
    drop(upload);
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.count::<CustomerImport>(Filter::ALL).await, 0);
    assert_eq!(world.count::<ImportPart>(Filter::ALL).await, 0);
}

#[tokio::test]
async fn what_fell_silent_is_removed_and_what_is_slow_is_not() {
    let world = world().await;
    let begin = async || {
        let mut upload = world.crm.imports().begin(&world.by, &said(&TOLD)).await.unwrap();
        upload.push(format!("name,email\n{}", people(0, 4000)).as_bytes()).await.unwrap();
        upload
    };
    let (mut slow, mut silent) = (begin().await, begin().await);
    for (from, to) in [(4000, 5000), (5000, 6000)] {
        world.clock.advance(Duration::from_secs(50 * 60));
        slow.push(people(from, to).as_bytes()).await.unwrap();
        remove_old(&world.crm, &world.by).await.unwrap();
    }
    assert_eq!(world.count::<CustomerImport>(Filter::ALL).await, 1);
    assert!(silent.push(people(4000, 6000).as_bytes()).await.is_err());
    let begun = slow.finish(said(&[])).await.unwrap().import;
    assert_eq!(world.count::<ImportPart>(ImportPart::import_id.equals(begun.id).negated()).await, 0);
    world.clock.advance(Duration::from_secs(2 * 3600));
    remove_old(&world.crm, &world.by).await.unwrap();
    runner::run_due(&world.crm).await.unwrap();
    assert_eq!(world.seen(begun.id).await.created, 6000);
}

#[tokio::test]
async fn an_organization_has_so_many_imports_on_the_way() {
    let world = world().await;
    for row in 0..20 {
        world.begin(&[], &format!("name\nUser {row}\n")).await.unwrap();
    }
    let refused = world.crm.imports().begin(&world.by, &said(&[])).await.map(|_| ());
    assert!(matches!(&refused, Err(Error::InvalidState(message)) if message.contains("20")), "{refused:?}");
    let other = Principal::system(OrganizationId(Uuid::from_u128(2)));
    world.crm.imports().begin(&other, &said(&[])).await.expect("another organization has room");
    runner::run_due(&world.crm).await.unwrap();
    let imports = world.crm.imports();
    let mut late = Vec::new();
    for _ in 0..21 {
        late.push(imports.begin(&world.by, &said(&TOLD)).await.unwrap());
    }
    let mut refused = 0;
    for upload in &mut late {
        let kept = upload.push(format!("name,email\n{}", people(0, 4000)).as_bytes()).await;
        refused += u64::from(matches!(kept, Err(Error::InvalidState(_))));
    }
    assert_eq!(refused, 1, "who began together is counted too");
}

#[tokio::test]
async fn a_dry_run_that_dies_at_its_end_tells_everything_the_next_time() {
    let world = world().await;
    let file = format!("name,email\n{}{}", people(0, 700), people(0, 1));
    let begun = world.begin(&[("dry_run", "true")], &file).await.unwrap().import;
    // The end of a job tells of it; nothing else of a dry run does.
    world.mood(|changes| if inserts(changes, Event::COLLECTION.name) { Verdict::Refused } else { Verdict::Written });
    runner::run_due(&world.crm).await.unwrap();
    assert_eq!(world.seen(begun.id).await.state, ImportState::Running);
    world.mood(|_| Verdict::Written);
    world.clock.advance(Duration::from_secs(60));
    runner::run_due(&world.crm).await.unwrap();
    let import = world.seen(begun.id).await;
    assert_eq!((import.state, import.rows_read, import.created, import.failed), (ImportState::Succeeded, 701, 700, 1));
    assert_eq!(
        world.count::<ImportPart>(ImportPart::text.equals(String::new()).negated()).await,
        0,
        "the file is kept no longer"
    );
}

#[tokio::test]
async fn a_part_that_always_fails_fails_the_import() {
    let world = world().await;
    let begun = world.begin(&[], &format!("name,email\n{}", people(0, 1300))).await.unwrap().import;
    // What the second part comes to can never be written.
    world.mood(|changes| {
        let second = changes.iter().any(|change| {
            let Change::Insert { collection, rows } = change else { return false };
            collection.name == Customer::COLLECTION.name
                && rows.iter().any(|row| row.0.contains(&Value::Text("User 600".to_owned())))
        });
        if second { Verdict::Refused } else { Verdict::Written }
    });
    let mut runs = 0;
    while world.seen(begun.id).await.state != ImportState::Failed {
        runs += 1;
        assert!(runs <= 5, "it goes on for ever");
        runner::run_due(&world.crm).await.unwrap();
        world.clock.advance(Duration::from_secs(600));
    }
    let import = world.seen(begun.id).await;
    assert_eq!((runs, import.created, import.error.unwrap().code.as_str()), (5, 500, "UNAVAILABLE"));
    assert_eq!(
        world.count::<ImportPart>(ImportPart::text.equals(String::new()).negated()).await,
        2,
        "what is left of the file is kept for a replay"
    );
    world.mood(|_| Verdict::Written);
    assert_eq!(world.reverted(begun.id).await.deleted, 500);
}

#[tokio::test]
async fn what_others_write_while_an_import_is_taken_back_stays() {
    let world = world().await;
    let old = world.create(&json!({"name": "Old", "email": "old@example.com", "tags": ["a"]})).await;
    let file = "name,email,tags\nNew,old@example.com,b\n";
    let import = world.import(&[("upsert_key", "email")], file).await;
    assert_eq!(import.updated, 1);
    world.store.meddles.store(true, Ordering::SeqCst);
    let report = world.reverted(import.id).await;
    assert_eq!((report.restored, report.kept), (1, 1));
    let now = world.customer(old.id).await;
    assert_eq!((now.name.as_str(), now.tags.as_slice()), (MEDDLED, ["a".to_owned()].as_slice()));
}

#[tokio::test]
async fn whoever_is_in_the_bin_is_kept() {
    let world = world().await;
    let old = world.create(&json!({"name": "Old", "email": "old@example.com"})).await;
    let import = world.import(&[("upsert_key", "email")], "name,email\nNew,old@example.com\n").await;
    world.crm.customers().delete(&world.by, old.id, None).await.unwrap();
    assert_eq!(world.reverted(import.id).await, RevertReport { deleted: 0, restored: 0, kept: 1 });
}

#[tokio::test]
async fn refused_rows_are_mended_and_imported_as_they_are() {
    let world = world().await;
    let table = "code;E-Mail;name\nA;a@example.com;Ann\nB;bob@;=Bob\n";
    let mapping = ("mapping", r##"{"code": "metadata", "#3": "name"}"##);
    let refused = world.import(&[("mapping", r#"{"code": null}"#)], table).await;
    assert_eq!((refused.created, refused.failed), (1, 1));
    let errors = world.errors(refused.id).await;
    assert!(errors.starts_with("line;field;code;message;code;E-Mail;name\r\n3;email;"), "{errors}");
    let mended = errors.replace("bob@", "bob@example.com");
    let mended = world.import(&[("mapping", r##"{"code": null, "#3": "name"}"##)], &mended).await;
    assert_eq!((mended.created, mended.failed), (1, 0), "{}", world.errors(mended.id).await);
    let again = world.import(&[mapping], &errors).await;
    assert_eq!(again.failed, 1);
    let twice = world.errors(again.id).await;
    assert!(twice.starts_with("line;field;code;message;code;E-Mail;name\r\n2;"), "{twice}");
    assert_eq!(twice.lines().nth(1).unwrap().matches("bob@").count(), 1, "{twice}");

    let lines = "{\"name\":\"Cid\",\"code\":1}\n{\"name\":\"Dan\",\"E-Mail\":\"dan@\"}\n\n[1]\n";
    let refused = world.import(&[], lines).await;
    assert_eq!((refused.format.as_str(), refused.created, refused.failed), ("ndjson", 1, 2));
    let errors = world.errors(refused.id).await;
    let parsed: Vec<JsonValue> = errors.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&parsed[0]["_import_error"]["line"], &parsed[0]["name"]), (&json!(2), &json!("Dan")));
    assert_eq!(parsed[0]["_import_error"]["errors"][0]["field"], "email");
    assert_eq!(parsed[1]["_import_error"]["row"], "[1]");
    let mended: String = errors.lines().take(1).map(|line| line.replace("dan@", "dan@example.com")).collect();
    let mended = world.import(&[], &mended).await;
    assert_eq!((mended.created, mended.columns.len()), (1, 2), "{}", world.errors(mended.id).await);
}

#[tokio::test]
async fn members_that_come_late_are_read_too() {
    let world = world().await;
    let mut file: String = (0..1500).map(|row| format!("{{\"name\":\"User {row}\"}}\n")).collect();
    file.push_str("{\"name\":\"Late\",\"Mail\":\"late@example.com\"}\n");
    let import = world.import(&[("mapping", r#"{"Mail": "email"}"#)], &file).await;
    assert_eq!((import.created, import.columns.as_slice()), (1501, ["name".to_owned(), "Mail".to_owned()].as_slice()));
    let late = Customer::email.equals(Some(crate::contact::Email::parse("late@example.com").unwrap()));
    assert_eq!(world.count::<Customer>(late).await, 1);
}

#[tokio::test]
async fn a_cell_with_too_many_groups_is_refused() {
    let world = world().await;
    let groups: Vec<String> = (0..5000).map(|number| format!("g{number}")).collect();
    let import = world.import(&[], &format!("name,groups\nAnn,{}\nBob,x\n", groups.join(";"))).await;
    assert_eq!(import.failed, 2);
    let errors = world.errors(import.id).await;
    assert!(errors.contains("group_ids,TOO_MANY,\"must have at most 100 elements, not 5000\""), "{}", &errors[..300]);
}
