use crm_core::{
    Crm,
    id::OrganizationId,
    store::{Filter, Query, Scope},
    tenancy::Organization,
    text::Line,
};

use super::Failure;

/// So many organizations are named where one has to be chosen.
const NAMED: usize = 20;

/// The organization with this id or name; without one, the only one there is.
pub(super) async fn find(crm: &Crm, wanted: Option<&str>) -> Result<OrganizationId, Failure> {
    let organizations = crm.repo::<Organization>();
    let found = match wanted.map(|text| (text, text.trim().parse::<OrganizationId>())) {
        Some((_, Ok(id))) => organizations.get(Scope::Installation, id).await?.into_iter().collect(),
        Some((text, Err(_))) => {
            let name = Line::parse(text).map_err(|errors| format!("the organization's name {errors}"))?;
            organizations.find(Scope::Installation, &Query::new(Organization::name.equals(name), NAMED)).await?.records
        }
        None => organizations.find(Scope::Installation, &Query::new(Filter::ALL, NAMED)).await?.records,
    };
    match (found.as_slice(), wanted) {
        ([one], _) => Ok(one.id),
        ([], Some(wanted)) => Err(format!("there is no organization {wanted}").into()),
        ([], None) => Err("there is no organization yet".into()),
        (several, _) => {
            let several: Vec<String> =
                several.iter().map(|one| format!("  {}  {}", one.id, one.name.as_str())).collect();
            Err(format!("choose an organization by its id (--organization):\n{}", several.join("\n")).into())
        }
    }
}
