use std::{collections::BTreeMap, sync::Arc};

use calamine::{Data, Reader as _};
use futures::StreamExt as _;
use proptest::prelude::*;
use serde_json::{Value as JsonValue, json, value::RawValue};

use super::*;
use crate::{
    Crm,
    access::{Principal, Role},
    audit::AuditEntry,
    customer::{Customer, NewCustomer, WriteOptions},
    error::{Error, Result},
    field::NewCustomField,
    id::{OrganizationId, UserId},
    import_file::{Content, FileOptions, FileReader, cells, records, split_list, undefuse},
    input::FromInput,
    port::{ManualClock, SeededRandom},
    store::{Filter, Money, Query, memory::MemoryStore},
    time::Timestamp,
};

async fn crm() -> (Crm, Principal) {
    let clock = ManualClock::new("2026-01-31T20:30:00Z".parse::<Timestamp>().unwrap());
    let crm = Crm::builder(Arc::new(MemoryStore::new())).clock(clock).random(SeededRandom::new(7)).build();
    crm.store().migrate(crate::crm::collections(), &|_, _, _| {}).await.unwrap();
    let organization = OrganizationId(uuid::Uuid::from_u128(1));
    (crm, Principal::user(organization, UserId(uuid::Uuid::from_u128(10)), Role::Admin, None))
}

fn read<T: FromInput>(json: &JsonValue) -> T {
    T::from_input(&RawValue::from_string(json.to_string()).unwrap()).unwrap()
}

async fn with_fields(crm: &Crm, by: &Principal) {
    for (key, kind) in [
        ("note", "text"),
        ("rating", "number"),
        ("birthday", "date"),
        ("member", "boolean"),
        ("seen_at", "datetime"),
        ("work_email", "email"),
        ("fax", "phone"),
        ("site", "url"),
        ("debt", "money"),
    ] {
        crm.fields().create(by, read::<NewCustomField>(&json!({"key": key, "type": kind}))).await.unwrap();
    }
    let options = ["north;east", "a|b", "back\\slash", "=1"];
    let field = json!({"key": "areas", "type": "multi_list", "options": options});
    crm.fields().create(by, read::<NewCustomField>(&field)).await.unwrap();
    let field = json!({"key": "area", "type": "list", "options": options});
    crm.fields().create(by, read::<NewCustomField>(&field)).await.unwrap();
}

async fn create(crm: &Crm, by: &Principal, json: &JsonValue) -> Customer {
    crm.customers().create(by, read::<NewCustomer>(json), WriteOptions::default()).await.unwrap()
}

async fn exported(crm: &Crm, by: &Principal, pairs: &[(&str, &str)]) -> Result<Vec<u8>> {
    let pairs: Vec<(String, String)> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut blocks = crm.customers().export(by, &pairs, ExportFormat::default()).await?.start().await?;
    let mut file = Vec::new();
    while let Some(block) = blocks.next().await {
        file.extend(block?);
    }
    Ok(file)
}

/// The rows of a table by the names of its columns, as an import reads them.
fn table(file: &[u8]) -> Vec<Vec<(String, String)>> {
    let mut reader = FileReader::new(FileOptions::default());
    let mut parts = Vec::new();
    reader.push(file, &mut parts).unwrap();
    reader.finish(&mut parts).unwrap();
    let header = reader.header().unwrap().columns.clone();
    let format = reader.format().unwrap();
    let rows = parts.iter().flat_map(|part| records(part, format, header.len()));
    rows.map(|record| {
        let Ok(Content::Cells(cells)) = record.content else { panic!("{record:?}") };
        header.iter().cloned().zip(cells.iter().map(|cell| undefuse(cell).into_owned())).collect()
    })
    .collect()
}

fn cell<'r>(row: &'r [(String, String)], name: &str) -> &'r str {
    row.iter().find(|(column, _)| column == name).map_or("no such column", |(_, cell)| cell)
}

