use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use super::{
    AppliesTo, ChangedCustomField, CustomField, CustomFieldId, CustomValues, FieldSet, IndexState, JsonText,
    MAX_FIELDS, NewCustomField, UniqueValue, ValueContext,
    declaration::{Setting, broken_rules, change, declare},
    examine::{self, Examination},
    record::step,
    unique, work,
};
use crate::{
    access::{Principal, permissions},
    contact::Country,
    crm::Crm,
    error::{Error, FieldErrors, Result},
    hint::Hint,
    id::OrganizationId,
    job::Job,
    list::{self, List, ListBody, ListRequest, Listing},
    operation::Operation,
    record::{Meta, Record},
    rule::{Catalog, CatalogField},
    store::{Change, Query, Scope},
};

/// An organization's custom fields.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    pub(super) crm: &'a Crm,
}

/// What a change would do to stored values: the answer to a dry run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Trial {
    /// The field as it would be.
    pub field: CustomField,
    /// How many records have a value, those in the bin and those of an archived field among them; 0 where the change
    /// does not touch stored values.
    pub records: u64,
    /// How many of them stand in the way of the change.
    pub failing: u64,
    /// The first 100 of those.
    pub failures: Vec<Failure>,
}

/// A stored value that stands in the way of a change.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Failure {
    /// The record.
    pub record_id: Uuid,
    /// Its value.
    pub value: JsonText,
    /// `CANNOT_CONVERT`, `OPTION_IN_USE` or `DUPLICATE`, or the code of a value of the new type that is not valid.
    pub code: String,
    /// What stands in the way, for a person.
    pub message: String,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Changed {
    /// The field is so now.
    Done(CustomField),
    /// Nothing was written: what would become of it.
    Tried(Trial),
}

/// The fields that a list can pick.
const SHOWN: [&str; 18] = [
    "id",
    "key",
    "label",
    "type",
    "required",
    "unique",
    "default",
    "options",
    "rules",
    "indexed",
    "applies_to",
    "position",
    "archived",
    "index_state",
    "pending",
    "version",
    "created_at",
    "updated_at",
];

/// So often a decision is made again that others overtook.
const TRIES: usize = 5;

impl<'a> Fields<'a> {
    pub(crate) const fn new(crm: &'a Crm) -> Self {
        Self { crm }
    }

