//! Requests that may be sent again: a key that the client makes up names the request, and whatever happens it takes
//! effect once.
//!
//! The key is claimed before anything is done. The principal carries the claim to the service, whose
//! [`Operation`](crate::operation::Operation) marks it in the same commit as the effect, so that there is no effect
//! without the mark and no mark without the effect. Afterwards the answer is kept with it. A retry thus finds one of:
//!
//! - the answer, to be given again;
//! - an attempt in hand, to be waited for;
//! - an attempt that ended before its effect, which is free to be made again: whoever held the claim before can commit
//!   nothing any more, because the mark asks for the holder;
//! - an attempt that ended between effect and answer, which is not made again. What was written is known
//!   ([`Effect`]), and the answer is made from the record as it is.

mod claim;
mod key;
mod service;

pub use self::{
    claim::{Claim, ClaimId, ClaimRecord, ClaimState, Effect, UnknownClaimState},
    key::{IdempotencyKey, InvalidKey},
    service::{Answer, Begun, Idempotency, KEPT, KeyedRequest},
};