#[tokio::test]
async fn a_table_has_everything_in_its_form() {
    let (crm, by) = crm().await;
    with_fields(&crm, &by).await;
    create(
        &crm,
        &by,
        &json!({"name": "=Amélie; \"A\"", "email": "+a@example.com", "emails": ["b@example.com", "c@example.com"],
            "phone": "+33142685300", "tags": ["x;y", "@vip", "a\\b"], "spend": 1249.5, "visits": 3,
            "last_active": "2026-01-30T17:05:00Z", "metadata": {"a": [1, "b"]}, "consent": {"sms": true},
            "custom": {"note": "-1\nline", "rating": -0.5, "birthday": "1990-05-17", "member": true,
                "seen_at": "2026-01-31T20:30:00.5Z", "fax": "+442071838750", "site": "https://example.com/",
                "debt": 99_999_999_999_999_i64, "areas": ["north;east", "=1"], "area": "=1"}}),
    )
    .await;
    create(&crm, &by, &json!({"name": "Bob"})).await;
    let file =
        exported(&crm, &by, &[("time_zone", "Asia/Kolkata"), ("delimiter", ";"), ("bom", "true")]).await.unwrap();
    let text = String::from_utf8(file.clone()).unwrap();
    assert!(text.starts_with("\u{feff}id;name;email;emails;phone;"), "{text}");
    assert!(text.contains(";\"'=Amélie; \"\"A\"\"\";'+a@example.com;"), "{text}");
    assert!(text.ends_with("\r\n") && text.contains(";+33142685300;"), "{text}");
    let mut rows = table(&file);
    // The clock stands still, so that the two have no order.
    rows.sort_by_key(|row| cell(row, "name").len());
    let row = &rows[1];
    for (name, expected) in [
        ("name", "=Amélie; \"A\""),
        ("email", "+a@example.com"),
        ("emails", "b@example.com;c@example.com"),
        ("phone", "+33142685300"),
        ("phones", ""),
        ("status", "active"),
        ("spend", "1249.5"),
        ("visits", "3"),
        ("last_active", "2026-01-30T22:35:00.000+05:30"),
        ("created_at", "2026-02-01T02:00:00.000+05:30"),
        ("metadata", "{\"a\":[1,\"b\"]}"),
        ("custom.note", "-1\nline"),
        ("custom.rating", "-0.5"),
        ("custom.birthday", "1990-05-17"),
        ("custom.member", "true"),
        ("custom.seen_at", "2026-02-01T02:00:00.500+05:30"),
        ("custom.fax", "+442071838750"),
        ("custom.debt", "99999999999999"),
        ("custom.area", "=1"),
    ] {
        assert_eq!(cell(row, name), expected, "{name}");
    }
    assert_eq!(split_list(cell(row, "tags")), ["x;y", "@vip", "a\\b"]);
    assert_eq!(split_list(cell(row, "custom.areas")), ["north;east", "=1"]);
    assert_eq!((rows.len(), cell(&rows[0], "name"), cell(&rows[0], "custom.rating")), (2, "Bob", ""));
    assert!(row.iter().all(|(name, _)| name != "deleted_at" && name != "custom" && name != "full_name"));
}

