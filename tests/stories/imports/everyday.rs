//! What files bring in, and how they are read.

use serde_json::{Value, json};

use crate::support::{App, Form, on_every_store};

fn counts(import: &Value) -> [i64; 6] {
    ["rows_read", "created", "updated", "unchanged", "skipped", "failed"]
        .map(|name| import[name].as_i64().unwrap_or_else(|| panic!("{name} in {import}")))
}

on_every_store! {
    /// A file with names that people give to columns is read without a word said about it.
    async fn a_file_is_understood(app: App) {
        let shop = app.organization("Shop").await;
        shop.admin.put("/admin/organization", json!({"country": "IN", "time_zone": "Asia/Kolkata"})).await.ok();
        shop.admin.post("/customers/fields", json!({"key": "plan", "label": "Plan", "type": "list", "options": ["gold", "silver"]}))
            .await.created();
        let group = shop.admin.post("/customers/groups", json!({"name": "Friends"})).await.created();
        let file = "Full Name;E-Mail;Mobile;Tags;Plan;Spend;Groups;Notes\n\
                    Asha Rao;Asha@Example.com;98765 43210;vip|new;gold;1,249.50;friends;likes tea\n\
                    \"Ravi; K\";ravi@example.com;;;;;;\n";
        let begun = shop.admin.begin_import(Form::default().file("people.csv", file)).await;
        assert_eq!(begun["mapping"]["Full Name"], "name");
        assert_eq!(begun["mapping"]["Plan"], "custom.plan");
        assert_eq!(begun["ignored_columns"], json!(["Notes"]));
        assert_eq!((&begun["rows_total"], &begun["delimiter"]), (&json!(2), &json!(";")));
        assert_eq!(begun["job"]["kind"], "customer_import");
        let import = shop.admin.ended(&begun).await;
        assert_eq!((&import["state"], counts(&import.body)), (&json!("succeeded"), [2, 2, 0, 0, 0, 0]));
        assert_eq!((&import["file_name"], &import["file_size"]), (&json!("people.csv"), &json!(file.len())));

        let found = shop.admin.get("/customers?search=asha").await.ok();
        let asha = &found["data"][0];
        assert_eq!((&asha["email"], &asha["phone"]), (&json!("asha@example.com"), &json!("+919876543210")));
        assert_eq!((&asha["tags"], &asha["spend"]), (&json!(["vip", "new"]), &json!(1249.5)));
        assert_eq!((&asha["custom"]["plan"], &asha["group_ids"]), (&json!("gold"), &json!([group.id()])));
        assert_eq!(shop.admin.get("/customers?search=ravi").await.ok()["data"][0]["name"], "Ravi; K");
        shop.admin.get("/customers/import").await.lists([&import]);
        shop.admin.get(format!("/jobs/{}", import["job_id"].as_str().expect("a job"))).await.ok();
    }

    /// Each line that is refused says why; mended, the file of the refused is imported as it is.
    async fn refused_rows_are_mended(app: App) {
        let shop = app.organization("Shop").await;
        shop.admin.post("/customers", json!({"name": "Old", "email": "old@example.com"})).await.created();
        let file = "name,email,visits\r\n\
                    Ann,ann@example.com,3\r\n\
                    Bob,bob@,x\r\n\
                    Cat,old@example.com,\r\n\
                    ,nobody@example.com,\r\n\
                    Dan,ann@example.com,\r\n\
                    Eve,eve@example.com\r\n\
                    '=Fay,fay@example.com,1\r\n";
        let import = shop.admin.import(Form::default().file("list.csv", file)).await;
        assert_eq!(counts(&import.body), [7, 2, 0, 0, 0, 5]);
        assert_eq!(import["state"], "succeeded");
        let answer = shop.admin.get(format!("{import}/errors")).await;
        answer.expect_status(200);
        assert!(answer.header("content-type").starts_with("text/csv"), "{answer}");
        assert_eq!(answer.header("content-disposition"), "attachment; filename=\"list.errors.csv\"");
        let text = answer.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "line,field,code,message,name,email,visits");
        assert!(lines[1].starts_with("3,visits; email,") || lines[1].starts_with("3,email; visits,"), "{}", lines[1]);
        assert!(lines[1].ends_with(",Bob,bob@,x"), "{}", lines[1]);
        assert!(lines[2].starts_with("4,email,DUPLICATE,"), "{}", lines[2]);
        assert!(lines[3].starts_with("5,name,REQUIRED,is required,,nobody@example.com,"), "{}", lines[3]);
        assert!(lines[4].starts_with("6,email,DUPLICATE,") && lines[4].contains("line 2 of the file"), "{}", lines[4]);
        assert!(lines[5].starts_with("7,,WRONG_CELL_COUNT,"), "{}", lines[5]);
        assert_eq!(lines.len(), 6);
        assert_eq!(shop.admin.get("/customers?search=fay").await.ok()["data"][0]["name"], "=Fay");

        let mended = format!("{}\r\n{}", lines[0], lines[1].replace("bob@,x", "bob@example.com,7"));
        let again = shop.admin.import(Form::default().file("mended.csv", mended)).await;
        assert_eq!(counts(&again.body), [1, 1, 0, 0, 0, 0]);
        assert_eq!(again["mapping"]["line"], Value::Null);
    }

    /// Of lines of JSON the refused come back as lines of JSON.
    async fn refused_lines_are_mended(app: App) {
        let shop = app.organization("Shop").await;
        let file = "{\"name\":\"Ann\"}\n{\"name\":\"Bob\",\"email\":\"bob@\",\"spend\":99999999999999.5}\n";
        let import = shop.admin.import(Form::default().file("list.jsonl", file)).await;
        assert_eq!(counts(&import.body), [2, 1, 0, 0, 0, 1]);
        let answer = shop.admin.get(format!("{import}/errors")).await;
        assert!(answer.header("content-type").starts_with("application/x-ndjson"), "{answer}");
        assert_eq!(answer.header("content-disposition"), "attachment; filename=\"list.errors.ndjson\"");
        let mended = answer.text().replace("bob@", "bob@example.com");
        assert!(mended.starts_with("{\"_import_error\":{\"line\":2,"), "{mended}");
        let again = shop.admin.import(Form::default().file("mended.jsonl", mended)).await;
        assert_eq!(counts(&again.body), [1, 1, 0, 0, 0, 0]);
        assert_eq!(shop.admin.get("/customers?search=bob").await.ok()["data"][0]["spend"], json!(99_999_999_999_999.5));
    }

    /// A dry run tells what would come of a file, across all of it, and writes nothing.
    async fn a_dry_run_writes_nothing(app: App) {
        let shop = app.organization("Shop").await;
        shop.admin.post("/customers", json!({"name": "Old", "email": "user7@example.com"})).await.created();
        let mut file = "name,email\n".to_owned();
        for row in 0..1200 {
            file.push_str(&format!("User {row},user{}@example.com\n", row % 1100));
        }
        let form = || Form::default().file("users.csv", &file);
        let dry = shop.admin.import(form().field("dry_run", "true")).await;
        assert_eq!((counts(&dry.body), &dry["dry_run"]), ([1200, 1099, 0, 0, 0, 101], &json!(true)));
        let errors = shop.admin.get(format!("{dry}/errors")).await.text();
        assert!(errors.contains("1102,email,DUPLICATE,There is a customer with the same email in line 2 of the file."), "{errors}");
        assert_eq!(shop.admin.get("/customers?count=true").await.ok()["page"]["total"], 1);
        shop.admin.post(format!("{dry}/revert"), json!({})).await.refused(409, "INVALID_STATE");
        let real = shop.admin.import(form().field("skip_duplicates", "true")).await;
        assert_eq!(counts(&real.body), [1200, 1099, 0, 0, 101, 0]);
        let again = shop.admin.import(form().field("mode", "upsert")).await;
        assert_eq!((again["created"].clone(), again["failed"].clone()), (json!(0), json!(0)));
    }

    /// What an import finds it changes, by the key that was said; defaults are for new customers only.
    async fn rows_find_their_customers(app: App) {
        let shop = app.organization("Shop").await;
        shop.admin.post("/customers/fields", json!({"key": "no", "label": "No", "type": "text", "unique": true})).await.created();
        let ann = shop.admin.post("/customers", json!({"name": "Ann", "email": "ann@example.com", "tags": ["a"], "custom": {"no": "N1"}}))
            .await.created();
        let file = "no,name,email,visits\nN1,Ann B,ann@example.com,5\nN2,Bob,bob@example.com,1\nN2,Bobby,,2\n,Cat,,\n";
        let form = |key: &str| Form::default().file("a.csv", file).field("upsert_key", key)
            .field("defaults", r#"{"status": "inactive", "tags": ["new"]}"#);
        let import = shop.admin.import(form("custom.no")).await;
        assert_eq!(counts(&import.body), [4, 1, 2, 0, 0, 1]);
        let now = shop.admin.get(&ann).await.ok();
        assert_eq!((&now["name"], &now["visits"], &now["tags"], &now["status"]), (&json!("Ann B"), &json!(5), &json!(["a"]), &json!("active")));
        let bob = shop.admin.get("/customers?search=bobby").await.ok()["data"][0].clone();
        assert_eq!((&bob["visits"], &bob["tags"], &bob["status"]), (&json!(2), &json!(["new"]), &json!("inactive")));
        let again = shop.admin.import(form("email")).await;
        assert_eq!(counts(&again.body), [4, 0, 1, 1, 0, 2]);
        let by_id = format!("id,name\n{},Ann C\n0198c1de-5f00-7000-8000-000000000001,Who\n", ann.id());
        let by_id = Form::default().file("b.csv", by_id).field("mode", "update").field("upsert_key", "id");
        assert_eq!(counts(&shop.admin.import(by_id).await.body), [2, 0, 1, 0, 0, 1]);
        let clearing = "email,visits,phone\nann@example.com,,\n";
        let clearing = Form::default().file("c.csv", clearing).field("mode", "update").field("clear_empty", "true");
        shop.admin.import(clearing).await;
        assert_eq!(shop.admin.get(&ann).await.ok()["visits"], 0);
        shop.admin.post_form("/customers/import", form("name")).await.invalid(&["upsert_key"]);
    }

    /// A mapping that was said once is kept by its name.
    async fn mappings_are_kept(app: App) {
        let shop = app.organization("Shop").await;
        let file = "A,B,C\nAnn,ann@example.com,x\n";
        let form = || Form::default().field("mapping_name", "Monthly").file("m.csv", file);
        shop.admin.post_form("/customers/import", form()).await.invalid(&["mapping_name", "mapping"]);
        let said = form().field("mapping", r#"{"A": "name", "B": "email"}"#);
        let import = shop.admin.import(said).await;
        assert_eq!((counts(&import.body), &import["ignored_columns"]), ([1, 1, 0, 0, 0, 0], &json!(["C"])));
        let again = shop.admin.import(form().field("mode", "upsert")).await;
        assert_eq!(counts(&again.body), [1, 0, 0, 1, 0, 0]);
        let kept = shop.admin.get("/customers/import/mappings").await.ok();
        assert_eq!(kept["data"][0]["mapping"], json!({"A": "name", "B": "email", "C": null}));
        let path = "/customers/import/mappings";
        let replaced = shop.admin.post(path, json!({"name": "MONTHLY", "mapping": {"B": "name"}})).await.created();
        assert_eq!(replaced.id(), kept["data"][0]["id"]);
        shop.admin.post(path, json!({"name": "x", "mapping": {"B": "nmae"}})).await.invalid(&["mapping.B"]);
        let elsewhere = app.organization("Elsewhere").await;
        elsewhere.admin.delete(&replaced).await.refused(404, "NOT_FOUND");
        shop.admin.delete(&replaced).await.no_content();
        shop.admin.get(path).await.lists([]);
    }

    /// JSON lines, a file alone as the body, and other encodings are read as well.
    async fn other_files_are_read(app: App) {
        let shop = app.organization("Shop").await;
        let lines = "{\"name\":\"Ann\",\"tags\":[\"a\",\"b\"],\"spend\":12.5,\"consent\":{\"sms\":true},\"id\":\"x\"}\n\
                     {\"name\":\"Bob\",\"emails\":[\"b@example.com\"],\"metadata\":{\"k\":1},\"custom\":{}}\n[1]\n{\"name\":1}\n";
        let path = "/customers/import?file_name=people.ndjson";
        let answer = shop.admin.request(reqwest::Method::POST, path).raw("application/x-ndjson", lines).await;
        answer.expect_status(202);
        let begun = crate::support::Entity {
            path: answer.header("location").to_owned(), etag: String::new(), body: answer.json(),
        };
        let import = shop.admin.ended(&begun).await;
        assert_eq!((counts(&import.body), &import["format"]), ([4, 2, 0, 0, 0, 2], &json!("ndjson")));
        let ann = shop.admin.get("/customers?search=ann").await.ok()["data"][0].clone();
        assert_eq!((&ann["tags"], &ann["consent"]["sms"]["granted"]), (&json!(["a", "b"]), &json!(true)));
        let errors = shop.admin.get(format!("{import}/errors")).await.text();
        let first: Value = serde_json::from_str(errors.lines().next().expect("a line")).expect("JSON");
        assert_eq!((&first["_import_error"]["line"], &first["_import_error"]["row"]), (&json!(3), &json!("[1]")));
        assert_eq!(first["_import_error"]["errors"][0]["code"], "INVALID_TYPE");

        let utf_16: Vec<u8> = "nom\tprénom\nDupré\tZoé\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let file = [vec![0xff, 0xfe], utf_16].concat();
        let import = shop.admin.import(Form::default().file("fr.txt", file).field("mapping", r#"{"nom":"last_name","prénom":"first_name"}"#)).await;
        assert_eq!((&import["encoding"], counts(&import.body)), (&json!("utf-16le"), [1, 1, 0, 0, 0, 0]));
        assert_eq!(shop.admin.get("/customers?search=dupr%C3%A9").await.ok()["data"][0]["name"], "Zoé Dupré");
        let latin = b"name;last_active;spend\nJos\xe9;31/01/2026 17:05;1.234,50\n";
        let form = Form::default().field("date_format", "dd/mm/yyyy").field("decimal_separator", ",").file("l.csv", latin);
        let import = shop.admin.import(form).await;
        assert_eq!((&import["encoding"], counts(&import.body)), (&json!("windows-1252"), [1, 1, 0, 0, 0, 0]));
        let jose = shop.admin.get("/customers?search=jos%C3%A9").await.ok()["data"][0].clone();
        assert_eq!((&jose["last_active"], &jose["spend"]), (&json!("2026-01-31T17:05:00.000Z"), &json!(1234.5)));
    }

    /// Who may not write customers may not import; an import is its owner's, and the Admin's; sight holds for rows too.
    async fn imports_are_for_those_who_may(app: App) {
        let staff = app.staffed("Shop").await;
        let other = app.organization("Other").await;
        let form = |file: &str| Form::default().file("a.csv", file).field("mode", "upsert");
        staff.qa.post_form("/customers/import", form("name\nA\n")).await.refused(403, "FORBIDDEN");
        staff.customer.post_form("/customers/import", form("name\nA\n")).await.refused(403, "FORBIDDEN");
        app.anonymous.post_form("/customers/import", form("name\nA\n")).await.refused(401, "UNAUTHENTICATED");
        staff.admin.post("/customers", json!({"name": "Far", "email": "far@example.com"})).await.created();
        let import = staff.agent.import(form("name,email\nNear,near@example.com\nFarther,far@example.com\n")).await;
        assert_eq!(counts(&import.body), [2, 1, 0, 0, 0, 1]);
        let near = staff.agent.get("/customers").await.ok()["data"][0].clone();
        assert_eq!((&near["owner_id"], &near["team_id"]), (&json!(staff.agent.id()), &json!(staff.team)));
        staff.admin.get(&import).await.ok();
        for path in [import.path.clone(), format!("{import}/errors")] {
            staff.lead.get(&path).await.refused(404, "NOT_FOUND");
            other.admin.get(&path).await.refused(404, "NOT_FOUND");
        }
        other.admin.post(format!("{import}/cancel"), json!({})).await.refused(404, "NOT_FOUND");
        other.admin.post(format!("{import}/revert"), json!({})).await.refused(404, "NOT_FOUND");
        other.admin.get("/customers/import").await.lists([]);
        staff.agent.get("/customers/import").await.lists([&import]);
        staff.lead.get("/customers/import").await.lists([]);
        staff.admin.get(format!("/jobs?record_id={}", import.id())).await.ok();
    }

    /// One audit entry and one event for each part, none for each row.
    async fn a_part_is_noted_once(app: App) {
        let shop = app.organization("Shop").await;
        let rows: String = (0..1300).map(|row| format!("User {row},u{row}@example.com\n")).collect();
        let import = shop.admin.import(Form::default().file("u.csv", format!("name,email\n{rows}"))).await;
        assert_eq!(import["created"], 1300);
        let audit = shop.admin.get("/audit?action=customers.imported&count=true").await.ok();
        assert_eq!(audit["page"]["total"], 3);
        assert_eq!(audit["data"][0]["after"]["import_id"], import["id"]);
        assert_eq!(shop.admin.get("/audit?action=customer.created&count=true").await.ok()["page"]["total"], 0);
        assert_eq!(shop.admin.get("/audit?action=customer_import.started&count=true").await.ok()["page"]["total"], 1);
        let events = app.crm.repo::<crm_core::event::Event>();
        let told = crm_core::event::Event::event_type.equals("customers.imported");
        let told = events.count(crm_core::store::Scope::Installation, &told).await.expect("counted");
        assert_eq!(told, 3);
    }
}
