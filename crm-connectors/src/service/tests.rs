//! A service that is slow, broken, away, verbose or in two minds.

use crm_core::{
    id::{CustomerId, OrganizationId},
    port::OperatingSystemRandom,
};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method, path, query_param},
};

use super::*;

fn asked() -> RecordsAsked<'static> {
    RecordsAsked {
        organization: OrganizationId("0198c1de-5f00-7000-8000-0000000000aa".parse().unwrap()),
        customer: CustomerId("0198c1de-5f00-7000-8000-000000000001".parse().unwrap()),
        limit: 20,
        request_id: Some("a-request"),
    }
}

fn service(url: String, change: impl FnOnce(&mut ServiceOptions)) -> HttpRecordService {
    let mut options = ServiceOptions::new(url, "orders").key(Some(Secret::new("a-key".to_owned())));
    // A loaded machine takes its time; a test of slowness sets its own.
    options.timeout = Duration::from_secs(20);
    change(&mut options);
    HttpRecordService::new(options, Arc::new(OperatingSystemRandom)).unwrap()
}

fn texts(records: Vec<Box<RawValue>>) -> Vec<String> {
    records.into_iter().map(|record| record.get().to_owned()).collect()
}

#[tokio::test]
async fn it_is_asked_with_its_key_and_the_request() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/customers/0198c1de-5f00-7000-8000-000000000001/orders"))
        .and(query_param("limit", "20"))
        .and(header("x-api-key", "a-key"))
        .and(header("x-request-id", "a-request"))
        .and(header("x-organization-id", "0198c1de-5f00-7000-8000-0000000000aa"))
        .respond_with(ResponseTemplate::new(200).set_body_string(r#"{"orders":[{"total":1.10},2],"count":2}"#))
        .mount(&server)
        .await;
    let found = service(server.uri(), |_| {}).records_of(asked()).await.unwrap();
    assert_eq!(texts(found), [r#"{"total":1.10}"#, "2"], "every digit as it was sent");
    let address = format!("{}/by/{{customer_id}}?all=1", server.uri());
    Mock::given(path("/by/0198c1de-5f00-7000-8000-000000000001"))
        .and(query_param("all", "1"))
        .respond_with(ResponseTemplate::new(404))
        .mount(&server)
        .await;
    assert_eq!(texts(service(address, |_| {}).records_of(asked()).await.unwrap()).len(), 0, "it knows nobody");
}

#[tokio::test]
async fn a_passing_fault_is_tried_again() {
    let server = MockServer::start().await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(503)).up_to_n_times(2).mount(&server).await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(200).set_body_string("[1]")).mount(&server).await;
    assert_eq!(texts(service(server.uri(), |_| {}).records_of(asked()).await.unwrap()), ["1"]);
    assert_eq!(server.received_requests().await.unwrap().len(), 3);
}

#[tokio::test]
async fn what_does_not_pass_is_asked_once() {
    for (answer, failure) in [
        (ResponseTemplate::new(401), ServiceFailure::Status(401)),
        (ResponseTemplate::new(200).set_body_string("<html>"), ServiceFailure::Unintelligible),
        (ResponseTemplate::new(200).set_body_string(r#"{"message":"hello"}"#), ServiceFailure::Unintelligible),
        (ResponseTemplate::new(200).set_body_bytes(vec![b' '; 2 * 1024 * 1024]), ServiceFailure::Unintelligible),
    ] {
        let server = MockServer::start().await;
        Mock::given(method("GET")).respond_with(answer).mount(&server).await;
        assert_eq!(service(server.uri(), |_| {}).records_of(asked()).await.unwrap_err(), failure);
        assert_eq!(server.received_requests().await.unwrap().len(), 1, "{failure}");
    }
}

#[tokio::test]
async fn one_that_is_slow_or_away_is_not_waited_for() {
    let server = MockServer::start().await;
    let slow = ResponseTemplate::new(200).set_body_string("[]").set_delay(Duration::from_secs(60));
    Mock::given(method("GET")).respond_with(slow).mount(&server).await;
    let hasty = |options: &mut ServiceOptions| options.timeout = Duration::from_millis(50);
    assert_eq!(service(server.uri(), hasty).records_of(asked()).await.unwrap_err(), ServiceFailure::TimedOut);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = service(format!("http://{free}"), |_| {});
    assert_eq!(away.records_of(asked()).await.unwrap_err(), ServiceFailure::Unreachable);
}

#[tokio::test]
async fn one_that_keeps_failing_is_left_alone() {
    let server = MockServer::start().await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(500)).mount(&server).await;
    let service = service(server.uri(), |options| options.retries = 0);
    for _ in 0..5 {
        assert_eq!(service.records_of(asked()).await.unwrap_err(), ServiceFailure::Status(500));
    }
    assert_eq!(service.records_of(asked()).await.unwrap_err(), ServiceFailure::LeftAlone);
    assert_eq!(server.received_requests().await.unwrap().len(), 5);
    // It is well again, and the pause is over: one probe, and everybody is let through.
    server.reset().await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(200).set_body_string("[]")).mount(&server).await;
    service.breaker(|breaker| {
        assert!(breaker.admits(Instant::now() + Duration::from_secs(6)), "a probe");
        breaker.gave_up();
    });
    for _ in 0..3 {
        assert!(service.records_of(asked()).await.is_ok());
    }
}

#[tokio::test]
async fn only_so_many_ask_at_once() {
    let server = MockServer::start().await;
    let slow = ResponseTemplate::new(200).set_body_string("[]").set_delay(Duration::from_secs(2));
    Mock::given(method("GET")).respond_with(slow).mount(&server).await;
    let service = service(server.uri(), |options| options.at_once = 1);
    let (one, other) = tokio::join!(service.records_of(asked()), service.records_of(asked()));
    assert!(one.is_ok());
    assert_eq!(other.unwrap_err(), ServiceFailure::Busy);
}
