//! Jobs end well, or are tried again, or fail with a reason; and never run twice at once.

mod dead_letters;
mod hung;
mod schedules;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::{Notify, mpsc};

use super::{
    Job, JobContext, JobFailure, JobHandler, JobId, JobOutcome, JobPriority, JobProgress, JobState, Jobs, NewJob,
    Schedule, context::HOLD, runner,
};
use crate::{
    Crm, Error,
    access::{Principal, Role},
    account::User,
    event::Event,
    id::OrganizationId,
    list::ListRequest,
    operation::Operation,
    port::{ManualClock, SeededRandom},
    record::Meta,
    store::{Filter, Query, Scope, SharedStore, Store as _, memory::MemoryStore},
    tenancy::Team,
    text::Line,
    time::Timestamp,
};

/// What a handler of tests does.
#[derive(Clone)]
struct Double {
    kind: &'static str,
    began: mpsc::UnboundedSender<JobId>,
    goes_on: Arc<Notify>,
    failures_left: Arc<AtomicU64>,
}

#[async_trait]
impl JobHandler for Double {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn max_attempts(&self) -> i64 {
        3
    }

    fn deadline(&self) -> Option<Duration> {
        (self.kind == "is late").then_some(Duration::from_secs(60))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// `fails`: gives up so often. `waits`: goes on when it is told to, then writes a team.
    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure> {
        let _ = self.began.send(context.job().id);
        match context.job().kind.as_str() {
            "fails" => {
                let left = self.failures_left.load(Ordering::SeqCst);
                if left > 0 {
                    self.failures_left.store(left - 1, Ordering::SeqCst);
                    return Err(Error::internal("not this time").into());
                }
                Ok(JobOutcome::Done(json!({"name": context.input::<String>()?})))
            }
            "panics" => panic!("a fault"),
            "hangs" => std::future::pending().await,
            _ => {
                self.goes_on.notified().await;
                if context.interruption().is_some() {
                    return Ok(JobOutcome::Interrupted);
                }
                context.show(1, Some(2), "teams", None);
                let mut operation = Operation::new(context.crm(), context.by());
                let meta = Meta::new(operation.organization(), operation.now());
                let name = Line::parse("North").expect("a name");
                operation.insert(&Team {
                    id: context.crm().new_id(),
                    name_key: name.as_str().to_owned(),
                    name,
                    description: None,
                    lead_id: None,
                    meta,
                });
                context.checkpoint(operation).await?;
                Ok(JobOutcome::Done(json!(1)))
            }
        }
    }
}

struct World {
    crm: Crm,
    clock: Arc<ManualClock>,
    by: Principal,
    began: mpsc::UnboundedReceiver<JobId>,
    goes_on: Arc<Notify>,
    failures_left: Arc<AtomicU64>,
}

async fn world() -> World {
    world_with(2).await
}

async fn world_with(workers: usize) -> World {
    let store = Arc::new(MemoryStore::new());
    store.migrate(crate::crm::collections(), &|_, _, _| {}).await.expect("the collections are sound");
    let clock = Arc::new(ManualClock::new(Timestamp::from_milliseconds(1_767_225_600_000).expect("an instant")));
    let (sender, began) = mpsc::unbounded_channel();
    let (goes_on, failures_left) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
    let double = |kind| Double {
        kind,
        began: sender.clone(),
        goes_on: Arc::clone(&goes_on),
        failures_left: Arc::clone(&failures_left),
    };
    let store: SharedStore = store;
    let crm = Crm::builder(store)
        .clock(Arc::clone(&clock))
        .random(SeededRandom::new(7))
        .job_workers(workers)
        .job_handler(double("fails"))
        .job_handler(double("waits"))
        .job_handler(double("panics"))
        .job_handler(double("hangs"))
        .job_handler(double("is late"))
        .schedule(Schedule::new("tests", "30 4 * * *", "fails", &"at dawn").expect("times"))
        .build();
    let by = Principal::system(OrganizationId(crm.new_id_at::<OrganizationId>(clock_now(&clock)).0));
    World { crm, clock, by, began, goes_on, failures_left }
}

fn clock_now(clock: &ManualClock) -> Timestamp {
    use crate::port::Clock as _;
    clock.now()
}

impl World {
    async fn enqueue(&self, by: &Principal, kind: &str) -> Job {
        let new = NewJob {
            kind,
            version: 1,
            input: "an input",
            priority: JobPriority::Normal,
            about: None,
            progress: JobProgress::default(),
        };
        let mut operation = Operation::new(&self.crm, by);
        let job = self.crm.jobs().enqueue(by, &mut operation, new).expect("a job");
        operation.commit().await.expect("committed");
        job
    }

