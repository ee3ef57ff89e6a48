use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use crm_core::{
    access::Principal,
    account::{
        ChangedProfile, DevelopmentToken, PasswordAgain, Registration, Session, SessionId, SignIn, SignedIn, TotpCode,
        User,
    },
    error::Error,
    input::Input,
    secret::Secret,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    cookies, csrf,
    extract::{Body, Caller, IfMatch, Pairs, Path},
    problem::Result,
    respond::{Created, Json, NoContent, Record},
    state::AppState,
};

/// What a browser forgets on signing out.
const CLEAR_SITE_DATA: HeaderValue = HeaderValue::from_static("\"cache\", \"cookies\", \"storage\"");

/// Tokens of a session.
#[derive(Serialize, ToSchema)]
struct Tokens {
    /// Send it as `Authorization: Bearer …`.
    access_token: String,
    /// Gets the next pair of tokens, once.
    refresh_token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until the access token expires.
    #[schema(example = 900)]
    expires_in: u64,
    /// Who is signed in.
    user: User,
}

impl Tokens {
    fn of(signed_in: SignedIn) -> Self {
        Self {
            access_token: signed_in.access_token.expose().clone(),
            refresh_token: signed_in.refresh_token.expose().clone(),
            token_type: "Bearer",
            expires_in: signed_in.expires_in.as_secs(),
            user: signed_in.user,
        }
    }
}

/// The answer with the tokens, in its body and as cookies.
fn with_cookies(state: &AppState, signed_in: SignedIn, answer: impl FnOnce(Tokens) -> Response) -> Response {
    let lines = cookies::signed_in(state.crm(), &signed_in, state.options().https);
    let mut response = answer(Tokens::of(signed_in));
    for line in lines {
        response.headers_mut().append(header::SET_COOKIE, line);
    }
    response
}

/// Register
///
/// With `organization_name` it creates the organization, and you are its Admin. Without, you become a Customer of the
/// default organization. What is open is the server's setting `REGISTRATION`. An e-mail address that has an account,
/// anywhere in the installation, is 409. Tokens come in the body, and as cookies for browsers.
#[utoipa::path(
    post, path = "/auth/register", tag = "Accounts", request_body = Registration,
    responses((status = 201, description = "Registered and signed in.", body = Tokens), (status = 403), (status = 409)),
    extensions(("x-permission" = json!("public")))
)]
async fn register(
    State(state): State<AppState>,
    Caller(context): Caller,
    headers: HeaderMap,
    Body(registration): Body<Registration>,
) -> Result<Response> {
    csrf::check_sign_in(state.options(), &headers)?;
    let signed_in = state.crm().accounts().register(registration, context).await?;
    Ok(with_cookies(&state, signed_in, |tokens| Created::unversioned("auth/me", tokens).into_response()))
}

/// Sign in
///
/// Attempts are counted per account and address. An unknown address and a wrong password are answered alike. Where
/// the account has a second factor, the answer is 401 with the code `TOTP_REQUIRED` until `totp` is sent, a code or a
/// recovery code. Tokens come in the body, and as cookies for browsers.
#[utoipa::path(
    post, path = "/auth/login", tag = "Accounts", request_body = SignIn,
    responses((status = 200, description = "Signed in.", body = Tokens), (status = 401), (status = 403)),
    extensions(("x-permission" = json!("public")))
)]
async fn login(
    State(state): State<AppState>,
    Caller(context): Caller,
    headers: HeaderMap,
    Body(sign_in): Body<SignIn>,
) -> Result<Response> {
    csrf::check_sign_in(state.options(), &headers)?;
    let signed_in = state.crm().accounts().sign_in(sign_in, context).await?;
    Ok(with_cookies(&state, signed_in, |tokens| Json(tokens).into_response()))
}

/// The refresh token, where it is not in a cookie.
#[derive(Input, ToSchema)]
struct Refresh {
    /// The refresh token of the last answer.
    refresh_token: Option<String>,
}

