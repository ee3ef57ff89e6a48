//! Customers as files: everything that is seen, in three formats, harmless in a spreadsheet.

use calamine::{Data, Reader as _};
use proptest::{collection::SizeRange, prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::support::{App, Client, Form, on_every_store};

async fn customers(admin: &Client) {
    for body in [
        json!({"name": "Zoë Ångström", "email": "zoe@example.com", "spend": 500, "tags": ["vip", "north;east"]}),
        json!({"name": "=cmd|' /C calc'!A0", "email": "+x@example.com", "phone": "+33142685300", "spend": -0,
            "last_active": "2026-01-30T17:05:00Z"}),
        json!({"name": "Bob, \"the builder\"", "status": "blocked", "spend": 99999999999999.5}),
    ] {
        admin.post("/customers", body).await.created();
    }
}

/// The lines without their ends, each of which is CR and LF.
fn lines(text: &str) -> Vec<&str> {
    text.strip_suffix("\r\n").expect("a line end at the end").split("\r\n").collect()
}

/// Custom fields of every type.
pub(super) fn field_inputs() -> impl Iterator<Item = Value> {
    let plain = ["text", "number", "date", "boolean", "datetime", "email", "phone", "url", "money"];
    let plain = plain.into_iter().map(|kind| json!({"key": format!("a_{kind}"), "type": kind}));
    let listed = ["list", "multi_list"].into_iter();
    plain.chain(listed.map(|kind| json!({"key": format!("a_{kind}"), "type": kind, "options": OPTIONS})))
}

async fn fields(admin: &Client) {
    for field in field_inputs() {
        admin.post("/customers/fields", field).await.created();
    }
}

const OPTIONS: [&str; 5] = ["plain", "north;east", "a|b", "back\\slash", "=1"];

/// Customers with everything that a file can spoil.
pub(super) fn spoilable(count: impl Into<SizeRange>) -> impl Strategy<Value = Vec<Value>> {
    let line = || "[-=+@' ,;|\"ab＝é\\\\]{0,10}x";
    let own = (
        line(),
        prop::collection::vec(line(), 0..4),
        0..999_999_999_i64,
        0..1_000_000_i64,
        prop::sample::select(vec!["active", "inactive", "blocked"]),
        prop::option::of(0..1_800_000_000_000_i64),
    );
    let custom = (
        prop::option::of("[-=+@' ,;|\"\t\nab＝é\\\\]{0,10}x"),
        prop::option::of(-1e9..1e9),
        prop::option::of((1000..9999_i16, 1..=12_u8, 1..=28_u8)),
        prop::option::of(any::<bool>()),
        prop::option::of(0..1_800_000_000_000_i64),
        prop::option::of(-999_999_999..999_999_999_i64),
        prop::option::of(prop::sample::select(OPTIONS.to_vec())),
        prop::sample::subsequence(OPTIONS.to_vec(), 0..=5),
    );
    let instant = |milliseconds| jiff::Timestamp::from_millisecond(milliseconds).expect("in range").to_string();
    let one = (own, custom, line()).prop_map(move |(own, custom, note)| {
        let (name, tags, spend, visits, status, last_active) = own;
        let (text, number, date, flag, at, money, choice, choices) = custom;
        let mut custom = json!({
            "a_text": text,
            "a_number": number,
            "a_date": date.map(|(year, month, day)| format!("{year}-{month:02}-{day:02}")),
            "a_boolean": flag,
            "a_datetime": at.map(instant),
            "a_money": money.map(|amount| amount as f64 / 100.0),
            "a_list": choice,
            "a_multi_list": choices,
            "a_email": "+custom@example.com",
            "a_phone": "+33142685300",
            "a_url": "https://example.com/?a=1,2;3",
        });
        // A cell cannot tell an empty list from none.
        custom.as_object_mut().expect("an object").retain(|_, value| !value.is_null() && *value != json!([]));
        json!({"name": name, "tags": tags, "spend": spend as f64 / 100.0, "visits": visits, "status": status,
            "last_active": last_active.map(instant), "custom": custom, "metadata": {"note": note, "list": [1, "b", null]},
            "consent": {"sms": {"granted": true, "at": "2026-01-01T00:00:00Z", "source": note}}})
    });
    prop::collection::vec(one, count).prop_map(|mut customers| {
        for (number, customer) in customers.iter_mut().enumerate() {
            customer["email"] = json!(format!("+{number}@example.com"));
            customer["emails"] = json!([format!("a{number}@example.com"), format!("-b{number}@example.com")]);
            customer["phone"] = json!(format!("+336{number:08}"));
        }
        customers
    })
}

pub(super) const COMPARED: &str =
    "name,email,emails,phone,phones,status,type,tags,spend,visits,last_active,consent,custom,metadata";

async fn compared(admin: &Client) -> String {
    let answer = admin.get(format!("/customers/export?format=ndjson&sort=email&fields={COMPARED}")).await;
    answer.expect_status(200);
    answer.text()
}

on_every_store! {
    /// What was exported imports as it was into another organization, whatever the values.
    async fn what_left_comes_back(app: App) {
        let shop = app.organization("Shop").await.admin;
        fields(&shop).await;
        let mut runner = TestRunner::deterministic();
        for customer in spoilable(40).new_tree(&mut runner).expect("customers").current() {
            shop.post("/customers", customer).await.created();
        }
        let before = compared(&shop).await;
        assert_eq!(before.lines().count(), 40);
        let files = [
            ("a.csv", "format=csv&time_zone=America/New_York"),
            ("b.csv", "format=csv&delimiter=%3B&bom=true"),
            ("c.csv", "format=csv&delimiter=tab&profile=retail"),
            ("d.ndjson", "format=ndjson"),
        ];
        for (name, query) in files {
            let file = shop.get(format!("/customers/export?{query}")).await;
            file.expect_status(200);
            let other = app.organization(name).await.admin;
            fields(&other).await;
            let import = other.import(Form::default().file(name, file.body)).await;
            let errors = other.get(format!("{import}/errors")).await.text();
            assert_eq!((&import["created"], &import["failed"]), (&json!(40), &json!(0)), "{name}: {errors}");
            let after = compared(&other).await;
            for (after, before) in after.lines().zip(before.lines()) {
                assert_eq!(after, before, "{name}");
            }
            assert_eq!(after.lines().count(), 40);
        }
    }

    /// The same filters as of the list choose the customers, `fields` the columns, and the answer is a download.
    async fn a_table(app: App) {
        let admin = app.organization("Shop").await.admin;
        customers(&admin).await;
        let answer = admin.get("/customers/export?fields=name,email,phone,spend,tags&sort=spend").await;
        answer.expect_status(200);
        assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8; header=present");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let disposition = answer.header("content-disposition");
        answer.expect(disposition.starts_with("attachment; filename=\"customers-20"), "a file name with the day");
        let text = answer.text();
        assert_eq!(
            lines(&text),
            [
                "name,email,phone,spend,tags",
                "'=cmd|' /C calc'!A0,'+x@example.com,+33142685300,0,",
                "Zoë Ångström,zoe@example.com,,500,vip;north\\;east",
                "\"Bob, \"\"the builder\"\"\",,,99999999999999.5,",
            ]
        );
        let chosen = admin.get("/customers/export?status=blocked&fields=status,name&delimiter=%3B").await.text();
        assert_eq!(lines(&chosen), ["status;name", "blocked;\"Bob, \"\"the builder\"\"\""]);
        let searched = admin.get("/customers/export?search=ANGSTROM&fields=email&bom=true").await.text();
        assert_eq!(searched, "\u{feff}email\r\nzoe@example.com\r\n");
        let rule = json!({"filter": {"field": "spend", "op": ">", "value": 600}, "fields": ["name"], "format": "ndjson"});
        assert_eq!(admin.post("/customers/export", rule).await.text(), "{\"name\":\"Bob, \\\"the builder\\\"\"}\n");
        let local = "/customers/export?fields=last_active&last_active[exists]=true&time_zone=Asia/Kolkata";
        assert_eq!(admin.get(local).await.text(), "last_active\r\n2026-01-30T22:35:00.000+05:30\r\n");
        let whole = admin.get("/customers/export?search=angstrom").await.text();
        let header = "id,name,email,emails,phone,phones,status,type,tags,group_ids,spend,visits,last_active,";
        assert!(whole.starts_with(header), "{whole}");
    }

    /// A line of NDJSON is what GET answers, and what Accept names is the format.
    async fn lines_of_json(app: App) {
        let admin = app.organization("Shop").await.admin;
        admin.post("/customers/fields", json!({"key": "seen_at", "type": "datetime"})).await.created();
        customers(&admin).await;
        let with_time = json!({"name": "Dan", "custom": {"seen_at": "2026-01-31T09:30:00Z"}, "metadata": {"a": [1.5]}});
        let dan = admin.post("/customers", with_time).await.created();
        let answer = admin.get("/customers/export").header("accept", "application/x-ndjson").await;
        assert_eq!(answer.header("content-type"), "application/x-ndjson; charset=utf-8");
        let text = answer.text();
        assert_eq!(text.lines().count(), 4);
        for line in text.lines() {
            let id = serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned();
            assert_eq!(admin.get(format!("/customers/{id}")).await.text(), line);
        }
        let picked = admin.get("/customers/export?format=ndjson&name=Dan&fields=custom.seen_at,id").await.text();
        assert_eq!(picked, format!("{{\"id\":\"{}\",\"custom\":{{\"seen_at\":\"2026-01-31T09:30:00.000Z\"}}}}\n", dan.id()));
    }

    /// A workbook opens, and its cells have their types.
    async fn a_workbook(app: App) {
        let admin = app.organization("Shop").await.admin;
        customers(&admin).await;
        let answer = admin.get("/customers/export?format=xlsx&fields=name,spend,last_active&sort=spend").await;
        answer.expect_status(200);
        let mut workbook = calamine::Xlsx::new(std::io::Cursor::new(answer.body)).expect("a workbook");
        let sheet = workbook.worksheet_range("Customers").expect("a sheet");
        let rows: Vec<_> = sheet.rows().collect();
        assert_eq!(rows[1][0], Data::String("=cmd|' /C calc'!A0".to_owned()));
        assert!(matches!(rows[1][2], Data::DateTime(_)));
        assert_eq!(rows[2][..2], [Data::String("Zoë Ångström".to_owned()), Data::Float(500.0)]);
        assert_eq!((rows.len(), &rows[3][1]), (4, &Data::Float(99_999_999_999_999.5)));
    }

    /// Everybody takes away what they see and no more, the bin only where it is asked for; who may not is refused.
    async fn what_may_leave(app: App) {
        let shop = app.staffed("Shop").await;
        customers(&shop.admin).await;
        shop.agent.get("/customers/export").await.refused(403, "FORBIDDEN");
        shop.customer.get("/customers/export").await.refused(403, "FORBIDDEN");
        assert_eq!(shop.lead.get("/customers/export?fields=name").await.text(), "name\r\n");
        assert_eq!(lines(&shop.qa.get("/customers/export?fields=name").await.text()).len(), 4);
        let other = app.organization("Other").await.admin;
        assert_eq!(other.get("/customers/export?fields=name").await.text(), "name\r\n");
        let gone = shop.admin.get("/customers?name[contains]=bob").await.ids();
        shop.admin.delete(format!("/customers/{}", gone[0])).await.no_content();
        assert_eq!(lines(&shop.admin.get("/customers/export?fields=name").await.text()).len(), 3);
        let bin = shop.admin.get("/customers/export?fields=id,deleted_at&deleted=true").await.text();
        assert!(lines(&bin)[1].starts_with(&format!("{},20", gone[0])), "{bin}");
    }

    /// What left is in the audit trail: when it began with what was asked, and when it ended with how many.
    async fn what_left_is_noted(app: App) {
        let admin = app.organization("Shop").await.admin;
        customers(&admin).await;
        admin.get("/customers/export?spend[gt]=1&fields=name&format=xlsx").await.expect_status(200);
        let begun = admin.get("/audit?action=customers.exported").await.ok();
        let after = &begun["data"][0]["after"];
        assert_eq!((&after["format"], &after["columns"]), (&json!("xlsx"), &json!(["name"])));
        assert_eq!(after["filter"], json!({"field": "spend", "op": ">", "value": 1}));
        let ended = admin.get("/audit?action=customers.export_ended").await.ok();
        let after = &ended["data"][0]["after"];
        assert_eq!((&after["rows"], &after["outcome"]), (&json!(2), &json!("complete")));
    }

    /// Every wrong parameter is named, also those of pages, which an export does not have.
    async fn wrong_parameters(app: App) {
        let admin = app.organization("Shop").await.admin;
        for (query, field) in [
            ("format=pdf", "format"),
            ("time_zone=Mars/Olympus", "time_zone"),
            ("delimiter=ab", "delimiter"),
            ("delimiter=%22", "delimiter"),
            ("bom=yes", "bom"),
            ("limit=5", "limit"),
            ("cursor=abc", "cursor"),
            ("page=2", "page"),
            ("count=true", "count"),
            ("fields=password", "fields"),
            ("profile=x", "profile"),
            ("colour=red", "colour"),
            ("format=ndjson&time_zone=UTC", "time_zone"),
            ("format=xlsx&bom=true", "bom"),
        ] {
            admin.get(format!("/customers/export?{query}")).await.invalid(&[field]);
        }
        admin.post("/customers/export", json!({"limit": 5})).await.invalid(&["limit"]);
        admin.post("/customers/export?format=csv", json!({})).await.invalid(&["format"]);
    }
}
