//! Campaigns: one message to many customers, each of whom gets it once, whatever breaks.
//!
//! A [`Campaign`] is written as a draft, and launched. A job then plans it: it goes through the audience, chunk by chunk,
//! and writes a [`Communication`] for each customer with the message as that customer gets it. What it finds is frozen: a
//! rule, a template or a customer that changes afterwards changes nothing. Any number of processes send what was planned:
//! each claims some communications, which notes the attempt, and only then hands them to the channel.

mod calling_code;
mod communication;
mod record;
pub mod template;
pub mod variant;
pub mod window;

pub use self::{
    communication::{
        Communication, CommunicationId, CommunicationStage, CommunicationStatus, UnknownCommunicationStage,
        UnknownCommunicationStatus,
    },
    record::{
        Campaign, CampaignChannel, CampaignId, CampaignStatus, CampaignVariant, CampaignVariants, ClockTime, HOLDOUT,
        InvalidClockTime, SendingWindow, UnknownCampaignChannel, UnknownCampaignStatus, UnknownWeekday, Weekday,
    },
};