/// Refresh the tokens
///
/// Each refresh token works once. One that is used again ends its session, for somebody stole it; only the very last
/// one is taken again within ten seconds, as long as nothing of its answer was used (it may have been lost). Without
/// a body the cookie counts, with the header `X-CSRF-Token`.
#[utoipa::path(
    post, path = "/auth/refresh-token", tag = "Accounts", request_body = Option<Refresh>,
    responses((status = 200, description = "The next pair of tokens.", body = Tokens), (status = 401), (status = 403)),
    extensions(("x-permission" = json!("public")))
)]
async fn refresh(
    State(state): State<AppState>,
    Caller(context): Caller,
    headers: HeaderMap,
    Body(refresh): Body<Option<Refresh>>,
) -> Result<Response> {
    const NEEDED: Error = Error::Unauthenticated("A refresh token is needed.");
    let accounts = state.crm().accounts();
    let signed_in = match refresh.and_then(|refresh| refresh.refresh_token) {
        Some(token) => {
            csrf::check_sign_in(state.options(), &headers)?;
            accounts.refresh(&token, context).await?
        }
        None => {
            let token = cookies::refresh_token(&headers, state.options().https).ok_or(NEEDED)?;
            let session = accounts.session_of(token).await?.ok_or(NEEDED)?;
            csrf::check(state.crm(), state.options(), &headers, &session.to_string())?;
            accounts.refresh(token, context).await?
        }
    };
    Ok(with_cookies(&state, signed_in, |tokens| Json(tokens).into_response()))
}

/// Sign out
///
/// Ends this session, or with `all=true` every session of yours. Their tokens end at once.
#[utoipa::path(
    post, path = "/auth/logout", tag = "Accounts",
    params(("all" = Option<bool>, Query, description = "Whether to end every session.")),
    responses((status = 204, description = "Signed out.")),
    extensions(("x-permission" = json!("session")))
)]
async fn logout(State(state): State<AppState>, by: Principal, mut pairs: Pairs) -> Result<Response> {
    let all = pairs.take_flag("all")?;
    pairs.only(&[])?;
    state.crm().accounts().sign_out(&by, all).await?;
    let mut response = NoContent.into_response();
    for line in cookies::signed_out(state.options().https) {
        response.headers_mut().append(header::SET_COOKIE, line);
    }
    response.headers_mut().insert(HeaderName::from_static("clear-site-data"), CLEAR_SITE_DATA);
    Ok(response)
}

/// Who you are
#[utoipa::path(
    get, path = "/auth/me", tag = "Accounts",
    responses((status = 200, description = "You.", body = User)),
    extensions(("x-permission" = json!("session")))
)]
async fn me(State(state): State<AppState>, by: Principal, pairs: Pairs) -> Result<Record<User>> {
    pairs.only(&[])?;
    let user = state.crm().accounts().me(&by).await?;
    Ok(Record::new(user.meta.version, user))
}

/// Change your profile
///
/// What is absent stays. A new `password` needs `current_password`, and ends your other sessions.
#[utoipa::path(
    put, path = "/auth/update-profile", tag = "Accounts", request_body = ChangedProfile,
    responses((status = 200, description = "You as you are now.", body = User), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("profile:write")))
)]
async fn update_profile(
    State(state): State<AppState>,
    by: Principal,
    IfMatch(version): IfMatch,
    Body(changed): Body<ChangedProfile>,
) -> Result<Record<User>> {
    let user = state.crm().accounts().update_profile(&by, changed, version).await?;
    Ok(Record::new(user.meta.version, user))
}

/// A session of yours.
#[derive(Serialize, ToSchema)]
struct ListedSession {
    #[serde(flatten)]
    session: Session,
    /// Whether it is the one that asks.
    current: bool,
}

/// Your sessions, the newest first.
#[derive(Serialize, ToSchema)]
struct Sessions {
    /// The sessions.
    data: Vec<ListedSession>,
    page: SessionsPage,
}

/// All there are, in one page.
#[derive(Serialize, ToSchema)]
struct SessionsPage {
    /// The most sessions that are listed.
    limit: usize,
    /// There is no other page.
    next_cursor: Option<String>,
    /// Always false.
    has_more: bool,
}

/// Your sessions
///
/// Each sign-in on each device, the newest first, at most 100.
#[utoipa::path(
    get, path = "/auth/sessions", tag = "Accounts",
    responses((status = 200, description = "The sessions that have not ended.", body = Sessions)),
    extensions(("x-permission" = json!("session")))
)]
async fn sessions(State(state): State<AppState>, by: Principal, pairs: Pairs) -> Result<Json<Sessions>> {
    pairs.only(&[])?;
    let sessions = state.crm().accounts().sessions(&by).await?;
    let data = sessions.into_iter().map(|listed| ListedSession { session: listed.session, current: listed.current });
    let page = SessionsPage { limit: 100, next_cursor: None, has_more: false };
    Ok(Json(Sessions { data: data.collect(), page }))
}

/// End a session of yours
///
/// Its tokens end at once.
#[utoipa::path(
    delete, path = "/auth/sessions/{id}", tag = "Accounts", params(("id" = SessionId, Path, description = "The session.")),
    responses((status = 204, description = "It has ended.")),
    extensions(("x-permission" = json!("session")))
)]
async fn end_session(State(state): State<AppState>, by: Principal, Path(id): Path<SessionId>) -> Result<NoContent> {
    state.crm().accounts().end_session(&by, id).await?;
    Ok(NoContent)
}