    async fn job(&self, id: JobId) -> Job {
        self.crm.jobs().get(&self.by, id).await.expect("the job")
    }

    async fn ended(&self) -> u64 {
        self.crm.repo::<Job>().count(Scope::Installation, &Job::finished_at.exists()).await.expect("counted")
    }

    async fn teams(&self) -> u64 {
        self.crm.repo::<Team>().count(self.by.scope(), &Filter::ALL).await.expect("counted")
    }

    async fn events(&self) -> Vec<String> {
        let found = self.crm.repo::<Event>().find(Scope::Installation, &Query::new(Filter::ALL, 100)).await;
        found.expect("found").records.into_iter().map(|event| event.event_type).collect()
    }
}

#[tokio::test]
async fn a_job_is_tried_again_and_says_what_came_of_it() {
    let world = world().await;
    let job = world.enqueue(&world.by, "fails").await;
    world.failures_left.store(2, Ordering::SeqCst);
    for attempt in 1..=2_u64 {
        runner::run_due(&world.crm).await.expect("ran");
        let seen = world.job(job.id).await;
        assert_eq!((seen.state, seen.attempts), (JobState::Queued, i64::try_from(attempt).expect("small")));
        assert_eq!(seen.error.expect("a reason").code, "INTERNAL");
        runner::run_due(&world.crm).await.expect("ran");
        assert_eq!(world.failures_left.load(Ordering::SeqCst), 2 - attempt, "not before its time");
        world.clock.advance(Duration::from_secs(5));
    }
    runner::run_due(&world.crm).await.expect("ran");
    let seen = world.job(job.id).await;
    assert_eq!((seen.state, seen.error, seen.due_at), (JobState::Succeeded, None, None));
    assert_eq!(seen.result.expect("a result").to_value(), json!({"name": "an input"}));
    assert_eq!(world.events().await, ["job.succeeded"]);
}

#[tokio::test]
async fn a_job_that_goes_on_failing_fails() {
    let world = world().await;
    world.failures_left.store(100, Ordering::SeqCst);
    let failing = world.enqueue(&world.by, "fails").await;
    let panicking = world.enqueue(&world.by, "panics").await;
    let unknown = world.enqueue(&world.by, "from a newer version").await;
    for _ in 0..6 {
        runner::run_due(&world.crm).await.expect("ran");
        world.clock.advance(Duration::from_secs(60));
    }
    for (job, code) in [(failing, "INTERNAL"), (panicking, "INTERNAL"), (unknown, "UNKNOWN_KIND")] {
        let seen = world.job(job.id).await;
        assert_eq!((seen.state, seen.error.expect("a reason").code.as_str()), (JobState::Failed, code));
        assert!(seen.attempts == seen.max_attempts && seen.finished_at.is_some() && seen.started_at.is_some());
    }
    assert_eq!(world.events().await, ["job.failed"; 3]);
}

#[tokio::test]
async fn a_run_that_lost_its_job_writes_nothing() {
    let mut world = world().await;
    let job = world.enqueue(&world.by, "waits").await;
    let first = tokio::spawn(runner::run(world.crm.clone(), std::future::pending()));
    assert_eq!(world.began.recv().await, Some(job.id));
    // The first run falls silent for longer than its hold, and another takes the job.
    world.clock.advance(HOLD + Duration::from_secs(1));
    let second = tokio::spawn(runner::run(world.crm.clone(), std::future::pending()));
    assert_eq!(world.began.recv().await, Some(job.id));
    world.goes_on.notify_waiters();
    while !world.job(job.id).await.state.has_ended() {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.teams().await, 1, "only the run that holds the job wrote");
    let seen = world.job(job.id).await;
    assert_eq!((seen.state, seen.progress.done, seen.progress.total), (JobState::Succeeded, 1, Some(2)));
    first.abort();
    second.abort();
}

#[tokio::test]
async fn a_process_that_died_costs_an_attempt_and_one_that_stops_does_not() {
    let mut world = world().await;
    let job = world.enqueue(&world.by, "waits").await;
    for _ in 0..2 {
        let run = tokio::spawn(runner::run(world.crm.clone(), std::future::pending()));
        world.began.recv().await.expect("begun");
        run.abort();
        let _ = run.await;
        world.clock.advance(HOLD);
    }
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let run = tokio::spawn(runner::run(world.crm.clone(), async move {
        let _ = stopped.await;
    }));
    world.began.recv().await.expect("begun");
    assert_eq!(world.job(job.id).await.attempts, 3);
    let _ = stop.send(());
    tokio::task::yield_now().await;
    while !run.is_finished() {
        world.goes_on.notify_waiters();
        tokio::task::yield_now().await;
    }
    let seen = world.job(job.id).await;
    assert_eq!((seen.state, seen.attempts, seen.holder), (JobState::Queued, 2, None));
    let run = tokio::spawn(runner::run(world.crm.clone(), std::future::pending()));
    world.began.recv().await.expect("begun at once");
    run.abort();
    let _ = run.await;
    world.clock.advance(HOLD);
    runner::run_due(&world.crm).await.expect("ran");
    let seen = world.job(job.id).await;
    assert_eq!((seen.state, seen.error.expect("a reason").code.as_str()), (JobState::Failed, "INTERRUPTED"));
    assert_eq!(world.teams().await, 0);
}

#[tokio::test]
async fn a_job_is_cancelled_before_it_runs_and_while_it_runs() {
    let mut world = world().await;
    let waiting = world.enqueue(&world.by, "fails").await;
    let cancelled = world.crm.jobs().cancel(&world.by, waiting.id).await.expect("cancelled");
    assert_eq!(cancelled.state, JobState::Cancelled);
    world.crm.jobs().cancel(&world.by, waiting.id).await.expect("again");
    runner::run_due(&world.crm).await.expect("ran");
    assert!(world.began.is_empty());

    let running = world.enqueue(&world.by, "waits").await;
    let run = tokio::spawn(runner::run(world.crm.clone(), std::future::pending()));
    world.began.recv().await.expect("begun");
    let asked = world.crm.jobs().cancel(&world.by, running.id).await.expect("asked");
    assert_eq!((asked.state, asked.cancel_requested), (JobState::Running, true));
    while !world.job(running.id).await.state.has_ended() {
        world.goes_on.notify_waiters();
        tokio::task::yield_now().await;
    }
    assert_eq!(world.job(running.id).await.state, JobState::Cancelled);
    assert_eq!(world.teams().await, 0);
    let done = world.enqueue(&world.by, "fails").await;
    world.began.recv().await.expect("begun");
    while !world.job(done.id).await.state.has_ended() {
        tokio::task::yield_now().await;
    }
    let refused = world.crm.jobs().cancel(&world.by, done.id).await;
    assert!(matches!(refused, Err(Error::InvalidState(_))), "{refused:?}");
    run.abort();
}

#[tokio::test]
async fn no_organization_holds_every_place() {
    let mut world = world_with(2).await;
    let another = || Principal::system(OrganizationId(world.crm.new_id::<JobId>().0));
    let (others, late) = (another(), another());
    let mut own = Vec::new();
    for _ in 0..4 {
        own.push(world.enqueue(&world.by, "waits").await.id);
        world.clock.advance(Duration::from_millis(1));
    }
    let run = tokio::spawn(runner::run(world.crm.clone(), std::future::pending()));
    let begun = [world.began.recv().await, world.began.recv().await];
    assert_eq!(begun, [Some(own[0]), Some(own[1])]);
    let first = world.enqueue(&others, "waits").await;
    assert_eq!(world.began.recv().await, Some(first.id), "there is a place for another organization");
    let second = world.enqueue(&late, "waits").await;
    // Whichever of the three ends, the place goes to whom nothing runs for.
    world.goes_on.notify_one();
    assert_eq!(world.began.recv().await, Some(second.id));
    while world.ended().await < 6 {
        world.goes_on.notify_waiters();
        tokio::task::yield_now().await;
    }
    run.abort();
}

#[tokio::test]
async fn everybody_sees_the_own_jobs_and_whoever_manages_all() {
    let world = world().await;
    let person = |role| Principal::user(world.by.organization, world.crm.new_id(), role, None);
    let (ann, bob, admin) = (person(Role::Agent), person(Role::Agent), person(Role::Admin));
    let job = world.enqueue(&ann, "fails").await;
    let request = ListRequest::default();
    for (by, sees) in [(&ann, 1), (&bob, 0), (&admin, 1)] {
        assert_eq!(world.crm.jobs().list(by, &request).await.expect("listed").data.len(), sees);
        assert_eq!(world.crm.jobs().get(by, job.id).await.is_ok(), sees == 1);
    }
    let elsewhere = Principal {
        organization: OrganizationId(world.crm.new_id_at::<JobId>(job.meta.created_at).0),
        ..admin.clone()
    };
    assert!(world.crm.jobs().list(&elsewhere, &request).await.expect("listed").data.is_empty());
    assert!(matches!(world.crm.jobs().get(&elsewhere, job.id).await, Err(Error::NotFound(_))));
    assert!(matches!(world.crm.jobs().cancel(&bob, job.id).await, Err(Error::NotFound(_))));
    assert!(matches!(world.crm.jobs().list(&person(Role::Customer), &request).await, Err(Error::Forbidden(_))));
    assert!(Jobs::listing().from_pairs(&[("kind".to_owned(), "fails".to_owned())]).is_ok());
}

#[tokio::test]
async fn a_job_runs_only_while_who_began_it_may_act() {
    let world = world().await;
    let gone = Principal::user(world.by.organization, world.crm.new_id(), Role::Agent, None);
    let job = world.enqueue(&gone, "fails").await;
    runner::run_due(&world.crm).await.expect("ran");
    let seen = world.job(job.id).await;
    assert_eq!((seen.state, seen.error.expect("a reason").code.as_str()), (JobState::Failed, "FORBIDDEN"));
    assert_eq!(world.crm.repo::<User>().count(world.by.scope(), &Filter::ALL).await.expect("counted"), 0);
}

#[tokio::test]
async fn urgent_jobs_go_first_and_old_ones_are_removed() {
    let mut world = world().await;
    let mut ids = Vec::new();
    for priority in [JobPriority::Low, JobPriority::High, JobPriority::Normal] {
        let new = NewJob {
            kind: "fails",
            version: 1,
            input: "x",
            priority,
            about: Some(("teams", world.by.organization.0)),
            progress: JobProgress::default(),
        };
        let mut operation = Operation::new(&world.crm, &world.by);
        ids.push(world.crm.jobs().enqueue(&world.by, &mut operation, new).expect("a job").id);
        operation.commit().await.expect("committed");
    }
    runner::run_due(&world.crm).await.expect("ran");
    let order = [world.began.recv().await, world.began.recv().await, world.began.recv().await];
    assert_eq!(order, [Some(ids[1]), Some(ids[2]), Some(ids[0])]);
    let kept = world.enqueue(&world.by, "fails").await;
    world.clock.advance(Duration::from_secs(60));
    world.crm.jobs().remove_ended(clock_now(&world.clock)).await.expect("removed");
    assert!(world.crm.jobs().get(&world.by, ids[0]).await.is_err());
    assert_eq!(world.job(kept.id).await.state, JobState::Queued);
}
