//! What every handler has at hand.

use std::{collections::HashMap, sync::Arc};

use axum::extract::FromRef;
use crm_core::Crm;

use crate::{health::Health, metrics::Metrics, options::RouterOptions, watching::Watchers};

/// The CRM, the options of the router and what the process observes of itself. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct AppState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    crm: Crm,
    options: RouterOptions,
    metrics: Metrics,
    health: Health,
    watchers: Watchers,
    /// The methods of each route that are for anybody.
    public: HashMap<String, Vec<String>>,
}

impl AppState {
    pub(crate) fn new(crm: Crm, options: RouterOptions, public: HashMap<String, Vec<String>>) -> Self {
        let health = Health::new(options.health_interval, options.health_timeout, crm.now());
        Self(Arc::new(Shared { crm, options, metrics: Metrics::new(), health, watchers: Watchers::default(), public }))
    }

    pub(crate) fn crm(&self) -> &Crm {
        &self.0.crm
    }

    pub(crate) fn options(&self) -> &RouterOptions {
        &self.0.options
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Whether a route is for anybody.
    pub(crate) fn is_public(&self, method: &str, route: &str) -> bool {
        self.0.public.get(route).is_some_and(|methods| methods.iter().any(|public| public == method))
    }

    pub(crate) fn watchers(&self) -> &Watchers {
        &self.0.watchers
    }

    pub(crate) fn health(&self) -> &Health {
        &self.0.health
    }
}

impl FromRef<AppState> for Crm {
    fn from_ref(state: &AppState) -> Self {
        state.0.crm.clone()
    }
}
