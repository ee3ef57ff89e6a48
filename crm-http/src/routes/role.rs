use crm_core::access::{Permission, Principal, Role, Visibility};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{extract::Pairs, problem::Result, respond::Json, state::AppState};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(permissions)).routes(routes!(roles))
}

/// All there are, in one page.
#[derive(Serialize, ToSchema)]
struct WholePage {
    /// How many there are.
    limit: usize,
    /// There is no other page.
    next_cursor: Option<String>,
    /// Always false.
    has_more: bool,
    /// How many there are.
    total: usize,
}

impl WholePage {
    const fn of(total: usize) -> Self {
        Self { limit: total, next_cursor: None, has_more: false, total }
    }
}

/// The right to do one kind of thing.
#[derive(Serialize, ToSchema)]
struct DescribedPermission {
    /// `resource:action`.
    name: Permission,
    /// What it lets do.
    description: &'static str,
}

/// Every permission.
#[derive(Serialize, ToSchema)]
struct Permissions {
    data: Vec<DescribedPermission>,
    page: WholePage,
}

/// List permissions
///
/// What can be permitted to a role or an API key.
#[utoipa::path(
    get, path = "/permissions", tag = "Staff",
    responses((status = 200, description = "Every permission.", body = Permissions)),
    extensions(("x-permission" = json!("session")))
)]
async fn permissions(_by: Principal, pairs: Pairs) -> Result<Json<Permissions>> {
    pairs.only(&[])?;
    let described = |name: Permission| DescribedPermission { name, description: name.description() };
    let data: Vec<DescribedPermission> = Permission::all().map(described).collect();
    let page = WholePage::of(data.len());
    Ok(Json(Permissions { data, page }))
}

/// What users can be.
#[derive(Serialize, ToSchema)]
struct DescribedRole {
    /// The name.
    name: Role,
    /// Higher is more powerful.
    rank: u8,
    /// What it may do.
    permissions: Vec<Permission>,
    /// Which customers it sees: `all`, `team` or `own`.
    #[schema(example = "team")]
    visibility: &'static str,
    /// Whether it comes with the CRM, and so cannot be changed.
    built_in: bool,
}

/// Every role.
#[derive(Serialize, ToSchema)]
struct Roles {
    data: Vec<DescribedRole>,
    page: WholePage,
}

/// List roles
///
/// The most powerful first, with what each may do.
#[utoipa::path(
    get, path = "/roles", tag = "Staff",
    responses((status = 200, description = "Every role.", body = Roles)),
    extensions(("x-permission" = json!("session")))
)]
async fn roles(_by: Principal, pairs: Pairs) -> Result<Json<Roles>> {
    pairs.only(&[])?;
    let described = |name: Role| DescribedRole {
        name,
        rank: name.rank(),
        permissions: name.permissions().iter().collect(),
        visibility: match name.visibility() {
            Visibility::All => "all",
            Visibility::Team => "team",
            Visibility::Own => "own",
        },
        built_in: true,
    };
    let data: Vec<DescribedRole> = Role::ALL.into_iter().map(described).collect();
    let page = WholePage::of(data.len());
    Ok(Json(Roles { data, page }))
}
