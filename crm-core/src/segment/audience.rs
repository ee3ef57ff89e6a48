use super::{Segment, SegmentId, SegmentMember, SegmentState, Segments, service::SEGMENT};
use crate::{
    access::{Principal, permissions},
    customer::Customer,
    error::{Error, Result},
    record::Record as _,
    repo::Visible as _,
    rule::Rule,
    store::{Comparison, Filter, RelatedFilter, RelatedMeasure, Value},
    time::Timestamp,
};

/// Who is in a segment, as of one instant.
#[derive(Clone, Debug)]
pub struct Audience {
    /// The segment.
    pub segment: Segment,
    /// Its rule, of the organization's fields as they are now. Of a static segment it says who was taken, not who is in.
    pub rule: Option<Rule>,
    /// The customers that the principal sees and who are in the segment: for a store, over customers. A static segment
    /// costs one pass over its members there, and no list of ids here.
    pub filter: Filter,
    /// The instant that relative times count from.
    pub as_of: Timestamp,
}

impl Segments<'_> {
    /// Who of the customers in sight is in a segment now.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::InvalidState`] where the rule names what is not there any more, or where the members
    /// of a static segment are still being taken or could not be; [`Error::Forbidden`] without `segments:read` and
    /// `customers:read`.
    pub async fn audience(&self, by: &Principal, id: SegmentId) -> Result<Audience> {
        by.may(permissions::SEGMENTS_READ)?;
        by.may(permissions::CUSTOMERS_READ)?;
        let segment = self.stored(by, id).await?;
        self.audience_of(by, segment, self.crm.now()).await
    }

    /// The same of a segment at hand, as of an instant.
    pub(super) async fn audience_of(&self, by: &Principal, segment: Segment, as_of: Timestamp) -> Result<Audience> {
        let read = self.read_rules(by, &segment).await?;
        let (rule, within) = if segment.dynamic {
            let rule = read.map_err(|broken| Error::InvalidState(format!("The segment is broken: {broken}.")))?;
            let within = rule.filter(as_of);
            (Some(rule), within)
        } else {
            match segment.state {
                SegmentState::Ready => (read.ok(), member_of(segment.id)),
                SegmentState::Building => {
                    let message = "The members of this static segment are still being taken: ask again in a while.";
                    return Err(Error::InvalidState(message.to_owned()));
                }
                SegmentState::Failed => {
                    let message = "The members of this static segment could not be taken: make a new one.";
                    return Err(Error::InvalidState(message.to_owned()));
                }
            }
        };
        Ok(Audience { filter: Customer::visible_to(by).and(within), segment, rule, as_of })
    }

    /// The rule of a segment, or why it cannot be read any more: a custom field of it was archived, purged, or became of
    /// another type.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn read_rules(&self, by: &Principal, segment: &Segment) -> Result<Result<Rule, String>> {
        let catalog = self.crm.customers().catalog(by).await?;
        Ok(Rule::parse(segment.rules_json.as_str(), &catalog, "rules_json").map_err(|errors| errors.to_string()))
    }

    pub(super) async fn stored(&self, by: &Principal, id: SegmentId) -> Result<Segment> {
        self.crm.repo::<Segment>().get(by.scope(), id).await?.ok_or(SEGMENT)
    }
}

/// The customers who were taken into a static segment.
pub(super) fn member_of(id: SegmentId) -> Filter {
    Filter::Related(Box::new(RelatedFilter {
        collection: SegmentMember::COLLECTION,
        key: SegmentMember::customer_id.name(),
        filter: SegmentMember::segment_id.equals(id),
        measure: RelatedMeasure::Count,
        comparison: Comparison::GreaterOrEqual,
        value: Value::Integer(1),
    }))
}
