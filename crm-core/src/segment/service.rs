use std::{collections::HashMap, sync::LazyLock};

use serde_json::json;

use super::{
    ChangedSegment, NewSegment, ReplacedSegment, Segment, SegmentCount, SegmentId, SegmentRules, SegmentState,
    SegmentVersion, ShownSegment, WithRules, freeze, usage,
};
use crate::{
    access::{
        Actor, Principal, Visibility,
        permissions::{SEGMENTS_READ, SEGMENTS_WRITE},
    },
    crm::Crm,
    error::{Error, FieldErrors, Result},
    id::UserId,
    list::{self, List, ListRequest, Listing},
    operation::Operation,
    record::{CREATED_AT, ID, Meta, Record as _},
    rule::{Catalog, CatalogField, Rule},
    store::{Change, Filter, fold::fold},
};

/// The refusal of a segment that is not there.
pub(super) const SEGMENT: Error = Error::NotFound("segment");
/// A change without an expected version is decided so often, while others change the record.
const TRIES: usize = 10;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::new(Segment::COLLECTION)
        .with(CatalogField::column(Segment::name))
        .with(CatalogField::column(Segment::description))
        .with(CatalogField::column(Segment::dynamic))
        .with(CatalogField::column(Segment::state).options(SegmentState::ALL.map(SegmentState::name)))
        .with(CatalogField::column(Segment::rules_version))
        .with(CatalogField::column(Segment::created_by))
});

/// The fields of a segment as it is shown.
const SHOWN: [&str; 18] = [
    "id",
    "name",
    "description",
    "rules_json",
    "rules_version",
    "dynamic",
    "state",
    "frozen_at",
    "job_id",
    "created_by",
    "explanation",
    "broken",
    "member_count",
    "counted_at",
    "organization_id",
    "version",
    "created_at",
    "updated_at",
];

static VERSIONS: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::new(SegmentVersion::COLLECTION)
        .with(CatalogField::column(CREATED_AT))
        .with(CatalogField::column(SegmentVersion::number))
        .with(CatalogField::column(SegmentVersion::changed_by))
        .with(CatalogField::column(SegmentVersion::at))
});

/// The fields of earlier rules as they are shown.
const VERSION_SHOWN: [&str; 6] = ["id", "segment_id", "number", "rules_json", "changed_by", "at"];

/// The segments of an organization.
#[derive(Clone, Copy, Debug)]
pub struct Segments<'a> {
    pub(super) crm: &'a Crm,
}

impl Crm {
    /// Segments.
    #[must_use]
    pub const fn segments(&self) -> Segments<'_> {
        Segments { crm: self }
    }
}

