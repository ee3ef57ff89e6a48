use std::collections::{BTreeMap, HashSet};

use futures::StreamExt as _;
use serde_json::json;
use uuid::Uuid;

use super::{
    decide::{self, Merged, UNITED},
    input::MergeRequest,
    record::{CustomerMerge, CustomerMergeId, CustomerMergeMove, MergeReport, UNDOABLE},
    times::Times,
};
use crate::{
    access::{Principal, permissions},
    crm::Crm,
    customer::{
        ContactKey, Customer, Customers,
        ask::{ChunkOptions, Deed},
        chunk::Draft,
        duplicate::decide_points,
        holders::duplicate as refusal,
        service::{CUSTOMER, Context},
        undo::Changed,
        write::is_race,
    },
    error::{Error, Result},
    id::CustomerId,
    operation::Operation,
    personal_data::{self, Holding, Moves},
    record::{CREATED_AT, ID, Meta, UPDATED_AT},
    store::{Assignment, Change, FieldKind, FieldRef, Filter, Json, Query, Scope, Value},
};

/// So often is a merge decided again when one of the two was changed meanwhile.
const ATTEMPTS: usize = 10;
/// So many ids of moved records are kept together.
const PART: usize = 500;

/// What moves of one kind of record.
pub(super) struct Move {
    pub(super) holding: &'static Holding,
    pub(super) field: &'static str,
    /// The records that point to the duplicate.
    pub(super) ids: Vec<Uuid>,
    /// Whether those that come meanwhile move too.
    pub(super) all: bool,
}

