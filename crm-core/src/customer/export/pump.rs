use futures::StreamExt as _;
use serde_json::json;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    blocks::{BLOCK, Gone, Sender},
    csv::CsvTable,
    json::JsonLines,
    workbook::{Batch, WorkbookTable},
};
use crate::{
    access::Principal,
    crm::Crm,
    customer::Customer,
    error::{Error, Result},
    operation::Operation,
    record::Record as _,
    store::{Query, Row, StoreError},
};

/// What the audit trail calls an export.
pub(super) const RECORD_TYPE: &str = "customer_exports";
/// So many rows are taken from the store at once.
const CHUNK: usize = 256;

/// How rows become a file.
#[derive(Debug)]
pub(super) enum Writer {
    Csv(Box<CsvTable>),
    Ndjson(Box<JsonLines>),
    /// Written when every row is known.
    Workbook(Box<WorkbookTable>),
}

/// A text with a line for each row.
pub(super) trait LineWriter: Send {
    /// Adds what comes before the first row.
    fn begin(&self, out: &mut Vec<u8>);

    /// Adds a row's line.
    fn row(&mut self, row: &Row, out: &mut Vec<u8>);
}

/// Why a file is not whole.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(Error),
    Gone(Gone),
}

impl From<Gone> for Stop {
    fn from(gone: Gone) -> Self {
        Self::Gone(gone)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// One export that runs.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) crm: Crm,
    pub(super) by: Principal,
    pub(super) id: Uuid,
    pub(super) query: Query,
}

impl Task {
    /// Reads the rows and hands on the file. What became of it is noted before the last block is.
    pub(super) async fn run(self, writer: Writer, sender: Sender) {
        let written = match writer {
            Writer::Csv(table) => self.lines(*table, &sender).await,
            Writer::Ndjson(lines) => self.lines(*lines, &sender).await,
            Writer::Workbook(table) => self.workbook(*table, &sender).await,
        };
        let outcome = match &written {
            Ok(()) => "complete",
            Err(Stop::Failed(_)) => "failed",
            Err(Stop::Gone(Gone::Left)) => "abandoned",
            Err(Stop::Gone(Gone::Idle)) => "timed_out",
        };
        self.note_end(outcome, sender.rows()).await;
        let told = match written {
            Ok(()) => sender.end().await,
            Err(Stop::Failed(error)) => {
                tracing::error!(export = %self.id, error = &error as &dyn std::error::Error, "An export failed.");
                sender.fail(error).await
            }
            Err(Stop::Gone(gone)) => Err(gone),
        };
        if let Err(gone) = told {
            tracing::info!(export = %self.id, rows = sender.rows(), ?gone, "Nobody took the rest of an export.");
        }
    }

    async fn lines(&self, mut lines: impl LineWriter, sender: &Sender) -> Result<(), Stop> {
        let mut block = Vec::with_capacity(BLOCK + BLOCK / 4);
        lines.begin(&mut block);
        let stream = self.crm.store().stream(self.by.scope(), Customer::COLLECTION, self.query.clone());
        let mut chunks = stream.ready_chunks(CHUNK);
        loop {
            let chunk = tokio::select! {
                biased;
                () = sender.closed() => return Err(Gone::Left.into()),
                chunk = chunks.next() => chunk,
            };
            let Some(chunk) = chunk else { break };
            for row in chunk {
                lines.row(&row?, &mut block);
                sender.add_rows(1);
                if block.len() >= BLOCK {
                    sender.block(std::mem::replace(&mut block, Vec::with_capacity(BLOCK + BLOCK / 4))).await?;
                }
            }
        }
        if !block.is_empty() {
            sender.block(block).await?;
        }
        Ok(())
    }

    /// The workbook is written by a thread that may wait.
    async fn workbook(&self, table: WorkbookTable, sender: &Sender) -> Result<(), Stop> {
        let (batches, received) = mpsc::channel(4);
        let (runtime, to_client) = (tokio::runtime::Handle::current(), sender.clone());
        let writing = tokio::task::spawn_blocking(move || table.write(received, &to_client, &runtime));
        let fed = self.feed(&batches, sender).await;
        // Without its end the thread lets go of what it has.
        drop(batches);
        let written = writing.await.map_err(|error| Stop::Failed(Error::internal(error)))?;
        fed.and(written)
    }

    async fn feed(&self, batches: &mpsc::Sender<Batch>, sender: &Sender) -> Result<(), Stop> {
        let stream = self.crm.store().stream(self.by.scope(), Customer::COLLECTION, self.query.clone());
        let mut chunks = stream.ready_chunks(CHUNK);
        loop {
            let chunk = tokio::select! {
                biased;
                () = sender.closed() => return Err(Gone::Left.into()),
                chunk = chunks.next() => chunk,
            };
            let batch = match chunk {
                Some(chunk) => Batch::Rows(chunk.into_iter().collect::<Result<_, StoreError>>()?),
                None => Batch::End,
            };
            let ends = matches!(batch, Batch::End);
            // A thread that takes no more says why when it is waited for.
            if batches.send(batch).await.is_err() || ends {
                return Ok(());
            }
        }
    }

    async fn note_end(&self, outcome: &str, rows: u64) {
        let mut operation = Operation::new(&self.crm, &self.by);
        let after = json!({"export_id": self.id, "rows": rows, "outcome": outcome});
        operation.audit_named("customers.export_ended", RECORD_TYPE, Some(self.id), None, Some(after));
        if let Err(error) = operation.commit().await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(export = %self.id, error, "The end of an export could not be noted.");
        }
    }
}
