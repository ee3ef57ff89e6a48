use super::*;
use crate::{
    access::Role,
    account::{ChangedAgent, CreatedAgent, NewAgent, NewPassword, User},
    id::TeamId,
    input::Patch,
    list::ListRequest,
    tenancy::{ChangedOrganization, ChangedTeam, NewTeam},
};

fn somebody(email: &str, role: Role) -> NewAgent {
    NewAgent {
        name: "Basil".parse().expect("a name"),
        email: Email::parse(email).expect("an address"),
        password: NewPassword::parse(PASSWORD).ok(),
        role: Some(role),
        team_id: None,
        phone: None,
        skills: Vec::new(),
        max_concurrent_queries: None,
        time_zone: None,
        active: None,
    }
}

async fn add(world: &World, by: &Principal, email: &str, role: Role) -> User {
    world.crm.agents().create(by, somebody(email, role)).await.expect("adds").user
}

async fn admin(world: &World) -> Principal {
    world.authenticate(&world.shop().await).await.expect("signed in")
}

fn everything() -> ListRequest {
    super::super::Agents::listing().from_pairs(&[]).expect("a list")
}

#[tokio::test]
async fn a_colleague_is_added_and_signs_in() {
    let world = World::new().await;
    let by = admin(&world).await;
    let new = NewAgent { password: None, role: None, ..somebody("basil@shop.example", Role::Agent) };
    let CreatedAgent { user, initial_password } = world.crm.agents().create(&by, new).await.expect("adds");
    let password = initial_password.expect("one was made up").expose().clone();
    let basil = world.sign_in("basil@shop.example", &password, None).await.expect("signs in");
    assert_eq!((basil.user.id, basil.user.role), (user.id, Role::Agent));
    let principal = world.authenticate(&basil).await.expect("signed in");
    assert_eq!(code(world.crm.agents().list(&principal, &everything()).await), "FORBIDDEN");
    let taken = world.crm.agents().create(&by, somebody("BASIL@shop.example", Role::QA)).await;
    assert_eq!(code(taken), "DUPLICATE");
    for role in [Role::SuperAdmin, Role::Customer] {
        assert_eq!(code(world.crm.agents().create(&by, somebody("x@shop.example", role)).await), "FORBIDDEN");
    }
}

#[tokio::test]
async fn a_new_role_and_switching_off_end_sessions_at_once() {
    let world = World::new().await;
    let by = admin(&world).await;
    let basil = add(&world, &by, "basil@shop.example", Role::Agent).await;
    let agents = world.crm.agents();
    for change in [
        ChangedAgent { role: Some(Role::QA), ..ChangedAgent::default() },
        ChangedAgent { password: NewPassword::parse(PASSWORD).ok(), ..ChangedAgent::default() },
        ChangedAgent { active: Some(false), ..ChangedAgent::default() },
    ] {
        let tokens = world.sign_in("basil@shop.example", PASSWORD, None).await.expect("signs in");
        world.authenticate(&tokens).await.expect("signed in");
        agents.update(&by, basil.id, change, None).await.expect("changes");
        assert_eq!(code(world.authenticate(&tokens).await), "TOKEN_REVOKED");
        assert!(world.refresh(&tokens).await.is_err());
    }
    assert_eq!(code(world.sign_in("basil@shop.example", PASSWORD, None).await), "FORBIDDEN", "not active");
    assert_eq!(code(world.sign_in("basil@shop.example", "another-password", None).await), "UNAUTHENTICATED");
    assert_eq!(world.noted("user.role_changed").await, 1);
    let name = ChangedAgent { name: "Basil Fawlty".parse().ok(), active: Some(true), ..ChangedAgent::default() };
    agents.update(&by, basil.id, name.clone(), Some(4)).await.expect("changes");
    assert_eq!(code(agents.update(&by, basil.id, name, Some(4)).await), "VERSION_CONFLICT");
    world.sign_in("basil@shop.example", PASSWORD, None).await.expect("active again");
}

