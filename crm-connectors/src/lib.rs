//! What the CRM reaches outside of itself.
//!
//! [`GuardedHttp`] sends requests to addresses that an organization names, and sees to it that none of them reaches what
//! lies inside:
//!
//! ```
//! use crm_connectors::{GuardedHttp, OutboundRules};
//! use crm_core::port::Outbound as _;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let http = GuardedHttp::new(OutboundRules::default()).unwrap();
//! for inside in ["https://127.0.0.1/", "https://0x7f.1/", "https://[::ffff:10.0.0.1]/", "https://169.254.169.254/"] {
//!     assert!(http.check(inside).await.is_err());
//! }
//! # }
//! ```
//!
//! [`EmailChannel`] sends messages by a mail server, and [`HttpModel`] asks the language model that the operator has named.

mod email;
mod model;
mod outbound;
mod service;

pub use self::email::{EmailChannel, EmailOptions, EmailOptionsError, check_mailbox};
pub use self::model::{HttpModel, ModelOptions, ModelOptionsError};
pub use self::outbound::{
    GuardedHttp, OutboundRules, Resolve, SystemResolver, TlsError,
    address::is_public,
    target::{Refusal, Target},
};
pub use self::service::{Breaker, HttpRecordService, ServiceOptions};
