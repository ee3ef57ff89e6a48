//! Import and export through HTTP, beside the server's own `COPY` of the same rows into and out of the same tables.

use std::time::{Duration, Instant};

use crm_core::background;
use futures::StreamExt as _;
use reqwest::{
    Client,
    multipart::{Form, Part},
};
use serde_json::Value;
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};

use tokio::sync::oneshot;

use super::{people, stage::Stage};

/// The columns that an export without a choice has, custom fields aside.
const EXPORTED: &str = "id,name,email,emails,phone,phones,status,\"type\",tags,group_ids,spend,visits,last_active,\
                        total_orders,total_order_value,last_order_date,total_complaints,open_complaints,user_id,consent,\
                        metadata,owner_id,team_id,organization_id,version,created_at,updated_at";
/// Where an import leaves its rows.
const FILLED: [&str; 2] = ["customers", "contact_points"];

/// Exports every customer as CSV, and has the server copy the same columns out as CSV.
pub(crate) async fn export(stage: &Stage, rounds: usize) {
    let mut connection = PgConnection::connect(&stage.database).await.unwrap();
    let copy = format!(
        "COPY (SELECT {EXPORTED} FROM customers WHERE organization_id = '{}' AND deleted_at IS NULL) TO STDOUT \
         (FORMAT csv, HEADER)",
        stage.organization
    );
    let mut measured = Vec::new();
    for _ in 0..rounds {
        let begin = Instant::now();
        let mut blocks = connection.copy_out_raw(&copy).await.unwrap();
        let mut bytes = 0;
        while let Some(block) = blocks.next().await {
            bytes += block.unwrap().len();
        }
        drop(blocks);
        let floor = begin.elapsed();
        assert!(bytes > stage.customers * 50);

        let begin = Instant::now();
        let answer = Client::new().get(url(stage, "/customers/export?format=csv")).bearer_auth(&stage.token);
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let (mut blocks, mut lines) = (answer.bytes_stream(), 0);
        while let Some(block) = blocks.next().await {
            lines += block.unwrap().iter().filter(|byte| **byte == b'\n').count();
        }
        assert!(lines > stage.customers, "{lines} lines");
        measured.push((floor, begin.elapsed()));
    }
    report("export as CSV", stage.customers, measured);
}

/// Imports a file; then has the server copy the rows in that the import has made, taken out meanwhile.
pub(crate) async fn import(stage: &Stage, rows: usize, rounds: usize) {
    let mut connection = PgConnection::connect(&stage.database).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move { stopped.await.unwrap_or_default() };
    let background = tokio::spawn(background::run(stage.crm.clone(), stopped));
    let mut measured = Vec::new();
    for round in 0..rounds {
        let now: String = connection.fetch_one("SELECT now()::text").await.unwrap().get(0);
        let ours = imported(stage, file(round * rows, rows)).await;

        let mut kept = Vec::new();
        for table in FILLED {
            let mut bytes = Vec::new();
            let copy = format!("COPY (SELECT * FROM {table} WHERE created_at >= '{now}') TO STDOUT (FORMAT binary)");
            let mut blocks = connection.copy_out_raw(&copy).await.unwrap();
            while let Some(block) = blocks.next().await {
                bytes.extend_from_slice(&block.unwrap());
            }
            kept.push((table, bytes));
        }
        remove(&mut connection, &now).await;

        let begin = Instant::now();
        connection.execute("BEGIN").await.unwrap();
        for (table, bytes) in &kept {
            let mut copy = connection.copy_in_raw(&format!("COPY {table} FROM STDIN (FORMAT binary)")).await.unwrap();
            for block in bytes.chunks(1 << 18) {
                copy.send(block).await.unwrap();
            }
            assert_eq!(copy.finish().await.unwrap(), rows as u64, "{table}");
        }
        connection.execute("COMMIT").await.unwrap();
        measured.push((begin.elapsed(), ours));
        remove(&mut connection, &now).await;
    }
    stop.send(()).unwrap();
    background.await.unwrap();
    report("import of a CSV file", rows, measured);
}

/// Takes out what was added since, and leaves the tables and their indexes as they were before.
async fn remove(connection: &mut PgConnection, since: &str) {
    for table in FILLED {
        let delete = format!("DELETE FROM {table} WHERE created_at >= '{since}'");
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(delete))).await.unwrap();
        let vacuum = format!("VACUUM (ANALYZE) {table}");
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(vacuum))).await.unwrap();
    }
    connection.execute("CHECKPOINT").await.unwrap();
}

fn file(first: usize, rows: usize) -> String {
    let mut file = String::from("name,email,tags,spend,visits\n");
    for number in first..first + rows {
        let name = people::name(number);
        let line =
            format!("{name},imported.{number}@example.com,newsletter;imported,{}.25,{}\n", number % 9000, number % 50);
        file.push_str(&line);
    }
    file
}

/// How long it takes from the first byte of the upload to the end of the job.
async fn imported(stage: &Stage, file: String) -> Duration {
    let rows = file.lines().count() - 1;
    let client = Client::new();
    let begin = Instant::now();
    let form = Form::new().part("file", Part::text(file).file_name("customers.csv"));
    let request = client.post(url(stage, "/customers/import")).bearer_auth(&stage.token).multipart(form);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    let path = format!("/customers/import/{}", answer["id"].as_str().expect("an import"));
    loop {
        let request = client.get(url(stage, &path)).bearer_auth(&stage.token);
        let seen: Value = request.send().await.unwrap().json().await.unwrap();
        match seen["state"].as_str() {
            Some("queued" | "running") => tokio::time::sleep(Duration::from_millis(50)).await,
            _ => {
                assert_eq!(seen["created"], rows, "{seen}");
                return begin.elapsed();
            }
        }
    }
}

fn url(stage: &Stage, path: &str) -> String {
    format!("http://{}/api/v1{path}", stage.ours)
}

fn report(name: &str, rows: usize, mut measured: Vec<(Duration, Duration)>) {
    let ratio = |(floor, ours): &(Duration, Duration)| floor.as_secs_f64() / ours.as_secs_f64();
    measured.sort_by(|one, other| ratio(one).total_cmp(&ratio(other)));
    let (least, middle, most) = (measured[0], measured[measured.len() / 2], measured[measured.len() - 1]);
    let per_second = |time: Duration| rows as f64 / time.as_secs_f64();
    println!(
        "{name:<28} {:>10.0} {:>10.0}  {:.2} ({:.2}, {:.2})   rows a second",
        per_second(middle.0),
        per_second(middle.1),
        ratio(&middle),
        ratio(&least),
        ratio(&most),
    );
}
