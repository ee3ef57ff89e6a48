//! Who may do what: permissions, roles, and the acting principal.

mod permission;
mod principal;
mod role;

pub use self::{
    permission::{Permission, PermissionSet, permissions},
    principal::{Actor, Principal, RequestContext, Visibility},
    role::Role,
};
