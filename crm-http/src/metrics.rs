//! What the process counts of itself, in Prometheus' text format.
//!
//! Counted here and not by a recorder for the whole process: the router can be mounted twice in one program, and a
//! histogram of fixed buckets takes constant memory whether anybody scrapes it or not.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::http::{Method, StatusCode};
use crm_core::{
    backlog::{Backlog, Counts},
    time::Timestamp,
};

/// Upper bounds of the buckets, in microseconds, and as Prometheus writes them, in seconds.
const BUCKETS: &[(u64, &str)] = &[
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
];
/// The clock ticks of `/proc` in a second: 100 on every Linux.
const TICKS: f64 = 100.0;
/// The size of a page of memory, in bytes.
const PAGE: u64 = 4096;

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    microseconds: AtomicU64,
}

impl Histogram {
    fn observe(&self, elapsed: Duration) {
        let microseconds = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|(bound, _)| *bound < microseconds);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Relaxed);
        }
        self.microseconds.fetch_add(microseconds, Relaxed);
    }
}

/// The requests of one route: few methods and statuses, so that they are searched one by one.
type Series = RwLock<Vec<(&'static str, u16, Arc<Histogram>)>>;

/// Counters of requests, by route template and never by address.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    in_flight: AtomicI64,
    routes: RwLock<HashMap<Box<str>, Arc<Series>>>,
}