impl Customers<'_> {
    /// Makes one customer of two: what the duplicate had goes to `kept`, whatever points to the duplicate points to it, and
    /// the duplicate goes into the bin. For 30 days it can be taken back.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:merge`, [`Error::NotFound`] where one of the two is not in sight,
    /// [`Error::Invalid`] for a customer to be merged into itself, [`Error::Conflict`] where both together have more than
    /// one customer can have, [`Error::VersionConflict`].
    pub async fn merge(
        &self,
        by: &Principal,
        kept: CustomerId,
        request: &MergeRequest,
        expected_version: Option<i64>,
    ) -> Result<MergeReport> {
        by.may(permissions::CUSTOMERS_MERGE)?;
        if kept == request.duplicate_id {
            return Err(Error::invalid("duplicate_id", "INVALID_VALUE", "must be another customer"));
        }
        let mut turn = self.crm.turns().join(kept.0).await;
        for _ in 1..ATTEMPTS {
            match self.try_merge(by, kept, request, expected_version).await {
                Err(error) if is_race(&error) && expected_version.is_none() && !is_missing(&error) => turn.wait().await,
                done => return done,
            }
        }
        self.try_merge(by, kept, request, expected_version).await
    }

    async fn try_merge(
        &self,
        by: &Principal,
        kept: CustomerId,
        request: &MergeRequest,
        expected_version: Option<i64>,
    ) -> Result<MergeReport> {
        let kept = self.in_sight(by, kept).await?;
        let duplicate = self.in_sight(by, request.duplicate_id).await?;
        kept.meta.expect(expected_version)?;
        let now = self.crm.now();
        let context = self.context(by).await?;
        let mut merged = decide::merge(&kept, &duplicate, &request.fields, now)?;
        self.forget_gone_groups(by, &mut merged.kept).await?;
        let moves = self.pointing(by, kept.id, duplicate.id).await?;
        let moved: BTreeMap<String, u64> = moves
            .iter()
            .filter(|moving| !moving.ids.is_empty())
            .map(|moving| (moving.holding.collection.name.to_owned(), moving.ids.len() as u64))
            .collect();
        let mut report = MergeReport {
            merge_id: None,
            dry_run: request.dry_run,
            customer: merged.kept.clone(),
            duplicate_id: duplicate.id,
            differences: std::mem::take(&mut merged.differences),
            moved,
            undoable_until: None,
        };
        if !request.dry_run {
            let merge =
                self.commit_merge(by, &kept, &duplicate, merged, &moves, &context, &mut report.customer).await?;
            report.merge_id = Some(merge);
            report.undoable_until = Some(now.plus(UNDOABLE));
        }
        report.customer.custom = context.fields.present(&report.customer.custom);
        Ok(report)
    }

    #[expect(clippy::too_many_arguments, reason = "everything that was decided")]
    async fn commit_merge(
        &self,
        by: &Principal,
        kept: &Customer,
        duplicate: &Customer,
        merged: Merged,
        moves: &[Move],
        context: &Context,
        answered: &mut Customer,
    ) -> Result<CustomerMergeId> {
        let mut operation = Operation::new(self.crm, by);
        let now = operation.now();
        let times = Times::new(kept, duplicate, &self.merge_times(by, kept.id, None).await?);
        let merge = CustomerMerge {
            id: self.crm.new_id_at(now),
            kept_id: kept.id,
            duplicate_id: duplicate.id,
            changes: serde_json::to_string(&Changed::of(kept, &merged.kept).without(&UNITED))
                .map_err(Error::internal)?,
            added: serde_json::to_string(&merged.added).map_err(Error::internal)?,
            times: Some(serde_json::to_string(&times).map_err(Error::internal)?),
            undone_at: None,
            meta: Meta::new(by.organization, now),
        };
        let drafts = vec![
            Draft { before: Some(duplicate.clone()), after: merged.duplicate, deed: Deed::Deleted },
            Draft { before: Some(kept.clone()), after: merged.kept, deed: Deed::Updated },
        ];
        let drafts = self.put_pair_down(by, &mut operation, drafts, context).await?;
        let mut parts = Vec::new();
        for moving in moves {
            for ids in moving.ids.chunks(PART) {
                parts.push(CustomerMergeMove {
                    id: self.crm.new_id_at(now),
                    merge_id: merge.id,
                    number: i64::try_from(parts.len()).unwrap_or(i64::MAX),
                    collection: moving.holding.collection.name.to_owned(),
                    record_ids: Json::from_trusted(serde_json::to_string(ids).map_err(Error::internal)?),
                    meta: Meta::new(by.organization, now),
                });
            }
            if moving.all {
                let filter = points_to(moving.field, duplicate.id);
                operation.change(repoint(moving.holding, moving.field, filter, answered, now));
            } else {
                for ids in moving.ids.chunks(PART) {
                    let filter = ID.one_of(ids.iter().copied()).and(points_to(moving.field, duplicate.id));
                    operation.change(repoint(moving.holding, moving.field, filter, answered, now));
                }
            }
        }
        operation.insert(&merge);
        operation.insert_all(&parts);
        let told = json!({"id": kept.id, "duplicate_id": duplicate.id, "merge_id": merge.id});
        operation.audit::<Customer>("customer.merged", kept.id, None, Some(told.clone()));
        operation.audit::<Customer>("customer.merged", duplicate.id, None, Some(told.clone()));
        if let Some(draft) = drafts.last() {
            operation.emit("customer.merged", &draft.after, &told);
            answered.clone_from(&draft.after);
        }
        operation.commit().await?;
        Ok(merge.id)
    }

    /// Writes two customers, of whom the first gives up what the second takes.
    pub(super) async fn put_pair_down(
        &self,
        by: &Principal,
        operation: &mut Operation<'_>,
        mut drafts: Vec<Draft>,
        context: &Context,
    ) -> Result<Vec<Draft>> {
        let keys = drafts
            .iter()
            .flat_map(|draft| draft.before.iter().chain([&draft.after]))
            .flat_map(Customer::contact_keys)
            .collect::<std::collections::BTreeSet<ContactKey>>();
        let mut holders = self.holders(by, &keys).await?;
        for draft in &drafts {
            let changes = decide_points(draft.before.as_ref(), &draft.after, &holders, true);
            let changes = changes.map_err(|clash| {
                let nameable: HashSet<CustomerId> = HashSet::new();
                refusal(&clash, &nameable)
            })?;
            holders.accept(draft.after.id, &changes);
        }
        self.put_down(by, operation, &mut drafts, &holders, context, &ChunkOptions::default());
        Ok(drafts)
    }

    /// Groups that are gone are not joined.
    pub(super) async fn forget_gone_groups(&self, by: &Principal, customer: &mut Customer) -> Result<()> {
        let known = self.references(by, std::iter::empty(), &[&*customer]).await?;
        customer.group_ids.retain(|id| id.parse().is_ok_and(|id: Uuid| known.groups.contains(&id)));
        Ok(())
    }

    /// What points to the duplicate, by kind of record.
    async fn pointing(&self, by: &Principal, kept: CustomerId, duplicate: CustomerId) -> Result<Vec<Move>> {
        let mut moves = Vec::new();
        for (holding, field, rule) in personal_data::moving() {
            let scope = by.scope();
            let (unless, all) = match rule {
                Moves::All => (None, true),
                Moves::Unless(key) => (holding.collection.position(key), false),
            };
            let mut taken: Vec<Value> = Vec::new();
            if let Some(position) = unless {
                taken = self.values(scope, holding, field, kept, position).await?;
            }
            let query = Query::new(points_to(field, duplicate), 0);
            let mut rows = std::pin::pin!(self.crm.store().stream(scope, holding.collection, query));
            let mut ids = Vec::new();
            while let Some(row) = rows.next().await {
                let row = row?;
                let stays = unless.and_then(|position| row.0.get(position)).is_some_and(|value| taken.contains(value));
                if !stays {
                    ids.push(row.id());
                }
            }
            moves.push(Move { holding, field, ids, all });
        }
        Ok(moves)
    }

    async fn values(
        &self,
        scope: Scope,
        holding: &'static Holding,
        field: &'static str,
        customer: CustomerId,
        position: usize,
    ) -> Result<Vec<Value>> {
        let query = Query::new(points_to(field, customer), 0);
        let mut rows = std::pin::pin!(self.crm.store().stream(scope, holding.collection, query));
        let mut values = Vec::new();
        while let Some(row) = rows.next().await {
            values.extend(row?.0.into_iter().nth(position));
        }
        Ok(values)
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::NotFound(CUSTOMER))
}

