use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{NewOrder, OrderDeed, OrderId, Orders, WrittenOrder, write::Ask};
use crate::{
    access::{Principal, permissions},
    customer::{BatchError, BatchStatus},
    error::{Error, FieldErrors, Result},
    input::{FromInput, batch},
};

/// So many orders are written by one commit.
const CHUNK: usize = 100;

/// Orders to be taken in: `{"items": […]}` or the list itself, 1 to 1000 of them.
#[derive(Clone, Debug)]
pub struct NewOrders {
    items: Vec<Result<NewOrder, FieldErrors>>,
}

impl FromInput for NewOrders {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        Ok(Self { items: batch::items(json, "orders")? })
    }
}

/// One order of a batch.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrderBatchResult {
    /// Its place in the request, from 0.
    pub index: usize,
    /// What became of it. `unchanged` means that the order with the `external_id` was there already.
    pub status: BatchStatus,
    /// Its id, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<OrderId>,
    /// Its version now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<BatchError>,
}

/// What became of a batch of orders.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrderBatchReport {
    /// How many orders the batch had.
    pub matched: u64,
    /// How many are new.
    pub created: u64,
    /// How many were there already.
    pub unchanged: u64,
    /// How many were refused.
    pub failed: u64,
    /// What became of each.
    pub results: Vec<OrderBatchResult>,
}

impl OrderBatchReport {
    fn add(&mut self, answer: Result<WrittenOrder>) {
        let index = self.results.len();
        self.matched += 1;
        self.results.push(match answer {
            Ok(WrittenOrder { order, deed }) => {
                let created = deed == OrderDeed::Created;
                *(if created { &mut self.created } else { &mut self.unchanged }) += 1;
                let status = if created { BatchStatus::Created } else { BatchStatus::Unchanged };
                OrderBatchResult { index, status, id: Some(order.id), version: Some(order.meta.version), error: None }
            }
            Err(error) => {
                self.failed += 1;
                let error = Some(error.into());
                OrderBatchResult { index, status: BatchStatus::Failed, id: None, version: None, error }
            }
        });
    }
}

impl Orders<'_> {
    /// Takes orders in. Each has its own answer: one that is refused does not spoil the others. Written in commits of 100,
    /// so that no other request waits long.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `orders:write`.
    pub async fn create_batch(&self, by: &Principal, new: NewOrders) -> Result<OrderBatchReport> {
        by.may(permissions::ORDERS_WRITE)?;
        let asks: Vec<Ask> = new
            .items
            .into_iter()
            .map(|item| match item {
                Ok(new) => Ask::Ingest(new.0),
                Err(errors) => Ask::Unreadable(errors),
            })
            .collect();
        let mut report = OrderBatchReport::default();
        // Parts still to be written, the next one last.
        let mut parts: Vec<&[Ask]> = asks.chunks(CHUNK).rev().collect();
        while let Some(part) = parts.pop() {
            match self.write(by, part).await {
                Ok(written) => written.into_iter().for_each(|answer| report.add(answer)),
                // Something of one of them fits nowhere: half as many show which one it is.
                Err(error) if is_of_one(&error) && part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(error) if is_of_one(&error) => report.add(Err(error)),
                Err(error) if report.results.is_empty() => return Err(error),
                Err(error) => {
                    // What is written stays written: the caller learns which part is not.
                    let retry_after = match error {
                        Error::Unavailable { retry_after, .. } => retry_after,
                        _ => Duration::from_secs(1),
                    };
                    tracing::warn!(error = &error as &dyn std::error::Error, "a batch of orders was interrupted");
                    while report.results.len() < asks.len() {
                        let message = "The batch was interrupted before this order: send it again.".to_owned();
                        report.add(Err(Error::Unavailable { message, retry_after }));
                    }
                    return Ok(report);
                }
            }
        }
        Ok(report)
    }
}

/// Whether one order of a chunk spoils the others.
const fn is_of_one(error: &Error) -> bool {
    matches!(
        error,
        Error::Duplicate { .. }
            | Error::VersionConflict { .. }
            | Error::NotFound(_)
            | Error::Conflict(_)
            | Error::Invalid(_)
            | Error::TooLarge(_)
    )
}
