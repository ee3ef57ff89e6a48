//! The sample that `crm-http demo` loads: two organizations with staff, customers, their orders, groups, tags, custom
//! fields and segments, and a campaign that was sent.
//!
//! Everything made up comes from seeds, so it is the same in every installation; only instants count from now. Loading
//! goes through the services, like any client's work, and goes on where an earlier run was interrupted.

mod campaign;
mod sample;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use crm_core::{
    Crm, Error, Result,
    access::{Principal, Role},
    account::{NewAgent, User},
    contact::Email,
    customer::{BatchOptions, Customer, CustomerGroup, GroupMembers, NewCustomerGroup, NewCustomers, NewNote, Note},
    field::NewCustomField,
    id::{CustomerId, OrganizationId, TeamId},
    input::FromInput,
    order::NewOrders,
    segment::WithRules,
    store::{Filter, Progress, Query, Scope, fold::fold},
    tenancy::{ChangedOrganization, NewOrganization, NewTeam, Organization, Team},
    text::Line,
};
use serde_json::{Value, json};

use self::sample::{COMPANIES, CUSTOMERS, Company, Person};

/// Customers created by one call.
const BATCH: usize = 250;
/// The member of a customer's metadata that says which of the sample it is.
const NUMBER: &str = "sample";
/// The member of an organization's settings that says how far its sample is.
const STATE: &str = "sample";

/// Somebody who can sign in to the sample.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DemoLogin {
    /// The organization.
    pub organization: &'static str,
    /// The name.
    pub name: &'static str,
    /// The role.
    pub role: Role,
    /// The e-mail address to sign in with.
    pub email: String,
}

/// The password of the sample's staff: the same at every run over the same secrets, another in every installation.
#[must_use]
pub fn password(crm: &Crm) -> String {
    let key = crm.derived_key("password of the sample's staff");
    URL_SAFE_NO_PAD.encode(&key[..12])
}

/// Who can sign in once the sample is loaded; all with the password that it was loaded with.
#[must_use]
pub fn logins() -> Vec<DemoLogin> {
    COMPANIES
        .iter()
        .flat_map(|company| {
            company.staff.iter().filter_map(|(name, role, _)| {
                let role = role.parse().ok()?;
                Some(DemoLogin { organization: company.name, name, role, email: address(company, name) })
            })
        })
        .collect()
}

/// Loads what is missing of the sample; what is there, and what somebody changed since, stays. The staff that this run
/// creates has the [`password`].
///
/// # Errors
/// Those of the services.
pub async fn load(crm: &Crm, progress: Progress<'_>) -> Result<()> {
    let all = (COMPANIES.len() * CUSTOMERS) as u64;
    let mut launched = Vec::new();
    for (number, company) in COMPANIES.iter().enumerate() {
        let before = (number * CUSTOMERS) as u64;
        let organization = organization(crm, company).await?;
        let by = Principal::system(organization.id);
        launched.push(by.clone());
        if state(&organization) == "loaded" {
            progress(company.name, before + CUSTOMERS as u64, all);
            continue;
        }
        let staff = staff(crm, &by, company, &password(crm)).await?;
        for field in sample::custom_fields() {
            unless_there(crm.fields().create(&by, NewCustomField::from_json(&field)?).await)?;
        }
        let people = company.people(organization.meta.created_at);
        let created =
            customers(crm, &by, company, &people, &staff, &|done| progress(company.name, before + done, all)).await?;
        groups(crm, &by, company, &people, &created).await?;
        notes(crm, &by, &people, &created).await?;
        orders(crm, &by, company, &company.orders(&created, organization.meta.created_at)).await?;
        segments(crm, &by).await?;
        campaign::launch(crm, &by).await?;
        let loaded = ChangedOrganization::from_json(&json!({"settings": {STATE: "loaded"}}))?;
        crm.organizations().update(&by, loaded, None).await?;
    }
    progress("campaigns", all, all);
    campaign::finish(crm, &launched).await
}

fn state(organization: &Organization) -> String {
    organization.settings.to_value()[STATE].as_str().unwrap_or_default().to_owned()
}

/// `Asha Rao` as `asha.rao@…`, without accents.
fn address(company: &Company, name: &str) -> String {
    let local: String = fold(name).replace(' ', ".");
    format!("{local}@{}", company.domain)
}

