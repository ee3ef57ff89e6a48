//! Handlers that hang, jobs that come too late, clocks that jump, and urgent jobs that keep coming.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_run_that_hangs_is_ended_and_tried_again() {
    let mut world = world().await;
    let job = world.enqueue(&world.by, "hangs").await;
    let run = tokio::spawn(runner::run(world.crm.clone(), std::future::pending()));
    for attempt in 1..=3 {
        assert_eq!(world.began.recv().await, Some(job.id), "attempt {attempt}");
        // The clock of the test stands still while that of the machine runs: the run beats and is not taken over.
        while world.job(job.id).await.state == JobState::Running {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(world.job(job.id).await.error.expect("a reason").code, "TIMED_OUT");
        world.clock.advance(Duration::from_secs(60));
    }
    let seen = world.job(job.id).await;
    assert_eq!((seen.state, seen.attempts), (JobState::Failed, 3));
    run.abort();
}

#[tokio::test]
async fn a_job_that_comes_too_late_is_not_begun() {
    let world = world().await;
    let job = world.enqueue(&world.by, "is late").await;
    world.clock.advance(Duration::from_secs(60));
    runner::run_due(&world.crm).await.expect("ran");
    let seen = world.job(job.id).await;
    assert_eq!((seen.state, seen.error.expect("a reason").code.as_str()), (JobState::Failed, "DEADLINE_EXCEEDED"));
    assert_eq!(world.teams().await, 0);
    let again = world.crm.jobs().dead_letters().replay(&world.by, job.id).await.expect("replayed");
    assert_eq!(again.deadline_at, Some(clock_now(&world.clock).plus(Duration::from_secs(60))), "its time begins anew");
}

#[tokio::test]
async fn a_clock_that_is_set_back_delays_a_job_by_seconds() {
    let world = world().await;
    let job = world.enqueue(&world.by, "fails").await;
    let day = Duration::from_hours(24);
    world.clock.set(clock_now(&world.clock).minus(day));
    runner::run_due(&world.crm).await.expect("ran");
    assert_eq!(world.job(job.id).await.state, JobState::Queued, "its time is a day away");
    runner::mend_times(&world.crm).await.expect("mended");
    world.clock.advance(HOLD);
    runner::run_due(&world.crm).await.expect("ran");
    assert_eq!(world.job(job.id).await.state, JobState::Succeeded);
    let waiting = world.enqueue(&world.by, "fails").await;
    runner::mend_times(&world.crm).await.expect("nothing to mend");
    assert_eq!(world.job(waiting.id).await.due_at, waiting.due_at);
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_doubles_nothing() {
    let mut world = world().await;
    let job = world.enqueue(&world.by, "waits").await;
    let first = tokio::spawn(runner::run(world.crm.clone(), std::future::pending()));
    assert_eq!(world.began.recv().await, Some(job.id));
    world.clock.advance(Duration::from_hours(24));
    let second = tokio::spawn(runner::run(world.crm.clone(), std::future::pending()));
    assert_eq!(world.began.recv().await, Some(job.id), "the first is taken for dead");
    while !world.job(job.id).await.state.has_ended() {
        world.goes_on.notify_waiters();
        tokio::task::yield_now().await;
    }
    assert_eq!((world.job(job.id).await.state, world.teams().await), (JobState::Succeeded, 1));
    first.abort();
    second.abort();
}

#[tokio::test]
async fn urgent_jobs_that_keep_coming_do_not_keep_others_from_their_turn() {
    let mut world = world().await;
    let begin = async |priority| {
        let new =
            NewJob { kind: "fails", version: 1, input: "x", priority, about: None, progress: JobProgress::default() };
        let mut operation = Operation::new(&world.crm, &world.by);
        let job = world.crm.jobs().enqueue(&world.by, &mut operation, new).expect("a job");
        operation.commit().await.expect("committed");
        job.id
    };
    let (low, normal) = (begin(JobPriority::Low).await, begin(JobPriority::Normal).await);
    for _ in 0..40 {
        begin(JobPriority::High).await;
    }
    runner::run_due(&world.crm).await.expect("ran");
    let mut order = Vec::new();
    while let Ok(id) = world.began.try_recv() {
        order.push(id);
    }
    let place = |id| order.iter().position(|begun| *begun == id).expect("begun");
    assert_eq!((place(normal), place(low)), (3, 15));
}
