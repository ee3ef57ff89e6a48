//! Signing in, over a store in memory, with a clock that the test moves.

mod api_keys;
mod refresh;
mod second_factor;
mod sign_in;
mod staff;

use std::{sync::Arc, time::Duration};

use super::{AccountSettings, Credentials, Password, Registration, RegistrationMode, SignIn, SignedIn};
use crate::{
    access::{Principal, RequestContext},
    contact::Email,
    crm::{Crm, collections},
    error::Result,
    id::OrganizationId,
    port::{Clock, ManualClock, SeededRandom},
    secret::Secret,
    store::{SharedStore, memory::MemoryStore},
    time::Timestamp,
};

const PASSWORD: &str = "amelie-liest-7";
const SERVICE_KEY: &str = "a service key of more than 32 bytes, for tests";

struct SharedClock(Arc<ManualClock>);

impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

/// A CRM with open registration, over a store that another process may share.
struct World {
    crm: Crm,
    clock: Arc<ManualClock>,
    store: SharedStore,
    settings: AccountSettings,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut AccountSettings)) -> Self {
        let store: SharedStore = Arc::new(MemoryStore::new());
        store.migrate(collections(), &|_, _, _| ()).await.expect("migrates");
        let now = "2026-03-01T09:00:00Z".parse().expect("an instant");
        let clock = Arc::new(ManualClock::new(now));
        let mut settings = AccountSettings {
            registration: RegistrationMode::Open,
            service_key: Some(Secret::new(SERVICE_KEY.to_owned())),
            ..AccountSettings::ephemeral(&SeededRandom::new(1))
        };
        change(&mut settings);
        Self { crm: process(&store, &clock, &settings, 2), clock, store, settings }
    }

    /// The same installation in another process.
    fn other_process(&self) -> Crm {
        process(&self.store, &self.clock, &self.settings, 3)
    }

    fn later(&self, duration: Duration) {
        self.clock.advance(duration);
    }

    async fn shop(&self) -> SignedIn {
        self.register("amelie@shop.example", Some("Shop")).await.expect("registers")
    }

    async fn register(&self, email: &str, organization: Option<&str>) -> Result<SignedIn> {
        let registration = Registration {
            name: "Amélie".parse().expect("a name"),
            email: Email::parse(email).expect("an address"),
            password: super::NewPassword::parse(PASSWORD).expect("a password"),
            organization_name: organization.map(|name| name.parse().expect("a name")),
        };
        self.crm.accounts().register(registration, context()).await
    }

    async fn sign_in(&self, email: &str, password: &str, totp: Option<&str>) -> Result<SignedIn> {
        self.crm.accounts().sign_in(credentials(email, password, totp), context()).await
    }

    async fn refresh(&self, signed_in: &SignedIn) -> Result<SignedIn> {
        self.crm.accounts().refresh(signed_in.refresh_token.expose(), context()).await
    }

    async fn authenticate(&self, signed_in: &SignedIn) -> Result<Principal> {
        authenticate(&self.crm, signed_in.access_token.expose()).await
    }

    /// How often this was noted in the audit trail.
    async fn noted(&self, action: &str) -> u64 {
        use crate::audit::AuditEntry;
        let filter = AuditEntry::action.equals(action.to_owned());
        self.crm.repo::<AuditEntry>().count(crate::store::Scope::Installation, &filter).await.expect("counts")
    }
}

fn process(store: &SharedStore, clock: &Arc<ManualClock>, settings: &AccountSettings, seed: u64) -> Crm {
    Crm::builder(Arc::clone(store))
        .clock(SharedClock(Arc::clone(clock)))
        .random(SeededRandom::new(seed))
        .accounts(settings.clone())
        .build()
}

fn context() -> RequestContext {
    RequestContext { request_id: Some("test".to_owned()), ip: "203.0.113.7".parse().ok(), ..RequestContext::default() }
}

fn credentials(email: &str, password: &str, totp: Option<&str>) -> SignIn {
    SignIn {
        email: Email::parse(email).expect("an address"),
        password: Password::parse(password).expect("a password"),
        totp: totp.map(|code| code.parse().expect("a code")),
        device: None,
        location: None,
    }
}

async fn authenticate(crm: &Crm, token: &str) -> Result<Principal> {
    crm.accounts().authenticate(Credentials::bearer(token), context()).await
}

#[track_caller]
fn code<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
    result.expect_err("is refused").code()
}

fn organization(signed_in: &SignedIn) -> OrganizationId {
    signed_in.user.meta.organization_id
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
