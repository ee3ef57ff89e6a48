use std::sync::LazyLock;

use futures::StreamExt as _;
use serde::Serialize;

use super::{AuditEntry, AuditEntryId, chain, sealer};
use crate::{
    access::{Principal, permissions},
    crm::Crm,
    error::{Error, Result},
    list::{self, List, ListRequest, Listing},
    record::{CREATED_AT, Record as _},
    rule::{Catalog, CatalogField},
    store::{Filter, Query},
};

/// The audit trail of the principal's organization.
#[derive(Clone, Copy, Debug)]
pub struct Audit<'a> {
    crm: &'a Crm,
}

/// What a check of the whole chain found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Verification {
    /// Whether every sealed entry is as it was sealed, and none is missing between the first and the last.
    pub intact: bool,
    /// The place of the last sealed entry that fits; 0 where none is sealed.
    pub sealed_up_to: i64,
    /// The hash of that entry. Kept elsewhere, it shows later whether the chain's end was cut off.
    pub head_hash: String,
    /// How many entries wait for their seal; they get it within seconds.
    pub unsealed: u64,
    /// The first entry that does not fit.
    pub broken: Option<BrokenLink>,
}

/// An entry that does not fit into the chain.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BrokenLink {
    /// The place where it was expected.
    pub sequence: i64,
    /// The entry found there.
    pub id: AuditEntryId,
    /// What is wrong with it.
    pub reason: String,
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::new(AuditEntry::COLLECTION)
        .with(CatalogField::column(CREATED_AT))
        .with(CatalogField::column(AuditEntry::action))
        .with(CatalogField::column(AuditEntry::actor_type).options(["user", "api_key", "service", "system"]))
        .with(CatalogField::column(AuditEntry::actor_id))
        .with(CatalogField::column(AuditEntry::record_type))
        .with(CatalogField::column(AuditEntry::record_id))
        .with(CatalogField::column(AuditEntry::ip))
        .with(CatalogField::column(AuditEntry::request_id))
        .with(CatalogField::column(AuditEntry::sequence))
        .with(CatalogField::column(AuditEntry::sealed))
});

/// The fields of an entry as it is shown.
const SHOWN: [&str; 19] = [
    "id",
    "organization_id",
    "action",
    "actor_type",
    "actor_id",
    "record_type",
    "record_id",
    "ip",
    "request_id",
    "before",
    "after",
    "digest",
    "sealed",
    "sequence",
    "previous_hash",
    "hash",
    "version",
    "created_at",
    "updated_at",
];

impl<'a> Audit<'a> {
    pub(crate) const fn new(crm: &'a Crm) -> Self {
        Self { crm }
    }

    /// What a list of entries can be asked: who, what, which record, from where, when.
    #[must_use]
    pub fn listing() -> Listing<'static> {
        Listing::new(&CATALOG).sortable(&["created_at", "sequence"]).fields(&SHOWN)
    }

    /// The entries of the organization, newest first where no order is asked for.
    ///
    /// # Errors
    /// [`crate::Error::Forbidden`] without `audit:read`; [`crate::Error::Invalid`] for a cursor of another list; those
    /// of the store.
    pub async fn list(&self, by: &Principal, request: &ListRequest) -> Result<List<AuditEntry>> {
        by.may(permissions::AUDIT_READ)?;
        list::everything(self.crm, by, request, Filter::ALL).await
    }

    /// One entry.
    ///
    /// # Errors
    /// [`crate::Error::Forbidden`] without `audit:read`; [`crate::Error::NotFound`].
    pub async fn get(&self, by: &Principal, id: AuditEntryId) -> Result<AuditEntry> {
        by.may(permissions::AUDIT_READ)?;
        self.crm.repo::<AuditEntry>().get(by.scope(), id).await?.ok_or(Error::NotFound("audit entry"))
    }

    /// Checks every sealed entry of the organization against the chain. Memory stays constant.
    ///
    /// # Errors
    /// [`crate::Error::Forbidden`] without `audit:read`; those of the store.
    pub async fn verify(&self, by: &Principal) -> Result<Verification> {
        by.may(permissions::AUDIT_READ)?;
        let repo = self.crm.repo::<AuditEntry>();
        let mut verification = Verification {
            intact: true,
            sealed_up_to: 0,
            head_hash: chain::START.to_owned(),
            unsealed: repo.count(by.scope(), &sealer::unsealed()).await?,
            broken: None,
        };
        let sealed = Query::new(AuditEntry::sequence.exists(), 0).sorted(vec![AuditEntry::sequence.ascending()]);
        let mut entries = std::pin::pin!(repo.stream(by.scope(), sealed));
        while let Some(entry) = entries.next().await {
            let entry = entry?;
            let sequence = verification.sealed_up_to + 1;
            if let Some(reason) = chain::flaw(&entry, sequence, &verification.head_hash) {
                verification.intact = false;
                verification.broken = Some(BrokenLink { sequence, id: entry.id, reason: reason.to_owned() });
                break;
            }
            verification.sealed_up_to = sequence;
            verification.head_hash = entry.hash.unwrap_or_default();
        }
        Ok(verification)
    }
}
