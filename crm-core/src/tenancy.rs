//! Tenants: organizations with their settings, and their teams.

mod currency;
mod organization;
mod organizations;
mod time_zone;

pub(crate) use self::organizations::OrganizationCache;
pub use self::{
    currency::Currency,
    organization::{ChangedOrganization, FreeObject, NewOrganization, OpeningHours, Organization, Weekday},
    organizations::Organizations,
    time_zone::TimeZone,
};
