//! Complaints of customers: what somebody is not content with, how far it is, and what came of it.
//!
//! A customer's `total_complaints` and `open_complaints` move in the commit that writes the complaint, by adding, so that
//! any number of writers may be at it at once. Who reaches a customer, in the bin or not, reaches its complaints.

mod decide;
mod record;
mod service;

pub use self::{
    record::{
        ChangedComplaint, Complaint, ComplaintId, ComplaintPriority, ComplaintStatus, NewComplaint,
        UnknownComplaintPriority, UnknownComplaintStatus,
    },
    service::Complaints,
};

#[cfg(test)]
mod tests;
