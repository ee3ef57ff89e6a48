//! Requests reach what they may, and what they may not is not even asked.

#![expect(clippy::expect_used, reason = "a test ends where something is not as it should be")]

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    routing::{get, post},
};
use bytes::Bytes;
use crm_connectors::{GuardedHttp, OutboundRules, Resolve};
use crm_core::{
    async_trait,
    port::{Outbound as _, OutboundFailure, OutboundRequest, RetryAfter},
    secret::Secret,
};

/// A name whose addresses change from one question to the next; the last ones stay.
#[derive(Debug)]
struct Script {
    answers: Vec<Vec<IpAddr>>,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Resolve for Script {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let place = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        Ok(self.answers[place].clone())
    }
}

fn script(answers: &[&[&str]]) -> (Script, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let parsed = |addresses: &&[&str]| addresses.iter().map(|address| address.parse().expect("an address")).collect();
    (Script { answers: answers.iter().map(parsed).collect(), asked: Arc::clone(&asked) }, asked)
}

fn rules(allowed: &[&str]) -> OutboundRules {
    let allowed = allowed.iter().map(|block| block.parse().expect("a block")).collect();
    OutboundRules { allowed, plain_http: true, ..OutboundRules::default() }
}

/// A receiver, and how often it was asked.
async fn receiver() -> (u16, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let count = move || {
        count.fetch_add(1, Ordering::SeqCst);
    };
    let (echo, moved, inside) = (count.clone(), count.clone(), count);
    let app = Router::new()
        .route(
            "/echo",
            post(move |headers: HeaderMap, body: String| async move {
                echo();
                let text =
                    |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
                format!("{} {} {} {} {body}", text("host"), text("x-own"), text("cookie"), text("referer"))
            }),
        )
        .route(
            "/moved",
            post(move || async move {
                moved();
                (StatusCode::FOUND, [(header::LOCATION, "/inside"), (header::SET_COOKIE, "a=b")])
            }),
        )
        .route("/inside", get(move || async move { inside() }))
        .route("/large", post(|| async { "x".repeat(10 * 1024 * 1024) }))
        .route("/busy", post(|| async { (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "7")]) }))
        .route("/hangs", post(std::future::pending::<StatusCode>));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (port, asked)
}

fn request(url: String) -> OutboundRequest {
    let headers = vec![("x-own".to_owned(), Secret::new("own".to_owned()))];
    OutboundRequest { url, headers, body: Bytes::from_static(b"body") }
}

#[tokio::test]
async fn a_named_receiver_is_reached_by_its_name() {
    let (port, _) = receiver().await;
    let (resolver, _) = script(&[&["127.0.0.1"]]);
    let http = GuardedHttp::with_resolver(rules(&["127.0.0.0/8"]), resolver).expect("TLS");
    let answer = http.post(request(format!("http://hooks.example:{port}/echo"))).await.expect("an answer");
    assert_eq!(String::from_utf8_lossy(&answer.body), format!("hooks.example:{port} own - - body"));
    let answer = http.post(request(format!("http://127.0.0.1:{port}/busy"))).await.expect("an answer");
    assert_eq!((answer.status, answer.retry_after), (429, Some(RetryAfter::In(Duration::from_secs(7)))));
}

#[tokio::test]
async fn nothing_is_followed_nor_kept() {
    let (port, asked) = receiver().await;
    let http = GuardedHttp::new(rules(&["127.0.0.0/8"])).expect("TLS");
    for _ in 0..2 {
        let answer = http.post(request(format!("http://127.0.0.1:{port}/moved"))).await.expect("an answer");
        assert_eq!(answer.status, 302);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2, "nobody went on to /inside");
    let answer = http.post(request(format!("http://127.0.0.1:{port}/echo"))).await.expect("an answer");
    assert!(String::from_utf8_lossy(&answer.body).contains(" own - - body"), "no cookie came back");
    let answer = http.post(request(format!("http://127.0.0.1:{port}/large"))).await.expect("an answer");
    assert_eq!((answer.status, answer.body.len()), (200, 1024));
}

