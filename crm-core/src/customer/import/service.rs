use std::sync::LazyLock;

use jiff::tz::TimeZone;
use serde_json::json;

use super::{
    error_file::ErrorFile,
    field,
    mapping::{self, Said},
    options::ImportOptions,
    quota,
    record::{
        ColumnFields, CustomerImport, CustomerImportId, ImportMapping, ImportMappingId, ImportMode, ImportState,
        ImportView, NewImportMapping,
    },
    revert::{REVERT_KIND, RevertInput},
    upload::Upload,
};
use crate::{
    access::{Principal, permissions},
    crm::Crm,
    error::{Error, Result},
    job::{Job, JobPriority, JobProgress, NewJob},
    list::{self, List, ListRequest, Listing},
    operation::Operation,
    record::{CREATED_AT, Record as _},
    rule::{Catalog, CatalogField},
    store::{Filter, Query, fold::fold},
    text::Line,
};

/// What the refusal of an import that is not there calls it.
pub(super) const IMPORT: &str = "import";
/// What the refusal of a mapping that is not there calls it.
const MAPPING: &str = "mapping";
/// The most mappings that an organization keeps.
const MOST_MAPPINGS: u64 = 500;

/// The imports of an organization's customers.
#[derive(Clone, Copy, Debug)]
pub struct Imports<'a> {
    crm: &'a Crm,
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::new(CustomerImport::COLLECTION)
        .with(CatalogField::column(CREATED_AT))
        .with(CatalogField::column(CustomerImport::state).options(ImportState::ALL.map(ImportState::name)))
        .with(CatalogField::column(CustomerImport::mode).options(ImportMode::ALL.map(ImportMode::name)))
        .with(CatalogField::column(CustomerImport::dry_run))
        .with(CatalogField::column(CustomerImport::format))
        .with(CatalogField::column(CustomerImport::rows_total))
        .with(CatalogField::column(CustomerImport::failed))
        .with(CatalogField::column(CustomerImport::created_by_id))
        .with(CatalogField::column(CustomerImport::finished_at))
});

static MAPPINGS: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::new(ImportMapping::COLLECTION)
        .with(CatalogField::column(CREATED_AT))
        .with(CatalogField::column(ImportMapping::name))
});

/// The fields of an import as it is listed.
const SHOWN: [&str; 38] = [
    "id",
    "organization_id",
    "state",
    "dry_run",
    "file_name",
    "file_size",
    "format",
    "delimiter",
    "encoding",
    "columns",
    "mapping",
    "ignored_columns",
    "mode",
    "upsert_key",
    "rows_total",
    "rows_read",
    "rows_per_second",
    "seconds_left",
    "created",
    "updated",
    "unchanged",
    "skipped",
    "failed",
    "job_id",
    "revert_job_id",
    "job",
    "reverted",
    "error",
    "revertible_until",
    "created_by_type",
    "created_by_id",
    "started_at",
    "finished_at",
    "version",
    "created_at",
    "updated_at",
    "parts",
    "parts_done",
];

const SHOWN_OF_MAPPINGS: [&str; 7] =
    ["id", "organization_id", "name", "mapping", "version", "created_at", "updated_at"];

impl Crm {
    /// Imports of customers from files.
    #[must_use]
    pub const fn imports(&self) -> Imports<'_> {
        Imports { crm: self }
    }
}

