use serde_json::value::RawValue;

use super::{
    ContactKey, ContactKind, ContactPoint, CountedGroup, Customer, CustomerGroup, CustomerShape, Customers, Note,
    ShapedCustomer, shape::FIELDS,
};
use crate::{
    access::{Principal, permissions},
    contact::Phone,
    error::{FieldErrors, Result},
    id::CustomerId,
    list::{self, List, ListBody, ListRequest, Listing},
    record::Record as _,
    rule::{Catalog, CatalogField, Rule},
    store::{Comparison, FieldKind, FieldRef, Filter, Query, Value},
};

/// Parameters that only the list of customers has.
const EXTRA: [&str; 2] = ["deleted", "profile"];

impl Customers<'_> {
    /// A page of the customers in sight, as a query string asks for them. `deleted=true` lists the bin instead.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] with every wrong parameter, [`crate::Error::Forbidden`] without `customers:read`.
    pub async fn list(&self, by: &Principal, pairs: &[(String, String)]) -> Result<List<ShapedCustomer>> {
        by.may(permissions::CUSTOMERS_READ)?;
        let catalog = self.catalog(by).await?;
        let request = Listing::new(&catalog).fields(&FIELDS).extra(&EXTRA).from_pairs(pairs)?;
        self.answer(by, &request).await
    }

    /// The same, as a JSON body asks for them.
    ///
    /// # Errors
    /// Those of [`Customers::list`].
    pub async fn search(&self, by: &Principal, body: &ListBody) -> Result<List<ShapedCustomer>> {
        by.may(permissions::CUSTOMERS_READ)?;
        let catalog = self.catalog(by).await?;
        let request = Listing::new(&catalog).fields(&FIELDS).extra(&EXTRA).from_json(body.as_json())?;
        self.answer(by, &request).await
    }

    async fn answer(&self, by: &Principal, request: &ListRequest) -> Result<List<ShapedCustomer>> {
        let custom = self.context(by).await?.fields;
        let shape = CustomerShape::new(request.extra("profile"), request.fields.clone(), custom)?;
        let found = if request.flag("deleted")? {
            let bin = Customer::reach_of(by).and(Customer::deleted_at.exists());
            let mut request = request.clone();
            if !request.sorted {
                // Newest in the bin first: an index has that, and nothing else of the bin.
                request.sort = vec![Customer::deleted_at.descending()];
            }
            list::everything::<Customer>(self.crm, by, &request, bin).await?
        } else {
            let within = self.narrowed(by, request).await?;
            list::visible::<Customer>(self.crm, by, request, within).await?
        };
        let List { data, page } = found;
        let data = data.into_iter().map(|customer| shape.of(customer)).collect::<Result<_>>()?;
        Ok(List { data, page })
    }

    /// A page of the customers in sight who are within and match a rule, beside what is asked. The rule's relative times
    /// count from the first page, as those of the list's own filters do.
    pub(crate) async fn list_among(
        &self,
        by: &Principal,
        rule: Option<Rule>,
        within: Filter,
        read: impl FnOnce(Listing<'_>) -> Result<ListRequest, FieldErrors> + Send,
    ) -> Result<List<ShapedCustomer>> {
        by.may(permissions::CUSTOMERS_READ)?;
        let context = self.context(by).await?;
        let catalog = self.catalog_in(by, &context).await?;
        let mut request = read(Listing::new(&catalog).fields(&FIELDS).extra(&EXTRA[1..]))?;
        let shape = CustomerShape::new(request.extra("profile"), request.fields.clone(), context.fields)?;
        request.rule = Rule::both(request.rule, rule);
        let within = within.and(self.narrowed(by, &request).await?);
        let List { data, page } = list::visible::<Customer>(self.crm, by, &request, within).await?;
        let data = data.into_iter().map(|customer| shape.of(customer)).collect::<Result<_>>()?;
        Ok(List { data, page })
    }

    /// How single customers are to be answered.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a profile or a field that is not there.
    pub async fn shape(&self, by: &Principal, profile: Option<&str>, fields: Option<&str>) -> Result<CustomerShape> {
        let context = self.context(by).await?;
        let Some(fields) = fields else { return Ok(CustomerShape::new(profile, Vec::new(), context.fields)?) };
        let catalog = self.catalog_in(by, &context).await?;
        let pairs = [("fields".to_owned(), fields.to_owned())];
        let request = Listing::new(&catalog).fields(&FIELDS).from_pairs(&pairs)?;
        Ok(CustomerShape::new(profile, request.fields, context.fields)?)
    }

    /// What rules, filters and orders may name of the organization's customers.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn catalog(&self, by: &Principal) -> Result<Catalog> {
        self.catalog_in(by, &self.context(by).await?).await
    }

    /// The filter of a rule about customers, relative times counted from now.
    pub(crate) async fn rule_filter(&self, by: &Principal, rule: &RawValue, root: &str) -> Result<Filter> {
        let catalog = self.catalog(by).await?;
        Ok(Rule::from_json(rule, &catalog, root)?.filter(self.crm.now()))
    }

    /// A list that asks for one e-mail, phone or login looks at the few customers who have it: contact points know
    /// them, so that customers need no further index.
    pub(super) async fn narrowed(&self, by: &Principal, request: &ListRequest) -> Result<Filter> {
        match &request.rule {
            Some(rule) => self.narrowed_to(by, &rule.filter(self.crm.now())).await,
            None => Ok(Filter::ALL),
        }
    }

    /// The same for a filter at hand.
    pub(crate) async fn narrowed_to(&self, by: &Principal, filter: &Filter) -> Result<Filter> {
        let conditions = match filter {
            Filter::And(conditions) => conditions.as_slice(),
            one => std::slice::from_ref(one),
        };
        let Some((kind, values)) = conditions.iter().find_map(contact_values) else { return Ok(Filter::ALL) };
        let held = ContactPoint::kind.equals(kind).and(ContactPoint::value.one_of(values));
        let limit = 1000;
        let found = self.crm.repo::<ContactPoint>().find(by.scope(), &Query::new(held, limit)).await?;
        if found.has_more {
            return Ok(Filter::ALL);
        }
        let values = found.records.iter().map(|point| Value::Id(point.customer_id.0)).collect();
        Ok(Filter::In { field: FieldRef::declared("id", FieldKind::Id), values })
    }

    /// A page of the organization's static groups, with how many of their members are in sight, and the fields that
    /// were asked for (all where there are none).
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] with every wrong parameter, [`crate::Error::Forbidden`] without `customers:read`.
    pub async fn list_groups(
        &self,
        by: &Principal,
        pairs: &[(String, String)],
    ) -> Result<(List<CountedGroup>, Vec<String>)> {
        self.groups_asked(by, |listing| listing.from_pairs(pairs)).await
    }

    /// The same, as a JSON body asks for them.
    ///
    /// # Errors
    /// Those of [`Customers::list_groups`].
    pub async fn search_groups(&self, by: &Principal, body: &ListBody) -> Result<(List<CountedGroup>, Vec<String>)> {
        self.groups_asked(by, |listing| listing.from_json(body.as_json())).await
    }

    async fn groups_asked(
        &self,
        by: &Principal,
        read: impl FnOnce(Listing<'_>) -> Result<ListRequest, FieldErrors> + Send,
    ) -> Result<(List<CountedGroup>, Vec<String>)> {
        by.may(permissions::CUSTOMERS_READ)?;
        let catalog = Catalog::new(CustomerGroup::COLLECTION)
            .with(CatalogField::column(CustomerGroup::name))
            .with(CatalogField::column(CustomerGroup::description));
        let fields =
            ["id", "name", "description", "member_count", "organization_id", "version", "created_at", "updated_at"];
        let request = read(Listing::new(&catalog).fields(&fields))?;
        let there = CustomerGroup::removed_at.missing();
        let List { data, page } = list::everything::<CustomerGroup>(self.crm, by, &request, there).await?;
        Ok((List { data: self.with_counts(by, data).await?, page }, request.fields))
    }

    /// A page of the notes about a customer, newest first, and the fields that were asked for (all where there are none).
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] for a customer not in sight, [`crate::Error::Invalid`] with every wrong parameter,
    /// [`crate::Error::Forbidden`] without `customers:read`.
    pub async fn list_notes(
        &self,
        by: &Principal,
        customer: CustomerId,
        pairs: &[(String, String)],
    ) -> Result<(List<Note>, Vec<String>)> {
        self.notes_asked(by, customer, |listing| listing.from_pairs(pairs)).await
    }

    /// The same, as a JSON body asks for them.
    ///
    /// # Errors
    /// Those of [`Customers::list_notes`].
    pub async fn search_notes(
        &self,
        by: &Principal,
        customer: CustomerId,
        body: &ListBody,
    ) -> Result<(List<Note>, Vec<String>)> {
        self.notes_asked(by, customer, |listing| listing.from_json(body.as_json())).await
    }

    async fn notes_asked(
        &self,
        by: &Principal,
        customer: CustomerId,
        read: impl FnOnce(Listing<'_>) -> Result<ListRequest, FieldErrors> + Send,
    ) -> Result<(List<Note>, Vec<String>)> {
        by.may(permissions::CUSTOMERS_READ)?;
        self.in_sight(by, customer).await?;
        let catalog = Catalog::new(Note::COLLECTION)
            .with(CatalogField::column(Note::text))
            .with(CatalogField::column(Note::author_type).options(["user", "api_key", "service", "system"]))
            .with(CatalogField::column(Note::author_id))
            .with(CatalogField::column(Note::edited_at))
            .with(CatalogField::column(Note::edit_count));
        let fields = [
            "id",
            "customer_id",
            "text",
            "author_type",
            "author_id",
            "edited_at",
            "edit_count",
            "organization_id",
            "version",
            "created_at",
            "updated_at",
        ];
        let request = read(Listing::new(&catalog).fields(&fields))?;
        let notes = list::everything::<Note>(self.crm, by, &request, Note::customer_id.equals(customer)).await?;
        Ok((notes, request.fields))
    }
}