#[tokio::test]
async fn what_lies_inside_is_not_asked() {
    let (port, asked) = receiver().await;
    let http = GuardedHttp::new(rules(&[])).expect("TLS");
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.0.0.1",
        "0177.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "10.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "[fd00::1]",
        "[64:ff9b::7f00:1]",
    ] {
        let url = format!("http://{host}:{port}/echo");
        assert!(matches!(http.check(&url).await, Err(OutboundFailure::Refused(_))), "{url}");
        assert!(matches!(http.post(request(url.clone())).await, Err(OutboundFailure::Refused(_))), "{url}");
    }
    let (resolver, _) = script(&[&["8.8.8.8", "10.0.0.1"]]);
    let http = GuardedHttp::with_resolver(rules(&[]), resolver).expect("TLS");
    let answer = http.post(request("https://half.example/".to_owned())).await;
    assert!(matches!(answer, Err(OutboundFailure::Refused(_))), "one address of several is enough: {answer:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_gains_nothing() {
    let (port, asked) = receiver().await;
    let (resolver, questions) = script(&[&["8.8.8.8"], &["127.0.0.1"]]);
    let http = GuardedHttp::with_resolver(rules(&[]), resolver).expect("TLS");
    http.check("https://rebind.example/").await.expect("public when it was checked");
    let answer = http.post(request("http://rebind.example:8080/echo".to_owned())).await;
    assert!(matches!(answer, Err(OutboundFailure::Refused(_))), "{answer:?}");
    assert_eq!(questions.load(Ordering::SeqCst), 2, "each connection asks once, and goes where it was told");
    let answer = http.post(request(format!("http://rebind.example:{port}/echo"))).await;
    assert!(matches!(answer, Err(OutboundFailure::Refused(_))), "{answer:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn unusual_ports_are_for_named_networks() {
    let (resolver, _) = script(&[&["8.8.8.8"]]);
    let http = GuardedHttp::with_resolver(rules(&["127.0.0.0/8"]), resolver).expect("TLS");
    for url in ["https://public.example:22/", "https://8.8.8.8:6379/", "http://public.example:25/"] {
        let refused = http.check(url).await;
        assert_eq!(refused, Err(OutboundFailure::Refused("must have the port 443 or 8443".to_owned())), "{url}");
    }
    for url in ["https://public.example/", "https://public.example:8443/", "https://127.0.0.1:6379/"] {
        assert_eq!(http.check(url).await, Ok(()), "{url}");
    }
}

#[tokio::test]
async fn nobody_there_is_said_without_addresses() {
    // Bound, so that nobody else gets the port, and not listening.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let port = socket.local_addr().expect("an address").port();
    let http = GuardedHttp::new(rules(&["127.0.0.0/8"])).expect("TLS");
    let answer = http.post(request(format!("http://127.0.0.1:{port}/"))).await;
    assert_eq!(answer, Err(OutboundFailure::Unreachable("No connection can be made there.".to_owned())));
}

#[tokio::test]
async fn a_receiver_that_hangs_is_left() {
    let (port, _) = receiver().await;
    let impatient = OutboundRules { timeout: Duration::from_millis(200), ..rules(&["127.0.0.0/8"]) };
    let http = GuardedHttp::new(impatient).expect("TLS");
    let answer = http.post(request(format!("http://127.0.0.1:{port}/hangs"))).await;
    assert_eq!(answer, Err(OutboundFailure::TimedOut));
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_left() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let accepted = tokio::spawn(async move { listener.accept().await });
    let impatient = OutboundRules { timeout: Duration::from_millis(200), ..rules(&["127.0.0.0/8"]) };
    let http = GuardedHttp::new(impatient).expect("TLS");
    let answer = http.post(request(format!("https://127.0.0.1:{port}/"))).await;
    assert_eq!(answer, Err(OutboundFailure::TimedOut));
    assert!(accepted.await.is_ok());
}