impl Imports<'_> {
    /// What a list of imports can be asked.
    #[must_use]
    pub fn listing() -> Listing<'static> {
        Listing::new(&CATALOG).sortable(&["created_at"]).fields(SHOWN.split_at(36).0)
    }

    /// What a list of mappings can be asked.
    #[must_use]
    pub fn mapping_listing() -> Listing<'static> {
        Listing::new(&MAPPINGS).sortable(&["name", "created_at"]).fields(&SHOWN_OF_MAPPINGS)
    }

    /// Whether the principal may import at all, before a file is sent in vain.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:import` and `customers:write`.
    pub fn admit(&self, by: &Principal) -> Result<()> {
        by.may(permissions::CUSTOMERS_IMPORT)?;
        by.may(permissions::CUSTOMERS_WRITE)
    }

    /// Begins to take a file. `options` are those known before its first byte: how it is read must be among them, unless
    /// that is to be found out.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:import` and `customers:write`; [`Error::InvalidState`] where 20 imports of
    /// the organization have not ended yet; those of the store.
    pub async fn begin(&self, by: &Principal, options: &ImportOptions) -> Result<Upload> {
        self.admit(by)?;
        quota::check(self.crm, by, false).await?;
        Ok(Upload::new(self.crm, by, options))
    }

    /// The imports that the principal began, newest first; everybody's with `jobs:manage`.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:import`; [`Error::Invalid`] for a cursor of another list; those of the
    /// store.
    pub async fn list(&self, by: &Principal, request: &ListRequest) -> Result<List<ImportView>> {
        by.may(permissions::CUSTOMERS_IMPORT)?;
        let found: List<CustomerImport> = list::everything(self.crm, by, request, in_sight(by)).await?;
        let ids: Vec<_> = found.data.iter().filter_map(|import| import.revert_job_id.or(import.job_id)).collect();
        let mut jobs =
            if ids.is_empty() { Vec::new() } else { self.crm.repo::<Job>().get_many(by.scope(), &ids).await? };
        Ok(found.map(|import| {
            let wanted = import.revert_job_id.or(import.job_id);
            let place = jobs.iter().position(|job| Some(job.id) == wanted);
            ImportView::new(import, place.map(|place| jobs.swap_remove(place)))
        }))
    }

    /// One import, with its job.
    ///
    /// # Errors
    /// [`Error::NotFound`] where it is not there or somebody else's, [`Error::Forbidden`] without `customers:import`.
    pub async fn get(&self, by: &Principal, id: CustomerImportId) -> Result<ImportView> {
        by.may(permissions::CUSTOMERS_IMPORT)?;
        let import = self.seen(by, id).await?;
        self.view(by, import).await
    }

    /// The newest import of a file of this name that is not at its end yet.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:import`; those of the store.
    pub async fn unfinished(&self, by: &Principal, file_name: &str) -> Result<Option<ImportView>> {
        by.may(permissions::CUSTOMERS_IMPORT)?;
        let unfinished = CustomerImport::state
            .one_of([ImportState::Queued, ImportState::Running])
            .and(CustomerImport::file_name.equals(Some(file_name.to_owned())));
        let query = Query::new(in_sight(by).and(unfinished), 1).sorted(vec![CREATED_AT.descending()]);
        match self.crm.repo::<CustomerImport>().find(by.scope(), &query).await?.records.pop() {
            Some(import) => self.view(by, import).await.map(Some),
            None => Ok(None),
        }
    }

    /// The rows that were refused, as a file.
    ///
    /// # Errors
    /// Those of [`Imports::get`].
    pub async fn errors(&self, by: &Principal, id: CustomerImportId) -> Result<ErrorFile> {
        by.may(permissions::CUSTOMERS_IMPORT)?;
        Ok(ErrorFile::new(self.crm.clone(), self.seen(by, id).await?))
    }

    /// Ends an import after the part in hand. What it wrote stays, and can be taken back.
    ///
    /// # Errors
    /// [`Error::InvalidState`] where it has ended already; those of [`Imports::get`].
    pub async fn cancel(&self, by: &Principal, id: CustomerImportId) -> Result<ImportView> {
        by.may(permissions::CUSTOMERS_IMPORT)?;
        let import = self.seen(by, id).await?;
        let Some(job) = import.revert_job_id.or(import.job_id) else {
            return Err(Error::InvalidState("The file of the import is still being sent.".to_owned()));
        };
        self.crm.jobs().cancel_seen(by, job).await?;
        self.get(by, id).await
    }

    /// Takes an import back: whom it made goes into the bin, and what it changed becomes what it was. Whom somebody
    /// changed since is kept, and of a change, the fields that somebody changed since; with `force`, whom it made goes
    /// whatever happened since.
    ///
    /// # Errors
    /// [`Error::InvalidState`] while it runs, after it was taken back, and after 30 days; [`Error::Forbidden`] without
    /// `customers:delete`; those of [`Imports::get`].
    pub async fn revert(&self, by: &Principal, id: CustomerImportId, force: bool) -> Result<ImportView> {
        by.may(permissions::CUSTOMERS_IMPORT)?;
        by.may(permissions::CUSTOMERS_WRITE)?;
        by.may(permissions::CUSTOMERS_DELETE)?;
        let mut turn = self.crm.turns().join(id.0).await;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let before = self.seen(by, id).await?;
            let now = self.crm.now();
            if before.dry_run {
                return Err(Error::InvalidState("A dry run wrote nothing that could be taken back.".to_owned()));
            }
            if !before.state.is_revertible() {
                return Err(Error::InvalidState(format!("The import is {}.", before.state)));
            }
            if before.revertible_until.is_some_and(|until| until <= now) {
                return Err(Error::InvalidState("The import is too old to be taken back.".to_owned()));
            }
            let mut operation = Operation::at(self.crm, by, now);
            let new = NewJob {
                kind: REVERT_KIND,
                version: 1,
                input: RevertInput { import_id: id, force },
                priority: JobPriority::Normal,
                about: Some((CustomerImport::COLLECTION.name, id.0)),
                progress: JobProgress {
                    total: u64::try_from(before.parts_done).ok(),
                    unit: "parts".to_owned(),
                    ..JobProgress::default()
                },
            };
            let job = self.crm.jobs().enqueue(by, &mut operation, new)?;
            let mut after =
                CustomerImport { state: ImportState::Reverting, revert_job_id: Some(job.id), ..before.clone() };
            operation.update(&before, &mut after);
            operation.audit::<CustomerImport>(
                "customer_import.revert_started",
                id,
                None,
                Some(json!({"force": force})),
            );
            match operation.commit().await {
                Err(Error::VersionConflict { .. }) if attempt < 10 => turn.wait().await,
                Err(error) => return Err(error),
                Ok(_) => return Ok(ImportView::new(after, Some(job))),
            }
        }
    }

    /// A page of the saved mappings.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:import`; those of the store.
    pub async fn mappings(&self, by: &Principal, request: &ListRequest) -> Result<List<ImportMapping>> {
        by.may(permissions::CUSTOMERS_IMPORT)?;
        list::everything(self.crm, by, request, Filter::ALL).await
    }

    /// Saves a mapping, in the place of one that has the same name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a field that there is not, [`Error::Forbidden`] without `customers:import`.
    pub async fn save_mapping(&self, by: &Principal, new: NewImportMapping) -> Result<ImportMapping> {
        by.may(permissions::CUSTOMERS_IMPORT)?;
        let context = self.crm.customers().context(by).await?;
        let columns: Vec<String> = new.mapping.0.keys().cloned().collect();
        let said = Said { columns: &new.mapping, strict: true };
        mapping::resolve(&columns, Some(&said), &field::all(&context.fields))?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut operation = Operation::new(self.crm, by);
            let saved = save(self.crm, by, &mut operation, new.name.clone(), new.mapping.clone()).await?;
            match operation.commit().await {
                Err(Error::VersionConflict { .. } | Error::Duplicate { .. }) if attempt < 5 => {}
                done => return done.map(|_| saved),
            }
        }
    }

    /// Removes a saved mapping.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] without `customers:import`.
    pub async fn delete_mapping(&self, by: &Principal, id: ImportMappingId) -> Result<()> {
        by.may(permissions::CUSTOMERS_IMPORT)?;
        let found = self.crm.repo::<ImportMapping>().get(by.scope(), id).await?.ok_or(Error::NotFound(MAPPING))?;
        let mut operation = Operation::new(self.crm, by);
        operation.delete(&found);
        operation.audit::<ImportMapping>("import_mapping.deleted", id, Some(json!({"name": found.name})), None);
        match operation.commit().await {
            Err(Error::NotFound(_)) => Err(Error::NotFound(MAPPING)),
            done => done.map(|_| ()),
        }
    }

    async fn view(&self, by: &Principal, import: CustomerImport) -> Result<ImportView> {
        let job = match import.revert_job_id.or(import.job_id) {
            Some(id) => self.crm.repo::<Job>().get(by.scope(), id).await?,
            None => None,
        };
        Ok(ImportView::new(import, job))
    }

    async fn seen(&self, by: &Principal, id: CustomerImportId) -> Result<CustomerImport> {
        let found = self.crm.repo::<CustomerImport>().get(by.scope(), id).await?;
        let own = |import: &CustomerImport| {
            import.created_by_type == by.actor.kind() && import.created_by_id == by.actor.id()
        };
        found
            .filter(|import| by.permissions.has(permissions::JOBS_MANAGE) || own(import))
            .ok_or(Error::NotFound(IMPORT))
    }
}

