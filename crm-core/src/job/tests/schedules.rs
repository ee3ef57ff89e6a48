//! Scheduled jobs are begun once for each time, whoever looks.

use super::*;
use crate::job::fire_due;

impl World {
    async fn begun(&self) -> u64 {
        let scheduled = Job::kind.equals("fails".to_owned());
        self.crm.repo::<Job>().count(Scope::Installation, &scheduled).await.expect("counted")
    }
}

#[tokio::test]
async fn a_schedule_fires_once_for_all_processes_and_catches_up_once() {
    let world = world().await;
    // 2026-01-01T00:00:00Z: the schedule is for half past four.
    let wait = fire_due(&world.crm).await.expect("looked");
    assert!(wait <= Duration::from_secs(60) && world.begun().await == 0, "not before its time");
    world.clock.advance(Duration::from_secs(4 * 3600 + 30 * 60));
    let others = world.crm.clone();
    let (one, two, three) = tokio::join!(fire_due(&world.crm), fire_due(&others), fire_due(&others));
    one.and(two).and(three).expect("looked");
    assert_eq!(world.begun().await, 1);
    fire_due(&world.crm).await.expect("looked");
    assert_eq!(world.begun().await, 1);
    // Nobody looks for three days.
    world.clock.advance(Duration::from_hours(72));
    fire_due(&world.crm).await.expect("looked");
    fire_due(&world.crm).await.expect("looked");
    assert_eq!(world.begun().await, 2, "what was missed is made up for once");
    runner::run_due(&world.crm).await.expect("ran");
    let done = Job::kind.equals("fails".to_owned()).and(Job::state.equals(JobState::Succeeded));
    assert_eq!(world.crm.repo::<Job>().count(Scope::Installation, &done).await.expect("counted"), 2);
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_silence_a_schedule() {
    let world = world().await;
    world.clock.advance(Duration::from_hours(24 * 365));
    fire_due(&world.crm).await.expect("looked");
    world.clock.set(clock_now(&world.clock).minus(Duration::from_hours(24 * 365)));
    fire_due(&world.crm).await.expect("looked");
    assert_eq!(world.begun().await, 0);
    world.clock.advance(Duration::from_hours(5));
    fire_due(&world.crm).await.expect("looked");
    assert_eq!(world.begun().await, 1);
}

#[test]
fn times_that_mean_nothing_are_refused() {
    for times in ["", "* * *", "61 * * * *", "every day", "* * * * * Mars"] {
        assert!(Schedule::new("x", times, "fails", &()).is_err(), "{times:?}");
    }
}
