use serde_json::value::to_raw_value;

use super::{Customer, Customers, service::CUSTOMER};
use crate::{
    access::{Principal, permissions},
    error::{Error, Result},
    id::CustomerId,
    record::Record as _,
    rule::{Explanation, Rule},
    store::{FieldKind, Query, Value},
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
        // No collection is related to customers yet: whatever is counted over one is nothing.
        let nothing = |related: &crate::store::RelatedFilter| match related.value.kind() {
            Some(FieldKind::Money) => Value::Money(crate::store::Money::ZERO),
            _ => Value::Integer(0),
        };
        Ok(rule.explain(self.crm.now(), &customer.to_row(), &nothing))
    }
}