/// Counts one request as in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a AtomicI64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A request begins.
    pub(crate) fn request_begins(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(&self.in_flight)
    }

    /// A request is answered.
    pub(crate) fn request_ends(&self, method: &Method, route: &str, status: StatusCode, elapsed: Duration) {
        let series = self.series(route);
        let (method, status) = (method_label(method), status.as_u16());
        let known = |series: &[(&'static str, u16, Arc<Histogram>)]| {
            series.iter().find(|(m, s, _)| *m == method && *s == status).map(|(.., histogram)| Arc::clone(histogram))
        };
        let found = known(&series.read().unwrap_or_else(PoisonError::into_inner));
        let histogram = found.unwrap_or_else(|| {
            let mut series = series.write().unwrap_or_else(PoisonError::into_inner);
            known(&series).unwrap_or_else(|| {
                let histogram = Arc::new(Histogram::default());
                series.push((method, status, Arc::clone(&histogram)));
                histogram
            })
        });
        histogram.observe(elapsed);
    }

    fn series(&self, route: &str) -> Arc<Series> {
        let found = self.routes.read().unwrap_or_else(PoisonError::into_inner).get(route).map(Arc::clone);
        found.unwrap_or_else(|| {
            let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(routes.entry(route.into()).or_default())
        })
    }

    /// Everything, as Prometheus reads it. Where the backlog is not known, nothing is said of it.
    pub(crate) fn render(&self, started: Timestamp, store_up: bool, backlog: Option<&Backlog>) -> String {
        let mut text = String::with_capacity(16 * 1024);
        text.push_str("# HELP crm_build_info The running version.\n# TYPE crm_build_info gauge\n");
        line(&mut text, &format!("crm_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), "1");
        gauge(&mut text, "crm_store_up", "Whether the store answered when last asked.", u8::from(store_up));
        let in_flight = self.in_flight.load(Relaxed);
        gauge(&mut text, "http_requests_in_flight", "Requests that are being answered.", in_flight);
        if let Some(backlog) = backlog {
            render_backlog(&mut text, backlog);
        }
        self.render_requests(&mut text);
        render_process(&mut text, started);
        text
    }

    fn render_requests(&self, text: &mut String) {
        const NAME: &str = "http_request_duration_seconds";
        text.push_str("# HELP http_request_duration_seconds From the request's head to the answer's.\n");
        text.push_str("# TYPE http_request_duration_seconds histogram\n");
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<_> = routes.iter().collect();
        sorted.sort_unstable_by_key(|(route, _)| *route);
        for (route, series) in sorted {
            for (method, status, histogram) in series.read().unwrap_or_else(PoisonError::into_inner).iter() {
                let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
                let mut count = 0;
                let bounds = BUCKETS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
                for (bucket, bound) in histogram.buckets.iter().zip(bounds) {
                    count += bucket.load(Relaxed);
                    line(text, &format!("{NAME}_bucket{{{labels},le=\"{bound}\"}}"), count);
                }
                let seconds = Duration::from_micros(histogram.microseconds.load(Relaxed)).as_secs_f64();
                line(text, &format!("{NAME}_sum{{{labels}}}"), seconds);
                line(text, &format!("{NAME}_count{{{labels}}}"), count);
            }
        }
    }
}

/// The methods there are; any other is one label, so that clients cannot add series.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn line(text: &mut String, series: &str, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{series} {value}");
}

fn gauge(text: &mut String, name: &str, help: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
}

/// What waits and what was given up, of all organizations together.
fn render_backlog(text: &mut String, backlog: &Backlog) {
    for (name, help, label, counts) in [
        ("crm_jobs_waiting", "Jobs that wait for their turn.", "kind", &backlog.waiting_jobs),
        ("crm_dead_letters", "Jobs that failed and wait to be replayed or dropped.", "kind", &backlog.dead_jobs),
        ("crm_events_set_aside", "Events that nobody takes.", "type", &backlog.events_set_aside),
    ] {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        render_counts(text, name, label, counts);
    }
}

fn render_counts(text: &mut String, name: &str, label: &str, counts: &Counts) {
    // A gauge that is not there cannot be alerted on.
    if counts.is_empty() {
        return line(text, name, 0);
    }
    for (kind, count) in counts {
        let kind = kind.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        line(text, &format!("{name}{{{label}=\"{kind}\"}}"), count);
    }
}

/// What the operating system knows of the process, where it tells.
fn render_process(text: &mut String, started: Timestamp) {
    let seconds = started.as_milliseconds() / 1000;
    gauge(text, "process_start_time_seconds", "When the process started, in seconds since 1970.", seconds);
    if let Some(pages) = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split_whitespace().nth(1)?.parse::<u64>().ok())
    {
        gauge(text, "process_resident_memory_bytes", "Memory in use.", pages * PAGE);
    }
    if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
        // The second field is the program's name in brackets, which may hold spaces.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |index: usize| fields.get(index).and_then(|field| field.parse::<u32>().ok());
        if let (Some(user), Some(system)) = (field(11), field(12)) {
            let seconds = (f64::from(user) + f64::from(system)) / TICKS;
            let _ = writeln!(
                text,
                "# HELP process_cpu_seconds_total Processor time used.\n# TYPE process_cpu_seconds_total counter\n\
                 process_cpu_seconds_total {seconds}"
            );
        }
        if let Some(threads) = field(17) {
            gauge(text, "process_threads", "Threads.", threads);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        gauge(text, "process_open_fds", "Open files and connections.", open.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route() {
        let metrics = Metrics::new();
        for microseconds in [250, 251, 20_000_000] {
            let elapsed = Duration::from_micros(microseconds);
            metrics.request_ends(&Method::GET, "/customers/{id}", StatusCode::OK, elapsed);
        }
        let _in_flight = metrics.request_begins();
        let dead_jobs = Counts::from([("customer_import".to_owned(), 2), ("a \"b\\\n".to_owned(), 1)]);
        let backlog = Backlog { dead_jobs, ..Backlog::default() };
        let text = metrics.render(Timestamp::MIN, true, Some(&backlog));
        let labels = "method=\"GET\",route=\"/customers/{id}\",status=\"200\"";
        for expected in [
            format!("http_request_duration_seconds_bucket{{{labels},le=\"0.00025\"}} 1"),
            format!("http_request_duration_seconds_bucket{{{labels},le=\"0.0005\"}} 2"),
            format!("http_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 3"),
            format!("http_request_duration_seconds_count{{{labels}}} 3"),
            "http_requests_in_flight 1".to_owned(),
            "crm_store_up 1".to_owned(),
            "crm_jobs_waiting 0".to_owned(),
            "crm_dead_letters{kind=\"customer_import\"} 2".to_owned(),
            r#"crm_dead_letters{kind="a \"b\\\n"} 1"#.to_owned(),
            "crm_events_set_aside 0".to_owned(),
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected} in\n{text}");
        }
        assert!(!metrics.render(Timestamp::MIN, false, None).contains("crm_dead_letters"), "what is not known");
    }
}