/// The result, or nothing where the record is there from an earlier run.
fn unless_there<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Duplicate { .. } | Error::Conflict(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn organization(crm: &Crm, company: &Company) -> Result<Organization> {
    let named = Organization::name.equals(Line::parse(company.name)?);
    // Another organization that happens to have the name is not the sample; one never changed is from a run that was cut off.
    let found = crm.repo::<Organization>().find(Scope::Installation, &Query::new(named, 10)).await?;
    if let Some(organization) =
        found.records.into_iter().find(|organization| !state(organization).is_empty() || organization.meta.version == 1)
    {
        return Ok(organization);
    }
    let new = json!({
        "name": company.name, "currency": company.currency, "time_zone": company.time_zone, "country": company.country,
    });
    let by = Principal::system(OrganizationId::INSTALLATION);
    let organization = crm.organizations().create(&by, NewOrganization::from_json(&new)?).await?;
    let begun = ChangedOrganization::from_json(&json!({"settings": {STATE: "loading"}}))?;
    crm.organizations().update(&Principal::system(organization.id), begun, None).await
}

async fn staff(crm: &Crm, by: &Principal, company: &Company, password: &str) -> Result<Vec<User>> {
    for name in company.teams {
        unless_there(crm.teams().create(by, NewTeam::from_json(&json!({"name": name}))?).await)?;
    }
    let mut teams: Vec<TeamId> = Vec::new();
    for name in company.teams {
        let named = Team::name.equals(Line::parse(name)?);
        let team = crm.repo::<Team>().first(by.scope(), named).await?.ok_or(Error::NotFound("team"))?;
        teams.push(team.id);
    }
    let mut staff = Vec::new();
    for (name, role, team) in company.staff {
        let email = address(company, name);
        let team = team.and_then(|place| teams.get(place));
        let new = json!({"name": name, "email": email, "password": password, "role": role, "team_id": team});
        unless_there(crm.agents().create(by, NewAgent::from_json(&new)?).await)?;
        let user = crm.repo::<User>().first(by.scope(), User::email.equals(Email::parse(&email)?)).await?;
        staff.extend(user);
    }
    Ok(staff)
}

/// Creates the customers that are missing; gives the ids of those made by the sample, in its order, without those whom
/// somebody has removed since.
async fn customers(
    crm: &Crm,
    by: &Principal,
    company: &Company,
    people: &[Person],
    staff: &[User],
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<Vec<Option<CustomerId>>> {
    // Ids made in one millisecond are in no order: whoever was created earlier is told by the number that they bear.
    let mut ids: Vec<Option<CustomerId>> = vec![None; people.len()];
    let there = Query::new(Filter::ALL, 0);
    let mut stream = std::pin::pin!(crm.repo::<Customer>().stream(by.scope(), there));
    while let Some(customer) = futures::StreamExt::next(&mut stream).await {
        let customer = customer?;
        let number = customer.metadata.to_value()[NUMBER].as_u64().and_then(|number| usize::try_from(number).ok());
        if let Some(id) = number.and_then(|number| ids.get_mut(number)) {
            *id = Some(customer.id);
        }
    }
    let mut done = 0;
    for (batch, ids) in people.chunks(BATCH).zip(ids.chunks_mut(BATCH)) {
        // Batches are written whole.
        if ids.iter().any(Option::is_some) {
            done += batch.len() as u64;
            continue;
        }
        let items: Vec<Value> = batch.iter().map(|person| body(person, staff)).collect();
        let new = NewCustomers::from_json(&json!({"items": items}))?;
        let report =
            crm.customers().create_batch(by, new, BatchOptions { atomic: true, ..BatchOptions::default() }).await?;
        if let Some(refused) = report.results.iter().find_map(|result| result.error.as_ref()) {
            return Err(Error::Conflict(format!("the sample of {} was refused: {refused:?}", company.name)));
        }
        for (id, result) in ids.iter_mut().zip(&report.results) {
            *id = result.id;
        }
        done += batch.len() as u64;
        progress(done);
    }
    Ok(ids)
}

fn body(person: &Person, staff: &[User]) -> Value {
    let mut body = person.body.clone();
    if let (Some(members), Some(owner)) = (body.as_object_mut(), staff.get(person.owner)) {
        members.insert("owner_id".to_owned(), json!(owner.id));
        members.insert("team_id".to_owned(), json!(owner.team_id));
    }
    body
}

async fn groups(
    crm: &Crm,
    by: &Principal,
    company: &Company,
    people: &[Person],
    ids: &[Option<CustomerId>],
) -> Result<()> {
    for (place, name) in company.groups.iter().enumerate() {
        unless_there(crm.customers().create_group(by, NewCustomerGroup::from_json(&json!({"name": name}))?).await)?;
        let named = CustomerGroup::name.equals(Line::parse(name)?);
        let Some(group) = crm.repo::<CustomerGroup>().first(by.scope(), named).await? else { continue };
        let members = people.iter().zip(ids).filter(|(person, _)| person.group == Some(place));
        let members: Vec<CustomerId> = members.filter_map(|(_, id)| *id).collect();
        for part in members.chunks(500) {
            let part = GroupMembers::from_json(&json!({"customer_ids": part}))?;
            crm.customers().add_members(by, group.id, &part).await?;
        }
    }
    Ok(())
}

/// Takes the orders in; those that are there already stay as they are.
async fn orders(crm: &Crm, by: &Principal, company: &Company, orders: &[Value]) -> Result<()> {
    for batch in orders.chunks(BATCH) {
        let report = crm.orders().create_batch(by, NewOrders::from_json(&json!({"items": batch}))?).await?;
        if let Some(refused) = report.results.iter().find_map(|result| result.error.as_ref()) {
            return Err(Error::Conflict(format!("the orders of {} were refused: {refused:?}", company.name)));
        }
    }
    Ok(())
}

async fn segments(crm: &Crm, by: &Principal) -> Result<()> {
    for segment in sample::segments() {
        unless_there(crm.segments().create(by, WithRules::from_json(&segment)?).await)?;
    }
    Ok(())
}

async fn notes(crm: &Crm, by: &Principal, people: &[Person], ids: &[Option<CustomerId>]) -> Result<()> {
    for (person, id) in people.iter().zip(ids) {
        let (Some(text), Some(id)) = (person.note, *id) else { continue };
        let noted = Note::customer_id.equals(id);
        if crm.repo::<Note>().count(by.scope(), &noted).await? == 0 {
            crm.customers().add_note(by, id, NewNote::from_json(&json!({"text": text}))?).await?;
        }
    }
    Ok(())
}
