//! How many requests are taken from whom.

use std::fmt::Write as _;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use crm_core::{
    access::Principal,
    limit::{Bucket, Policy, Standing, address_key},
};

use super::exchange::Exchange;
use crate::{extract::key_of, problem::Problem, state::AppState};

/// One more request of somebody who is signed in.
///
/// # Errors
/// 429 where there were too many.
pub(crate) async fn of_principal(state: &AppState, principal: &Principal, exchange: &Exchange) -> Result<(), Problem> {
    match &state.options().principal_limit {
        Some(policy) => check(state, std::slice::from_ref(policy), &key_of(principal), exchange).await,
        None => Ok(()),
    }
}

/// One more request of an address, by anybody. Every policy lets it through, or none is charged.
///
/// # Errors
/// 429 where there were too many.
pub(crate) async fn of_anybody(state: &AppState, exchange: &Exchange) -> Result<(), Problem> {
    let policies = &state.options().anonymous_limits;
    match exchange.client() {
        Some(client) if !policies.is_empty() => check(state, policies, &address_key(client), exchange).await,
        _ => Ok(()),
    }
}

async fn check(state: &AppState, policies: &[Policy], key: &str, exchange: &Exchange) -> Result<(), Problem> {
    let buckets: Vec<Bucket<'_>> = policies.iter().map(|policy| Bucket { policy, key }).collect();
    let verdict = state.crm().limits().request(state.crm().now(), &buckets).await;
    let violated = verdict.retry_after.map(|retry_after| {
        let spent = policies.iter().zip(&verdict.standings).filter(|(_, standing)| standing.remaining == 0);
        Problem::rate_limited(retry_after, spent.map(|(policy, _)| policy.name).collect())
    });
    exchange.note_limits(policies.iter().cloned().zip(verdict.standings).collect());
    violated.map_or(Ok(()), Err)
}

/// `RateLimit-Policy: "anonymous";q=100;w=60` and `RateLimit: "anonymous";r=57;t=30`, for every policy asked.
pub(super) fn apply(limits: &[(Policy, Standing)], headers: &mut HeaderMap) {
    if limits.is_empty() {
        return;
    }
    let (mut policies, mut standings) = (String::new(), String::new());
    for (position, (policy, standing)) in limits.iter().enumerate() {
        let comma = if position == 0 { "" } else { ", " };
        let window = policy.period.as_secs().max(1);
        let reset = standing.reset.as_secs() + u64::from(standing.reset.subsec_nanos() > 0);
        // Writing to a String cannot fail.
        let _ = write!(policies, "{comma}\"{}\";q={};w={window}", policy.name, policy.limit);
        let _ = write!(standings, "{comma}\"{}\";r={};t={reset}", policy.name, standing.remaining);
    }
    for (name, value) in [("ratelimit-policy", policies), ("ratelimit", standings)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
