use serde_json::json;

use super::{
    cleaning::{self, Removal},
    columns::ObjectColumns,
    field,
    mapping::{self, Said},
    options::ImportOptions,
    plan::{FindsBy, defaults},
    quota,
    record::{ColumnFields, CustomerImport, CustomerImportId, ImportMapping, ImportPart, ImportState, ImportView},
    run::{ImportInput, KIND},
    service::mapping_key,
};
use crate::{
    access::Principal,
    crm::Crm,
    error::{Error, FieldErrors, Result},
    import_file::{FileError, FileReader, Format, Part},
    job::{JobPriority, JobProgress, NewJob},
    operation::Operation,
    record::{Meta, Record as _, UPDATED_AT},
    store::{Change, Json, Outcome, WhenUnmet},
};

/// A file that arrives: each part of it is kept as soon as it is whole, so that no more than one is held.
///
/// Dropped before it is finished, it removes what was kept, where there is a Tokio runtime to do it; else cleaning up does
/// it within two hours.
#[derive(Debug)]
pub struct Upload {
    crm: Crm,
    by: Principal,
    reader: FileReader,
    import: CustomerImport,
    /// What the records of a file of objects have for columns, so far.
    objects: ObjectColumns,
    /// The import as it is stored.
    stored: Option<CustomerImport>,
    /// Whether something may be kept that nothing but this removes.
    unsettled: bool,
}

impl Upload {
    pub(super) fn new(crm: &Crm, by: &Principal, options: &ImportOptions) -> Self {
        let now = crm.now();
        let import = CustomerImport {
            id: crm.new_id_at::<CustomerImportId>(now),
            state: ImportState::Uploading,
            dry_run: false,
            file_name: None,
            file_size: 0,
            format: String::new(),
            delimiter: None,
            encoding: String::new(),
            columns: Vec::new(),
            fields: Vec::new(),
            mode: options.mode(),
            upsert_key: None,
            settings: Json::default(),
            rows_total: 0,
            rows_read: 0,
            created: 0,
            updated: 0,
            unchanged: 0,
            skipped: 0,
            failed: 0,
            parts: 0,
            parts_done: 0,
            job_id: None,
            revert_job_id: None,
            reverted: None,
            error: None,
            revertible_until: None,
            created_by_type: by.actor.kind().to_owned(),
            created_by_id: by.actor.id(),
            started_at: None,
            finished_at: None,
            meta: Meta::new(by.organization, now),
        };
        let reader = FileReader::new(options.file());
        Self {
            crm: crm.clone(),
            by: by.clone(),
            reader,
            import,
            objects: ObjectColumns::default(),
            stored: None,
            unsettled: false,
        }
    }

    /// Takes the next bytes of the file. Returns once what they complete is kept, so that a sender waits for the store.
    ///
    /// # Errors
    /// [`Error::Invalid`] on `file`, naming the line, where it cannot be read; those of the store. What was kept so far is
    /// removed.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let mut parts = Vec::new();
        let read = self.reader.push(bytes, &mut parts);
        self.import.file_size = self.import.file_size.saturating_add(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
        self.take(parts, read).await
    }

    /// Says that the file is whole, and begins the import.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the file cannot be read, has no rows, or the options do not fit it; those of the store.
    /// Nothing of it is kept then.
    pub async fn finish(mut self, options: ImportOptions) -> Result<ImportView> {
        let mut parts = Vec::new();
        let read = self.reader.finish(&mut parts);
        self.take(parts, read).await?;
        match self.begin(options).await {
            Ok(view) => {
                self.unsettled = false;
                Ok(view)
            }
            Err(error) => match self.remove().await {
                // The answer to the commit was lost, and the commit was not.
                Some(Removal::Left) => self.crm.imports().get(&self.by, self.import.id).await,
                Some(Removal::Removed) | None => Err(error),
            },
        }
    }

    /// Removes what was kept of a file that did not arrive whole. Where that fails, cleaning up does it within two hours.
    pub async fn abandon(&mut self) {
        self.remove().await;
    }

