//! Measures over groups.

use std::collections::BTreeMap;

use bson::{Bson, Document, RawDocument, doc, raw::RawBsonRef};
use crm_core::store::{
    AggregateRow, Aggregation, Collection, FieldKind, FieldRef, Group, Measure, Measured, Scope, StoreError,
    StoreResult, Value,
    evaluate::{Ordered, check_aggregation, visible_organization},
};

use crate::{
    compile::Rows,
    decimal,
    layout::path,
    related::related,
    row,
    session::{Fault, Session, in_snapshot},
    store::MongoStore,
};

pub(crate) async fn aggregate(
    store: &MongoStore,
    scope: Scope,
    collection: &'static Collection,
    aggregation: &Aggregation,
) -> StoreResult<Vec<AggregateRow>> {
    let organization = visible_organization(scope, collection)?;
    check_aggregation(collection, aggregation)?;
    let layout = store.layouts.of(collection);
    in_snapshot(store, |mut session| {
        let layout = &layout;
        async move {
            let filter = related(&mut session, organization, &aggregation.filter).await?;
            let matching = Rows { layout, organization }.matching(&filter, Vec::new())?;
            Measuring { collection, aggregation, grouped: grouped(aggregation, matching) }.run(&mut session).await
        }
    })
    .await
}

/// The groups with what was measured of each, in the order of the groups.
type Answers = BTreeMap<Vec<Ordered>, Vec<Measured>>;

struct Measuring<'a> {
    collection: &'static Collection,
    aggregation: &'a Aggregation,
    /// The stages that find the records and put each into its groups, `g0`, `g1`, …
    grouped: Vec<Document>,
}

fn group_name(place: usize) -> String {
    format!("g{place}")
}

fn measure_name(place: usize) -> String {
    format!("m{place}")
}

/// How many values the measure at the place has.
fn count_name(place: usize) -> String {
    format!("n{place}")
}

fn value(field: &FieldRef) -> String {
    format!("${}", path(field))
}

/// The value, or null where there is none.
fn value_or_null(field: &FieldRef) -> Document {
    doc! { "$ifNull": [value(field), null] }
}

/// The stages that find the records and put each into its groups.
fn grouped(aggregation: &Aggregation, matching: Document) -> Vec<Document> {
    let mut stages = vec![doc! { "$match": matching }];
    for (place, group) in aggregation.groups.iter().enumerate() {
        let name = group_name(place);
        match group {
            Group::Field(field) if field.kind == FieldKind::TextList => {
                // The distinct elements; a record without any is left out.
                let distinct = doc! { "$setUnion": [doc! { "$ifNull": [value(field), []] }, []] };
                stages.push(doc! { "$set": { &name: distinct } });
                stages.push(doc! { "$unwind": format!("${name}") });
            }
            Group::Field(field) => stages.push(doc! { "$set": { &name: value_or_null(field) } }),
            Group::Interval { field, bounds } => {
                let instant = |bound: &crm_core::time::Timestamp| {
                    Bson::DateTime(bson::DateTime::from_millis(bound.as_milliseconds()))
                };
                let first = bounds.first().map_or(Bson::Null, instant);
                let last = bounds.last().map_or(Bson::Null, instant);
                stages.push(doc! { "$match": { path(field): { "$gte": first, "$lt": last } } });
                let branches = bounds.windows(2).map(|interval| {
                    let case = doc! { "$lt": [value(field), instant(&interval[1])] };
                    doc! { "case": case, "then": instant(&interval[0]) }
                });
                let branches: Vec<Document> = branches.collect();
                stages.push(doc! { "$set": { &name: { "$switch": { "branches": branches, "default": null } } } });
            }
        }
    }
    stages
}

const fn group_kind(group: &Group) -> FieldKind {
    match group {
        Group::Field(field) => match field.kind {
            FieldKind::TextList => FieldKind::Text,
            kind => kind,
        },
        Group::Interval { .. } => FieldKind::Timestamp,
    }
}

