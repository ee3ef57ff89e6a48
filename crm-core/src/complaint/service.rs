use std::sync::LazyLock;

use serde_json::json;

use super::{
    ChangedComplaint, Complaint, ComplaintId, ComplaintPriority, ComplaintStatus, NewComplaint,
    decide::{Figures, resolved_at},
};
use crate::{
    access::{
        Principal, Visibility,
        permissions::{COMPLAINTS_READ, COMPLAINTS_WRITE},
    },
    account::User,
    crm::Crm,
    customer::{CUSTOMER, Customer, is_race},
    error::{Error, Result},
    id::{CustomerId, UserId},
    list::{self, List, ListRequest, Listing},
    operation::Operation,
    record::{CREATED_AT, Meta, Record as _, UPDATED_AT},
    repo::Visible as _,
    rule::{Catalog, CatalogField},
    store::{Change, Filter, WhenUnmet},
};

const MISSING: Error = Error::NotFound("complaint");
/// A change without an expected version is decided so often, while others change the record.
const TRIES: usize = 10;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::new(Complaint::COLLECTION)
        .with(CatalogField::column(CREATED_AT))
        .with(CatalogField::column(UPDATED_AT))
        .with(CatalogField::column(Complaint::customer_id))
        .with(CatalogField::column(Complaint::subject))
        .with(CatalogField::column(Complaint::status).options(ComplaintStatus::ALL.map(ComplaintStatus::name)))
        .with(CatalogField::column(Complaint::priority).options(ComplaintPriority::ALL.map(ComplaintPriority::name)))
        .with(CatalogField::column(Complaint::resolved_at))
        .with(CatalogField::column(Complaint::assigned_to))
});

/// The fields of a complaint as it is shown.
const SHOWN: [&str; 13] = [
    "id",
    "organization_id",
    "customer_id",
    "subject",
    "description",
    "status",
    "priority",
    "resolution",
    "resolved_at",
    "assigned_to",
    "version",
    "created_at",
    "updated_at",
];

/// The complaints of an organization's customers.
#[derive(Clone, Copy, Debug)]
pub struct Complaints<'a> {
    crm: &'a Crm,
}

impl Crm {
    /// Complaints of customers.
    #[must_use]
    pub const fn complaints(&self) -> Complaints<'_> {
        Complaints { crm: self }
    }
}