    /// The same; answers what became of it where that is known.
    async fn remove(&mut self) -> Option<Removal> {
        if !self.unsettled {
            return None;
        }
        let removed = remove(&self.crm, &self.by, self.import.id).await;
        self.unsettled = false;
        removed
    }

    async fn take(&mut self, parts: Vec<Part>, read: Result<(), FileError>) -> Result<()> {
        for part in parts {
            if let Err(error) = self.keep(part).await {
                self.abandon().await;
                return Err(error);
            }
        }
        if let Err(error) = read {
            self.abandon().await;
            return Err(refused(&error));
        }
        Ok(())
    }

    async fn keep(&mut self, part: Part) -> Result<()> {
        if self.reader.format() == Some(Format::Ndjson) {
            self.objects.add(&part);
        }
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let now = self.crm.now();
        let kept = ImportPart {
            id: self.crm.new_id_at(now),
            import_id: self.import.id,
            number: i64::from(part.number),
            first_line: number(part.first_line),
            rows: number(part.records as u64),
            text: part.text,
            done: false,
            errors: Json::from_trusted("[]"),
            failed: 0,
            undo: Json::default(),
            reverted: false,
            kept: Json::from_trusted("[]"),
            meta: Meta::new(self.by.organization, now),
        };
        self.import.rows_total += kept.rows;
        self.import.parts = kept.number;
        let begun = self.stored.is_none();
        let import = if begun {
            Change::Insert { collection: CustomerImport::COLLECTION, rows: vec![self.import.to_row()] }
        } else {
            // Cleaning up sees that the file goes on arriving, and no part is kept of an import that it has removed.
            Change::Update {
                collection: CustomerImport::COLLECTION,
                id: self.import.id.0,
                expected_version: None,
                condition: Some((cleaning::is_uploading(), WhenUnmet::Abort)),
                assignments: vec![UPDATED_AT.set(now)],
            }
        };
        let part = Change::Insert { collection: ImportPart::COLLECTION, rows: vec![kept.to_row()] };
        self.unsettled = true;
        let outcomes = self.crm.store().commit(self.by.scope(), vec![import, part]).await?;
        let stored = self.stored.get_or_insert_with(|| self.import.clone());
        if let Some(Outcome::Updated { version }) = outcomes.first() {
            stored.meta.version = *version;
            stored.meta.updated_at = now;
        }
        if begun {
            // Others may have begun at the same time.
            quota::check(&self.crm, &self.by, true).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, options: ImportOptions) -> Result<ImportView> {
        let (crm, by) = (self.crm.clone(), self.by.clone());
        if self.import.rows_total == 0 {
            let message = "has column names, but no rows";
            return Err(Error::invalid("file", "EMPTY_FILE", message));
        }
        let context = crm.customers().context(&by).await?;
        let fields = field::all(&context.fields);
        let columns = match self.reader.format() {
            Some(Format::Ndjson) => std::mem::take(&mut self.objects).into_names(),
            _ => self.reader.header().map(|header| header.columns.clone()).unwrap_or_default(),
        };
        let mut errors = FieldErrors::new();
        let saved = match (&options.mapping, &options.mapping_name) {
            (None, Some(name)) => match super::service::saved(&crm, &by, name).await? {
                Some(saved) => Some(saved.mapping),
                None => {
                    errors.add("mapping_name", "NOT_FOUND", "is no saved mapping: give a mapping to save it so");
                    None
                }
            },
            _ => None,
        };
        let said = match (&options.mapping, &saved) {
            (Some(columns), _) => Some(Said { columns, strict: true }),
            (None, Some(columns)) => Some(Said { columns, strict: false }),
            (None, None) => None,
        };
        if errors.take("upsert_key", FindsBy::parse(options.upsert_key.as_deref(), &context)).is_none() {
            return Err(errors.into());
        }
        let (mode, upsert_key) = (options.mode(), options.upsert_key.clone());
        let named = errors.take("", mapping::resolve(&columns, said.as_ref(), &fields));
        let (members, _) = errors.take("defaults", defaults(options.settings.defaults.as_deref())).unwrap_or_default();
        let has_name = members.iter().any(|(name, _)| name == "name" || name == "full_name");
        if let Some(named) = &named {
            let enough = mapping::suffices(&columns, named, mode, upsert_key.as_deref(), has_name);
            errors.take("", enough);
        }
        let named = errors.or(named.unwrap_or_default())?;

        let now = crm.now();
        let before = self.stored.clone().ok_or(Error::NotFound("import"))?;
        let mut operation = Operation::at(&crm, &by, now);
        if let (Some(name), Some(_)) = (&options.mapping_name, &options.mapping) {
            let whole = columns
                .iter()
                .cloned()
                .zip(named.iter().map(|field| Some(field.clone()).filter(|field| !field.is_empty())));
            super::service::save(&crm, &by, &mut operation, name.clone(), ColumnFields(whole.collect())).await?;
        }
        let (format, delimiter) = match self.reader.format() {
            Some(Format::Csv(delimiter)) => ("csv", Some(delimiter.to_string())),
            Some(Format::Ndjson) => ("ndjson", None),
            None => ("csv", None),
        };
        let settings = serde_json::to_string(&options.settings).map_err(Error::internal)?;
        let mut import = CustomerImport {
            state: ImportState::Queued,
            dry_run: options.dry_run,
            file_name: options.file_name,
            format: format.to_owned(),
            delimiter,
            encoding: self.reader.encoding().map(|encoding| encoding.name().to_ascii_lowercase()).unwrap_or_default(),
            columns,
            fields: named,
            mode,
            upsert_key,
            settings: Json::from_trusted(settings),
            ..self.import.clone()
        };
        let new = NewJob {
            kind: KIND,
            version: 1,
            input: ImportInput { import_id: import.id },
            priority: JobPriority::Normal,
            about: Some((CustomerImport::COLLECTION.name, import.id.0)),
            progress: JobProgress {
                total: u64::try_from(import.rows_total).ok(),
                unit: "rows".to_owned(),
                ..JobProgress::default()
            },
        };
        let job = crm.jobs().enqueue(&by, &mut operation, new)?;
        import.job_id = Some(job.id);
        operation.update(&before, &mut import);
        let told = json!({
            "file_name": import.file_name, "file_size": import.file_size, "rows": import.rows_total,
            "mode": import.mode, "dry_run": import.dry_run,
        });
        operation.audit::<CustomerImport>("customer_import.started", import.id, None, Some(told));
        let event = json!({"id": import.id, "job_id": job.id, "rows": import.rows_total, "dry_run": import.dry_run});
        operation.emit("customer_import.started", &import, &event);
        operation.commit().await?;
        Ok(ImportView::new(import, Some(job)))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Whoever sent the file went away, and with them the future that took it.
        if self.unsettled
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (crm, by, import) = (self.crm.clone(), self.by.clone(), self.import.id);
            runtime.spawn(async move { remove(&crm, &by, import).await });
        }
    }
}

async fn remove(crm: &Crm, by: &Principal, import: CustomerImportId) -> Option<Removal> {
    match cleaning::remove(crm, by.scope(), import, cleaning::is_uploading()).await {
        Ok(removal) => Some(removal),
        Err(error) => {
            tracing::warn!(%error, "an upload that failed cannot be removed for now");
            None
        }
    }
}

/// The refusal of a file that cannot be read.
fn refused(error: &FileError) -> Error {
    Error::invalid("file", error.code(), error.to_string())
}

impl ImportMapping {
    /// A mapping kept under a name.
    pub(super) fn new(crm: &Crm, by: &Principal, name: crate::text::Line<100>, mapping: ColumnFields) -> Self {
        let now = crm.now();
        Self {
            id: crm.new_id_at(now),
            name_key: mapping_key(&name),
            name,
            mapping,
            meta: Meta::new(by.organization, now),
        }
    }
}
