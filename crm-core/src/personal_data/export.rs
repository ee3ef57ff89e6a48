use std::collections::VecDeque;

use futures::{Stream, stream};
use serde_json::json;

use super::{
    erase::PersonalData,
    holding::{HOLDINGS, about},
    row::ShownRow,
};
use crate::{
    access::{Principal, permissions},
    account::{Session, User},
    audit::AuditEntry,
    crm::Crm,
    customer::{CUSTOMER, Customer, CustomerMerge},
    error::{Error, Result},
    id::CustomerId,
    operation::Operation,
    personal_data::Says,
    record::{ID, Record as _},
    store::{Collection, Filter, Query},
};

/// So many records are read at once.
const PAGE: usize = 200;

/// Everything that is kept of a customer, as one JSON document that is written while it is read.
#[derive(Debug)]
pub struct PersonalDataDocument {
    crm: Crm,
    by: Principal,
    customer: CustomerId,
    sources: VecDeque<(&'static Collection, Filter)>,
    at: Place,
}

#[derive(Debug)]
enum Place {
    Beginning,
    /// In the records of the first source; `None` before the first of them.
    In(Option<Query>, bool),
    End,
}

impl PersonalData<'_> {
    /// Everything that is kept of a customer, by kind of record. That it was asked for is noted in the audit trail.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `personal-data:read`, [`Error::NotFound`] for a customer who is not in reach; one in the
    /// bin is.
    pub async fn export(&self, by: &Principal, id: CustomerId) -> Result<PersonalDataDocument> {
        by.may(permissions::PERSONAL_DATA_READ)?;
        let customer = self.crm.repo::<Customer>().get(by.scope(), id).await?;
        let customer = customer.filter(|customer| customer.is_reached_by(by)).ok_or(Error::NotFound(CUSTOMER))?;
        let mut operation = Operation::new(self.crm, by);
        operation.audit::<Customer>("customer.personal_data_exported", id, None, None);
        operation.commit().await?;
        let merged = Filter::Or(vec![CustomerMerge::kept_id.equals(id), CustomerMerge::duplicate_id.equals(id)]);
        let mut sources = VecDeque::from([(Customer::COLLECTION, ID.equals(id.0))]);
        sources.extend(HOLDINGS.iter().filter_map(|holding| match holding.says {
            Says::Of { customer, .. } => Some((holding.collection, about(customer, &[id]))),
            _ => None,
        }));
        sources.push_back((CustomerMerge::COLLECTION, merged));
        if let Some(user) = customer.user_id {
            sources.push_back((User::COLLECTION, ID.equals(user.0)));
            sources.push_back((Session::COLLECTION, Session::user_id.equals(user)));
        }
        sources.push_back((AuditEntry::COLLECTION, AuditEntry::record_id.equals(id.0)));
        let (crm, by) = (self.crm.clone(), by.clone());
        Ok(PersonalDataDocument { crm, by, customer: id, sources, at: Place::Beginning })
    }
}

impl PersonalDataDocument {
    /// The document, part by part. It takes as much memory as a page of records.
    pub fn parts(self) -> impl Stream<Item = Result<Vec<u8>>> + Send + 'static {
        stream::try_unfold(self, |mut document| async move {
            let part = document.next().await?;
            Ok(part.map(|part| (part, document)))
        })
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        match std::mem::replace(&mut self.at, Place::End) {
            Place::Beginning => {
                let head = json!({"customer_id": self.customer, "exported_at": self.crm.now()}).to_string();
                out.extend(head.trim_end_matches('}').as_bytes());
                self.at = Place::In(None, false);
            }
            Place::In(query, begun) => {
                let Some((collection, filter)) = self.sources.front() else {
                    return Ok(Some(b"}\n".to_vec()));
                };
                let mut query = query.unwrap_or_else(|| Query::new(filter.clone(), PAGE));
                let page = self.crm.store().find(self.by.scope(), collection, &query).await?;
                if !begun {
                    out.extend(format!(",\n\"{}\":[", collection.name).as_bytes());
                }
                for (place, row) in page.rows.iter().enumerate() {
                    out.extend(if begun || place > 0 { ",\n" } else { "\n" }.as_bytes());
                    serde_json::to_writer(&mut out, &ShownRow(collection, row)).map_err(Error::internal)?;
                }
                if let (true, Some(last)) = (page.has_more, page.rows.last()) {
                    query.after = Some(crate::store::Position::of_id(last.id()));
                    self.at = Place::In(Some(query), true);
                } else {
                    out.push(b']');
                    self.sources.pop_front();
                    self.at = Place::In(None, false);
                }
            }
            Place::End => return Ok(None),
        }
        Ok(Some(out))
    }
}
