//! Records of customers that another service keeps, while it answers and while it does not.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use crm_core::{
    async_trait,
    port::{RecordService, RecordsAsked, ServiceFailure},
    related::RelatedKind,
};
use serde_json::{json, value::RawValue};

use crate::support::{Setup, StoreKind};

/// Three records of whomever, until it is away.
#[derive(Default)]
struct Shop {
    away: AtomicBool,
    asked: Mutex<Vec<Option<String>>>,
}

#[async_trait]
impl RecordService for Shop {
    async fn records_of(&self, asked: RecordsAsked<'_>) -> Result<Vec<Box<RawValue>>, ServiceFailure> {
        self.asked.lock().expect("a list").push(asked.request_id.map(str::to_owned));
        if self.away.load(Ordering::Relaxed) {
            return Err(ServiceFailure::TimedOut);
        }
        let records = (1..=3).map(|number| RawValue::from_string(format!(r#"{{"number":{number},"total":1.10}}"#)));
        Ok(records.collect::<Result<_, _>>().expect("JSON"))
    }
}

/// It never is the reader's fault that a service is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_away_is_no_error() {
    let service = Arc::new(Shop::default());
    let setup = Setup::on(StoreKind::Memory).await;
    let app = setup.record_service(RelatedKind::Complaints, Arc::clone(&service) as _).start().await;
    let shop = app.staffed("Shop").await;
    let kim = shop.agent.post("/customers", json!({"name": "Kim"})).await.created();
    let lee = shop.agent.post("/customers", json!({"name": "Lee"})).await.created();
    let path = format!("{kim}/complaints");
    let answer = shop.agent.get(format!("{path}?limit=2")).await;
    let found = answer.ok();
    assert_eq!(found["data"], json!([{"number": 1, "total": 1.1}, {"number": 2, "total": 1.1}]));
    assert_eq!((&found["degraded"], &found["page"]["has_more"]), (&json!(false), &json!(true)));
    assert!(answer.text().contains("1.10"), "every digit as it was said");
    assert_eq!(service.asked.lock().expect("a list")[0].as_deref(), Some(answer.header("x-request-id")));

    service.away.store(true, Ordering::Relaxed);
    let found = shop.agent.get(&path).await.ok();
    assert_eq!((found["data"].as_array().map(Vec::len), &found["degraded"]), (Some(2), &json!(true)), "{found}");
    assert!(found["as_of"].is_string() && found["warnings"][0].as_str().is_some_and(|text| text.contains("said last")));
    let found = shop.agent.get(format!("{lee}/complaints")).await.ok();
    assert_eq!((&found["data"], &found["as_of"], &found["degraded"]), (&json!([]), &json!(null), &json!(true)));

    service.away.store(false, Ordering::Relaxed);
    assert_eq!(shop.agent.get(&path).await.ok()["degraded"], json!(false));
    shop.agent.get(format!("{path}?limit=0&status=open")).await.invalid(&["limit", "status"]);
    let stranger = shop.organization.member("Agent", None).await;
    let before = service.asked.lock().expect("a list").len();
    stranger.get(&path).await.refused(404, "NOT_FOUND");
    shop.customer.get(&path).await.refused(403, "FORBIDDEN");
    assert_eq!(service.asked.lock().expect("a list").len(), before, "nobody is asked for whom one does not see");
}