/// The records whose field names the customer.
pub(super) fn points_to(field: &'static str, customer: CustomerId) -> Filter {
    Filter::equal(FieldRef::declared(field, FieldKind::Id), Value::Id(customer.0))
}

/// Lets records point to a customer; those that say who looks after it say so of this one.
pub(super) fn repoint(
    holding: &Holding,
    field: &'static str,
    filter: Filter,
    customer: &Customer,
    now: crate::time::Timestamp,
) -> Change {
    let id = |id: Option<Uuid>| id.map_or(Value::Null, Value::Id);
    let assignments = [
        (field, Value::Id(customer.id.0)),
        ("owner_id", id(customer.owner_id.map(Into::into))),
        ("team_id", id(customer.team_id.map(Into::into))),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(Assignment::Set(holding.collection.position(name)?, value)))
    .chain([UPDATED_AT.set(now)])
    .collect();
    Change::UpdateWhere { collection: holding.collection, filter, assignments }
}

/// The customer that this one was merged into, where that was not taken back.
///
/// # Errors
/// Those of the store.
pub(crate) async fn merged_into(crm: &Crm, by: &Principal, duplicate: CustomerId) -> Result<Option<CustomerId>> {
    let stands = CustomerMerge::duplicate_id.equals(duplicate).and(CustomerMerge::undone_at.missing());
    let query = Query::new(stands, 1).sorted(vec![CREATED_AT.descending()]);
    Ok(crm.repo::<CustomerMerge>().find(by.scope(), &query).await?.records.pop().map(|merge| merge.kept_id))
}