    /// What lists of custom fields can be filtered and ordered by.
    fn catalog() -> Catalog {
        Catalog::new(CustomField::COLLECTION)
            .with(CatalogField::column(CustomField::key))
            .with(CatalogField::column(CustomField::label))
            .with(CatalogField::column(CustomField::r#type))
            .with(CatalogField::column(CustomField::applies_to))
            .with(CatalogField::column(CustomField::required))
            .with(CatalogField::column(CustomField::unique))
            .with(CatalogField::column(CustomField::indexed))
            .with(CatalogField::column(CustomField::position))
    }

    /// Reads what is asked of a list of fields: the conventions of every list, and `archived`. By position where no
    /// order is asked for.
    ///
    /// # Errors
    /// Every wrong parameter.
    pub fn request(pairs: &[(String, String)]) -> Result<ListRequest, FieldErrors> {
        Self::asked(|listing| listing.from_pairs(pairs))
    }

    /// The same, as a JSON body asks for it.
    ///
    /// # Errors
    /// Every wrong member.
    pub fn request_of_body(body: &ListBody) -> Result<ListRequest, FieldErrors> {
        Self::asked(|listing| listing.from_json(body.as_json()))
    }

    fn asked(read: impl FnOnce(Listing<'_>) -> Result<ListRequest, FieldErrors>) -> Result<ListRequest, FieldErrors> {
        let catalog = Self::catalog();
        let mut request = read(Listing::new(&catalog).fields(&SHOWN).extra(&["archived"]))?;
        if !request.sorted {
            request.sort = vec![CustomField::position.ascending()];
        }
        Ok(request)
    }

    /// The fields that can be written; with `archived=true` those that are archived instead.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `fields:read`, [`Error::Invalid`] where `archived` is neither true nor false.
    pub async fn list(&self, by: &Principal, request: &ListRequest) -> Result<List<CustomField>> {
        by.may(permissions::FIELDS_READ)?;
        let archived = request.flag("archived")?;
        list::everything(self.crm, by, request, CustomField::archived.equals(archived)).await
    }

    /// A field, archived or not.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `fields:read`, [`Error::NotFound`].
    pub async fn get(&self, by: &Principal, id: CustomFieldId) -> Result<CustomField> {
        by.may(permissions::FIELDS_READ)?;
        self.load(by, id).await
    }

    /// Declares a field. It can be used in values, filters, orders and rules at once.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `fields:write`, [`Error::Invalid`] with everything that is wrong,
    /// [`Error::Duplicate`] where the key is taken, by an archived field too.
    pub async fn create(&self, by: &Principal, new: NewCustomField) -> Result<CustomField> {
        by.may(permissions::FIELDS_WRITE)?;
        let kind = new.applies_to.unwrap_or(AppliesTo::Customer);
        let others = self.stored(by.organization, kind).await?;
        if let Some(other) = others.iter().find(|other| other.key == new.key) {
            return Err(key_taken(other));
        }
        let mut operation = Operation::new(self.crm, by);
        let now = operation.now();
        let context = self.context(by.organization).await?;
        let setting = Setting { others: &others, subject: kind.subject(), context };
        let meta = Meta::new(by.organization, now);
        let mut field = declare(new, self.crm.new_id_at(now), meta, &setting)?;
        if field.indexed && setting.subject.is_some() {
            field.plan(step::INDEX);
            work::begin(self.crm, by, &mut operation, &mut field)?;
        }
        operation.insert(&field);
        operation.audit::<CustomField>("field.created", field.id, None, Some(described(&field)));
        operation.emit("field.created", &field, &field);
        match operation.commit().await {
            Err(Error::Duplicate { .. }) => {
                let others = self.stored(by.organization, kind).await?;
                return Err(others
                    .iter()
                    .find(|other| other.key == field.key)
                    .map_or_else(|| Error::Conflict("The key was taken meanwhile: try again.".to_owned()), key_taken));
            }
            committed => committed?,
        };
        self.crm.has_changed(Hint::Fields);
        Ok(field)
    }

    /// Changes a field. A change that stored values stand in the way of is refused: another type to which one of them
    /// does not convert, an option taken away that one of them has, `unique` where two are equal. With `dry_run`
    /// nothing is written, and the answer lists those values.
    ///
    /// Stored values are converted by a job, before this returns where that takes at most 10 s.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `fields:write`, [`Error::NotFound`], [`Error::Invalid`],
    /// [`Error::Conflict`] for stored values in the way and for a rule `required_if` of another field that would no
    /// longer hold together, [`Error::InvalidState`] while stored values are still being worked on,
    /// [`Error::VersionConflict`] where `expected_version` is not the field's.
    pub async fn update(
        &self,
        by: &Principal,
        id: CustomFieldId,
        changed: ChangedCustomField,
        expected_version: Option<i64>,
        dry_run: bool,
    ) -> Result<Changed> {
        by.may(permissions::FIELDS_WRITE)?;
        let mut tries = 1;
        loop {
            match self.try_update(by, id, changed.clone(), expected_version, dry_run).await {
                Err(Error::VersionConflict { .. }) if expected_version.is_none() && tries < TRIES => tries += 1,
                done => return done,
            }
        }
    }

    async fn try_update(
        &self,
        by: &Principal,
        id: CustomFieldId,
        changed: ChangedCustomField,
        expected_version: Option<i64>,
        dry_run: bool,
    ) -> Result<Changed> {
        let before = self.load_version(by, id, expected_version).await?;
        before.refuse_while_working()?;
        let others: Vec<CustomField> = self.others(&before).await?;
        let context = self.context(by.organization).await?;
        let subject = before.applies_to.subject();
        let mut after = change(&before, changed, &Setting { others: &others, subject, context })?;
        refuse_broken_rules(&others, &after)?;
        let examination = match subject {
            Some(subject) => examine::examine(self.crm, subject, &before, &after, &context).await?,
            None => Examination::default(),
        };
        if dry_run {
            let Examination { records, failing, failures } = examination;
            return Ok(Changed::Tried(Trial { field: after, records, failing, failures }));
        }
        refuse_failures(&examination)?;
        let mut operation = Operation::new(self.crm, by);
        let mut job = None;
        if subject.is_some() && plan_work(&before, &mut after, &mut operation) {
            job = work::begin(self.crm, by, &mut operation, &mut after)?;
        }
        if !operation.update(&before, &mut after) {
            return Ok(Changed::Done(before));
        }
        let action = match (before.archived, after.archived) {
            (false, true) => "field.archived",
            (true, false) => "field.restored",
            _ => "field.updated",
        };
        let (old, new) = differences(&before, &after);
        operation.audit::<CustomField>(action, id, Some(old), Some(new));
        operation.emit(action, &after, &after);
        operation.commit().await?;
        self.crm.has_changed(Hint::Fields);
        match job {
            Some(job) => work::run_in_time(self.crm, job, after).await.map(Changed::Done),
            None => Ok(Changed::Done(after)),
        }
    }

    /// Archives a field: its values stay, but are neither shown nor written any more, and its key stays taken.
    ///
    /// # Errors
    /// Those of [`Fields::update`].
    pub async fn archive(&self, by: &Principal, id: CustomFieldId, expected_version: Option<i64>) -> Result<()> {
        by.may(permissions::FIELDS_WRITE)?;
        let mut tries = 1;
        loop {
            match self.try_archive(by, id, expected_version).await {
                Err(Error::VersionConflict { .. }) if expected_version.is_none() && tries < TRIES => tries += 1,
                done => return done,
            }
        }
    }

    async fn try_archive(&self, by: &Principal, id: CustomFieldId, expected_version: Option<i64>) -> Result<()> {
        let before = self.load_version(by, id, expected_version).await?;
        before.refuse_while_working()?;
        let mut after = CustomField { archived: true, ..before.clone() };
        refuse_broken_rules(&self.others(&before).await?, &after)?;
        let mut operation = Operation::new(self.crm, by);
        if operation.update(&before, &mut after) {
            let (old, new) = differences(&before, &after);
            operation.audit::<CustomField>("field.archived", id, Some(old), Some(new));
            operation.emit("field.archived", &after, &after);
            operation.commit().await?;
            self.crm.has_changed(Hint::Fields);
        }
        Ok(())
    }

    /// Removes a field with its values from every record, for good. A job does it, and where that takes longer
    /// than 10 s the answer is the field as it is until then: archived.
    ///
    /// # Errors
    /// Those of [`Fields::update`].
    pub async fn purge(
        &self,
        by: &Principal,
        id: CustomFieldId,
        expected_version: Option<i64>,
    ) -> Result<Option<CustomField>> {
        by.may(permissions::FIELDS_WRITE)?;
        let mut tries = 1;
        let (job, field) = loop {
            match self.try_purge(by, id, expected_version).await {
                Err(Error::VersionConflict { .. }) if expected_version.is_none() && tries < TRIES => tries += 1,
                done => break done?,
            }
        };
        let field = match job {
            Some(job) => work::run_in_time(self.crm, job, field).await?,
            None => field,
        };
        Ok(Some(field).filter(|field| field.working))
    }

    async fn try_purge(
        &self,
        by: &Principal,
        id: CustomFieldId,
        expected_version: Option<i64>,
    ) -> Result<(Option<Job>, CustomField)> {
        let before = self.load_version(by, id, expected_version).await?;
        before.refuse_while_working()?;
        let mut after = CustomField { archived: true, ..before.clone() };
        refuse_broken_rules(&self.others(&before).await?, &after)?;
        let mut operation = Operation::new(self.crm, by);
        after.pending.clear();
        after.plan(step::PURGE);
        let job = work::begin(self.crm, by, &mut operation, &mut after)?;
        operation.update(&before, &mut after);
        operation.audit::<CustomField>("field.purged", id, Some(described(&before)), None);
        operation.emit("field.purged", &after, &serde_json::json!({"id": id, "key": before.key}));
        operation.commit().await?;
        self.crm.has_changed(Hint::Fields);
        Ok((job, after))
    }

    /// The organization's fields of a kind, ready to check values. Kept in memory: a change made in this process is
    /// seen at once, one made in another within 5 s.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn set(&self, organization: OrganizationId, applies_to: AppliesTo) -> Result<Arc<FieldSet>> {
        let load = async {
            let fields = self.stored(organization, applies_to).await?;
            Ok(FieldSet::new(applies_to, applies_to.subject(), fields))
        };
        self.crm.field_sets().get(organization, applies_to, load).await
    }

    /// Adds to an operation what keeps unique values in step with a record: `before` is what its values were while it
    /// counted, `after` what they are then. A new or restored record has no `before`, a deleted one no `after`.
    ///
    /// Where another record took a value meanwhile, the commit fails with [`Error::Duplicate`] on the fields
    /// `field_id` and `value` of [`UniqueValue`]: decide again.
    pub fn keep_unique(
        &self,
        operation: &mut Operation<'_>,
        set: &FieldSet,
        record_id: Uuid,
        before: Option<&CustomValues>,
        after: Option<&CustomValues>,
    ) {
        unique::keep(self.crm, operation, set, record_id, before, after);
    }

    /// All fields of a kind, archived ones among them.
    async fn stored(&self, organization: OrganizationId, applies_to: AppliesTo) -> Result<Vec<CustomField>> {
        let query = Query::new(CustomField::applies_to.equals(applies_to), MAX_FIELDS + 100)
            .sorted(vec![CustomField::position.ascending()]);
        Ok(self.crm.repo::<CustomField>().find(Scope::Organization(organization), &query).await?.records)
    }

    async fn others(&self, field: &CustomField) -> Result<Vec<CustomField>> {
        let mut fields = self.stored(field.meta.organization_id, field.applies_to).await?;
        fields.retain(|other| other.id != field.id);
        Ok(fields)
    }

    async fn load(&self, by: &Principal, id: CustomFieldId) -> Result<CustomField> {
        self.crm.repo::<CustomField>().get(by.scope(), id).await?.ok_or(Error::NotFound("custom field"))
    }

    async fn load_version(&self, by: &Principal, id: CustomFieldId, expected: Option<i64>) -> Result<CustomField> {
        let field = self.load(by, id).await?;
        match expected {
            Some(expected) if expected != field.meta.version => {
                Err(Error::VersionConflict { found: field.meta.version })
            }
            _ => Ok(field),
        }
    }

    async fn context(&self, organization: OrganizationId) -> Result<ValueContext> {
        Ok(ValueContext { now: self.crm.now(), country: country(self.crm, organization).await? })
    }
}

/// Where the organization's national telephone numbers are from.
pub(super) async fn country(crm: &Crm, organization: OrganizationId) -> Result<Option<Country>> {
    match crm.organizations().settings(&Principal::system(organization)).await {
        Ok(settings) => Ok(settings.country),
        // An embedder may keep organizations elsewhere.
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn key_taken(other: &CustomField) -> Error {
    let archived = if other.archived { " It is archived: bring it back, or purge it." } else { "" };
    Error::Duplicate {
        message: format!("There is a custom field with the key {} already.{archived}", other.key),
        fields: vec!["key".to_owned()],
        matches: vec![other.id.into()],
    }
}

/// Refuses what would break the rule `required_if` of another field.
fn refuse_broken_rules(others: &[CustomField], after: &CustomField) -> Result<()> {
    let Some(subject) = after.applies_to.subject() else { return Ok(()) };
    let fields: Vec<CustomField> = others.iter().cloned().chain([after.clone()]).collect();
    let broken: Vec<String> = broken_rules(&fields, subject).into_iter().filter(|key| *key != after.key).collect();
    if broken.is_empty() {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "The rule required_if of {} names this field and would no longer hold together: change it first.",
        broken.join(", ")
    )))
}

fn refuse_failures(examination: &Examination) -> Result<()> {
    let Some(first) = examination.failures.first() else { return Ok(()) };
    let all = match examination.failing {
        1 => "1 stored value stands".to_owned(),
        failing => format!("{failing} stored values stand"),
    };
    Err(Error::Conflict(format!(
        "{all} in the way, the first in the record {}: {}. Ask with dry_run=true for the list.",
        first.record_id, first.message
    )))
}

/// Notes what is to be done to stored values, and takes back what no longer is. Answers whether that needs another job.
fn plan_work(before: &CustomField, after: &mut CustomField, operation: &mut Operation<'_>) -> bool {
    let was_at_index = after.pending.iter().any(|step| step == step::INDEX);
    after.pending.clear();
    after.working = false;
    let converts = before.r#type != after.r#type;
    if converts {
        after.converted_from = Some(before.r#type);
        after.plan(step::CONVERT);
    }
    if before.unique && (converts || !after.unique) {
        operation.change(Change::DeleteWhere {
            collection: UniqueValue::COLLECTION,
            filter: UniqueValue::field_id.equals(after.id),
        });
    }
    if after.unique && (converts || !before.unique) {
        after.plan(step::UNIQUE);
    }
    let is_ready = before.index_state == IndexState::Ready && !converts;
    match (after.indexed, before.index_state) {
        (true, _) if is_ready => {}
        (false, IndexState::None) if !was_at_index => {}
        // The job builds or drops it; the old one is dropped before another type's is built.
        _ => {
            if converts && before.index_state != IndexState::None {
                after.converted_from = Some(before.r#type);
            }
            after.plan(step::INDEX);
            if !after.indexed {
                after.index_state = IndexState::None;
            }
        }
    }
    if !after.working {
        after.job_id = None;
        return false;
    }
    // The job that builds an index goes on where nothing else is wanted of it.
    let is_same = before.job_id.is_some() && before.pending == after.pending && before.indexed == after.indexed;
    converts || !is_same
}

/// The field for the audit trail.
fn described(field: &CustomField) -> serde_json::Value {
    serde_json::to_value(field).unwrap_or_default()
}

/// What differs, before and after.
fn differences(before: &CustomField, after: &CustomField) -> (serde_json::Value, serde_json::Value) {
    let (mut before, mut after) = (described(before), described(after));
    if let (Some(before), Some(after)) = (before.as_object_mut(), after.as_object_mut()) {
        let same: Vec<String> = before
            .iter()
            .filter(|(name, value)| after.get(*name) == Some(*value))
            .map(|(name, _)| name.clone())
            .collect();
        for name in same.iter().map(String::as_str).chain(["version", "updated_at"]) {
            before.remove(name);
            after.remove(name);
        }
    }
    (before, after)
}

#[cfg(test)]
mod tests;