#[tokio::test]
async fn columns_can_be_chosen() {
    let (crm, by) = crm().await;
    with_fields(&crm, &by).await;
    create(&crm, &by, &json!({"name": "Ann", "custom": {"rating": 5}})).await;
    let chosen = [("fields", "custom.rating,name,full_name,spend")];
    assert_eq!(exported(&crm, &by, &chosen).await.unwrap(), b"custom.rating,name,spend\r\n5,Ann,0\r\n");
    let retail = [("fields", "name,status"), ("profile", "retail")];
    assert_eq!(exported(&crm, &by, &retail).await.unwrap(), b"full_name,customer_status\r\nAnn,active\r\n");
    assert_eq!(exported(&crm, &by, &[("fields", "email")]).await.unwrap(), b"email\r\n\"\"\r\n");
    let lines = [("format", "ndjson"), ("fields", "custom.rating,name")];
    assert_eq!(exported(&crm, &by, &lines).await.unwrap(), b"{\"name\":\"Ann\",\"custom\":{\"rating\":5}}\n");
    assert_eq!(exported(&crm, &by, &[("name", "Bob"), ("format", "ndjson")]).await.unwrap(), b"");
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let (crm, by) = crm().await;
    let wrong = [
        ("format", "pdf"),
        ("time_zone", "Mars/Olympus"),
        ("delimiter", "ab"),
        ("bom", "maybe"),
        ("limit", "5"),
        ("fields", "password"),
        ("colour", "red"),
    ];
    for (name, value) in wrong {
        match exported(&crm, &by, &[(name, value)]).await {
            Err(Error::Invalid(errors)) => assert_eq!(errors.iter().next().unwrap().field, name),
            other => panic!("{name} is not refused: {other:?}"),
        }
    }
    let foreign = exported(&crm, &by, &[("format", "ndjson"), ("delimiter", ";"), ("time_zone", "UTC")]).await;
    assert!(matches!(foreign, Err(Error::Invalid(errors)) if errors.iter().count() == 2));
    let agent = Principal::user(by.organization, UserId(uuid::Uuid::from_u128(11)), Role::Agent, None);
    assert!(matches!(exported(&crm, &agent, &[]).await, Err(Error::Forbidden(_))));
}

#[tokio::test]
async fn what_left_is_noted() {
    let (crm, by) = crm().await;
    for name in ["Ann", "Bob", "Cid"] {
        create(&crm, &by, &json!({"name": name, "visits": name.len()})).await;
    }
    exported(&crm, &by, &[("name[ne]", "Ann"), ("fields", "name"), ("sort", "-name")]).await.unwrap();
    let exports = AuditEntry::record_type.equals("customer_exports".to_owned());
    let entries = crm.repo::<AuditEntry>().find(by.scope(), &Query::new(exports, 10)).await.unwrap().records;
    let of = |action: &str| {
        let entry = entries.iter().find(|entry| entry.action == action).unwrap();
        entry.after.as_ref().unwrap().to_value()
    };
    let begun = of("customers.exported");
    assert_eq!(begun["columns"], json!(["name"]));
    assert_eq!((&begun["format"], &begun["sort"]), (&json!("csv"), &json!("-name")));
    assert_eq!(begun["filter"]["field"], "name");
    let ended = of("customers.export_ended");
    assert_eq!((&ended["rows"], &ended["outcome"]), (&json!(2), &json!("complete")));
    assert_eq!(ended["export_id"], begun["export_id"]);
    let events = crm.repo::<crate::event::Event>().find(by.scope(), &Query::new(Filter::ALL, 100)).await.unwrap();
    assert_eq!(events.records.iter().filter(|event| event.event_type == "customers.exported").count(), 1);
}