#[tokio::test]
async fn an_organization_keeps_an_admin() {
    let world = World::new().await;
    let by = admin(&world).await;
    let own = by.user_id().expect("a person");
    let agents = world.crm.agents();
    let demoted = || ChangedAgent { role: Some(Role::Agent), ..ChangedAgent::default() };
    let off = || ChangedAgent { active: Some(false), ..ChangedAgent::default() };
    assert_eq!(code(agents.update(&by, own, demoted(), None).await), "FORBIDDEN", "not the own role");
    assert_eq!(code(agents.update(&by, own, off(), None).await), "FORBIDDEN");
    assert_eq!(code(agents.remove(&by, own, None).await), "FORBIDDEN");
    let system = Principal::system(by.organization);
    assert_eq!(code(agents.update(&system, own, demoted(), None).await), "CONFLICT");
    assert_eq!(code(agents.update(&system, own, off(), None).await), "CONFLICT");
    assert_eq!(code(agents.remove(&system, own, None).await), "CONFLICT");

    let basil = add(&world, &by, "basil@shop.example", Role::Admin).await;
    let (first, second) =
        tokio::join!(agents.update(&system, own, demoted(), None), agents.update(&system, basil.id, demoted(), None));
    assert_eq!(usize::from(first.is_ok()) + usize::from(second.is_ok()), 1, "one of two at the same time");
}

#[tokio::test]
async fn the_own_password_is_changed_in_the_profile_only() {
    let world = World::new().await;
    let by = admin(&world).await;
    let own = by.user_id().expect("a person");
    let password = NewPassword::parse("another-password-8").ok();
    let changed = ChangedAgent { password, ..ChangedAgent::default() };
    assert_eq!(code(world.crm.agents().update(&by, own, changed.clone(), None).await), "FORBIDDEN");
    world.sign_in("amelie@shop.example", PASSWORD, None).await.expect("the password stays");
    let basil = add(&world, &by, "basil@shop.example", Role::Agent).await;
    world.crm.agents().update(&by, basil.id, changed, None).await.expect("a colleague's");
}

#[tokio::test]
async fn who_is_removed_is_gone_and_the_address_is_free() {
    let world = World::new().await;
    let by = admin(&world).await;
    let basil = add(&world, &by, "basil@shop.example", Role::Agent).await;
    let tokens = world.sign_in("basil@shop.example", PASSWORD, None).await.expect("signs in");
    world.authenticate(&tokens).await.expect("signed in");
    world.crm.agents().remove(&by, basil.id, None).await.expect("removes");
    assert_eq!(code(world.authenticate(&tokens).await), "TOKEN_REVOKED");
    assert_eq!(code(world.crm.agents().get(&by, basil.id).await), "NOT_FOUND");
    assert_eq!(code(world.sign_in("basil@shop.example", PASSWORD, None).await), "UNAUTHENTICATED");
    let again = add(&world, &by, "basil@shop.example", Role::QA).await;
    assert_ne!(again.id, basil.id);
    let listed = world.crm.agents().list(&by, &everything()).await.expect("lists").data;
    assert_eq!(listed.len(), 2);
}

#[tokio::test]
async fn another_organizations_people_are_not_there() {
    let world = World::new().await;
    let by = admin(&world).await;
    let basil = add(&world, &by, "basil@shop.example", Role::Agent).await;
    let other = world.register("claire@other.example", Some("Other")).await.expect("registers");
    let other = world.authenticate(&other).await.expect("signed in");
    let agents = world.crm.agents();
    assert_eq!(code(agents.get(&other, basil.id).await), "NOT_FOUND");
    assert_eq!(code(agents.update(&other, basil.id, ChangedAgent::default(), None).await), "NOT_FOUND");
    assert_eq!(code(agents.remove(&other, basil.id, None).await), "NOT_FOUND");
    assert_eq!(agents.list(&other, &everything()).await.expect("lists").data.len(), 1);
}

async fn team(world: &World, by: &Principal, name: &str, lead: Option<&User>) -> TeamId {
    let new = NewTeam {
        name: name.parse().expect("a name"),
        description: None,
        lead_id: lead.map(|user| user.id),
        member_ids: None,
    };
    world.crm.teams().create(by, new).await.expect("adds").team.id
}

