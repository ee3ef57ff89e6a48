//! A million customers on PostgreSQL, through HTTP at 64 connections: ours beside axum and sqlx with the bare statement
//! and a JWT check, in turns, over the same tables.
//!
//! `cargo bench --bench million` starts a private PostgreSQL server with everything durable, fills it, and prints one
//! line for each kind of work: requests a second of both, the ratio (median, least and greatest of the rounds), and
//! the times of ours. Import and export stand beside `COPY` of the same rows. `MILLION=100000` takes fewer customers, `ROUNDS` more or fewer rounds, `ONLY=search` one kind; `ONLY=inside`
//! is the store without HTTP, `ONLY=segment` its counts of segments, over a million orders beside.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on ends")]
#![expect(clippy::disallowed_methods, reason = "a bare server takes ids and the time from where it finds them")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench tells what it measured")]

mod floor;
mod inside;
mod load;
mod people;
mod stage;
mod transfer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use self::{
    load::{Load, Outcome, request},
    stage::Stage,
};

const CONNECTIONS: usize = 64;

/// One kind of work: what is asked of the floor and of ours for the same number.
struct Work {
    name: &'static str,
    connections: usize,
    status: (u16, u16),
    floor: Arc<dyn Fn(usize) -> Vec<u8> + Send + Sync>,
    ours: Arc<dyn Fn(usize) -> Vec<u8> + Send + Sync>,
}

fn number_of(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let stage = Arc::new(Stage::new(number_of("MILLION", 1_000_000)).await);
        let only = std::env::var("ONLY").ok();
        println!("{:<28} {:>10} {:>10}  ratio (least, greatest)   ours p50, p99", "", "floor/s", "ours/s");
        let rounds = number_of("ROUNDS", 5);
        if only.as_deref().is_none_or(|only| "inside".contains(only)) {
            inside::get(&stage, rounds).await;
            inside::count(&stage, rounds).await;
            inside::group(&stage, rounds).await;
        }
        if only.as_deref().is_none_or(|only| "segment".contains(only)) {
            inside::segments(&stage, rounds).await;
        }
        for work in works(&stage) {
            if only.as_deref().is_none_or(|only| work.name.contains(only)) {
                compare(&stage, &work).await;
            }
        }
        if only.as_deref().is_none_or(|only| "export".contains(only)) {
            transfer::export(&stage, rounds).await;
        }
        if only.as_deref().is_none_or(|only| "import".contains(only)) {
            transfer::import(&stage, number_of("MILLION", 1_000_000) / 5, rounds).await;
        }
    });
}

async fn compare(stage: &Stage, work: &Work) {
    let floor = Load { address: stage.floor.clone(), request: Arc::clone(&work.floor), status: work.status.0 };
    let ours = Load { address: stage.ours.clone(), request: Arc::clone(&work.ours), status: work.status.1 };
    let next = Arc::new(AtomicUsize::new(0));
    let warm = Duration::from_millis(1500);
    floor.run(work.connections, warm, &next).await;
    ours.run(work.connections, warm, &next).await;
    let time = Duration::from_secs(4);
    let mut rounds: Vec<(Outcome, Outcome)> = Vec::new();
    for round in 0..number_of("ROUNDS", 5) {
        // Both begin a round equally often, so that what one leaves behind does not always meet the other.
        let (first, second) = if round % 2 == 0 { (&floor, &ours) } else { (&ours, &floor) };
        let one = first.run(work.connections, time, &next).await;
        let other = second.run(work.connections, time, &next).await;
        rounds.push(if round % 2 == 0 { (one, other) } else { (other, one) });
    }
    let mut ratios: Vec<f64> = rounds.iter().map(|(floor, ours)| ours.per_second / floor.per_second).collect();
    ratios.sort_by(f64::total_cmp);
    let middle = |figure: fn(&(Outcome, Outcome)) -> f64| {
        let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let mut latencies: Vec<Duration> = rounds.iter().flat_map(|(_, ours)| ours.latencies.clone()).collect();
    latencies.sort();
    let all = Outcome { per_second: 0.0, latencies };
    println!(
        "{:<28} {:>10.0} {:>10.0}  {:.2} ({:.2}, {:.2})   {:.1?}, {:.1?}",
        work.name,
        middle(|(floor, _)| floor.per_second),
        middle(|(_, ours)| ours.per_second),
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1],
        all.percentile(50),
        all.percentile(99),
    );
}

fn works(stage: &Arc<Stage>) -> Vec<Work> {
    let mut works = Vec::new();
    let mut add = |name, connections, status, floor, ours| {
        works.push(Work { name, connections, status, floor, ours });
    };
    let of = |stage: &Arc<Stage>, make: fn(&Stage, usize) -> Vec<u8>| -> Arc<dyn Fn(usize) -> Vec<u8> + Send + Sync> {
        let stage = Arc::clone(stage);
        Arc::new(move |number| make(&stage, number))
    };
    add(
        "get",
        CONNECTIONS,
        (200, 200),
        of(stage, |stage, number| stage.get(&format!("/customers/{}", stage.id(number)))),
        of(stage, |stage, number| stage.get(&format!("/api/v1/customers/{}", stage.id(number)))),
    );
    add(
        "list of 20",
        CONNECTIONS,
        (200, 200),
        of(stage, |stage, number| {
            stage.get(&format!("/customers?status=active&before={}", stage.instant(number).as_milliseconds() / 1000))
        }),
        of(stage, |stage, number| {
            let before = stage.instant(number);
            let before = before.to_string().replace(':', "%3A");
            stage.get(&format!("/api/v1/customers?status=active&created_at[lt]={before}&sort=-created_at"))
        }),
    );
    add(
        "substring search",
        CONNECTIONS,
        (200, 200),
        of(stage, |stage, number| stage.get(&format!("/search?term={}", stage.term(number)))),
        of(stage, |stage, number| stage.get(&format!("/api/v1/customers?search={}", stage.term(number)))),
    );
    // Before customers are created whom the rule leaves out, and who would come first in its page.
    add(
        "count by a rule, one client",
        1,
        (200, 200),
        of(stage, |stage, _| stage.get("/count")),
        of(stage, |stage, _| stage.count_by_rule()),
    );
    let created = AtomicUsize::new(0);
    let create = |stage: &Arc<Stage>, target: &'static str| -> Arc<dyn Fn(usize) -> Vec<u8> + Send + Sync> {
        let stage = Arc::clone(stage);
        let created = AtomicUsize::new(created.fetch_add(100_000_000, Ordering::Relaxed));
        Arc::new(move |_| {
            let number = created.fetch_add(1, Ordering::Relaxed);
            request("POST", target, &stage.token, &stage.new_customer(number))
        })
    };
    let (three, plain) = (create(stage, "/customers"), create(stage, "/plain"));
    let (ours, again) = (create(stage, "/api/v1/customers"), create(stage, "/api/v1/customers"));
    add("create, of three rows", CONNECTIONS, (201, 201), three, ours);
    add("create, of a plain insert", CONNECTIONS, (201, 201), plain, again);
    works
}
