use super::{
    PreviewedRules, Segment, SegmentCount, SegmentExplanation, SegmentId, SegmentMember, SegmentPreview, SegmentRules,
    SegmentState, Segments, WithRules, service::SEGMENT,
};
use crate::{
    access::{Principal, Visibility, permissions},
    customer::{Customer, ShapedCustomer},
    error::{Error, FieldErrors, Result},
    id::CustomerId,
    list::{List, ListBody, ListRequest, Listing},
    record::{CREATED_AT, Meta, Record as _, UPDATED_AT},
    repo::Visible as _,
    rule::Rule,
    store::{Change, Comparison, Filter, Query, RelatedFilter, RelatedMeasure, StoreError, Value},
    time::Timestamp,
};

/// So many customers are shown of those that a rule means.
const SAMPLE: usize = 10;

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

/// Who is in a segment, whoever looks.
enum Membership {
    /// Whoever matches.
    Matching(Rule),
    /// Whoever was taken by a rule, which may not be readable any more.
    Taken(SegmentId, Option<Rule>),
}

impl Membership {
    fn filter(&self, as_of: Timestamp) -> Filter {
        match self {
            Self::Matching(rule) => rule.filter(as_of),
            Self::Taken(id, _) => member_of(*id),
        }
    }

    fn into_rule(self) -> Option<Rule> {
        match self {
            Self::Matching(rule) => Some(rule),
            Self::Taken(_, rule) => rule,
        }
    }
}