impl Measuring<'_> {
    async fn run(&self, session: &mut Session<'_>) -> Result<Vec<AggregateRow>, Fault> {
        let mut answers = self.whole(session).await?;
        for (place, measure) in self.aggregation.measures.iter().enumerate() {
            match measure {
                Measure::Distinct(field) => self.distinct(session, &mut answers, place, field).await?,
                Measure::Percentile { field, per_mille } => {
                    self.percentile(session, &mut answers, place, field, *per_mille).await?;
                }
                _ => {}
            }
        }
        Ok(answers
            .into_iter()
            .map(|(groups, measures)| AggregateRow {
                groups: groups.into_iter().map(|value| value.0).collect(),
                measures,
            })
            .collect())
    }

    /// The `_id` of a stage that groups: a document of all groups.
    fn key(&self, prefix: &str) -> Document {
        (0..self.aggregation.groups.len())
            .map(|place| (group_name(place), Bson::String(format!("${prefix}{}", group_name(place)))))
            .collect()
    }

    fn groups(&self, key: &RawDocument) -> StoreResult<Vec<Ordered>> {
        let groups = self.aggregation.groups.iter().enumerate().map(|(place, group)| {
            let value = member(key, &group_name(place))?;
            read(value, group_kind(group)).map(Ordered)
        });
        groups.collect()
    }

    /// Everything that one pass can measure.
    async fn whole(&self, session: &mut Session<'_>) -> Result<Answers, Fault> {
        let measures = &self.aggregation.measures;
        let mut stage = doc! { "_id": self.key("") };
        for (place, measure) in measures.iter().enumerate() {
            match measure {
                Measure::Count => {
                    stage.insert(measure_name(place), doc! { "$sum": 1_i64 });
                }
                Measure::Sum(field) => {
                    // As decimals, since the sum of 64-bit numbers becomes a double where it is larger.
                    let exact = field.kind != FieldKind::Number;
                    let summed =
                        if exact { doc! { "$toDecimal": value(field) }.into() } else { Bson::from(value(field)) };
                    stage.insert(measure_name(place), doc! { "$sum": summed });
                    stage.insert(count_name(place), counted(field));
                }
                Measure::Minimum(field) => {
                    stage.insert(measure_name(place), doc! { "$min": value(field) });
                }
                Measure::Maximum(field) => {
                    stage.insert(measure_name(place), doc! { "$max": value(field) });
                }
                Measure::Percentile { field, .. } => {
                    stage.insert(count_name(place), counted(field));
                }
                Measure::Distinct(_) => {}
            }
        }
        let mut pipeline = self.grouped.clone();
        pipeline.push(doc! { "$group": stage });
        let mut answers = Answers::new();
        if self.aggregation.groups.is_empty() {
            // There is one answer also over no records.
            answers.insert(Vec::new(), measures.iter().map(nothing).collect());
        }
        session
            .aggregate(self.collection, pipeline, |answer| {
                let groups = self.groups(document(answer, "_id")?)?;
                let measured = measures.iter().enumerate().map(|(place, measure)| measured(answer, place, measure));
                answers.insert(groups, measured.collect::<StoreResult<_>>()?);
                Ok(())
            })
            .await?;
        Ok(answers)
    }

    /// The stages that answer each group's distinct values, with how often each comes.
    fn values(&self, field: &FieldRef) -> Vec<Document> {
        let mut key = self.key("");
        key.insert("value", value(field));
        let mut pipeline = self.grouped.clone();
        pipeline.push(doc! { "$match": { path(field): { "$exists": true } } });
        pipeline.push(doc! { "$group": { "_id": key, "count": { "$sum": 1_i64 } } });
        pipeline
    }

    async fn distinct(
        &self,
        session: &mut Session<'_>,
        answers: &mut Answers,
        place: usize,
        field: &FieldRef,
    ) -> Result<(), Fault> {
        let mut pipeline = self.values(field);
        pipeline.push(doc! { "$group": { "_id": self.key("_id."), "count": { "$sum": 1_i64 } } });
        session
            .aggregate(self.collection, pipeline, |answer| {
                let groups = self.groups(document(answer, "_id")?)?;
                put(answers, &groups, place, Measured::Count(count(answer, "count")?));
                Ok(())
            })
            .await
    }

    /// Goes through each group's values in their order until the rank is reached. Only the running group is in memory.
    async fn percentile(
        &self,
        session: &mut Session<'_>,
        answers: &mut Answers,
        place: usize,
        field: &FieldRef,
        per_mille: u16,
    ) -> Result<(), Fault> {
        let mut pipeline = self.values(field);
        let mut order: Document = (0..self.aggregation.groups.len())
            .map(|place| (format!("_id.{}", group_name(place)), Bson::Int32(1)))
            .collect();
        order.insert("_id.value", 1);
        pipeline.push(doc! { "$sort": order });
        let mut running: Option<(Vec<Ordered>, u64)> = None;
        session
            .aggregate(self.collection, pipeline, |answer| {
                let key = document(answer, "_id")?;
                let groups = self.groups(key)?;
                let number = match answers.get(&groups).and_then(|measured| measured.get(place)) {
                    Some(Measured::Count(number)) => *number,
                    _ => return Ok(()),
                };
                let rank = (number * u64::from(per_mille)).div_ceil(1000).max(1);
                let before = match running.take() {
                    Some((same, before)) if same == groups => before,
                    _ => 0,
                };
                let behind = before + count(answer, "count")?;
                if before < rank && rank <= behind {
                    let value = read(member(key, "value")?, field.kind)?;
                    put(answers, &groups, place, Measured::Value(value));
                }
                running = Some((groups, behind));
                Ok(())
            })
            .await?;
        for measured in answers.values_mut().filter_map(|measures| measures.get_mut(place)) {
            if matches!(measured, Measured::Count(_)) {
                *measured = Measured::Value(Value::Null);
            }
        }
        Ok(())
    }
}