#[tokio::test]
async fn who_lets_go_ends_the_reading() {
    let (crm, by) = crm().await;
    for number in 0..50 {
        create(&crm, &by, &json!({"name": format!("Customer {number}"), "metadata": {"text": "x".repeat(9_000)}}))
            .await;
    }
    let mut blocks = Vec::new();
    for _ in 0..2 {
        let mut export = crm.customers().export(&by, &[], ExportFormat::Csv).await.unwrap().start().await.unwrap();
        assert!(export.next().await.unwrap().is_ok());
        blocks.push(export);
    }
    let full = crm.customers().export(&by, &[], ExportFormat::Csv).await.unwrap().start().await;
    assert!(matches!(full, Err(Error::Unavailable { .. })));
    drop(blocks);
    // Each of the two gives its place back when it sees that nobody listens.
    while crm.customers().export(&by, &[], ExportFormat::Csv).await.unwrap().start().await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_workbook_has_typed_cells() {
    let (crm, by) = crm().await;
    with_fields(&crm, &by).await;
    let many: Vec<String> = (100..300).map(|number| format!("{number}{}", "é".repeat(197))).collect();
    let field = json!({"key": "many", "type": "multi_list", "options": many});
    crm.fields().create(&by, read::<NewCustomField>(&field)).await.unwrap();
    create(
        &crm,
        &by,
        &json!({"name": "=1+1", "phone": "+33142685300", "spend": 1249.5, "opening_visits": 7, "tags": ["a", "b;c"],
            "last_active": "2026-01-30T17:05:00.25Z", "custom": {"many": many,"rating": -2.5, "birthday": "1990-05-17", "member": false, "debt": 99_999_999_999_999_i64,
                "seen_at": "1890-01-01T00:00:00Z", "note": "two\nlines"}}),
    )
    .await;
    let file = exported(&crm, &by, &[("format", "xlsx"), ("time_zone", "Asia/Kolkata")]).await.unwrap();
    let mut workbook = calamine::Xlsx::new(std::io::Cursor::new(file)).unwrap();
    let sheet = workbook.worksheet_range("Customers").unwrap();
    let rows: Vec<_> = sheet.rows().collect();
    let of = |name: &str| {
        let column = rows[0].iter().position(|cell| *cell == Data::String(name.to_owned())).unwrap();
        rows[1][column].clone()
    };
    let time = |data: Data| match data {
        Data::DateTime(time) => time.as_f64(),
        other => panic!("no date: {other:?}"),
    };
    assert_eq!(of("name"), Data::String("=1+1".to_owned()));
    assert_eq!(of("phone"), Data::String("+33142685300".to_owned()));
    assert_eq!((of("spend"), of("visits")), (Data::Float(1249.5), Data::Float(7.0)));
    assert_eq!(of("tags"), Data::String("a;b\\;c".to_owned()));
    assert_eq!((of("custom.rating"), of("custom.member")), (Data::Float(-2.5), Data::Bool(false)));
    assert_eq!(of("custom.debt"), Data::Float(99_999_999_999_999.0));
    assert_eq!(of("custom.note"), Data::String("two\nlines".to_owned()));
    assert_eq!(time(of("custom.birthday")), 33_010.0);
    // 22:35:00.250 in Kolkata.
    assert!((time(of("last_active")) - 46_052.940_975_115).abs() < 1e-8);
    assert_eq!(of("custom.seen_at"), Data::String("1890-01-01T00:00:00.000Z".to_owned()));
    assert!(matches!(of("custom.many"), Data::String(told) if told.starts_with("#TOO LONG: 40199 characters")));
    assert_eq!((of("email"), rows.len()), (Data::Empty, 2));
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[-=+@' ,;|\"\t\nab＝é\\\\]{0,10}x", "[a-zé]{1,8}", "\\PC{1,8}x"]
}

/// What a caller may give of a customer, apart from e-mails and phones, which others may have.
fn customer() -> impl Strategy<Value = JsonValue> {
    let custom = (
        prop::option::of(text()),
        prop::option::of(-1e12..1e12),
        prop::option::of((1_i16..9999, 1_u8..=12, 1_u8..=28)),
        prop::option::of(any::<bool>()),
        prop::option::of(-62_135_596_800_000_i64..253_402_207_200_999),
        prop::option::of(-999_999_999_999_i64..999_999_999_999),
        prop::collection::vec(prop::sample::select(vec!["north;east", "a|b", "back\\slash", "=1"]), 0..3),
    );
    let own = (text(), prop::collection::vec(text(), 0..4), 0_i64..999_999_999_999, 0_i64..1_000_000, text());
    (own, custom).prop_map(|((name, tags, spend, visits, note), (text, number, date, flag, instant, money, areas))| {
        let amount = |ten_thousandths: i64| {
            let money = Money::from_ten_thousandths(ten_thousandths).unwrap();
            serde_json::from_str::<JsonValue>(&money.to_string()).unwrap()
        };
        let mut custom = serde_json::Map::new();
        let given = [
            ("note", text.map(|text| json!(text))),
            ("rating", number.map(|number: f64| json!(number))),
            ("birthday", date.map(|(year, month, day)| json!(format!("{year:04}-{month:02}-{day:02}")))),
            ("member", flag.map(|flag| json!(flag))),
            ("seen_at", instant.map(|at| json!(Timestamp::from_milliseconds(at).unwrap().to_string()))),
            ("debt", money.map(amount)),
            ("areas", Some(json!(areas))),
        ];
        for (key, value) in given {
            custom.extend(value.map(|value| (key.to_owned(), value)));
        }
        json!({"name": name, "tags": tags, "spend": amount(spend), "visits": visits, "custom": custom,
            "metadata": {"note": note}, "consent": {"sms": {"granted": true, "at": "2026-01-01T00:00:00Z"}}})
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_exported_is_what_was_given(given in prop::collection::vec(customer(), 1..5), zone in prop::sample::select(
        vec!["UTC", "Asia/Kolkata", "America/New_York"],
    )) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (crm, by) = crm().await;
            with_fields(&crm, &by).await;
            let mut created = Vec::new();
            for json in &given {
                // A name of spaces, a tag that is there twice: what the CRM refuses cannot leave it.
                let new = read::<NewCustomer>(json);
                if let Ok(customer) = crm.customers().create(&by, new, WriteOptions::default()).await {
                    created.push(customer);
                }
            }
            // The clock stands still, so that ids alone say the order.
            created.sort_by_key(|customer| customer.id);
            let lines = exported(&crm, &by, &[("format", "ndjson")]).await.unwrap();
            let shape = crm.customers().shape(&by, None, None).await.unwrap();
            let expected: String = created
                .iter()
                .map(|customer| serde_json::to_string(&shape.of(customer.clone()).unwrap()).unwrap() + "\n")
                .collect();
            assert_eq!(String::from_utf8(lines).unwrap(), expected);

            let rows = table(&exported(&crm, &by, &[("time_zone", zone)]).await.unwrap());
            assert_eq!(rows.len(), created.len());
            for (row, customer) in rows.iter().zip(created) {
                assert_eq!(cell(row, "name"), customer.name.as_str());
                assert_eq!(split_list(cell(row, "tags")), customer.tags);
                assert_eq!(cell(row, "spend").parse::<Money>().unwrap(), customer.spend);
                assert_eq!(cell(row, "created_at").parse::<Timestamp>().unwrap(), customer.meta.created_at);
                assert_eq!(cell(row, "metadata"), customer.metadata.as_str());
                // As text, because reading a number into a value may round it.
                let shown = serde_json::to_string(&shape.of(customer).unwrap()).unwrap();
                let shown: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&shown).unwrap();
                let custom: BTreeMap<String, Box<RawValue>> = serde_json::from_str(shown["custom"].get()).unwrap();
                let json = |key: &str| custom.get(key).map(|json| json.get());
                let text = |key: &str| json(key).map(|json| serde_json::from_str::<String>(json).unwrap());
                for key in ["note", "birthday"] {
                    assert_eq!(cell(row, &format!("custom.{key}")), text(key).unwrap_or_default());
                }
                for key in ["rating", "member", "debt"] {
                    assert_eq!(cell(row, &format!("custom.{key}")), json(key).unwrap_or_default());
                }
                let seen = text("seen_at").map(|text| text.parse::<Timestamp>().unwrap());
                assert_eq!(cell(row, "custom.seen_at").parse::<Timestamp>().ok(), seen);
                let areas: Vec<String> = serde_json::from_str(json("areas").unwrap_or("[]")).unwrap();
                assert_eq!(split_list(cell(row, "custom.areas")), areas);
            }
        });
    }

    #[test]
    fn amounts_and_numbers_are_written_as_they_are_shown(amount in -999_999_999_999_999_999_i64..=999_999_999_999_999_999, number: i64) {
        let mut out = Vec::new();
        csv::write_money(Money::from_ten_thousandths(amount).unwrap(), &mut out);
        out.push(b' ');
        csv::write_integer(number, &mut out);
        let expected = format!("{} {number}", Money::from_ten_thousandths(amount).unwrap());
        prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn cells_are_split_as_they_were_joined() {
    let delimiter = "-".parse().unwrap();
    assert_eq!(cells("\"-1\"-a", delimiter), ["-1", "a"]);
}