fn in_sight(by: &Principal) -> Filter {
    if by.permissions.has(permissions::JOBS_MANAGE) {
        return Filter::ALL;
    }
    let own = CustomerImport::created_by_type.equals(by.actor.kind());
    own.and(match by.actor.id() {
        Some(id) => CustomerImport::created_by_id.equals(id),
        None => CustomerImport::created_by_id.missing(),
    })
}

/// What makes two names of mappings the same.
pub(super) fn mapping_key(name: &Line<100>) -> String {
    fold(name)
}

/// The mapping of a name.
pub(super) async fn saved(crm: &Crm, by: &Principal, name: &Line<100>) -> Result<Option<ImportMapping>> {
    crm.repo::<ImportMapping>().first(by.scope(), ImportMapping::name_key.equals(mapping_key(name))).await
}

/// Adds a mapping to an operation, in the place of one that has the same name.
pub(super) async fn save(
    crm: &Crm,
    by: &Principal,
    operation: &mut Operation<'_>,
    name: Line<100>,
    mapping: ColumnFields,
) -> Result<ImportMapping> {
    if let Some(before) = saved(crm, by, &name).await? {
        let mut after = ImportMapping { name, mapping, ..before.clone() };
        if operation.update(&before, &mut after) {
            let told = json!({"name": after.name, "mapping": after.mapping});
            operation.audit::<ImportMapping>("import_mapping.updated", after.id, None, Some(told));
        }
        return Ok(after);
    }
    if crm.repo::<ImportMapping>().count(by.scope(), &Filter::ALL).await? >= MOST_MAPPINGS {
        return Err(Error::InvalidState(format!(
            "There are {MOST_MAPPINGS} saved mappings already: remove some first."
        )));
    }
    let new = ImportMapping::new(crm, by, name, mapping);
    operation.insert(&new);
    let told = json!({"name": new.name, "mapping": new.mapping});
    operation.audit::<ImportMapping>("import_mapping.created", new.id, None, Some(told));
    Ok(new)
}

/// The time zone of the organization, in which dates without one are.
pub(super) async fn time_zone(crm: &Crm, by: &Principal) -> Result<TimeZone> {
    match crm.organizations().settings(by).await {
        Ok(organization) => Ok(organization.time_zone.to_jiff().clone()),
        // An embedder may keep customers without any account.
        Err(Error::NotFound(_)) => Ok(TimeZone::UTC),
        Err(error) => Err(error),
    }
}