fn put(answers: &mut Answers, groups: &[Ordered], place: usize, measured: Measured) {
    if let Some(place) = answers.get_mut(groups).and_then(|measures| measures.get_mut(place)) {
        *place = measured;
    }
}

/// How many records have a value.
fn counted(field: &FieldRef) -> Document {
    doc! { "$sum": { "$cond": [{ "$gt": [value(field), null] }, 1_i64, 0_i64] } }
}

/// What a measure is over no records. A percentile begins as the number of its values.
const fn nothing(measure: &Measure) -> Measured {
    match measure {
        Measure::Count | Measure::Distinct(_) | Measure::Percentile { .. } => Measured::Count(0),
        Measure::Sum(field) => match field.kind {
            FieldKind::Number => Measured::NumberSum { sum: 0.0, count: 0 },
            _ => Measured::ExactSum { sum: 0, count: 0 },
        },
        Measure::Minimum(_) | Measure::Maximum(_) => Measured::Value(Value::Null),
    }
}

fn measured(answer: &RawDocument, place: usize, measure: &Measure) -> StoreResult<Measured> {
    let of_measure = || member(answer, &measure_name(place));
    Ok(match measure {
        Measure::Count => Measured::Count(count(answer, &measure_name(place))?),
        Measure::Percentile { .. } => Measured::Count(count(answer, &count_name(place))?),
        Measure::Distinct(_) => Measured::Count(0),
        Measure::Sum(field) if field.kind == FieldKind::Number => {
            let sum = match of_measure()? {
                RawBsonRef::Double(sum) => sum,
                RawBsonRef::Int32(sum) => f64::from(sum),
                other => return Err(unexpected(other)),
            };
            Measured::NumberSum { sum, count: count(answer, &count_name(place))? }
        }
        Measure::Sum(field) => {
            let places = if field.kind == FieldKind::Money { 4 } else { 0 };
            let sum = match of_measure()? {
                RawBsonRef::Decimal128(sum) => decimal::scaled(sum, places),
                // No value at all: the sum of nothing is a plain zero.
                other => row::integer(other).map(|sum| i128::from(sum) * 10_i128.pow(places)),
            };
            let sum = sum.ok_or_else(|| StoreError::engine("a sum is no exact number"))?;
            Measured::ExactSum { sum, count: count(answer, &count_name(place))? }
        }
        Measure::Minimum(field) | Measure::Maximum(field) => Measured::Value(read(of_measure()?, field.kind)?),
    })
}

fn member<'a>(document: &'a RawDocument, name: &str) -> StoreResult<RawBsonRef<'a>> {
    Ok(document.get(name).map_err(StoreError::engine)?.unwrap_or(RawBsonRef::Null))
}

fn document<'a>(answer: &'a RawDocument, name: &str) -> StoreResult<&'a RawDocument> {
    answer.get_document(name).map_err(StoreError::engine)
}

fn count(answer: &RawDocument, name: &str) -> StoreResult<u64> {
    let value = member(answer, name)?;
    row::integer(value).and_then(|count| u64::try_from(count).ok()).ok_or_else(|| unexpected(value))
}

fn read(value: RawBsonRef<'_>, kind: FieldKind) -> StoreResult<Value> {
    row::decode_value(value, kind).ok_or_else(|| unexpected(value))
}

fn unexpected(value: RawBsonRef<'_>) -> StoreError {
    StoreError::engine(format!("a measure has a value of the type {:?}", value.element_type()))
}