impl Complaints<'_> {
    /// What a list of complaints can be asked.
    #[must_use]
    pub fn listing() -> Listing<'static> {
        Listing::new(&CATALOG).sortable(&["created_at"]).fields(&SHOWN)
    }

    /// Takes down a complaint, and counts it with its customer.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `complaints:write`, [`Error::NotFound`] for a customer who is not in sight or in the
    /// bin, [`Error::Invalid`] on `assigned_to` for somebody who is no member of staff.
    pub async fn create(&self, by: &Principal, new: NewComplaint) -> Result<Complaint> {
        by.may(COMPLAINTS_WRITE)?;
        self.check_staff(by, new.assigned_to).await?;
        let mut turn = self.crm.turns().join(new.customer_id.0).await;
        for _ in 0..TRIES {
            match self.try_create(by, &new).await {
                Err(Error::NotFound(missing)) => return Err(Error::NotFound(missing)),
                // The customer went into the bin meanwhile, or to somebody else.
                Err(error) if is_race(&error) => turn.wait().await,
                done => return done,
            }
        }
        Err(Error::Conflict("The customer is being changed by many at once: try again.".to_owned()))
    }

    async fn try_create(&self, by: &Principal, new: &NewComplaint) -> Result<Complaint> {
        let customer = self.crm.repo::<Customer>().visible(by, new.customer_id, CUSTOMER).await?;
        let now = self.crm.now();
        let status = new.status.unwrap_or_default();
        let complaint = Complaint {
            id: self.crm.new_id_at(now),
            customer_id: customer.id,
            subject: new.subject.clone(),
            description: new.description.clone(),
            status,
            priority: new.priority,
            resolution: new.resolution.clone(),
            resolved_at: resolved_at(status, None, now),
            assigned_to: new.assigned_to,
            owner_id: customer.owner_id,
            team_id: customer.team_id,
            meta: Meta::new(by.organization, now),
        };
        let mut operation = Operation::at(self.crm, by, now);
        operation.insert(&complaint);
        // Who looks after the customer stands in the complaint too, and nobody complains from the bin.
        let same = Customer::deleted_at.missing().and(Filter::And(vec![
            customer.owner_id.map_or(Customer::owner_id.missing(), |owner| Customer::owner_id.equals(owner)),
            customer.team_id.map_or(Customer::team_id.missing(), |team| Customer::team_id.equals(team)),
        ]));
        count(&mut operation, customer.id, Figures::between(None, Some(status)), Some((same, WhenUnmet::Abort)));
        operation.audit::<Complaint>("complaint.created", complaint.id, None, Some(json!(complaint)));
        operation.emit("complaint.created", &complaint, &told(&complaint));
        operation.commit().await?;
        Ok(complaint)
    }

    /// A page of the complaints of the customers that the principal reaches.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `complaints:read`.
    pub async fn list(&self, by: &Principal, request: &ListRequest) -> Result<List<Complaint>> {
        by.may(COMPLAINTS_READ)?;
        list::everything(self.crm, by, request, Complaint::visible_to(by)).await
    }

    /// A page of a customer's complaints.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `complaints:read`, [`Error::NotFound`] for a customer who is not in sight.
    pub async fn list_of(
        &self,
        by: &Principal,
        customer: CustomerId,
        request: &ListRequest,
    ) -> Result<List<Complaint>> {
        by.may(COMPLAINTS_READ)?;
        self.crm.repo::<Customer>().visible(by, customer, CUSTOMER).await?;
        list::everything(self.crm, by, request, Complaint::customer_id.equals(customer)).await
    }

    /// One complaint.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `complaints:read`, [`Error::NotFound`].
    pub async fn get(&self, by: &Principal, id: ComplaintId) -> Result<Complaint> {
        by.may(COMPLAINTS_READ)?;
        self.stored(by, id).await
    }

    /// Changes a complaint; what is not given stays.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `complaints:write`, [`Error::NotFound`], [`Error::VersionConflict`],
    /// [`Error::InvalidState`] for a step that it cannot take, [`Error::Invalid`] on `assigned_to`.
    pub async fn change(
        &self,
        by: &Principal,
        id: ComplaintId,
        expected_version: Option<i64>,
        changed: ChangedComplaint,
    ) -> Result<Complaint> {
        by.may(COMPLAINTS_WRITE)?;
        self.check_staff(by, changed.assigned_to.value().copied()).await?;
        let mut turn = self.crm.turns().join(id.0).await;
        for _ in 0..TRIES {
            let before = self.stored(by, id).await?;
            before.meta.expect(expected_version)?;
            let now = self.crm.now();
            let mut after = changed.clone().apply(&before, now)?;
            let mut operation = Operation::at(self.crm, by, now);
            if !operation.update(&before, &mut after) {
                return Ok(before);
            }
            let figures = Figures::between(Some(before.status), Some(after.status));
            if !figures.is_nothing() {
                count(&mut operation, before.customer_id, figures, None);
            }
            operation.audit::<Complaint>("complaint.updated", id, Some(json!(before)), Some(json!(after)));
            operation.emit("complaint.updated", &after, &told(&after));
            match operation.commit().await {
                Err(Error::VersionConflict { .. }) if expected_version.is_none() => turn.wait().await,
                Err(Error::NotFound(_)) => return Err(MISSING),
                Err(error) => return Err(error),
                Ok(_) => return Ok(after),
            }
        }
        Err(Error::Conflict("The complaint is being changed by many at once: try again.".to_owned()))
    }

    async fn stored(&self, by: &Principal, id: ComplaintId) -> Result<Complaint> {
        let complaint = self.crm.repo::<Complaint>().get(by.scope(), id).await?.ok_or(MISSING)?;
        if by.visibility != Visibility::All {
            let customer = self.crm.repo::<Customer>().get(by.scope(), complaint.customer_id).await?;
            customer.filter(|customer| customer.is_reached_by(by)).ok_or(MISSING)?;
        }
        Ok(complaint)
    }

    async fn check_staff(&self, by: &Principal, user: Option<UserId>) -> Result<()> {
        let Some(user) = user else { return Ok(()) };
        let found = self.crm.repo::<User>().get(by.scope(), user).await?;
        if found.is_some_and(|user| user.removed_at.is_none() && user.role.is_staff()) {
            return Ok(());
        }
        Err(Error::invalid("assigned_to", "NOT_FOUND", "is no member of the organization's staff"))
    }
}

/// What an event says of a complaint: nothing that the customer or staff have written.
fn told(complaint: &Complaint) -> serde_json::Value {
    json!({"id": complaint.id, "customer_id": complaint.customer_id, "status": complaint.status})
}

/// Moves the figures of a customer, before all else: many may be at one customer at once.
fn count(
    operation: &mut Operation<'_>,
    customer: CustomerId,
    figures: Figures,
    condition: Option<(Filter, WhenUnmet)>,
) {
    let now = operation.now();
    operation.change_first(Change::Update {
        collection: Customer::COLLECTION,
        id: customer.0,
        expected_version: None,
        condition,
        assignments: vec![
            Customer::total_complaints.increment(figures.total),
            Customer::open_complaints.increment(figures.open),
            UPDATED_AT.set(now),
        ],
    });
}
