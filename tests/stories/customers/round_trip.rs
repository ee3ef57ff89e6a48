//! What was exported imports back as it was: a property, in process, on the stores that need no server.

use std::collections::BTreeMap;

use crm_core::{
    Crm,
    access::Principal,
    customer::{
        CustomerGroup, ExportFormat, NewCustomer, NewCustomerGroup, WriteOptions,
        import::{CustomerImport, ImportOptions, ImportState},
    },
    field::NewCustomField,
    id::OrganizationId,
    input::FromInput,
    job::runner,
};
use futures::StreamExt as _;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

use super::exports::{COMPARED, field_inputs, spoilable};
use crate::support::{Place, StoreKind};

/// How a file is asked for.
const FORMS: [&[(&str, &str)]; 4] = [
    &[("format", "csv")],
    &[("format", "csv"), ("time_zone", "America/New_York"), ("delimiter", ";"), ("bom", "true")],
    &[("format", "csv"), ("time_zone", "Asia/Kolkata"), ("delimiter", "tab")],
    &[("format", "ndjson")],
];

fn read<T: FromInput>(json: &Value) -> T {
    T::from_json(json).unwrap_or_else(|errors| panic!("{json}: {errors}"))
}

/// An organization with fields of every type, and groups.
struct Shop<'a> {
    crm: &'a Crm,
    by: Principal,
}

impl<'a> Shop<'a> {
    async fn open(crm: &'a Crm) -> Self {
        let by = Principal::system(crm.new_id::<OrganizationId>());
        for field in field_inputs() {
            crm.fields().create(&by, read::<NewCustomField>(&field)).await.expect("a field");
        }
        for name in ["=Friends; old", "Others"] {
            crm.customers().create_group(&by, read::<NewCustomerGroup>(&json!({"name": name}))).await.expect("a group");
        }
        Self { crm, by }
    }

    async fn groups(&self) -> Vec<String> {
        let all = crm_core::store::Query::new(crm_core::store::Filter::ALL, 10);
        let found = self.crm.repo::<CustomerGroup>().find(self.by.scope(), &all).await.expect("groups");
        found.records.iter().map(|group| group.id.to_string()).collect()
    }

    async fn exported(&self, pairs: &[(&str, &str)]) -> Vec<u8> {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let export = self.crm.customers().export(&self.by, &pairs, ExportFormat::Csv).await.expect("an export");
        let mut blocks = export.start().await.expect("begun");
        let mut file = Vec::new();
        while let Some(block) = blocks.next().await {
            file.extend(block.expect("a block"));
        }
        file
    }

    /// Every customer by e-mail address, as GET shows them.
    async fn compared(&self, fields: &str) -> BTreeMap<String, String> {
        let file = self.exported(&[("format", "ndjson"), ("fields", fields)]).await;
        let lines = String::from_utf8(file).expect("text");
        let email = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["email"].to_string();
        lines.lines().map(|line| (email(line), line.to_owned())).collect()
    }

    async fn import(&self, options: &[(&str, &str)], file: &[u8]) -> CustomerImport {
        let mut said = ImportOptions::default();
        for (name, value) in options {
            said.set(name, value).expect("an option");
        }
        let mut upload = self.crm.imports().begin(&self.by, &said).await.expect("room");
        upload.push(file).await.expect("kept");
        let begun = upload.finish(said).await.expect("begun").import;
        runner::run_due(self.crm).await.expect("ran");
        let import = self.crm.imports().get(&self.by, begun.id).await.expect("the import").import;
        if import.failed > 0 {
            let errors = self.crm.imports().errors(&self.by, import.id).await.expect("the errors").pieces();
            let errors: Vec<_> = errors.map(|piece| piece.expect("a piece")).collect().await;
            panic!("{}", String::from_utf8_lossy(&errors.concat()));
        }
        assert_eq!(import.state, ImportState::Succeeded);
        import
    }
}

async fn comes_back(crm: &Crm, given: &[Value], form: &[(&str, &str)]) {
    let shop = Shop::open(crm).await;
    let groups = shop.groups().await;
    for (number, customer) in given.iter().enumerate() {
        let mut customer = customer.clone();
        customer["group_ids"] = json!(groups.iter().take(number % 3).collect::<Vec<_>>());
        crm.customers().create(&shop.by, read::<NewCustomer>(&customer), WriteOptions::default()).await.expect("made");
    }
    let rows = i64::try_from(given.len()).expect("few");
    let file = shop.exported(form).await;

    let everything = format!("{COMPARED},group_ids,id");
    let before = shop.compared(&everything).await;
    let again = shop.import(&[("upsert_key", "id"), ("mode", "update")], &file).await;
    assert_eq!((again.unchanged, again.updated), (rows, 0), "{}", String::from_utf8_lossy(&file));
    assert_eq!(shop.compared(&everything).await, before);

    let other = Shop::open(crm).await;
    // Ids of groups are the organization's own.
    let import = other.import(&[("mapping", r#"{"group_ids": null}"#)], &file).await;
    assert_eq!(import.created, rows);
    assert_eq!(other.compared(COMPARED).await, shop.compared(COMPARED).await);
}

fn on(kind: StoreKind) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let place = runtime.block_on(Place::new(kind));
    let crm = Crm::builder(runtime.block_on(place.open())).build();
    let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    let cases = (spoilable(1..6), prop::sample::select(FORMS.to_vec()));
    let outcome = runner.run(&cases, |(given, form)| {
        runtime.block_on(comes_back(&crm, &given, form));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_was_exported_imports_back_in_memory() {
    on(StoreKind::Memory);
}

#[test]
fn what_was_exported_imports_back_in_sqlite() {
    on(StoreKind::Sqlite);
}
