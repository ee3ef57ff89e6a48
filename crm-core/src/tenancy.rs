//! Tenants: organizations with their settings, and their teams.

mod currency;
mod organization;
mod organizations;
mod team;
mod teams;
mod time_zone;

pub(crate) use self::organizations::OrganizationCache;
pub use self::{
    currency::Currency,
    organization::{ChangedOrganization, FreeObject, NewOrganization, OpeningHours, Organization, Weekday},
    organizations::Organizations,
    team::{ChangedTeam, NewTeam, Team, TeamWithMembers},
    teams::Teams,
    time_zone::TimeZone,
};
