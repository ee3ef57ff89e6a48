//! What failed is kept, replayed or dropped.

use super::*;
use crate::job::{Dropped, Replayed};

/// A world with a job that failed for good.
async fn failed() -> (World, Job) {
    let world = world().await;
    world.failures_left.store(3, Ordering::SeqCst);
    let job = world.enqueue(&world.by, "fails").await;
    for _ in 0..3 {
        runner::run_due(&world.crm).await.expect("ran");
        world.clock.advance(Duration::from_secs(60));
    }
    let job = world.job(job.id).await;
    assert_eq!((job.state, job.dead_at), (JobState::Failed, job.finished_at));
    (world, job)
}

#[tokio::test]
async fn a_failed_job_is_replayed_with_all_its_attempts() {
    let (world, job) = failed().await;
    let letters = world.crm.jobs().dead_letters();
    let listed = letters.list(&world.by, &ListRequest::default()).await.expect("listed").data;
    assert_eq!(listed.iter().map(|job| job.id).collect::<Vec<_>>(), [job.id]);
    let again = letters.replay(&world.by, job.id).await.expect("replayed");
    assert_eq!((again.state, again.attempts, again.error, again.dead_at), (JobState::Queued, 0, None, None));
    runner::run_due(&world.crm).await.expect("ran");
    let done = world.job(job.id).await;
    assert_eq!((done.state, done.dead_at), (JobState::Succeeded, None));
    assert_eq!(done.result.expect("a result").to_value(), json!({"name": "an input"}));
    let refused = letters.replay(&world.by, job.id).await;
    assert!(matches!(refused, Err(Error::InvalidState(_))), "{refused:?}");
    assert!(letters.list(&world.by, &ListRequest::default()).await.expect("listed").data.is_empty());
}

#[tokio::test]
async fn a_dropped_job_stays_failed_and_keeps_nothing_of_its_input() {
    let (world, job) = failed().await;
    let letters = world.crm.jobs().dead_letters();
    let dropped = letters.drop(&world.by, job.id).await.expect("dropped");
    assert_eq!((dropped.state, dropped.dead_at), (JobState::Failed, None));
    assert_eq!(world.job(job.id).await.input.to_value(), json!(null));
    assert!(matches!(letters.drop(&world.by, job.id).await, Err(Error::InvalidState(_))));
    assert!(matches!(letters.replay(&world.by, job.id).await, Err(Error::InvalidState(_))));
}

#[tokio::test]
async fn all_of_a_kind_are_replayed_or_dropped() {
    let (world, _) = failed().await;
    world.failures_left.store(1000, Ordering::SeqCst);
    for kind in ["fails", "panics", "panics"] {
        world.enqueue(&world.by, kind).await;
    }
    for _ in 0..3 {
        runner::run_due(&world.crm).await.expect("ran");
        world.clock.advance(Duration::from_secs(60));
    }
    let letters = world.crm.jobs().dead_letters();
    let replayed = letters.replay_all(&world.by, Some("fails")).await.expect("replayed");
    assert_eq!(replayed, Replayed { replayed: 2, refused: 0, has_more: false });
    let none = letters.drop_all(&world.by, Some("of no such kind")).await.expect("dropped");
    assert_eq!(none, Dropped::default());
    assert_eq!(letters.drop_all(&world.by, None).await.expect("dropped"), Dropped { dropped: 2, has_more: false });
    world.failures_left.store(0, Ordering::SeqCst);
    runner::run_due(&world.crm).await.expect("ran");
    let succeeded = Job::state.equals(JobState::Succeeded);
    assert_eq!(world.crm.repo::<Job>().count(Scope::Installation, &succeeded).await.expect("counted"), 2);
}

#[tokio::test]
async fn dead_letters_are_for_those_who_manage_jobs_in_their_organization() {
    let (world, job) = failed().await;
    let letters = world.crm.jobs().dead_letters();
    let agent = Principal::user(world.by.organization, world.crm.new_id(), Role::Agent, None);
    assert!(matches!(letters.list(&agent, &ListRequest::default()).await, Err(Error::Forbidden(_))));
    assert!(matches!(letters.replay(&agent, job.id).await, Err(Error::Forbidden(_))));
    assert!(matches!(letters.drop_all(&agent, None).await, Err(Error::Forbidden(_))));
    let elsewhere = Principal::system(OrganizationId(world.crm.new_id::<JobId>().0));
    assert!(letters.list(&elsewhere, &ListRequest::default()).await.expect("listed").data.is_empty());
    assert!(matches!(letters.replay(&elsewhere, job.id).await, Err(Error::NotFound(_))));
    assert_eq!(letters.drop_all(&elsewhere, None).await.expect("none"), Dropped::default());
    assert!(world.job(job.id).await.dead_at.is_some());
}
