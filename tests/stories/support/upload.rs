use std::time::{Duration, Instant};

use serde_json::Value;

use super::{
    answer::Entity,
    client::{Client, Request},
};

const BOUNDARY: &str = "a-boundary-of-stories";
/// No import of a story takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A form with fields and a file, in the order in which they are added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form(Vec<u8>);

impl Form {
    /// With one more field.
    pub(crate) fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        self.0.extend_from_slice(head.as_bytes());
        self.0.extend_from_slice(value.as_ref());
        self.0.extend_from_slice(b"\r\n");
        self
    }

    /// With the file.
    pub(crate) fn file(mut self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: text/csv\r\n\r\n"
        );
        self.0.extend_from_slice(head.as_bytes());
        self.0.extend_from_slice(bytes.as_ref());
        self.0.extend_from_slice(b"\r\n");
        self
    }

    fn whole(mut self) -> Vec<u8> {
        self.0.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        self.0
    }
}

impl Client {
    /// Sends a form.
    pub(crate) fn post_form(&self, path: &str, form: Form) -> Request {
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        self.request(reqwest::Method::POST, path).raw(&content_type, form.whole())
    }

    /// Begins an import; the answer is 202 with where it is.
    pub(crate) async fn begin_import(&self, form: Form) -> Entity {
        let answer = self.post_form("/customers/import", form).await;
        answer.expect_status(202);
        let path = answer.header("location").to_owned();
        Entity { path, etag: String::new(), body: answer.json() }
    }

    /// Imports a file, and answers the import as it is in the end.
    pub(crate) async fn import(&self, form: Form) -> Entity {
        let begun = self.begin_import(form).await;
        self.ended(&begun).await
    }

    /// Waits until an import has ended.
    pub(crate) async fn ended(&self, import: &Entity) -> Entity {
        self.until(import, |body| {
            matches!(body["state"].as_str(), Some("succeeded" | "failed" | "cancelled" | "reverted"))
        })
        .await
    }

    /// Waits until a record is as it should become.
    pub(crate) async fn until(&self, record: &Entity, holds: impl Fn(&Value) -> bool) -> Entity {
        let begun = Instant::now();
        loop {
            let answer = self.get(record).await;
            let found = answer.found(record);
            if holds(&found.body) {
                return found;
            }
            answer.expect(begun.elapsed() < PATIENCE, "a change before the patience ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
