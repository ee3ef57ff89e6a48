use serde::Serialize;
use uuid::Uuid;

use crate::{
    id::UserId,
    record::{Meta, Record},
    time::Timestamp,
};

crate::record_ids! {
    /// A session: one sign-in on one device.
    SessionId,
    /// A refresh token.
    RefreshTokenId,
}

/// One sign-in on one device. Every token of it ends with it.
#[derive(Clone, Debug, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[record(collection = "sessions", installation, index(user_id, -created_at))]
pub struct Session {
    /// The session's id: a new one at every sign-in.
    pub id: SessionId,
    /// Whose it is.
    #[serde(skip)]
    pub user_id: UserId,
    /// What the person called the device.
    pub device: Option<String>,
    /// The address it was last seen from.
    pub ip: Option<String>,
    /// When it was last seen, to the minute or so.
    pub last_seen_at: Timestamp,
    /// When it ends, however often it is refreshed.
    pub expires_at: Timestamp,
    /// When it was ended.
    #[serde(skip)]
    pub revoked_at: Option<Timestamp>,
    /// The newest access token seen.
    #[serde(skip)]
    pub newest_access_id: Option<Uuid>,
    /// Access tokens that were taken back, because the answer that carried them was lost.
    #[serde(skip)]
    pub denied_access_ids: Vec<String>,
    /// When it began.
    #[serde(flatten)]
    pub meta: Meta,
}

/// A refresh token, which works once. All of a session's are one family.
#[derive(Clone, Debug, Record)]
#[record(collection = "refresh_tokens", installation, unique(hash), index(session_id, expires_at), index(user_id))]
pub struct RefreshToken {
    /// The token's id.
    pub id: RefreshTokenId,
    /// SHA-256 of the token.
    pub hash: String,
    /// Its session.
    pub session_id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// The access token given out with it.
    pub access_id: Uuid,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When it was used.
    pub used_at: Option<Timestamp>,
    /// The token given out for it.
    pub replaced_by: Option<RefreshTokenId>,
    /// When it was taken back unused, because the answer that carried it was lost.
    pub superseded_at: Option<Timestamp>,
    /// Its organization, version and times.
    pub meta: Meta,
}