impl Segments<'_> {
    /// Who of the customers in sight is in a segment now.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::InvalidState`] where the rule names what is not there any more, or where the members
    /// of a static segment are still being taken or could not be; [`Error::Forbidden`] without `segments:read` and
    /// `customers:read`.
    pub async fn audience(&self, by: &Principal, id: SegmentId) -> Result<Audience> {
        let segment = self.readable(by, id).await?;
        let as_of = self.crm.now();
        let membership = self.membership(by, &segment).await?;
        let filter = Customer::visible_to(by).and(membership.filter(as_of));
        Ok(Audience { filter, rule: membership.into_rule(), segment, as_of })
    }

    /// How many of the customers in sight are in a segment, and the first ten of them. What is counted of all customers
    /// is kept with the segment.
    ///
    /// # Errors
    /// Those of [`Segments::audience`].
    pub async fn preview(&self, by: &Principal, id: SegmentId) -> Result<SegmentPreview> {
        let segment = self.readable(by, id).await?;
        let membership = self.membership(by, &segment).await?;
        let as_of = self.crm.now();
        let filter = membership.filter(as_of);
        let rules = segment.rules_json.clone();
        let explanation = membership.into_rule().map(|rule| rule.to_string());
        let preview = self.counted(by, filter, as_of, rules, explanation).await?;
        if by.visibility == Visibility::All {
            self.note_count(by, &segment, &preview).await?;
        }
        Ok(preview)
    }

    /// The same for rules that are in no segment.
    ///
    /// # Errors
    /// [`Error::Invalid`] with everything wrong in the rules, each with its path below `rules_json`;
    /// [`Error::Forbidden`] without `segments:read` and `customers:read`.
    pub async fn preview_rules(&self, by: &Principal, rules: WithRules<PreviewedRules>) -> Result<SegmentPreview> {
        by.may(permissions::SEGMENTS_READ)?;
        by.may(permissions::CUSTOMERS_READ)?;
        let (_, rule) = self.read(by, rules).await?;
        let Some(rule) = rule else { return Err(Error::invalid("rules_json", "REQUIRED", "is required")) };
        let as_of = self.crm.now();
        let explanation = Some(rule.to_string());
        self.counted(by, rule.filter(as_of), as_of, SegmentRules::from(&rule), explanation).await
    }

    /// A page of the customers in sight who are in a segment, as a query string asks for them.
    ///
    /// # Errors
    /// Those of [`Segments::audience`]; [`Error::Invalid`] with every wrong parameter.
    pub async fn customers(
        &self,
        by: &Principal,
        id: SegmentId,
        pairs: &[(String, String)],
    ) -> Result<List<ShapedCustomer>> {
        self.customers_asked(by, id, |listing| listing.from_pairs(pairs)).await
    }

    /// The same, as a JSON body asks for them.
    ///
    /// # Errors
    /// Those of [`Segments::customers`].
    pub async fn search_customers(
        &self,
        by: &Principal,
        id: SegmentId,
        body: &ListBody,
    ) -> Result<List<ShapedCustomer>> {
        self.customers_asked(by, id, |listing| listing.from_json(body.as_json())).await
    }

    async fn customers_asked(
        &self,
        by: &Principal,
        id: SegmentId,
        read: impl FnOnce(Listing<'_>) -> Result<ListRequest, FieldErrors> + Send,
    ) -> Result<List<ShapedCustomer>> {
        let segment = self.readable(by, id).await?;
        let (rule, within) = match self.membership(by, &segment).await? {
            Membership::Matching(rule) => (Some(rule), Filter::ALL),
            Membership::Taken(id, _) => (None, member_of(id)),
        };
        self.crm.customers().list_among(by, rule, within, read).await
    }

    /// Why a customer is in a segment, or why not.
    ///
    /// # Errors
    /// Those of [`Segments::audience`]; [`Error::NotFound`] where the customer is not in sight.
    pub async fn explain(&self, by: &Principal, id: SegmentId, customer: CustomerId) -> Result<SegmentExplanation> {
        let segment = self.readable(by, id).await?;
        let customer = self.crm.repo::<Customer>().visible(by, customer, "customer").await?;
        let as_of = self.crm.now();
        let rule = self.read_rules(by, &segment).await?.map_err(|why| broken(&why))?;
        let tree = self.crm.customers().explained(by, &customer, &rule, as_of).await?;
        let member = match self.membership(by, &segment).await? {
            Membership::Matching(_) => tree.result,
            Membership::Taken(id, _) => {
                let taken = SegmentMember::segment_id.equals(id).and(SegmentMember::customer_id.equals(customer.id));
                self.crm.repo::<SegmentMember>().first(by.scope(), taken).await?.is_some()
            }
        };
        let explanation = rule.to_string();
        Ok(SegmentExplanation { segment_id: id, customer_id: customer.id, member, as_of, explanation, tree })
    }

    /// A segment whose members the principal may ask for.
    async fn readable(&self, by: &Principal, id: SegmentId) -> Result<Segment> {
        by.may(permissions::SEGMENTS_READ)?;
        by.may(permissions::CUSTOMERS_READ)?;
        self.stored(by, id).await
    }

    async fn membership(&self, by: &Principal, segment: &Segment) -> Result<Membership> {
        let read = self.read_rules(by, segment).await?;
        if segment.dynamic {
            // Never other people than the rules said: what cannot be asked any more is no reason to leave it out.
            return read.map(Membership::Matching).map_err(|why| broken(&why));
        }
        match segment.state {
            SegmentState::Ready => Ok(Membership::Taken(segment.id, read.ok())),
            SegmentState::Building => Err(Error::InvalidState(
                "The members of this static segment are still being taken: ask again in a while.".to_owned(),
            )),
            SegmentState::Failed => Err(Error::InvalidState(
                "The members of this static segment could not be taken: look at its job, or make another one."
                    .to_owned(),
            )),
        }
    }

    async fn counted(
        &self,
        by: &Principal,
        filter: Filter,
        as_of: Timestamp,
        rules_json: SegmentRules,
        explanation: Option<String>,
    ) -> Result<SegmentPreview> {
        let customers = self.crm.customers();
        let shape = customers.shape(by, None, None).await?;
        let narrowed = customers.narrowed_to(by, &filter).await?;
        let filter = Customer::visible_to(by).and(narrowed).and(filter);
        let repo = self.crm.repo::<Customer>();
        let first = Query::new(filter.clone(), SAMPLE).sorted(vec![CREATED_AT.descending()]);
        let (count, found) = futures::join!(repo.count(by.scope(), &filter), repo.find(by.scope(), &first));
        let sample = found?.records.into_iter().map(|customer| shape.of(customer)).collect::<Result<Vec<_>>>()?;
        let took_ms = u64::try_from(self.crm.now().since(as_of).as_millis()).unwrap_or(0);
        Ok(SegmentPreview { count: count?, sample_size: sample.len(), sample, took_ms, as_of, rules_json, explanation })
    }

    /// Keeps what was counted of all customers, unless the segment is gone by now.
    async fn note_count(&self, by: &Principal, segment: &Segment, preview: &SegmentPreview) -> Result<()> {
        let (id, at) = (segment.id, preview.as_of);
        let member_count = i64::try_from(preview.count).unwrap_or(i64::MAX);
        let update = Change::Update {
            collection: SegmentCount::COLLECTION,
            id: id.0,
            expected_version: None,
            condition: None,
            assignments: vec![
                SegmentCount::member_count.set(member_count),
                SegmentCount::counted_at.set(at),
                UPDATED_AT.set(at),
            ],
        };
        match self.crm.store().commit(by.scope(), vec![update]).await {
            Err(StoreError::NotFound { .. }) => {}
            done => return done.map(|_| ()).map_err(Error::from),
        }
        let count = SegmentCount { id, member_count, counted_at: at, meta: Meta::new(by.organization, at) };
        let insert = Change::Insert { collection: SegmentCount::COLLECTION, rows: vec![count.to_row()] };
        match self.crm.store().commit(by.scope(), vec![insert]).await {
            // Somebody else counted at the same moment.
            Err(StoreError::Duplicate { .. }) => Ok(()),
            done => done.map(|_| ()).map_err(Error::from),
        }
    }

    /// The rule of a segment, or why it cannot be read any more.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn read_rules(&self, by: &Principal, segment: &Segment) -> Result<Result<Rule, String>> {
        let catalog = self.crm.customers().catalog(by).await?;
        Ok(segment.rule(&catalog))
    }

    pub(super) async fn stored(&self, by: &Principal, id: SegmentId) -> Result<Segment> {
        self.crm.repo::<Segment>().get(by.scope(), id).await?.ok_or(SEGMENT)
    }
}

/// The refusal of a segment whose rules cannot be read any more.
pub(super) fn broken(why: &str) -> Error {
    Error::InvalidState(format!("The segment is broken: {why}. Change its rules, or bring back what they name."))
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