/// The contact points that a record must have for the condition to hold.
fn contact_values(condition: &Filter) -> Option<(ContactKind, Vec<String>)> {
    let (field, values): (&FieldRef, Vec<&str>) = match condition {
        Filter::Compare { field, comparison: Comparison::Equal, value: Value::Text(text) } => (field, vec![text]),
        Filter::Compare { field, comparison: Comparison::Equal, value: Value::Id(id) } if field.name == "user_id" => {
            return Some((ContactKind::User, vec![id.to_string()]));
        }
        Filter::In { field, values } => {
            let texts = values.iter().map(|value| match value {
                Value::Text(text) => Some(text.as_str()),
                _ => None,
            });
            (field, texts.collect::<Option<_>>()?)
        }
        Filter::Contains { field, text } if field.kind == FieldKind::TextList => (field, vec![text]),
        _ => return None,
    };
    if field.key.is_some() {
        return None;
    }
    match field.name.as_ref() {
        "email" | "emails" => Some((ContactKind::Email, values.into_iter().map(str::to_owned).collect())),
        "phone" | "phones" => {
            let keys = values.into_iter().map(|text| Some(ContactKey::phone(&Phone::parse(text, None).ok()?).value));
            Some((ContactKind::Phone, keys.collect::<Option<_>>()?))
        }
        _ => None,
    }
}