#[tokio::test]
async fn a_lead_sees_the_own_team() {
    let world = World::new().await;
    let by = admin(&world).await;
    let lead = add(&world, &by, "lead@shop.example", Role::TL).await;
    let member = add(&world, &by, "member@shop.example", Role::Agent).await;
    let outsider = add(&world, &by, "outsider@shop.example", Role::Agent).await;
    let tokens = world.sign_in("lead@shop.example", PASSWORD, None).await.expect("signs in");
    assert_eq!(world.authenticate(&tokens).await.expect("signed in").team, None);
    let north = team(&world, &by, "North", Some(&lead)).await;
    let principal = world.authenticate(&tokens).await.expect("signed in");
    assert_eq!(principal.team, Some(north), "seen at once");
    let changed = ChangedAgent { team_id: Patch::Set(north), ..ChangedAgent::default() };
    world.crm.agents().update(&by, member.id, changed, None).await.expect("joins");
    let agents = world.crm.agents();
    let mut seen: Vec<_> =
        agents.list(&principal, &everything()).await.expect("lists").data.iter().map(|user| user.id).collect();
    seen.sort_unstable();
    assert_eq!(seen, [lead.id, member.id]);
    agents.get(&principal, member.id).await.expect("a member");
    assert_eq!(code(agents.get(&principal, outsider.id).await), "NOT_FOUND");
    assert_eq!(code(agents.update(&principal, member.id, ChangedAgent::default(), None).await), "FORBIDDEN");

    let teams = world.crm.teams();
    let renamed = ChangedTeam { name: "Far North".parse().ok(), ..ChangedTeam::default() };
    teams.update(&principal, north, renamed.clone(), None).await.expect("the own team's name");
    let taken = ChangedTeam { member_ids: Some(vec![outsider.id]), ..ChangedTeam::default() };
    assert_eq!(code(teams.update(&principal, north, taken, None).await), "FORBIDDEN");
    let south = team(&world, &by, "South", None).await;
    assert_eq!(code(teams.update(&principal, south, renamed, None).await), "FORBIDDEN");
    assert_eq!(code(teams.remove(&principal, north, None).await), "FORBIDDEN");
}

#[tokio::test]
async fn teams_have_members_and_one_name() {
    let world = World::new().await;
    let by = admin(&world).await;
    let basil = add(&world, &by, "basil@shop.example", Role::Agent).await;
    let teams = world.crm.teams();
    let north = team(&world, &by, "North", Some(&basil)).await;
    assert_eq!(teams.get(&by, north).await.expect("is there").member_ids, [basil.id]);
    let same = NewTeam { name: "NORTH".parse().expect("a name"), description: None, lead_id: None, member_ids: None };
    assert_eq!(code(teams.create(&by, same).await), "DUPLICATE");
    assert_eq!(code(teams.remove(&by, north, None).await), "CONFLICT", "somebody is in it");
    let nobody = ChangedTeam { lead_id: Patch::Clear, member_ids: Some(Vec::new()), ..ChangedTeam::default() };
    assert!(teams.update(&by, north, nobody, None).await.expect("empties").member_ids.is_empty());
    teams.remove(&by, north, None).await.expect("removes");
    let stranger = ChangedAgent { team_id: Patch::Set(north), ..ChangedAgent::default() };
    assert_eq!(code(world.crm.agents().update(&by, basil.id, stranger, None).await), "VALIDATION_ERROR");
}

#[tokio::test]
async fn an_organization_is_set_up() {
    let world = World::new().await;
    let by = admin(&world).await;
    let organizations = world.crm.organizations();
    let changed = ChangedOrganization {
        currency: crate::tenancy::Currency::parse("INR").ok(),
        time_zone: crate::tenancy::TimeZone::parse("Asia/Kolkata").ok(),
        country: crate::contact::Country::parse("IN").map_or(Patch::Keep, Patch::Set),
        ..ChangedOrganization::default()
    };
    organizations.settings(&by).await.expect("kept in memory");
    let shop = organizations.update(&by, changed.clone(), Some(1)).await.expect("changes");
    assert_eq!((shop.currency.to_string(), shop.time_zone.name()), ("INR".to_owned(), "Asia/Kolkata"));
    assert_eq!(organizations.settings(&by).await.expect("seen at once").currency, shop.currency);
    assert_eq!(code(organizations.update(&by, changed, Some(1)).await), "VERSION_CONFLICT");
    let basil = add(&world, &by, "basil@shop.example", Role::Agent).await.principal();
    organizations.get(&basil).await.expect("everybody reads it");
    assert_eq!(code(organizations.update(&basil, ChangedOrganization::default(), None).await), "FORBIDDEN");
    assert_eq!(
        code(organizations.create(&by, crate::tenancy::NewOrganization::named("X".parse().expect("a name"))).await),
        "FORBIDDEN"
    );
}