/// A second factor that waits for its first code.
#[derive(Serialize, ToSchema)]
struct Enrolment {
    /// The secret in base32, for typing into an authenticator.
    secret: String,
    /// The same as an address, for a QR code.
    #[schema(example = "otpauth://totp/CRM:amelie%40example.com?secret=…&issuer=CRM")]
    otpauth_url: String,
}

/// Begin a second factor
///
/// It counts once a code of it was given to `/auth/totp/verify`. The password is needed when you signed in more than
/// 15 minutes ago.
#[utoipa::path(
    post, path = "/auth/totp", tag = "Accounts", request_body = Option<PasswordAgain>,
    responses((status = 200, description = "The secret, shown this once.", body = Enrolment), (status = 409)),
    extensions(("x-permission" = json!("profile:write")))
)]
async fn enrol_totp(
    State(state): State<AppState>,
    by: Principal,
    Body(again): Body<Option<PasswordAgain>>,
) -> Result<Json<Enrolment>> {
    let enrolment = state.crm().accounts().enrol_totp(&by, again.unwrap_or_default()).await?;
    Ok(Json(Enrolment { secret: enrolment.secret.expose().clone(), otpauth_url: enrolment.address.expose().clone() }))
}

/// Codes that each sign in once without the authenticator.
#[derive(Serialize, ToSchema)]
struct RecoveryCodes {
    /// Ten codes.
    #[schema(example = json!(["abcde-fghjk"]))]
    recovery_codes: Vec<String>,
}

/// Confirm a second factor
///
/// By a code of the authenticator. The answer holds ten recovery codes, shown this once.
#[utoipa::path(
    post, path = "/auth/totp/verify", tag = "Accounts", request_body = TotpCode,
    responses((status = 200, description = "The second factor counts from now on.", body = RecoveryCodes), (status = 409)),
    extensions(("x-permission" = json!("profile:write")))
)]
async fn confirm_totp(
    State(state): State<AppState>,
    by: Principal,
    Body(code): Body<TotpCode>,
) -> Result<Json<RecoveryCodes>> {
    let codes = state.crm().accounts().confirm_totp(&by, code).await?;
    Ok(Json(RecoveryCodes { recovery_codes: codes.iter().map(Secret::expose).cloned().collect() }))
}

/// Remove the second factor
///
/// Its recovery codes go with it. The password is needed when you signed in more than 15 minutes ago.
#[utoipa::path(
    delete, path = "/auth/totp", tag = "Accounts", request_body = Option<PasswordAgain>,
    responses((status = 204, description = "There is no second factor any more."), (status = 409)),
    extensions(("x-permission" = json!("profile:write")))
)]
async fn remove_totp(
    State(state): State<AppState>,
    by: Principal,
    Body(again): Body<Option<PasswordAgain>>,
) -> Result<NoContent> {
    state.crm().accounts().remove_totp(&by, again.unwrap_or_default()).await?;
    Ok(NoContent)
}

/// Get tokens for development
///
/// Without a password, and for a person made up on the spot. 404 anywhere but in development.
#[utoipa::path(
    post, path = "/auth/dev-token", tag = "Accounts", request_body = Option<DevelopmentToken>,
    responses((status = 200, description = "Signed in.", body = Tokens), (status = 403), (status = 404), (status = 409)),
    extensions(("x-permission" = json!("public")))
)]
async fn development_token(
    State(state): State<AppState>,
    Caller(context): Caller,
    headers: HeaderMap,
    Body(wanted): Body<Option<DevelopmentToken>>,
) -> Result<Response> {
    csrf::check_sign_in(state.options(), &headers)?;
    let signed_in = state.crm().accounts().development_token(wanted.unwrap_or_default(), context).await?;
    Ok(with_cookies(&state, signed_in, |tokens| Json(tokens).into_response()))
}

/// The keys of access tokens
///
/// The public keys that access tokens are checked with, as a JWK set (RFC 7517). Empty where a secret signs them.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "Accounts",
    responses((status = 200, description = "The keys.", body = Object, example = json!({ "keys": [] }))),
    extensions(("x-permission" = json!("public")))
)]
async fn jwks(State(state): State<AppState>) -> Json<serde_json::Value> {
    Json(state.crm().accounts().jwks())
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(me))
        .routes(routes!(update_profile))
        .routes(routes!(sessions))
        .routes(routes!(end_session))
        .routes(routes!(enrol_totp, remove_totp))
        .routes(routes!(confirm_totp))
        .routes(routes!(development_token))
}

/// Routes at the root.
pub(crate) fn well_known() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(jwks))
}
