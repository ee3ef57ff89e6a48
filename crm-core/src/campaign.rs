//! Campaigns: one message to many customers, each of whom gets it once, whatever breaks.
//!
//! A [`Campaign`] is written as a draft, and launched. A job then plans it: it goes through the audience, chunk by chunk,
//! and writes a [`Communication`] for each customer with the message as that customer gets it. What it finds is frozen: a
//! rule, a template or a customer that changes afterwards changes nothing. Any number of processes send what was planned:
//! each claims some communications, which notes the attempt, and only then hands them to the channel. Where there is a
//! queue, it tells them of which campaign.

mod admission;
mod batch;
mod calling_code;
mod communication;
mod decide;
mod drive;
mod input;
mod message;
mod outcome;
mod plan;
mod portion;
mod record;
mod run;
mod send;
mod service;
mod states;
mod statistics;
pub mod template;
mod trial;
mod unchecked;
pub mod variant;
pub mod window;

pub use self::{
    communication::{
        Communication, CommunicationId, CommunicationStage, CommunicationStatus, UnknownCommunicationStage,
        UnknownCommunicationStatus,
    },
    input::{
        ChangedCampaign, NewCampaign, ReplacedCampaign, Topic, TrialAddresses, TrialRequest, VendorTemplate, Whole,
    },
    record::{
        Campaign, CampaignChannel, CampaignId, CampaignStatus, CampaignVariant, CampaignVariants, ClockTime, HOLDOUT,
        InvalidClockTime, SendingWindow, UnknownCampaignChannel, UnknownCampaignStatus, UnknownWeekday, Weekday,
    },
    run::{CampaignRun, RunStep, UnknownRunStep},
    send::send_due,
    service::Campaigns,
    statistics::{
        CampaignDetail, CampaignProgress, CampaignStatistics, CommunicationCounts, CommunicationRates,
        VariantStatistics,
    },
    trial::{Trial, TrialResult},
    unchecked::WithMessages,
};
pub(crate) use self::{plan::PlanHandler, send::run};

#[cfg(test)]
mod tests;
