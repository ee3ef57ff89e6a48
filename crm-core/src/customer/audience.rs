use serde_json::value::to_raw_value;

use super::{Customer, Customers, service::CUSTOMER};
use crate::{
    access::{Principal, permissions},
    error::{Error, Result},
    id::CustomerId,
    record::Record as _,
    rule::{Explanation, Rule},
    store::{
        Aggregation, FieldKind, FieldRef, Filter, Measure, Measured, Money, Query, RelatedFilter, RelatedMeasure, Value,
    },
    time::Timestamp,
};

/// The most customers that [`Customers::matching`] answers at once.
const MAX_SAMPLE: usize = 1000;

impl Customers<'_> {
    /// Reads a rule about the organization's customers, custom fields included.
    ///
    /// # Errors
    /// [`Error::Invalid`] with everything wrong in it, each with its path below `rules_json`.
    pub async fn rule(&self, by: &Principal, rules: &serde_json::Value) -> Result<Rule> {
        by.may(permissions::CUSTOMERS_READ)?;
        let json = to_raw_value(rules).map_err(Error::internal)?;
        Ok(Rule::from_json(&json, &self.catalog(by).await?, "rules_json")?)
    }

    /// How many of the customers in sight match, relative times counted from now.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:read`; those of the store.
    pub async fn count(&self, by: &Principal, rule: &Rule) -> Result<u64> {
        by.may(permissions::CUSTOMERS_READ)?;
        self.crm.repo::<Customer>().count_visible(by, rule.filter(self.crm.now())).await
    }

    /// Up to `limit` (at most 1000) of the customers in sight who match, the oldest first.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:read`; those of the store.
    pub async fn matching(&self, by: &Principal, rule: &Rule, limit: usize) -> Result<Vec<Customer>> {
        by.may(permissions::CUSTOMERS_READ)?;
        let query = Query::new(rule.filter(self.crm.now()), limit.min(MAX_SAMPLE));
        Ok(self.crm.repo::<Customer>().find_visible(by, query).await?.records)
    }

    /// Why a customer matches a rule, or why not: the rule's tree, with true or false and the value seen at each node.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none in sight, [`Error::Forbidden`] without `customers:read`.
    pub async fn explain(&self, by: &Principal, id: CustomerId, rule: &Rule) -> Result<Explanation> {
        by.may(permissions::CUSTOMERS_READ)?;
        let customer = self.crm.repo::<Customer>().visible(by, id, CUSTOMER).await?;
        let as_of = self.crm.now();
        self.explained(by, &customer, rule, as_of).await
    }

    /// The same for a customer at hand, as of an instant.
    pub(crate) async fn explained(
        &self,
        by: &Principal,
        customer: &Customer,
        rule: &Rule,
        as_of: Timestamp,
    ) -> Result<Explanation> {
        let mut measured: Vec<(RelatedFilter, Value)> = Vec::new();
        for related in rule.related(as_of) {
            let value = self.measure(by, customer.id, &related).await?;
            measured.push((related, value));
        }
        let value_of = |related: &RelatedFilter| {
            measured.iter().find(|(asked, _)| asked == related).map_or(Value::Null, |(_, value)| value.clone())
        };
        Ok(rule.explain(as_of, &customer.to_row(), &value_of))
    }

    /// What is measured over a customer's related records.
    async fn measure(&self, by: &Principal, id: CustomerId, related: &RelatedFilter) -> Result<Value> {
        let own = Filter::equal(FieldRef::declared(related.key, FieldKind::Id), Value::Id(id.0));
        let kind = related.value.kind().unwrap_or(FieldKind::Integer);
        let measure = match related.measure {
            RelatedMeasure::Count => Measure::Count,
            RelatedMeasure::Sum(name) => Measure::Sum(FieldRef::declared(name, kind)),
        };
        let filter = own.and(related.filter.clone());
        let aggregation = Aggregation { filter, groups: Vec::new(), measures: vec![measure] };
        let rows = self.crm.store().aggregate(by.scope(), related.collection, &aggregation).await?;
        let measured = rows.into_iter().next().and_then(|row| row.measures.into_iter().next());
        let whole = match measured {
            Some(Measured::Count(count)) => i64::try_from(count).ok(),
            Some(Measured::ExactSum { sum, .. }) => i64::try_from(sum).ok(),
            _ => Some(0),
        };
        Ok(match (whole, kind) {
            (None, _) => Value::Null,
            (Some(whole), FieldKind::Money) => Money::from_ten_thousandths(whole).map_or(Value::Null, Value::Money),
            (Some(whole), _) => Value::Integer(whole),
        })
    }
}
