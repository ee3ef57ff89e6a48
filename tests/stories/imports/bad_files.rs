//! Files that cannot be read are refused with a sentence, and leave nothing behind.

use serde_json::{Value, json};

use crate::support::{App, Form, on_every_store};

/// The code of the error of a field.
fn code<'a>(body: &'a Value, field: &str) -> &'a str {
    let errors = body["errors"].as_array().expect("errors");
    errors.iter().find(|error| error["field"] == field).and_then(|error| error["code"].as_str()).unwrap_or_default()
}

on_every_store! {
    /// Whatever is wrong with a file, the answer says what, and where.
    async fn what_is_no_file_of_customers(app: App) {
        let shop = app.organization("Shop").await;
        let wide = format!("name{}\nA{}\n", ",c".repeat(9_999), ",1".repeat(9_999));
        let long = format!("name,email\n\"{}\",a@example.com\n", "x".repeat(1_500_000));
        for (file, wanted) in [
            (Vec::new(), "EMPTY_FILE"),
            (b"\n\n \n".to_vec(), "EMPTY_FILE"),
            (b"name,email\n".to_vec(), "EMPTY_FILE"),
            (b"PK\x03\x04\x14\x00\x06\x00".repeat(20), "NOT_TEXT"),
            (b"name,email\nAnn,a\x00@example.com\nBob,bob@example.com\n".to_vec(), "INVALID_TEXT"),
            (b"name,email\nAnn,\"ann@example.com\nBob,b\n".to_vec(), "UNCLOSED_QUOTE"),
            (b"[{\"name\":\"Ann\"}]".to_vec(), "INVALID_FORMAT"),
            (wide.into_bytes(), "TOO_MANY"),
            (long.into_bytes(), "TOO_LONG"),
        ] {
            let body = shop.admin.post_form("/customers/import", Form::default().file("x.csv", &file)).await.invalid(&["file"]);
            assert_eq!(code(&body, "file"), wanted, "{body}");
        }
        let invalid = Form::default().field("encoding", "utf-8").file("x.csv", b"name\nJos\xe9\n");
        let body = shop.admin.post_form("/customers/import", invalid).await.invalid(&["file"]);
        assert!(body["errors"][0]["message"].as_str().is_some_and(|message| message.contains("ine 2")), "{body}");
        shop.admin.get("/customers/import").await.lists([]);
    }

    /// What is said of the file is checked, all of it at once.
    async fn what_does_not_fit(app: App) {
        let shop = app.organization("Shop").await;
        let import = |form: Form| shop.admin.post_form("/customers/import", form);
        let body = import(Form::default().file("x.csv", "a,b\n1,2\n")).await.invalid(&["mapping"]);
        assert!(body["errors"][0]["message"].as_str().is_some_and(|message| message.ends_with("the file has: a, b")), "{body}");
        let wrong = Form::default().file("x.csv", "a,b\n1,2\n").field("mapping", r#"{"c":"name","a":"nmae","b":"name"}"#);
        import(wrong).await.invalid(&["mapping.a", "mapping.c"]);
        let wrong = Form::default().field("mapping", "{").field("mode", "merge").field("dryrun", "1").file("x.csv", "name\nA\n");
        import(wrong).await.invalid(&["mapping", "mode", "dryrun"]);
        import(Form::default().file("x.csv", "name\nA\n").field("delimiter", ";")).await.invalid(&["delimiter"]);
        import(Form::default().field("mode", "upsert")).await.invalid(&["file"]);
        import(Form::default().file("x.csv", "name\nA\n").file("y.csv", "name\nB\n")).await.invalid(&["file"]);
        import(Form::default().file("x.csv", "name\nA\n").field("mode", "upsert")).await.invalid(&["mapping"]);
        shop.admin.post_form("/customers/import?limit=5", Form::default()).await.invalid(&["limit"]);
        shop.admin.post("/customers/import", json!({})).await.refused(415, "UNSUPPORTED_MEDIA_TYPE");
        let cut = b"--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nname\nA".to_vec();
        shop.admin.request(reqwest::Method::POST, "/customers/import").raw("multipart/form-data; boundary=x", cut).await
            .invalid(&["body"]);
        shop.admin.get("/customers/import").await.lists([]);
        shop.admin.get("/customers/import/0198c1de-5f00-7000-8000-000000000001").await.refused(404, "NOT_FOUND");
        assert_eq!(shop.admin.get("/customers?count=true").await.ok()["page"]["total"], 0);
    }

    /// A file beyond the limit is refused, and the client gets to read why.
    async fn a_file_that_is_too_large(setup: Setup) {
        let app = App::start(setup.options(|options| options.upload_limit = 100_000)).await;
        let shop = app.organization("Shop").await;
        let file = format!("name\n{}", "Ann\n".repeat(500_000));
        shop.admin.post_form("/customers/import", Form::default().file("x.csv", &file)).await.refused(413, "PAYLOAD_TOO_LARGE");
        shop.admin.get("/customers/import").await.lists([]);
        // What stands beside the file is counted with it.
        let wordy = (0..3).fold(Form::default(), |form, _| form.field("defaults", " ".repeat(40_000)));
        let answer = shop.admin.post_form("/customers/import", wordy.file("x.csv", "name\nAnn\n")).await;
        answer.refused(413, "PAYLOAD_TOO_LARGE");
        let answer = answer.json();
        assert!(answer["message"].as_str().is_some_and(|message| message.contains("100000 bytes")), "{answer}");
    }

    /// A form has so many fields and no more.
    async fn a_form_without_end(app: App) {
        let shop = app.organization("Shop").await;
        let form = (0..70).fold(Form::default(), |form, _| form.field("mode", "create"));
        shop.admin.post_form("/customers/import", form.file("x.csv", "name\nAnn\n")).await.invalid(&["body"]);
        shop.admin.get("/customers/import").await.lists([]);
    }
}
