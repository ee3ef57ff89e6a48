use std::collections::BTreeMap;

use serde::Serialize;

use super::{Campaign, CampaignId, Communication, CommunicationStatus};
use crate::{
    crm::Crm,
    error::Result,
    record::Record as _,
    store::{AggregateRow, Aggregation, Group, Measure, Measured, Scope, Value},
};

/// How many communications are how far. What has arrived was sent, and what was read has arrived: so
/// `queued + sent + failed + suppressed + unknown` is the audience.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommunicationCounts {
    /// To how many customers it goes, as far as it is planned.
    pub audience: u64,
    /// They wait for their time, or are being sent.
    pub queued: u64,
    /// The vendor took them.
    pub sent: u64,
    /// Of those that were sent, so many arrived.
    pub delivered: u64,
    /// Of those that arrived, so many were read.
    pub read: u64,
    /// They were not taken, or did not arrive.
    pub failed: u64,
    /// They are not sent: the customer does not want them, cannot be reached, or is kept out.
    pub suppressed: u64,
    /// The vendor may have taken them, or not.
    pub unknown: u64,
}

/// Shares of what was sent, 0 to 1; absent where nothing was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommunicationRates {
    /// `delivered` of `sent`.
    pub delivered: Option<f64>,
    /// `read` of `sent`.
    pub read: Option<f64>,
    /// `failed` of `sent` and `failed`.
    pub failed: Option<f64>,
}

/// The figures of a campaign, as of now.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CampaignStatistics {
    /// Of all of it.
    #[serde(flatten)]
    pub counts: CommunicationCounts,
    /// Of all of it.
    pub rates: CommunicationRates,
    /// Of each variant that somebody got, and of `holdout`, who get nothing.
    pub variants: BTreeMap<String, VariantStatistics>,
}

/// The figures of one variant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VariantStatistics {
    /// How many are how far.
    #[serde(flatten)]
    pub counts: CommunicationCounts,
    /// Shares of what was sent.
    pub rates: CommunicationRates,
}

/// A campaign with its figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CampaignProgress {
    /// The campaign.
    #[serde(flatten)]
    pub campaign: Campaign,
    /// Its figures, as of now.
    pub statistics: CampaignStatistics,
}

/// A campaign with its figures and the first of what it sends.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CampaignDetail {
    /// The campaign.
    #[serde(flatten)]
    pub campaign: Campaign,
    /// Its figures, as of now.
    pub statistics: CampaignStatistics,
    /// The first page of its communications.
    pub communications: Vec<Communication>,
    /// Give it to `/campaigns/{id}/communications` as `cursor` to have the next page.
    pub next_cursor: Option<String>,
}

impl CommunicationCounts {
    fn add(&mut self, status: CommunicationStatus, count: u64) {
        use CommunicationStatus::{Delivered, Failed, Queued, Read, Sent, Suppressed, Unknown};
        self.audience += count;
        match status {
            Queued => self.queued += count,
            Sent | Delivered | Read => self.sent += count,
            Failed => self.failed += count,
            Suppressed => self.suppressed += count,
            Unknown => self.unknown += count,
        }
        if matches!(status, Delivered | Read) {
            self.delivered += count;
        }
        if status == Read {
            self.read += count;
        }
    }

    fn rates(&self) -> CommunicationRates {
        CommunicationRates {
            delivered: share(self.delivered, self.sent),
            read: share(self.read, self.sent),
            failed: share(self.failed, self.sent + self.failed),
        }
    }
}

/// With four places.
fn share(part: u64, whole: u64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    let share = part as f64 / whole as f64;
    (whole > 0).then(|| (share * 10_000.0).round() / 10_000.0)
}

impl CampaignStatistics {
    /// Those of a campaign now: one pass over an index.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn of(crm: &Crm, scope: Scope, id: CampaignId) -> Result<Self> {
        let aggregation = Aggregation {
            filter: Communication::campaign_id.equals(id),
            groups: vec![Group::Field(Communication::status.field()), Group::Field(Communication::variant.field())],
            measures: vec![Measure::Count],
        };
        Ok(Self::from_rows(&crm.store().aggregate(scope, Communication::COLLECTION, &aggregation).await?))
    }

    fn from_rows(rows: &[AggregateRow]) -> Self {
        let mut statistics = Self::default();
        for row in rows {
            let [Value::Text(status), variant] = row.groups.as_slice() else { continue };
            let (Ok(status), Some(Measured::Count(count))) = (status.parse(), row.measures.first()) else { continue };
            statistics.counts.add(status, *count);
            if let Value::Text(variant) = variant {
                statistics.variants.entry(variant.clone()).or_default().counts.add(status, *count);
            }
        }
        statistics.rates = statistics.counts.rates();
        for variant in statistics.variants.values_mut() {
            variant.rates = variant.counts.rates();
        }
        statistics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_add_up() {
        let text = |text: &str| Value::Text(text.to_owned());
        let rows: Vec<AggregateRow> = [
            ("QUEUED", Value::Null, 1),
            ("SENT", text("A"), 2),
            ("DELIVERED", text("A"), 3),
            ("READ", text("B"), 4),
            ("FAILED", text("B"), 1),
            ("SUPPRESSED", text("holdout"), 5),
            ("UNKNOWN", Value::Null, 6),
        ]
        .into_iter()
        .map(|(status, variant, count)| AggregateRow {
            groups: vec![text(status), variant],
            measures: vec![Measured::Count(count)],
        })
        .collect();
        let CampaignStatistics { counts, rates, variants } = CampaignStatistics::from_rows(&rows);
        assert_eq!(counts.queued + counts.sent + counts.failed + counts.suppressed + counts.unknown, counts.audience);
        assert_eq!((counts.audience, counts.sent, counts.delivered, counts.read), (22, 9, 7, 4));
        assert_eq!((rates.delivered, rates.read, rates.failed), (Some(0.7778), Some(0.4444), Some(0.1)));
        assert_eq!(variants["A"].counts.sent, 5);
        assert_eq!((variants["B"].rates.failed, variants["holdout"].rates.failed), (Some(0.2), None));
        assert_eq!(CampaignStatistics::from_rows(&[]).counts, CommunicationCounts::default());
    }
}