impl Segments<'_> {
    /// What a list of segments can be asked.
    #[must_use]
    pub fn listing() -> Listing<'static> {
        Listing::new(&CATALOG).sortable(&["name", "created_at"]).fields(&SHOWN)
    }

    /// What a list of the rules that a segment had can be asked.
    #[must_use]
    pub fn history_listing() -> Listing<'static> {
        Listing::new(&VERSIONS).sortable(&["number"]).fields(&VERSION_SHOWN)
    }

    /// The organization's segments.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `segments:read`; those of the store.
    pub async fn list(&self, by: &Principal, request: &ListRequest) -> Result<List<ShownSegment>> {
        by.may(SEGMENTS_READ)?;
        let List { data, page } = list::everything::<Segment>(self.crm, by, request, Filter::ALL).await?;
        Ok(List { data: self.shown(by, data).await?, page })
    }

    /// One segment.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `segments:read`, [`Error::NotFound`].
    pub async fn get(&self, by: &Principal, id: SegmentId) -> Result<ShownSegment> {
        by.may(SEGMENTS_READ)?;
        let segment = self.stored(by, id).await?;
        self.shown_one(by, segment).await
    }

    /// The rules that a segment had, the newest first where no order is asked for.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `segments:read`, [`Error::NotFound`]; those of the store.
    pub async fn history(&self, by: &Principal, id: SegmentId, request: &ListRequest) -> Result<List<SegmentVersion>> {
        by.may(SEGMENTS_READ)?;
        self.stored(by, id).await?;
        let mut request = request.clone();
        if !request.sorted {
            request.sort = vec![SegmentVersion::number.descending()];
        }
        list::everything(self.crm, by, &request, SegmentVersion::segment_id.equals(id)).await
    }

    /// Makes a segment. The members of a static one are taken by a job, as of now: until it is done, its state is
    /// [`SegmentState::Building`].
    ///
    /// # Errors
    /// [`Error::Invalid`] with everything wrong, the rules by their path below `rules_json`; [`Error::Duplicate`] where a
    /// segment has the name; [`Error::Forbidden`] without `segments:write`.
    pub async fn create(&self, by: &Principal, new: WithRules<NewSegment>) -> Result<ShownSegment> {
        by.may(SEGMENTS_WRITE)?;
        let (new, rule) = self.read(by, new).await?;
        let Some(rule) = rule else { return Err(Error::invalid("rules_json", "REQUIRED", "is required")) };
        let now = self.crm.now();
        let dynamic = new.dynamic.unwrap_or(true);
        let mut operation = Operation::at(self.crm, by, now);
        let mut segment = Segment {
            id: self.crm.new_id_at(now),
            name_key: fold(&new.name),
            name: new.name,
            description: new.description,
            rules_json: SegmentRules::from(&rule),
            rules_version: 1,
            dynamic,
            state: if dynamic { SegmentState::Ready } else { SegmentState::Building },
            frozen_at: (!dynamic).then_some(now),
            job_id: None,
            created_by: person(by),
            meta: Meta::new(by.organization, now),
        };
        if !dynamic {
            segment.job_id = Some(freeze::begin(self.crm, by, &mut operation, segment.id)?);
        }
        operation.insert(&segment);
        operation.insert(&self.version_of(by, &segment, &operation));
        operation.audit::<Segment>("segment.created", segment.id, None, Some(json!(segment)));
        operation.emit("segment.created", &segment, &segment);
        self.committed(operation, by, &segment).await?;
        self.shown_one(by, segment).await
    }

    /// Makes a segment what is said: what is left out is cleared.
    ///
    /// # Errors
    /// Those of [`Segments::change`].
    pub async fn replace(
        &self,
        by: &Principal,
        id: SegmentId,
        expected_version: Option<i64>,
        segment: WithRules<ReplacedSegment>,
    ) -> Result<ShownSegment> {
        let WithRules { input, rules } = segment;
        self.change(by, id, expected_version, WithRules { input: input.map(ChangedSegment::from), rules }).await
    }

    /// Changes a segment. Rules that it had stay in its history.
    ///
    /// # Errors
    /// Those of [`Segments::create`]; [`Error::NotFound`], [`Error::VersionConflict`]; [`Error::InvalidState`] for other
    /// rules of a static segment, and where a static segment is to become dynamic or the other way round.
    pub async fn change(
        &self,
        by: &Principal,
        id: SegmentId,
        expected_version: Option<i64>,
        changed: WithRules<ChangedSegment>,
    ) -> Result<ShownSegment> {
        by.may(SEGMENTS_WRITE)?;
        // What is not there is not found, whatever is said of it.
        self.stored(by, id).await?;
        let (changed, rule) = self.read(by, changed).await?;
        let rules = rule.as_ref().map(SegmentRules::from);
        let mut turn = self.crm.turns().join(id.0).await;
        for attempt in 1.. {
            let before = self.stored(by, id).await?;
            before.meta.expect(expected_version)?;
            let mut after = decide(&before, &changed, rules.as_ref())?;
            let mut operation = Operation::new(self.crm, by);
            if !operation.update(&before, &mut after) {
                return self.shown_one(by, before).await;
            }
            if after.rules_version != before.rules_version {
                operation.insert(&self.version_of(by, &after, &operation));
                // It counted whoever the rules before meant.
                operation.change(Change::DeleteWhere { collection: SegmentCount::COLLECTION, filter: ID.equals(id.0) });
            }
            operation.audit::<Segment>("segment.updated", id, Some(json!(before)), Some(json!(after)));
            operation.emit("segment.updated", &after, &after);
            match self.committed(operation, by, &after).await {
                Ok(()) => return self.shown_one(by, after).await,
                Err(Error::VersionConflict { .. }) if expected_version.is_none() && attempt < TRIES => {
                    turn.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(SEGMENT)
    }

    /// Removes a segment; its customers stay. The members of a static one are removed in the background.
    ///
    /// # Errors
    /// [`Error::Conflict`] naming the campaigns that are still to go to it; [`Error::Forbidden`] without
    /// `segments:write`, [`Error::NotFound`], [`Error::VersionConflict`].
    pub async fn remove(&self, by: &Principal, id: SegmentId, expected_version: Option<i64>) -> Result<()> {
        by.may(SEGMENTS_WRITE)?;
        for attempt in 1.. {
            let segment = self.stored(by, id).await?;
            segment.meta.expect(expected_version)?;
            usage::expect_unused(self.crm, by, id).await?;
            let mut operation = Operation::new(self.crm, by);
            operation.delete(&segment);
            let of_it = |collection, filter| Change::DeleteWhere { collection, filter };
            operation.change(of_it(SegmentCount::COLLECTION, ID.equals(id.0)));
            operation.change(of_it(SegmentVersion::COLLECTION, SegmentVersion::segment_id.equals(id)));
            if !segment.dynamic {
                freeze::begin_removal(self.crm, by, &mut operation, id)?;
            }
            operation.audit::<Segment>("segment.deleted", id, Some(json!(segment)), None);
            operation.emit_named(
                "segment.deleted",
                Segment::COLLECTION.name,
                id.0,
                segment.meta.version + 1,
                &json!({"id": id}),
            );
            match operation.commit().await {
                Ok(_) => break,
                Err(Error::VersionConflict { .. }) if expected_version.is_none() && attempt < TRIES => {}
                Err(Error::NotFound(_)) => return Err(SEGMENT),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A body and its rules, or everything that is wrong with both.
    pub(super) async fn read<T>(&self, by: &Principal, body: WithRules<T>) -> Result<(T, Option<Rule>)> {
        let WithRules { input, rules } = body;
        let mut errors = FieldErrors::new();
        let input = errors.take("", input);
        let rule = match rules {
            None => None,
            Some(rules) => {
                let catalog = self.crm.customers().catalog(by).await?;
                errors.take("", Rule::from_json(&rules, &catalog, "rules_json"))
            }
        };
        match input {
            Some(input) => Ok((errors.or(input)?, rule)),
            None => Err(errors.into()),
        }
    }

    fn version_of(self, by: &Principal, segment: &Segment, operation: &Operation<'_>) -> SegmentVersion {
        let now = operation.now();
        SegmentVersion {
            id: self.crm.new_id_at(now),
            segment_id: segment.id,
            number: segment.rules_version,
            rules_json: segment.rules_json.clone(),
            changed_by: person(by),
            at: now,
            meta: Meta::new(by.organization, now),
        }
    }

    /// Writes a segment; a name that is taken is told with the segment that has it.
    async fn committed(&self, operation: Operation<'_>, by: &Principal, segment: &Segment) -> Result<()> {
        let Err(error) = operation.commit().await else { return Ok(()) };
        if !matches!(error, Error::Duplicate { .. }) {
            return Err(error);
        }
        let taken = Segment::name_key.equals(segment.name_key.clone());
        let holder = self.crm.repo::<Segment>().first(by.scope(), taken).await?;
        if holder.as_ref().is_none_or(|holder| holder.id == segment.id) {
            return Err(error);
        }
        Err(Error::Duplicate {
            message: "There is a segment of this name already.".to_owned(),
            fields: vec!["name".to_owned()],
            matches: holder.map(|holder| holder.id.0).into_iter().collect(),
        })
    }

    /// Segments with what is known of them.
    async fn shown(&self, by: &Principal, segments: Vec<Segment>) -> Result<Vec<ShownSegment>> {
        let catalog = self.crm.customers().catalog(by).await?;
        let mut counts: HashMap<SegmentId, SegmentCount> = HashMap::new();
        // How many there are whom one does not see is nobody's business.
        if by.visibility == Visibility::All && !segments.is_empty() {
            let ids: Vec<SegmentId> = segments.iter().map(|segment| segment.id).collect();
            let found = self.crm.repo::<SegmentCount>().get_many(by.scope(), &ids).await?;
            counts = found.into_iter().map(|count| (count.id, count)).collect();
        }
        Ok(segments
            .into_iter()
            .map(|segment| {
                let count = counts.get(&segment.id);
                let rule = segment.rule(&catalog);
                ShownSegment::new(segment, rule, count)
            })
            .collect())
    }

    async fn shown_one(&self, by: &Principal, segment: Segment) -> Result<ShownSegment> {
        self.shown(by, vec![segment]).await?.pop().ok_or(SEGMENT)
    }
}

impl Segment {
    /// Its rule, of the fields that there are, or why it cannot be read any more: a custom field of it was archived,
    /// purged, or became of another type.
    pub(super) fn rule(&self, catalog: &Catalog) -> Result<Rule, String> {
        Rule::parse(self.rules_json.as_str(), catalog, "rules_json").map_err(|errors| errors.to_string())
    }
}

/// The segment as it is after a change.
fn decide(before: &Segment, changed: &ChangedSegment, rules: Option<&SegmentRules>) -> Result<Segment> {
    if changed.dynamic.is_some_and(|dynamic| dynamic != before.dynamic) {
        let kind = if before.dynamic { "dynamic" } else { "static" };
        return Err(Error::InvalidState(format!("The segment is {kind} and stays so: make another one.")));
    }
    let mut after = before.clone();
    if let Some(name) = &changed.name {
        after.name_key = fold(name);
        after.name = name.clone();
    }
    after.description = changed.description.clone().apply(after.description);
    if let Some(rules) = rules.filter(|rules| **rules != before.rules_json) {
        if !before.dynamic {
            return Err(Error::InvalidState(
                "The members of a static segment were taken when it was made: make another one for other rules."
                    .to_owned(),
            ));
        }
        after.rules_json = rules.clone();
        after.rules_version += 1;
    }
    Ok(after)
}

/// The person who acts, where it is one.
const fn person(by: &Principal) -> Option<UserId> {
    match by.actor {
        Actor::User(user) => Some(user),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        id::{OrganizationId, new_uuid},
        input::FromInput as _,
        port::SeededRandom,
        time::Timestamp,
    };

    fn segment(dynamic: bool) -> Segment {
        let now = Timestamp::default();
        Segment {
            id: SegmentId(new_uuid(now, &SeededRandom::new(1))),
            name: "Été".parse().unwrap(),
            name_key: fold("Été"),
            description: None,
            rules_json: r#"{"field":"spend","op":">","value":1}"#.parse().unwrap(),
            rules_version: 3,
            dynamic,
            state: SegmentState::Ready,
            frozen_at: None,
            job_id: None,
            created_by: None,
            meta: Meta::new(OrganizationId::INSTALLATION, now),
        }
    }

    fn decided(before: &Segment, change: &serde_json::Value, rules: Option<&str>) -> Result<Segment, &'static str> {
        let rules = rules.map(|text| text.parse().unwrap());
        decide(before, &ChangedSegment::from_json(change).unwrap(), rules.as_ref()).map_err(|error| error.code())
    }

    #[test]
    fn rules_change_with_their_number_and_static_ones_never() {
        let other = r#"{"field":"spend","op":">","value":2}"#;
        let same = segment(true).rules_json;
        for (dynamic, change, rules, expected) in [
            (true, json!({}), None, Ok(3)),
            (true, json!({"dynamic": true}), Some(same.as_str()), Ok(3)),
            (true, json!({}), Some(other), Ok(4)),
            (true, json!({"dynamic": false}), None, Err("INVALID_STATE")),
            (false, json!({"name": "Ete 2", "dynamic": false}), Some(same.as_str()), Ok(3)),
            (false, json!({}), Some(other), Err("INVALID_STATE")),
            (false, json!({"dynamic": true}), None, Err("INVALID_STATE")),
        ] {
            let after = decided(&segment(dynamic), &change, rules).map(|after| after.rules_version);
            assert_eq!(after, expected, "{change} {rules:?}");
        }
        let renamed = decided(&segment(true), &json!({"name": "ÉTÉ  ", "description": "x"}), None).unwrap();
        assert_eq!((renamed.name.as_str(), renamed.name_key.as_str()), ("ÉTÉ", segment(true).name_key.as_str()));
        assert_eq!(decided(&renamed, &json!({"description": null}), None).unwrap().description, None);
    }
}
